/**
 * Where stations are: the table of a learning switch (`--miss learn`), shared by the packet threads.
 *
 * Entries lie in a SharedArrayBuffer, four to a bucket, chosen by address and VLAN. Any thread may
 * write an entry: it takes it by making its sequence number odd (compare-exchange) and gives it back
 * by making it even again; whoever finds it odd goes without, as if the frame had not been seen.
 * Readers check the number before and after (a seqlock). All accesses are atomic loads and stores:
 * plain ones could be reordered around the checks on arm64.
 *
 * Entries age: one not confirmed for {@link AGEING_S} seconds counts no more. When a bucket is full, the
 * entry longest unconfirmed gives way.
 */

/** Seconds after which an unconfirmed entry is forgotten (IEEE 802.1Q's default). */
export const AGEING_S = 300;

const WAYS = 4;
// Words of an entry.
const SEQUENCE = 0;
/** First four bytes of the address as a little-endian read gives them. */
const ADDRESS_LOW = 1;
/** Last two bytes, and the VLAN identifier in the upper half. */
const ADDRESS_HIGH = 2;
/** Port number + 1; 0: empty. */
const PORT = 3;
/** When it was last confirmed, seconds of the caller's clock. */
const CONFIRMED_S = 4;
const ENTRY_WORDS = 8;
const BUCKET_WORDS = WAYS * ENTRY_WORDS;

/** Memory of a table; `buckets` is a power of two. The default holds 8192 stations. */
export function makeMacTable(buckets = 2048): SharedArrayBuffer {
  return new SharedArrayBuffer(buckets * BUCKET_WORDS * 4);
}

/** A view of a table's memory; every thread makes its own. */
export class MacTable {
  readonly #words: Int32Array;
  readonly #bucketMask: number;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.#bucketMask = this.#words.length / BUCKET_WORDS - 1;
  }

  /**
   * Notes that a station was seen on a port. `low` and `high` are the address's first four and last
   * two bytes as little-endian reads give them. Group addresses are not stations and ignored.
   */
  learn(low: number, high: number, vid: number, portNo: number, nowMs: number): void {
    if ((low & 1) !== 0) return;
    low |= 0;
    const upper = (high & 0xffff) | vid << 16;
    const nowS = Math.floor(nowMs / 1000) | 0;
    const words = this.#words;
    const bucket = this.#bucketAt(low, upper);
    let victim = bucket;
    let oldestS = 0x7fffffff;
    for (let at = bucket; at < bucket + BUCKET_WORDS; at += ENTRY_WORDS) {
      const port = Atomics.load(words, at + PORT);
      const confirmedS = Atomics.load(words, at + CONFIRMED_S);
      const same = Atomics.load(words, at + ADDRESS_LOW) === low &&
        Atomics.load(words, at + ADDRESS_HIGH) === upper;
      if (same && port !== 0) {
        if (port !== portNo + 1 || confirmedS !== nowS) {
          this.#write(at, low, upper, portNo + 1, nowS);
        }
        return;
      }
      const age = port === 0 ? -0x80000000 : confirmedS;
      if (age < oldestS) {
        oldestS = age;
        victim = at;
      }
    }
    this.#write(victim, low, upper, portNo + 1, nowS);
  }

  /** The port where a station was last seen, −1 if it isn't known (or is a group). Address as in {@link learn}. */
  lookup(low: number, high: number, vid: number, nowMs: number): number {
    low |= 0;
    const upper = (high & 0xffff) | vid << 16;
    const nowS = Math.floor(nowMs / 1000) | 0;
    const words = this.#words;
    const bucket = this.#bucketAt(low, upper);
    for (let at = bucket; at < bucket + BUCKET_WORDS; at += ENTRY_WORDS) {
      const sequence = Atomics.load(words, at + SEQUENCE);
      if (Atomics.load(words, at + ADDRESS_LOW) !== low) continue;
      if (Atomics.load(words, at + ADDRESS_HIGH) !== upper) continue;
      const port = Atomics.load(words, at + PORT);
      const confirmedS = Atomics.load(words, at + CONFIRMED_S);
      if ((sequence & 1) !== 0 || Atomics.load(words, at + SEQUENCE) !== sequence) continue;
      if (port !== 0 && nowS - confirmedS <= AGEING_S) return port - 1;
    }
    return -1;
  }

  /** Forgets all stations of a port, or of all ports. Any thread may. */
  forget(portNo?: number): void {
    const words = this.#words;
    for (let at = 0; at < words.length; at += ENTRY_WORDS) {
      const port = Atomics.load(words, at + PORT);
      if (port === 0 || (portNo !== undefined && port !== portNo + 1)) continue;
      this.#write(at, 0, 0, 0, 0);
    }
  }

  #write(at: number, low: number, upper: number, port: number, nowS: number): void {
    const words = this.#words;
    const sequence = Atomics.load(words, at + SEQUENCE);
    if ((sequence & 1) !== 0) return;
    if (Atomics.compareExchange(words, at + SEQUENCE, sequence, sequence + 1) !== sequence) return;
    Atomics.store(words, at + ADDRESS_LOW, low);
    Atomics.store(words, at + ADDRESS_HIGH, upper);
    Atomics.store(words, at + PORT, port);
    Atomics.store(words, at + CONFIRMED_S, nowS);
    Atomics.store(words, at + SEQUENCE, (sequence + 2) | 0);
  }

  #bucketAt(low: number, upper: number): number {
    let hash = Math.imul(low, 0x9e3779b1) ^ Math.imul(upper, 0x85ebca77);
    hash ^= hash >>> 15;
    return (Math.imul(hash, 0x2c1b3c6d) >>> 12 & this.#bucketMask) * BUCKET_WORDS;
  }
}
