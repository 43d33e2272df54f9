/**
 * When a packet thread should let packets gather: naps between rounds, as network cards hold back
 * interrupts.
 *
 * A stream of small frames that comes as fast as the thread works is taken two or three frames at a
 * time, and each round costs a system call, cold caches and now and then a wake-up. Napped for NAP_US
 * between rounds it comes in bursts of twenty or thirty and costs a sixth less.
 *
 * What is gained so is time of the processor, and the price is latency. So naps begin only when many
 * small frames have come for a while, whole windows of rounds; and they end at once when they gather
 * few. That leaves out bulk transfers in large frames, and one who waits for answers. Many who wait
 * for answers may look like a stream, but they ask less often when answers take longer: naps also end
 * when fewer frames come than before them. Each failure doubles the time until the next attempt.
 */
import type { SwitchClock } from "./clock.ts";

/** Length of a nap. */
export const NAP_US = 60;
/** A round that takes so many needs no nap: they have gathered. */
const COUNT_ENOUGH = 32;
/** A nap that gathers fewer was in vain. */
const COUNT_MIN = 8;
const IN_VAIN_MAX = 2;
/** Naps begin from so many packets a millisecond, of this mean size, bytes. */
const RATE_MIN = 300;
const SIZE_MAX = 512;
/** A window is so long at least; the clock, of whole milliseconds, is looked at every so many rounds. */
const WINDOW_MS = 10;
const AWAKE_ROUNDS = 64;
const NAP_ROUNDS = 16;
/** With naps at least this share of the packets must come that came before; sources have hiccups, so one window with fewer is let pass. */
const RATE_KEPT = 0.85;
const SLOW_MAX = 2;
/** Windows to wait after a failure: doubled by each, and reset by so many good windows of naps. */
const WAIT_MIN = 1;
const WAIT_MAX = 256;
const GOOD_WINDOWS = 4;

export class Moderation {
  readonly #clock: Pick<SwitchClock, "nowMs">;
  #napping = false;
  /** The window so far. */
  #sinceMs: number;
  #rounds = 0;
  #packets = 0;
  #bytes = 0;
  /** Packets a millisecond without naps. */
  #rateBefore = 0;
  #inVain = 0;
  #slowWindows = 0;
  #goodWindows = 0;
  /** Windows until the next attempt, and after its failure. */
  #wait = 0;
  #waitNext = WAIT_MIN;

  constructor(clock: Pick<SwitchClock, "nowMs">) {
    this.#clock = clock;
    this.#sinceMs = clock.nowMs();
  }

  /** Told of a round that took `packets` of `bytes` altogether: returns whether to nap before the next. Does not allocate. */
  afterRound(packets: number, bytes: number): boolean {
    this.#packets += packets;
    this.#bytes += bytes;
    this.#rounds++;
    if (!this.#napping) {
      if ((this.#rounds & (AWAKE_ROUNDS - 1)) === 0) this.#look();
      return this.#napping;
    }
    if (packets >= COUNT_MIN) this.#inVain = 0;
    else if (++this.#inVain >= IN_VAIN_MAX) return this.#fail(), false;
    if ((this.#rounds & (NAP_ROUNDS - 1)) === 0) this.#look();
    return this.#napping && packets < COUNT_ENOUGH;
  }

  /** Told that nothing had come, and the thread has slept until something did. */
  slept(): void {
    if (!this.#napping) return;
    // A source may have been interrupted itself: that time does not count.
    if (++this.#inVain >= IN_VAIN_MAX) this.#fail();
    else this.#begin(this.#clock.nowMs());
  }

  /** Ends the window if it is long enough, and judges it. */
  #look(): void {
    const nowMs = this.#clock.nowMs();
    const tookMs = nowMs - this.#sinceMs;
    if (tookMs < WINDOW_MS) return;
    const rate = this.#packets / tookMs;
    const small = this.#bytes <= this.#packets * SIZE_MAX;
    const few = this.#packets < this.#rounds * COUNT_ENOUGH;
    this.#begin(nowMs);
    if (this.#napping) {
      this.#judgeNaps(small, rate);
    } else if (this.#wait > 0) {
      this.#wait--;
    } else if (small && few && rate >= RATE_MIN) {
      this.#napping = true;
      this.#rateBefore = rate;
      this.#inVain = this.#slowWindows = this.#goodWindows = 0;
    }
  }

  #judgeNaps(small: boolean, rate: number): void {
    if (rate >= this.#rateBefore * RATE_KEPT) {
      this.#slowWindows = 0;
      if (++this.#goodWindows === GOOD_WINDOWS) this.#waitNext = WAIT_MIN;
    } else {
      this.#slowWindows++;
    }
    if (!small || this.#slowWindows >= SLOW_MAX) this.#fail();
  }

  #begin(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#rounds = this.#packets = this.#bytes = 0;
  }

  #fail(): void {
    this.#napping = false;
    this.#wait = this.#waitNext;
    this.#waitNext = Math.min(2 * this.#waitNext, WAIT_MAX);
    this.#begin(this.#clock.nowMs());
  }
}
