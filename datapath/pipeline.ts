/**
 * The way of a packet through a datapath on one thread: received packets are gathered into bursts of
 * up to 32, and a burst goes through phase by phase (extract keys, look up flows, count, execute
 * actions), so that memory accesses of one phase overlap.
 *
 * One Pipeline per thread and datapath. Its owner calls `begin`, lets receivers hand over packets by
 * `receive`, calls `finish`, then flushes the senders and releases the receivers: nothing received is
 * used after `finish`. No allocation per packet.
 */
import { Accounts } from "./accounting.ts";
import { END } from "./actions/action_program.ts";
import type { ConntrackBuffers } from "./conntrack/layout.ts";
import { CtActions } from "./actions/ct_actions.ts";
import { dropReason } from "./drop_reasons.ts";
import type { DropReason } from "./drop_reasons.ts";
import { Executor } from "./actions/execute.ts";
import { extractKey } from "./extract/extract.ts";
import type { FlowTableReader } from "./flow_table/reader.ts";
import { KEY_WORDS } from "./key.ts";
import { setMetadataFromKey } from "./fields/key_metadata.ts";
import type { MacTable } from "./mac_table.ts";
import type { MeterReader } from "./meters.ts";
import type { PacketObserver } from "./observer.ts";
import { type OutputPort, Outputs, type PipelineHost, random32 } from "./output.ts";
import { FRAME_SIZE_MAX, type Packet } from "./packet/packet.ts";
import { type InjectedPacket, type UpcallAction, UpcallProducer } from "./upcall_ring.ts";

export type { OutputPort, PipelineHost } from "./output.ts";

/** What is done with a packet that no flow matches. */
export type MissAction = "drop" | "flood" | "learn";

/**
 * Who wants upcalls: nobody; somebody who looks on, and the miss policy holds as ever; or a handler, to
 * whom packets without a flow go.
 */
export type UpcallMode = "off" | "watch" | "handle";

/** Packets that go through together. */
export const BURST_MAX = 32;
/** Packets that ports may hand over from within `send` (a port that loops back) before some are dropped. */
const PENDING_MAX = 256;

/** How often in one `finish` packets that ports have handed back go through: more is a loop. */
const PASSES_MAX = 32;

const FRAME_TOO_SHORT = dropReason("frame-too-short");
const FRAME_TOO_LONG = dropReason("frame-too-long");
const NO_HANDLER = dropReason("no-upcall-handler");
const UPCALL_QUEUE_FULL = dropReason("upcall-queue-full");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const FLOOD_NO_PORT = dropReason("flood-no-port");
const LEARNED_SAME_PORT = dropReason("learned-same-port");
const RESERVED_MULTICAST = dropReason("reserved-multicast");
const QUEUE_FULL = dropReason("tx-queue-full");

/** Ethernet header without tags. */
const ETHERNET_SIZE = 14;

export interface PipelineOptions {
  readonly table: FlowTableReader;
  /** This thread's datapath block (counters.ts). */
  readonly counters: BigUint64Array;
  /** This thread's port blocks (counters.ts). */
  readonly portCounters: BigUint64Array;
  /** Shared by the datapath's threads; for `learn`. */
  readonly macTable: MacTable;
  readonly host: PipelineHost;
  /** Shared by the datapath's threads; absent: no meter is there, and all packets pass. */
  readonly meters?: Pick<MeterReader, "check"> | undefined;
  /** 32 random bits, unsigned, for sample actions; default Math.random. */
  readonly random?: (() => number) | undefined;
  /** The datapath's connection tracker; absent: ct actions drop. */
  readonly conntrack?: PipelineConntrack | undefined;
  /** This thread's ring of upcalls (upcall_ring.ts); absent: there are none. */
  readonly upcalls?: SharedArrayBuffer | undefined;
}

/** What a pipeline tracks connections with. */
export interface PipelineConntrack {
  /** Shared by the datapath's threads. */
  readonly buffers: ConntrackBuffers;
  /** Number of this thread. */
  readonly thread: number;
  /** What makes the pipeline's time (ms) one since 1970. */
  readonly wallOffsetMs: number;
}

