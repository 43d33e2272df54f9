/**
 * Memory that traces work in. It is large but hardly used, and used again: given back and asked for anew,
 * an allocator would clear all of it each time and so make it real.
 */
import type { ConntrackBuffers } from "../conntrack/layout.ts";
import { makePortBlocks } from "../counters.ts";
import { COUNTER_STRIDE, type FlowTableBuffers, STATS_SIZE } from "../flow_table/layout.ts";
import { PacketPool, SLOT_SIZE } from "../packet/packet_pool.ts";
import { makeUpcallRing } from "../upcall_ring.ts";
import { PrivateTracker } from "./connections.ts";

/** Buffers: one packet with as many copies as may wait. */
const SLOTS = 32;

/** What one trace at a time works in, for flow tables of one size. */
export class TraceMemory {
  readonly portCounters: BigUint64Array = new BigUint64Array(makePortBlocks());
  readonly pool: PacketPool = new PacketPool(new ArrayBuffer(SLOTS * SLOT_SIZE), 0, SLOTS);
  readonly upcalls: SharedArrayBuffer = makeUpcallRing();
  readonly tracker: PrivateTracker = new PrivateTracker();
  readonly #statistics: Pick<FlowTableBuffers, "threads" | "stats" | "maskUsage" | "counters">;
  readonly #recordsMax: number;
  readonly #masksMax: number;

  constructor({ recordsMax, masksMax }: FlowTableBuffers) {
    this.#recordsMax = recordsMax;
    this.#masksMax = masksMax;
    this.#statistics = {
      threads: 1,
      stats: [new SharedArrayBuffer(recordsMax * STATS_SIZE)],
      maskUsage: [new SharedArrayBuffer(masksMax * 4)],
      counters: new SharedArrayBuffer(COUNTER_STRIDE * 8),
    };
  }

  /** Whether it is good for this table. */
  fits({ recordsMax, masksMax }: FlowTableBuffers): boolean {
    return recordsMax === this.#recordsMax && masksMax === this.#masksMax;
  }

  /** The same flow table, counted here. */
  privateStatistics(buffers: FlowTableBuffers): FlowTableBuffers {
    return { ...buffers, ...this.#statistics };
  }

  /** A tracker without connections. */
  emptyTracker(): ConntrackBuffers {
    return this.tracker.empty();
  }
}
