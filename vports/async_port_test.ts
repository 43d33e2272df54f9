/** Unit tests of the packet thread's side of asynchronous ports; with their Workers: daemon/switch/async_port_test.ts. */
import assert from "node:assert/strict";
import { EventFd } from "../netdev/poller.ts";
import {
  type AsyncShared,
  makeState,
  RX_COUNTED,
  RX_DROPPED,
  TX_DROPPED,
  TX_DROPPED_SIZE,
} from "./async_link.ts";
import { adaptAsync } from "./async_port.ts";
import { makeRing } from "./async_ring.ts";
import { ConformanceHost } from "./conformance_host.ts";
import type { AsyncVportOps, Receiver } from "./vport.ts";

Deno.test({
  name: "AsyncPort: a thread that takes another's place does not count its drops again",
  sanitizeResources: false, // libraries stay open
  fn: countsOnce,
});

function countsOnce(): void {
  const wake = new EventFd();
  const data: AsyncShared = {
    state: makeState(),
    toWorker: [makeRing(256)],
    toThread: makeRing(256),
    receiver: 0,
    wakeFd: wake.fd,
  };
  const state = new Int32Array(data.state);
  const file = { path: "/port.ts", url: "file:///port.ts" };
  const ops = adaptAsync({ type: "t" } as AsyncVportOps, file, "file:///worker.ts");
  const place = { datapath: "dp", datapathId: "0".repeat(32), name: "p", portNo: 3 };
  const open = (host: ConformanceHost): Receiver =>
    ops.create({ ...place, options: {}, mac: undefined, threads: 1, thread: 0, data, host })
      .receiver!;
  const drop = (): void => {
    state[RX_DROPPED]! += 2;
    state[TX_DROPPED_SIZE]! += 160;
    state[TX_DROPPED]! += 2;
  };
  try {
    state.fill(0x7fff_ffff, RX_DROPPED, RX_DROPPED + 1); // it wraps
    state.fill(0x7fff_ffff, RX_COUNTED, RX_COUNTED + 1);
    for (const host of [new ConformanceHost(), new ConformanceHost()]) {
      const receiver = open(host);
      drop();
      receiver.receive(64);
      receiver.receive(64);
      assert.deepEqual([host.rxDrops.length, host.txDrops.length], [2, 2]);
    }
  } finally {
    wake.close();
  }
}
