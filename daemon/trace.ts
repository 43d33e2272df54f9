/**
 * The request `trace`: packets that are made of a flow or given as bytes go through the datapath's own
 * code beside its packet threads (datapath/trace/tracer.ts), and the answer tells what became of them.
 * Works on the live table and on the saved one.
 */
import type { Methods, TracePacketParams } from "./api.ts";
import type { Backend, TraceFacts } from "./backend.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import { formatUfid } from "./flows.ts";
import type { Datapath, Model } from "./model.ts";
import { findDatapath, findPort } from "./names.ts";
import { type PatchEnd, TracePorts } from "./trace_ports.ts";
import { decodeActions } from "../datapath/actions/action_program.ts";
import { composeFlowFrame } from "../datapath/compose/compose_flow.ts";
import { DROP_REASONS } from "../datapath/drop_reasons.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import { extractKey } from "../datapath/extract/extract.ts";
import {
  ETH_TYPE_AT,
  IN_PORT_AT,
  IPV4_DST_AT,
  IPV4_SRC_AT,
  IPV6_DST_AT,
  IPV6_SRC_AT,
  KEY_WORDS,
  PORT_NONE,
  SKB_MARK_AT,
  SKB_PRIORITY_AT,
} from "../datapath/key.ts";
import { Packet } from "../datapath/packet/packet.ts";
import { copyConnections } from "../datapath/trace/connections.ts";
import { formatActions } from "../datapath/text/action_text.ts";
import { formatFlow, parseFlow, type PortNames } from "../datapath/text/flow_text.ts";
import {
  type Beyond,
  describeTrace,
  lookupsOf,
  type TraceContext,
} from "../datapath/trace/describe.ts";
import { type FlowTexts, MaskSurvey } from "../datapath/trace/masks.ts";
import { TraceMemory } from "../datapath/trace/memory.ts";
import type { FoundFlow, RawTrace, SentEvent } from "../datapath/trace/recorder.ts";
import type { PacketTrace, TracedFlow } from "../datapath/trace/schema.ts";
import { type TracedPacket, Tracer } from "../datapath/trace/tracer.ts";

/** Most flows that are compared with the lookups of one request, to say which came closest. */
const COMPARISONS_MAX = 1_000_000;
/** Most packets of one request. */
const PACKETS_MAX = 10_000;
/** Random numbers that sample actions take, and leave. */
const SAMPLE_ALWAYS = 0;
const SAMPLE_NEVER = 0xffff_ffff;

/** Ways through other datapaths that are told of one packet. */
const CROSSINGS_MAX = 64;
/** Memories that are kept for the next request. */
const MEMORIES_MAX = 2;

/** Where the traced datapath's facts come from. */
interface Source {
  readonly backend: Backend;
  readonly datapath: Datapath;
  readonly table: FlowTableWriter;
  readonly names: PortNames | undefined;
}

/** A datapath that packets of a request go through. */
interface Stage extends Source {
  readonly memory: TraceMemory;
  readonly tracer: Tracer;
  readonly ports: TracePorts;
}

/** Carries out `trace`. Nothing is sent, counted, learned or charged. */
export class PacketTracing {
  /** What earlier traces worked in. */
  #memories: TraceMemory[] = [];

  async trace(
    backend: Backend,
    model: Model,
    params: Methods["trace"]["params"],
  ): Promise<Methods["trace"]["result"]> {
    // Another trace may be under way: it makes its own then.
    const request = new TraceRequest(backend, model, params, this.#memories.splice(0));
    try {
      return await request.run();
    } finally {
      this.#memories = request.memories().slice(0, MEMORIES_MAX);
    }
  }
}

/** One request: the datapaths that its packets have come through so far, each with a tracer for all of them. */
class TraceRequest {
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #params: Methods["trace"]["params"];
  readonly #spare: TraceMemory[];
  readonly #stages: Map<string, Stage> = new Map();
  /** Packets asked about. */
  #count = 1;
  /** Ways through other datapaths that may still be told of the packet in hand. */
  #crossings = 0;

