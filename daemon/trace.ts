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
import { decodeActions } from "../datapath/actions/action_program.ts";
import { composeFrame } from "../datapath/compose/compose.ts";
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
  L3_PACKET,
  PORT_NONE,
  TCP_FLAGS_AT,
} from "../datapath/key.ts";
import { Packet } from "../datapath/packet/packet.ts";
import { copyConnections } from "../datapath/trace/connections.ts";
import { formatActions } from "../datapath/text/action_text.ts";
import { formatFlow, parseFlow, type PortNames } from "../datapath/text/flow_text.ts";
import { describeTrace, lookupsOf, type TraceContext } from "../datapath/trace/describe.ts";
import { type FlowTexts, MaskSurvey } from "../datapath/trace/masks.ts";
import { TraceMemory } from "../datapath/trace/memory.ts";
import type { FoundFlow, RawTrace } from "../datapath/trace/recorder.ts";
import type { PacketTrace, TracedFlow } from "../datapath/trace/schema.ts";
import { type TracedPacket, Tracer } from "../datapath/trace/tracer.ts";

/** Most flows that are compared with the lookups of one request, to say which came closest. */
const COMPARISONS_MAX = 1_000_000;
/** Most packets of one request. */
const PACKETS_MAX = 10_000;
/** Random numbers that sample actions take, and leave. */
const SAMPLE_ALWAYS = 0;
const SAMPLE_NEVER = 0xffff_ffff;

/** Where the traced datapath's facts come from. */
interface Source {
  readonly backend: Backend;
  readonly datapath: Datapath;
  readonly table: FlowTableWriter;
  readonly names: PortNames | undefined;
}

/** Carries out `trace`. Nothing is sent, counted, learned or charged. */
export class PacketTracing {
  /** What the last trace worked in. */
  #memory: TraceMemory | undefined;

  async trace(
    backend: Backend,
    model: Model,
    params: Methods["trace"]["params"],
  ): Promise<Methods["trace"]["result"]> {
    const table = await findDatapath(model, params.dp).backend.table();
    // Another trace may be under way: that one has it then.
    const kept = this.#memory;
    this.#memory = undefined;
    const memory = kept?.fits(table.buffers) === true ? kept : new TraceMemory(table.buffers);
    try {
      return await tracePackets(backend, model, params, memory);
    } finally {
      this.#memory = memory;
    }
  }
}

async function tracePackets(
  backend: Backend,
  model: Model,
  params: Methods["trace"]["params"],
  memory: TraceMemory,
): Promise<Methods["trace"]["result"]> {
  const datapath = findDatapath(model, params.dp);
  const packets = packetsOf(datapath, params);
  const table = await datapath.backend.table();
  const names = params.names === true ? datapath : undefined;
  const source: Source = { backend, datapath, table, names };
  const tracer = await makeTracer({ ...source, memory }, packets, params.samples);
  const traces: PacketTrace[] = [];
  for (const [at, packet] of packets.entries()) {
    const { trace, refused } = tracer.trace(packet, Math.max(1, backend.nowMs()));
    const time = params.packets?.[at]?.time;
    const told = trace === undefined
      ? refusedTrace(datapath, packet.inPort, refused)
      : describeTrace(trace, {
        ...contextOf(source),
        masks: await triedMasks(source, tracer, trace, packets.length),
      });
    traces.push(time === undefined ? told : { ...told, time });
    await backend.rest();
  }
  return { traces };
}

async function makeTracer(
  source: Source & { readonly memory: TraceMemory },
  packets: readonly TracedPacket[],
  samples: string | undefined,
): Promise<Tracer> {
  const { datapath, table, memory } = source;
  const { record, backend } = datapath;
  const facts = backend.traceFacts?.();
  const ports = datapath.ports().filter(({ state }) => state !== "absent");
  return new Tracer({
    table,
    memory,
    ports: ports.map(({ portNo, state }) => ({ portNo, failed: state === "failed" })),
    miss: record.miss,
    upcallMode: facts?.upcallMode ?? (record.upcallHandler === null ? "off" : "handle"),
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
  { backend, table, names }: Source,
  tracer: Tracer,
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
    const bytes = guard(() => composeFrame(parsed.key, size));
    return [{ bytes, inPort, key: parsed.key, l3EthType: parsed.l3EthType }];
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
): { key: Int32Array; inPort: number; l3EthType: number | undefined } {
  const { key, mask } = guard(() => parseFlow(text, { names: datapath }));
  for (let word = 0; word < key.length; word++) key[word]! &= mask[word]!;
  const view = new DataView(key.buffer);
  const hasPort = new DataView(mask.buffer).getUint16(IN_PORT_AT) !== 0;
  const isL3 = (view.getUint16(TCP_FLAGS_AT) & L3_PACKET) !== 0;
  return {
    key,
    inPort: hasPort ? view.getUint16(IN_PORT_AT) : PORT_NONE,
    l3EthType: isL3 ? view.getUint16(ETH_TYPE_AT) : undefined,
  };
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
