/** Two threads learn and look up in one small MAC table: what they find is never a mixture of two entries. */
import assert from "node:assert/strict";
import { makeMacTable } from "../../datapath/mac_table.ts";
import type { Task } from "./mac_table_threads_worker.ts";

const THREADS = 2;
const DURATION_MS = 700;
const BUCKETS = 4;

Deno.test("MacTable: two threads never find a torn entry", async () => {
  const table = makeMacTable(BUCKETS);
  const words = new Int32Array(new SharedArrayBuffer(16));
  const url = new URL("./mac_table_threads_worker.ts", import.meta.url);
  const ready: Promise<void>[] = [];
  const done = Array.from({ length: THREADS }, (_, thread) => {
    const worker = new Worker(url, { type: "module" });
    const started = Promise.withResolvers<void>();
    const finished = Promise.withResolvers<void>();
    ready.push(started.promise);
    worker.onmessage = ({ data }: MessageEvent<"ready" | "done">): void =>
      data === "ready" ? started.resolve() : finished.resolve();
    worker.onerror = (event): void => {
      started.reject(new Error(event.message));
      finished.reject(new Error(event.message));
    };
    const task: Task = { table, words: words.buffer, seed: thread + 1 };
    worker.postMessage(task);
    return finished.promise;
  });
  await Promise.race([Promise.all(ready), Promise.all(done)]);
  await new Promise((resolve) => setTimeout(resolve, DURATION_MS));
  Atomics.store(words, 0, 1);
  await Promise.all(done);
  const [, lookups, found, wrong] = words;
  assert.equal(wrong, 0, `${wrong} of ${found}`);
  assert(lookups! > 10_000 && found! > lookups! / 10, `${found} of ${lookups}`);
});
