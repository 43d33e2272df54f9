/**
 * Sending through one socket of a tunnel: datagrams, each of headers that are written here and of
 * frame bytes that stay where they are, are queued and go out together (sendmmsg). A train of equal
 * datagrams to one far end goes as one message that the kernel cuts up (UDP_SEGMENT), or, where it
 * won't, one by one.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import {
  AF_INET,
  AF_INET6,
  cmsghdr,
  EAGAIN,
  EHOSTUNREACH,
  EINTR,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENETDOWN,
  ENETUNREACH,
  ENOBUFS,
  in6_pktinfo,
  in_pktinfo,
  iovec,
  IP_PKTINFO,
  IP_TOS,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_HOPLIMIT,
  IPV6_PKTINFO,
  IPV6_TCLASS,
  mmsghdr,
  MSG_DONTWAIT,
  msghdr,
  SO_MARK,
  sockaddr_in,
  sockaddr_in6,
  SOL_SOCKET,
  UDP_SEGMENT,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, pointerTo, recycleBuffer } from "./memory.ts";
import { type Family, openOutput, type OutputKind } from "./tunnel_socket.ts";

/** Messages queued at most. */
const BATCH_MAX = 64;
const IOVECS_MAX = 512;
/** Most bytes of headers that one message may have: there is no more room for them. */
export const HEADERS_MAX: number = 48 * 1024;
/** Parts of a datagram: its headers, and bytes of a frame. */
const PARTS = 2;
const NAME_SIZE = 32;
const CONTROL_SIZE = 160;
/** The message after those of the batch is for the pieces of a train that the kernel would not cut up. */
const PIECE = BATCH_MAX;
const NAMES_AT: number = (BATCH_MAX + 1) * mmsghdr.size;
const CONTROLS_AT: number = NAMES_AT + BATCH_MAX * NAME_SIZE;
const IOVECS_AT: number = CONTROLS_AT + BATCH_MAX * CONTROL_SIZE;
const ARENA_AT: number = IOVECS_AT + IOVECS_MAX * iovec.size;
const MEMORY_SIZE: number = ARENA_AT + HEADERS_MAX;

/** Most datagrams of one message (linux/udp.h: UDP_MAX_SEGMENTS, 64 before Linux 6.9). */
export const SEGMENTS_MAX = 64;
/** Most bytes of all datagrams of one message, without UDP headers. */
export const MESSAGE_MAX: number = 65507 - 20;

const TX_QUEUE_FULL = dropReason("tx-queue-full");
const TX_ERROR = dropReason("tx-error");
const OVER_MTU = dropReason("over-mtu");
const NO_ROUTE = dropReason("tunnel-no-route");

/** Who is told of what the kernel refused. */
export interface OutputOwner {
  /** A packet of `size` bytes is lost, or a part of it was. */
  refused(reason: DropReason, size: number): void;
}

/** What the kernel writes into the outer header. Reused for every packet. */
export class Envelope {
  /** Address of the far end: the first 4 or all 16 bytes. */
  readonly remote: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(16));
  /** Source address, if hasLocal; else the kernel chooses. */
  readonly local: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(16));
  hasLocal = false;
  /** UDP destination port. */
  remotePort = 0;
  tos = 0;
  /** 1 … 255. */
  ttl = 64;
  /** skb_mark of the outer packet; 0: none. */
  mark = 0;
}

export class TunnelOutput {
  /** Its user's mark: something may be queued. */
  isUsed = false;
  /** Headers are written here, where {@link reserve} says. */
  readonly view: DataView<ArrayBuffer>;
  readonly #fd: number;
  readonly #family: Family;
  readonly #libc: Libc;
  readonly #memory: MappedBuffer;
  readonly #messages: Deno.PointerObject[] = [];
  readonly #owners: (OutputOwner | undefined)[] = new Array(BATCH_MAX).fill(undefined);
  /** Of the packet a message belongs to. */
  readonly #sizes: Int32Array = new Int32Array(BATCH_MAX);
  readonly #packets: Int32Array = new Int32Array(BATCH_MAX);
  /** First iovec of each message, how many, and bytes per datagram (0: it is one). */
  readonly #iovecAt: Int32Array = new Int32Array(BATCH_MAX);
  readonly #iovecCount: Int32Array = new Int32Array(BATCH_MAX);
  readonly #segments: Int32Array = new Int32Array(BATCH_MAX);
  #count = 0;
  #iovecs = 0;
  #messageIovec = 0;
  #arena = 0;
  #packet = 0;
  #refusedPacket = -1;
  #closed = false;

