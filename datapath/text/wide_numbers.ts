/** Numbers of up to 128 bits between text and bytes in network byte order. */
import { HEX_BYTES } from "./addresses.ts";
import { digitValue, type Scanner } from "./scanner.ts";

/** Reads a number as C's `%i` does into `size` bytes at `at`. `what` names it in errors. */
export function scanWide(
  scanner: Scanner,
  bytes: Uint8Array,
  at: number,
  { size, what }: { readonly size: number; readonly what: string },
): void {
  const from = scanner.at;
  const text = scanner.text;
  const isHex = text.charCodeAt(from) === 0x30 && (text.charCodeAt(from + 1) | 0x20) === 0x78;
  let to = isHex ? from + 2 : from;
  while (digitValue(text.charCodeAt(to)) <= 15) to++;
  const isNarrow = to - from <= 9; // fits into 32 bits in any base
  if (!isHex || isNarrow) {
    // The scanner knows all that can be wrong with a number; wide decimal ones are rare.
    if (isNarrow || !scanner.atNumber) return writeNumber(scanner, bytes, at, { size, what });
    return writeBig(scanner, bytes, at, { to, size, what });
  }
  let first = from + 2;
  while (first < to && text.charCodeAt(first) === 0x30) first++;
  if (to - first > 2 * size) failWide(scanner, from, size, what);
  scanner.at = to;
  scanner.expectNoWord(16, what);
  bytes.fill(0, at, at + size);
  for (let nibble = 0; nibble < to - first; nibble++) {
    const place = at + size - 1 - (nibble >> 1);
    bytes[place]! |= digitValue(text.charCodeAt(to - 1 - nibble)) << 4 * (nibble & 1);
  }
}

function failWide(scanner: Scanner, from: number, size: number, what: string): never {
  scanner.fail(from, `${what} must have at most ${size * 8} bits: 0 … 0x${"f".repeat(2 * size)}`);
}

function writeNumber(
  scanner: Scanner,
  bytes: Uint8Array,
  at: number,
  { size, what }: { readonly size: number; readonly what: string },
): void {
  const value = scanner.number(Math.min(32, size * 8), what);
  for (let index = 0; index < size; index++) {
    bytes[at + size - 1 - index] = index < 4 ? value >>> 8 * index : 0;
  }
}

function writeBig(
  scanner: Scanner,
  bytes: Uint8Array,
  at: number,
  { to, size, what }: { readonly to: number; readonly size: number; readonly what: string },
): void {
  const from = scanner.at;
  const octal = scanner.text.charCodeAt(from) === 0x30;
  const digits = scanner.text.slice(octal ? from + 1 : from, to);
  const wrong = digits.search(octal ? /[^0-7]/ : /[^0-9]/);
  scanner.at = wrong < 0 ? to : to - digits.length + wrong;
  scanner.expectNoWord(octal ? 8 : 10, what);
  let value = BigInt((octal ? "0o" : "") + digits);
  if (value >= 1n << BigInt(8 * size)) failWide(scanner, from, size, what);
  for (let index = size - 1; index >= 0; index--) {
    bytes[at + index] = Number(value & 0xffn);
    value >>= 8n;
  }
}

/** Hexadecimal with 0x, without leading zeros; zero is `0`, or 0x0 if `prefixed`. */
export function formatWide(
  bytes: Uint8Array,
  at: number,
  size: number,
  prefixed: boolean = false,
): string {
  let digits = "";
  for (let index = at; index < at + size; index++) digits += HEX_BYTES[bytes[index]!]!;
  const text = digits.replace(/^0+/, "");
  if (text === "") return prefixed ? "0x0" : "0";
  return "0x" + text;
}
