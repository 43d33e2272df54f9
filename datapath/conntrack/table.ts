/**
 * The connection table: find, link and unlink records by tuple, allocate and free them. See layout.ts
 * for how the memory lies and in which order locks are taken.
 *
 * One object per isolate over the same {@link ConntrackBuffers}. A *node* is record × 2 + direction
 * (0 original, 1 reply). Records returned by {@link find} are locked; the caller unlocks them.
 */
import {
  BUCKETS,
  CONFIRMED,
  type ConntrackBuffers,
  COUNT,
  DYING,
  EXPIRES,
  HASH,
  ID,
  LOCK,
  META,
  NEXT,
  RECORD_WORDS,
  SPLIT_LOCK,
  SRC_NAT,
  STATUS,
  STRIPE_SHIFT,
  STRIPES,
  TUPLE_DST,
  TUPLE_PORTS,
  TUPLE_SRC,
  TUPLE_STRIDE,
  WIDE_WORDS,
} from "./layout.ts";
import { freeRecord } from "./record_allocator.ts";
import { SourceIndex } from "./source_index.ts";
import { lock, tryLock, unlock } from "../spin_lock.ts";
import { hashTuple, makeTuple, T_DST, T_META, T_PORTS, T_SRC } from "./tuple.ts";

/** A walk without locks gives up after so many steps: it has lost its way. */
const STEPS_MAX = 128;
/** A chain this long under its lock means that hashes are being forced together, or a bug. */
const CHAIN_MAX = 1024;

/** What {@link Table.link} says. */
export const LINKED = 0;
/** Another connection has the original tuple. */
export const TAKEN_ORIGINAL = 1;
/** Another connection has the reply tuple. */
export const TAKEN_REPLY = 2;

/** Views over the shared memory, and the operations on it. */
export class Table {
  readonly control: Int32Array;
  readonly constants: Int32Array;
  readonly locks: Int32Array;
  readonly heads: Int32Array;
  readonly records: Int32Array;
  /** The same memory as `records`. */
  readonly doubles: Float64Array;
  readonly wide: Int32Array;
  readonly extensions: Int32Array;
  readonly zoneCounts: Int32Array;
  readonly recordsMax: number;
  readonly sources: SourceIndex;
  /** Low 32 bits of the clock in ms. */
  now = 0;
  readonly #tuple = makeTuple();

  constructor(buffers: ConntrackBuffers) {
    this.control = new Int32Array(buffers.control);
    this.constants = new Int32Array(buffers.constants);
    this.locks = new Int32Array(buffers.locks);
    this.heads = new Int32Array(buffers.heads);
    this.records = new Int32Array(buffers.records);
    this.doubles = new Float64Array(buffers.records);
    this.wide = new Int32Array(buffers.wide);
    this.extensions = new Int32Array(buffers.extensions);
    this.zoneCounts = new Int32Array(buffers.zoneCounts);
    this.recordsMax = buffers.recordsMax;
    this.sources = new SourceIndex(this, buffers);
  }

  /** Connections in the table. */
  get count(): number {
    return Atomics.load(this.control, COUNT);
  }

  /** The node of a live connection with this tuple, its record locked; 0: there is none. */
  find(tuple: Int32Array): number {
    const { records } = this;
    const hash = hashTuple(this.constants, tuple);
    let node = this.heads[bucketOf(hash, this.control[BUCKETS]!)]!;
    for (let step = 0; node !== 0 && step < STEPS_MAX; step++) {
      const at = (node >>> 1) * RECORD_WORDS;
      const side = (node & 1) << 1;
      const next = records[at + NEXT + side]!;
      if (records[at + HASH + side] === hash) {
        lock(records, at + LOCK);
        if (this.#isLive(at) && this.matches(node, tuple)) {
          if (((records[at + EXPIRES]! - this.now) | 0) > 0) return node;
          this.kill(node >>> 1);
          break;
        }
        unlock(records, at + LOCK);
      }
      node = next;
    }
    return this.#findLocked(tuple, hash);
  }