  /** Throws SystemError and leaves nothing behind. */
  constructor(kind: OutputKind) {
    this.#libc = libc();
    this.#family = kind.family;
    this.#memory = allocateBuffer(MEMORY_SIZE);
    try {
      this.#fd = openOutput(kind);
    } catch (error) {
      recycleBuffer(this.#memory);
      throw error;
    }
    this.view = this.#memory.buffer.view;
    this.#prepare();
  }

  /** A packet's messages follow: all those of a packet are refused as one. */
  beginPacket(): void {
    this.#packet = (this.#packet + 1) & 0x7fff_ffff;
  }

  /** Room for one message of so many datagrams with headers of so many bytes altogether, at most {@link HEADERS_MAX}; sends what is queued if there is none. */
  beginMessage(datagrams: number, headersSize: number): void {
    if (
      this.#count === BATCH_MAX || this.#iovecs + datagrams * PARTS > IOVECS_MAX ||
      this.#arena + headersSize > HEADERS_MAX
    ) this.flush();
    this.#messageIovec = this.#iovecs;
  }

  /** Where in `view` the next datagram's headers of `size` bytes are to be written. */
  reserve(size: number): number {
    const at = ARENA_AT + this.#arena;
    this.#arena += size;
    this.#addIovec(this.#memory.buffer.address + at, size);
    return at;
  }

  /** What follows those headers: `size` bytes at an address, which stay as they are until {@link flush}. */
  append(address: number, size: number): void {
    this.#addIovec(address, size);
  }

  /**
   * The message is complete: its datagrams have `segmentSize` bytes each, the last perhaps fewer; 0: it
   * is one. `size` bytes are those of the packet it belongs to.
   */
  endMessage(envelope: Envelope, owner: OutputOwner, size: number, segmentSize: number): void {
    const at = this.#count++;
    const view = this.view;
    this.#owners[at] = owner;
    this.#sizes[at] = size;
    this.#packets[at] = this.#packet;
    this.#iovecAt[at] = this.#messageIovec;
    this.#iovecCount[at] = this.#iovecs - this.#messageIovec;
    this.#segments[at] = segmentSize;
    const header = at * mmsghdr.size + mmsghdr.msg_hdr;
    this.#setPointer(header + msghdr.msg_iov, IOVECS_AT + this.#messageIovec * iovec.size);
    view.setUint32(header + msghdr.msg_iovlen, this.#iovecs - this.#messageIovec, true);
    const name = NAMES_AT + at * NAME_SIZE;
    view.setUint16(name + sockaddr_in.sin_port, envelope.remotePort);
    const control = CONTROLS_AT + at * CONTROL_SIZE;
    let controlSize = 0;
    if (this.#family === 4) {
      view.setUint32(name + sockaddr_in.sin_addr, envelope.remote.getUint32(0));
      controlSize = this.#control4(control, envelope);
    } else {
      copy16(envelope.remote, view, name + sockaddr_in6.sin6_addr);
      controlSize = this.#control6(control, envelope);
    }
    if (envelope.mark !== 0) {
      this.#cmsgInt(control + controlSize, SOL_SOCKET, SO_MARK, envelope.mark);
      controlSize += 24;
    }
    if (segmentSize > 0) {
      const segment = control + controlSize;
      this.#cmsg(segment, IPPROTO_UDP, UDP_SEGMENT, 2);
      view.setUint16(segment + cmsghdr.size, segmentSize, true);
      controlSize += 24;
    }
    view.setUint32(header + msghdr.msg_controllen, controlSize, true);
  }

  /** Sends what is queued; what the kernel refuses is reported. */
  flush(): void {
    const count = this.#count;
    let at = 0;
    while (at < count) {
      const sent = this.#libc.socket.sendmmsg(
        this.#fd,
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
      if (this.#segments[at]! > 0 && (errno === EINVAL || errno === EIO || errno === EMSGSIZE)) {
        this.#sendPieces(at);
      } else {
        this.#refuse(at, errno);
      }
      at++;
    }
    this.#count = 0;
    this.#iovecs = 0;
    this.#arena = 0;
  }

  /** Never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc.file.close(this.#fd);
    recycleBuffer(this.#memory);
  }

  /** The kernel does not cut up (no checksum offload on the way, fragments wanted): each datagram by itself. */
  #sendPieces(at: number): void {
    const view = this.view;
    const from = at * mmsghdr.size;
    const to = PIECE * mmsghdr.size;
    for (let byte = 0; byte < mmsghdr.size; byte += 4) {
      view.setUint32(to + byte, view.getUint32(from + byte));
    }
    const control = view.getUint32(from + msghdr.msg_controllen, true);
    view.setUint32(to + msghdr.msg_controllen, control - 24, true);
    view.setUint32(to + msghdr.msg_iovlen, PARTS, true);
    const end = this.#iovecAt[at]! + this.#iovecCount[at]!;
    for (let part = this.#iovecAt[at]!; part < end; part += PARTS) {
      this.#setPointer(to + msghdr.msg_iov, IOVECS_AT + part * iovec.size);
      const sent = this.#libc.socket.sendmmsg(this.#fd, this.#messages[PIECE]!, 1, MSG_DONTWAIT);
      if (sent > 0) continue;
      const errno = this.#libc.errno();
      if (errno === EINTR) part -= PARTS;
      else this.#refuse(at, errno);
    }
  }

  /** A packet is counted once, however many of its messages fail. */
  #refuse(at: number, errno: number): void {
    const packet = this.#packets[at]!;
    if (packet === this.#refusedPacket) return;
    this.#refusedPacket = packet;
    this.#owners[at]!.refused(reasonOf(errno), this.#sizes[at]!);
  }

  #prepare(): void {
    const { buffer } = this.#memory;
    const { view } = buffer;
    const isV4 = this.#family === 4;
    for (let at = 0; at <= BATCH_MAX; at++) {
      this.#messages.push(pointerTo(buffer, at * mmsghdr.size));
    }
    for (let at = 0; at < BATCH_MAX; at++) {
      const header = at * mmsghdr.size + mmsghdr.msg_hdr;
      const name = NAMES_AT + at * NAME_SIZE;
      this.#setPointer(header + msghdr.msg_name, name);
      view.setUint32(
        header + msghdr.msg_namelen,
        isV4 ? sockaddr_in.size : sockaddr_in6.size,
        true,
      );
      view.setUint16(name + sockaddr_in.sin_family, isV4 ? AF_INET : AF_INET6, true);
      this.#setPointer(header + msghdr.msg_control, CONTROLS_AT + at * CONTROL_SIZE);
    }
  }

