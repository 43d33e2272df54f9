/** What connection tracking, reassembly and upcalls allocate on the packet path, in a whole pipeline: nothing. */
import assert from "node:assert/strict";
import { encodeActions } from "./actions/action_program.ts";
import { ConntrackControl } from "./conntrack/control.ts";
import { makeConntrackBuffers } from "./conntrack/layout.ts";
import { setDefaultTimeouts } from "./conntrack/timeouts.ts";
import {
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  makePortBlocks,
  SENT,
  sumDatapath,
} from "./counters.ts";
import { makeFlowTableBuffers } from "./flow_table/layout.ts";
import { FlowTableReader } from "./flow_table/reader.ts";
import { FlowTableWriter } from "./flow_table/writer.ts";
import { MacTable, makeMacTable } from "./mac_table.ts";
import type { Packet } from "./packet/packet.ts";
import type { OutputPort, UpcallMode } from "./pipeline.ts";
import { CheckedPipeline } from "./testing/balance.ts";
import { makeFrame, packetOf, ROOM } from "./testing/frames.ts";
import { TestHost } from "./testing/ports.ts";
import { parseActions } from "./text/action_text.ts";
import { parseFlow } from "./text/flow_text.ts";
import { makeUpcallRing, UpcallConsumer } from "./upcall_ring.ts";

const BURST = 32;
const PACKETS = 10_000;
const IP = "eth(),eth_type(0x0800),ipv4()";
const PORT_COUNTERS = new BigUint64Array(makePortBlocks());

/** Takes everything and keeps nothing. */
class NullPort implements OutputPort {
  readonly portNo = 2;
  readonly takesPartialChecksums = true;
  readonly takesSegmentTrains = true;

  send(): number {
    return 0;
  }
}

/** A datapath whose port 1 receives the same packets again and again. */
class Bench {
  readonly host = new TestHost(128);
  readonly counters = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly pipeline: CheckedPipeline;
  readonly conntrack: ConntrackControl;
  readonly upcalls: UpcallConsumer;
  nowMs = 1000;

  constructor(flows: Readonly<Record<string, string>>, mode: UpcallMode = "off") {
    const seed = new Uint8Array(16).fill(3);
    const buffers = makeFlowTableBuffers({ flowsMax: 64, threads: 1, seed });
    const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    const conntrack = makeConntrackBuffers({ connectionsMax: 1000, threads: 1, seed });
    setDefaultTimeouts(conntrack);
    this.conntrack = new ConntrackControl(conntrack);
    const upcalls = makeUpcallRing();
    this.upcalls = new UpcallConsumer(upcalls);
    this.pipeline = new CheckedPipeline({
      table: new FlowTableReader(buffers, 0, table.buckets),
      counters: this.counters,
      portCounters: PORT_COUNTERS,
      macTable: new MacTable(makeMacTable()),
      host: this.host,
      conntrack: { buffers: conntrack, thread: 0, wallOffsetMs: 0 },
      random: () => 1,
      upcalls,
    });
    this.pipeline.setUpcalls(mode);
    this.pipeline.setPort(2, new NullPort());
    Object.entries(flows).forEach(([flow, actions], at) => {
      const { key, mask } = parseFlow(flow);
      const ufid = at.toString(16).padStart(32, "0");
      table.insert({ ufid, key, mask, actions: encodeActions(parseActions(actions)) });
    });
    table.commit();
  }

  sums(): number[] {
    return sumDatapath([this.counters]);
  }
}

interface Case {
  readonly name: string;
  readonly flows: Readonly<Record<string, string>>;
  readonly frames: readonly Uint8Array[];
  readonly mode?: UpcallMode;
  /** Before each round; the packets are as they were in the last. */
  readonly change?: (packets: readonly Packet[], bench: Bench, round: number) => void;
}

const established = {
  [`recirc_id(0),in_port(1),${IP}`]: "ct(commit,zone=7,mark=5/0xff,label=0x9/0xf),recirc(1)",
  "recirc_id(1),in_port(1)": "2",
};
const udp = makeFrame({ protocol: "udp", payloadSize: 40 }).bytes;
const tcp = makeFrame({ tcpFlags: 0x10, payloadSize: 40 }).bytes;
const translated = {
  [`recirc_id(0),in_port(1),${IP}`]: "ct(commit,nat(src=192.0.2.1-192.0.2.9:1000-2000)),recirc(1)",
  "recirc_id(1),in_port(1)": "2",
};

