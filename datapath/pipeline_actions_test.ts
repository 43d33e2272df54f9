/** Actions that go through the flow table again, meters, and what actions allocate: in a whole pipeline. */
import assert from "node:assert/strict";
import { encodeActions } from "./actions/action_program.ts";
import type { Action } from "./actions/actions.ts";
import {
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  HIT,
  makePortBlocks,
  MISSED,
  sumDatapath,
} from "./counters.ts";
import { makeFlowTableBuffers } from "./flow_table/layout.ts";
import { FlowTableReader } from "./flow_table/reader.ts";
import { FlowTableWriter } from "./flow_table/writer.ts";
import * as key from "./key.ts";
import { MacTable, makeMacTable } from "./mac_table.ts";
import { makeMeterMemory, MeterReader, MeterTable } from "./meters.ts";
import { copyPacket, GSO_TCPV4, Packet } from "./packet/packet.ts";
import type { OutputPort } from "./pipeline.ts";
import { CheckedPipeline } from "./testing/balance.ts";
import { makeFrame, packetOf } from "./testing/frames.ts";
import { RecordingPort, TestHost } from "./testing/ports.ts";
import { out, setBytes } from "./testing/run_actions.ts";

const recirc = (id: number): Action => ({ type: "recirc", id });
const meter = (id: number): Action => ({ type: "meter", id });

/** A datapath on one thread with flows for recirculation ids; 0 is what comes from a port. */
class Bench {
  readonly host: TestHost = new TestHost(64);
  readonly counters: BigUint64Array = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly table: FlowTableWriter;
  readonly meters: MeterTable;
  readonly pipeline: CheckedPipeline;

  constructor(flows: Readonly<Record<number, readonly Action[]>>, ports: readonly OutputPort[]) {
    const buffers = makeFlowTableBuffers({ flowsMax: 64, threads: 1, seed: new Uint8Array(16) });
    this.table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    const meterMemory = makeMeterMemory();
    this.meters = new MeterTable(meterMemory);
    this.pipeline = new CheckedPipeline({
      table: new FlowTableReader(buffers, 0, this.table.buckets),
      counters: this.counters,
      portCounters: new BigUint64Array(makePortBlocks()),
      macTable: new MacTable(makeMacTable()),
      host: this.host,
      meters: new MeterReader(meterMemory),
      random: () => 1,
    });
    for (const port of ports) this.pipeline.setPort(port.portNo, port);
    for (const [id, actions] of Object.entries(flows)) this.#add(Number(id), actions);
    this.table.commit();
  }

  #add(id: number, actions: readonly Action[]): void {
    const words = new Int32Array(key.KEY_WORDS);
    const mask = new Int32Array(key.KEY_WORDS);
    new DataView(words.buffer).setUint32(key.RECIRC_ID_AT, id);
    new DataView(mask.buffer).setUint32(key.RECIRC_ID_AT, 0xffffffff);
    const ufid = id.toString(16).padStart(32, "0");
    this.table.insert({ ufid, key: words, mask, actions: encodeActions(actions) });
  }

  /** One round in which port 1 receives the packets. */
  round(packets: readonly Packet[], nowMs = 1000): void {
    this.pipeline.begin(nowMs);
    for (let at = 0; at < packets.length; at++) this.pipeline.receive(1, packets[at]!);
    this.pipeline.finish(nowMs);
    this.host.flush();
    assert.equal(this.host.pool.freeCount, this.host.slots, "pool packets come back");
  }

  count(index: number): number {
    return sumDatapath([this.counters])[index]!;
  }

  drops(): unknown {
    return dropsByName(sumDatapath([this.counters]), DROPS);
  }
}

const ttl = setBytes("ipv4", [key.IP_TTL_AT, "09"]);

Deno.test("Pipeline: recirculation looks the packet up again, and counts flow, hit and miss", () => {
  const ports = [new RecordingPort(1), new RecordingPort(2)];
  const bench = new Bench({ 0: [ttl, recirc(5), out(1), recirc(77)], 5: [out(2)] }, ports);
  bench.round([packetOf(makeFrame().bytes), packetOf(makeFrame().bytes)]);
  assert.deepEqual(ports.map(({ sent }) => sent.length), [2, 2]);
  assert.equal(ports[1]!.sent[0]!.frame[22], 9);
  assert.deepEqual([bench.count(HIT), bench.count(MISSED)], [4, 2]);
  assert.deepEqual(bench.drops(), { "no-upcall-handler": 2 });
});

Deno.test("Pipeline: a recirculated packet without a flow goes the way of all misses", () => {
  const ports = [new RecordingPort(1), new RecordingPort(2), new RecordingPort(3)];
  const bench = new Bench({ 0: [out(3), recirc(5)] }, ports);
  bench.pipeline.setMiss("flood");
  bench.round([packetOf(makeFrame().bytes)]);
  assert.deepEqual(ports.map(({ sent }) => sent.length), [0, 1, 2]);
});

Deno.test("Pipeline: a recirculation loop ends; what follows in the burst goes on", () => {
  const port = new RecordingPort(1);
  const bench = new Bench({ 0: [out(1), recirc(1)], 1: [recirc(1)] }, [port]);
  bench.round(Array.from({ length: 8 }, () => packetOf(makeFrame().bytes)));
  assert.equal(port.sent.length, 8);
  assert.deepEqual(bench.drops(), { "recirc-limit": 8 });
});

