/**
 * What stands inside of an action's parentheses: `name=value` parts in any order, and the numbers and
 * bytes that only actions have. Numbers are read as Open vSwitch reads each of them: most as C's `%i`
 * (Scanner.number), some always decimal or always hexadecimal.
 */
import { HEX_BYTES } from "../addresses.ts";
import { failOpen } from "../parentheses.ts";
import { CLOSE, digitValue, END_OF_TEXT, EQUALS, OPEN, type Scanner } from "../scanner.ts";

const COMMA = 0x2c;
const SPACE = 0x20;

/** Reads the value of a part. `label` names it in errors: `push_vlan vid`. */
export type ReadPart = (label: string) => void;

export interface Parts {
  /** Parts with a value behind an equals sign. */
  readonly values?: Readonly<Record<string, ReadPart>>;
  /** Parts without one; they may read parentheses. */
  readonly flags?: Readonly<Record<string, ReadPart>>;
  /** Values that must be there. */
  readonly needed?: readonly string[];
}

/** Reads `(…)` with these parts, each at most once. The scanner stands at the parenthesis. */
export function scanParts(scanner: Scanner, owner: string, parts: Parts): void {
  const openAt = scanner.at;
  scanner.expect(OPEN, `after ${owner}`);
  const seen = new Set<string>();
  for (;;) {
    scanner.skipSeparators();
    if (scanner.ended) failOpen(scanner, openAt, owner);
    if (scanner.take(CLOSE)) break;
    scanPart(scanner, owner, parts, seen);
    if (scanner.ended) failOpen(scanner, openAt, owner);
    expectEndOfPart(scanner, owner);
  }
  for (const name of parts.needed ?? []) {
    if (!seen.has(name)) scanner.fail(openAt, `${owner} needs ${name}=`);
  }
}

function scanPart(
  scanner: Scanner,
  owner: string,
  { values = {}, flags = {} }: Parts,
  seen: Set<string>,
): void {
  const from = scanner.at;
  const name = scanner.word();
  const isValue = Object.hasOwn(values, name);
  if (!isValue && !Object.hasOwn(flags, name)) {
    const names = [...Object.keys(values), ...Object.keys(flags)];
    scanner.unknown(from, `part of ${owner}`, name || scanner.text[from]!, names);
  }
  const label = `${owner} ${name}`;
  if (seen.has(name)) scanner.fail(from, `${label} stands twice`);
  seen.add(name);
  if (!isValue) return flags[name]!(label);
  scanner.expect(EQUALS, `after ${label}`);
  while (scanner.peek() === SPACE) scanner.at++;
  values[name]!(label);
}

/** Fails unless a separator or a closing parenthesis follows. */
export function expectEndOfPart(scanner: Scanner, owner: string): void {
  const next = scanner.peek();
  if (next === CLOSE || next === COMMA || (next >= 0 && next <= SPACE)) return;
  scanner.fail(
    scanner.at,
    `"${scanner.text[scanner.at]}" can't stand here in ${owner}: a comma or ")" must`,
  );
}

/** Reads `(value)`. */
export function scanSingle<T>(
  scanner: Scanner,
  owner: string,
  read: (label: string) => T,
): T {
  const openAt = scanner.at;
  scanner.expect(OPEN, `after ${owner}`);
  while (scanner.peek() === SPACE) scanner.at++;
  const value = read(owner);
  while (scanner.peek() === SPACE) scanner.at++;
  if (scanner.ended) failOpen(scanner, openAt, owner);
  scanner.expect(CLOSE, `behind the value of ${owner}`);
  return value;
}

/** Reads a number that is decimal also with zeros in front, or hexadecimal after 0x. */
export function scanDecimal(scanner: Scanner, bits: number, what: string): number {
  const text = scanner.text;
  while (scanner.peek() === 0x30 && digitValue(text.charCodeAt(scanner.at + 1)) <= 9) scanner.at++;
  return scanner.number(bits, what);
}

/** Reads hexadecimal digits with or without 0x in front: a number of at most `bits` (≤ 32). */
export function scanHex(scanner: Scanner, bits: number, what: string): number {
  const from = scanner.at;
  const digits = scanDigits(scanner, what);
  const value = Number.parseInt(digits.length > 16 ? digits.replace(/^0+/, "") : digits, 16);
  const max = 2 ** bits - 1;
  if (value > max) scanner.fail(from, `${what} must be 0 … 0x${max.toString(16)}`);
  return Number.isNaN(value) ? 0 : value;
}

/** Reads the digits of a hexadecimal number with or without 0x in front, lower case; at least one. */
export function scanDigits(scanner: Scanner, what: string): string {
  const text = scanner.text;
  if (scanner.peek() === 0x30 && (text.charCodeAt(scanner.at + 1) | 0x20) === 0x78) scanner.at += 2;
  const from = scanner.at;
  while (digitValue(scanner.peek()) <= 15) scanner.at++;
  if (scanner.at === from) {
    const found = scanner.peek() === END_OF_TEXT ? "the end" : `"${text[from]}"`;
    scanner.fail(from, `${what} must be a hexadecimal number, not ${found}`);
  }
  scanner.expectNoWord(16, what);
  return text.slice(from, scanner.at).toLowerCase();
}

/**
 * Reads a hexadecimal number as bytes, at most `sizeMax`: as many as its digits say, a lone first
 * digit being a byte of its own.
 */
export function scanHexBytes(scanner: Scanner, what: string, sizeMax: number): string {
  const from = scanner.at;
  const digits = scanDigits(scanner, what);
  const bytes = digits.length % 2 === 0 ? digits : "0" + digits;
  if (bytes.length > 2 * sizeMax) {
    scanner.fail(from, `${what} must have at most ${sizeMax} bytes, not ${bytes.length / 2}`);
  }
  return bytes;
}

/** Reads pairs of hexadecimal digits, with blanks between them or not, up to something else. */
export function scanBytePairs(scanner: Scanner, what: string): string {
  const parts: string[] = [];
  for (;;) {
    while (scanner.peek() === SPACE) scanner.at++;
    const from = scanner.at;
    if (digitValue(scanner.peek()) > 15) return parts.join("").toLowerCase();
    scanner.at++;
    if (digitValue(scanner.peek()) > 15) {
      scanner.fail(from, `${what} must be bytes of two hexadecimal digits each`);
    }
    scanner.at++;
    parts.push(scanner.text.slice(from, scanner.at));
  }
}

/**
 * Bytes as Open vSwitch prints them: without zeros in front, `0` for zeros alone. In full where that
 * would not read back, or not `readsBack` to the caller.
 */
export function formatHexBytes(bytes: string, padded: (digits: string) => string = even): string {
  const short = bytes.replace(/^0+/, "") || "0";
  return padded(short) === bytes ? (short === "0" ? "0" : `0x${short}`) : `0x${bytes}`;
}

function even(digits: string): string {
  return digits.length % 2 === 0 ? digits : "0" + digits;
}

/** C's `%#x`. */
export function hex(value: number): string {
  return value === 0 ? "0" : "0x" + value.toString(16);
}

/** Byte string of bytes[from, to). */
export function bytesToHex(bytes: Uint8Array, from: number = 0, to: number = bytes.length): string {
  let text = "";
  for (let at = from; at < to; at++) text += HEX_BYTES[bytes[at]!]!;
  return text;
}

/** Bytes of a byte string. */
export function hexToBytes(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length >> 1);
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  }
  return bytes;
}
