/** Making, loading and attaching BPF programs: bpf(2). */
import {
  BPF_ALU64,
  bpf_attr,
  BPF_ATTR_SIZE,
  BPF_EXIT,
  BPF_F_BEFORE,
  bpf_insn,
  BPF_JEQ,
  BPF_JGE,
  BPF_JMP,
  BPF_JNE,
  BPF_K,
  BPF_LDX,
  BPF_LINK_CREATE,
  BPF_MEM,
  BPF_MOV,
  BPF_PROG_LOAD,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_TCX_INGRESS,
  BPF_W,
  SYS_bpf_aarch64,
  SYS_bpf_x86_64,
  TCX_DROP,
} from "./abi.ts";
import type { Libc } from "./libc.ts";
import { allocateBuffer, recycleBuffer } from "./memory.ts";
import { SystemError } from "./system_error.ts";

const SYS_bpf = BigInt(Deno.build.arch === "x86_64" ? SYS_bpf_x86_64 : SYS_bpf_aarch64);
const LICENSE = "Apache-2.0\0";

/** One instruction (struct bpf_insn). Registers by number; R0 is the result, R1 the context at the start. */
export interface Instruction {
  readonly code: number;
  readonly destination: number;
  readonly source: number;
  /** Bytes from a base register, or instructions to jump over. */
  readonly offset: number;
  readonly immediate: number;
}

/** destination = immediate */
export function move(destination: number, immediate: number): Instruction {
  const code = BPF_ALU64 | BPF_MOV | BPF_K;
  return { code, destination, source: 0, offset: 0, immediate };
}

/** destination = 32-bit word at [source + offset] */
export function loadWord(destination: number, source: number, offset: number): Instruction {
  return { code: BPF_LDX | BPF_MEM | BPF_W, destination, source, offset, immediate: 0 };
}

/** Jumps over `offset` instructions if the register compares so with the immediate, unsigned. */
export function jump(
  comparison: "==" | "!=" | ">=",
  register: number,
  immediate: number,
  offset: number,
): Instruction {
  const operation = comparison === "==" ? BPF_JEQ : comparison === "!=" ? BPF_JNE : BPF_JGE;
  const code = BPF_JMP | operation | BPF_K;
  return { code, destination: register, source: 0, offset, immediate };
}

/** Returns R0. */
export const EXIT: Instruction = {
  code: BPF_JMP | BPF_EXIT,
  destination: 0,
  source: 0,
  offset: 0,
  immediate: 0,
};

/** A program to load. */
export interface Program {
  /** BPF_PROG_TYPE_* */
  readonly type: number;
  /** Shown by bpftool; at most 15 characters. */
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

/** Loads a program; returns its descriptor. Throws SystemError. `doing` follows "Cannot". */
export function loadProgram(calls: Libc, program: Program, doing: string): number {
  const { type, name, instructions } = program;
  const size = instructions.length * bpf_insn.size;
  const memory = allocateBuffer(roundUp(size + LICENSE.length));
  const { view, bytes, address } = memory.buffer;
  instructions.forEach((each, index) => {
    const at = index * bpf_insn.size;
    view.setUint8(at + bpf_insn.code, each.code);
    view.setUint8(at + bpf_insn.code + 1, each.destination | (each.source << 4));
    view.setInt16(at + bpf_insn.off, each.offset, true);
    view.setInt32(at + bpf_insn.imm, each.immediate, true);
  });
  new TextEncoder().encodeInto(LICENSE, bytes.subarray(size));
  const attributes = new DataView(new ArrayBuffer(BPF_ATTR_SIZE));
  attributes.setUint32(bpf_attr.prog_type, type, true);
  attributes.setUint32(bpf_attr.insn_cnt, instructions.length, true);
  attributes.setBigUint64(bpf_attr.insns, BigInt(address), true);
  attributes.setBigUint64(bpf_attr.license, BigInt(address + size), true);
  new TextEncoder().encodeInto(name, new Uint8Array(attributes.buffer, bpf_attr.prog_name, 15));
  const fd = calls.kernel.bpf(SYS_bpf, BigInt(BPF_PROG_LOAD), attributes, BigInt(BPF_ATTR_SIZE));
  const errno = fd < 0 ? calls.errno() : 0;
  recycleBuffer(memory);
  if (fd < 0) throw new SystemError({ doing, syscall: "bpf(BPF_PROG_LOAD)", errno });
  return fd;
}

/** Loads a traffic-control program that drops every packet; returns its descriptor. Throws SystemError. */
export function loadDropProgram(calls: Libc, doing: string): number {
  const instructions = [move(0, TCX_DROP), EXIT];
  const program = { type: BPF_PROG_TYPE_SCHED_CLS, name: "denovs_rx_drop", instructions };
  return loadProgram(calls, program, doing);
}

/** Puts a program in front of all others at a device's TCX ingress (Linux 6.6); returns the link's descriptor, whose end ends the attachment. Throws SystemError. */
export function attachTcxIngress(
  calls: Libc,
  programFd: number,
  target: { readonly ifindex: number; readonly doing: string },
): number {
  const attributes = new DataView(new ArrayBuffer(BPF_ATTR_SIZE));
  attributes.setUint32(bpf_attr["link_create.prog_fd"], programFd, true);
  attributes.setUint32(bpf_attr["link_create.target_fd"], target.ifindex, true);
  attributes.setUint32(bpf_attr["link_create.attach_type"], BPF_TCX_INGRESS, true);
  attributes.setUint32(bpf_attr["link_create.flags"], BPF_F_BEFORE, true);
  const fd = calls.kernel.bpf(SYS_bpf, BigInt(BPF_LINK_CREATE), attributes, BigInt(BPF_ATTR_SIZE));
  if (fd < 0) {
    const syscall = "bpf(BPF_LINK_CREATE)";
    throw new SystemError({ doing: target.doing, syscall, errno: calls.errno() });
  }
  return fd;
}

/** Programs' memory comes in few sizes, so that it is used again. */
function roundUp(size: number): number {
  let rounded = 4096;
  while (rounded < size) rounded *= 2;
  return rounded;
}
