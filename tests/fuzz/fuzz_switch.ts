/**
 * A whole datapath under fuzzed packets, on this thread: flow table with random lists of every action,
 * connection tracking with reassembly, meters, upcalls that are read, captures and traces, patch ports,
 * and tunnel ports whose datagrams go through real sockets on the loopback address. After every burst
 * the accounts must balance, every buffer must be back, and nothing may be written outside a packet.
 *
 * One seed is one epoch: a table of its own, and frames of its own. The same seed does the same again.
 */
import { encodeActions } from "../../datapath/actions/action_program.ts";
import { CaptureTap } from "../../datapath/capture/capture_tap.ts";
import { ConntrackControl } from "../../datapath/conntrack/control.ts";
import { makeConntrackBuffers } from "../../datapath/conntrack/layout.ts";
import { setDefaultTimeouts } from "../../datapath/conntrack/timeouts.ts";
import { DATAPATH_BLOCK_LENGTH } from "../../datapath/counters.ts";
import { makeFlowTableBuffers } from "../../datapath/flow_table/layout.ts";
import { FlowTableReader } from "../../datapath/flow_table/reader.ts";
import { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import { MacTable, makeMacTable } from "../../datapath/mac_table.ts";
import { makeMeterMemory, MeterReader, MeterTable } from "../../datapath/meters.ts";
import { ObserverSet } from "../../datapath/observer_set.ts";
import type { Packet } from "../../datapath/packet/packet.ts";
import type { OutputPort } from "../../datapath/pipeline.ts";
import { CheckedPipeline, type Totals, totalsOf } from "../../datapath/testing/balance.ts";
import type { Random } from "../../datapath/testing/flow_values.ts";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { describeTrace } from "../../datapath/trace/describe.ts";
import { type RawTrace, TraceRecorder } from "../../datapath/trace/recorder.ts";
import { Tracer } from "../../datapath/trace/tracer.ts";
import { makeUpcallRing, UpcallConsumer } from "../../datapath/upcall_ring.ts";
import { toUpcall, toUpcallInfo } from "../../daemon/upcalls/packet.ts";
import {
  FuzzHost,
  type FuzzMemory,
  HOPS_BEFORE,
  POOL_SLOTS,
  ReadingPort,
  RefusingPort,
} from "./fuzz_host.ts";
import { addFlows, PORTS, randomList } from "./fuzz_flows.ts";
import { FuzzSockets } from "./fuzz_sockets.ts";
import { Mutator } from "./mutator.ts";
import { chooseOffload, setMetadata, strip } from "./packet_state.ts";

const BURST = 32;
/** After one burst of so many, packets go through a tunnel port's socket first, so many in a row. */
const TUNNEL_SHARE = 8;
const DATAGRAMS = 4;
/** Upcalls that are looked at, of those that wait. */
const UPCALLS_READ = 16;

export interface FuzzOptions {
  readonly seed: number;
  /** What frames are made of. */
  readonly corpus: readonly Uint8Array[];
  readonly memory: FuzzMemory;
  /** Instead of port 1, for tests of this. */
  readonly port?: OutputPort;
  /** From this burst on packets go through one at a time, so that the guilty one is known. */
  readonly singlyFrom?: number;
}

/** A packet as it was before anything was done with it. */
export interface FuzzedPacket {
  readonly hex: string;
  readonly inPort: number;
  /** Offload state and other properties that are not as usual. */
  readonly state: string;
}

const NO_NAMES = { byName: () => undefined, byNo: () => undefined };

export class FuzzSwitch {
  readonly #options: FuzzOptions;
  readonly #random: Random;
  readonly #host: FuzzHost;
  readonly #mutator: Mutator;
  readonly #counters = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly #pipeline: CheckedPipeline;
  readonly #table: FlowTableWriter;
  readonly #conntrack: ConntrackControl;
  readonly #upcalls: UpcallConsumer;
  readonly #observers = new ObserverSet();
  readonly #captured: UpcallConsumer;
  readonly #tracer: Tracer;
  readonly #sockets: FuzzSockets;
  /** Where the actions for packets that are sent back lie. */
  readonly #injectedAt: number;
  /** Types of actions that flows have had. */
  readonly actions: Set<string> = new Set();
  /** Upcalls, captured packets and traces that were made something of; datagrams that tunnel ports have taken from their sockets. */
  readonly read = { upcalls: 0, captured: 0, traces: 0, datagrams: 0 };
  packets = 0;
  bursts = 0;
  /** Of the burst in hand. */
  readonly #frames: Uint8Array[] = [];
  readonly #packets: Packet[] = [];
  readonly #headLimits: number[] = [];
  readonly #states: string[] = [];

  constructor(options: FuzzOptions) {
    this.#options = options;
    const random = seededRandom(options.seed);
    this.#random = random;
    this.#host = new FuzzHost(options.memory);
    this.#mutator = new Mutator(random, options.corpus);
    const seed = Uint8Array.from({ length: 16 }, () => random(256));
    const buffers = makeFlowTableBuffers({ flowsMax: 256, threads: 1, seed });
    this.#table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    const conntrack = makeConntrackBuffers({ connectionsMax: 2000, threads: 1, seed });
    setDefaultTimeouts(conntrack);
    this.#conntrack = new ConntrackControl(conntrack);
    const meters = makeMeterMemory();
    new MeterTable(meters).set({ id: 1, unit: "pps", bands: [{ rate: 100, burst: 50 }] }, 1000);
    new MeterTable(meters).set({ id: 2, unit: "kbps", bands: [{ rate: 900, burst: 90 }] }, 1000);
    const upcalls = makeUpcallRing();
    this.#upcalls = new UpcallConsumer(upcalls);
    const reader = new FlowTableReader(buffers, 0, this.#table.buckets);
    const packetRandom = seededRandom(options.seed ^ 0x5eed);
    this.#pipeline = new CheckedPipeline({
      table: reader,
      counters: this.#counters,
      portCounters: options.memory.portCounters,
      macTable: new MacTable(makeMacTable()),
      host: this.#host,
      meters: new MeterReader(meters),
      random: () => packetRandom(2 ** 32),
      conntrack: { buffers: conntrack, thread: 0, wallOffsetMs: 0 },
      upcalls,
    });
    this.#host.pipeline = this.#pipeline;
    const miss = (["drop", "flood", "learn"] as const)[random(3)]!;
    const upcallMode = (["off", "watch", "handle"] as const)[random(3)]!;
    this.#pipeline.setMiss(miss);
    this.#pipeline.setUpcalls(upcallMode);
    const traceMemory = options.memory.traceMemory(buffers);
    this.#tracer = new Tracer({
      table: this.#table,
      memory: traceMemory,
      ports: Array.from({ length: PORTS }, (_, at) => ({ portNo: at + 1, failed: at === 5 })),
      miss,
      upcallMode,
      meters,
      conntrack: { buffers: traceMemory.emptyTracker(), wallOffsetMs: 0 },
    });
    this.#sockets = new FuzzSockets(this.#host);
    this.#captured = this.#observe(reader);
    for (const port of this.#ports()) this.#pipeline.setPort(port.portNo, port);
    addFlows(this.#table, random, this.actions);
    this.#injectedAt = this.#table.lendActions(encodeActions(randomList(random)));
  }

  /** What became of all packets. */
  get totals(): Totals {
    return totalsOf([this.#counters]);
  }

  /** The packets of the last burst. */
  lastBurst(): FuzzedPacket[] {
    return this.#frames.map((frame, at) => ({
      hex: frame.toHex(),
      inPort: 1 + at % PORTS,
      state: this.#states[at] ?? "",
    }));
  }

  /** One burst of fuzzed packets. Throws whatever is wrong. */
  burst(): void {
    const random = this.#random;
    const { memory } = this.#options;
    const host = this.#host;
    const pipeline = this.#pipeline;
    host.now += random(400) === 0 ? 40_000 : random(3);
    const isObserved = random(64) === 0;
    pipeline.observe(isObserved ? this.#observers : undefined);
    const count = this.#make(1 + random(BURST));
    const isSingly = this.bursts >= (this.#options.singlyFrom ?? Infinity);
    const frames = this.#frames.slice();
    for (let from = 0; from < count; from += isSingly ? 1 : count) {
      const to = isSingly ? from + 1 : count;
      if (isSingly) this.#frames.splice(0, Infinity, ...frames.slice(from, to));
      pipeline.begin(host.now);
      for (let at = from; at < to; at++) pipeline.receive(1 + at % PORTS, this.#packets[at]!);
      this.#finish();
    }
    memory.release(this.#packets, this.#headLimits);
    if (random(TUNNEL_SHARE) === 0) this.#throughSockets();
    if (!this.#upcalls.isEmpty && random(16) === 0) this.#readUpcalls();
    if (isObserved) {
      this.#readCaptured();
      this.#traceOne();
    }
    if (random(256) === 0) {
      pipeline.sweepFragments(host.now);
      this.#conntrack.sweep(host.now, 512);
    }
    this.bursts++;
    this.packets += count;
  }

  close(): void {
    this.#pipeline.observe(undefined);
    this.#sockets.close();
    // What waits to be put together again is given up with its pipeline.
    this.#upcalls.clear();
  }

  #finish(): void {
    const host = this.#host;
    this.#pipeline.finish(host.now);
    host.flush();
    if (host.pool.freeCount !== POOL_SLOTS) {
      throw new Error(`${POOL_SLOTS - host.pool.freeCount} packet buffers have not come back`);
    }
  }

  /** Fills the burst. Returns how many packets it has. */
  #make(count: number): number {
    const random = this.#random;
    const { memory } = this.#options;
    this.#frames.length = 0;
    this.#packets.length = 0;
    this.#headLimits.length = 0;
    this.#states.length = 0;
    for (let at = 0; at < count; at++) {
      const { bytes, size } = this.#mutator.next();
      const frame = bytes.slice(0, size);
      const packet = random(4) === 0 && size < 60_000
        ? this.#pooled(frame)
        : memory.packet(frame, [0, 0, 3, 64, 200][random(5)]!);
      packet.patchHops = HOPS_BEFORE;
      this.#frames.push(frame);
      this.#packets.push(packet);
      this.#headLimits.push(packet.headLimit);
      const offload = chooseOffload(random, packet);
      const metadata = setMetadata(random, packet);
      this.#states.push([offload, metadata, strip(random, packet)].filter(Boolean).join(" "));
    }
    return count;
  }

  #pooled(frame: Uint8Array): Packet {
    const packet = this.#host.allocate()!;
    packet.bytes.set(frame, packet.start);
    packet.end = packet.start + frame.length;
    return packet;
  }

  #ports(): OutputPort[] {
    const host = this.#host;
    return [
      this.#options.port ?? new ReadingPort(1, { partial: true, trains: true, l3: true }),
      new ReadingPort(2),
      new ReadingPort(3, { partial: true, mtu: 1500 }),
      new ReadingPort(4, { trains: true, mtu: 576, l3: true }),
      new ReadingPort(5, { partial: true, trains: true, headroom: 64 }),
      new RefusingPort(6, host, this.#random),
      ...this.#sockets.ports,
    ];
  }

  /** Observers for some of the bursts; what the capture has kept comes by the consumer. */
  #observe(reader: FlowTableReader): UpcallConsumer {
    const ring = makeUpcallRing();
    const hooks = {
      events: ["in", "out", "drop", "upcall"] as const,
      portNo: undefined,
      filter: undefined,
      keep: 200,
    };
    const lost = new SharedArrayBuffer(4);
    this.#observers.add(
      1,
      new CaptureTap({ hooks, ring, lost, wallUs: () => this.#host.wallUs() }),
    );
    this.#observers.add(
      2,
      new TraceRecorder({
        count: Infinity,
        keep: 300,
        generation: (flow) => reader.generation(flow),
        traced: (trace) => this.#describe(trace),
      }),
    );
    return new UpcallConsumer(ring);
  }

  /** Datagrams with damaged headers and frames, received by tunnel ports. */
  #throughSockets(): void {
    for (let count = 0; count < DATAGRAMS; count++) {
      const { bytes, size } = this.#mutator.next();
      const frame = bytes.slice(0, size);
      this.#frames.splice(0, Infinity, frame);
      this.#states.splice(0, Infinity, "through a tunnel port's socket");
      this.#pipeline.begin(this.#host.now);
      this.#sockets.send(this.#random, frame);
      const received = this.#sockets.receive();
      this.#finish();
      this.read.datagrams += received;
      this.packets += received;
    }
  }

  /** Makes of upcalls what handlers and clients are given; some go back into the pipeline. The rest is forgotten. */
  #readUpcalls(): void {
    for (let at = 0; at < UPCALLS_READ; at++) {
      const raw = this.#upcalls.take();
      if (raw === undefined) return;
      const upcall = toUpcall(raw);
      toUpcallInfo(upcall, { time: 0, lost: 0 });
      this.read.upcalls++;
      if (at !== 0) continue;
      this.#pipeline.begin(this.#host.now);
      this.#pipeline.inject(upcall.injected, this.#injectedAt);
      this.#finish();
    }
    this.#upcalls.clear();
  }

  /** What `denovs trace` says of the first of the burst. */
  #traceOne(): void {
    const { trace } = this.#tracer.trace({ bytes: this.#frames[0]!, inPort: 1 }, this.#host.now);
    if (trace !== undefined) this.#describe(trace);
  }

  #describe(trace: RawTrace): void {
    this.read.traces++;
    if (this.read.traces % 8 !== 0) return;
    describeTrace(trace, { ports: NO_NAMES, flow: () => undefined, miss: "none" });
  }

  #readCaptured(): void {
    while (this.#captured.take() !== undefined) this.read.captured++;
  }
}
