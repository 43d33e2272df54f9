/**
 * A pipeline of its own beside a datapath's, for traces: the same code over the same flow table, but
 * its ports send nothing, its counters and statistics are nobody's, its MAC table is a copy, and its
 * meters are looked at without being charged.
 *
 * Runs where the table's writer runs: between two changes nothing is taken away under it.
 */
import type { ConntrackBuffers } from "../conntrack/layout.ts";
import { DATAPATH_BLOCK_LENGTH, DROPS, dropsByName, sumDatapath } from "../counters.ts";
import type { DropReason } from "../drop_reasons.ts";
import { dropReason } from "../drop_reasons.ts";
import type { Buckets, FlowTableBuffers } from "../flow_table/layout.ts";
import { FlowTableReader } from "../flow_table/reader.ts";
import { setMetadataFromKey } from "../fields/key_metadata.ts";
import { MacTable, makeMacTable } from "../mac_table.ts";
import { type MeterMemory, MeterPeeker } from "../meters.ts";
import type { OutputPort, PipelineHost } from "../output.ts";
import type { Packet } from "../packet/packet.ts";
import type { PacketPool } from "../packet/packet_pool.ts";
import { type MissAction, Pipeline, type UpcallMode } from "../pipeline.ts";
import { UpcallConsumer } from "../upcall_ring.ts";
import type { ListedMask } from "./masks.ts";
import type { TraceMemory } from "./memory.ts";
import { type RawTrace, TraceRecorder } from "./recorder.ts";

/** A port as packet threads have it. */
export interface TracedPort {
  readonly portNo: number;
  /** Nothing can be sent to it. */
  readonly failed: boolean;
  /** Of its device; undefined: not known. */
  readonly mtu?: number | undefined;
  /** Answers as the port does, and sends nothing; absent: takes all but packets without Ethernet header. */
  readonly behaviour?: PortBehaviour | undefined;
}

/** What a port that is not like others does with packets, as in {@link OutputPort}. */
export type PortBehaviour = Omit<OutputPort, "portNo" | "mtu" | "headroom">;

export interface TracerOptions {
  /** The table's writer. */
  readonly table: { readonly buffers: FlowTableBuffers; readonly buckets: Buckets };
  /** Fits the table; nobody else uses it meanwhile. */
  readonly memory: TraceMemory;
  readonly ports: readonly TracedPort[];
  readonly miss: MissAction;
  readonly upcallMode: UpcallMode;
  /** Ports whose misses are not handed over. */
  readonly quietPorts?: readonly number[] | undefined;
  /** What `learn` has learned; it is not changed. Absent: nothing. */
  readonly macs?: SharedArrayBuffer | undefined;
  /** The datapath's meters; they are not charged. */
  readonly meters?: MeterMemory | undefined;
  /** A tracker of the trace's own (connections.ts), and what makes its time one since 1970. */
  readonly conntrack: { readonly buffers: ConntrackBuffers; readonly wallOffsetMs: number };
  /** 32 random bits for sample actions; default Math.random. */
  readonly random?: (() => number) | undefined;
}

/** A packet to trace. */
export interface TracedPacket {
  /** From the Ethernet header on, or as `l3EthType` says. */
  readonly bytes: Uint8Array;
  /** PORT_NONE: from none. */
  readonly inPort: number;
  /** It has no Ethernet header and is of this type. */
  readonly l3EthType?: number | undefined;
  /** KEY_WORDS words whose metadata it has; absent: none. */
  readonly key?: Int32Array | undefined;
  /** Patch ports that it has crossed; default 0. */
  readonly patchHops?: number | undefined;
}

/** What came of a packet: its trace, or why it was not even received. */
export type TraceResult =
  | { readonly trace: RawTrace; readonly refused?: undefined }
  | { readonly trace?: undefined; readonly refused: string };

const VPORT_FAILED = dropReason("vport-failed");
const ALL = 0x7fffffff;

export class Tracer {
  readonly #table: TracerOptions["table"];
  readonly #reader: FlowTableReader;
  readonly #pipeline: Pipeline;
  readonly #host: TraceHost;
  readonly #counters = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly #upcalls: UpcallConsumer;
  #buckets: Buckets;
  #trace: RawTrace | undefined;

