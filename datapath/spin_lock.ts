/**
 * Spin locks in shared memory: a word that is 0 when the lock is free, else the number of its holder.
 * They are held for well under a microsecond, so waiting is spinning; a holder that lost its
 * processor is waited for asleep.
 *
 * A thread may die with a lock, or be replaced while it hangs: whoever supervises the threads then
 * marks its number as gone ({@link markGone}), and its locks are taken from it by those who want them.
 * That alone would not do, because the supervisor itself takes locks: a holder that has not come back
 * after LOST_NAPS is marked by whoever waits. Should it come back after all, it finds its lock in
 * other hands when it lets go, and goes on. What the lock guards may be half changed when it is taken
 * over: whatever is guarded by one of these must bear that (a wrong count, no wrong address).
 *
 * An isolate tells its number once ({@link holdLocksAs}), so that nobody has to pass it along; numbers
 * are not used twice at a time.
 */

/** Numbers of holders are 1 … HOLDERS_MAX − 1. */
export const HOLDERS_MAX = 4096;
/** The number of an isolate that has not said any. */
export const NAMELESS = 1;

const FREE = 0;
const SPINS = 2000;
const NAP_MS = 1;
/** Well below what a watchdog takes for a hanging thread (daemon/switch/watchdog.ts): waiting must not look like it. */
const LOST_NAPS = 1000;

/** This isolate's. */
let self = NAMELESS;
/** By holder: 1 if it is gone. */
let gone: Int32Array<SharedArrayBuffer> | undefined;

/** Shared memory for marks of who is gone: one for a process. */
export function makeHolders(): SharedArrayBuffer {
  return new SharedArrayBuffer(HOLDERS_MAX * 4);
}

/** From now on this isolate holds locks under a number, and knows who is gone. */
export function holdLocksAs(holder: number, holders: SharedArrayBuffer): void {
  self = holder;
  gone = new Int32Array(holders);
  Atomics.store(gone, holder, 0);
}

/** Says on behalf of a holder that it will not let go of anything any more. */
export function markGone(holder: number, holders: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(holders), holder, 1);
}

/** Takes the lock at words[at]. Not recursive. */
export function lock(words: Int32Array, at: number): void {
  if (Atomics.compareExchange(words, at, FREE, self) !== FREE) waitForLock(words, at);
}

/** Takes the lock if it is free, or its holder's who is gone. */
export function tryLock(words: Int32Array, at: number): boolean {
  const holder = Atomics.compareExchange(words, at, FREE, self);
  return holder === FREE || (isGone(holder) && takeFrom(words, at, holder));
}

/** Gives it back, unless it was taken from this isolate. */
export function unlock(words: Int32Array, at: number): void {
  // A plain look will do: nobody is given up within the moment between the two.
  if (words[at] === self) Atomics.store(words, at, FREE);
  else comeBack();
}

/** Somebody has given this isolate up, too early. */
function comeBack(): void {
  if (gone !== undefined) Atomics.store(gone, self, 0);
}

function waitForLock(words: Int32Array, at: number): void {
  let holder = FREE;
  for (let naps = 0;;) {
    for (let spin = 0; spin < SPINS; spin++) {
      if (words[at] === FREE && Atomics.compareExchange(words, at, FREE, self) === FREE) return;
      if ((spin & 15) === 15) Atomics.load(words, at);
    }
    const now = Atomics.load(words, at);
    if (now === FREE) continue;
    naps = now === holder ? naps + 1 : 0;
    holder = now;
    if ((isGone(holder) || naps >= LOST_NAPS) && takeFrom(words, at, holder)) return;
    // Nobody notifies: a timed wait is the one way to sleep here.
    Atomics.wait(words as Int32Array<SharedArrayBuffer>, at, holder, NAP_MS);
  }
}

function isGone(holder: number): boolean {
  return gone !== undefined && Atomics.load(gone, holder) === 1;
}

/** False: it has changed hands meanwhile. */
function takeFrom(words: Int32Array, at: number, holder: number): boolean {
  if (Atomics.compareExchange(words, at, holder, self) !== holder) return false;
  // Its other locks need not be waited for. The nameless can't be told apart: others of them may live.
  if (gone !== undefined && holder !== self && holder !== NAMELESS) Atomics.store(gone, holder, 1);
  return true;
}
