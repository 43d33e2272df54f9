/**
 * MAC, IPv4 and IPv6 addresses between text and bytes in network byte order. IPv6 text is
 * inet_ntop's (RFC 5952 with glibc's dotted forms).
 */
import { CLOSE, digitValue, END_OF_TEXT, type Scanner } from "./scanner.ts";

const COLON = 0x3a;
const DOT = 0x2e;
const HEX = "0123456789abcdef";

/** Two hexadecimal digits for each byte value. */
export const HEX_BYTES: readonly string[] = Array.from(
  { length: 256 },
  (_, value) => HEX[value >> 4]! + HEX[value & 15]!,
);

/** Reads six bytes of one or two hexadecimal digits each, with colons between. */
export function scanMac(scanner: Scanner, bytes: Uint8Array, at: number, what: string): void {
  const from = scanner.at;
  for (let index = 0; index < 6; index++) {
    if (index > 0 && !scanner.take(COLON)) badMac(scanner, from, what);
    const high = digitValue(scanner.peek());
    if (high > 15) badMac(scanner, from, what);
    scanner.at++;
    const low = digitValue(scanner.peek());
    if (low > 15) {
      bytes[at + index] = high;
    } else {
      scanner.at++;
      bytes[at + index] = high << 4 | low;
    }
  }
  if (scanner.peek() === COLON || digitValue(scanner.peek()) <= 15) badMac(scanner, from, what);
}

function badMac(scanner: Scanner, from: number, what: string): never {
  scanner.fail(from, `${what} must be a MAC address, six hexadecimal bytes: 00:11:22:aa:bb:cc`);
}

export function formatMac(bytes: Uint8Array, at: number): string {
  return HEX_BYTES[bytes[at]!]! + ":" + HEX_BYTES[bytes[at + 1]!]! + ":" +
    HEX_BYTES[bytes[at + 2]!]! + ":" + HEX_BYTES[bytes[at + 3]!]! + ":" +
    HEX_BYTES[bytes[at + 4]!]! + ":" + HEX_BYTES[bytes[at + 5]!]!;
}

/** Reads four decimal bytes with dots between. */
export function scanIpv4(scanner: Scanner, bytes: Uint8Array, at: number, what: string): void {
  const from = scanner.at;
  for (let index = 0; index < 4; index++) {
    if (index > 0 && !scanner.take(DOT)) badIpv4(scanner, from, what);
    let value = 0;
    let digits = 0;
    for (;; digits++) {
      const digit = digitValue(scanner.peek());
      if (digit > 9) break;
      value = value * 10 + digit;
      scanner.at++;
    }
    if (digits === 0 || digits > 3 || value > 255) badIpv4(scanner, from, what);
    bytes[at + index] = value;
  }
  const next = scanner.peek();
  if (next === DOT || next === COLON || digitValue(next) <= 15) badIpv4(scanner, from, what);
}

function badIpv4(scanner: Scanner, from: number, what: string): never {
  scanner.fail(from, `${what} must be an IPv4 address, four numbers 0 … 255: 192.0.2.1`);
}

export function formatIpv4(bytes: Uint8Array, at: number): string {
  return bytes[at]! + "." + bytes[at + 1]! + "." + bytes[at + 2]! + "." + bytes[at + 3]!;
}

const parsed = new Uint8Array(16);

/** Reads an IPv6 address as inet_pton does. */
export function scanIpv6(scanner: Scanner, bytes: Uint8Array, at: number, what: string): void {
  const from = scanner.at;
  let to = from;
  for (; to < scanner.text.length; to++) {
    const code = scanner.text.charCodeAt(to);
    if (code !== COLON && code !== DOT && digitValue(code) > 15) break;
  }
  if (!parseIpv6(scanner.text, from, to)) {
    scanner.fail(from, `${what} must be an IPv6 address: 2001:db8::1`);
  }
  scanner.at = to;
  bytes.set(parsed, at);
}

