/** Two threads and the control side on one meter: no packet is counted twice or lost, none passes too many. */
import assert from "node:assert/strict";
import { makeMeterMemory, MeterTable } from "../../datapath/meters.ts";
import type { Report, Task } from "./meters_threads_worker.ts";

const THREADS = 2;
const PACKETS = 300_000;
const BURST = 123_457;

Deno.test("MeterReader: threads take from one bucket", async () => {
  const memory = makeMeterMemory();
  const table = new MeterTable(memory);
  table.set({ id: 9, unit: "pps", bands: [{ rate: 1, burst: BURST }] }, 1000);
  const start = new SharedArrayBuffer(4);
  const url = new URL("./meters_threads_worker.ts", import.meta.url);
  const ready: Promise<void>[] = [];
  const passed = Array.from({ length: THREADS }, () => {
    const worker = new Worker(url, { type: "module" });
    const started = Promise.withResolvers<void>();
    const finished = Promise.withResolvers<number>();
    ready.push(started.promise);
    worker.onmessage = ({ data }: MessageEvent<Report>): void =>
      data === "ready" ? started.resolve() : finished.resolve(data);
    worker.onerror = (event): void => finished.reject(new Error(event.message));
    const task: Task = { memory, meter: 9, packets: PACKETS, start };
    worker.postMessage(task);
    return finished.promise;
  });
  await Promise.race([Promise.all(ready), Promise.all(passed)]);
  Atomics.store(new Int32Array(start), 0, 1);
  Atomics.notify(new Int32Array(start), 0);
  const all = Promise.all(passed);
  let isDone = false;
  void all.then(() => isDone = true);
  let before = 0;
  while (!isDone) {
    // Reading is consistent while packets go through: every one is counted once, here or there.
    const { packets, bytes, bands } = table.stats(9)!;
    assert(packets >= before && bytes === packets * 100);
    assert.equal(bands[0]!.packets, Math.max(0, packets - BURST));
    before = packets;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal((await all).reduce((sum, count) => sum + count, 0), BURST);
  const total = THREADS * PACKETS;
  const dropped = { packets: total - BURST, bytes: (total - BURST) * 100 };
  const { packets, bytes, bands } = table.stats(9)!;
  assert.deepEqual({ packets, bytes, bands }, {
    packets: total,
    bytes: total * 100,
    bands: [dropped],
  });
});
