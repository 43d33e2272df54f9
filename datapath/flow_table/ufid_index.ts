/**
 * Finds flows by UFID: 128-bit identifiers, 32 hex digits in text.
 *
 * A linear hash table (Litwin 1980): it grows by one bucket with every flow, by splitting the next
 * bucket in turn, so no insertion ever pays for a rehash of all. Chains and identifiers lie in typed
 * arrays, 24 bytes a flow. Private to the writer.
 */
import { finalise, product } from "./hash.ts";

const BUCKETS_MIN = 1024;

export class UfidIndex {
  readonly #words: Int32Array;
  readonly #next: Int32Array;
  readonly #heads: Int32Array;
  readonly #factors: Int32Array;
  #count = 0;
  /** Buckets there are; those below #buckets − #base and from #base on are addressed by 2 · #base. */
  #buckets = BUCKETS_MIN;
  #base = BUCKETS_MIN;
  /** The UFID asked for, parsed. */
  readonly #wanted: Int32Array = new Int32Array(4);

  /** `constants`: secret factors, so that chosen UFIDs can't share a bucket. */
  constructor(flowsMax: number, constants: Int32Array) {
    this.#words = new Int32Array(flowsMax * 4);
    this.#next = new Int32Array(flowsMax);
    this.#heads = new Int32Array(Math.max(BUCKETS_MIN, 2 ** Math.ceil(Math.log2(flowsMax))));
    this.#factors = constants.slice(0, 4);
  }

  /** The first flow with a UFID for which `accepts` holds, or −1. */
  find(ufid: string, accepts: Uint8Array): number {
    const wanted = this.#wanted;
    parseUfid(ufid, wanted);
    const words = this.#words;
    let flow = this.#heads[this.#bucket(wanted, 0)]! - 1;
    while (flow >= 0) {
      const at = flow * 4;
      if (
        accepts[flow] !== 0 && words[at] === wanted[0] && words[at + 1] === wanted[1] &&
        words[at + 2] === wanted[2] && words[at + 3] === wanted[3]
      ) return flow;
      flow = this.#next[flow]! - 1;
    }
    return -1;
  }

  /**
   * Adds a flow under the UFID that {@link find} was asked for last; it may be there already (a flow
   * about to go).
   */
  add(flow: number): void {
    for (let word = 0; word < 4; word++) this.#words[flow * 4 + word] = this.#wanted[word]!;
    this.#push(this.#bucket(this.#words, flow * 4), flow);
    this.#count++;
    if (this.#count > this.#buckets && this.#buckets < this.#heads.length) this.#split();
  }

  /** Removes a flow that was added. */
  remove(flow: number): void {
    const bucket = this.#bucket(this.#words, flow * 4);
    let at = this.#heads[bucket]! - 1;
    this.#count--;
    if (at === flow) {
      this.#heads[bucket] = this.#next[flow]!;
      return;
    }
    while (this.#next[at]! !== flow + 1) at = this.#next[at]! - 1;
    this.#next[at] = this.#next[flow]!;
  }

  /** The UFID of a flow that was added, 32 hex digits. */
  text(flow: number): string {
    let text = "";
    for (let at = flow * 4; at < flow * 4 + 4; at++) {
      text += (this.#words[at]! >>> 0).toString(16).padStart(8, "0");
    }
    return text;
  }

  #push(bucket: number, flow: number): void {
    this.#next[flow] = this.#heads[bucket]!;
    this.#heads[bucket] = flow + 1;
  }

  #bucket(words: Int32Array, at: number): number {
    const factors = this.#factors;
    const hash = finalise(
      (product(words[at]!, factors[0]!) + product(words[at + 1]!, factors[1]!) +
        product(words[at + 2]!, factors[2]!) + product(words[at + 3]!, factors[3]!)) | 0,
    );
    const bucket = hash & (2 * this.#base - 1);
    return bucket < this.#buckets ? bucket : bucket & (this.#base - 1);
  }

  /** One more bucket: takes its flows from the bucket that shared their hash bits until now. */
  #split(): void {
    if (this.#buckets === 2 * this.#base) this.#base *= 2;
    const from = this.#buckets - this.#base;
    this.#buckets++;
    let flow = this.#heads[from]! - 1;
    this.#heads[from] = 0;
    while (flow >= 0) {
      const next = this.#next[flow]! - 1;
      this.#push(this.#bucket(this.#words, flow * 4), flow);
      flow = next;
    }
  }
}

/** Parses 32 hex digits (8-4-4-4-12 with dashes too) into four words. Other text: RangeError. */
export function parseUfid(ufid: string, words: Int32Array): void {
  let word = 0;
  let digits = 0;
  for (let at = 0; at < ufid.length; at++) {
    const code = ufid.charCodeAt(at);
    let digit = code - 48;
    if (digit < 0 || digit > 9) {
      if (code === 45) continue; // "-"
      digit = (code | 32) - 87;
      if (digit < 10 || digit > 15) break;
    }
    word = (word << 4) | digit;
    digits++;
    if ((digits & 7) === 0) words[(digits >> 3) - 1] = word;
  }
  if (digits !== 32) throw new RangeError(`Cannot use "${ufid}" as UFID: must be 32 hex digits`);
}
