/** Flows that can be verified: everything in them follows from their number. */
import { KEY_WORDS } from "../../datapath/key.ts";

/** Flows 0 … STABLE_COUNT − 1 are never removed; their actions change. */
export const STABLE_COUNT = 1000;
/** Flows from STABLE_COUNT on come and go. */
export const VOLATILE_COUNT = 6000;
/** Every so many-th of those has a mask that it shares with one or two others: such masks come and go. */
const RARE = 300;

/** Key of a packet of flow `n`; words that its mask leaves out are taken from `noise`. */
export function writeKey(keys: Int32Array, at: number, n: number, noise: number): void {
  keys[at] = noise;
  keys[at + 4] = 1;
  keys[at + 10] = n & 1 ? 0x0008 : 0xdd86;
  keys[at + 13] = Math.imul(n, 0x9e3779b1);
  keys[at + 14] = noise;
  keys[at + 25] = ~n;
  keys[at + 60] = n * 3;
  keys[at + 72] = n & 2 ? 4 : 0;
}

/** Mask of flow `n`. */
export function makeMask(n: number): Int32Array {
  const mask = new Int32Array(KEY_WORDS);
  const which = n < STABLE_COUNT ? n % 3 : n % RARE === 0 ? 6 + (n / RARE) % 6 : 3 + n % 3;
  mask[4] = which + 1;
  mask[10] = which & 1 ? 0xffff : 0;
  mask[13] = -1;
  mask[25] = which & 2 ? -1 : 0;
  mask[60] = which & 4 ? -1 : 0;
  return mask;
}

/** Word of an action list, from the third on. */
export function actionWord(n: number, change: number, word: number): number {
  return Math.imul(n ^ Math.imul(change, 0x85ebca6b), 0xc2b2ae35 + word * 2) | 0;
}

/** Lists of every length, made once: the table copies what it is given. */
const LISTS = Array.from({ length: 28 }, (_, length) => new Int32Array(3 + length));

/** Actions of flow `n` after its `change`-th change: [n, change, length, …], 3 to 30 words. Reused. */
export function makeActions(n: number, change: number): Int32Array {
  const actions = LISTS[(change * 7 + n) % LISTS.length]!;
  actions[0] = n;
  actions[1] = change;
  actions[2] = actions.length;
  for (let word = 3; word < actions.length; word++) actions[word] = actionWord(n, change, word);
  return actions;
}
