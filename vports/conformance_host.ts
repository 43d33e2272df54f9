/** A {@link VportHost} for the conformance suite: keeps copies of what ports hand over, and counts. */
import type { DropReason } from "../datapath/drop_reasons.ts";
import { PacketPool, SLOT_SIZE } from "../datapath/packet/packet_pool.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { allocateBuffer } from "../netdev/memory.ts";
import type { VportHost } from "./vport.ts";

export interface HandedOver {
  readonly portNo: number;
  readonly frame: Uint8Array;
  readonly needsCsum: boolean;
  readonly gsoType: number;
}

export interface CountedDrop {
  readonly portNo: number;
  readonly reason: DropReason;
}

const SLOTS = 128;

export class ConformanceHost implements VportHost {
  readonly received: HandedOver[] = [];
  readonly rxDrops: CountedDrop[] = [];
  readonly txDrops: CountedDrop[] = [];
  readonly pool: PacketPool;
  readonly #shared: Map<string, { thing: { close(): void }; users: number }> = new Map();

  constructor() {
    const { buffer } = allocateBuffer(SLOTS * SLOT_SIZE);
    this.pool = new PacketPool(buffer.bytes.buffer, buffer.address, SLOTS);
  }

  /** Names still shared: a port that was closed leaves none. */
  get sharedNames(): string[] {
    return [...this.#shared.keys()];
  }

  share<T extends { close(): void }>(name: string, make: () => T): T {
    const known = this.#shared.get(name);
    if (known !== undefined) {
      known.users++;
      return known.thing as T;
    }
    const thing = make();
    this.#shared.set(name, { thing, users: 1 });
    return thing;
  }

  unshare(name: string): void {
    const known = this.#shared.get(name);
    if (known === undefined) throw new Error(`nothing is shared as ${name}`);
    if (--known.users > 0) return;
    this.#shared.delete(name);
    known.thing.close();
  }

  allocate(): Packet | undefined {
    return this.pool.allocate();
  }

  recycle(packet: Packet): void {
    this.pool.free(packet);
  }

  receive(portNo: number, packet: Packet): void {
    if (packet.start < packet.headLimit || packet.end > packet.tailLimit) {
      throw new RangeError("a packet lies outside of its headLimit and tailLimit");
    }
    this.received.push({
      portNo,
      frame: packet.bytes.slice(packet.start, packet.end),
      needsCsum: packet.needsCsum,
      gsoType: packet.gsoType,
    });
    if (packet.slot >= 0) this.pool.free(packet);
  }

  countRxDrop(portNo: number, reason: DropReason, count = 1): void {
    for (let left = count; left > 0; left--) this.rxDrops.push({ portNo, reason });
  }

  countTxDrop(portNo: number, reason: DropReason): void {
    this.txDrops.push({ portNo, reason });
  }

  nowMs(): number {
    return 1000;
  }

  wallUs(): number {
    return 1_700_000_000_000_000;
  }
}
