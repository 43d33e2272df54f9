/**
 * Translated sources: which connections of the same source address and port exist, so that the next one
 * is given the same translation (endpoint-independent mapping, RFC 4787 REQ-1, RFC 5382 REQ-1). Chains of
 * records with source translation by a hash of zone, protocol and original source. Each chain lies
 * under a lock that is taken last of all.
 */
import { finalise, product } from "../flow_table/hash.ts";
import type { ConntrackBuffers } from "./layout.ts";
import { lock, unlock } from "../spin_lock.ts";
import type { Table } from "./table.ts";
import { makeTuple, T_META, T_PORTS, T_SRC } from "./tuple.ts";

const LOCKS = 256;
/** A source with more connections than this is not searched further. */
const STEPS_MAX = 64;
/** First of the hash's constants: others than those of tuples. */
const CONSTANTS = 32;

/** One per isolate over the shared chains. */
export class SourceIndex {
  readonly #table: Table;
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #locks: Int32Array;
  readonly #tuple = makeTuple();

  constructor(table: Table, buffers: ConntrackBuffers) {
    this.#table = table;
    this.#heads = new Int32Array(buffers.sourceHeads);
    this.#next = new Int32Array(buffers.sourceNext);
    this.#locks = new Int32Array(buffers.sourceLocks);
  }

  /** Enters a record that is linked and locked. */
  add(record: number): void {
    this.#table.getTuple(record << 1, this.#tuple);
    const bucket = this.#bucketOf(this.#tuple);
    const at = bucket & (LOCKS - 1);
    lock(this.#locks, at);
    this.#next[record] = this.#heads[bucket]!;
    this.#heads[bucket] = record;
    unlock(this.#locks, at);
  }

  /** Takes a record out that is being removed. */
  remove(record: number): void {
    this.#table.getTuple(record << 1, this.#tuple);
    const bucket = this.#bucketOf(this.#tuple);
    const at = bucket & (LOCKS - 1);
    lock(this.#locks, at);
    if (this.#heads[bucket] === record) {
      this.#heads[bucket] = this.#next[record]!;
    } else {
      for (let one = this.#heads[bucket]!; one !== 0; one = this.#next[one]!) {
        if (this.#next[one] !== record) continue;
        this.#next[one] = this.#next[record]!;
        break;
      }
    }
    unlock(this.#locks, at);
  }

  /**
   * Reads into `reply` the reply tuple of the connection number `skip` (from 0) with the source of
   * `tuple`. False: there are no more.
   */
  find(tuple: Int32Array, skip: number, reply: Int32Array): boolean {
    const table = this.#table;
    const bucket = this.#bucketOf(tuple);
    if (this.#heads[bucket] === 0) return false;
    const at = bucket & (LOCKS - 1);
    let isFound = false;
    lock(this.#locks, at);
    let record = this.#heads[bucket]!;
    for (let step = 0; record !== 0 && step < STEPS_MAX; step++) {
      table.getTuple(record << 1, this.#tuple);
      if (isSameSource(this.#tuple, tuple) && skip-- === 0) {
        table.getTuple(record << 1 | 1, reply);
        isFound = true;
        break;
      }
      record = this.#next[record]!;
    }
    unlock(this.#locks, at);
    return isFound;
  }

  #bucketOf(tuple: Int32Array): number {
    const { constants } = this.#table;
    let total = product(tuple[T_META]!, constants[CONSTANTS]!) +
        product(tuple[T_PORTS]! >>> 16, constants[CONSTANTS + 1]!) | 0;
    for (let word = 0; word < 4; word++) {
      total = total + product(tuple[T_SRC + word]!, constants[CONSTANTS + 2 + word]!) | 0;
    }
    return finalise(total) & (this.#heads.length - 1);
  }
}

function isSameSource(a: Int32Array, b: Int32Array): boolean {
  if (a[T_META] !== b[T_META] || a[T_PORTS]! >>> 16 !== b[T_PORTS]! >>> 16) return false;
  for (let word = T_SRC; word < T_SRC + 4; word++) if (a[word] !== b[word]) return false;
  return true;
}
