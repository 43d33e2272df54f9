import assert from "node:assert/strict";
import {
  holdLocksAs,
  lock,
  makeHolders,
  markGone,
  NAMELESS,
  tryLock,
  unlock,
} from "./spin_lock.ts";

const ME = 5;
const OTHER = 7;

/** A lock that a holder has, as seen by holder 5. */
function heldBy(holder: number): { words: Int32Array; holders: SharedArrayBuffer } {
  const holders = makeHolders();
  holdLocksAs(ME, holders);
  return { words: new Int32Array(2).fill(holder), holders };
}

/** The same in shared memory: it can be waited for. */
function sharedHeldBy(holder: number): { words: Int32Array; holders: SharedArrayBuffer } {
  const { holders } = heldBy(holder);
  return { words: new Int32Array(new SharedArrayBuffer(8)).fill(holder), holders };
}

Deno.test("lock, tryLock and unlock: a word is free or its holder's", () => {
  const { words } = heldBy(0);
  assert(tryLock(words, 1));
  assert.deepEqual([...words], [0, ME]);
  assert(!tryLock(words, 1));
  unlock(words, 1);
  lock(words, 0);
  assert.deepEqual([...words], [ME, 0]);
  unlock(words, 0);
  assert.deepEqual([...words], [0, 0]);
});

Deno.test("lock: takes at once what somebody has who is gone", () => {
  const { words, holders } = sharedHeldBy(OTHER);
  markGone(OTHER, holders);
  lock(words, 0);
  assert.deepEqual([...words], [ME, OTHER]);
  assert(tryLock(words, 1));
  assert.deepEqual([...words], [ME, ME]);
});

Deno.test("lock: who never comes back is given up, and all its locks with it", () => {
  const { words, holders } = sharedHeldBy(OTHER);
  lock(words, 0);
  assert.equal(words[0], ME);
  assert.equal(new Int32Array(holders)[OTHER], 1);
});

Deno.test("unlock: of a lock that was taken away leaves it to its new holder, and is a sign of life", () => {
  const { words, holders } = heldBy(OTHER);
  markGone(ME, holders);
  unlock(words, 0);
  assert.equal(words[0], OTHER);
  assert.equal(new Int32Array(holders)[ME], 0);
});

Deno.test("lock: when one that has no number never comes back, others without a number keep their locks", () => {
  const { words, holders } = sharedHeldBy(NAMELESS);
  lock(words, 0);
  assert.deepEqual([...words], [ME, NAMELESS]);
  assert(!tryLock(words, 1));
  assert.equal(new Int32Array(holders)[NAMELESS], 0);
});
