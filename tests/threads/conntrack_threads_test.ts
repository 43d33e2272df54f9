/** Two threads track packets of the same connections in one table: nothing is lost, doubled or left locked. */
import assert from "node:assert/strict";
import { ConntrackControl } from "../../datapath/conntrack/control.ts";
import {
  CONFIRMED,
  type ConntrackBuffers,
  HIGH_WATER,
  LOCK,
  makeConntrackBuffers,
  RECORD_WORDS,
  STATUS,
} from "../../datapath/conntrack/layout.ts";
import { setDefaultTimeouts } from "../../datapath/conntrack/timeouts.ts";
import { makeTuple } from "../../datapath/conntrack/tuple.ts";
import { NOW_MS, type Task } from "./conntrack_threads_worker.ts";

const CHURN_MS = 1500;

function makeBuffers(): ConntrackBuffers {
  const buffers = makeConntrackBuffers({
    connectionsMax: 1 << 16,
    threads: 2,
    seed: crypto.getRandomValues(new Uint8Array(16)),
  });
  setDefaultTimeouts(buffers);
  return buffers;
}

interface Outcome {
  readonly packets: number;
  readonly wrong: number;
  readonly found: readonly string[];
}

/** Runs both threads; `meanwhile` runs here until they are told to stop. */
async function race(
  buffers: ConntrackBuffers,
  job: Task["job"],
  connections: number,
  meanwhile?: () => Promise<void>,
): Promise<Outcome> {
  const words = new Int32Array(new SharedArrayBuffer(16));
  const url = new URL("./conntrack_threads_worker.ts", import.meta.url);
  const done = [0, 1].map((thread) => {
    const worker = new Worker(url, { type: "module" });
    const finished = Promise.withResolvers<string[]>();
    worker.onmessage = ({ data }: MessageEvent<string[]>): void => finished.resolve(data);
    worker.onerror = (event): void => finished.reject(new Error(event.message));
    const task: Task = { buffers, thread, words: words.buffer, job, connections };
    worker.postMessage(task);
    return finished.promise;
  });
  await meanwhile?.();
  Atomics.store(words, 0, 1);
  const found = (await Promise.all(done)).flat();
  return { packets: words[1]!, wrong: words[2]!, found };
}

/** That no lock is taken, every connection is found from both ends, and the counts agree. */
function assertTidy(control: ConntrackControl): void {
  const { table } = control;
  assert.ok(table.locks.every((word) => word === 0));
  const tuple = makeTuple();
  let linked = 0;
  for (let record = 1; record < table.control[HIGH_WATER]!; record++) {
    const at = record * RECORD_WORDS;
    assert.equal(table.records[at + LOCK], 0);
    if ((table.records[at + STATUS]! & CONFIRMED) === 0) continue;
    linked++;
    for (const side of [0, 1]) {
      table.getTuple(record << 1 | side, tuple);
      assert.equal(table.find(tuple), record << 1 | side);
      table.unlockRecord(record);
    }
  }
  assert.equal(linked, control.count);
  assert.equal(control.zoneCount(0), control.count);
}

Deno.test("conntrack: two threads that commit the same connections make one of each", async () => {
  const buffers = makeBuffers();
  const control = new ConntrackControl(buffers);
  control.table.now = NOW_MS;
  const { wrong, packets } = await race(buffers, "commit", 30_000);
  assert.deepEqual([wrong, packets, control.count], [0, 120_000, 30_000]);
  assertTidy(control);
  let counted = 0;
  let cursor = 1;
  do {
    cursor = control.dump(NOW_MS, {}, cursor, ({ countersOriginal, countersReply }) => {
      counted += countersOriginal.packets + countersReply.packets;
    });
  } while (cursor !== 0);
  // Of two packets that opened the same connection at once, the loser is counted when it joins.
  assert.equal(counted, packets);
});

Deno.test("conntrack: threads come and go through connections while they are flushed and swept", async () => {
  const buffers = makeBuffers();
  const control = new ConntrackControl(buffers);
  const { wrong, packets } = await race(buffers, "churn", 3000, async () => {
    const end = performance.now() + CHURN_MS;
    for (let turn = 0; performance.now() < end; turn++) {
      const now = NOW_MS + turn * 100;
      if (turn % 3 === 0) control.flush(now, { mark: { value: 0, mask: 1 } }, 1);
      else if (turn % 3 === 1) control.sweep(now, 2000);
      else control.dump(now, {}, 1, () => {});
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  });
  assert.equal(wrong, 0, `of ${packets}`);
  control.table.now = NOW_MS;
  assertTidy(control);
  assert.ok(packets > 20_000, `${packets} packets`);
  const sources = new Int32Array(buffers.sourceHeads);
  assert.ok(sources.some((record) => record !== 0));
  for (let cursor = 1; cursor !== 0;) cursor = control.flush(NOW_MS, {}, cursor);
  assert.equal(control.count, 0);
  assert.ok(sources.every((record) => record === 0));
});

Deno.test("conntrack: two threads never give two connections the same translation", async () => {
  const buffers = makeBuffers();
  const control = new ConntrackControl(buffers);
  control.table.now = NOW_MS;
  const { wrong, found } = await race(buffers, "nat", 8000);
  assert.equal(new Set(found).size, found.length);
  assert.ok(wrong < 100, `${wrong} without a port`);
  assert.equal(control.count, found.length);
  assertTidy(control);
});
