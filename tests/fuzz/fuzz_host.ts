/**
 * Memory and ports under fuzzed packets: packets whose frames end where their memory does, so that a
 * read beyond throws, with known bytes in front; and ports of every kind of demand.
 */
import { makePortBlocks } from "../../datapath/counters.ts";
import { type DropReason, dropReason } from "../../datapath/drop_reasons.ts";
import type { FlowTableBuffers } from "../../datapath/flow_table/layout.ts";
import { clearMetadata, Packet, type PacketBuffer } from "../../datapath/packet/packet.ts";
import { PacketPool, SLOT_SIZE } from "../../datapath/packet/packet_pool.ts";
import type { OutputPort, Pipeline, PipelineHost } from "../../datapath/pipeline.ts";
import type { Random } from "../../datapath/testing/flow_values.ts";
import { CANARY } from "../../datapath/testing/frames.ts";
import { TraceMemory } from "../../datapath/trace/memory.ts";
import { SharedThings } from "../../daemon/switch/thread_host.ts";
import { allocateBuffer } from "../../netdev/memory.ts";
import { PATCH_HOPS_MAX } from "../../vports/patch.ts";
import type { VportHost } from "../../vports/vport.ts";
import { DRAFT_SIZE_MAX } from "./mutator.ts";

export const POOL_SLOTS = 96;
const SMALL_SIZE = 8192;
const SMALL_COUNT = 40;
const LARGE_SIZE: number = 8192 * Math.ceil((DRAFT_SIZE_MAX + 512) / 8192);
const LARGE_COUNT = 34;
/** Bytes in front of a packet's own that must stay as they are. */
const GUARD_SIZE = 8;
/** Patch ports that a packet counts as having crossed: a loop of them would take as long as thousands of packets. */
export const HOPS_BEFORE: number = PATCH_HOPS_MAX - 2;
const QUEUE_FULL = dropReason("tx-queue-full");

/** Memory for fuzzed datapaths, one at a time. Made once: mapped memory is never given back. */
export class FuzzMemory {
  readonly portCounters: BigUint64Array = new BigUint64Array(makePortBlocks());
  readonly #small: readonly Packet[];
  readonly #large: readonly Packet[];
  #trace: TraceMemory | undefined;
  readonly #slots: PacketBuffer = allocateBuffer(POOL_SLOTS * SLOT_SIZE).buffer;
  #smallUsed = 0;
  #largeUsed = 0;

  constructor() {
    const make = (size: number) => (): Packet => new Packet(allocateBuffer(size).buffer);
    this.#small = Array.from({ length: SMALL_COUNT }, make(SMALL_SIZE));
    this.#large = Array.from({ length: LARGE_COUNT }, make(LARGE_SIZE));
  }