  /** The first node of the tuple's chain, looked up to bring its cache line in; see Tracker.touch. */
  touch(tuple: Int32Array): number {
    return this.heads[bucketOf(hashTuple(this.constants, tuple), this.control[BUCKETS]!)]!;
  }

  /** As {@link find}, for when the walk without a lock found nothing: this answer is final. */
  #findLocked(tuple: Int32Array, hash: number): number {
    const { records } = this;
    const stripe = stripeOf(hash);
    lock(this.locks, stripe);
    let node = this.heads[bucketOf(hash, Atomics.load(this.control, BUCKETS))]!;
    let expired = 0;
    for (let step = 0; node !== 0 && step < CHAIN_MAX; step++) {
      const at = (node >>> 1) * RECORD_WORDS;
      const side = (node & 1) << 1;
      if (records[at + HASH + side] === hash) {
        lock(records, at + LOCK);
        if (this.#isLive(at) && this.matches(node, tuple)) {
          if (((records[at + EXPIRES]! - this.now) | 0) > 0) {
            unlock(this.locks, stripe);
            return node;
          }
          expired = node >>> 1;
          break;
        }
        unlock(records, at + LOCK);
      }
      node = records[at + NEXT + side]!;
    }
    unlock(this.locks, stripe);
    if (expired !== 0) this.kill(expired);
    return 0;
  }

  /** Whether a node's tuple is this one. The record is locked, or is the caller's own. */
  matches(node: number, tuple: Int32Array): boolean {
    const { records } = this;
    const at = (node >>> 1) * RECORD_WORDS;
    const from = at + (node & 1) * TUPLE_STRIDE;
    if (
      records[at + META] !== tuple[T_META] || records[from + TUPLE_PORTS] !== tuple[T_PORTS] ||
      records[from + TUPLE_SRC] !== tuple[T_SRC + 3] ||
      records[from + TUPLE_DST] !== tuple[T_DST + 3]
    ) return false;
    if ((tuple[T_META]! & 0xff) === 4) return true;
    const wide = node * (WIDE_WORDS / 2);
    for (let word = 0; word < 8; word++) {
      if (this.wide[wide + word] !== tuple[T_SRC + word]) return false;
    }
    return true;
  }

  /** Writes a node's tuple. The record is the caller's own. */
  setTuple(node: number, tuple: Int32Array): void {
    const { records } = this;
    const at = (node >>> 1) * RECORD_WORDS;
    const from = at + (node & 1) * TUPLE_STRIDE;
    records[at + META] = tuple[T_META]!;
    records[from + TUPLE_PORTS] = tuple[T_PORTS]!;
    records[from + TUPLE_SRC] = tuple[T_SRC + 3]!;
    records[from + TUPLE_DST] = tuple[T_DST + 3]!;
    if ((tuple[T_META]! & 0xff) === 4) return;
    const wide = node * (WIDE_WORDS / 2);
    for (let word = 0; word < 8; word++) this.wide[wide + word] = tuple[T_SRC + word]!;
  }

  /** Reads a node's tuple. The record is locked, or is the caller's own. */
  getTuple(node: number, tuple: Int32Array): void {
    const { records } = this;
    const at = (node >>> 1) * RECORD_WORDS;
    const from = at + (node & 1) * TUPLE_STRIDE;
    tuple[T_META] = records[at + META]!;
    tuple[T_PORTS] = records[from + TUPLE_PORTS]!;
    if ((tuple[T_META]! & 0xff) === 4) {
      for (let word = 0; word < 3; word++) {
        tuple[T_SRC + word] = 0;
        tuple[T_DST + word] = 0;
      }
      tuple[T_SRC + 3] = records[from + TUPLE_SRC]!;
      tuple[T_DST + 3] = records[from + TUPLE_DST]!;
      return;
    }
    const wide = node * (WIDE_WORDS / 2);
    for (let word = 0; word < 8; word++) tuple[T_SRC + word] = this.wide[wide + word]!;
  }

  /**
   * Puts the caller's record, complete but for its hashes, into the table, unless one of its tuples is
   * taken. The caller holds the record's lock (nobody else knows the record: no waiting) and still
   * does afterwards. The status is confirmed then.
   */
  link(record: number): number {
    const { records, locks } = this;
    const at = record * RECORD_WORDS;
    this.getTuple(record << 1, this.#tuple);
    const original = hashTuple(this.constants, this.#tuple);
    this.getTuple(record << 1 | 1, this.#tuple);
    const reply = hashTuple(this.constants, this.#tuple);
    const first = Math.min(stripeOf(original), stripeOf(reply));
    const second = Math.max(stripeOf(original), stripeOf(reply));
    lock(locks, first);
    if (second !== first) lock(locks, second);
    let taken = LINKED;
    if (this.#isTaken(reply)) taken = TAKEN_REPLY;
    this.getTuple(record << 1, this.#tuple);
    if (this.#isTaken(original)) taken = TAKEN_ORIGINAL;
    if (taken === LINKED) {
      const buckets = Atomics.load(this.control, BUCKETS);
      records[at + STATUS] = records[at + STATUS]! | CONFIRMED;
      this.#push(record << 1, original, buckets);
      this.#push(record << 1 | 1, reply, buckets);
    }
    if (second !== first) unlock(locks, second);
    unlock(locks, first);
    if (taken !== LINKED) return taken;
    Atomics.add(this.zoneCounts, records[at + META]! >>> 16, 1);
    if ((records[at + STATUS]! & SRC_NAT) !== 0) this.sources.add(record);
    const count = Atomics.add(this.control, COUNT, 1) + 1;
    if (count * 2 > this.control[BUCKETS]!) {
      this.#split();
      this.#split();
    }
    return LINKED;
  }

  /** Whether a linked, undying record has the tuple in #tuple. Its bucket's stripe is locked. */
  #isTaken(hash: number): boolean {
    const { records } = this;
    let node = this.heads[bucketOf(hash, Atomics.load(this.control, BUCKETS))]!;
    for (let step = 0; node !== 0 && step < CHAIN_MAX; step++) {
      const at = (node >>> 1) * RECORD_WORDS;
      const side = (node & 1) << 1;
      if (
        records[at + HASH + side] === hash && (Atomics.load(records, at + STATUS) & DYING) === 0 &&
        this.matches(node, this.#tuple)
      ) return true;
      node = records[at + NEXT + side]!;
    }
    return false;
  }

  #push(node: number, hash: number, buckets: number): void {
    const at = (node >>> 1) * RECORD_WORDS;
    const side = (node & 1) << 1;
    const bucket = bucketOf(hash, buckets);
    this.records[at + HASH + side] = hash;
    this.records[at + NEXT + side] = this.heads[bucket]!;
    this.heads[bucket] = node;
  }

  #unchain(node: number, hash: number): void {
    const { records, heads } = this;
    const bucket = bucketOf(hash, Atomics.load(this.control, BUCKETS));
    const next = records[(node >>> 1) * RECORD_WORDS + NEXT + ((node & 1) << 1)]!;
    let at = heads[bucket]!;
    if (at === node) {
      heads[bucket] = next;
      return;
    }
    for (let step = 0; at !== 0; step++) {
      const place = (at >>> 1) * RECORD_WORDS + NEXT + ((at & 1) << 1);
      at = records[place]!;
      if (at === node) {
        records[place] = next;
        return;
      }
    }
  }

  /** Splits the next bucket in two, unless another thread is doing so. */
  #split(): void {
    const { control, records, heads, locks } = this;
    if (!tryLock(control, SPLIT_LOCK)) return;
    const count = Atomics.load(control, BUCKETS);
    const half = 1 << (31 - Math.clz32(count));
    if (count < heads.length) {
      const from = count - half;
      const stripe = stripeOf(from);
      lock(locks, stripe);
      let node = heads[from]!;
      let low = 0;
      let high = 0;
      while (node !== 0) {
        const at = (node >>> 1) * RECORD_WORDS;
        const side = (node & 1) << 1;
        const next = records[at + NEXT + side]!;
        if ((records[at + HASH + side]! & half) === 0) {
          records[at + NEXT + side] = low;
          low = node;
        } else {
          records[at + NEXT + side] = high;
          high = node;
        }
        node = next;
      }
      heads[from] = low;
      heads[count] = high;
      Atomics.store(control, BUCKETS, count + 1);
      unlock(locks, stripe);
    }
    unlock(control, SPLIT_LOCK);
  }

  /**
   * Removes a record that the caller has locked, and unlocks it. Does only the unlocking if it is
   * being removed already, or is not in the table.
   */
  kill(record: number): boolean {
    const at = record * RECORD_WORDS;
    const status = this.records[at + STATUS]!;
    if ((status & (CONFIRMED | DYING)) !== CONFIRMED) {
      unlock(this.records, at + LOCK);
      return false;
    }
    this.records[at + STATUS] = status | DYING;
    unlock(this.records, at + LOCK);
    this.#remove(record);
    return true;
  }

  /** Unlinks and frees a record that this thread has marked dying. No lock is held. */
  #remove(record: number): void {
    const { records, locks } = this;
    const at = record * RECORD_WORDS;
    const original = records[at + HASH]!;
    const reply = records[at + HASH + 2]!;
    const first = Math.min(stripeOf(original), stripeOf(reply));
    const second = Math.max(stripeOf(original), stripeOf(reply));
    lock(locks, first);
    if (second !== first) lock(locks, second);
    this.#unchain(record << 1, original);
    this.#unchain(record << 1 | 1, reply);
    if (second !== first) unlock(locks, second);
    unlock(locks, first);
    if ((records[at + STATUS]! & SRC_NAT) !== 0) this.sources.remove(record);
    Atomics.sub(this.zoneCounts, records[at + META]! >>> 16, 1);
    Atomics.sub(this.control, COUNT, 1);
    freeRecord(this, record);
  }

  /** Locks a record that lies in the table under this ID. False, unlocked: it has gone. */
  lockRecord(record: number, id: number): boolean {
    const at = record * RECORD_WORDS;
    if (record <= 0 || record >= this.recordsMax || this.records[at + ID] !== id) return false;
    lock(this.records, at + LOCK);
    if (this.#isLive(at) && this.records[at + ID] === id) return true;
    unlock(this.records, at + LOCK);
    return false;
  }

  /** Locks whatever connection a record holds. False, unlocked: none. */
  lockLive(record: number): boolean {
    const at = record * RECORD_WORDS;
    if ((this.records[at + STATUS]! & (CONFIRMED | DYING)) !== CONFIRMED) return false;
    lock(this.records, at + LOCK);
    if (this.#isLive(at)) return true;
    unlock(this.records, at + LOCK);
    return false;
  }

  unlockRecord(record: number): void {
    unlock(this.records, record * RECORD_WORDS + LOCK);
  }

  #isLive(at: number): boolean {
    return (this.records[at + STATUS]! & (CONFIRMED | DYING)) === CONFIRMED;
  }
}

/** Bucket of a hash when there are `count` buckets: those below the last doubling are split already. */
export function bucketOf(hash: number, count: number): number {
  const high = -1 >>> Math.clz32(count - 1);
  const bucket = hash & high;
  return bucket < count ? bucket : bucket & (high >>> 1);
}

/** Index of the lock of a hash's (or bucket's) stripe. */
function stripeOf(hash: number): number {
  return (hash & (STRIPES - 1)) << STRIPE_SHIFT;
}
