/** Making, loading and attaching BPF programs, and maps for them: bpf(2). */
import {
  BPF_ADD,
  BPF_ALU64,
  bpf_attr,
  BPF_ATTR_SIZE,
  BPF_CALL,
  BPF_DW,
  BPF_EXIT,
  BPF_F_BEFORE,
  BPF_H,
  BPF_IMM,
  bpf_insn,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_JMP,
  BPF_JNE,
  BPF_K,
  BPF_LD,
  BPF_LDX,
  BPF_LINK_CREATE,
  BPF_LSH,
  BPF_MAP_CREATE,
  BPF_MAP_UPDATE_ELEM,
  BPF_MEM,
  BPF_MOD,
  BPF_MOV,
  BPF_OR,
  BPF_PROG_LOAD,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PSEUDO_MAP_FD,
  BPF_STX,
  BPF_TCX_INGRESS,
  BPF_W,
  BPF_X,
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

/** destination = half word (2), word (4) or long (8 bytes) at [source + offset], in the machine's byte order */
export function load(
  destination: number,
  source: number,
  place: { readonly offset: number; readonly size: 2 | 4 | 8 },
): Instruction {
  const { offset, size } = place;
  const width = size === 2 ? BPF_H : size === 4 ? BPF_W : BPF_DW;
  return { code: BPF_LDX | BPF_MEM | width, destination, source, offset, immediate: 0 };
}

/** 32-bit word at [destination + offset] = source */
export function storeWord(destination: number, offset: number, source: number): Instruction {
  return { code: BPF_STX | BPF_MEM | BPF_W, destination, source, offset, immediate: 0 };
}

/** destination = source */
export function copy(destination: number, source: number): Instruction {
  return { code: BPF_ALU64 | BPF_MOV | BPF_X, destination, source, offset: 0, immediate: 0 };
}

/** register = register operation immediate, 64 bits wide */
export function calculate(
  register: number,
  operation: "+" | "|" | "<<" | "%",
  immediate: number,
): Instruction {
  const code = BPF_ALU64 | BPF_K | OPERATIONS[operation];
  return { code, destination: register, source: 0, offset: 0, immediate };
}

const OPERATIONS = { "+": BPF_ADD, "|": BPF_OR, "<<": BPF_LSH, "%": BPF_MOD } as const;

/** Jumps over `offset` instructions if register a is greater than register b, unsigned. */
export function jumpIfGreater(a: number, b: number, offset: number): Instruction {
  const code = BPF_JMP | BPF_JGT | BPF_X;
  return { code, destination: a, source: b, offset, immediate: 0 };
}

/** destination = the map with this descriptor: two instructions */
export function loadMap(destination: number, mapFd: number): readonly Instruction[] {
  const code = BPF_LD | BPF_IMM | BPF_DW;
  return [
    { code, destination, source: BPF_PSEUDO_MAP_FD, offset: 0, immediate: mapFd },
    { code: 0, destination: 0, source: 0, offset: 0, immediate: 0 },
  ];
}

/** R0 = helper(R1 … R5), which forgets R1 … R5 */
export function call(helper: number): Instruction {
  return { code: BPF_JMP | BPF_CALL, destination: 0, source: 0, offset: 0, immediate: helper };
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

/** What a map is made as. */
export interface MapKind {
  /** BPF_MAP_TYPE_*, with keys and values of 4 bytes. */
  readonly type: number;
  readonly entriesMax: number;
}

/** Makes a map; returns its descriptor. Throws SystemError. `doing` follows "Cannot". */
export function createMap(calls: Libc, kind: MapKind, doing: string): number {
  const attributes = new DataView(new ArrayBuffer(BPF_ATTR_SIZE));
  attributes.setUint32(bpf_attr.map_type, kind.type, true);
  attributes.setUint32(bpf_attr.key_size, 4, true);
  attributes.setUint32(bpf_attr.value_size, 4, true);
  attributes.setUint32(bpf_attr.max_entries, kind.entriesMax, true);
  const fd = calls.kernel.bpf(SYS_bpf, BigInt(BPF_MAP_CREATE), attributes, BigInt(BPF_ATTR_SIZE));
  if (fd < 0) {
    throw new SystemError({ doing, syscall: "bpf(BPF_MAP_CREATE)", errno: calls.errno() });
  }
  return fd;
}

/** Sets a map's entry `key`. Throws SystemError. `doing` follows "Cannot". */
export function updateMap(
  calls: Libc,
  mapFd: number,
  entry: { readonly key: number; readonly value: number; readonly doing: string },
): void {
  const { key, value, doing } = entry;
  const memory = allocateBuffer(roundUp(8));
  const { view, address } = memory.buffer;
  view.setUint32(0, key, true);
  view.setUint32(4, value, true);
  const attributes = new DataView(new ArrayBuffer(BPF_ATTR_SIZE));
  attributes.setUint32(bpf_attr.map_fd, mapFd, true);
  attributes.setBigUint64(bpf_attr.key, BigInt(address), true);
  attributes.setBigUint64(bpf_attr.value, BigInt(address + 4), true);
  const command = BigInt(BPF_MAP_UPDATE_ELEM);
  const result = calls.kernel.bpf(SYS_bpf, command, attributes, BigInt(BPF_ATTR_SIZE));
  const errno = result < 0 ? calls.errno() : 0;
  recycleBuffer(memory);
  if (result < 0) throw new SystemError({ doing, syscall: "bpf(BPF_MAP_UPDATE_ELEM)", errno });
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
