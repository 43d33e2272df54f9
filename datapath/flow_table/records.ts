/** The writer's hand on the records: what it stores where, and in which order readers may see it. */
import { KEY_WORDS } from "../key.ts";
import type { MaskRange } from "./hash.ts";
import {
  ACTIONS,
  COLD_WORDS,
  coldAt,
  type FlowTableViews,
  HOT_SHIFT,
  isHot,
  MASK,
  STATE,
} from "./layout.ts";

export class Records {
  readonly #hot: Int32Array<SharedArrayBuffer>;
  readonly #cold: Int32Array<SharedArrayBuffer>;
  readonly #masks: Int32Array<SharedArrayBuffer>;

  constructor(views: FlowTableViews) {
    this.#hot = views.hot;
    this.#cold = views.cold;
    this.#masks = views.masks;
  }

  /** Fills a dead record that no reader holds, and gives it its next generation. */
  fill(index: number, key: Int32Array, mask: number, range: MaskRange): void {
    const hot = this.#hot;
    const hotAt = index << HOT_SHIFT;
    for (let word = 0; word < KEY_WORDS; word++) {
      const value = key[word]! & this.#masks[range.at + word]!;
      if (isHot(word)) hot[hotAt + word] = value;
      else this.#cold[index * COLD_WORDS + coldAt(word)] = value;
    }
    hot[hotAt + MASK] = mask;
    Atomics.store(hot, hotAt + STATE, nextGeneration(hot[hotAt + STATE]!));
  }

  /** Makes a filled record live: readers may use all that was stored before. */
  publish(index: number, actionsAt: number): void {
    const hotAt = index << HOT_SHIFT;
    this.#hot[hotAt + ACTIONS] = actionsAt;
    Atomics.store(this.#hot, hotAt + STATE, this.#hot[hotAt + STATE]! | 1);
  }

  /** Gives a live record other actions. */
  publishActions(index: number, actionsAt: number): void {
    Atomics.store(this.#hot, (index << HOT_SHIFT) + ACTIONS, actionsAt);
  }

  /** Gives a live record its next generation, which has no statistics yet. */
  advance(index: number): void {
    const at = (index << HOT_SHIFT) + STATE;
    Atomics.store(this.#hot, at, nextGeneration(this.#hot[at]!) | 1);
  }

  /** Readers that come now do not use the record any more. */
  kill(index: number): void {
    const at = (index << HOT_SHIFT) + STATE;
    Atomics.store(this.#hot, at, this.#hot[at]! & ~1);
  }

  /** Where the actions begin that readers of a live record see. */
  actionsAt(index: number): number {
    return this.#hot[(index << HOT_SHIFT) + ACTIONS]!;
  }

  mask(index: number): number {
    return this.#hot[(index << HOT_SHIFT) + MASK]!;
  }

  generation(index: number): number {
    return this.#hot[(index << HOT_SHIFT) + STATE]! >> 1;
  }

  /** What statistics of this generation are tagged with. */
  tag(index: number): number {
    return this.#hot[(index << HOT_SHIFT) + STATE]! | 1;
  }

  /** Copy of the masked key. */
  key(index: number): Int32Array {
    const key = new Int32Array(KEY_WORDS);
    for (let word = 0; word < KEY_WORDS; word++) {
      key[word] = isHot(word)
        ? this.#hot[(index << HOT_SHIFT) + word]!
        : this.#cold[index * COLD_WORDS + coldAt(word)]!;
    }
    return key;
  }
}

/** State word of the next generation, dead. */
function nextGeneration(state: number): number {
  return ((state >> 1) + 1) << 1;
}