  /** A pool of which all is free, whatever became of the last one. */
  makePool(): PacketPool {
    this.#smallUsed = 0;
    this.#largeUsed = 0;
    return new PacketPool(this.#slots.bytes.buffer, this.#slots.address, POOL_SLOTS);
  }

  /** What traces of such a flow table work in. */
  traceMemory(table: FlowTableBuffers): TraceMemory {
    if (this.#trace?.fits(table) !== true) this.#trace = new TraceMemory(table);
    return this.#trace;
  }

  /** A packet with that frame, which ends with its memory, and `headroom` bytes in front that may be used. */
  packet(frame: Uint8Array, headroom: number): Packet {
    const isSmall = frame.length + headroom + GUARD_SIZE <= SMALL_SIZE;
    const packet = isSmall ? this.#small[this.#smallUsed++]! : this.#large[this.#largeUsed++]!;
    const { bytes } = packet;
    clearMetadata(packet);
    packet.end = bytes.length;
    packet.tailLimit = bytes.length;
    packet.start = bytes.length - frame.length;
    packet.headLimit = packet.start - headroom;
    packet.lentInRound = -1;
    bytes.set(frame, packet.start);
    bytes.fill(CANARY, packet.headLimit - GUARD_SIZE, packet.headLimit);
    return packet;
  }

  /** Fails if anything was written in front of a packet; all are free again. `headLimits`: of the packets as they were made. */
  release(packets: readonly Packet[], headLimits: readonly number[]): void {
    this.#smallUsed = 0;
    this.#largeUsed = 0;
    packets.forEach(({ bytes, slot }, index) => {
      if (slot >= 0) return;
      const at = headLimits[index]!;
      for (let byte = at - GUARD_SIZE; byte < at; byte++) {
        if (bytes[byte] !== CANARY) {
          throw new Error(`byte ${byte - at} in front of the packet was written`);
        }
      }
    });
  }
}

/** What a packet thread is for pipelines and ports, without the thread. */
export class FuzzHost implements PipelineHost, VportHost {
  readonly pool: PacketPool;
  readonly #things = new SharedThings();
  readonly #flushes: (() => void)[] = [];
  pipeline: Pipeline | undefined;
  round = 0;
  now = 1000;

  constructor(memory: FuzzMemory) {
    this.pool = memory.makePool();
  }

  onFlush(flush: () => void): void {
    this.#flushes.push(flush);
  }

  allocate(): Packet | undefined {
    return this.pool.allocate();
  }

  recycle(packet: Packet): void {
    if (packet.lentInRound === this.round) this.pool.retire(packet);
    else this.pool.free(packet);
  }

  flush(): void {
    for (const flush of this.#flushes) flush();
    this.round = (this.round + 1) | 0;
    this.pool.endRound();
  }

  share<T extends { close(): void }>(name: string, make: () => T): T {
    return this.#things.share(name, make);
  }

  unshare(name: string): void {
    this.#things.unshare(name);
  }

  receive(portNo: number, packet: Packet): void {
    packet.patchHops = Math.max(packet.patchHops, HOPS_BEFORE);
    this.pipeline!.receive(portNo, packet);
  }

  countRxDrop(portNo: number, reason: DropReason, count?: number): void {
    this.pipeline!.countRxDrop(portNo, reason, count);
  }

  countTxDrop(portNo: number, reason: DropReason, size: number): void {
    this.pipeline!.countTxDrop(portNo, reason, size);
  }

  nowMs(): number {
    return this.now;
  }

  wallUs(): number {
    return this.now * 1000;
  }
}

interface Demands {
  readonly partial?: boolean;
  readonly trains?: boolean;
  readonly l3?: boolean;
  readonly mtu?: number;
  readonly headroom?: number;
}

/** Looks at every byte that it is sent, and writes to the headroom that it asked for. */
export class ReadingPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly takesL3Packets: boolean;
  readonly mtu: number | undefined;
  readonly headroom: number;
  /** Sum of all bytes: what is read must not be optimized away. */
  sum = 0;

  constructor(portNo: number, demands: Demands = {}) {
    this.portNo = portNo;
    this.takesPartialChecksums = demands.partial ?? false;
    this.takesSegmentTrains = demands.trains ?? false;
    this.takesL3Packets = demands.l3 ?? false;
    this.mtu = demands.mtu;
    this.headroom = demands.headroom ?? 0;
  }

  send(packet: Packet): DropReason {
    const { view, start, end } = packet;
    // An Ethernet header alone that was taken off leaves nothing.
    if (
      end < start || (end === start && !packet.isL3) || end > packet.tailLimit ||
      start - this.headroom < packet.headLimit
    ) {
      throw new RangeError(`sent [${start}, ${end}) of [${packet.headLimit}, ${packet.tailLimit})`);
    }
    const step = end - start > 2048 ? 61 : 7;
    for (let at = start; at < end; at += step) this.sum = (this.sum + view.getUint8(at)) | 0;
    if (end > start) this.sum = (this.sum + view.getUint8(end - 1)) | 0;
    for (let at = start - this.headroom; at < start; at++) view.setUint8(at, 0x77);
    return 0;
  }
}

/** Refuses some at once and some later, as a device whose queue is full. */
export class RefusingPort extends ReadingPort {
  readonly #random: Random;
  readonly #host: FuzzHost;
  readonly #late: number[] = [];

  constructor(portNo: number, host: FuzzHost, random: Random) {
    super(portNo, { partial: true, trains: true });
    this.#host = host;
    this.#random = random;
    host.onFlush(() => this.#refuseLate());
  }

  override send(packet: Packet): DropReason {
    super.send(packet);
    const kind = this.#random(4);
    if (kind === 0) return QUEUE_FULL;
    if (kind === 1) this.#late.push(packet.size);
    return 0;
  }

  #refuseLate(): void {
    for (const size of this.#late.splice(0)) {
      this.#host.countTxDrop(this.portNo, QUEUE_FULL, size);
    }
  }
}