export class Pipeline {
  readonly #table: FlowTableReader;
  readonly #macTable: MacTable;
  readonly #accounts: Accounts;
  readonly #outputs: Outputs;
  readonly #executor: Executor;
  readonly #conntrack: CtActions | undefined;
  /** Keys of a burst, KEY_WORDS apart; written by extractKey alone, as it demands. */
  readonly #keys: Int32Array = new Int32Array(BURST_MAX * KEY_WORDS);
  /** Flow index of each packet of a burst, -1: none. */
  readonly #flows: Int32Array = new Int32Array(BURST_MAX);
  /** The same for one packet that recirculates. */
  readonly #recircKey: Int32Array = new Int32Array(KEY_WORDS);
  readonly #recircFlow: Int32Array = new Int32Array(1);
  /** Gathered packets: [0, #count). Swapped with #spare while a burst runs. */
  #packets: (Packet | undefined)[] = new Array(PENDING_MAX).fill(undefined);
  #spare: (Packet | undefined)[] = new Array(PENDING_MAX).fill(undefined);
  #count = 0;
  #running = false;
  #nowMs = 0;
  #miss: MissAction = "drop";
  readonly #upcalls: UpcallProducer | undefined;
  #upcallMode: UpcallMode = "off";
  /** By port number, 1: its misses are not handed over. Undefined: all are. */
  #quiet: Uint8Array | undefined;
  /** Key of a packet that a userspace action hands over, or that the control plane injects. */
  readonly #upcallKey: Int32Array = new Int32Array(KEY_WORDS);
  /** Filled in anew for each userspace action. */
  readonly #upcallAction: UpcallAction;
  #observer: PacketObserver | undefined = undefined;

  constructor(options: PipelineOptions) {
    this.#table = options.table;
    this.#macTable = options.macTable;
    this.#accounts = new Accounts(options.counters, options.portCounters);
    const random = options.random ?? random32;
    this.#outputs = new Outputs(options.host, this.#accounts, random);
    this.#conntrack = options.conntrack === undefined
      ? undefined
      : new CtActions({ ...options.conntrack, random, accounts: this.#accounts });
    const meters = options.meters;
    this.#upcalls = options.upcalls === undefined ? undefined : new UpcallProducer(options.upcalls);
    this.#upcallAction = {
      words: options.table.actionWords,
      at: 0,
      length: 0,
      listAt: 0,
      listLength: 0,
      wantsTunnel: false,
    };
    this.#executor = new Executor(this.#outputs, this.#accounts, {
      recirculate: (packet) => this.#recirculate(packet),
      isOverRate: (meter, size) => meters !== undefined && meters.check(meter, size, this.#nowMs),
      random,
      conntrack: this.#conntrack,
      upcall: (packet, words, listAt, at, keep) => this.#upcall(packet, words, listAt, at, keep),
    });
  }

  /** Adds, replaces or (undefined) removes a port. Counters stay; see {@link clearPort}. */
  setPort(portNo: number, port: OutputPort | undefined): void {
    this.#outputs.setPort(portNo, port);
  }

  /** Who is told of what is done, from the next burst on; undefined: nobody. */
  observe(observer: PacketObserver | undefined): void {
    this.#observer = observer;
    this.#accounts.observer = observer;
    this.#outputs.observe(observer);
  }

  setMiss(policy: MissAction): void {
    this.#miss = policy;
  }

  /** Misses of quiet ports are not handed over: with a handler they are lost. */
  setUpcalls(mode: UpcallMode, quietPorts: readonly number[] = []): void {
    this.#upcallMode = mode;
    this.#quiet = quietPorts.length === 0 ? undefined : new Uint8Array(1 << 16);
    for (const portNo of quietPorts) this.#quiet![portNo] = 1;
  }

