/**
 * ICMP header, 8 bytes (RFC 792). `at` is the offset of its first byte. Allocates nothing.
 */
import { finish, sum } from "../packet/checksum.ts";

export const SIZE = 8;
const TYPE = 0;
const CODE = 1;
const CHECKSUM = 2;
const REST = 4;

export const ECHO_REPLY = 0;
export const ECHO_REQUEST = 8;

/** Whether a whole header lies in [at, end). */
export function fits(_view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end;
}

export function type(view: DataView, at: number): number {
  return view.getUint8(at + TYPE);
}

export function code(view: DataView, at: number): number {
  return view.getUint8(at + CODE);
}

/** As it stands in the header (network byte order). */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** The header's last four bytes, whose meaning depends on the type; for echo: identifier << 16 | sequence. */
export function rest(view: DataView, at: number): number {
  return view.getUint32(at + REST);
}

/** Sets the checksum of a message that ends at `end`. */
export function finishMessage(view: DataView, at: number, end: number): void {
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, finish(sum(view, at, end)), true);
}

/** Writes all 8 bytes; the checksum is 0. */
export function write(view: DataView, at: number, type: number, code: number, rest: number): void {
  view.setUint8(at + TYPE, type);
  view.setUint8(at + CODE, code);
  view.setUint16(at + CHECKSUM, 0);
  view.setUint32(at + REST, rest);
}
