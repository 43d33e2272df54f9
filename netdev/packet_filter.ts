/**
 * The classic BPF program of a packet socket: keeps frames that came in by one of a list of devices,
 * and drops what the host itself sent. Run by the kernel, before a frame costs a ring slot.
 */
import {
  BPF_ABS,
  BPF_JA,
  BPF_JEQ,
  BPF_JGE,
  BPF_JMP,
  BPF_K,
  BPF_LD,
  BPF_RET,
  BPF_W,
  SKF_AD_IFINDEX,
  SKF_AD_OFF,
  sock_filter,
} from "./abi.ts";

/** linux/if_packet.h PACKET_OUTGOING, and the offset of its field for filters (linux/filter.h). */
const PACKET_OUTGOING = 4;
const SKF_AD_PKTTYPE = 4;
/** Kernel's limit on classic programs (BPF_MAXINSNS). */
const INSTRUCTIONS_MAX = 4096;
/** So many devices are told apart by comparing one after the other; more by halving first. */
const LEAF = 8;
const ALL = 0xffff_ffff;

/** One instruction: code, jump if true, jump if false, operand. */
type Instruction = readonly [code: number, jt: number, jf: number, k: number];

const KEEP: Instruction = [BPF_RET | BPF_K, 0, 0, ALL];
const DROP: Instruction = [BPF_RET | BPF_K, 0, 0, 0];

function load(offset: number): Instruction {
  return [BPF_LD | BPF_W | BPF_ABS, 0, 0, (SKF_AD_OFF + offset) >>> 0];
}

/** Instructions that keep exactly the devices `sorted[from, to)` of those they are asked about. */
function choose(sorted: readonly number[], from: number, to: number): Instruction[] {
  const count = to - from;
  if (count <= LEAF) {
    const tests = sorted.slice(from, to).map((ifindex, at): Instruction => [
      BPF_JMP | BPF_JEQ | BPF_K,
      count - at,
      0,
      ifindex,
    ]);
    return [...tests, DROP, KEEP];
  }
  // Whole leaves: the fewer, the more devices fit.
  const middle = from + Math.ceil(count / LEAF / 2) * LEAF;
  const low = choose(sorted, from, middle);
  const high = choose(sorted, middle, to);
  // Conditional jumps reach 255 instructions, BPF_JA any distance.
  return [
    [BPF_JMP | BPF_JGE | BPF_K, 0, 1, sorted[middle] ?? 0],
    [BPF_JMP | BPF_JA, 0, 0, low.length],
    ...low,
    ...high,
  ];
}

/**
 * The program, as an array of `struct sock_filter`. An empty list drops all. More devices than a
 * program can hold (about 2,600): it keeps every device, and the receiver sorts them out.
 */
export function ifindexFilter(ifindexes: Iterable<number>): Uint8Array<ArrayBuffer> {
  const sorted = [...new Set(ifindexes)].sort((a, b) => a - b);
  if (sorted.length === 0) return assemble([DROP]);
  const incoming: Instruction[] = [
    load(SKF_AD_PKTTYPE),
    [BPF_JMP | BPF_JEQ | BPF_K, 0, 1, PACKET_OUTGOING],
    DROP,
  ];
  const program = [...incoming, load(SKF_AD_IFINDEX), ...choose(sorted, 0, sorted.length)];
  return assemble(program.length <= INSTRUCTIONS_MAX ? program : [...incoming, KEEP]);
}

function assemble(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(program.length * sock_filter.size));
  program.forEach(([code, jt, jf, k], index) => {
    const at = index * sock_filter.size;
    view.setUint16(at + sock_filter.code, code, true);
    view.setUint8(at + sock_filter.jt, jt);
    view.setUint8(at + sock_filter.jf, jf);
    view.setUint32(at + sock_filter.k, k, true);
  });
  return new Uint8Array(view.buffer);
}
