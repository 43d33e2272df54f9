/**
 * Unique flow identifiers: SipHash-2-4 with 128 bits of output over the canonical text of a flow's
 * masked key and mask. Text, not key words: identifiers are in users' hands and stay the same when
 * the key's layout grows.
 */
import { formatFlow } from "./text/flow_text.ts";

/** Bytes of the secret seed. */
export const UFID_SEED_SIZE = 16;

/** The UFID of a key (masked or not) and mask under a seed: 32 hexadecimal digits. */
export function flowUfid(seed: Uint8Array, key: Int32Array, mask: Int32Array): string {
  return sipHash128(seed, asBytes(formatFlow(key, mask)));
}

/** Flow text is ASCII. */
function asBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

/** The four 64-bit state words as pairs of 32-bit halves, low half first: v0 v1 v2 v3. */
type State = Int32Array;

/** SipHash-2-4-128 (Aumasson and Bernstein; the reference's `outlen` 16), as 32 hexadecimal digits. */
export function sipHash128(key: Uint8Array, message: Uint8Array): string {
  const keys = new DataView(key.buffer, key.byteOffset, UFID_SEED_SIZE);
  const k = [0, 4, 8, 12].map((at) => keys.getUint32(at, true));
  const state = Int32Array.of(
    0x70736575 ^ k[0]!,
    0x736f6d65 ^ k[1]!,
    0x6e646f6d ^ k[2]! ^ 0xee,
    0x646f7261 ^ k[3]!,
    0x6e657261 ^ k[0]!,
    0x6c796765 ^ k[1]!,
    0x79746573 ^ k[2]!,
    0x74656462 ^ k[3]!,
  );
  const whole = message.length & ~7;
  const words = new DataView(message.buffer, message.byteOffset, message.length);
  for (let at = 0; at < whole; at += 8) {
    compress(state, words.getUint32(at, true), words.getUint32(at + 4, true));
  }
  let low = 0;
  let high = message.length << 24;
  for (let at = whole; at < message.length; at++) {
    const byte = message[at]!;
    const index = at - whole;
    if (index < 4) low |= byte << index * 8;
    else high |= byte << (index - 4) * 8;
  }
  compress(state, low, high);
  state[4]! ^= 0xee;
  rounds(state, 4);
  const first = digest(state);
  state[2]! ^= 0xdd;
  rounds(state, 4);
  return first + digest(state);
}

function compress(state: State, low: number, high: number): void {
  state[6]! ^= low;
  state[7]! ^= high;
  rounds(state, 2);
  state[0]! ^= low;
  state[1]! ^= high;
}

function rounds(state: State, count: number): void {
  for (let round = 0; round < count; round++) {
    add(state, 0, 2);
    rotate(state, 2, 13, 0);
    swap(state, 0);
    add(state, 4, 6);
    rotate(state, 6, 16, 4);
    add(state, 0, 6);
    rotate(state, 6, 21, 0);
    add(state, 4, 2);
    rotate(state, 2, 17, 4);
    swap(state, 4);
  }
}

/** v[to] += v[from]. */
function add(state: State, to: number, from: number): void {
  const low = (state[to]! >>> 0) + (state[from]! >>> 0);
  state[to + 1] = state[to + 1]! + state[from + 1]! + (low > 0xffffffff ? 1 : 0);
  state[to] = low;
}

/** v[at] = (v[at] <<< bits) ^ v[other], bits < 32. */
function rotate(state: State, at: number, bits: number, other: number): void {
  const low = state[at]!;
  const high = state[at + 1]!;
  state[at] = (low << bits | high >>> 32 - bits) ^ state[other]!;
  state[at + 1] = (high << bits | low >>> 32 - bits) ^ state[other + 1]!;
}

/** v[at] <<<= 32. */
function swap(state: State, at: number): void {
  const low = state[at]!;
  state[at] = state[at + 1]!;
  state[at + 1] = low;
}

/** v0 ^ v1 ^ v2 ^ v3, its bytes in the order of the reference (least significant first). */
function digest(state: State): string {
  const low = state[0]! ^ state[2]! ^ state[4]! ^ state[6]!;
  const high = state[1]! ^ state[3]! ^ state[5]! ^ state[7]!;
  return littleEndianHex(low) + littleEndianHex(high);
}

function littleEndianHex(word: number): string {
  let text = "";
  for (let shift = 0; shift < 32; shift += 8) {
    text += (word >>> shift & 0xff).toString(16).padStart(2, "0");
  }
  return text;
}
