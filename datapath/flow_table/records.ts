/** The writer's hand on the records: what it stores where, and in which order readers may see it. */
import { KEY_WORDS } from "../key.ts";
import type { MaskRange } from "./hash.ts";
import {
  ACTIONS,
  COLD_WORDS,
  coldAt,
  type FlowTableViews,
  HOT_FROM,
  HOT_SHIFT,
  HOT_TO,
  isHot,
  keyWord,
  MASK,
  MASK_END,
  MASK_START,
  MASK_STRIDE,
  STATE,
  WIDE_FROM,
  WIDE_WORDS,
} from "./layout.ts";

export class Records {
  readonly #views: FlowTableViews;
  readonly #hot: Int32Array<SharedArrayBuffer>;

  constructor(views: FlowTableViews) {
    this.#views = views;
    this.#hot = views.hot;
  }

  /** Fills a dead record that no reader holds, and gives it its next generation. */
  fill(index: number, key: Int32Array, mask: number, range: MaskRange): void {
    const { hot, cold, wide, masks } = this.#views;
    const hotAt = index << HOT_SHIFT;
    for (let word = HOT_FROM; word < HOT_TO; word++) {
      hot[hotAt + word] = key[word]! & masks[range.at + word]!;
    }
    // Whole rows: readers may look at words that only other masks have (compileVerify).
    if (hasCold(range)) {
      for (let word = 0; word < WIDE_FROM; word++) {
        if (isHot(word)) continue;
        cold[index * COLD_WORDS + coldAt(word)] = key[word]! & masks[range.at + word]!;
      }
    }
    if (hasWide(range)) {
      const wideAt = index * WIDE_WORDS - WIDE_FROM;
      for (let word = WIDE_FROM; word < KEY_WORDS; word++) {
        wide[wideAt + word] = key[word]! & masks[range.at + word]!;
      }
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
    const { masks } = this.#views;
    const at = this.mask(index) * MASK_STRIDE;
    const end = masks[at + MASK_END]!;
    for (let word = masks[at + MASK_START]!; word < end; word++) {
      key[word] = keyWord(this.#views, index, word);
    }
    return key;
  }
}

/** Whether a mask looks at words in the cold array. */
function hasCold(range: MaskRange): boolean {
  return range.start < HOT_FROM || range.end > HOT_TO;
}

/** Whether a mask looks at words in the wide array. */
function hasWide(range: MaskRange): boolean {
  return range.end > WIDE_FROM;
}

/** State word of the next generation, dead. */
function nextGeneration(state: number): number {
  return ((state >> 1) + 1) << 1;
}
