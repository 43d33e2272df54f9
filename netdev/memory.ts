/**
 * Memory that has an address: packet pools, structures that the kernel reads, rings.
 *
 * Nothing is ever unmapped, because touching a view after that ends the process. What is given back
 * serves the next request of its size; a ring is first mapped over with fresh zero pages (its views
 * stay valid, its memory is free).
 */
import { makeBlockSum } from "../datapath/packet/block_sum.ts";
import { sumFaster } from "../datapath/packet/checksum.ts";
import type { PacketBuffer } from "../datapath/packet/packet.ts";
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { SystemError } from "./system_error.ts";

/** A mapping as packets see it. */
export interface MappedBuffer {
  readonly buffer: PacketBuffer;
  /** Bytes. */
  readonly size: number;
}

const WASM_PAGE_SIZE = 65536;
const NO_OFFSET = 0n;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** Areas of zeros that were given back, by size. */
const free = new Map<number, MappedBuffer[]>();

/** Maps `size` bytes of zeros, page-aligned; pages are taken when they are first touched. Lives as long as the process, or until {@link recycleBuffer}. Throws SystemError. */
export function allocateBuffer(size: number): MappedBuffer {
  return free.get(size)?.pop() ?? mapZeros(size);
}

/**
 * Zeros for a thread's packets, as long as the process lives: in a WebAssembly memory, so that
 * checksums of what lies in it are computed by SIMD (datapath/packet/block_sum.ts). Where there is no
 * such memory to be had, plain ones. Throws SystemError.
 */
export function allocatePacketMemory(size: number): PacketBuffer {
  const pages = Math.ceil(size / WASM_PAGE_SIZE);
  try {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const { buffer } = memory;
    if (!(buffer instanceof ArrayBuffer)) throw new TypeError("a shared memory was not asked for");
    sumFaster(buffer, makeBlockSum(memory));
    const bytes = new Uint8Array(buffer);
    const address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
    return { bytes, view: new DataView(buffer), address };
  } catch {
    return allocateBuffer(size).buffer; // address space is limited (ulimit -v), or no SIMD
  }
}

/** Gives a buffer back for the next {@link allocateBuffer} of its size. Nobody, the kernel included, may use its address any more. */
export function recycleBuffer(area: MappedBuffer): void {
  area.buffer.bytes.fill(0);
  keep(area);
}

function mapZeros(size: number): MappedBuffer {
  const at = map(libc(), null, size, {
    flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
    fd: -1,
  });
  const bytes = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(at, size));
  const view = new DataView(bytes.buffer);
  return { buffer: { bytes, view, address: addressOf(at) }, size };
}

/** Pointer object for byte `at` of a mapping, for calls; 100 ns, so make it once. */
export function pointerTo(buffer: PacketBuffer, at = 0): Deno.PointerObject {
  const pointer = Deno.UnsafePointer.create(BigInt(buffer.address + at));
  if (pointer === null) throw new Error("a mapping has no null address");
  return pointer;
}

/** Told of each ring that is mapped or given back. */
type RingNote = (address: number, size: number, isMapped: boolean) => void;

let note: RingNote = () => {};

/** From now on `to` hears of every ring of this isolate (descriptors.ts). */
export function noteRings(to: RingNote): void {
  note = to;
}

/** Maps the first `size` bytes of a socket's ring. Throws SystemError. */
export function mapRing(fd: number, size: number): MappedBuffer {
  const area = allocateBuffer(size);
  try {
    map(libc(), pointerTo(area.buffer), size, { flags: MAP_SHARED | MAP_FIXED, fd });
  } catch (error) {
    keep(area);
    throw error;
  }
  note(area.buffer.address, size, true);
  return area;
}

/** Gives a ring's memory back to the kernel. Its views read zeros from now on. */
export function unmapRing(area: MappedBuffer): void {
  coverRing(area.buffer.address, area.size);
  note(area.buffer.address, area.size, false);
  keep(area);
}

/** Puts pages of zeros in place of a ring, which may be another isolate's. Throws SystemError. */
export function coverRing(address: number, size: number): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  map(libc(), Deno.UnsafePointer.create(BigInt(address)), size, { flags, fd: -1 });
}

function keep(area: MappedBuffer): void {
  const areas = free.get(area.size);
  if (areas === undefined) free.set(area.size, [area]);
  else areas.push(area);
}

interface MapOptions {
  readonly flags: number;
  readonly fd: number;
}

function map(
  calls: Libc,
  at: Deno.PointerValue,
  size: number,
  options: MapOptions,
): Deno.PointerObject {
  const protection = PROT_READ | PROT_WRITE;
  const { flags, fd } = options;
  const result = calls.memory.mmap(at, BigInt(size), protection, flags, fd, NO_OFFSET);
  if (result === null || Deno.UnsafePointer.value(result) === MAP_FAILED) {
    const errno = calls.errno();
    throw new SystemError({ doing: `map ${size} bytes of memory`, syscall: "mmap", errno });
  }
  return result;
}

function addressOf(pointer: Deno.PointerObject): number {
  return Number(Deno.UnsafePointer.value(pointer));
}
