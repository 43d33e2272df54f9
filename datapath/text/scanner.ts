/**
 * Reads flow and action text character by character. One scanner is made per text; what it finds
 * wrong it says with the column, as a FlowSyntaxError.
 */
import { FlowSyntaxError } from "../errors.ts";
import { nearest } from "./near.ts";

const TAB = 0x09;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const COMMA = 0x2c;
export const OPEN = 0x28;
export const CLOSE = 0x29;
export const PLUS = 0x2b;
export const MINUS = 0x2d;
export const SLASH = 0x2f;
export const EQUALS = 0x3d;

/** Character code past the end of the text. */
export const END_OF_TEXT = -1;

function isSeparator(code: number): boolean {
  return code === COMMA || code === SPACE || code === TAB || code === LINE_FEED ||
    code === CARRIAGE_RETURN;
}

function isWordCharacter(code: number): boolean {
  return (code >= 0x61 && code <= 0x7a) || (code >= 0x30 && code <= 0x39) || code === 0x5f ||
    (code >= 0x41 && code <= 0x5a);
}

function isDecimalDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/** Value of a digit in bases up to 16, 255 for anything else. */
export function digitValue(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  if (lower >= 0x61 && lower <= 0x66) return lower - 0x57;
  return 255;
}

export class Scanner {
  readonly text: string;
  /** Position of the next character. */
  at = 0;

  constructor(text: string) {
    this.text = text;
  }

  /** Code of the next character, or END_OF_TEXT. */
  peek(): number {
    return this.at < this.text.length ? this.text.charCodeAt(this.at) : END_OF_TEXT;
  }

  get ended(): boolean {
    return this.at >= this.text.length;
  }

  /** Skips commas and blanks; empty items are nothing. */
  skipSeparators(): void {
    const text = this.text;
    while (this.at < text.length && isSeparator(text.charCodeAt(this.at))) this.at++;
  }

  /** Takes the next character if it is this one. */
  take(code: number): boolean {
    if (this.peek() !== code) return false;
    this.at++;
    return true;
  }

  /** Takes this character or fails. `where` ends the sentence "expected ')' …". */
  expect(code: number, where: string): void {
    if (this.take(code)) return;
    this.fail(this.at, `expected "${String.fromCharCode(code)}" ${where}${this.#found()}`);
  }

  /** Takes letters, digits and underscores; "" if there are none. */
  word(): string {
    const text = this.text;
    const from = this.at;
    let to = from;
    while (to < text.length && isWordCharacter(text.charCodeAt(to))) to++;
    this.at = to;
    return text.slice(from, to);
  }

  /** Takes everything up to a separator or the end. */
  item(): string {
    const text = this.text;
    const from = this.at;
    let to = from;
    while (to < text.length && !isSeparator(text.charCodeAt(to))) to++;
    this.at = to;
    return text.slice(from, to);
  }

  /** Takes everything up to the character or the end. */
  until(code: number): string {
    const found = this.text.indexOf(String.fromCharCode(code), this.at);
    const to = found < 0 ? this.text.length : found;
    const part = this.text.slice(this.at, to);
    this.at = to;
    return part;
  }

  /** Whether a number begins here. */
  get atNumber(): boolean {
    return isDecimalDigit(this.peek());
  }

  /**
   * Takes a number as C's `%i` reads it: decimal, hexadecimal after 0x, octal after 0. At most
   * `bits` (≤ 32) wide; `what` names it in errors.
   */
  number(bits: number, what: string): number {
    const from = this.at;
    const first = this.peek();
    if (!isDecimalDigit(first)) {
      this.fail(from, `${what} must be a number (10, 0xa or 012)${this.#found()}`);
    }
    let base = 10;
    if (first === 0x30 && (this.text.charCodeAt(from + 1) | 0x20) === 0x78) {
      base = 16;
      this.at += 2;
    } else if (first === 0x30) {
      base = 8;
    }
    const digitsAt = this.at;
    let value = 0;
    for (;;) {
      const digit = digitValue(this.peek());
      if (digit >= base) break;
      if (value < 2 ** 40) value = value * base + digit;
      this.at++;
    }
    if (this.at === digitsAt) this.fail(this.at, `${what} has no digits after 0x`);
    this.expectNoWord(base, what);
    const max = 2 ** bits - 1;
    if (value > max) {
      this.fail(from, `${what} must be 0 … ${max}${max > 9 ? ` (0x${max.toString(16)})` : ""}`);
    }
    return value;
  }

  /** Fails if a letter or digit follows a number of this base. */
  expectNoWord(base: number, what: string): void {
    if (isWordCharacter(this.peek())) this.#badDigit(base, what);
  }

  #badDigit(base: number, what: string): never {
    const kind = base === 16 ? "hexadecimal" : base === 8 ? "octal" : "decimal";
    const why = base === 8 ? `: ${what} begins with 0` : "";
    this.fail(this.at, `"${this.text[this.at]}" is no ${kind} digit${why}`);
  }

  #found(): string {
    if (this.ended) return ", but the text ends";
    return `, not "${this.text[this.at]}"`;
  }

  /** Refuses a name. `kind` says what it should have been; `names` are all there are. */
  unknown(from: number, kind: string, name: string, names: Iterable<string>): never {
    this.fail(from, `unknown ${kind} "${name}"${nearest(name, names)}`);
  }

  /** Throws a FlowSyntaxError at a position. */
  fail(from: number, problem: string): never {
    throw new FlowSyntaxError(this.text, from, problem);
  }
}
