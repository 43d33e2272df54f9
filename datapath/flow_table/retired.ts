/**
 * What was taken out of the table and waits for its grace period: records, action lists, mask ids and
 * the mask list that is not current. Two batches: one waits, the other gathers for the next period.
 */
import { GraceWatch } from "./grace.ts";
import { IntList } from "./int_list.ts";

/** Kinds of things that retire. */
export const RETIRED_RECORD = 0;
export const RETIRED_ACTIONS = 1;
export const RETIRED_MASK = 2;
export const RETIRED_MASK_LIST = 3;

export class Retired {
  readonly #watch: GraceWatch;
  readonly #free: (kind: number, value: number) => void;
  #waiting = new IntList();
  #gathering = new IntList();

  /** `free` is called with what may be used again. */
  constructor(grace: SharedArrayBuffer | undefined, free: (kind: number, value: number) => void) {
    this.#watch = new GraceWatch(grace);
    this.#free = free;
  }

  /** Already out of the readers' reach but for what they hold. */
  add(kind: number, value: number): void {
    this.#gathering.push(kind);
    this.#gathering.push(value);
  }

  /** Frees what has passed its grace period. Returns whether anything was freed. */
  reclaim(): boolean {
    let any = false;
    for (;;) {
      const waiting = this.#waiting;
      if (waiting.length > 0) {
        if (!this.#watch.passed()) return any;
        for (let at = 0; at < waiting.length; at += 2) {
          this.#free(waiting.at(at), waiting.at(at + 1));
        }
        waiting.clear();
        any = true;
      }
      if (this.#gathering.length === 0) return any;
      this.#waiting = this.#gathering;
      this.#gathering = waiting;
      this.#watch.begin();
    }
  }
}
