/**
 * Checksums: the Internet checksum (RFC 1071) in full and incrementally (RFC 1624), pseudo-headers,
 * and SCTP's CRC32c (RFC 9260 appendix A).
 *
 * Everything here works on 16-bit units *as a little-endian read of the frame gives them*: the
 * one's-complement sum is the same in either byte order but for a swap, so a checksum field is read
 * and written with getUint16/setUint16(at, …, true) and never swapped. A *sum* is the plain sum, a
 * *checksum* its complement. A partial checksum (VIRTIO_NET_HDR_F_NEEDS_CSUM) is a sum.
 */

import { BLOCKS_SIZE_MAX, type BlockSum } from "./block_sum.ts";

/** Bytes from which the floating-point loop wins (1.5 times as fast at 64 KiB; it has to be set up). */
const LONG_SIZE = 256;

/** The memory of a thread's packets, and what sums its blocks; undefined: nothing is faster. */
let fastMemory: ArrayBufferLike | undefined;
let fastSum: BlockSum = () => 0;

/** From now on `by` sums long ranges of views of `memory`, in this isolate. One memory only: the last one. */
export function sumFaster(memory: ArrayBufferLike, by: BlockSum): void {
  fastMemory = memory;
  fastSum = by;
}

/** Folds a sum (below 2^32) to 16 bits: 0 only if nothing but zeros was added. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  const twice = (once & 0xffff) + (once >>> 16);
  return (twice & 0xffff) + (twice >>> 16);
}

/** Checksum of a sum: the folded sum's complement. */
export function finish(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/** Folded sum of [at, end), at most 2^20 bytes; an odd last byte counts as followed by a zero. */
export function sum(view: DataView, at: number, end: number): number {
  let low = 0;
  let high = 0;
  if (end - at >= LONG_SIZE) {
    const blocksEnd = at + ((end - at) & ~31);
    low = view.buffer === fastMemory && blocksEnd - at <= BLOCKS_SIZE_MAX
      ? fold(fastSum(at + view.byteOffset, blocksEnd + view.byteOffset))
      : sumBlocks(view, at, blocksEnd);
    at = blocksEnd;
  }
  for (; at + 4 <= end; at += 4) {
    const word = view.getInt32(at, true);
    low += word & 0xffff;
    high += word >>> 16;
  }
  if (at + 2 <= end) {
    low += view.getUint16(at, true);
    at += 2;
  }
  if (at < end) low += view.getUint8(at);
  return fold(low + high);
}

/** Folded sum of whole 32-byte blocks. Doubles hold the carries exactly: 2^53 is far off. */
function sumBlocks(view: DataView, at: number, end: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (; at < end; at += 32) {
    a += view.getUint32(at, true);
    b += view.getUint32(at + 4, true);
    c += view.getUint32(at + 8, true);
    d += view.getUint32(at + 12, true);
    a += view.getUint32(at + 16, true);
    b += view.getUint32(at + 20, true);
    c += view.getUint32(at + 24, true);
    d += view.getUint32(at + 28, true);
  }
  const total = a + b + c + d;
  const carries = Math.floor(total / 0x1_0000_0000);
  const word = total >>> 0;
  return fold((word & 0xffff) + (word >>> 16) + (carries & 0xffff) + (carries >>> 16));
}

/** A number of up to 16 bits as a unit of a sum: its bytes as they would lie in a frame. */
export function unit(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

/** Folded sum of an IPv4 pseudo-header. `l3At`: IPv4 header; `size`: of the L4 header and payload. */
export function pseudoIpv4(view: DataView, l3At: number, protocol: number, size: number): number {
  const source = view.getInt32(l3At + 12, true);
  const destination = view.getInt32(l3At + 16, true);
  return fold(
    (source & 0xffff) + (source >>> 16) + (destination & 0xffff) + (destination >>> 16) +
      (protocol << 8) + unit(size),
  );
}

/** Folded sum of an IPv6 pseudo-header. `l3At`: IPv6 header; `size`: of the L4 header and payload. */
export function pseudoIpv6(view: DataView, l3At: number, protocol: number, size: number): number {
  return fold(
    sum(view, l3At + 8, l3At + 40) + (protocol << 8) + unit(size & 0xffff) + unit(size >>> 16),
  );
}

/** What a sum grows by when a 16-bit unit changes from `from` to `to`. */
export function difference16(from: number, to: number): number {
  return (~from & 0xffff) + to;
}

/** What a sum grows by when a 32-bit word, read little-endian, changes from `from` to `to`. */
export function difference32(from: number, to: number): number {
  return (~from & 0xffff) + (~from >>> 16) + (to & 0xffff) + (to >>> 16);
}

/** Checksum after its data's sum grew by `difference` (RFC 1624, equation 3). */
export function update(checksum: number, difference: number): number {
  return ~fold((~checksum & 0xffff) + difference) & 0xffff;
}

/** Slicing-by-4 tables for the reflected polynomial 0x82f63b78: 4 × 256 words. Made at first use. */
let crcTables: Int32Array | undefined;

function makeCrcTables(): Int32Array {
  const tables = new Int32Array(1024);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    tables[byte] = crc;
  }
  for (let at = 256; at < 1024; at++) {
    const previous = tables[at - 256]!;
    tables[at] = (previous >>> 8) ^ tables[previous & 0xff]!;
  }
  return tables;
}

/**
 * SCTP checksum of a packet in [at, end), whose checksum field (at + 8) counts as zero. Unsigned, to
 * be compared with and written as a little-endian word. [at, end) must have the 12 bytes of the header.
 */
export function crc32c(view: DataView, at: number, end: number): number {
  const tables = crcTables ??= makeCrcTables();
  let crc = -1;
  crc = crcWord(tables, crc ^ view.getInt32(at, true));
  crc = crcWord(tables, crc ^ view.getInt32(at + 4, true));
  crc = crcWord(tables, crc);
  at += 12;
  for (; at + 4 <= end; at += 4) crc = crcWord(tables, crc ^ view.getInt32(at, true));
  for (; at < end; at++) crc = (crc >>> 8) ^ tables[(crc ^ view.getUint8(at)) & 0xff]!;
  return ~crc >>> 0;
}

function crcWord(tables: Int32Array, word: number): number {
  return tables[768 + (word & 0xff)]! ^ tables[512 + ((word >>> 8) & 0xff)]! ^
    tables[256 + ((word >>> 16) & 0xff)]! ^ tables[word >>> 24]!;
}
