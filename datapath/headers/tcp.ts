/**
 * TCP header, 20 to 60 bytes (RFC 9293 §3.1). `at` is the offset of its first byte. Allocates nothing.
 */

/** Smallest header, and what {@link write} writes. */
export const SIZE = 20;
const SOURCE = 0;
const DESTINATION = 2;
const SEQUENCE = 4;
const ACKNOWLEDGMENT = 8;
const OFFSET = 12;
const WINDOW = 14;
/** Offset of the checksum: what a partial checksum's csum_offset is. */
export const CHECKSUM = 16;
const URGENT = 18;

export const FIN = 0x001;
export const SYN = 0x002;
export const RST = 0x004;
export const PSH = 0x008;
export const ACK = 0x010;
export const URG = 0x020;
export const ECE = 0x040;
export const CWR = 0x080;
export const NS = 0x100;

/** Whether a whole header, options included, lies in [at, end). */
export function fits(view: DataView, at: number, end: number): boolean {
  if (at + SIZE > end) return false;
  const size = headerSize(view, at);
  return size >= SIZE && at + size <= end;
}

export function source(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE);
}

export function destination(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION);
}

/** Sequence number, unsigned. */
export function sequence(view: DataView, at: number): number {
  return view.getUint32(at + SEQUENCE);
}

/** Acknowledgment number, unsigned. */
export function acknowledgment(view: DataView, at: number): number {
  return view.getUint32(at + ACKNOWLEDGMENT);
}

/** Bytes of the header with its options; below 20: malformed. */
export function headerSize(view: DataView, at: number): number {
  return (view.getUint8(at + OFFSET) & 0xf0) >>> 2;
}

/** All 12 flag bits. */
export function flags(view: DataView, at: number): number {
  return view.getUint16(at + OFFSET) & 0x0fff;
}

export function window(view: DataView, at: number): number {
  return view.getUint16(at + WINDOW);
}

/** As it stands in the header (network byte order). */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** A header's fields. */
export interface Fields {
  readonly source: number;
  readonly destination: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  readonly window: number;
}

/** Writes all 20 bytes of a header without options; the checksum is 0. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint16(at + SOURCE, fields.source);
  view.setUint16(at + DESTINATION, fields.destination);
  view.setUint32(at + SEQUENCE, fields.sequence);
  view.setUint32(at + ACKNOWLEDGMENT, fields.acknowledgment);
  view.setUint16(at + OFFSET, 5 << 12 | (fields.flags & 0x0fff));
  view.setUint16(at + WINDOW, fields.window);
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + URGENT, 0);
}
