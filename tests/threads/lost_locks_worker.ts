/** The threads of lost_locks_test.ts: one never comes out of a meter, the other wants to go through it. */
import { type MeterMemory, MeterReader } from "../../datapath/meters.ts";
import { holdLocksAs } from "../../datapath/spin_lock.ts";

export type Role = "dies" | "waits";

export interface Task {
  readonly memory: MeterMemory;
  readonly holders: SharedArrayBuffer;
  readonly holder: number;
  readonly role: Role;
}

interface WorkerScope {
  onmessage: (event: MessageEvent<Task>) => void;
  postMessage(message: unknown): void;
}

const scope = globalThis as unknown as WorkerScope;

scope.onmessage = ({ data }: MessageEvent<Task>): void => {
  holdLocksAs(data.holder, data.holders);
  const reader = new MeterReader(data.memory);
  if (data.role === "waits") {
    scope.postMessage("begins");
    scope.postMessage(reader.check(1, 100, 2000));
    return;
  }
  // A size that is asked for its value while the meter is locked.
  const size = {
    valueOf(): number {
      scope.postMessage("inside");
      for (;;);
    },
  };
  reader.check(1, size as unknown as number, 2000);
};
