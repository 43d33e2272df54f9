/**
 * Memory for action lists: blocks of a few sizes cut from one shared array that never moves.
 *
 * A block is a header word (list length << 8 | size class) and the list's words. Sizes step by 2^n and 1.5 · 2^n, so
 * that at most a third is wasted and a list with one output takes 16 bytes. Freed blocks are chained
 * through their first word. The caller frees a block only when no packet thread can read it.
 */
import { RuleError } from "../errors.ts";
import { ACTION_WORDS_MAX } from "./layout.ts";

/** Block sizes in words, header included. */
const SIZES: readonly number[] = [
  ...Array.from({ length: 15 }, (_, n) => [4 << n, 6 << n]).flat(),
].filter((size) => size <= ACTION_WORDS_MAX + 1);

export class ActionArena {
  readonly #words: Int32Array;
  /** First free block per class; 0: none (block 0 is never handed out). */
  readonly #free: Int32Array = new Int32Array(SIZES.length);
  #unused = 4;

  /** `words` is all zero. */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /**
   * Stores a list and returns where it begins. RuleError EFBIG when it is longer than any list may
   * be, ENOSPC when the memory is used up; nothing is taken then.
   */
  store(list: Int32Array): number {
    if (list.length > ACTION_WORDS_MAX) {
      throw new RuleError(
        "EFBIG",
        `the action list is too long (at most ${ACTION_WORDS_MAX} words)`,
      );
    }
    const block = this.#take(classOf(list.length + 1));
    const at = block + 1;
    const words = this.#words;
    words[block] = (words[block]! & 0xff) | (list.length << 8);
    for (let word = 0; word < list.length; word++) words[at + word] = list[word]!;
    return at;
  }

  /** Copy of the list at `at`. */
  read(at: number): Int32Array {
    return this.#words.slice(at, at + (this.#words[at - 1]! >>> 8));
  }

  /** Gives the block of the list at `at` back. */
  free(at: number): void {
    const block = at - 1;
    const size = this.#words[block]! & 0xff;
    this.#words[at] = this.#free[size]!;
    this.#free[size] = block;
  }

  #take(size: number): number {
    const block = this.#free[size]!;
    if (block !== 0) return this.#unchain(size, block);
    const unused = this.#unused;
    if (unused + SIZES[size]! <= this.#words.length) {
      this.#unused += SIZES[size]!;
      this.#words[unused] = size;
      return unused;
    }
    for (let larger = size + 1; larger < SIZES.length; larger++) {
      if (this.#free[larger] !== 0) return this.#unchain(larger, this.#free[larger]!);
    }
    throw new RuleError("ENOSPC", "the datapath's memory for actions is used up");
  }

  #unchain(size: number, block: number): number {
    this.#free[size] = this.#words[block + 1]!;
    return block;
  }
}

/** The smallest class with blocks of at least `length` words. */
function classOf(length: number): number {
  let size = Math.max(0, 2 * (29 - Math.clz32(length)));
  while (SIZES[size]! < length) size++;
  return size;
}
