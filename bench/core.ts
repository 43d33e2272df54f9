/**
 * What a packet costs inside the switch, without any input or output: 64-byte UDP frames that lie in
 * memory as a packet-socket ring's do go through a pipeline (extract, lookup, statistics, actions) to
 * a port that notes them for a send call.
 *
 *   deno run -A bench/core.ts [--seconds S] [--rounds N]
 *
 * One row per workload: nanoseconds of CPU time of this thread per packet (schedstat: other programs'
 * load counts little), median of rounds, with the million packets per second that it makes; and the
 * best millisecond or so by the clock, which is what it takes when nothing else disturbs.
 */
import { parseArgs } from "node:util";
import { DATAPATH_BLOCK_LENGTH, HIT, makePortBlocks, SENT } from "../datapath/counters.ts";
import { makeFlowTableBuffers } from "../datapath/flow_table/layout.ts";
import { FlowTableReader } from "../datapath/flow_table/reader.ts";
import { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import * as ethernet from "../datapath/headers/ethernet.ts";
import * as ipv4 from "../datapath/headers/ipv4.ts";
import * as udp from "../datapath/headers/udp.ts";
import { KEY_WORDS } from "../datapath/key.ts";
import { MacTable, makeMacTable } from "../datapath/mac_table.ts";
import { extractKey } from "../datapath/extract/extract.ts";
import { Packet } from "../datapath/packet/packet.ts";
import { PacketPool, SLOT_SIZE } from "../datapath/packet/packet_pool.ts";
import { type OutputPort, Pipeline, type PipelineHost } from "../datapath/pipeline.ts";
import { median } from "../tests/output.ts";
import { cpuNs } from "./cpu.ts";

const STRIDE = 2048;
/** Where a ring's frames begin: 2 past a multiple of 4. */
const FRAME_AT = 82;
const FRAME_SIZE = 64;
const BURST = 32;
/** Bursts between two looks at the clock. */
const SLICE_BURSTS = 256;

/** Frames in memory with their descriptors. `vary` gives the destination address of each. */
function makeRing(count: number, vary: (index: number) => number): Packet[] {
  const memory = new ArrayBuffer(count * STRIDE);
  const view = new DataView(memory);
  const buffer = { bytes: new Uint8Array(memory), view, address: 0 };
  return Array.from({ length: count }, (_, index) => {
    const packet = new Packet(buffer);
    packet.headLimit = index * STRIDE;
    packet.start = index * STRIDE + FRAME_AT;
    packet.end = packet.start + FRAME_SIZE;
    packet.tailLimit = (index + 1) * STRIDE;
    ethernet.write(view, packet.start, {
      destinationHigh: 0x02000000,
      destinationLow: 2,
      sourceHigh: 0x02000000,
      sourceLow: 1,
      type: ethernet.ETH_P_IP,
    });
    ipv4.write(view, packet.start + 14, {
      tos: 0,
      totalSize: FRAME_SIZE - 14,
      identification: 1,
      fragment: ipv4.DONT_FRAGMENT,
      ttl: 64,
      protocol: ipv4.IPPROTO_UDP,
      source: 0x0a000001,
      destination: vary(index),
    });
    udp.write(view, packet.start + 34, { source: 1000, destination: 2000, totalSize: 30 });
    return packet;
  });
}

/** A port that notes where each frame lies, as a sender fills its message headers. */
class NotingPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums = true;
  readonly takesSegmentTrains = true;
  readonly notes: Int32Array = new Int32Array(4096);
  count = 0;

  constructor(portNo: number) {
    this.portNo = portNo;
  }

  send(packet: Packet): number {
    const at = this.count;
    this.notes[at] = packet.start;
    this.notes[at + 1] = packet.end - packet.start;
    this.count = (at + 2) & 4095;
    return 0;
  }
}

class Host implements PipelineHost {
  round = 0;
  readonly #pool = new PacketPool(new ArrayBuffer(64 * SLOT_SIZE), 0, 64);

  allocate(): Packet | undefined {
    return this.#pool.allocate();
  }

  recycle(packet: Packet): void {
    if (packet.lentInRound === this.round) this.#pool.retire(packet);
    else this.#pool.free(packet);
  }

  flush(): void {
    this.round++;
    this.#pool.endRound();
  }
}

const OUTPUT_PORT_2 = new Int32Array([1 | 2 << 8, 2, 1 << 8]);
/** set(ipv4(ttl=63)),2 */
const SET_TTL = new Int32Array([
  5 | 6 << 8,
  3,
  11,
  1,
  0x003f0000,
  0x00ff0000,
  1 | 2 << 8,
  2,
  1 << 8,
]);