Deno.test("Pipeline: a meter's buckets fill with the round's time", () => {
  const port = new RecordingPort(1);
  const bench = new Bench({ 0: [meter(3), out(1)] }, [port]);
  bench.meters.set({ id: 3, unit: "pps", bands: [{ rate: 100, burst: 4 }] }, 1000);
  const burst = (): Packet[] => Array.from({ length: 10 }, () => packetOf(makeFrame().bytes));
  bench.round(burst(), 1000);
  assert.equal(port.sent.length, 4);
  bench.round(burst(), 1020);
  assert.equal(port.sent.length, 6);
  assert.deepEqual(bench.drops(), { meter: 14 });
  const frames = makeFrame().bytes.length;
  const counted = { packets: 20, bytes: 20 * frames };
  assert.deepEqual(bench.meters.stats(3), {
    ...counted,
    bands: [{ packets: 14, bytes: 14 * frames }],
    sinceMs: bench.meters.stats(3)!.sinceMs,
  });
});

/** Takes everything and keeps nothing. */
class NullPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums = true;
  readonly takesSegmentTrains = true;

  constructor(portNo: number) {
    this.portNo = portNo;
  }

  send(): number {
    return 0;
  }
}

/** Packets in the pool's memory that nobody recycles: long copies to them need no view. */
function residents(bench: Bench, packet: Packet, count: number): Packet[] {
  return Array.from({ length: count }, () => {
    const slot = bench.host.allocate()!;
    const copy = new Packet(slot.buffer);
    const { start, headLimit, tailLimit } = slot;
    Object.assign(copy, { start, headLimit, tailLimit });
    assert(copyPacket(packet, copy));
    return copy;
  });
}

/** Bytes per packet by which the heap grows once all is compiled. The packets are put back after each round. */
function heapGrowth(bench: Bench, packets: readonly Packet[]): number {
  const starts = packets.map(({ start }) => start);
  bench.pipeline.checks = false;
  const run = (count: number): void => {
    for (let done = 0; done < count; done += packets.length) {
      bench.pipeline.begin(1000);
      for (let at = 0; at < packets.length; at++) {
        const packet = packets[at]!;
        const size = packet.end - packet.start;
        packet.start = starts[at]!;
        if (packet.end - packet.start !== size) packet.isL3 = false;
        bench.pipeline.receive(1, packet);
      }
      bench.pipeline.finish(1000);
      bench.host.flush();
    }
  };
  let growth = Infinity;
  for (let attempt = 0; attempt < 60 && growth > 1; attempt++) {
    run(20_000);
    const before = Deno.memoryUsage().heapUsed;
    run(10_000);
    const bytes = Deno.memoryUsage().heapUsed - before;
    // Below zero: the collector came in between.
    if (bytes >= 0) growth = bytes / 10_000;
  }
  return growth;
}

Deno.test("Pipeline: no action allocates: 10,000 packets each", () => {
  const pushMpls: Action = { type: "push_mpls", lse: 0x1ff, ethType: 0x8847 };
  const pushEth: Action = { type: "push_eth", src: "020000000009", dst: "020000000008" };
  const metadata = "000102030405060708090a0b0c0d0e0f";
  const pushNsh: Action = {
    type: "push_nsh",
    flags: 0,
    ttl: 63,
    mdtype: 1,
    np: 3,
    path: 1,
    metadata,
  };
  const clone = (...actions: Action[]): Action => ({ type: "clone", actions });
  const fits: Action = { type: "check_pkt_len", size: 9, greater: [ttl, out(2)], lessEqual: [] };
  const cases: [string, readonly Action[]][] = [
    ["clone and set", [clone(ttl, out(2)), out(1)]],
    ["sample", [{ type: "sample", probability: 5, actions: [ttl, out(2)] }, out(1)]],
    ["check_pkt_len", [fits, out(1)]],
    ["mpls", [clone(pushMpls, pushMpls, { type: "pop_mpls", ethType: 0x8847 }, out(2)), out(1)]],
    ["nsh and eth", [clone(pushNsh, pushEth, out(2)), clone({ type: "pop_eth" }, pushEth), out(1)]],
    ["recirc", [recirc(1), out(1)]],
    ["deep recirc", [recirc(2), out(1)]],
    ["hash", [{ type: "hash", algorithm: "sym_l4", basis: 7 }, recirc(1)]],
    ["meter", [meter(3), out(1)]],
    ["trunc", [{ type: "trunc", sizeMax: 40 }, out(2), out(1)]],
    ["dec_ttl", [clone({ type: "dec_ttl", exceeded: [] }, out(2)), out(1)]],
    ["set tunnel", [setBytes("tunnel", [key.TUN_DST_AT, "0a000001"]), out(1)]],
    ["a clone of one with a tunnel", [
      setBytes("tunnel", [key.TUN_DST_AT, "0a000001"]),
      clone(ttl, out(2)),
      out(1),
    ]],
  ];
  const train = makeFrame({ checksum: "partial", payloadSize: 3000 });
  const offload = { needsCsum: true, csumStart: train.l4, csumOffset: 16, gsoSize: 1400 };
  cases.push(["segments under a label", [clone(pushMpls, out(2)), out(1)]]);
  for (const [name, actions] of cases) {
    const flows = {
      0: actions,
      1: [out(2)],
      2: [recirc(3)],
      3: [recirc(4)],
      4: [recirc(5)],
      5: [ttl, out(1)],
    };
    const bench = new Bench(flows, [new NullPort(1), new NullPort(2)]);
    bench.meters.set({ id: 3, unit: "pps", bands: [{ rate: 1000, burst: 1 }] }, 0);
    const packet = name.startsWith("segments")
      ? packetOf(train.bytes, { ...offload, gsoType: GSO_TCPV4 })
      : packetOf(makeFrame({ payloadSize: 40 }).bytes);
    const growth = heapGrowth(bench, residents(bench, packet, 32));
    assert(growth <= 1, `${name}: the heap grows by ${growth} bytes per packet`);
  }
});
