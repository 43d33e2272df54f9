/**
 * Two threads look flows up while the control isolate changes the table as fast as it can: what they
 * find is always a whole flow that matches, and a flow that is never removed is always found.
 */
import assert from "node:assert/strict";
import { KEY_WORDS } from "../../datapath/key.ts";
import { makeGrace } from "../../datapath/flow_table/grace.ts";
import { type Buckets, makeFlowTableBuffers } from "../../datapath/flow_table/layout.ts";
import { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import {
  makeActions,
  makeMask,
  STABLE_COUNT,
  VOLATILE_COUNT,
  writeKey,
} from "./flow_table_threads_flows.ts";
import { say } from "../output.ts";
import type { WorkerReport, WorkerStart } from "./flow_table_threads_worker.ts";

const THREADS = 2;
const DURATION_MS = 3000;
/** The control isolate answers messages in between. */
const SLICE_MS = 50;

type Result = NonNullable<WorkerReport["result"]>;

class ReaderThreads {
  readonly #workers: Worker[];
  readonly #acknowledged: number[];
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));
  readonly #results: Promise<Result>[];
  readonly #ready: Promise<void>[] = [];

  constructor(
    start: Omit<WorkerStart, "thread" | "stop">,
    acknowledged: (version: number) => void,
  ) {
    this.#acknowledged = new Array(THREADS).fill(start.buckets.version);
    this.#workers = Array.from({ length: THREADS }, () => {
      const url = new URL("./flow_table_threads_worker.ts", import.meta.url);
      return new Worker(url, { type: "module" });
    });
    this.#results = this.#workers.map((worker, thread) => {
      const ready = Promise.withResolvers<void>();
      this.#ready.push(ready.promise);
      return new Promise((resolve, reject) => {
        worker.onerror = (event) => reject(new Error(event.message));
        worker.onmessage = (event: MessageEvent<WorkerReport>) => {
          if (event.data.ready) return ready.resolve();
          if (event.data.result !== undefined) return resolve(event.data.result);
          this.#acknowledged[thread] = event.data.acknowledged!;
          acknowledged(Math.min(...this.#acknowledged));
        };
        worker.postMessage({ ...start, thread, stop: this.#stop });
      });
    });
  }

  async ready(): Promise<void> {
    await Promise.race([Promise.all(this.#ready), Promise.all(this.#results)]);
  }

  publish(buckets: Buckets): void {
    for (const worker of this.#workers) worker.postMessage(buckets);
  }

  async end(): Promise<Result[]> {
    Atomics.store(this.#stop, 0, 1);
    const results = await Promise.all(this.#results);
    for (const worker of this.#workers) worker.terminate();
    return results;
  }
}

/** Changes of all kinds, a few to a transaction, some rolled back. */
class Changes {
  readonly #table: FlowTableWriter;
  /** Index per flow number, −1: not there. */
  readonly #indexes = new Int32Array(STABLE_COUNT + VOLATILE_COUNT).fill(-1);
  readonly #key = new Int32Array(KEY_WORDS);
  readonly #masks = Array.from(this.#indexes, (_, n) => makeMask(n));
  readonly #ufids = Array.from(this.#indexes, (_, n) => n.toString(16).padStart(32, "0"));
  #random = 99;
  #change = 0;
  count = 0;

  constructor(table: FlowTableWriter) {
    this.#table = table;
  }

  insert(n: number): void {
    writeKey(this.#key, 0, n, n);
    this.#indexes[n] = this.#table.insert({
      ufid: this.#ufids[n]!,
      key: this.#key,
      mask: this.#masks[n]!,
      actions: makeActions(n, 0),
    });
    this.count++;
  }

  /** One transaction. */
  run(): void {
    const table = this.#table;
    const random = this.#next();
    const undone = (random & 255) === 0 ? this.#indexes.slice() : undefined;
    for (let left = random & 3; left >= 0; left--) {
      if (this.#next() & 3) this.#set(this.#next() % STABLE_COUNT);
      else this.#toggle(STABLE_COUNT + this.#next() % VOLATILE_COUNT);
      if (this.#next() & 4) this.#set((this.#next() & 31) + STABLE_COUNT - 32);
    }
    if (undone === undefined) table.commit();
    else {
      table.rollback();
      this.#indexes.set(undone);
    }
  }

  index(n: number): number {
    return this.#indexes[n]!;
  }

  #set(n: number): void {
    this.#change = (this.#change + 1) & 0xffffff;
    this.#table.setActions(this.#indexes[n]!, makeActions(n, this.#change));
    this.count++;
  }

  #toggle(n: number): void {
    const index = this.#indexes[n]!;
    if (index < 0) return this.insert(n);
    this.#table.remove(index);
    this.#indexes[n] = -1;
    this.count++;
  }

  #next(): number {
    this.#random = (Math.imul(this.#random, 1103515245) + 12345) | 0;
    return this.#random >>> 8;
  }
}

Deno.test("FlowTable lookups are never wrong or torn while two threads read and one writes", async () => {
  const seed = new Uint8Array(16).map((_, at) => at * 41 + 5);
  const buffers = makeFlowTableBuffers({ flowsMax: 100_000, threads: THREADS, seed });
  const grace = makeGrace(THREADS);
  const table = new FlowTableWriter(buffers, grace, {
    publishBuckets: (buckets) => threads.publish(buckets),
  });
  const changes = new Changes(table);
  for (let n = 0; n < STABLE_COUNT; n++) changes.insert(n);
  table.commit();
  // The others make the table grow under the readers' eyes.
  const start = { buffers, grace, buckets: table.buckets };
  const threads = new ReaderThreads(start, (version) => table.bucketsAcknowledged(version));
  await threads.ready();

  const begin = performance.now();
  let rebalances = 0;
  while (performance.now() < begin + DURATION_MS) {
    const end = performance.now() + SLICE_MS;
    while (performance.now() < end) for (let n = 0; n < 16; n++) changes.run();
    table.rebalance();
    rebalances++;
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  const seconds = (performance.now() - begin) / 1000;
  const results = await threads.end();

  const sum = (of: (result: Result) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  assert.equal(sum((result) => result.wrong), 0);
  assert.equal(sum((result) => result.lost), 0);
  assert.ok(results.every((result) => result.lookups > 10_000), "the threads hardly ran");
  let packets = 0;
  for (let n = 0; n < STABLE_COUNT; n++) {
    const stats = table.stats(changes.index(n));
    assert.equal(stats.bytes, stats.packets * (64 + n % 100));
    packets += stats.packets;
  }
  assert.equal(packets, sum((result) => result.stableLookups));
  assert.ok(table.buckets.version >= 1, "the table did not grow");
  const million = (count: number): string => (count / 1e6 / seconds).toFixed(2);
  say(
    `  ${million(changes.count)} M changes/s, ${million(sum((r) => r.lookups))} M lookups/s, ` +
      `${million(sum((r) => r.found))} M found/s, ${rebalances} rebalances, ` +
      `buckets version ${table.buckets.version}`,
  );
});
