/** Loading BPF programs and attaching them by links: bpf(2). */
import {
  BPF_ALU64,
  bpf_attr,
  BPF_ATTR_SIZE,
  BPF_EXIT,
  BPF_F_BEFORE,
  bpf_insn,
  BPF_JMP,
  BPF_K,
  BPF_LINK_CREATE,
  BPF_MOV,
  BPF_PROG_LOAD,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_TCX_INGRESS,
  SYS_bpf_aarch64,
  SYS_bpf_x86_64,
  TCX_DROP,
} from "./abi.ts";
import type { Libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer } from "./memory.ts";
import { SystemError } from "./system_error.ts";

const SYS_bpf = BigInt(Deno.build.arch === "x86_64" ? SYS_bpf_x86_64 : SYS_bpf_aarch64);
const LICENSE_AT = 2 * bpf_insn.size;
const PROGRAM_SIZE: number = LICENSE_AT + 16;

/** Memory of the program, which the kernel reads by address; made on first use. */
let program: MappedBuffer | undefined;

function dropProgram(): MappedBuffer {
  if (program !== undefined) return program;
  const made = allocateBuffer(PROGRAM_SIZE);
  const { view, bytes } = made.buffer;
  view.setUint8(bpf_insn.code, BPF_ALU64 | BPF_MOV | BPF_K); // r0 = TCX_DROP
  view.setInt32(bpf_insn.imm, TCX_DROP, true);
  view.setUint8(bpf_insn.size + bpf_insn.code, BPF_JMP | BPF_EXIT);
  new TextEncoder().encodeInto("Apache-2.0\0", bytes.subarray(LICENSE_AT));
  return program = made;
}

/** Loads a traffic-control program that drops every packet; returns its descriptor. Throws SystemError. */
export function loadDropProgram(calls: Libc, doing: string): number {
  const { address } = dropProgram().buffer;
  const attributes = new DataView(new ArrayBuffer(BPF_ATTR_SIZE));
  attributes.setUint32(bpf_attr.prog_type, BPF_PROG_TYPE_SCHED_CLS, true);
  attributes.setUint32(bpf_attr.insn_cnt, 2, true);
  attributes.setBigUint64(bpf_attr.insns, BigInt(address), true);
  attributes.setBigUint64(bpf_attr.license, BigInt(address + LICENSE_AT), true);
  const name = new Uint8Array(attributes.buffer, bpf_attr.prog_name, 15);
  new TextEncoder().encodeInto("denovs_rx_drop", name);
  const fd = calls.kernel.bpf(SYS_bpf, BigInt(BPF_PROG_LOAD), attributes, BigInt(BPF_ATTR_SIZE));
  if (fd < 0) {
    throw new SystemError({ doing, syscall: "bpf(BPF_PROG_LOAD)", errno: calls.errno() });
  }
  return fd;
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
