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
import { dropReason } from "./drop_reasons.ts";
import type { DropReason } from "./drop_reasons.ts";
import { execute } from "./execute.ts";
import { extractKey } from "./extract.ts";
import type { FlowTableReader } from "./flow_table/reader.ts";
import { KEY_WORDS } from "./key.ts";
import type { MacTable } from "./mac_table.ts";
import { type OutputPort, Outputs, type PipelineHost } from "./output.ts";
import { FRAME_SIZE_MAX, type Packet } from "./packet.ts";

export type { OutputPort, PipelineHost } from "./output.ts";

/** What is done with a packet that no flow matches. */
export type MissAction = "drop" | "flood" | "learn";

/** Packets that go through together. */
export const BURST_MAX = 32;
/** Packets that ports may hand over from within `send` (a port that loops back) before some are dropped. */
const PENDING_MAX = 256;

/** How often in one `finish` packets that ports have handed back go through: more is a loop. */
const PASSES_MAX = 32;

const FRAME_TOO_SHORT = dropReason("frame-too-short");
const FRAME_TOO_LONG = dropReason("frame-too-long");
const NO_HANDLER = dropReason("no-upcall-handler");
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
}

export class Pipeline {
  readonly #table: FlowTableReader;
  readonly #macTable: MacTable;
  readonly #accounts: Accounts;
  readonly #outputs: Outputs;
  /** Keys of a burst, KEY_WORDS apart; written by extractKey alone, as it demands. */
  readonly #keys: Int32Array = new Int32Array(BURST_MAX * KEY_WORDS);
  /** Flow index of each packet of a burst, -1: none. */
  readonly #flows: Int32Array = new Int32Array(BURST_MAX);
  /** Gathered packets: [0, #count). Swapped with #spare while a burst runs. */
  #packets: (Packet | undefined)[] = new Array(PENDING_MAX).fill(undefined);
  #spare: (Packet | undefined)[] = new Array(PENDING_MAX).fill(undefined);
  #count = 0;
  #running = false;
  #nowMs = 0;
  #miss: MissAction = "drop";

  constructor(options: PipelineOptions) {
    this.#table = options.table;
    this.#macTable = options.macTable;
    this.#accounts = new Accounts(options.counters, options.portCounters);
    this.#outputs = new Outputs(options.host, this.#accounts);
  }

  /** Adds, replaces or (undefined) removes a port. Counters stay; see {@link clearPort}. */
  setPort(portNo: number, port: OutputPort | undefined): void {
    this.#outputs.setPort(portNo, port);
  }

  setMiss(policy: MissAction): void {
    this.#miss = policy;
  }

  /** Zeroes a port's counters: the number is given to a new port. */
  clearPort(portNo: number): void {
    this.#accounts.clearPort(portNo);
  }

  /** A round begins: the time that packets received in it are counted with. */
  begin(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  /**
   * Takes one received packet, whose offload state is set and whose bytes stay valid until `finish`
   * has returned and the senders have flushed. A pool packet is recycled when it is done with.
   */
  receive(portNo: number, packet: Packet): void {
    packet.inPort = portNo;
    const size = packet.end - packet.start;
    if (
      size < ETHERNET_SIZE || size > FRAME_SIZE_MAX || this.#count === PENDING_MAX ||
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
    if (!this.#running) {
      for (let pass = 0; this.#count > 0 && pass < PASSES_MAX; pass++) this.#run();
      if (this.#count > 0) this.#dropGathered();
    }
    this.#accounts.settle();
  }

  /** Ports hand back without end what they are sent. */
  #dropGathered(): void {
    for (let at = 0; at < this.#count; at++) {
      const packet = this.#packets[at]!;
      this.#accounts.dropped(packet.inPort, QUEUE_FULL);
      this.#outputs.recycle(packet);
    }
    this.#count = 0;
  }

  /** Counts a packet that could not be received; PORT_NONE when the port can't be told. */
  countRxDrop(portNo: number, reason: DropReason): void {
    this.#accounts.rxDropped(portNo, reason);
  }

  /** Counts a packet of `size` bytes that an earlier `send` had taken and the device then refused. */
  countTxDrop(portNo: number, reason: DropReason, size: number): void {
    this.#accounts.txTakenBack(portNo, reason, size);
  }

  #refuse(portNo: number, packet: Packet): void {
    const size = packet.end - packet.start;
    const reason = size < ETHERNET_SIZE
      ? FRAME_TOO_SHORT
      : this.#count === PENDING_MAX
      ? QUEUE_FULL
      : FRAME_TOO_LONG; // or a careless plug-in's frame that leaves its buffer
    this.#accounts.rxDropped(portNo, reason);
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
    for (let from = 0; from < count; from += BURST_MAX) {
      this.#runBurst(packets, from, Math.min(count - from, BURST_MAX));
    }
    this.#running = false;
    this.#accounts.settle();
  }

  #runBurst(packets: (Packet | undefined)[], from: number, count: number): void {
    const keys = this.#keys;
    const flows = this.#flows;
    for (let at = 0; at < count; at++) extractKey(packets[from + at]!, keys, at * KEY_WORDS);
    this.#table.lookupBurst(keys, count, flows);
    this.#countFlows(packets, from, count);
    for (let at = 0; at < count; at++) {
      const packet = packets[from + at]!;
      const flow = flows[at]!;
      if (flow >= 0) this.#runFlow(packet, flow);
      else this.#runMiss(packet, at * KEY_WORDS);
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
      // The TCP flags are the upper half of word 10, in network byte order.
      const flags = this.#keys[at * KEY_WORDS + 10]! >>> 16;
      table.count(flow, packet.end - packet.start, nowMs, (flags & 0xff) << 8 | flags >>> 8);
    }
    this.#accounts.lookedUp(count - misses, misses);
  }

  #runFlow(packet: Packet, flow: number): void {
    const table = this.#table;
    execute(packet, table.actionWords, table.actionsAt(flow), this.#outputs, this.#accounts);
  }

  #runMiss(packet: Packet, keyAt: number): void {
    if (this.#miss === "drop") {
      this.#accounts.lost();
      this.#accounts.dropped(packet.inPort, NO_HANDLER);
    } else if (this.#miss === "flood") {
      this.#flood(packet);
    } else {
      this.#learn(packet, keyAt);
    }
  }

  #flood(packet: Packet): void {
    const count = this.#outputs.flood(packet, packet.inPort);
    if (count > 1) this.#accounts.copied(count - 1);
    else if (count === 0) this.#accounts.dropped(packet.inPort, FLOOD_NO_PORT);
  }

  /** As a learning switch: notes where the source is, sends to where the destination was, else floods. */
  #learn(packet: Packet, keyAt: number): void {
    const keys = this.#keys;
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
      this.#accounts.dropped(inPort, RESERVED_MULTICAST);
      return;
    }
    const known = table.lookup(word5, word6 & 0xffff, vid, this.#nowMs);
    if (known === inPort) this.#accounts.dropped(inPort, LEARNED_SAME_PORT);
    else if (known >= 0) this.#outputs.output(packet, known);
    else this.#flood(packet);
  }
}
