/**
 * SCTP common header, 12 bytes (RFC 9260 §3.1). `at` is the offset of its first byte. Allocates nothing.
 */
import { crc32c } from "../packet/checksum.ts";

export const SIZE = 12;
const SOURCE = 0;
const DESTINATION = 2;
const TAG = 4;
/** Offset of the checksum: what a partial checksum's csum_offset is. */
export const CHECKSUM = 8;

/** Whether a whole header lies in [at, end). */
export function fits(_view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end;
}

export function source(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE);
}

export function destination(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION);
}

/** Verification tag, unsigned. */
export function tag(view: DataView, at: number): number {
  return view.getUint32(at + TAG);
}

/** CRC32c as it stands in the header, read in its own (little-endian) byte order. */
export function checksum(view: DataView, at: number): number {
  return view.getUint32(at + CHECKSUM, true);
}

/** Whether the checksum of a packet that ends at `end` is right. */
export function isChecksumRight(view: DataView, at: number, end: number): boolean {
  return checksum(view, at) === crc32c(view, at, end);
}

/** Sets the checksum of a packet that ends at `end`. */
export function finishPacket(view: DataView, at: number, end: number): void {
  view.setUint32(at + CHECKSUM, crc32c(view, at, end), true);
}

/** A header's fields. */
export interface Fields {
  readonly source: number;
  readonly destination: number;
  readonly tag: number;
}

/** Writes all 12 bytes; the checksum is 0. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint16(at + SOURCE, fields.source);
  view.setUint16(at + DESTINATION, fields.destination);
  view.setUint32(at + TAG, fields.tag);
  view.setUint32(at + CHECKSUM, 0);
}
