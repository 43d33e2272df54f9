/**
 * GRE header, 4 to 16 bytes (RFC 2784 §2, key and sequence number of RFC 2890 §2). `at` is the offset
 * of its first byte. Allocates nothing.
 */
import { finish, sum } from "../packet/checksum.ts";

/** Without checksum, key and sequence number. */
export const SIZE = 4;
/** With all three. */
export const SIZE_MAX = 16;
const FLAGS = 0;
const PROTOCOL = 2;
const CHECKSUM = 4;
const FIELD_SIZE = 4;

/** Bits of {@link flags}: a checksum, and two bytes that are 0. */
export const FLAG_CHECKSUM = 0x8000;
/** A key. */
export const FLAG_KEY = 0x2000;
/** A sequence number. */
export const FLAG_SEQUENCE = 0x1000;
/** Routing and strict source route (RFC 1701), recursion and version: nothing that is known here. */
const FLAGS_REFUSED = 0x4f07;

/** Transparent Ethernet bridging: what follows is an Ethernet frame. */
export const PROTOCOL_ETHERNET = 0x6558;

/** Whether a whole header of version 0 without routing lies in [at, end). */
export function fits(view: DataView, at: number, end: number): boolean {
  if (at + SIZE > end) return false;
  const bits = view.getUint16(at + FLAGS);
  return (bits & FLAGS_REFUSED) === 0 && at + sizeOf(bits) <= end;
}

/** Bytes of a header with these flags. */
export function sizeOf(flags: number): number {
  return SIZE + ((flags & FLAG_CHECKSUM) !== 0 ? FIELD_SIZE : 0) +
    ((flags & FLAG_KEY) !== 0 ? FIELD_SIZE : 0) +
    ((flags & FLAG_SEQUENCE) !== 0 ? FIELD_SIZE : 0);
}

/** FLAG_* bits. */
export function flags(view: DataView, at: number): number {
  return view.getUint16(at + FLAGS);
}

/** Ethernet type of what follows. */
export function protocol(view: DataView, at: number): number {
  return view.getUint16(at + PROTOCOL);
}

/** Means something if flags has FLAG_KEY. */
export function key(view: DataView, at: number): number {
  return view.getUint32(at + SIZE + (hasChecksum(view, at) ? FIELD_SIZE : 0));
}

/** Means something if flags has FLAG_SEQUENCE. */
export function sequence(view: DataView, at: number): number {
  return view.getUint32(at + sizeOf(flags(view, at)) - FIELD_SIZE);
}

/** As it stands in the header (network byte order). Means something if flags has FLAG_CHECKSUM. */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** Whether there is no checksum, or a right one over [at, end). */
export function isChecksumRight(view: DataView, at: number, end: number): boolean {
  return !hasChecksum(view, at) || sum(view, at, end) === 0xffff;
}

function hasChecksum(view: DataView, at: number): boolean {
  return (flags(view, at) & FLAG_CHECKSUM) !== 0;
}

/** A header's fields. */
export interface Fields {
  /** FLAG_*. */
  readonly flags: number;
  /** EtherType of the payload. */
  readonly protocol: number;
  /** Key, unsigned. */
  readonly key: number;
  /** Sequence number, unsigned. */
  readonly sequence: number;
}

/** Writes all of its bytes; a checksum is 0 until {@link setChecksum}. Returns how many. */
export function write(view: DataView, at: number, fields: Fields): number {
  const { flags } = fields;
  view.setUint16(at + FLAGS, flags);
  view.setUint16(at + PROTOCOL, fields.protocol);
  let next = at + SIZE;
  if ((flags & FLAG_CHECKSUM) !== 0) {
    view.setUint32(next, 0);
    next += FIELD_SIZE;
  }
  if ((flags & FLAG_KEY) !== 0) {
    view.setUint32(next, fields.key);
    next += FIELD_SIZE;
  }
  if ((flags & FLAG_SEQUENCE) !== 0) {
    view.setUint32(next, fields.sequence);
    next += FIELD_SIZE;
  }
  return next - at;
}

/** Sets the checksum of a header that is otherwise complete. `payloadSum`: sum (checksum.ts) of what follows. */
export function setChecksum(view: DataView, at: number, payloadSum: number): void {
  const end = at + sizeOf(flags(view, at));
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, finish(sum(view, at, end) + payloadSum), true);
}
