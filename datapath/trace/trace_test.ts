import assert from "node:assert/strict";
import { encodeActions } from "../actions/action_program.ts";
import type { Action } from "../actions/actions.ts";
import { makeConntrackBuffers } from "../conntrack/layout.ts";
import { setDefaultTimeouts } from "../conntrack/timeouts.ts";
import {
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  makePortBlocks,
  sumDatapath,
} from "../counters.ts";
import { makeFlowTableBuffers } from "../flow_table/layout.ts";
import { FlowTableReader } from "../flow_table/reader.ts";
import { FlowTableWriter } from "../flow_table/writer.ts";
import { MacTable, makeMacTable } from "../mac_table.ts";
import { makeMeterMemory, MeterReader, MeterTable } from "../meters.ts";
import { CheckedPipeline } from "../testing/balance.ts";
import { ACTION_TYPES, randomAction } from "../testing/actions.ts";
import { cases } from "../testing/cases.ts";
import { type Random, seededRandom } from "../testing/flows.ts";
import { makeFrame, packetOf } from "../testing/frames.ts";
import { RecordingPort, TestHost } from "../testing/ports.ts";
import { formatActions, parseActions } from "../text/action_text.ts";
import { formatFlow, parseFlow, type PortNames } from "../text/flow_text.ts";
import { makePrivateTracker } from "./connections.ts";
import { describeTrace } from "./describe.ts";
import { TraceMemory } from "./memory.ts";
import type { PacketTrace } from "./schema.ts";
import { Tracer } from "./tracer.ts";

const NAMES: PortNames = { byName: () => undefined, byNo: (portNo) => `p${portNo}` };

/** A table with a tracer, and a pipeline as packet threads have it, over the same flows. */
class Lab {
  readonly table: FlowTableWriter;
  readonly tracer: Tracer;
  readonly ports: RecordingPort[] = [1, 2, 3].map((portNo) =>
    new RecordingPort(portNo, { partial: true, trains: true })
  );
  readonly #pipeline: CheckedPipeline;
  readonly #host = new TestHost();
  readonly #counters = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly #meters = makeMeterMemory();
  readonly meters: MeterTable;
  #flows = 0;

  constructor(
    miss: "drop" | "flood" | "learn" = "drop",
    seed = 1,
    upcallMode: "off" | "handle" = "off",
  ) {
    const buffers = makeFlowTableBuffers({ flowsMax: 64, threads: 1, seed: new Uint8Array(16) });
    this.table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    const tracker = makeConntrackBuffers({
      threads: 1,
      connectionsMax: 4096,
      seed: new Uint8Array(16),
    });
    setDefaultTimeouts(tracker);
    const bits = (random: Random) => (): number => random(2 ** 31) * 2;
    this.meters = new MeterTable(this.#meters);
    this.#pipeline = new CheckedPipeline({
      table: new FlowTableReader(buffers, 0, this.table.buckets),
      counters: this.#counters,
      portCounters: new BigUint64Array(makePortBlocks()),
      macTable: new MacTable(makeMacTable()),
      host: this.#host,
      meters: new MeterReader(this.#meters),
      random: bits(seededRandom(seed)),
      conntrack: { buffers: tracker, thread: 0, wallOffsetMs: 0 },
    });
    this.#pipeline.setMiss(miss);
    for (const port of this.ports) this.#pipeline.setPort(port.portNo, port);
    this.tracer = new Tracer({
      table: this.table,
      memory: new TraceMemory(buffers),
      ports: this.ports.map(({ portNo }) => ({ portNo, failed: false })),
      miss,
      upcallMode,
      meters: this.#meters,
      conntrack: { buffers: makePrivateTracker(), wallOffsetMs: 0 },
      random: bits(seededRandom(seed)),
    });
  }

