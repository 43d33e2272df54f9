/**
 * The writer's side of masks: shared between flows, counted, and published in the order in which
 * packet threads try them.
 *
 * The order is one of two lists in shared memory. A new mask is appended to the current list in place;
 * a mask that goes leaves a hole. Removing holes and sorting by usage write the other list and switch
 * to it, which is possible once a grace period has passed since the last switch. The epoch tells
 * readers to read the list anew (after a hole or a switch); the count alone, to read what was appended.
 */
import { KEY_WORDS } from "../key.ts";
import { RuleError } from "../errors.ts";
import { maskHash, type MaskRange } from "./hash.ts";
import { IntList } from "./int_list.ts";
import {
  type FlowTableBuffers,
  type FlowTableViews,
  LIST_COUNT,
  LIST_EPOCH,
  MASK_END,
  MASK_GENERATION,
  MASK_HASH,
  MASK_START,
  MASK_STRIDE,
  MASK_WORDS,
  NO_MASK,
} from "./layout.ts";

/** Holes in the list before it is written anew. */
const HOLES_MAX = 32;

export class MaskTable {
  readonly #views: FlowTableViews;
  readonly #usage: readonly Int32Array[];
  readonly #masksMax: number;
  readonly #references: Int32Array;
  /** Where each mask stands in the current list. */
  readonly #places: Int32Array;
  /** Usage counts at the last rebalance, summed over the threads. */
  readonly #baseline: Int32Array;
  /** Masks by hash. */
  readonly #byHash: Map<number, number[]> = new Map();
  readonly #free = new IntList();
  readonly #retireList: () => void;
  #unused = 0;
  #count = 0;
  #holes = 0;
  /** Whether nobody can be reading the list that is not current. */
  #otherListFree = true;
  /** A mask came or went since the last rebalance: usage so far would be unfair. */
  #changed = false;
  #last = -1;

  /** `retireList` is called when the other list is to be freed after a grace period. */
  constructor(buffers: FlowTableBuffers, views: FlowTableViews, retireList: () => void) {
    this.#views = views;
    this.#usage = buffers.maskUsage.map((usage) => new Int32Array(usage));
    this.#masksMax = buffers.masksMax;
    this.#references = new Int32Array(buffers.masksMax);
    this.#places = new Int32Array(buffers.masksMax);
    this.#baseline = new Int32Array(buffers.masksMax);
    this.#retireList = retireList;
  }

  /** Masks in use. */
  get count(): number {
    return this.#count;
  }

