/**
 * MPLS label stack entry, 4 bytes (RFC 3032 §2.1): label, traffic class, bottom of stack, time to live.
 * `at` is the offset of its first byte. Nothing here allocates.
 */
export const SIZE = 4;

/** Whether a whole entry lies in [at, end). */
export function fits(at: number, end: number): boolean {
  return at + SIZE <= end;
}

/** The whole entry: label << 12 | traffic class << 9 | bottom of stack << 8 | time to live. */
export function entry(view: DataView, at: number): number {
  return view.getUint32(at);
}

/** Whether no other entry follows. */
export function isBottom(view: DataView, at: number): boolean {
  return (view.getUint8(at + 2) & 1) !== 0;
}

/** Writes all 4 bytes. */
export function write(view: DataView, at: number, entry: number): void {
  view.setUint32(at, entry);
}
