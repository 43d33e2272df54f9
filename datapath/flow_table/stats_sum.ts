/** Sums what the packet threads counted. Reads shared memory that others write; never writes. */
import {
  COUNTER_STRIDE,
  type FlowTableBuffers,
  STATS_BYTES,
  STATS_FLAGS,
  STATS_PACKETS,
  STATS_TAG,
  STATS_USED,
} from "./layout.ts";

export interface FlowStatistics {
  packets: number;
  bytes: number;
  /** Time of the last packet in the clock of `FlowTableReader.count`; 0: never. */
  usedMs: number;
  /** OR of the TCP flags. */
  tcpFlags: number;
}

export class StatsSum {
  readonly #longs: readonly BigUint64Array[];
  readonly #doubles: readonly Float64Array[];
  readonly #ints: readonly Int32Array<SharedArrayBuffer>[];
  readonly #counters: Float64Array;
  readonly #threads: number;

  constructor(buffers: FlowTableBuffers) {
    this.#longs = buffers.stats.map((stats) => new BigUint64Array(stats));
    this.#doubles = buffers.stats.map((stats) => new Float64Array(stats));
    this.#ints = buffers.stats.map((stats) => new Int32Array(stats));
    this.#counters = new Float64Array(buffers.counters);
    this.#threads = buffers.threads;
  }

  /** Statistics of a flow from the blocks that carry its tag. */
  flow(flow: number, tag: number): FlowStatistics {
    const sum: FlowStatistics = { packets: 0, bytes: 0, usedMs: 0, tcpFlags: 0 };
    for (let thread = 0; thread < this.#threads; thread++) {
      const ints = this.#ints[thread]!;
      if (Atomics.load(ints, (flow << 3) + STATS_TAG) !== tag) continue;
      const at = flow << 2;
      sum.packets += Number(this.#longs[thread]![at + STATS_PACKETS]!);
      sum.bytes += Number(this.#longs[thread]![at + STATS_BYTES]!);
      sum.usedMs = Math.max(sum.usedMs, this.#doubles[thread]![at + STATS_USED]!);
      sum.tcpFlags |= ints[(flow << 3) + STATS_FLAGS]!;
    }
    return sum;
  }

  /** A counter (COUNTER_*) summed over the threads. */
  counter(which: number): number {
    let sum = 0;
    for (let thread = 0; thread < this.#threads; thread++) {
      sum += this.#counters[thread * COUNTER_STRIDE + which]!;
    }
    return sum;
  }
}
