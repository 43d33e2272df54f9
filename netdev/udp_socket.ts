/**
 * A UDP socket for packet threads: datagrams to and from one peer, received into packets and sent
 * from packets' own memory, as many as are queued by one system call.
 */
import ipaddr from "ipaddr.js";
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  EINTR,
  EMSGSIZE,
  ENOBUFS,
  iovec,
  mmsghdr,
  MSG_DONTWAIT,
  MSG_TRUNC,
  msghdr,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  sockaddr_in,
  sockaddr_in6,
  SOL_SOCKET,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, pointerTo, recycleBuffer } from "./memory.ts";
import { openSocket, setOption } from "./socket.ts";
import { SystemError } from "./system_error.ts";

/** Datagrams of others, and errors, that one call of `receive` passes over. */
const ATTEMPTS_MAX = 64;
/** Datagrams queued at most. */
const BATCH_MAX = 32;
/** Layout of the memory that the kernel reads: messages, iovecs, the peer, what a datagram came from. */
const IOVECS_AT: number = (BATCH_MAX + 1) * mmsghdr.size;
const PEER_AT: number = IOVECS_AT + (BATCH_MAX + 1) * iovec.size;
const SENDER_AT: number = PEER_AT + 32;
const MEMORY_SIZE: number = SENDER_AT + 32;
/** The message after those of the batch is for receiving. */
const RECEIVE = BATCH_MAX;
const DOING = "open a UDP port";

const TX_QUEUE_FULL = dropReason("tx-queue-full");
const TX_ERROR = dropReason("tx-error");
const OVER_MTU = dropReason("over-mtu");

/** `address` is IPv4 or IPv6 without brackets. */
export interface UdpEnd {
  readonly address: string;
  readonly port: number;
}

export interface UdpSocketOptions {
  readonly local: UdpEnd;
  /** Of the same address family. Datagrams of others are ignored. */
  readonly remote: UdpEnd;
  /** Several threads bind the same local port (SO_REUSEPORT); the kernel spreads peers' ports over them. */
  readonly shared: boolean;
  /** Told of each queued datagram that the kernel refused. `size` in bytes. */
  refused(reason: DropReason, size: number): void;
}

/** Whether a text is an IPv4 or IPv6 address. */
export function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text);
}

export class UdpSocket {
  /** Readable when datagrams wait. */
  readonly fd: number;
  readonly #libc: Libc;
  readonly #options: UdpSocketOptions;
  readonly #memory: MappedBuffer;
  readonly #addressSize: number;
  readonly #messages: Deno.PointerObject[] = [];
  readonly #sizes: Int32Array = new Int32Array(BATCH_MAX);
  #count = 0;
  #closed = false;

