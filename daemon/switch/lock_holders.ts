/** Who holds locks in shared memory (datapath/spin_lock.ts): hands out the numbers of a process's isolates. */
import { HOLDERS_MAX, holdLocksAs, makeHolders, NAMELESS } from "../../datapath/spin_lock.ts";

/** What an isolate is to call {@link holdLocksAs} with. */
export interface LockHolder {
  readonly number: number;
  readonly holders: SharedArrayBuffer;
}

/** The control isolate's number; the others follow. */
const CONTROL = NAMELESS + 1;

let holders: SharedArrayBuffer | undefined;
let last = CONTROL;

/** For a new packet thread: a number that none of the last {@link HOLDERS_MAX} threads had. */
export function newLockHolder(): LockHolder {
  if (holders === undefined) {
    holders = makeHolders();
    holdLocksAs(CONTROL, holders);
  }
  last = last + 1 < HOLDERS_MAX ? last + 1 : CONTROL + 1;
  return { number: last, holders };
}