  constructor(
    backend: Backend,
    model: Model,
    params: Methods["trace"]["params"],
    spare: TraceMemory[],
  ) {
    this.#backend = backend;
    this.#model = model;
    this.#params = params;
    this.#spare = spare;
  }

  async run(): Promise<Methods["trace"]["result"]> {
    const params = this.#params;
    const datapath = findDatapath(this.#model, params.dp);
    const packets = packetsOf(datapath, params);
    this.#count = packets.length;
    const stage = await this.#stage(datapath, packets);
    const traces: PacketTrace[] = [];
    for (const [at, packet] of packets.entries()) {
      this.#crossings = CROSSINGS_MAX;
      const time = params.packets?.[at]?.time;
      const told = await this.#follow(stage, packet);
      traces.push(time === undefined ? told : { ...told, time });
    }
    return { traces };
  }

  /** What it worked in, the first datapath's first. */
  memories(): TraceMemory[] {
    return [...Array.from(this.#stages.values(), ({ memory }) => memory), ...this.#spare];
  }

  /** The way of a packet through a datapath, and on through those behind patch ports. */
  async #follow(stage: Stage, packet: TracedPacket): Promise<PacketTrace> {
    const { backend, datapath, tracer, ports } = stage;
    ports.begin();
    const { trace, refused } = tracer.trace(packet, Math.max(1, backend.nowMs()));
    await backend.rest();
    if (trace === undefined) return refusedTrace(datapath, packet.inPort, refused);
    const beyond = new Map<SentEvent, Beyond>();
    let isCut = false;
    const sent = trace.events.filter((event) => event.kind === "sent");
    const behind = sent.map(({ portNo, image }) => ports.behind(portNo, image.size));
    for (const [at, { outer, peer }] of behind.entries()) {
      const event = sent[at]!;
      if (outer !== undefined) beyond.set(event, { outer });
      if (peer === undefined) continue;
      if (this.#crossings-- <= 0) {
        isCut = true;
        continue;
      }
      beyond.set(event, { next: await this.#cross(peer, event, packet.patchHops ?? 0) });
    }
    const told = describeTrace(trace, {
      ...contextOf(stage),
      masks: await triedMasks(stage, trace, this.#count),
      isTrial: true,
      beyond: (event) => beyond.get(event),
    });
    return isCut ? { ...told, cut: true } : told;
  }

  /** On from the other end of a patch port, with what the port lets through (vports/patch.ts). */
  async #cross(
    { datapath, port }: PatchEnd,
    { image }: SentEvent,
    hops: number,
  ): Promise<PacketTrace> {
    const key = new Int32Array(KEY_WORDS);
    const [from, to] = [new DataView(image.key.buffer), new DataView(key.buffer)];
    for (const at of [SKB_MARK_AT, SKB_PRIORITY_AT]) to.setUint32(at, from.getUint32(at));
    const packet: TracedPacket = {
      bytes: image.bytes,
      inPort: port.portNo,
      key,
      l3EthType: image.isL3 ? from.getUint16(ETH_TYPE_AT) : undefined,
      patchHops: hops + 1,
    };
    const told = await this.#follow(await this.#stage(datapath, [packet]), packet);
    return { dp: datapath.record.name, ...told };
  }

  /** `packets`: the first that go through it. */
  async #stage(datapath: Datapath, packets: readonly TracedPacket[]): Promise<Stage> {
    const known = this.#stages.get(datapath.record.name);
    if (known !== undefined) return known;
    const backend = this.#backend;
    const { names, samples } = this.#params;
    const table = await datapath.backend.table();
    const fitting = this.#spare.findIndex((memory) => memory.fits(table.buffers));
    const memory = this.#spare.splice(fitting, fitting < 0 ? 0 : 1)[0] ??
      new TraceMemory(table.buffers);
    const source: Source = { backend, datapath, table, names: names ? datapath : undefined };
    const ports = new TracePorts({
      datapath,
      model: this.#model,
      types: backend.types,
      nowMs: () => backend.nowMs(),
    });
    const tracer = await makeTracer({ ...source, memory, ports }, packets, samples);
    const stage = { ...source, memory, ports, tracer };
    this.#stages.set(datapath.record.name, stage);
    return stage;
  }
}

async function makeTracer(
  source: Omit<Stage, "tracer">,
  packets: readonly TracedPacket[],
  samples: string | undefined,
): Promise<Tracer> {
  const { datapath, table, memory, ports } = source;
  const { record, backend } = datapath;
  const facts = backend.traceFacts?.();
  return new Tracer({
    table,
    memory,
    ports: ports.list(),
    miss: record.miss,
    upcallMode: facts?.upcallMode ?? (record.upcallHandler === null ? "off" : "handle"),
    quietPorts: facts?.quietPorts,
    macs: record.miss === "learn" ? facts?.macs : undefined,
    meters: facts?.meters,
    conntrack: await copyTracker(source, packets, facts?.conntrack),
    ...(samples === undefined ? {} : { random: samplesAs(samples) }),
  });
}

async function copyTracker(
  { backend, memory }: { readonly backend: Backend; readonly memory: TraceMemory },
  packets: readonly TracedPacket[],
  live: TraceFacts["conntrack"] | undefined,
): Promise<TraceFacts["conntrack"]> {
  const buffers = memory.emptyTracker();
  if (live === undefined) return { buffers, wallOffsetMs: 0 };
  const addresses = new Set(packets.flatMap(({ bytes, inPort, l3EthType }) => {
    const key = keyOf(bytes, { inPort, l3EthType });
    return [IPV4_SRC_AT, IPV4_DST_AT, IPV6_SRC_AT + 12, IPV6_DST_AT + 12].map((at) =>
      new DataView(key.buffer).getInt32(at)
    );
  }));
  const nowMs = backend.nowMs() + live.wallOffsetMs;
  const copying = copyConnections(live.buffers, buffers, { nowMs, addresses });
  while (copying.next().done !== true) await backend.rest();
  return { buffers, wallOffsetMs: live.wallOffsetMs };
}

/** The key of a packet without metadata. */
function keyOf(
  bytes: Uint8Array,
  { inPort, l3EthType }: { inPort: number; l3EthType: number | undefined },
): Int32Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes);
  const packet = new Packet({ bytes: copy, view: new DataView(copy.buffer), address: 0 });
  packet.end = copy.length;
  packet.tailLimit = copy.length;
  packet.inPort = inPort;
  packet.isL3 = l3EthType !== undefined;
  packet.ethType = l3EthType ?? 0;
  const key = new Int32Array(KEY_WORDS);
  extractKey(packet, key, 0);
  return key;
}

function samplesAs(samples: string): () => number {
  if (samples === "taken") return () => SAMPLE_ALWAYS;
  if (samples === "skipped") return () => SAMPLE_NEVER;
  refuse("EINVAL", `samples can't be "${samples}" (taken, skipped)`);
}

/** What describing needs of a datapath; also of its live traces. */
export function contextOf({ datapath, table, names }: Omit<Source, "backend">): TraceContext {
  const { miss, upcallHandler } = datapath.record;
  return {
    ports: datapath,
    names,
    flow: (found) => describeFlow(table, found, names),
    miss: upcallHandler === null ? `no flow matches; miss policy ${miss}` : "no flow matches",
  };
}

function describeFlow(
  table: FlowTableWriter,
  { index, generation }: FoundFlow,
  names: PortNames | undefined,
): TracedFlow | undefined {
  if (!table.isLive(index) || table.generation(index) !== generation) return undefined;
  return {
    ufid: formatUfid(table.ufid(index)),
    flow: formatFlow(table.key(index), table.mask(index), { names }),
    actions: formatActions(decodeActions(table.publishedActions(index)), { names }),
  };
}

/** Looks through the flows, a little at a time, for those that came closest. */
async function triedMasks(
  { backend, table, names, tracer }: Stage,
  trace: RawTrace,
  packets: number,
): Promise<TraceContext["masks"]> {
  const lookups = lookupsOf(trace).map(({ key, flow }) => ({
    key,
    maskId: flow.index < 0 ? -1 : table.maskId(flow.index),
  }));
  const survey = new MaskSurvey(tracer.masks(), lookups);
  let left = COMPARISONS_MAX / (packets * lookups.length);
  for (const flow of table.publishedIndexes()) {
    if (left-- <= 0) break;
    survey.look(flow, table.maskId(flow), table.key(flow));
    await backend.rest();
  }
  const flows: FlowTexts = {
    names,
    read: (flow) =>
      table.isLive(flow) ? { key: table.key(flow), ufid: formatUfid(table.ufid(flow)) } : undefined,
  };
  return lookups.map((_, at) => survey.tried(at, flows));
}

/** A packet that is not even received. */
function refusedTrace(datapath: Datapath, inPort: number, reason: string): PacketTrace {
  const meaning = DROP_REASONS.find(([name]) => name === reason)?.[1] ?? "";
  const port = datapath.byNo(inPort);
  const drops = [{ reason, meaning, portNo: inPort }];
  return {
    inPort,
    ...(port === undefined ? {} : { port }),
    passes: [],
    outputs: [],
    drops,
    upcalls: 0,
  };
}

/** The packets that a request asks about: given as bytes, or made of the flow. */
function packetsOf(datapath: Datapath, params: Methods["trace"]["params"]): TracedPacket[] {
  const { flow, packets, size } = params;
  const parsed = flow === undefined ? undefined : parsePacketFlow(datapath, flow);
  const inPort = params.inPort === undefined
    ? parsed?.inPort ?? PORT_NONE
    : portNumber(datapath, params.inPort);
  if (packets === undefined) {
    if (parsed === undefined) refuse("EINVAL", "a flow or packets are wanted to be traced");
    const { key, mask } = parsed;
    const { frame, l3EthType } = guard(() =>
      composeFlowFrame({ key, mask }, { size, names: datapath })
    );
    return [{ bytes: frame, inPort, key, l3EthType }];
  }
  if (packets.length > PACKETS_MAX) {
    refuse("E2BIG", `${packets.length} packets are too many at once (at most ${PACKETS_MAX})`);
  }
  return packets.map((packet) => ({
    bytes: parseBytes(packet),
    inPort,
    key: parsed?.key,
    l3EthType: packet.l3,
  }));
}

function parsePacketFlow(
  datapath: Datapath,
  text: string,
): { key: Int32Array; mask: Int32Array; inPort: number } {
  const { key, mask } = guard(() => parseFlow(text, { names: datapath }));
  for (let word = 0; word < key.length; word++) key[word]! &= mask[word]!;
  const view = new DataView(key.buffer);
  const hasPort = new DataView(mask.buffer).getUint16(IN_PORT_AT) !== 0;
  return { key, mask, inPort: hasPort ? view.getUint16(IN_PORT_AT) : PORT_NONE };
}

function portNumber(datapath: Datapath, text: string): number {
  const port = findPort(datapath, text);
  if (port !== undefined) return port.portNo;
  refuse("ENOENT", `${datapath.record.name} has no port "${text}" that packets could come from`);
}

function parseBytes({ bytes }: TracePacketParams): Uint8Array {
  try {
    return Uint8Array.fromHex(bytes);
  } catch {
    refuse("EINVAL", "a packet must be bytes in hexadecimal, two digits each");
  }
}

function guard<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw toCommandError(error, { doing: "cannot trace" });
  }
}