  /** Finds or adds a mask and counts a reference. RuleError ENOSPC when there are too many. */
  acquire(mask: Int32Array): number {
    let id = this.#last;
    if (id < 0 || this.#references[id] === 0 || !this.#equals(id, mask)) {
      const hash = maskHash(this.#views.constants, mask, 0);
      id = this.#find(hash, mask);
      if (id < 0) id = this.#add(hash, mask);
      this.#last = id;
    }
    this.#references[id]!++;
    return id;
  }

  /** Gives a reference back. True: it was the last, the id must be freed after a grace period. */
  release(id: number): boolean {
    if (--this.#references[id]! > 0) return false;
    const masks = this.#views.masks;
    const hash = masks[id * MASK_STRIDE + MASK_HASH]!;
    const same = this.#byHash.get(hash)!;
    if (same.length === 1) this.#byHash.delete(hash);
    else same.splice(same.indexOf(id), 1);
    masks[id * MASK_STRIDE + MASK_GENERATION]!++;
    const { control, maskLists } = this.#views;
    Atomics.store(maskLists, this.#listFrom() + this.#places[id]!, NO_MASK);
    Atomics.add(control, LIST_EPOCH, 2);
    this.#count--;
    this.#holes++;
    this.#changed = true;
    if (this.#holes > HOLES_MAX && this.#holes > this.#count) this.#rewrite(this.#live());
    return true;
  }

  /** A released id may be used again. */
  free(id: number): void {
    this.#free.push(id);
  }

  /** The list that is not current may be written again. */
  listFreed(): void {
    this.#otherListFree = true;
  }

  /** Where a mask's words lie in the table of masks, and its range. */
  range(id: number): MaskRange {
    const at = id * MASK_STRIDE;
    const masks = this.#views.masks;
    return {
      at: at + MASK_WORDS,
      start: masks[at + MASK_START]!,
      end: masks[at + MASK_END]!,
      hash: masks[at + MASK_HASH]!,
    };
  }

  /** Copy of a mask. */
  words(id: number): Int32Array {
    const at = id * MASK_STRIDE + MASK_WORDS;
    return new Int32Array(this.#views.masks.subarray(at, at + KEY_WORDS));
  }

  /**
   * Sorts the list by hits since the last call, most first. Does nothing while masks come and go
   * (as the kernel, which starts counting anew then), or while readers may still hold the last list.
   */
  rebalance(): void {
    const usage = this.#takeUsage();
    if (this.#changed) {
      this.#changed = false;
      return;
    }
    if (!this.#otherListFree) return;
    const live = this.#live();
    const sorted = live.slice().sort((a, b) => usage[b]! - usage[a]!);
    if (this.#holes === 0 && sorted.every((id, at) => id === live[at])) return;
    this.#rewrite(sorted);
  }

  /** Hits per mask since the last call. */
  #takeUsage(): Float64Array {
    const usage = new Float64Array(this.#unused);
    for (let id = 0; id < usage.length; id++) {
      let sum = 0;
      for (const counts of this.#usage) sum = (sum + counts[id]!) | 0;
      usage[id] = (sum - this.#baseline[id]!) >>> 0;
      this.#baseline[id] = sum;
    }
    return usage;
  }

  #current(): number {
    return this.#views.control[LIST_EPOCH]! & 1;
  }

  /** Index of the current list's first entry. */
  #listFrom(): number {
    return this.#current() * 2 * this.#masksMax;
  }

  /** The current list without holes. */
  #live(): number[] {
    const { control, maskLists } = this.#views;
    const from = this.#listFrom();
    const list = maskLists.subarray(from, from + control[LIST_COUNT + this.#current()]!);
    return [...list].filter((id) => id !== NO_MASK);
  }

  /** Writes the other list and switches to it, if nobody can be reading it. */
  #rewrite(ids: readonly number[]): void {
    if (!this.#otherListFree) return;
    const { control, maskLists } = this.#views;
    const other = 1 - this.#current();
    maskLists.set(ids, other * 2 * this.#masksMax);
    ids.forEach((id, place) => this.#places[id] = place);
    Atomics.store(control, LIST_COUNT + other, ids.length);
    Atomics.store(control, LIST_EPOCH, ((control[LIST_EPOCH]! + 2) ^ 1) | 0);
    this.#holes = 0;
    this.#otherListFree = false;
    this.#retireList();
  }

  #find(hash: number, mask: Int32Array): number {
    return this.#byHash.get(hash)?.find((id) => this.#equals(id, mask)) ?? -1;
  }

  #equals(id: number, mask: Int32Array): boolean {
    const at = id * MASK_STRIDE + MASK_WORDS;
    const masks = this.#views.masks;
    for (let word = 0; word < KEY_WORDS; word++) {
      if (masks[at + word] !== mask[word]) return false;
    }
    return true;
  }

  #add(hash: number, mask: Int32Array): number {
    const { control, maskLists, masks } = this.#views;
    const which = this.#current();
    if (this.#holes > 0 && control[LIST_COUNT + which]! >= 2 * this.#masksMax) {
      this.#rewrite(this.#live());
      if (this.#current() !== which) return this.#add(hash, mask);
    }
    const count = control[LIST_COUNT + which]!;
    const full = this.#free.length === 0 && this.#unused === this.#masksMax;
    if (full || count >= 2 * this.#masksMax) {
      throw new RuleError("ENOSPC", `the datapath has as many masks as it can (${this.#masksMax})`);
    }
    const id = this.#free.length > 0 ? this.#free.pop() : this.#unused++;
    const at = id * MASK_STRIDE;
    let start = 0;
    let end = KEY_WORDS;
    while (start < end && mask[start] === 0) start++;
    while (end > start && mask[end - 1] === 0) end--;
    masks[at + MASK_GENERATION]!++;
    masks[at + MASK_START] = start;
    masks[at + MASK_END] = end;
    masks[at + MASK_HASH] = hash;
    masks.set(mask.length === KEY_WORDS ? mask : mask.subarray(0, KEY_WORDS), at + MASK_WORDS);
    this.#byHash.set(hash, [...this.#byHash.get(hash) ?? [], id]);
    maskLists[this.#listFrom() + count] = id;
    this.#places[id] = count;
    Atomics.store(control, LIST_COUNT + which, count + 1);
    this.#count++;
    this.#changed = true;
    return id;
  }
}
