/** Upcalls on the packet thread's side of a running switch. */
import assert from "node:assert/strict";
import { UpcallConsumer } from "../../datapath/upcall_ring.ts";
import {
  addDatapath,
  addFlow,
  addPort,
  assertBalanced,
  openLibraries,
  outputs,
  settledHeapGrowth,
  taken,
  udpFrame,
  withSwitch,
} from "./testing.ts";

openLibraries();

Deno.test("PacketLoop: 10,000 upcalls allocate nothing on the packet thread", () =>
  withSwitch({}, async (live) => {
    const datapath = await addDatapath(live);
    await addPort(datapath, 1);
    await datapath.setUpcalls("handle");
    const ring = new UpcallConsumer(datapath.upcallRings[0]!);
    let injected = 0;
    const inject = async (count: number): Promise<void> => {
      injected += count;
      // As many at a time as the ring takes.
      for (let left = count; left > 0; left -= 1000) {
        await datapath.command(1, "inject", { frames: [udpFrame(1, 1)], repeat: 1000 });
        ring.clear();
      }
    };
    await settledHeapGrowth(live, {
      warmUp: () => inject(200_000),
      run: () => inject(10_000),
      bytesMax: 60_000,
    });
    assert.equal(datapath.counters().lost, 0);
    assert.equal(datapath.portCounters(1).upcalls, injected);
  }));

Deno.test("LiveDatapath: packets of the control isolate go out, and their memory for actions comes back", () =>
  withSwitch({ threads: 2 }, async (live) => {
    const datapath = await addDatapath(live);
    await addPort(datapath, 1);
    await addPort(datapath, 2);
    await datapath.setUpcalls("handle");
    const frame = udpFrame(1, 1);
    await datapath.command(1, "inject", { frames: [frame], thread: 1 });
    const raw = new UpcallConsumer(datapath.upcallRings[1]!).take()!;
    assert.deepEqual(raw.bytes, frame);
    const packet = { ...raw, inPort: 1 };
    for (let time = 0; time < 1000; time++) {
      await datapath.executePackets(1, [
        { packet, actions: outputs(2, 2) },
        { packet, actions: outputs(2) },
      ]);
    }
    assert.equal((await taken(datapath, 2)).length, 3000);
    const { generated, copied, consumed, sent } = datapath.counters();
    assert.deepEqual({ generated, copied, consumed, sent }, {
      generated: 2000,
      copied: 1000,
      consumed: 1,
      sent: 3000,
    });
    assertBalanced(datapath.counters());
  }));

Deno.test("LiveDatapath: with a small signature cache, or none, lookups find the same", () =>
  withSwitch({}, async (live) => {
    const datapath = await addDatapath(live);
    await addPort(datapath, 1);
    await addPort(datapath, 2);
    addFlow(datapath, 1, [2]);
    const frames = Array.from({ length: 100 }, (_, at) => udpFrame(at, at));
    const cacheHits = async (): Promise<number> => {
      const before = datapath.counters().cacheHit;
      for (let time = 0; time < 2; time++) {
        await datapath.command(1, "inject", { frames });
        assert.equal((await taken(datapath, 2)).length, 100);
      }
      return datapath.counters().cacheHit - before;
    };
    assert(await cacheHits() > 0);
    await datapath.setCacheSize(0);
    assert.equal(await cacheHits(), 0);
    await datapath.setCacheSize(1);
    assert.equal(datapath.counters().missed, 0);
    assert(await cacheHits() > 0);
  }));