  /** Installs a flow, whatever its actions. */
  flow(text: string, actions: readonly Action[]): void {
    const { key, mask } = parseFlow(text);
    const ufid = (++this.#flows).toString(16).padStart(32, "0");
    this.table.insert({ ufid, key, mask, actions: encodeActions(actions) });
    this.table.commit();
  }

  trace(frame: Uint8Array, inPort: number, nowMs = 1000): PacketTrace {
    const { trace, refused } = this.tracer.trace({ bytes: frame, inPort }, nowMs);
    assert.equal(refused, undefined);
    return describeTrace(trace!, {
      ports: NAMES,
      flow: ({ index }) => ({
        ufid: this.table.ufid(index),
        flow: formatFlow(this.table.key(index), this.table.mask(index)),
        actions: formatActions([]),
      }),
      miss: "no flow matches",
    });
  }

  /** Sends a packet through the real pipeline: frames by port, and drops by reason. */
  send(frame: Uint8Array, inPort: number, nowMs = 1000): [string[][], Record<string, number>] {
    this.#counters.fill(0n);
    for (const port of this.ports) port.sent.length = 0;
    this.#pipeline.begin(nowMs);
    this.#pipeline.receive(inPort, packetOf(frame));
    this.#pipeline.finish(nowMs);
    this.#host.flush();
    const drops = dropsByName(sumDatapath([this.#counters]), DROPS) as Record<string, number>;
    return [this.ports.map(({ sent }) => sent.map((each) => each.frame.toHex())), drops];
  }
}

/** What a trace says, in the form of {@link Lab.send}. */
function told({ outputs, drops }: PacketTrace): [string[][], Record<string, number>] {
  const counts: Record<string, number> = {};
  for (const { reason } of drops) counts[reason] = (counts[reason] ?? 0) + 1;
  const frames = [1, 2, 3].map((portNo) =>
    outputs.filter((output) => output.portNo === portNo).map(({ packet }) => packet)
  );
  return [frames, counts];
}

function randomFrame(random: Random): Uint8Array {
  const isIpv6 = random(2) === 0;
  const protocol = (["tcp", "udp", "sctp", "icmp"] as const)[random(4)]!;
  const tags = [[], [0x81000005], [0x88a80001, 0x81000002]][random(3)]!;
  const { bytes } = makeFrame({ isIpv6, protocol, tags, payloadSize: random(60) });
  if (random(4) === 0) bytes[random(bytes.length)] = random(256);
  return random(6) === 0 ? bytes.slice(0, 14 + random(bytes.length - 13)) : bytes.slice();
}

/** Recirculations go where flows are. */
function randomList(random: Random): Action[] {
  const list: Action[] = [];
  for (let count = 1 + random(5); count > 0; count--) {
    const kind = random(4);
    if (kind === 0) list.push({ type: "output", port: 1 + random(4) });
    else if (kind === 1) list.push({ type: "recirc", id: 1 + random(3) });
    else {
      const type = ACTION_TYPES.any[random(ACTION_TYPES.any.length)]!;
      list.push(randomAction(random, kind === 2 ? "set" : type, { depthMax: 2 }));
    }
  }
  return list;
}

Deno.test("trace: says what the real datapath does, for any actions and packets", () => {
  let reached = 0;
  let dropped = 0;
  const seeds = cases(60);
  for (let seed = 1; seed <= seeds; seed++) {
    const random = seededRandom(seed);
    const lab = new Lab((["drop", "flood", "learn"] as const)[seed % 3], seed);
    lab.meters.set({ id: 1, unit: "pps", bands: [{ rate: 1, burst: 2 }] }, 1);
    for (let id = 0; id < 4; id++) {
      for (let port = 1; port <= 2; port++) {
        lab.flow(`recirc_id(${id}),in_port(${port})`, randomList(random));
      }
    }
    for (let run = 0; run < 20; run++) {
      const frame = randomFrame(random);
      const inPort = 1 + random(3);
      const trace = lab.trace(frame, inPort);
      if (trace.cut === true) continue;
      reached += trace.outputs.length;
      dropped += trace.drops.length;
      assert.deepEqual(told(trace), lab.send(frame, inPort), `seed ${seed} run ${run}`);
    }
  }
  const least = 8 * seeds;
  assert(reached > least && dropped > least, `${reached} reached a port, ${dropped} were dropped`);
});

Deno.test("trace: changes nothing", () => {
  const lab = new Lab();
  lab.flow("in_port(1)", parseActions("meter(3),ct(commit),2"));
  lab.meters.set({ id: 3, unit: "pps", bands: [{ rate: 1, burst: 1 }] }, 1);
  const { bytes } = makeFrame();
  for (let run = 0; run < 5; run++) {
    assert.deepEqual(lab.trace(bytes, 1).outputs.map(({ portNo }) => portNo), [2]);
  }
  assert.equal(lab.table.stats(0).packets, 0);
  assert.deepEqual(lab.table.lookupCounters(), { maskHit: 0, cacheHit: 0 });
  assert.equal(lab.meters.stats(3)?.packets, 0);
  assert.deepEqual(lab.ports.flatMap(({ sent }) => sent), []);
  assert.deepEqual(lab.send(bytes, 1)[1], {});
  assert.deepEqual(lab.send(bytes, 1)[1], { meter: 1 });
  assert.deepEqual(lab.trace(bytes, 1).drops.map(({ reason }) => reason), ["meter"]);
});

Deno.test("trace: steps with their fields, bytes, branches and recirculations", () => {
  const lab = new Lab();
  lab.flow(
    "recirc_id(0),in_port(1)",
    parseActions(
      "set(ipv4(ttl=9)),clone(push_vlan(vid=7,pcp=1),3),check_pkt_len(size=9999,gt(drop),le(2))," +
        "sample(sample=100%,actions(3)),recirc(5)",
    ),
  );
  lab.flow("recirc_id(5),in_port(1)", parseActions("pop_eth"));
  const { bytes } = makeFrame();
  const { passes, outputs, drops } = lab.trace(bytes, 1);
  const [set, clone, check, sample, recirc] = passes[0]!.steps;
  assert.equal(set!.fields.find(({ field }) => field === "ipv4.ttl")!.to, "9");
  assert.deepEqual(set!.bytes.map(({ at }) => at), [22]);
  assert.deepEqual(clone!.steps!.map(({ action }) => action), ["push_vlan(vid=7,pcp=1)", "3"]);
  assert.deepEqual(clone!.steps![0]!.bytes, [{ at: 12, from: "", to: "81002007" }]);
  assert.deepEqual(clone!.bytes, []);
  assert.match(check!.note!, /less or equal$/);
  assert.equal(sample!.note, "taken");
  assert.equal(recirc!.pass!.recircId, 5);
  assert.deepEqual(recirc!.pass!.steps[0]!.bytes, [
    { at: 0, from: bytes.slice(0, 14).toHex(), to: "" },
  ]);
  assert.deepEqual(outputs.map(({ portNo, port, size }) => [portNo, port, size]), [
    [3, "p3", bytes.length + 4],
    [2, "p2", bytes.length],
    [3, "p3", bytes.length],
  ]);
  assert.deepEqual(drops.map(({ reason }) => reason), ["explicit"]);
  assert.deepEqual(recirc!.pass!.drops.length, 1);
});

Deno.test("trace: upcalls, and fragments that wait", () => {
  const { tracer, table } = new Lab("drop", 1, "handle");
  const { key, mask } = parseFlow("recirc_id(0),in_port(1)");
  const program = parseActions("userspace(pid=1,userdata(05)),ct,2");
  table.insert({ ufid: "1".repeat(32), key, mask, actions: encodeActions(program) });
  table.commit();
  const context = {
    ports: NAMES,
    flow: () => undefined,
    miss: "no flow matches",
  };
  const first = makeFrame({ fragment: 0x2000, payloadSize: 64 }).bytes;
  const { trace } = tracer.trace({ bytes: first, inPort: 1 }, 1000);
  const told = describeTrace(trace!, context);
  const [upcall, ct] = told.passes[0]!.steps;
  assert.match(upcall!.note!, /queued/);
  assert.match(ct!.note!, /waits for the others/);
  assert.deepEqual([told.upcalls, told.outputs, told.drops], [1, [], []]);
  const missed = describeTrace(tracer.trace({ bytes: first, inPort: 2 }, 1000).trace!, context);
  assert.equal(missed.passes[0]!.note, "no flow matches: queued for whoever takes upcalls");
  assert.deepEqual([missed.upcalls, missed.drops], [1, []]);
});

Deno.test("trace: a loop of recirculations ends", () => {
  const lab = new Lab();
  lab.flow("in_port(1)", parseActions("2,recirc(1)"));
  const trace = lab.trace(makeFrame().bytes, 1);
  assert.deepEqual(told(trace), lab.send(makeFrame().bytes, 1));
  assert.ok(trace.passes.length > 1);
  assert.equal(trace.drops[0]!.reason, "recirc-limit");
});

Deno.test("trace: what can't be received", () => {
  const { tracer } = new Lab();
  assert.equal(tracer.trace({ bytes: new Uint8Array(5), inPort: 1 }, 1).refused, "frame-too-short");
  const long = new Uint8Array(70_000);
  assert.equal(tracer.trace({ bytes: long, inPort: 1 }, 1).refused, "frame-too-long");
});
