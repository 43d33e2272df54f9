/**
 * What each action costs inside the switch: nanoseconds per packet of a whole pipeline (extract,
 * lookup, actions, a port that takes everything) with an action list, and how much that is more than
 * with an output alone. No input or output.
 *
 *   deno run -A bench/actions.ts [--ms MS]
 *
 * CPU time of this thread; the least of seven rounds.
 */
import { parseArgs } from "node:util";
import { encodeActions } from "../datapath/actions/action_program.ts";
import type { Action } from "../datapath/actions/actions.ts";
import { DATAPATH_BLOCK_LENGTH, makePortBlocks } from "../datapath/counters.ts";
import { makeFlowTableBuffers } from "../datapath/flow_table/layout.ts";
import { FlowTableReader } from "../datapath/flow_table/reader.ts";
import { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import * as key from "../datapath/key.ts";
import { MacTable, makeMacTable } from "../datapath/mac_table.ts";
import { makeMeterMemory, MeterReader, MeterTable } from "../datapath/meters.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { type OutputPort, Pipeline } from "../datapath/pipeline.ts";
import { makeFrame, packetOf } from "../datapath/testing/frames.ts";
import { TestHost } from "../datapath/testing/ports.ts";
import { out, setBytes } from "../datapath/testing/run_actions.ts";
import { say, table } from "../tests/output.ts";
import { cpuNs } from "./cpu.ts";

const BURST = 32;
const ROUNDS = 7;
const METER = 3;

const ttl = setBytes("ipv4", [key.IP_TTL_AT, "09"]);
const ports = setBytes("udp", [key.TP_DST_AT, "1234"]);
const pushMpls: Action = { type: "push_mpls", lse: 0x1ff, ethType: 0x8847 };
const pushEth: Action = { type: "push_eth", src: "020000000009", dst: "020000000008" };
const pushNsh: Action = {
  type: "push_nsh",
  flags: 0,
  ttl: 63,
  mdtype: 1,
  np: 3,
  path: 1,
  metadata: "00".repeat(16),
};
const clone = (...actions: Action[]): Action => ({ type: "clone", actions });

const LISTS: readonly (readonly [string, readonly Action[]])[] = [
  ["output", [out(1)]],
  ["two outputs", [out(1), out(2)]],
  ["set ttl", [ttl, out(1)]],
  ["set ttl and port", [ttl, ports, out(1)]],
  ["push_vlan, pop_vlan", [
    { type: "push_vlan", tpid: 0x8100, tci: 0x1005 },
    { type: "pop_vlan" },
    out(1),
  ]],
  ["push_mpls, pop_mpls", [pushMpls, { type: "pop_mpls", ethType: 0x800 }, out(1)]],
  ["pop_eth, push_eth", [{ type: "pop_eth" }, pushEth, out(1)]],
  ["push_nsh, pop_nsh", [pushNsh, { type: "pop_nsh" }, out(1)]],
  ["clone(output)", [clone(out(2)), out(1)]],
  ["clone(set ttl, output)", [clone(ttl, out(2)), out(1)]],
  ["check_pkt_len", [{ type: "check_pkt_len", size: 1500, greater: [], lessEqual: [out(1)] }]],
  ["trunc", [{ type: "trunc", sizeMax: 40 }, out(1)]],
  ["meter", [{ type: "meter", id: METER }, out(1)]],
  ["hash", [{ type: "hash", algorithm: "l4", basis: 0 }, out(1)]],
  ["recirc", [{ type: "recirc", id: 1 }]],
  ["dec_ttl", [clone({ type: "dec_ttl", exceeded: [] }), out(1)]],
];

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

interface Bench {
  readonly pipeline: Pipeline;
  readonly host: TestHost;
  readonly packets: readonly Packet[];
}

function makeBench(actions: readonly Action[]): Bench {
  const buffers = makeFlowTableBuffers({ flowsMax: 64, threads: 1, seed: new Uint8Array(16) });
  const flows = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  [actions, [out(1)]].forEach((list, id) => {
    const words = new Int32Array(key.KEY_WORDS);
    const mask = new Int32Array(key.KEY_WORDS);
    new DataView(words.buffer).setUint32(key.RECIRC_ID_AT, id);
    mask[key.RECIRC_ID_AT >> 2] = -1;
    const ufid = id.toString(16).padStart(32, "0");
    flows.insert({ ufid, key: words, mask, actions: encodeActions(list) });
  });
  flows.commit();
  const memory = makeMeterMemory();
  const band = { rate: 0xffff_ffff, burst: 0xffff_ffff };
  new MeterTable(memory).set({ id: METER, unit: "pps", bands: [band] }, 0);
  const host = new TestHost(64);
  const pipeline = new Pipeline({
    table: new FlowTableReader(buffers, 0, flows.buckets),
    counters: new BigUint64Array(DATAPATH_BLOCK_LENGTH),
    portCounters: new BigUint64Array(makePortBlocks()),
    macTable: new MacTable(makeMacTable()),
    host,
    meters: new MeterReader(memory),
  });
  for (const portNo of [1, 2]) pipeline.setPort(portNo, new NullPort(portNo));
  const { bytes } = makeFrame({ protocol: "udp", payloadSize: 22 });
  return { pipeline, host, packets: Array.from({ length: BURST }, () => packetOf(bytes)) };
}

/** Nanoseconds per packet. */
function measure({ pipeline, host, packets }: Bench, ms: number): number {
  const from = cpuNs();
  const until = performance.now() + ms;
  let count = 0;
  for (let nowMs = performance.now(); nowMs < until; nowMs = performance.now()) {
    for (let burst = 0; burst < 256; burst++) {
      pipeline.begin(nowMs);
      for (let at = 0; at < BURST; at++) pipeline.receive(1, packets[at]!);
      pipeline.finish(nowMs);
      host.flush();
    }
    count += 256 * BURST;
  }
  return (cpuNs() - from) / count;
}

function main(): void {
  const { values } = parseArgs({ options: { ms: { type: "string", default: "100" } } });
  const benches = LISTS.map(([name, actions]) => ({
    name,
    bench: makeBench(actions),
    least: Infinity,
  }));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const each of benches) {
      const ns = measure(each.bench, Number(values.ms));
      // The first round is for the compiler.
      if (round > 0) each.least = Math.min(each.least, ns);
    }
  }
  const base = benches[0]!.least;
  const rows = benches.map((
    { name, least },
  ) => [name, least.toFixed(1), (least - base).toFixed(1)]);
  for (const line of table(["actions", ">ns/packet", ">more than output"], rows)) say(line);
}

if (import.meta.main) main();