  /**
   * Runs the actions at index `actionsAt` of the table's action words on a packet that the control
   * plane sends (OVS_PACKET_CMD_EXECUTE). Between `begin` and `finish`; counts as generated.
   */
  inject(injected: InjectedPacket, actionsAt: number): void {
    const { bytes, key, offload } = injected;
    const packet = this.#outputs.allocate();
    this.#accounts.generated();
    if (packet === undefined) {
      this.#accounts.dropped(injected.inPort, POOL_EXHAUSTED);
      return;
    }
    const isShort = injected.l3EthType === undefined && bytes.length < ETHERNET_SIZE;
    if (isShort || bytes.length > packet.tailLimit - packet.start) {
      this.#outputs.recycle(packet);
      this.#accounts.dropped(injected.inPort, isShort ? FRAME_TOO_SHORT : FRAME_TOO_LONG);
      return;
    }
    packet.bytes.set(bytes, packet.start);
    packet.end = packet.start + bytes.length;
    packet.inPort = injected.inPort;
    packet.isL3 = injected.l3EthType !== undefined;
    packet.ethType = injected.l3EthType ?? 0;
    packet.mru = injected.mru;
    if (packet.mru !== 0) packet.metadata().pieceCount = 0;
    packet.needsCsum = offload.needsCsum;
    packet.csumStart = offload.csumStart;
    packet.csumOffset = offload.csumOffset;
    packet.gsoType = offload.gsoType;
    packet.gsoSize = offload.gsoSize;
    setMetadataFromKey(packet, key);
    extractKey(packet, this.#upcallKey, 0);
    // What ports hand back meanwhile waits for `finish`.
    this.#running = true;
    try {
      this.#executor.execute(packet, this.#table.actionWords, actionsAt);
    } finally {
      this.#running = false;
    }
    this.#outputs.recycle(packet);
  }

  /** Zeroes a port's counters: the number is given to a new port. */
  clearPort(portNo: number): void {
    this.#accounts.clearPort(portNo);
  }

  /** A round begins: the time that packets received in it are counted with. */
  begin(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#conntrack?.setNow(nowMs);
  }

  /**
   * Takes one received packet, whose offload state is set and whose bytes stay valid until `finish`
   * has returned and the senders have flushed. A pool packet is recycled when it is done with.
   */
  receive(portNo: number, packet: Packet): void {
    packet.inPort = portNo;
    const size = packet.end - packet.start;
    if (
      (size < ETHERNET_SIZE && !(packet.isL3 && size > 0)) || size > FRAME_SIZE_MAX ||
      this.#count === PENDING_MAX ||
      packet.end > packet.tailLimit || packet.start < packet.headLimit
    ) {
      this.#refuse(portNo, packet);
      return;
    }
    this.#accounts.received(portNo, size);
    this.#packets[this.#count++] = packet;
    if (this.#count >= BURST_MAX && !this.#running) this.#run();
  }

  /** Runs what is gathered: afterwards nothing received is in use but by senders that have not flushed. */
  finish(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#conntrack?.setNow(nowMs);
    if (!this.#running) {
      for (let pass = 0; this.#count > 0 && pass < PASSES_MAX; pass++) this.#run();
      if (this.#count > 0) this.#dropGathered();
    }
    this.#accounts.settle();
  }

  /** Gives up packets whose fragments did not come in time. */
  sweepFragments(nowMs: number): void {
    this.#conntrack?.sweep(nowMs);
    this.#accounts.settle();
  }

  /** Ports hand back without end what they are sent. */
  #dropGathered(): void {
    for (let at = 0; at < this.#count; at++) {
      const packet = this.#packets[at]!;
      this.#accounts.dropped(packet.inPort, QUEUE_FULL, packet);
      this.#outputs.recycle(packet);
    }
    this.#count = 0;
  }

  /** Counts a packet (or `count`) that could not be received; PORT_NONE when the port can't be told. */
  countRxDrop(portNo: number, reason: DropReason, count = 1): void {
    if (count === 1) this.#accounts.rxDropped(portNo, reason);
    else this.#accounts.rxLost(portNo, reason, count);
  }

  /** Counts a packet of `size` bytes that an earlier `send` had taken and the device then refused. */
  countTxDrop(portNo: number, reason: DropReason, size: number): void {
    this.#accounts.txTakenBack(portNo, reason, size);
  }

  #refuse(portNo: number, packet: Packet): void {
    const size = packet.end - packet.start;
    const reason = size < (packet.isL3 ? 1 : ETHERNET_SIZE)
      ? FRAME_TOO_SHORT
      : this.#count === PENDING_MAX
      ? QUEUE_FULL
      : FRAME_TOO_LONG; // or a careless plug-in's frame that leaves its buffer
    this.#accounts.rxDropped(portNo, reason, packet);
    this.#outputs.recycle(packet);
  }

  /** Runs all gathered packets. Ports that hand over packets meanwhile add to the other array. */
  #run(): void {
    const packets = this.#packets;
    const count = this.#count;
    this.#packets = this.#spare;
    this.#spare = packets;
    this.#count = 0;
    this.#running = true;
    try {
      for (let from = 0; from < count; from += BURST_MAX) {
        this.#runBurst(packets, from, Math.min(count - from, BURST_MAX));
      }
    } finally {
      // A bug may end the thread, or a thread that was given up leaves: the next round is not stuck.
      this.#running = false;
    }
    this.#accounts.settle();
  }

  #runBurst(packets: (Packet | undefined)[], from: number, count: number): void {
    const keys = this.#keys;
    const flows = this.#flows;
    for (let at = 0; at < count; at++) extractKey(packets[from + at]!, keys, at * KEY_WORDS);
    this.#table.lookupBurst(keys, count, flows);
    this.#countFlows(packets, from, count);
    if (this.#observer !== undefined) {
      this.#runObserved(this.#observer, packets, from, count);
      return;
    }
    for (let at = 0; at < count; at++) {
      const packet = packets[from + at]!;
      const flow = flows[at]!;
      if (flow >= 0) this.#runFlow(packet, flow);
      else this.#runMiss(packet, keys, at * KEY_WORDS);
      this.#outputs.recycle(packet);
    }
  }

