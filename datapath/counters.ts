/**
 * Where each counter lies in the shared counter blocks, and sums over threads for the control side.
 *
 * Every packet thread has, per datapath, one datapath block and one block of port blocks. Only that
 * thread writes them, without atomics; anybody may read them (a reader can see a packet counted in
 * one place and not yet in another, which is why the accounting identity
 * received + generated + copied = sent + dropped + consumed + held
 * holds only while the threads are quiescent). Nothing is ever cleared by a reader: it keeps a baseline.
 */
import { DROP_REASONS, type DropReasonName } from "./drop_reasons.ts";

/** Drop reasons that a block has room for. */
export const DROP_REASONS_MAX = 64;

// Datapath block.
/** Packets that matched a flow. */
export const HIT = 0;
export const MISSED = 1;
/** Misses that nothing took up. */
export const LOST = 2;
/** Packets handed over by ports, those dropped at reception included. */
export const RECEIVED = 3;
/** Packets made here: segments of trains. */
export const GENERATED = 4;
/** Packets made by sending one packet more than once. */
export const COPIED = 5;
/** Packets that a port took. */
export const SENT = 6;
export const DROPPED = 7;
/** Packets that became something else: trains that were segmented. */
export const CONSUMED = 8;
/** Packets that wait somewhere inside. */
export const HELD = 9;
/** Samples that psample actions have taken. No packets of their own. */
export const SAMPLED = 10;
/** First of the counters by drop reason. */
export const DROPS = 16;
/** Counters in a datapath block. */
export const DATAPATH_BLOCK_LENGTH: number = DROPS + DROP_REASONS_MAX;

// Port block; its beginning is portBlockAt(portNo).
export const RX_PACKETS = 0;
export const RX_BYTES = 1;
/** Packets lost at reception: a reason that names the receiving side. */
export const RX_DROPPED = 2;
export const TX_PACKETS = 3;
export const TX_BYTES = 4;
/** Packets that an output to this port could not deliver. */
export const TX_DROPPED = 5;
/** Upcalls of packets from this port that were put into a queue. */
export const UPCALL_PACKETS = 6;
/** Upcalls that were lost: nobody listens, or the queue was full. */
export const UPCALL_ERRORS = 7;
/** First of the counters by drop reason: at reception and output, and for packets from this port that a flow dropped. */
export const PORT_DROPS = 8;
/** Counters in a port block. */
export const PORT_BLOCK_LENGTH: number = PORT_DROPS + DROP_REASONS_MAX;

/** Ports that have a block: 0 … 65534, and PORT_NONE for drops of packets from no port. */
export const PORT_BLOCKS = 65536;

/** Index of a port's first counter. */
export function portBlockAt(portNo: number): number {
  return portNo * PORT_BLOCK_LENGTH;
}

/** Memory of one thread's datapath block. */
export function makeDatapathBlock(): SharedArrayBuffer {
  return new SharedArrayBuffer(DATAPATH_BLOCK_LENGTH * 8);
}

/** Memory of one thread's port blocks: 37 MiB of address space, of which only used ports cost memory. */
export function makePortBlocks(): SharedArrayBuffer {
  return new SharedArrayBuffer(PORT_BLOCKS * PORT_BLOCK_LENGTH * 8);
}

/** Sums a range of counters over the threads' blocks, as plain numbers (exact up to 2^53), less `baseline`. */
export function sumCounters(
  blocks: readonly BigUint64Array[],
  range: { readonly at: number; readonly length: number },
  baseline?: readonly number[],
): number[] {
  const sums: number[] = [];
  for (let index = 0; index < range.length; index++) {
    let sum = 0n;
    for (const block of blocks) sum += block[range.at + index]!;
    // One thread may take back what another has counted: its own counter is then below 0.
    sums.push(Number(BigInt.asUintN(64, sum)) - (baseline?.[index] ?? 0));
  }
  return sums;
}

/** Sums of whole datapath blocks, to be read with the index constants. */
export function sumDatapath(blocks: readonly BigUint64Array[], baseline?: number[]): number[] {
  return sumCounters(blocks, { at: 0, length: DATAPATH_BLOCK_LENGTH }, baseline);
}

/** Sums of one port's blocks, to be read with the index constants. */
export function sumPort(
  blocks: readonly BigUint64Array[],
  portNo: number,
  baseline?: readonly number[],
): number[] {
  const range = { at: portBlockAt(portNo), length: PORT_BLOCK_LENGTH };
  return sumCounters(blocks, range, baseline);
}

/** The nonzero drop counters among sums, by name. `at` is DROPS or PORT_DROPS. */
export function dropsByName(
  sums: readonly number[],
  at: number,
): Partial<Record<DropReasonName, number>> {
  const drops: Partial<Record<DropReasonName, number>> = {};
  DROP_REASONS.forEach(([name], index) => {
    const count = sums[at + index] ?? 0;
    if (count !== 0) drops[name] = count;
  });
  return drops;
}
