/**
 * TAP devices (Documentation/networking/tuntap.rst): one read or write per frame, each frame behind
 * a `virtio_net_hdr`, so that segment trains and partial checksums pass both ways.
 *
 * A segment train inside a tunnel (csumStart behind an outer UDP or GRE header) can't be sent: the
 * header has no word for it. The pipeline segments those before.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import {
  EAGAIN,
  EBADFD,
  EINTR,
  EINVAL,
  EIO,
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_TAP,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  IFNAMSIZ,
  ifreq,
  iovec,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
  TUN_F_CSUM,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_TSO_ECN,
  TUN_F_USO4,
  TUN_F_USO6,
  TUNGETVNETHDRSZ,
  TUNSETIFF,
  TUNSETOFFLOAD,
  TUNSETPERSIST,
  TUNSETVNETHDRSZ,
  virtio_net_hdr,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, pointerTo, recycleBuffer } from "./memory.ts";
import { Rtnetlink } from "./rtnetlink.ts";
import { SystemError } from "./system_error.ts";
import { readVnetHeader, writeVnetHeader } from "./vnet_header.ts";

export interface TapOptions {
  /** Whether the device outlives its queues; absent: as it is. */
  readonly persist?: boolean | undefined;
  /** Default true: several queues may be open at once. */
  readonly multiQueue?: boolean | undefined;
  /** Default true: offload state travels with the frames. */
  readonly vnetHeader?: boolean | undefined;
  /** Default false: a device of that name must not exist (EBUSY). */
  readonly exclusive?: boolean | undefined;
}

/** What is asked for of TUNSETOFFLOAD, best first; the first that the kernel takes counts. */
const OFFLOADS: readonly number[] = [
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
  TUN_F_CSUM,
  0,
];

/** Two iovecs, and room for a header. */
const HEADER_AT = 2 * iovec.size;
const SCRATCH_SIZE = 64;

const TX_QUEUE_FULL = dropReason("tx-queue-full");
const TX_ERROR = dropReason("tx-error");
const PORT_DOWN = dropReason("port-down");

/** One queue of a TAP device, non-blocking. */
export class TapQueue {
  /** Readable when a frame waits. */
  readonly fd: number;
  readonly name: string;
  /** Bytes in front of each frame: 10 or 12, 0 without vnetHeader. */
  readonly vnetHeaderSize: number;
  /** TUN_F_* bits of what the kernel hands us unfinished: CSUM 1, TSO4 2, TSO6 4, TSO_ECN 8, USO4 32, USO6 64. */
  readonly offloads: number;
  readonly #libc: Libc;
  readonly #readv: Libc["file"]["readv"];
  readonly #writev: Libc["file"]["writev"];
  readonly #scratch: MappedBuffer;
  readonly #iov: Deno.PointerObject;
  #closed = false;

  /** Opens a queue of the TAP device `name`, which is made when there is none. Throws SystemError and leaves nothing behind. */
  static open(name: string, options: TapOptions = {}): TapQueue {
    return new TapQueue(name, options);
  }