  constructor(options: TracerOptions) {
    const { table, memory } = options;
    this.#table = table;
    this.#buckets = table.buckets;
    // The masks themselves: which packet the cache would have answered is not the question.
    this.#reader = new FlowTableReader(memory.privateStatistics(table.buffers), 0, this.#buckets, {
      cache: false,
      compileAfter: Infinity,
    });
    this.#host = new TraceHost(memory.pool);
    const { upcalls } = memory;
    this.#upcalls = new UpcallConsumer(upcalls);
    this.#upcalls.clear();
    this.#pipeline = new Pipeline({
      table: this.#reader,
      counters: this.#counters,
      portCounters: memory.portCounters,
      macTable: new MacTable(options.macs === undefined ? makeMacTable() : copyOf(options.macs)),
      host: this.#host,
      meters: options.meters === undefined ? undefined : new MeterPeeker(options.meters),
      random: options.random,
      conntrack: { ...options.conntrack, thread: 0 },
      upcalls,
    });
    this.#pipeline.setMiss(options.miss);
    this.#pipeline.setUpcalls(options.upcallMode, options.quietPorts);
    for (const port of options.ports) this.#pipeline.setPort(port.portNo, new SilentPort(port));
    this.#pipeline.observe(
      new TraceRecorder({
        count: ALL,
        keep: ALL,
        generation: (flow) => this.#reader.generation(flow),
        traced: (trace) => this.#trace = trace,
      }),
    );
  }

  /** The masks in the order in which they are tried. */
  masks(): ListedMask[] {
    return this.#reader.masks();
  }

  /** Lets a packet go through. `nowMs`: the clock of the flow statistics. */
  trace(traced: TracedPacket, nowMs: number): TraceResult {
    if (this.#table.buckets !== this.#buckets) {
      this.#buckets = this.#table.buckets;
      this.#reader.setBuckets(this.#buckets);
    }
    const packet = this.#host.allocate()!;
    if (traced.bytes.length > packet.tailLimit - packet.start) {
      this.#host.recycle(packet);
      return { refused: "frame-too-long" };
    }
    packet.bytes.set(traced.bytes, packet.start);
    packet.end = packet.start + traced.bytes.length;
    if (traced.key !== undefined) setMetadataFromKey(packet, traced.key);
    packet.isL3 = traced.l3EthType !== undefined;
    packet.ethType = traced.l3EthType ?? 0;
    packet.patchHops = traced.patchHops ?? 0;
    this.#trace = undefined;
    this.#counters.fill(0n);
    this.#pipeline.begin(nowMs);
    this.#pipeline.receive(traced.inPort, packet);
    this.#pipeline.finish(nowMs);
    this.#host.flush();
    this.#upcalls.clear();
    const trace: RawTrace | undefined = this.#trace;
    if (trace !== undefined) return { trace };
    const [reason] = Object.keys(dropsByName(sumDatapath([this.#counters]), DROPS));
    return { refused: reason ?? "none" };
  }
}

function copyOf(memory: SharedArrayBuffer): SharedArrayBuffer {
  const copy = new SharedArrayBuffer(memory.byteLength);
  new Uint8Array(copy).set(new Uint8Array(memory));
  return copy;
}

/** Takes packets and sends nothing. */
class SilentPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly takesL3Packets: boolean | undefined;
  readonly mtu: number | undefined;
  readonly #failed: boolean;
  readonly #behaviour: PortBehaviour | undefined;

  constructor({ portNo, failed, mtu, behaviour }: TracedPort) {
    this.portNo = portNo;
    this.mtu = mtu;
    this.takesPartialChecksums = behaviour?.takesPartialChecksums ?? true;
    this.takesSegmentTrains = behaviour?.takesSegmentTrains ?? true;
    this.takesL3Packets = behaviour?.takesL3Packets;
    this.#failed = failed;
    this.#behaviour = behaviour;
  }

  send(packet: Packet): DropReason {
    return this.#failed ? VPORT_FAILED : this.#behaviour?.send(packet) ?? 0;
  }
}

class TraceHost implements PipelineHost {
  readonly #pool: PacketPool;
  round = 0;

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  allocate(): Packet | undefined {
    return this.#pool.allocate();
  }

  recycle(packet: Packet): void {
    if (packet.lentInRound === this.round) this.#pool.retire(packet);
    else this.#pool.free(packet);
  }

  flush(): void {
    this.round = (this.round + 1) | 0;
    this.#pool.endRound();
  }
}
