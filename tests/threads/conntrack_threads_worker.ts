/** One of the threads of conntrack_threads_test.ts: tracks packets of common connections. */
import type { ConntrackBuffers } from "../../datapath/conntrack/layout.ts";
import { CtMetadata } from "../../datapath/conntrack/metadata.ts";
import {
  addressHex,
  describe,
  makePacket,
  nat,
  plan,
} from "../../datapath/conntrack/testing/packets.ts";
import { Tracker } from "../../datapath/conntrack/tracker.ts";
import type { Packet } from "../../datapath/packet/packet.ts";

export interface Task {
  readonly buffers: ConntrackBuffers;
  readonly thread: number;
  /** [stop, packets, wrong answers, threads that have begun]. */
  readonly words: SharedArrayBuffer;
  /**
   * "commit": all connections once, both threads at the same time, from both ends. "churn": random
   * packets until told to stop, time runs, connections expire. "nat": connections of this thread's
   * clients through one address.
   */
  readonly job: "commit" | "churn" | "nat";
  readonly connections: number;
}

export const NOW_MS = 1_000_000;

function aim(packet: Packet, index: number, isReply: boolean): void {
  const { view, l3At, l4At } = packet;
  view.setUint32(l3At + (isReply ? 16 : 12), 0x0a000000 + (index >>> 8));
  view.setUint32(l3At + (isReply ? 12 : 16), 0xc0a80001);
  view.setUint16(l4At + (isReply ? 2 : 0), 1024 + (index & 255));
  view.setUint16(l4At + (isReply ? 0 : 2), 80);
}

function work(task: Task): string[] {
  const { buffers, thread, job, connections } = task;
  const shared = new Int32Array(task.words);
  let state = thread * 7919 + 1;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state ^ state >>> 15) >>> 0;
  };
  const tracker = new Tracker(buffers, thread, random);
  tracker.setNow(NOW_MS);
  const ct = new CtMetadata();
  const packet = makePacket({ src: "10.0.0.1", dst: "10.0.0.2", protocol: 17, payload: "x" });
  packet.csumValid = true;
  const look = plan();
  const commit = plan({ commit: true });
  let packets = 0;
  let wrong = 0;
  const found: string[] = [];
  const run = (words: Int32Array): number => {
    ct.clear();
    packets++;
    return tracker.execute(packet, ct, words, 0);
  };
  Atomics.add(shared, 3, 1);
  while (Atomics.load(shared, 3) < 2) { /* begin together */ }
  if (job === "commit") {
    for (let index = 0; index < connections; index++) {
      // The two threads see opposite ends of each second connection.
      aim(packet, index, (index & 1) === 1 && thread === 1);
      if (run(commit) !== 0 || (ct.state & 0x30) !== 0x20) wrong++;
      if (run(look) !== 0 || (ct.state & 0x30) !== 0x20) wrong++;
    }
  } else if (job === "churn") {
    const translate = plan({
      commit: true,
      nat: nat({ direction: "src", addressMin: addressHex("192.0.2.1") }),
    });
    for (let step = 0; Atomics.load(shared, 0) === 0; step++) {
      tracker.setNow(NOW_MS + step);
      for (let burst = 0; burst < 64; burst++) {
        const index = random() % connections;
        // Each third client is translated, and speaks alone: nobody knows its port here.
        const isTranslated = index % 3 === 0;
        aim(packet, index, !isTranslated && (random() & 256) !== 0);
        const words = isTranslated ? translate : (random() & 4096) !== 0 ? commit : look;
        if (run(words) > 0) wrong++;
        if ((ct.state & 0x20) === 0 || (ct.state & 0x10) !== 0) wrong++;
      }
    }
  } else {
    const words = plan({
      commit: true,
      nat: nat({
        direction: "src",
        addressMin: addressHex("192.0.2.1"),
        portMin: 2000,
        portMax: 2000 + connections * 3,
      }),
    });
    for (let index = 0; index < connections; index++) {
      aim(packet, index + thread * 65536, false);
      if (run(words) === 0) found.push(describe(packet));
      else wrong++;
    }
  }
  Atomics.add(shared, 1, packets);
  Atomics.add(shared, 2, wrong);
  tracker.close();
  return found;
}

interface WorkerScope {
  onmessage: (event: MessageEvent<Task>) => void;
  postMessage(message: string[]): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;

scope.onmessage = (event: MessageEvent<Task>): void => {
  scope.postMessage(work(event.data));
  scope.close();
};
