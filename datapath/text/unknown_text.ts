/**
 * `keyN(01 02)`, `keyN(01 02/ff 00)`: how Open vSwitch prints an attribute that it has no name for,
 * by its netlink number and its payload's bytes.
 */
import type { Attribute, Field } from "../fields/field_types.ts";
import { HEX_BYTES } from "./addresses.ts";
import { fullMask, type MatchBytes, writeField } from "./number_text.ts";
import { failOpen } from "./parentheses.ts";
import { CLOSE, digitValue, OPEN, type Scanner, SLASH } from "./scanner.ts";

/** An attribute that this version does not know. */
export interface UnknownAttribute {
  /** OVS_KEY_ATTR_*. */
  readonly number: number;
  /** Payload, hexadecimal, two digits a byte. */
  readonly key: string;
  /** As long as the payload; undefined: exact. */
  readonly mask: string | undefined;
}

/**
 * Reads `(…)` behind `keyN`. With an attribute that has a name after all its fields are written into
 * the match; else the bytes are returned.
 */
export function scanNumbered(
  scanner: Scanner,
  from: number,
  name: string,
  target: { readonly attribute: Attribute | undefined; readonly into: MatchBytes },
): UnknownAttribute | undefined {
  const openAt = scanner.at;
  scanner.expect(OPEN, `after ${name}`);
  const key = scanBytes(scanner);
  const maskAt = scanner.at;
  const mask = scanner.take(SLASH) ? scanBytes(scanner) : undefined;
  if (scanner.ended) failOpen(scanner, openAt, name);
  scanner.expect(CLOSE, `behind the bytes of ${name}, two hexadecimal digits each`);
  if (mask !== undefined && mask.length !== key.length) {
    scanner.fail(maskAt, `the mask of ${name} must be as long as its value`);
  }
  const { attribute, into } = target;
  if (attribute === undefined) {
    return { number: Number(name.slice(3)), key: hex(key), mask: mask && hex(mask) };
  }
  if (attribute.shape !== "struct" || attribute.fields.some((each) => each.mask !== "bits")) {
    scanner.fail(from, `${name} is ${attribute.name}: write ${attribute.name}(…)`);
  }
  const size = Math.max(...attribute.fields.map((each) => each.netlinkAt + each.netlinkSize));
  if (key.length !== size) {
    scanner.fail(from, `${name} is ${attribute.name}, which has ${size} bytes, not ${key.length}`);
  }
  const exact = mask ?? new Array<number>(size).fill(0xff);
  for (const field of attribute.fields) {
    writeBytes(into.key, attribute, field, key);
    writeBytes(into.mask, attribute, field, exact);
  }
  return undefined;
}

/** Reads bytes of two hexadecimal digits, with blanks between them or none. */
function scanBytes(scanner: Scanner): number[] {
  const bytes: number[] = [];
  for (;;) {
    scanner.skipSeparators();
    const high = digitValue(scanner.peek());
    const low = digitValue(scanner.text.charCodeAt(scanner.at + 1));
    if (high > 15 || low > 15) return bytes;
    bytes.push(high << 4 | low);
    scanner.at += 2;
  }
}

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function writeBytes(
  to: Uint8Array,
  attribute: Attribute,
  field: Field,
  payload: readonly number[],
): void {
  const bytes = payload.slice(field.netlinkAt, field.netlinkAt + field.netlinkSize);
  if (attribute.hostOrder && isLittleEndian) bytes.reverse();
  if (field.size > 4) {
    to.set(bytes, field.at);
    return;
  }
  const value = bytes.reduce((sum, byte) => (sum << 8 | byte) >>> 0, 0);
  writeField(to, field, (value >>> field.shift & fullMask(field)) >>> 0, 0);
}

function hex(bytes: readonly number[]): string {
  return bytes.map((byte) => HEX_BYTES[byte]!).join("");
}

/** `,key40(01 02)…` or "". */
export function formatUnknown(attributes: readonly UnknownAttribute[]): string {
  return attributes.map(({ number, key, mask }) => {
    const isExact = mask === undefined || /^f*$/.test(mask);
    return `,key${number}(${spaced(key)}${isExact ? "" : "/" + spaced(mask)})`;
  }).join("");
}

function spaced(digits: string): string {
  return digits.replace(/..(?=.)/g, "$& ");
}
