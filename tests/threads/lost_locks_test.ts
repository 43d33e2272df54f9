/** A thread is killed while it has a lock: the others wait, and go on when it is known to be gone. */
import assert from "node:assert/strict";
import { makeMeterMemory, MeterTable } from "../../datapath/meters.ts";
import { holdLocksAs, makeHolders, markGone } from "../../datapath/spin_lock.ts";
import type { Role, Task } from "./lost_locks_worker.ts";

const VICTIM = 8;
const OTHER = 9;

interface Thread {
  readonly worker: Worker;
  /** Resolves at the thread's next word. */
  next(): Promise<unknown>;
}

function startThread(task: Task): Thread {
  const url = new URL("./lost_locks_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const said: unknown[] = [];
  let heard: (() => void) | undefined;
  worker.onmessage = ({ data }): void => {
    said.push(data);
    heard?.();
  };
  worker.postMessage(task);
  const next = async (): Promise<unknown> => {
    if (said.length === 0) await new Promise<void>((resolve) => heard = resolve);
    return said.shift();
  };
  return { worker, next };
}

Deno.test("MeterReader: a thread killed in the middle of a meter does not stop the others", async () => {
  const memory = makeMeterMemory();
  const holders = makeHolders();
  holdLocksAs(2, holders);
  const table = new MeterTable(memory);
  table.set({ id: 1, unit: "pps", bands: [{ rate: 1, burst: 5 }] }, 1000);
  const start = (role: Role, holder: number): Thread =>
    startThread({ memory, holders, holder, role });

  const victim = start("dies", VICTIM);
  assert.equal(await victim.next(), "inside");
  victim.worker.terminate();
  const other = start("waits", OTHER);
  assert.equal(await other.next(), "begins");
  markGone(VICTIM, holders);
  assert.equal(await other.next(), false, "the packet is within the rate");
  other.worker.terminate();
  // The victim's packet is counted, and nothing else is held.
  assert.deepEqual(table.stats(1)?.packets, 2);
  assert.equal(table.delete(1)?.packets, 2);
});