  /** Binds the local end. Throws SystemError and leaves nothing behind. */
  constructor(options: UdpSocketOptions) {
    this.#libc = libc();
    this.#options = options;
    const local = socketAddress(options.local);
    const remote = socketAddress(options.remote);
    this.#addressSize = remote.length;
    this.#memory = allocateBuffer(MEMORY_SIZE);
    this.#prepare(remote);
    const domain = local.length === sockaddr_in.size ? AF_INET : AF_INET6;
    const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    let fd = -1;
    try {
      fd = openSocket(this.#libc, { domain, type, protocol: 0, label: "UDP", doing: DOING });
      if (options.shared) {
        const label = "SO_REUSEPORT";
        const option = { level: SOL_SOCKET, name: SO_REUSEPORT, label, doing: DOING };
        setOption(this.#libc, fd, option, 1);
      }
      if (this.#libc.socket.bind(fd, local, local.length) < 0) {
        const { address, port } = options.local;
        const errno = this.#libc.errno();
        throw new SystemError({ doing: DOING, syscall: `bind(${address} port ${port})`, errno });
      }
    } catch (error) {
      if (fd >= 0) this.#libc.file.close(fd);
      recycleBuffer(this.#memory);
      throw error;
    }
    this.fd = fd;
  }

  /** Reads one datagram of the peer to packet.start, setting `end`. Returns its size; -1: none waits. Longer ones than the packet has room for are left out. */
  receive(packet: Packet): number {
    const { view } = this.#memory.buffer;
    const room = packet.tailLimit - packet.start;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      this.#setIovec(RECEIVE, packet.buffer.address + packet.start, room);
      view.setUint32(RECEIVE * mmsghdr.size + msghdr.msg_namelen, sockaddr_in6.size, true);
      const got = this.#libc.socket.recvmsg(
        this.fd,
        this.#messages[RECEIVE]!,
        MSG_DONTWAIT | MSG_TRUNC,
      );
      if (got < 0) {
        // A pending error (ECONNREFUSED of an earlier datagram, say) is reported once, in place of one.
        const errno = this.#libc.errno();
        if (errno === EAGAIN) return -1;
        continue;
      }
      if (got > room || !this.#isPeer()) continue;
      packet.end = packet.start + got;
      return got;
    }
    return -1;
  }

  /** Queues [start, end), whose bytes must stay as they are until {@link flush}. */
  send(packet: Packet): DropReason {
    if (this.#count === BATCH_MAX) this.flush();
    const at = this.#count++;
    const size = packet.end - packet.start;
    this.#sizes[at] = size;
    this.#setIovec(at, packet.buffer.address + packet.start, size);
    return 0;
  }

  /** Sends what is queued; what the kernel refuses is reported. */
  flush(): void {
    const count = this.#count;
    let at = 0;
    while (at < count) {
      const sent = this.#libc.socket.sendmmsg(
        this.fd,
        this.#messages[at]!,
        count - at,
        MSG_DONTWAIT,
      );
      if (sent > 0) {
        at += sent;
        continue;
      }
      const errno = this.#libc.errno();
      if (errno === EINTR) continue;
      this.#options.refused(reasonOf(errno), this.#sizes[at]!);
      at++;
    }
    this.#count = 0;
  }

  /** Never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc.file.close(this.fd);
    recycleBuffer(this.#memory);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #isPeer(): boolean {
    const { view } = this.#memory.buffer;
    // Family, port and address; in6 has the flow label in between, which replies need not repeat.
    if (view.getUint32(SENDER_AT) !== view.getUint32(PEER_AT)) return false;
    if (this.#addressSize === sockaddr_in.size) {
      const at = sockaddr_in.sin_addr;
      return view.getUint32(SENDER_AT + at) === view.getUint32(PEER_AT + at);
    }
    for (let at = sockaddr_in6.sin6_addr; at < sockaddr_in6.sin6_addr + 16; at += 4) {
      if (view.getUint32(SENDER_AT + at) !== view.getUint32(PEER_AT + at)) return false;
    }
    return true;
  }

  #prepare(remote: Uint8Array): void {
    const { buffer } = this.#memory;
    buffer.bytes.set(remote, PEER_AT);
    for (let at = 0; at <= BATCH_MAX; at++) {
      const message = at * mmsghdr.size + mmsghdr.msg_hdr;
      const name = at === RECEIVE ? SENDER_AT : PEER_AT;
      this.#messages.push(pointerTo(buffer, at * mmsghdr.size));
      buffer.view.setBigUint64(message + msghdr.msg_name, BigInt(buffer.address + name), true);
      buffer.view.setUint32(message + msghdr.msg_namelen, remote.length, true);
      const iov = BigInt(buffer.address + IOVECS_AT + at * iovec.size);
      buffer.view.setBigUint64(message + msghdr.msg_iov, iov, true);
      buffer.view.setUint32(message + msghdr.msg_iovlen, 1, true);
    }
  }

  #setIovec(index: number, address: number, size: number): void {
    const { view } = this.#memory.buffer;
    const at = IOVECS_AT + index * iovec.size;
    view.setUint32(at + iovec.iov_base, address >>> 0, true);
    view.setUint32(at + iovec.iov_base + 4, (address / 0x1_0000_0000) >>> 0, true);
    view.setUint32(at + iovec.iov_len, size, true);
  }
}

/** `struct sockaddr_in` or `sockaddr_in6`. */
function socketAddress(end: UdpEnd): Uint8Array<ArrayBuffer> {
  const address = ipaddr.parse(end.address);
  const isV4 = address.kind() === "ipv4";
  const bytes = new Uint8Array(isV4 ? sockaddr_in.size : sockaddr_in6.size);
  const view = new DataView(bytes.buffer);
  view.setUint16(sockaddr_in.sin_family, isV4 ? AF_INET : AF_INET6, true);
  view.setUint16(sockaddr_in.sin_port, end.port);
  bytes.set(address.toByteArray(), isV4 ? sockaddr_in.sin_addr : sockaddr_in6.sin6_addr);
  return bytes;
}

function reasonOf(errno: number): DropReason {
  if (errno === EMSGSIZE) return OVER_MTU;
  return errno === EAGAIN || errno === ENOBUFS ? TX_QUEUE_FULL : TX_ERROR;
}
