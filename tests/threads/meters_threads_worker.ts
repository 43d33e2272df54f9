/** One of the threads of meters_threads_test.ts: sends packets through one meter. */
import { type MeterMemory, MeterReader } from "../../datapath/meters.ts";

export interface Task {
  readonly memory: MeterMemory;
  readonly meter: number;
  readonly packets: number;
  /** Shared: the threads go when it is 1. */
  readonly start: SharedArrayBuffer;
}

/** What a thread tells when it is done: how many of its packets passed. */
export type Report = "ready" | number;

interface WorkerScope {
  onmessage: (event: MessageEvent<Task>) => void;
  postMessage(message: Report): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;

scope.onmessage = ({ data }: MessageEvent<Task>): void => {
  const reader = new MeterReader(data.memory);
  scope.postMessage("ready");
  Atomics.wait(new Int32Array(data.start), 0, 0);
  let passed = 0;
  for (let n = 0; n < data.packets; n++) if (!reader.check(data.meter, 100, 1000)) passed++;
  scope.postMessage(passed);
  scope.close();
};
