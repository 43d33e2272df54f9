/**
 * Grace periods: when may memory that packet threads could still be reading be used again?
 *
 * Each packet thread counts its quiescent points (between two rounds it holds no flow, no actions, no
 * bucket array) in a cache line of its own, and says when it sleeps. What was taken out of the table
 * at some moment is out of every thread's hands when each thread's count has advanced by 2 since, or
 * the thread sleeps. Nobody ever waits: the writer asks again later ({@link GraceWatch.passed}).
 */

const LINE_WORDS = 16;
const COUNT = 0;
const ASLEEP = 1;

/** Shared memory for the quiescent counts of `threads` packet threads, all asleep at first. */
export function makeGrace(threads: number): SharedArrayBuffer {
  const grace = new SharedArrayBuffer(Math.max(1, threads) * LINE_WORDS * 4);
  for (let thread = 0; thread < threads; thread++) markAsleep(grace, thread);
  return grace;
}

/** Says on behalf of a thread that it reads nothing: not started yet, or ended. */
export function markAsleep(grace: SharedArrayBuffer, thread: number): void {
  Atomics.store(new Int32Array(grace), thread * LINE_WORDS + ASLEEP, 1);
}

/** A packet thread's side. */
export class ThreadGrace {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #at: number;

  constructor(grace: SharedArrayBuffer, thread: number) {
    this.#words = new Int32Array(grace);
    this.#at = thread * LINE_WORDS;
  }

  /** Between two rounds: this thread now refers to nothing in any table. */
  quiescent(): void {
    const at = this.#at + COUNT;
    Atomics.store(this.#words, at, (this.#words[at]! + 1) | 0);
  }

  /** About to wait for packets: reads no table until {@link wake}. */
  sleep(): void {
    Atomics.store(this.#words, this.#at + ASLEEP, 1);
  }

  /** Back from waiting; call before reading a table. */
  wake(): void {
    Atomics.store(this.#words, this.#at + ASLEEP, 0);
    // A load that is ordered behind the store, for the plain loads that follow to be ordered behind.
    Atomics.load(this.#words, this.#at + ASLEEP);
  }
}

/** The writer's side: one grace period at a time. */
export class GraceWatch {
  readonly #words: Int32Array<SharedArrayBuffer> | undefined;
  readonly #threads: number;
  readonly #marks: Int32Array;
  readonly #left: Uint8Array;

  /** `grace` undefined: nobody reads, every period passes at once. */
  constructor(grace: SharedArrayBuffer | undefined) {
    this.#words = grace === undefined ? undefined : new Int32Array(grace);
    this.#threads = this.#words === undefined ? 0 : this.#words.length / LINE_WORDS;
    this.#marks = new Int32Array(this.#threads);
    this.#left = new Uint8Array(this.#threads);
  }

  /** Begins a period: it passes when nobody can hold what was taken out before this call. */
  begin(): void {
    if (this.#words === undefined) return;
    for (let thread = 0; thread < this.#threads; thread++) {
      this.#marks[thread] = Atomics.load(this.#words, thread * LINE_WORDS + COUNT);
      this.#left[thread] = 0;
    }
  }

  /** Whether the period begun last has passed. */
  passed(): boolean {
    if (this.#words === undefined) return true;
    for (let thread = 0; thread < this.#threads; thread++) {
      if (this.#left[thread] === 1) continue;
      const at = thread * LINE_WORDS;
      const rounds = (Atomics.load(this.#words, at + COUNT) - this.#marks[thread]!) | 0;
      if (rounds < 2 && Atomics.load(this.#words, at + ASLEEP) === 0) return false;
      this.#left[thread] = 1;
    }
    return true;
  }
}