  /** The last phase of {@link #runBurst} with somebody looking on. */
  #runObserved(
    observer: PacketObserver,
    packets: (Packet | undefined)[],
    from: number,
    count: number,
  ): void {
    const keys = this.#keys;
    const table = this.#table;
    for (let at = 0; at < count; at++) {
      const packet = packets[from + at]!;
      const flow = this.#flows[at]!;
      const isFollowed = observer.received(packet, keys, at * KEY_WORDS, flow);
      if (flow < 0) this.#runMiss(packet, keys, at * KEY_WORDS);
      else if (!isFollowed) this.#runFlow(packet, flow);
      else {
        const { actionWords } = table;
        this.#executor.executeObserved(packet, actionWords, table.actionsAt(flow), observer);
      }
      if (isFollowed) observer.finished();
      this.#outputs.recycle(packet);
    }
  }

  #countFlows(packets: (Packet | undefined)[], from: number, count: number): void {
    const table = this.#table;
    const nowMs = this.#nowMs;
    let misses = 0;
    for (let at = 0; at < count; at++) {
      const flow = this.#flows[at]!;
      if (flow < 0) {
        misses++;
        continue;
      }
      const packet = packets[from + at]!;
      // The TCP flags are 12 bits of the upper half of word 10, in network byte order.
      const flags = this.#keys[at * KEY_WORDS + 10]! >>> 16;
      table.count(flow, packet.end - packet.start, nowMs, (flags & 0x0f) << 8 | flags >>> 8);
    }
    this.#accounts.lookedUp(count - misses, misses);
  }

  #runFlow(packet: Packet, flow: number): void {
    const table = this.#table;
    this.#executor.execute(packet, table.actionWords, table.actionsAt(flow));
  }

  /** See ActionServices. */
  #recirculate(packet: Packet): number {
    const table = this.#table;
    const key = this.#recircKey;
    extractKey(packet, key, 0);
    table.lookupBurst(key, 1, this.#recircFlow);
    const flow = this.#recircFlow[0]!;
    if (this.#observer !== undefined) this.#observer.recirculated(packet, key, 0, flow);
    if (flow < 0) {
      this.#accounts.lookedUp(0, 1);
      this.#runMiss(packet, key, 0);
      return -1;
    }
    const flags = key[10]! >>> 16;
    const size = packet.end - packet.start;
    table.count(flow, size, this.#nowMs, (flags & 0x0f) << 8 | flags >>> 8);
    this.#accounts.lookedUp(1, 0);
    return table.actionsAt(flow);
  }

  #runMiss(packet: Packet, keys: Int32Array, keyAt: number): void {
    const mode = this.#upcallMode;
    const isQuiet = this.#quiet !== undefined && this.#quiet[packet.inPort] === 1;
    if (mode !== "off" && !isQuiet) {
      const isTaken = this.#push(packet, keys, keyAt, FRAME_SIZE_MAX, undefined);
      if (mode === "handle") {
        this.#endUpcall(packet, isTaken, UPCALL_QUEUE_FULL);
        return;
      }
    } else if (mode === "handle") {
      this.#accounts.upcallFailed(packet.inPort);
      this.#endUpcall(packet, false, NO_HANDLER);
      return;
    }
    if (this.#miss === "drop") {
      this.#accounts.lost();
      this.#accounts.dropped(packet.inPort, NO_HANDLER, packet);
    } else if (this.#miss === "flood") {
      this.#flood(packet);
    } else {
      this.#learn(packet, keys, keyAt);
    }
  }

  /** See ActionServices. */
  #upcall(packet: Packet, words: Int32Array, listAt: number, at: number, keep: number): void {
    const { inPort } = packet;
    if (this.#upcallMode === "off") {
      this.#accounts.upcallFailed(inPort);
      this.#endUpcall(packet, false, NO_HANDLER);
      return;
    }
    const action = this.#upcallAction;
    const flags = words[at + 2]!;
    action.words = words;
    action.at = at;
    action.length = words[at]! >>> 8;
    action.listAt = listAt;
    action.listLength = (flags & 2) === 0 ? 0 : lengthOf(words, listAt);
    action.wantsTunnel = (flags & 1) !== 0;
    const { l3At, l4At, ip } = packet;
    extractKey(packet, this.#upcallKey, 0);
    const isTaken = this.#push(packet, this.#upcallKey, 0, keep, action);
    // Behind a third tag no header is found: what the actions behind know of them stays.
    packet.l3At = l3At;
    packet.l4At = l4At;
    packet.ip = ip;
    this.#endUpcall(packet, isTaken, UPCALL_QUEUE_FULL);
  }

  #push(
    packet: Packet,
    keys: Int32Array,
    keyAt: number,
    keep: number,
    action: UpcallAction | undefined,
  ): boolean {
    const isTaken = this.#upcalls?.push(packet, keys, keyAt, keep, action) ?? false;
    if (isTaken) this.#accounts.upcalled(packet.inPort);
    else this.#accounts.upcallFailed(packet.inPort);
    if (this.#observer !== undefined) this.#observer.upcalled(packet, isTaken);
    return isTaken;
  }

  /** The end of a packet that went to the control plane, or could not. */
  #endUpcall(packet: Packet, isTaken: boolean, why: DropReason): void {
    if (isTaken) {
      this.#accounts.consumed();
      return;
    }
    this.#accounts.lost();
    this.#accounts.dropped(packet.inPort, why, packet);
  }

  #flood(packet: Packet): void {
    const count = this.#outputs.flood(packet, packet.inPort);
    if (count > 1) this.#accounts.copied(count - 1);
    else if (count === 0) this.#accounts.dropped(packet.inPort, FLOOD_NO_PORT, packet);
  }

  /** As a learning switch: notes where the source is, sends to where the destination was, else floods. */
  #learn(packet: Packet, keys: Int32Array, keyAt: number): void {
    if (packet.isL3) return this.#flood(packet); // no addresses
    const word5 = keys[keyAt + 5]!;
    const word6 = keys[keyAt + 6]!;
    const word7 = keys[keyAt + 7]!;
    // VID of the outer tag, 0 without one; the TCI lies in the low half, network byte order.
    const tci = keys[keyAt + 8]!;
    const vid = (tci & 0x0f) << 8 | (tci >>> 8) & 0xff;
    const table = this.#macTable;
    const inPort = packet.inPort;
    table.learn((word6 >>> 16) | (word7 << 16), word7 >>> 16, vid, inPort, this.#nowMs);
    // 01:80:c2:00:00:00 … 0f are never forwarded (IEEE 802.1Q §8.6.3).
    if (word5 === 0x00c28001 && (word6 & 0xf0ff) === 0) {
      this.#accounts.dropped(inPort, RESERVED_MULTICAST, packet);
      return;
    }
    const known = table.lookup(word5, word6 & 0xffff, vid, this.#nowMs);
    if (known === inPort) this.#accounts.dropped(inPort, LEARNED_SAME_PORT, packet);
    else if (known >= 0) this.#outputs.output(packet, known);
    else this.#flood(packet);
  }
}

/** Words of the action list at words[at], END included. */
function lengthOf(words: Int32Array, at: number): number {
  let end = at;
  while ((words[end]! & 0xff) !== END) end += words[end]! >>> 8;
  return end + 1 - at;
}
