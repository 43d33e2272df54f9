/**
 * The signature cache of one thread: which flow did the last packet with this hash belong to?
 *
 * Four entries to a set, a set is half a cache line: four words `signature | flow + 1` and the four
 * flows' state words as they were. A hit is only a candidate: the caller compares the state word
 * (loaded first) and the masked key. The memory is reserved at its maximum; only as many sets are
 * used as the traffic was seen to need, so that a few hundred flows stay in the fastest caches.
 */

const SET_SHIFT = 3;
const SETS_MIN = 1 << 12;
const SETS_MAX = 1 << 20;
const WAYS = 4;
/** Most entries that a cache can be allowed: the default. */
export const CACHE_ENTRIES_MAX: number = SETS_MAX * WAYS;
/** More sets are used when one lookup in so many evicts an entry. */
const LOOKUPS_PER_EVICTION = 512;

export class SignatureCache {
  /** Sets of eight words: four entries, four states. */
  readonly words: Int32Array = new Int32Array(SETS_MAX << SET_SHIFT);
  /** Bits of an entry that hold flow + 1. */
  readonly flowBits: number;
  #sets = SETS_MIN;
  #setsMax = SETS_MAX;
  /** Lookups and evictions since it was last decided how many sets to use. */
  #lookups = 0;
  #evictions = 0;
  #turn = 0;

  /** For flows 0 … flowsMax − 1. */
  constructor(flowsMax: number) {
    this.flowBits = (1 << (32 - Math.clz32(flowsMax))) - 1;
  }

  /** Uses at most so many entries from now on (a power of 2; fewer than one set has are one set). */
  limit(entries: number): void {
    this.#setsMax = Math.max(1, Math.min(SETS_MAX, entries / WAYS | 0));
    this.#sets = Math.min(SETS_MIN, this.#setsMax);
    this.#lookups = 0;
    this.#evictions = 0;
  }

  /** Word index of the set for hash h is `(h & setMask) << 3`. */
  get setMask(): number {
    return this.#sets - 1;
  }

  /**
   * Sets places[i] to the set of hashes[i], candidates[i] to the flow found there (−1: none) and
   * states[i] to the state it had. Returns a value that depends on all that was read.
   */
  find(
    hashes: Int32Array,
    count: number,
    candidates: Int32Array,
    states: Int32Array,
  ): number {
    const words = this.words;
    const flowBits = this.flowBits;
    const setMask = this.#sets - 1;
    let touched = 0;
    this.#lookups = (this.#lookups + count) & 0x3fffffff;
    for (let i = 0; i < count; i++) touched ^= words[(hashes[i]! & setMask) << SET_SHIFT]!;
    for (let i = 0; i < count; i++) {
      const hash = hashes[i]!;
      const set = (hash & setMask) << SET_SHIFT;
      // The highest bit is always set, so that no signature equals that of an empty entry.
      const signature = (hash | 0x80000000) & ~flowBits;
      const x0 = words[set]! ^ signature;
      const x1 = words[set + 1]! ^ signature;
      const x2 = words[set + 2]! ^ signature;
      const x3 = words[set + 3]! ^ signature;
      // All ones where the signature is the same, without a branch. At most one is (see add).
      const m0 = ((x0 & ~flowBits) - 1 & ~x0) >> 31;
      const m1 = ((x1 & ~flowBits) - 1 & ~x1) >> 31;
      const m2 = ((x2 & ~flowBits) - 1 & ~x2) >> 31;
      const m3 = ((x3 & ~flowBits) - 1 & ~x3) >> 31;
      candidates[i] = ((x0 & m0) | (x1 & m1) | (x2 & m2) | (x3 & m3)) - 1;
      states[i] = words[set + 4 + ((m1 & 1) | (m2 & 2) | (m3 & 3))]!;
    }
    return touched;
  }

  /** Remembers that packets with this hash belong to a flow whose state word is `state`. */
  add(hash: number, flow: number, state: number): void {
    const words = this.words;
    const flowBits = this.flowBits;
    const set = (hash & (this.#sets - 1)) << SET_SHIFT;
    const signature = (hash | 0x80000000) & ~flowBits;
    let way = -1;
    for (let at = 0; at < 4; at++) {
      const entry = words[set + at]!;
      if ((entry & ~flowBits) === signature) {
        way = at;
        break;
      }
      if (entry === 0 && way < 0) way = at;
    }
    if (way < 0) way = this.#evict();
    words[set + way] = signature | (flow + 1);
    words[set + way + 4] = state;
  }

  /** Chooses an entry of a full set; when that happens often, more sets are used. */
  #evict(): number {
    this.#turn = (this.#turn + 1) & 3;
    this.#evictions++;
    if (this.#lookups > 4 * this.#sets) {
      const many = this.#evictions * LOOKUPS_PER_EVICTION > this.#lookups;
      if (many && this.#sets < this.#setsMax) this.#sets *= 2;
      this.#lookups = 0;
      this.#evictions = 0;
    }
    return this.#turn;
  }
}
