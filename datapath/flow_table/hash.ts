/**
 * Hashes of keys: a sum of products with secret odd constants, one per key word, and a finaliser.
 *
 * A sum has no order, so the words' products overlap in the processor, and words that a mask leaves
 * out cost nothing. Each word's upper half is folded into its lower half first: a key holds network
 * byte order as a little-endian host reads it, so the last byte of an address is the word's highest,
 * and a product modulo 2^32 alone would keep only eight bits of it.
 */
import { KEY_WORDS } from "../key.ts";

/** Index of the constant that every hash starts from. The first KEY_WORDS are the factors. */
const START = KEY_WORDS;

/** Shared memory with the constants that follow from a seed (at least 16 bytes). */
export function makeConstants(seed: Uint8Array): SharedArrayBuffer {
  if (seed.length < 16) throw new RangeError("Cannot make hash constants: the seed needs 16 bytes");
  const view = new DataView(seed.buffer, seed.byteOffset, seed.byteLength);
  let a = view.getInt32(0, true);
  let b = view.getInt32(4, true);
  let c = view.getInt32(8, true);
  let d = view.getInt32(12, true);
  const next = (): number => { // sfc32
    const out = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + out | 0;
    return out;
  };
  for (let round = 0; round < 12; round++) next();
  const constants = new Int32Array(new SharedArrayBuffer((KEY_WORDS + 1) * 4));
  for (let at = 0; at <= KEY_WORDS; at++) constants[at] = next() | 1;
  return constants.buffer;
}

/** Spreads every bit of a sum over the word. */
export function finalise(sum: number): number {
  let h = sum ^ (sum >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** One word's part of the sum. */
export function product(word: number, factor: number): number {
  return Math.imul(word ^ (word >>> 16), factor);
}

/** What the sums under a mask start from: differs between masks. */
export function maskHash(constants: Int32Array, mask: Int32Array, at: number): number {
  let sum = constants[START]!;
  for (let word = 0; word < KEY_WORDS; word++) {
    sum = (sum + product(mask[at + word]!, constants[word]!)) | 0;
  }
  return finalise(sum);
}

/** Where to look and what at: a mask in a table of masks. */
export interface MaskRange {
  /** Index of the mask's word 0. */
  readonly at: number;
  /** Words [start, end) are those that may be nonzero. */
  readonly start: number;
  readonly end: number;
  /** {@link maskHash}. */
  readonly hash: number;
}

/** Hash of the key at keys[keyAt …] under a mask. */
export function maskedHash(
  constants: Int32Array,
  masks: Int32Array,
  range: MaskRange,
  keys: Int32Array,
  keyAt: number,
): number {
  let sum = range.hash;
  for (let word = range.start; word < range.end; word++) {
    sum = (sum + product(keys[keyAt + word]! & masks[range.at + word]!, constants[word]!)) | 0;
  }
  return finalise(sum);
}