/** Parses text[from, to) into `parsed`. */
function parseIpv6(text: string, from: number, to: number): boolean {
  parsed.fill(0);
  let at = 0;
  let gapAt = -1;
  let i = from;
  if (text.charCodeAt(i) === COLON) {
    if (text.charCodeAt(i + 1) !== COLON || i + 2 > to) return false;
    gapAt = 0;
    i += 2;
  }
  while (i < to) {
    let value = 0;
    const groupAt = i;
    for (; i < to; i++) {
      const digit = digitValue(text.charCodeAt(i));
      if (digit > 15) break;
      value = value << 4 | digit;
    }
    if (i < to && text.charCodeAt(i) === DOT) {
      if (at > 12 || !parseTail(text.slice(groupAt, to), at)) return false;
      at += 4;
      break;
    }
    if (i === groupAt || i - groupAt > 4 || at > 14) return false;
    parsed[at++] = value >> 8;
    parsed[at++] = value & 0xff;
    if (i === to) break;
    i++; // the colon
    if (i < to && text.charCodeAt(i) === COLON) {
      if (gapAt >= 0) return false;
      gapAt = at;
      i++;
    } else if (i === to) {
      return false;
    }
  }
  if (gapAt < 0) return at === 16;
  if (at === 16) return false;
  parsed.copyWithin(16 - (at - gapAt), gapAt, at);
  parsed.fill(0, gapAt, 16 - (at - gapAt));
  return true;
}

/** The dotted end of an IPv6 address. */
function parseTail(text: string, at: number): boolean {
  const parts = text.split(".");
  if (parts.length !== 4) return false;
  return parts.every((part, index) => {
    parsed[at + index] = Number(part);
    return /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256;
  });
}

/** inet_ntop's text of 16 bytes. */
export function formatIpv6(bytes: Uint8Array, at: number): string {
  let bestAt = -1;
  let bestLength = 1; // a single zero group is not shortened
  for (let group = 0; group < 8;) {
    let length = 0;
    while (group + length < 8 && word(bytes, at, group + length) === 0) length++;
    if (length > bestLength) {
      bestAt = group;
      bestLength = length;
    }
    group += length + 1;
  }
  const dotted = bestAt === 0 &&
    (bestLength === 6 || (bestLength === 5 && word(bytes, at, 5) === 0xffff));
  let text = "";
  for (let group = 0; group < 8; group++) {
    if (group === bestAt) {
      text += group + bestLength === 8 ? "::" : ":";
      group += bestLength - 1;
      continue;
    }
    if (group > 0) text += ":";
    if (dotted && group === 6) return text + formatIpv4(bytes, at + 12);
    text += word(bytes, at, group).toString(16);
  }
  return text;
}

function word(bytes: Uint8Array, at: number, group: number): number {
  return bytes[at + group * 2]! << 8 | bytes[at + group * 2 + 1]!;
}

/**
 * Reads a prefix length into a mask if a number and then the end of the value follow; false, and
 * nothing taken, if not. Open vSwitch has no such form; everybody else has.
 */
export function scanPrefixLength(
  scanner: Scanner,
  bytes: Uint8Array,
  at: number,
  size: 4 | 16,
): boolean {
  const from = scanner.at;
  let to = from;
  while (digitValue(scanner.text.charCodeAt(to)) <= 9) to++;
  const next = to < scanner.text.length ? scanner.text.charCodeAt(to) : END_OF_TEXT;
  const isEnd = next === END_OF_TEXT || next === CLOSE || next === 0x2c || next <= 0x20;
  if (to === from || !isEnd) return false;
  const length = Number(scanner.text.slice(from, to));
  if (length > size * 8) scanner.fail(from, `a prefix length must be 0 … ${size * 8}`);
  scanner.at = to;
  for (let index = 0; index < size; index++) {
    const ones = Math.min(8, Math.max(0, length - index * 8));
    bytes[at + index] = 0xff << (8 - ones) & 0xff;
  }
  return true;
}
