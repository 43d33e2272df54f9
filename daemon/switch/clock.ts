/**
 * The switch's clock: a few shared words, so that the control isolate and all packet threads read
 * the same time, and so that tests can stop it and move it on (`time/stop`, `time/warp`).
 *
 * Real time is CLOCK_MONOTONIC in milliseconds. Stopped, it stands still and moves only by `warp`,
 * as in Open vSwitch's timeval.c.
 */
import { monotonicMs } from "../../netdev/clock.ts";

// Float64 words.
const STOPPED_AT = 0;
const WALL_OFFSET = 1;
const WORDS = 2;

/** One isolate's view of the clock. The control isolate makes it; a thread opens the same `shared`. */
export class SwitchClock {
  /** Structured-clonable: pass it to `new SwitchClock(shared)` in another isolate. */
  readonly shared: SharedArrayBuffer;
  readonly #words: Float64Array;
  readonly #real: () => number;

  /**
   * `real` replaces the system's clock in tests. 8-byte stores are single on the platforms that Deno
   * runs on, and every value is written by the control isolate alone.
   */
  constructor(shared?: SharedArrayBuffer, real: () => number = monotonicMs) {
    this.shared = shared ?? new SharedArrayBuffer(WORDS * 8);
    this.#words = new Float64Array(this.shared);
    this.#real = real;
    if (shared === undefined) {
      this.#words[STOPPED_AT] = -1;
      this.#words[WALL_OFFSET] = Date.now() - real();
    }
  }

  /** Monotonic milliseconds. */
  nowMs(): number {
    const stoppedAt = this.#words[STOPPED_AT]!;
    return stoppedAt >= 0 ? stoppedAt : this.#real();
  }

  /** Microseconds since 1970-01-01 UTC; stopped, those that go with {@link nowMs}. */
  wallUs(): number {
    if (!this.stopped) return Math.floor((performance.timeOrigin + performance.now()) * 1000);
    return Math.round((this.nowMs() + this.#words[WALL_OFFSET]!) * 1000);
  }

  /** What makes a time of {@link nowMs} one since 1970. Doesn't follow later changes of the system's clock. */
  get wallOffsetMs(): number {
    return this.#words[WALL_OFFSET]!;
  }

  get stopped(): boolean {
    return this.#words[STOPPED_AT]! >= 0;
  }

  /** Time stands still from now on (control isolate only). */
  stop(): void {
    if (!this.stopped) this.#words[STOPPED_AT] = Math.floor(this.#real());
  }

  /** Moves a stopped clock on; stops a running one first. */
  warp(ms: number): void {
    this.stop();
    this.#words[STOPPED_AT]! += ms;
  }
}