/** Mask n: port, type, protocol and an address prefix on each side, of differing length. */
function makeMask(n: number): Int32Array {
  const mask = new Int32Array(KEY_WORDS);
  mask[4] = 0xffff;
  mask[10] = 0xffff;
  mask[11] = 0xff;
  mask[12] = swap(-1 << (n & 7));
  mask[13] = swap(-1 << (n >> 3));
  return mask;
}

function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** Destination address of flow n: differs from all others under the widest mask. */
function destinationOf(flow: number): number {
  return ((flow << 8) | 0x01) >>> 0;
}

interface Workload {
  readonly name: string;
  readonly ring: Packet[];
  readonly pipeline: Pipeline;
  readonly host: Host;
  readonly counters: BigUint64Array;
}

function makeWorkload(
  name: string,
  o: { packets: number; flows: number; masks: number; actions: Int32Array },
): Workload {
  const buffers = makeFlowTableBuffers({
    flowsMax: Math.max(o.flows, 1024),
    threads: 1,
    seed: new Uint8Array(16).map((_, at) => at * 37 + 11),
  });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const ring = makeRing(o.packets, (index) => destinationOf(Math.imul(index, 31) % o.flows));
  const keys = new Int32Array(KEY_WORDS);
  const probe = makeRing(1, () => 0)[0]!;
  probe.inPort = 1;
  for (let flow = 0; flow < o.flows; flow++) {
    probe.view.setUint32(probe.start + 30, destinationOf(flow));
    extractKey(probe, keys, 0);
    table.insert({
      ufid: flow.toString(16).padStart(32, "0"),
      key: keys,
      mask: makeMask(flow % o.masks),
      actions: o.actions,
    });
  }
  table.commit();
  const counters = new BigUint64Array(new SharedArrayBuffer(DATAPATH_BLOCK_LENGTH * 8));
  const host = new Host();
  const pipeline = new Pipeline({
    table: new FlowTableReader(buffers, 0, table.buckets),
    counters,
    portCounters: new BigUint64Array(makePortBlocks()),
    macTable: new MacTable(makeMacTable()),
    host,
  });
  pipeline.setPort(1, new NotingPort(1));
  pipeline.setPort(2, new NotingPort(2));
  return { name, ring, pipeline, host, counters };
}

/** Runs bursts for about `ms`; nanoseconds per packet of CPU time, and of the best slice by the clock. */
function measure(workload: Workload, ms: number): { mean: number; best: number } {
  const { ring, pipeline, host } = workload;
  const from = performance.now();
  const fromNs = cpuNs();
  let packets = 0;
  let at = 0;
  let now = from;
  let best = Infinity;
  while (now - from < ms) {
    const before = now;
    for (let burst = 0; burst < SLICE_BURSTS; burst++) {
      pipeline.begin(now);
      for (let i = 0; i < BURST; i++) {
        pipeline.receive(1, ring[at]!);
        at = at + 1 === ring.length ? 0 : at + 1;
      }
      pipeline.finish(now);
      host.flush();
    }
    packets += SLICE_BURSTS * BURST;
    now = performance.now();
    best = Math.min(best, (now - before) * 1e6 / (SLICE_BURSTS * BURST));
  }
  return { mean: (cpuNs() - fromNs) / packets, best };
}

function main(): void {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "0.5" },
      rounds: { type: "string", default: "7" },
    },
  });
  const ms = Number(values.seconds) * 1000;
  const rounds = Number(values.rounds);
  const one = { packets: 1024, flows: 1, masks: 1, actions: OUTPUT_PORT_2 };
  const workloads = [
    makeWorkload("1 flow", one),
    makeWorkload("1 flow, set ttl", { ...one, actions: SET_TTL }),
    makeWorkload("100k flows, 1 mask", { ...one, packets: 32768, flows: 100_000 }),
    makeWorkload("100k flows, 64 masks", { ...one, packets: 32768, flows: 100_000, masks: 64 }),
  ];
  const print = (line: string): void => {
    Deno.stdout.writeSync(new TextEncoder().encode(line));
  };
  const results = workloads.map((): { mean: number; best: number }[] => []);
  // The signature caches grow as they see what they need.
  workloads.forEach((workload) => measure(workload, 2000));
  for (let round = 0; round < rounds; round++) {
    workloads.forEach((workload, at) => results[at]!.push(measure(workload, ms)));
  }
  workloads.forEach(({ name, counters }, at) => {
    const middle = median(results[at]!.map(({ mean }) => mean));
    const best = Math.min(...results[at]!.map((result) => result.best));
    const all = counters[HIT] === counters[SENT] ? "" : "  (NOT ALL SENT)";
    print(
      `${name.padEnd(24)} ${middle.toFixed(1).padStart(7)} ns  best ${
        best.toFixed(1).padStart(7)
      } ns` +
        `  ${(1000 / middle).toFixed(1).padStart(5)} Mpps${all}\n`,
    );
  });
}

if (import.meta.main) main();