/** Offset of the UDP source port, and of an IPv4 header's identification. */
const SOURCE_PORT = 34;
const IDENTIFICATION = 18;

function pieces(): Uint8Array[] {
  return Array.from({ length: BURST }, (_, at) =>
    makeFrame({
      protocol: "udp",
      payloadSize: 64,
      identification: at >> 1,
      fragment: at % 2 === 0 ? 0x2000 : 9,
    }).bytes);
}

function numberAll(packets: readonly Packet[], place: number, round: number): void {
  for (let at = 0; at < packets.length; at++) {
    packets[at]!.view.setUint16(ROOM + place, round * BURST + at & 0xffff);
  }
}

const CASES: readonly Case[] = [
  { name: "an established connection", flows: established, frames: [udp] },
  { name: "TCP segments", flows: established, frames: [tcp] },
  { name: "translation", flows: translated, frames: [udp] },
  {
    name: "ct_clear",
    flows: { [`in_port(1),${IP}`]: "ct(zone=3),ct_clear,2" },
    frames: [udp],
  },
  {
    name: "new connections, and old ones that make room",
    flows: established,
    frames: [udp],
    change: (packets, _, round) => numberAll(packets, SOURCE_PORT, round),
  },
  {
    name: "fragments that get whole",
    flows: { [`recirc_id(0),in_port(1),${IP}`]: "ct(zone=1),2" },
    frames: pieces(),
  },
  {
    name: "fragments that fill their store",
    flows: { [`recirc_id(0),in_port(1),${IP}`]: "ct(zone=1),2" },
    frames: pieces().filter((_, at) => at % 2 === 0),
    change: (packets, _, round) => numberAll(packets, IDENTIFICATION, round),
  },
  {
    name: "upcalls, and a full ring of them",
    flows: { "in_port(1)": "userspace(pid=1,userdata(0102)),2" },
    frames: [udp],
    mode: "handle",
    change: (_, bench, round) => {
      if (round % 64 === 0) bench.upcalls.clear();
    },
  },
  { name: "misses", flows: {}, frames: [udp], mode: "handle" },
];

/** Runs the packets so often, each as it was. */
function run(bench: Bench, packets: readonly Packet[], one: Case, count: number): void {
  let round = 0;
  for (let done = 0; done < count; done += packets.length) {
    for (let at = 0; at < packets.length; at++) restore(packets[at]!, one, at);
    one.change?.(packets, bench, round++);
    bench.nowMs++;
    bench.pipeline.begin(bench.nowMs);
    for (let at = 0; at < packets.length; at++) bench.pipeline.receive(1, packets[at]!);
    bench.pipeline.finish(bench.nowMs);
    bench.host.flush();
  }
}

function restore(packet: Packet, { frames }: Case, at: number): void {
  packet.bytes.set(frames[at % frames.length]!, ROOM);
  packet.recircId = 0;
  packet.ctState = 0;
  packet.mru = 0;
}

/** Bytes per packet by which the heap grows once all is compiled. */
function heapGrowth(bench: Bench, packets: readonly Packet[], one: Case): number {
  bench.pipeline.checks = false;
  let growth = Infinity;
  for (let attempt = 0; attempt < 40 && growth > 1; attempt++) {
    run(bench, packets, one, 2 * PACKETS);
    const before = Deno.memoryUsage().heapUsed;
    run(bench, packets, one, PACKETS);
    const bytes = Deno.memoryUsage().heapUsed - before;
    // Below zero: the collector came in between.
    if (bytes >= 0) growth = bytes / PACKETS;
  }
  return growth;
}

for (const one of CASES) {
  Deno.test(`Pipeline: 10,000 packets allocate nothing: ${one.name}`, () => {
    const bench = new Bench(one.flows, one.mode);
    const count = Math.max(BURST, one.frames.length);
    const packets = Array.from(
      { length: count },
      (_, at) => packetOf(one.frames[at % one.frames.length]!),
    );
    const growth = heapGrowth(bench, packets, one);
    const sums = bench.sums();
    const what = JSON.stringify([sums[SENT], dropsByName(sums, DROPS)]);
    assert.ok(growth <= 1, `the heap grows by ${growth} bytes per packet: ${what}`);
    bench.pipeline.checks = true;
    run(bench, packets, one, count);
  });
}
