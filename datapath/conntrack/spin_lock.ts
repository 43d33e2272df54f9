/**
 * Spin locks in shared memory: a word that is 0 or 1. They are held for well under a microsecond, so
 * waiting is spinning; a holder that lost its processor is waited for asleep. A thread that died
 * with a lock can't stop the others: after LOST_MS the lock is taken from it.
 */

const SPINS = 2000;
const NAP_MS = 1;
const LOST_MS = 2000;

/** Takes the lock at words[at]. Not recursive. */
export function lock(words: Int32Array, at: number): void {
  if (Atomics.compareExchange(words, at, 0, 1) !== 0) waitForLock(words, at);
}

/** Takes the lock if it is free. */
export function tryLock(words: Int32Array, at: number): boolean {
  return Atomics.compareExchange(words, at, 0, 1) === 0;
}

/** Gives it back. */
export function unlock(words: Int32Array, at: number): void {
  Atomics.store(words, at, 0);
}

function waitForLock(words: Int32Array, at: number): void {
  for (let waitedMs = 0; waitedMs < LOST_MS; waitedMs += NAP_MS) {
    for (let spin = 0; spin < SPINS; spin++) {
      if (words[at] === 0 && Atomics.compareExchange(words, at, 0, 1) === 0) return;
      if ((spin & 15) === 15) Atomics.load(words, at);
    }
    // Nobody notifies: a timed wait is the one way to sleep here.
    Atomics.wait(words as Int32Array<SharedArrayBuffer>, at, 1, NAP_MS);
  }
}
