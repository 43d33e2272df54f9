/** Flags in flow text: `syn|ack`, `+syn-ack`, numbers with and without a mask. */
import type { Field } from "../fields/field_types.ts";
import { CLOSE, END_OF_TEXT, MINUS, PLUS, type Scanner, SLASH } from "./scanner.ts";

const BAR = 0x7c;

/** A value under a mask. */
export interface FlagsMatch {
  readonly value: number;
  readonly mask: number;
}

/**
 * Reads flags up to (not with) a closing parenthesis, a blank, a comma or the end. Flags written
 * plainly match those that are named and the field's `exactFlags`.
 */
export function scanFlags(scanner: Scanner, field: Field): FlagsMatch {
  const next = scanner.peek();
  if (next === PLUS || next === MINUS) return scanSigned(scanner, field);
  let value = 0;
  while (!ends(scanner)) {
    if (scanner.atNumber) {
      value |= scanner.number(field.bits, field.label);
      if (scanner.take(SLASH)) return { value, mask: scanFlagsMask(scanner, field) };
    } else {
      value |= scanFlag(scanner, field);
    }
    if (!scanner.take(BAR)) break;
  }
  return { value, mask: (value | field.exactFlags) >>> 0 };
}

function scanFlagsMask(scanner: Scanner, field: Field): number {
  const mask = scanner.number(Math.max(field.bits, field.maskBits), `${field.label} mask`);
  return mask % 2 ** field.bits;
}

function scanSigned(scanner: Scanner, field: Field): FlagsMatch {
  let value = 0;
  let mask = 0;
  while (!ends(scanner)) {
    const from = scanner.at;
    const set = scanner.take(PLUS);
    if (!set && !scanner.take(MINUS)) {
      scanner.fail(from, `each flag of ${field.label} needs + (set) or - (not set) in front`);
    }
    const bit = scanFlag(scanner, field);
    if ((mask & bit) !== 0) scanner.fail(from, `a flag of ${field.label} may stand only once`);
    mask |= bit;
    if (set) value |= bit;
  }
  return { value, mask };
}

function ends(scanner: Scanner): boolean {
  const next = scanner.peek();
  return next === CLOSE || next === END_OF_TEXT || next === 0x2c || next === 0x20;
}

/** Takes one name; its bit. Some of TCP's names have brackets. */
function scanFlag(scanner: Scanner, field: Field): number {
  const from = scanner.at;
  const bracket = scanner.text[from] === "[";
  const name = bracket ? scanner.text.slice(from, from + 5) : scanner.word();
  const index = field.flagNames.indexOf(name);
  if (index < 0) failFlags(scanner, from, field);
  if (bracket) scanner.at = from + name.length;
  return 1 << index;
}

/** Throws: what stands at `from` is no flag. */
export function failFlags(scanner: Scanner, from: number, field: Field): never {
  scanner.fail(
    from,
    `${field.label} must be names joined by | (exactly these are set), names each with + or -, or ` +
      `value/mask; names are ${field.flagNames.join(", ")}`,
  );
}

/** Text of a match on flags; mask 0 is `0/0`. */
export function formatFlags(field: Field, value: number, mask: number): string {
  if (mask === 0) return "0/0";
  const reads = (value | field.exactFlags) >>> 0;
  if (mask === field.plainFlags && mask === reads) return formatPlainFlags(field, value);
  let text = "";
  for (let bit = 0; bit < field.bits; bit++) {
    if ((mask >>> bit & 1) === 0) continue;
    text += ((value >>> bit & 1) !== 0 ? "+" : "-") + field.flagNames[bit]!;
  }
  return text;
}

/** The names of the flags that are set, `0` for none. */
export function formatPlainFlags(field: Field, value: number): string {
  if (value === 0) return "0";
  return field.flagNames.filter((_, bit) => (value >>> bit & 1) !== 0).join("|");
}
