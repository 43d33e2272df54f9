/**
 * Expected connections: what helpers announce (an FTP data connection, a TFTP answer) and the first
 * packet that fits becomes. A small table in shared memory under one lock, which only new connections
 * meet, and only while something is expected. Every master has a bounded number; when the table is full
 * the oldest gives way.
 *
 * An expectation names everything but the source port.
 */
import {
  type ConntrackBuffers,
  EXPECTATION_COUNT,
  EXPECTATION_LOCK,
  EXPECTATION_WORDS,
  EXPECTATIONS_MAX,
} from "./layout.ts";
import { lock, unlock } from "../spin_lock.ts";
import { makeTuple, T_DST, T_META, T_PORTS, T_SRC, TUPLE_WORDS } from "./tuple.ts";

// Words of an expectation.
const LIVE = 0;
const EXPIRES = 1;
/** Record of the connection that expects, and its ID. */
const MASTER = 2;
const MASTER_ID = 3;
/** Direction of the master's packet that announced it. */
const SIDE = 4;
/** Port that the announcing side knows: NAT may have changed it. */
const SAVED_PORT = 5;
/** Whether the new connection is translated as its master is. */
const FOLLOWS_NAT = 6;
const HELPER = 7;
const TUPLE = 8;
const SAVED_ADDRESS = 20;

/** Expected connections that one master may have. */
const PER_MASTER_MAX = 1;

/** An expectation, as {@link Expectations.find} finds and {@link Expectations.add} takes it. */
export class Expectation {
  master = 0;
  masterId = 0;
  side = 0;
  savedPort = 0;
  followsNat = false;
  helper = 0;
  timeoutMs = 0;
  /** The source port is not compared. */
  readonly tuple: Int32Array = makeTuple();
  /** 4 words: the address that the announcing side knows. */
  readonly savedAddress: Int32Array = new Int32Array(4);
}

/** One per isolate over the shared table. */
export class Expectations {
  readonly #control: Int32Array;
  readonly #words: Int32Array;

  constructor(buffers: ConntrackBuffers) {
    this.#control = new Int32Array(buffers.control);
    this.#words = new Int32Array(buffers.expectations);
  }

  /** Whether anything is expected: a plain load, for every new connection. */
  get isEmpty(): boolean {
    return this.#control[EXPECTATION_COUNT] === 0;
  }

