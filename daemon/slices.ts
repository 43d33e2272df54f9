/** Long work in slices, so that the control isolate goes on answering. */

/** No slice is longer, in milliseconds, by more than one step of the work. */
export const SLICE_MS = 4;

/** Call {@link rest} between steps: it lets others run when the slice is used up. */
export class Slices {
  #sinceMs: number = performance.now();

  /** Whether the slice is used up. Ask it in hot loops, and `await rest()` only then. */
  get due(): boolean {
    return performance.now() - this.#sinceMs >= SLICE_MS;
  }

  async rest(): Promise<void> {
    if (!this.due) return;
    await new Promise((done) => setTimeout(done, 0));
    this.#sinceMs = performance.now();
  }
}
