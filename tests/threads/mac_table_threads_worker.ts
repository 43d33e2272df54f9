/** One of the threads of mac_table_threads_test.ts: learns and looks up until told to stop. */
import { MacTable } from "../../datapath/mac_table.ts";

/** Stations that share the few buckets; station n is only ever on port 2n or 2n + 1. */
const STATIONS = 40;

/** Shared words: [stop, lookups, found, wrong]. */
export const STOP = 0;
export const LOOKUPS = 1;
export const FOUND = 2;
export const WRONG = 3;

export interface Task {
  readonly table: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
  readonly seed: number;
}

function work({ table, words, seed }: Task): void {
  const macs = new MacTable(table);
  const shared = new Int32Array(words);
  let state = seed;
  let lookups = 0;
  let found = 0;
  let wrong = 0;
  while (Atomics.load(shared, STOP) === 0) {
    for (let step = 0; step < 1000; step++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      const station = (state >>> 8) % STATIONS;
      // Both parts differ between stations, so that a mixture of two entries is noticed.
      const low = 0x02 | station << 8;
      if ((state & 0x80000000) !== 0) {
        macs.learn(low, station, station, station * 2 + ((state >>> 30) & 1), state & 0xffff);
        continue;
      }
      const port = macs.lookup(low, station, station, 0);
      lookups++;
      if (port >= 0) found++;
      if (port >= 0 && port >> 1 !== station) wrong++;
    }
  }
  Atomics.add(shared, LOOKUPS, lookups);
  Atomics.add(shared, FOUND, found);
  Atomics.add(shared, WRONG, wrong);
}

interface WorkerScope {
  onmessage: (event: MessageEvent<Task>) => void;
  postMessage(message: "ready" | "done"): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;

scope.onmessage = (event: MessageEvent<Task>): void => {
  scope.postMessage("ready");
  work(event.data);
  scope.postMessage("done");
  scope.close();
};