  private constructor(name: string, options: TapOptions) {
    this.#libc = libc();
    this.#readv = this.#libc.file.readv;
    this.#writev = this.#libc.file.writev;
    this.name = name;
    this.fd = openDevice(this.#libc, name);
    let scratch: MappedBuffer | undefined;
    try {
      scratch = allocateBuffer(SCRATCH_SIZE);
      this.#scratch = scratch;
      this.#iov = pointerTo(scratch.buffer);
      this.#attach(options);
      const vnetHeader = options.vnetHeader ?? true;
      this.vnetHeaderSize = vnetHeader ? this.#agreeOnHeader() : 0;
      this.offloads = vnetHeader ? this.#agreeOnOffloads() : 0;
      if (options.persist !== undefined) this.setPersistent(options.persist);
    } catch (error) {
      this.#libc.file.close(this.fd);
      if (scratch !== undefined) recycleBuffer(scratch);
      throw error;
    }
  }

  /** Whether {@link send} takes packets with needsCsum. */
  get takesPartialChecksums(): boolean {
    return this.vnetHeaderSize > 0;
  }

  /** Whether {@link send} takes packets with a gsoType. */
  get takesSegmentTrains(): boolean {
    return this.vnetHeaderSize > 0;
  }

  /** Makes the device outlive its queues, or not. Throws SystemError. */
  setPersistent(on: boolean): void {
    if (this.#libc.file.ioctlValue(this.fd, BigInt(TUNSETPERSIST), on ? 1n : 0n) < 0) {
      this.#fail("TUNSETPERSIST");
    }
  }

  /**
   * Reads one frame into the packet from `packet.start` on, in front of which the header needs 12 bytes
   * of headroom, and sets `end` and the offload fields. Returns the frame's size; 0: none waits; < 0:
   * −errno (−EINVAL: one frame lost whose offload state the kernel could not express, go on).
   */
  receive(packet: Packet): number {
    const headerSize = this.vnetHeaderSize;
    const at = packet.start - headerSize;
    this.#setIovec(0, packet.buffer.address + at, packet.tailLimit - at);
    const got = this.#readv(this.fd, this.#iov, 1);
    if (got < 0) {
      const errno = this.#libc.errno();
      return errno === EAGAIN || errno === EINTR ? 0 : -errno;
    }
    const size = got - headerSize;
    if (size <= 0) return -EINVAL;
    packet.end = packet.start + size;
    if (headerSize > 0) {
      readVnetHeader(packet.view, at, packet);
    } else {
      packet.needsCsum = false;
      packet.csumValid = false;
      packet.gsoType = 0;
    }
    return size;
  }

  /** Writes one frame at once. Returns 0, or why the device did not take it. */
  send(packet: Packet): DropReason {
    const headerSize = this.vnetHeaderSize;
    const { address } = packet.buffer;
    let pieces = 1;
    if (headerSize === 0) {
      this.#setIovec(0, address + packet.start, packet.end - packet.start);
    } else {
      // Not in the packet's headroom, which may be lent to somebody.
      this.#writeHeader(this.#scratch.buffer.view, HEADER_AT, packet);
      this.#setIovec(0, this.#scratch.buffer.address + HEADER_AT, headerSize);
      this.#setIovec(iovec.size, address + packet.start, packet.end - packet.start);
      pieces = 2;
    }
    for (;;) {
      if (this.#writev(this.fd, this.#iov, pieces) >= 0) return 0;
      const errno = this.#libc.errno();
      if (errno !== EINTR) return reasonOf(errno);
    }
  }

  /** Closes the queue; a device that is not persistent vanishes with its last one. Never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc.file.close(this.fd);
    recycleBuffer(this.#scratch);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #attach(options: TapOptions): void {
    let flags = IFF_TAP | IFF_NO_PI;
    if (options.vnetHeader ?? true) flags |= IFF_VNET_HDR;
    if (options.multiQueue ?? true) flags |= IFF_MULTI_QUEUE;
    if (options.exclusive ?? false) flags |= IFF_TUN_EXCL;
    const request = new DataView(new ArrayBuffer(ifreq.size));
    new TextEncoder().encodeInto(this.name, new Uint8Array(request.buffer, 0, IFNAMSIZ - 1));
    request.setUint16(ifreq.ifr_flags, flags, true);
    if (this.#libc.file.ioctl(this.fd, BigInt(TUNSETIFF), request) < 0) this.#fail("TUNSETIFF");
  }

  /** Header size of the device: 10 if it lets us say so. */
  #agreeOnHeader(): number {
    const size = new Int32Array([virtio_net_hdr.size]);
    if (this.#libc.file.ioctl(this.fd, BigInt(TUNSETVNETHDRSZ), size) === 0) return size[0] ?? 0;
    if (this.#libc.file.ioctl(this.fd, BigInt(TUNGETVNETHDRSZ), size) < 0) {
      this.#fail("TUNGETVNETHDRSZ");
    }
    return size[0] ?? 0;
  }

  #agreeOnOffloads(): number {
    for (const offloads of OFFLOADS) {
      const taken = this.#libc.file.ioctlValue(this.fd, BigInt(TUNSETOFFLOAD), BigInt(offloads));
      if (taken === 0) return offloads;
      if (this.#libc.errno() !== EINVAL) break;
    }
    return this.#fail("TUNSETOFFLOAD");
  }

  #writeHeader(view: DataView, at: number, packet: Packet): void {
    writeVnetHeader(view, at, packet);
    // num_buffers of the 12-byte form, which senders leave 0.
    if (this.vnetHeaderSize === 12) view.setUint16(at + virtio_net_hdr.size, 0, true);
  }

  #setIovec(at: number, address: number, size: number): void {
    const { view } = this.#scratch.buffer;
    view.setUint32(at + iovec.iov_base, address >>> 0, true);
    view.setUint32(at + iovec.iov_base + 4, (address / 0x1_0000_0000) >>> 0, true);
    view.setUint32(at + iovec.iov_len, size, true);
  }

  #fail(request: string): never {
    const errno = this.#libc.errno();
    const hint = request === "TUNSETIFF" && errno === EINVAL
      ? "a device of that name is no multi-queue TAP device"
      : undefined;
    const doing = `open tap "${this.name}"`;
    throw new SystemError({ doing, syscall: `ioctl(${request})`, errno, hint });
  }
}

/** Makes a TAP device that stays when we end. Throws SystemError (EBUSY: the name is taken) and leaves nothing behind. */
export function createPersistentTap(
  name: string,
  options: { readonly mac?: string | undefined; readonly multiQueue?: boolean | undefined } = {},
): void {
  using queue = TapQueue.open(name, { multiQueue: options.multiQueue, exclusive: true });
  if (options.mac !== undefined) {
    using net = new Rtnetlink();
    const link = net.linkByName(name);
    if (link !== undefined) net.setMac(link.ifindex, options.mac);
  }
  queue.setPersistent(true);
}

/** Removes a persistent TAP device, as soon as nobody has a queue of it open. Throws SystemError. */
export function deletePersistentTap(name: string): void {
  using _queue = TapQueue.open(name, { persist: false });
}

function openDevice(calls: Libc, name: string): number {
  const path = new TextEncoder().encode("/dev/net/tun\0");
  const fd = calls.file.open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) {
    const doing = `open tap "${name}"`;
    throw new SystemError({ doing, syscall: "open(/dev/net/tun)", errno: calls.errno() });
  }
  return fd;
}

function reasonOf(errno: number): DropReason {
  switch (errno) {
    case EAGAIN:
      return TX_QUEUE_FULL;
    case EIO: // the device is down
    case EBADFD: // the device is gone
      return PORT_DOWN;
    default:
      return TX_ERROR;
  }
}
