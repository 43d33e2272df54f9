/**
 * MPLS label stack entries in flow text: `label=5,tc=0,ttl=64,bos=1`, the outermost first. A field
 * that the entry already has begins the next one.
 */
import type { Attribute, Field } from "../fields/field_types.ts";
import { wantedLabels, wantLabels } from "../fields/label_count.ts";
import { MPLS_COUNT_AT, MPLS_LABELS_MAX } from "../key.ts";
import {
  isExact,
  isWildcarded,
  type MatchBytes,
  readField,
  scanNumberField,
} from "./number_text.ts";
import { expectEndOfField, failOpen, scanFieldName } from "./parentheses.ts";
import { CLOSE, type Scanner } from "./scanner.ts";

/** Bytes from one entry to the next. */
export const LABEL_SIZE = 4;

/**
 * Reads the fields of up to MPLS_LABELS_MAX entries and the closing parenthesis. A flow wants at least
 * as many labels as are written, unless nothing is matched of any.
 */
export function scanLabels(
  scanner: Scanner,
  attribute: Attribute,
  into: MatchBytes,
  openAt: number,
): void {
  let label = 0;
  let seen = 0;
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(CLOSE)) {
      const isMatched = matchedLabels(attribute, into.mask) > 0;
      wantLabels(into.key, into.mask, isMatched ? label + 1 : 0);
      return;
    }
    if (scanner.ended) failOpen(scanner, openAt, attribute.name);
    const from = scanner.at;
    const index = scanFieldName(scanner, attribute);
    const field = attribute.fields[index]!;
    if ((seen & 1 << index) !== 0) {
      seen = 0;
      if (++label === MPLS_LABELS_MAX) {
        scanner.fail(
          from,
          `${attribute.name}() has at most ${MPLS_LABELS_MAX} labels; a repeated field begins the next`,
        );
      }
    }
    seen |= 1 << index;
    scanNumberField(scanner, field, into, label * LABEL_SIZE);
    expectEndOfField(scanner, field, openAt, attribute.name);
  }
}

/** Whether no label is wanted and no bit of one is matched. */
export function areLabelsWildcarded(attribute: Attribute, mask: Uint8Array): boolean {
  return mask[MPLS_COUNT_AT] === 0 && matchedLabels(attribute, mask) === 0;
}

/** How many entries are matched: as many as are wanted, or those up to the last one of which a bit is. */
export function labelCount(attribute: Attribute, key: Uint8Array, mask: Uint8Array): number {
  const wanted = wantedLabels(key, mask);
  return wanted > 0 ? wanted : matchedLabels(attribute, mask);
}

function matchedLabels(attribute: Attribute, mask: Uint8Array): number {
  for (let label = MPLS_LABELS_MAX; label > 0; label--) {
    const offset = (label - 1) * LABEL_SIZE;
    if (attribute.fields.some((field) => !isWildcarded(mask, field, offset))) return label;
  }
  return 0;
}

/** The fields of all entries that are matched, at least one entry; with masks unless all are exact. */
export function formatLabels(attribute: Attribute, key: Uint8Array, mask: Uint8Array): string {
  const offsets = Array.from(
    { length: Math.max(1, labelCount(attribute, key, mask)) },
    (_, label) => label * LABEL_SIZE,
  );
  const exact = offsets.every((offset) =>
    attribute.fields.every((field) => isExact(mask, field, offset))
  );
  return offsets.flatMap((offset) =>
    attribute.fields.map((field) => {
      const fieldMask = readField(mask, field, offset);
      const value = (readField(key, field, offset) & fieldMask) >>> 0;
      return `${field.name}=${value}${exact ? "" : formatMask(field, fieldMask)}`;
    })
  ).join(",");
}

/** Open vSwitch leaves 0x out where one digit is enough. */
function formatMask(field: Field, mask: number): string {
  return (field.bits < 4 ? "/" : "/0x") + mask.toString(16);
}
