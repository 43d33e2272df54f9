/** A packet thread of flow_table_threads_test.ts: looks up without end and checks all that it finds. */
import { KEY_WORDS } from "../../datapath/key.ts";
import { ThreadGrace } from "../../datapath/flow_table/grace.ts";
import type { Buckets, FlowTableBuffers } from "../../datapath/flow_table/layout.ts";
import { FlowTableReader } from "../../datapath/flow_table/reader.ts";
import { actionWord, STABLE_COUNT, VOLATILE_COUNT, writeKey } from "./flow_table_threads_flows.ts";

/** What the worker is started with. */
export interface WorkerStart {
  readonly thread: number;
  readonly buffers: FlowTableBuffers;
  readonly grace: SharedArrayBuffer;
  readonly buckets: Buckets;
  /** Word 0 nonzero: stop. */
  readonly stop: Int32Array<SharedArrayBuffer>;
}

/** What the worker reports: that it begins, a bucket array taken over, or at the end its counts. */
export interface WorkerReport {
  readonly ready?: true;
  readonly acknowledged?: number;
  readonly result?: {
    readonly lookups: number;
    readonly stableLookups: number;
    readonly found: number;
    /** Stable flows that were not found: 0. */
    readonly lost: number;
    /** Flows found whose contents were not those of the key: 0. */
    readonly wrong: number;
  };
}

/** Between two looks at the messages. */
const SLICE_MS = 10;
const BURST = 32;

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent<WorkerStart | Buckets>) => void) | null;
  postMessage(report: WorkerReport): void;
  close(): void;
};

scope.onmessage = (event) => {
  const start = event.data as WorkerStart;
  const reader = new FlowTableReader(start.buffers, start.thread, start.buckets);
  scope.onmessage = (event) => {
    const buckets = event.data as Buckets;
    reader.setBuckets(buckets);
    scope.postMessage({ acknowledged: buckets.version });
  };
  scope.postMessage({ ready: true });
  void look(reader, start);
};

async function look(reader: FlowTableReader, start: WorkerStart): Promise<void> {
  const grace = new ThreadGrace(start.grace, start.thread);
  const numbers = new Int32Array(BURST);
  const keys = new Int32Array(BURST * KEY_WORDS);
  const flows = new Int32Array(BURST);
  const result = { lookups: 0, stableLookups: 0, found: 0, lost: 0, wrong: 0 };
  let random = 17 + start.thread;
  while (Atomics.load(start.stop, 0) === 0) {
    grace.wake();
    const end = performance.now() + SLICE_MS;
    while (performance.now() < end) {
      for (let at = 0; at < BURST; at++) {
        random = (Math.imul(random, 1664525) + 1013904223) | 0;
        // Half of the lookups go to few flows, which thus change most often under our eyes.
        const range = at & 1 ? 64 : STABLE_COUNT + VOLATILE_COUNT;
        numbers[at] = (at & 2 ? STABLE_COUNT - 32 : 0) + (random >>> 8) % range;
        writeKey(keys, at * KEY_WORDS, numbers[at]!, random);
      }
      reader.lookupBurst(keys, BURST, flows);
      for (let at = 0; at < BURST; at++) check(reader, numbers[at]!, flows[at]!, result);
      result.lookups += BURST;
      grace.quiescent();
    }
    grace.sleep();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  scope.postMessage({ result });
  scope.close();
}

/** Counts what is wrong with the flow found for key `n`. */
function check(
  reader: FlowTableReader,
  n: number,
  flow: number,
  result: { stableLookups: number; found: number; lost: number; wrong: number },
): void {
  if (n < STABLE_COUNT) result.stableLookups++;
  if (flow < 0) {
    if (n < STABLE_COUNT) result.lost++;
    return;
  }
  result.found++;
  reader.count(flow, 64 + n % 100, 1, 0);
  const words = reader.actionWords;
  const at = reader.actionsAt(flow);
  const change = words[at + 1]!;
  const length = words[at + 2]!;
  let right = words[at] === n && length >= 3 && length <= 64;
  for (let word = 3; right && word < length; word++) {
    right = words[at + word] === actionWord(n, change, word);
  }
  if (!right) result.wrong++;
}