  #control4(at: number, envelope: Envelope): number {
    this.#cmsgInt(at, IPPROTO_IP, IP_TOS, envelope.tos);
    this.#cmsgInt(at + 24, IPPROTO_IP, IP_TTL, envelope.ttl);
    if (!envelope.hasLocal) return 48;
    this.#cmsg(at + 48, IPPROTO_IP, IP_PKTINFO, in_pktinfo.size);
    const data = at + 48 + cmsghdr.size;
    this.view.setUint32(data + in_pktinfo.ipi_ifindex, 0);
    this.view.setUint32(data + in_pktinfo.ipi_spec_dst, envelope.local.getUint32(0));
    this.view.setUint32(data + in_pktinfo.ipi_addr, 0);
    return 80;
  }

  #control6(at: number, envelope: Envelope): number {
    this.#cmsgInt(at, IPPROTO_IPV6, IPV6_TCLASS, envelope.tos);
    this.#cmsgInt(at + 24, IPPROTO_IPV6, IPV6_HOPLIMIT, envelope.ttl);
    if (!envelope.hasLocal) return 48;
    this.#cmsg(at + 48, IPPROTO_IPV6, IPV6_PKTINFO, in6_pktinfo.size);
    const data = at + 48 + cmsghdr.size;
    copy16(envelope.local, this.view, data + in6_pktinfo.ipi6_addr);
    this.view.setUint32(data + in6_pktinfo.ipi6_ifindex, 0);
    return 88;
  }

  #cmsgInt(at: number, level: number, type: number, value: number): void {
    this.#cmsg(at, level, type, 4);
    this.view.setUint32(at + cmsghdr.size, value, true);
  }

  #cmsg(at: number, level: number, type: number, size: number): void {
    const view = this.view;
    view.setUint32(at + cmsghdr.cmsg_len, cmsghdr.size + size, true);
    view.setUint32(at + cmsghdr.cmsg_len + 4, 0);
    view.setUint32(at + cmsghdr.cmsg_level, level, true);
    view.setUint32(at + cmsghdr.cmsg_type, type, true);
  }

  #addIovec(address: number, size: number): void {
    const view = this.view;
    const at = IOVECS_AT + this.#iovecs++ * iovec.size;
    view.setUint32(at + iovec.iov_base, address >>> 0, true);
    view.setUint32(at + iovec.iov_base + 4, (address / 0x1_0000_0000) >>> 0, true);
    view.setUint32(at + iovec.iov_len, size, true);
  }

  /** A pointer to byte `to` of our own memory. */
  #setPointer(at: number, to: number): void {
    const address = this.#memory.buffer.address + to;
    this.view.setUint32(at, address >>> 0, true);
    this.view.setUint32(at + 4, (address / 0x1_0000_0000) >>> 0, true);
  }
}

function copy16(from: DataView, to: DataView, at: number): void {
  for (let byte = 0; byte < 16; byte += 4) to.setUint32(at + byte, from.getUint32(byte));
}

function reasonOf(errno: number): DropReason {
  switch (errno) {
    case EMSGSIZE:
      return OVER_MTU;
    case EAGAIN:
    case ENOBUFS:
      return TX_QUEUE_FULL;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
      return NO_ROUTE;
    default:
      return TX_ERROR;
  }
}
