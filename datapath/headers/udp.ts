/**
 * UDP header, 8 bytes (RFC 768). `at` is the offset of its first byte. Allocates nothing.
 */

export const SIZE = 8;
const SOURCE = 0;
const DESTINATION = 2;
const LENGTH = 4;
/** Offset of the checksum: what a partial checksum's csum_offset is. */
export const CHECKSUM = 6;

/** Whether a whole header lies in [at, end). */
export function fits(_view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end;
}

/** Source port. */
export function source(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE);
}

/** Destination port. */
export function destination(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION);
}

/** Bytes of header and payload as the header says. */
export function totalSize(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH);
}

/** As it stands in the header (network byte order); 0: none. */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** A header's fields. */
export interface Fields {
  /** Source port. */
  readonly source: number;
  /** Destination port. */
  readonly destination: number;
  /** Bytes of header and payload. */
  readonly totalSize: number;
}

/** Writes all 8 bytes; the checksum is 0, which says that there is none. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint16(at + SOURCE, fields.source);
  view.setUint16(at + DESTINATION, fields.destination);
  view.setUint16(at + LENGTH, fields.totalSize);
  view.setUint16(at + CHECKSUM, 0);
}