  get count(): number {
    return Atomics.load(this.#control, EXPECTATION_COUNT);
  }

  /** Whether somebody else expects this tuple already: its port can't be announced again. */
  isTaken(expectation: Expectation, now: number): boolean {
    if (this.isEmpty) return false;
    lock(this.#control, EXPECTATION_LOCK);
    const at = this.#find(expectation.tuple, now);
    const isTaken = at >= 0 && this.#words[at + MASTER_ID] !== expectation.masterId;
    unlock(this.#control, EXPECTATION_LOCK);
    return isTaken;
  }

  /** Adds one; the same tuple of the same master is renewed, of another master replaced. */
  add(expectation: Expectation, now: number): void {
    lock(this.#control, EXPECTATION_LOCK);
    const at = this.#place(expectation, now);
    const words = this.#words;
    if (words[at + LIVE] === 0) Atomics.add(this.#control, EXPECTATION_COUNT, 1);
    words[at + LIVE] = 1;
    words[at + EXPIRES] = (now + expectation.timeoutMs) | 0;
    words[at + MASTER] = expectation.master;
    words[at + MASTER_ID] = expectation.masterId;
    words[at + SIDE] = expectation.side;
    words[at + SAVED_PORT] = expectation.savedPort;
    words[at + FOLLOWS_NAT] = expectation.followsNat ? 1 : 0;
    words[at + HELPER] = expectation.helper;
    for (let word = 0; word < TUPLE_WORDS; word++) {
      words[at + TUPLE + word] = expectation.tuple[word]!;
    }
    for (let word = 0; word < 4; word++) {
      words[at + SAVED_ADDRESS + word] = expectation.savedAddress[word]!;
    }
    unlock(this.#control, EXPECTATION_LOCK);
  }

  /** Where a new expectation goes: its own old place, a free one, its master's oldest, or the oldest of all. */
  #place(expectation: Expectation, now: number): number {
    const words = this.#words;
    const same = this.#find(expectation.tuple, now);
    if (same >= 0) return same;
    let free = -1;
    let oldest = 0;
    let oldestOwn = -1;
    let own = 0;
    for (let at = 0; at < words.length; at += EXPECTATION_WORDS) {
      if (words[at + LIVE] === 0) {
        if (free < 0) free = at;
        continue;
      }
      if (((words[at + EXPIRES]! - words[oldest + EXPIRES]!) | 0) < 0) oldest = at;
      if (words[at + MASTER_ID] !== expectation.masterId) continue;
      own++;
      if (oldestOwn < 0 || ((words[at + EXPIRES]! - words[oldestOwn + EXPIRES]!) | 0) < 0) {
        oldestOwn = at;
      }
    }
    if (own >= PER_MASTER_MAX) return oldestOwn;
    return free >= 0 ? free : oldest;
  }

  /** Reads the expectation that a new connection's tuple meets. False: nobody expected it. */
  find(tuple: Int32Array, now: number, out: Expectation): boolean {
    lock(this.#control, EXPECTATION_LOCK);
    const at = this.#find(tuple, now);
    if (at >= 0) this.#read(at, out);
    unlock(this.#control, EXPECTATION_LOCK);
    return at >= 0;
  }

  /** Removes the expectation of a tuple: it has come true. */
  remove(tuple: Int32Array, now: number): void {
    lock(this.#control, EXPECTATION_LOCK);
    const at = this.#find(tuple, now);
    if (at >= 0) {
      this.#words[at + LIVE] = 0;
      Atomics.sub(this.#control, EXPECTATION_COUNT, 1);
    }
    unlock(this.#control, EXPECTATION_LOCK);
  }

  /** Reads the n-th place of the table. False: it is empty. For dumps. */
  read(index: number, out: Expectation): boolean {
    if (index < 0 || index >= EXPECTATIONS_MAX) return false;
    lock(this.#control, EXPECTATION_LOCK);
    const at = index * EXPECTATION_WORDS;
    const isLive = this.#words[at + LIVE] !== 0;
    if (isLive) this.#read(at, out);
    unlock(this.#control, EXPECTATION_LOCK);
    return isLive;
  }

  /** Removes what has expired. */
  sweep(now: number): void {
    if (this.isEmpty) return;
    const words = this.#words;
    lock(this.#control, EXPECTATION_LOCK);
    for (let at = 0; at < words.length; at += EXPECTATION_WORDS) {
      if (words[at + LIVE] === 0 || ((words[at + EXPIRES]! - now) | 0) > 0) continue;
      words[at + LIVE] = 0;
      Atomics.sub(this.#control, EXPECTATION_COUNT, 1);
    }
    unlock(this.#control, EXPECTATION_LOCK);
  }

  #read(at: number, out: Expectation): void {
    const words = this.#words;
    out.master = words[at + MASTER]!;
    out.masterId = words[at + MASTER_ID]!;
    out.side = words[at + SIDE]!;
    out.savedPort = words[at + SAVED_PORT]!;
    out.followsNat = words[at + FOLLOWS_NAT] === 1;
    out.helper = words[at + HELPER]!;
    out.timeoutMs = words[at + EXPIRES]!;
    for (let word = 0; word < TUPLE_WORDS; word++) out.tuple[word] = words[at + TUPLE + word]!;
    for (let word = 0; word < 4; word++) {
      out.savedAddress[word] = words[at + SAVED_ADDRESS + word]!;
    }
  }

  /** The live expectation of a tuple, −1: none. The lock is held. */
  #find(tuple: Int32Array, now: number): number {
    const words = this.#words;
    for (let at = 0; at < words.length; at += EXPECTATION_WORDS) {
      if (words[at + LIVE] === 0 || words[at + TUPLE + T_META] !== tuple[T_META]) continue;
      if (((words[at + TUPLE + T_PORTS]! ^ tuple[T_PORTS]!) & 0xffff) !== 0) continue;
      if (((words[at + EXPIRES]! - now) | 0) <= 0) continue;
      if (isSameAddresses(words, at + TUPLE, tuple)) return at;
    }
    return -1;
  }
}

function isSameAddresses(words: Int32Array, at: number, tuple: Int32Array): boolean {
  for (let word = 0; word < 4; word++) {
    if (words[at + T_SRC + word] !== tuple[T_SRC + word]) return false;
    if (words[at + T_DST + word] !== tuple[T_DST + word]) return false;
  }
  return true;
}
