/** TCP flags in flow text: `syn|ack`, `+syn-ack`, numbers, and the letters of a flow's statistics. */
import { CLOSE, END_OF_TEXT, MINUS, PLUS, type Scanner, SLASH } from "./scanner.ts";

/** Name of each bit, lowest first. */
export const TCP_FLAG_NAMES: readonly string[] = [
  "fin",
  "syn",
  "rst",
  "psh",
  "ack",
  "urg",
  "ece",
  "cwr",
  "ns",
  "[200]",
  "[400]",
  "[800]",
];
const ALL = 0xfff;
const BAR = 0x7c;

/** What was read: mask is 0xfff for an exact match. */
export interface FlagsMatch {
  readonly value: number;
  readonly mask: number;
}

/** Reads flags up to (not with) the character `end`, or to a blank or comma where `end` is END_OF_TEXT. */
export function scanTcpFlags(scanner: Scanner, end: number = CLOSE): FlagsMatch {
  const next = scanner.peek();
  if (next === PLUS || next === MINUS) return scanSigned(scanner, end);
  let value = 0;
  if (ends(scanner, end)) failFlags(scanner, scanner.at);
  do {
    if (scanner.atNumber) {
      value |= scanner.number(12, "tcp_flags");
      if (scanner.take(SLASH)) return { value, mask: scanner.number(16, "tcp_flags mask") & ALL };
    } else {
      value |= scanFlag(scanner);
    }
  } while (scanner.take(BAR) && !ends(scanner, end));
  return { value, mask: ALL };
}

function scanSigned(scanner: Scanner, end: number): FlagsMatch {
  let value = 0;
  let mask = 0;
  while (!ends(scanner, end)) {
    const at = scanner.at;
    const set = scanner.take(PLUS);
    if (!set && !scanner.take(MINUS)) {
      scanner.fail(at, "each TCP flag needs + (set) or - (not set) in front");
    }
    const bit = scanFlag(scanner);
    if ((mask & bit) !== 0) scanner.fail(at, "a TCP flag may stand only once");
    mask |= bit;
    if (set) value |= bit;
  }
  return { value, mask };
}

function ends(scanner: Scanner, end: number): boolean {
  const next = scanner.peek();
  return next === end || next === END_OF_TEXT || next === 0x2c || next === 0x20;
}

function scanFlag(scanner: Scanner): number {
  const from = scanner.at;
  const bracket = scanner.text[from] === "[";
  const name = bracket ? scanner.text.slice(from, from + 5) : scanner.word();
  const index = TCP_FLAG_NAMES.indexOf(name);
  if (index < 0) failFlags(scanner, from);
  if (bracket) scanner.at = from + 5;
  return 1 << index;
}

function failFlags(scanner: Scanner, from: number): never {
  scanner.fail(
    from,
    `tcp_flags must be names joined by | (exactly these are set), names each with + or -, or ` +
      `value/mask; names are ${TCP_FLAG_NAMES.join(", ")}`,
  );
}

/** Text of a match on flags; mask 0 is `0/0`. */
export function formatTcpFlags(value: number, mask: number): string {
  if (mask === ALL) {
    if (value === 0) return "0";
    return TCP_FLAG_NAMES.filter((_, bit) => (value >> bit & 1) !== 0).join("|");
  }
  if (mask === 0) return "0/0";
  let text = "";
  for (let bit = 0; bit < TCP_FLAG_NAMES.length; bit++) {
    if ((mask >> bit & 1) === 0) continue;
    text += ((value >> bit & 1) !== 0 ? "+" : "-") + TCP_FLAG_NAMES[bit]!;
  }
  return text;
}

const LETTERS = ["F", "S", "R", "P", ".", "U", "E", "C", "N", "[200]", "[400]", "[800]"];
const LETTER_ORDER = [1, 0, 3, 2, 5, 4, 6, 7, 8, 9, 10, 11];

/** The flags seen by a flow, as dumps show them after `flags:`: `SFPR.`; "" for none. */
export function formatSeenTcpFlags(flags: number): string {
  return LETTER_ORDER.filter((bit) => (flags >> bit & 1) !== 0).map((bit) => LETTERS[bit]).join("");
}
