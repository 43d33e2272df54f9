/**
 * Receiving from a tunnel's socket: one datagram at a time into a packet's memory, and what its outer
 * headers said. UDP datagrams that the kernel has joined (UDP_GRO), or that came unsegmented from the
 * same machine, arrive as one with the size of its segments.
 */
import type { Packet } from "../datapath/packet/packet.ts";
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import {
  cmsghdr,
  EAGAIN,
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
  MSG_DONTWAIT,
  MSG_TRUNC,
  msghdr,
  sockaddr_in,
  sockaddr_in6,
  UDP_GRO,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, pointerTo, recycleBuffer } from "./memory.ts";
import { type Carrier, type Family, type InputPlace, openInput } from "./tunnel_socket.ts";

/** Errors of earlier datagrams (ICMP) that one call passes over. */
const ATTEMPTS_MAX = 16;
/** Layout of the memory that the kernel reads and writes. */
const IOVEC_AT = 64;
const NAME_AT: number = IOVEC_AT + iovec.size;
const CONTROL_AT: number = NAME_AT + 32;
const CONTROL_SIZE = 256;
const MEMORY_SIZE: number = CONTROL_AT + CONTROL_SIZE;
const IPV4_SIZE = 20;

/** None waits. */
export const NONE = -1;
/** One was there, but longer than its place. */
export const TOO_LONG = -2;

export class TunnelInput {
  /** Readable when datagrams wait. */
  readonly fd: number;
  readonly family: Family;
  readonly carrier: Carrier;
  /** The UDP port it is bound to; 0 for GRE. */
  readonly port: number;
  /** Of the datagram received last: type of service, time to live. */
  tos = 0;
  ttl = 0;
  /** Bytes of each datagram of which the one received was joined, the last one's apart; 0: it is one. */
  segmentSize = 0;
  /** Where the tunnel's header begins. */
  headerAt = 0;
  readonly #libc: Libc;
  readonly #recvmsg: Libc["socket"]["recvmsg"];
  readonly #memory: MappedBuffer;
  readonly #view: DataView<ArrayBuffer>;
  readonly #message: Deno.PointerObject;
  /** Where in its view the addresses lie. */
  #destinationAt = 0;
  #sourceAt = 0;
  #addresses: DataView;
  #closed = false;

  /** Throws SystemError and leaves nothing behind. */
  constructor(place: InputPlace) {
    this.#libc = libc();
    this.#recvmsg = this.#libc.socket.recvmsg;
    this.family = place.family;
    this.carrier = place.carrier;
    this.port = place.port;
    this.#memory = allocateBuffer(MEMORY_SIZE);
    try {
      this.fd = openInput(place);
    } catch (error) {
      recycleBuffer(this.#memory);
      throw error;
    }
    const { view, address } = this.#memory.buffer;
    this.#view = view;
    this.#addresses = view;
    this.#message = pointerTo(this.#memory.buffer);
    view.setBigUint64(msghdr.msg_name, BigInt(address + NAME_AT), true);
    view.setBigUint64(msghdr.msg_iov, BigInt(address + IOVEC_AT), true);
    view.setUint32(msghdr.msg_iovlen, 1, true);
    view.setBigUint64(msghdr.msg_control, BigInt(address + CONTROL_AT), true);
  }

  /**
   * Reads one datagram to buffer offset `at` of the packet, up to packet.tailLimit, and sets
   * packet.end and this object's fields. Returns its size with all headers that were read; NONE or
   * TOO_LONG.
   */
  receive(packet: Packet, at: number): number {
    const view = this.#view;
    const room = packet.tailLimit - at;
    const address = packet.buffer.address + at;
    view.setUint32(IOVEC_AT + iovec.iov_base, address >>> 0, true);
    view.setUint32(IOVEC_AT + iovec.iov_base + 4, (address / 0x1_0000_0000) >>> 0, true);
    view.setUint32(IOVEC_AT + iovec.iov_len, room, true);
    let got = -1;
    for (let attempt = 0; got < 0; attempt++) {
      view.setUint32(msghdr.msg_namelen, sockaddr_in6.size, true);
      view.setUint32(msghdr.msg_controllen, CONTROL_SIZE, true);
      got = this.#recvmsg(this.fd, this.#message, MSG_DONTWAIT | MSG_TRUNC);
      if (got < 0 && (this.#libc.errno() === EAGAIN || attempt === ATTEMPTS_MAX)) return NONE;
    }
    if (got > room) return TOO_LONG;
    packet.end = at + got;
    this.headerAt = at;
    this.segmentSize = 0;
    if (this.family === 4 && this.carrier === "gre") this.#readIpv4(packet, at, got);
    else this.#readControl();
    return got;
  }

  /** Writes addresses, ports, tos and ttl of the datagram received last to a tunnel just begun. */
  describe(tunnel: TunnelKey): void {
    const view = this.#addresses;
    if (this.family === 4) {
      tunnel.source = view.getUint32(this.#sourceAt);
      tunnel.destination = view.getUint32(this.#destinationAt);
    } else {
      for (let word = 0; word < 4; word++) {
        tunnel.setSourceWord(word, view.getUint32(this.#sourceAt + 4 * word));
        tunnel.setDestinationWord(word, view.getUint32(this.#destinationAt + 4 * word));
      }
    }
    tunnel.tos = this.tos;
    tunnel.ttl = this.ttl;
    if (this.carrier === "udp") {
      tunnel.sourcePort = this.#view.getUint16(NAME_AT + sockaddr_in.sin_port);
      tunnel.destinationPort = this.port;
    }
  }

  /** Never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc.file.close(this.fd);
    recycleBuffer(this.#memory);
  }

  /** A raw IPv4 socket gives the header. */
  #readIpv4(packet: Packet, at: number, size: number): void {
    const { view } = packet;
    this.#addresses = view;
    this.#sourceAt = at + 12;
    this.#destinationAt = at + 16;
    this.tos = view.getUint8(at + 1);
    this.ttl = view.getUint8(at + 8);
    const headerSize = (view.getUint8(at) & 0x0f) << 2;
    this.headerAt = at + Math.min(Math.max(headerSize, IPV4_SIZE), size);
  }

  #readControl(): void {
    const view = this.#view;
    const isV4 = this.family === 4;
    this.#sourceAt = NAME_AT + (isV4 ? sockaddr_in.sin_addr : sockaddr_in6.sin6_addr);
    this.tos = 0;
    this.ttl = 0;
    const end = CONTROL_AT + view.getUint32(msghdr.msg_controllen, true);
    let at = CONTROL_AT;
    while (at + cmsghdr.size <= end) {
      const size = view.getUint32(at + cmsghdr.cmsg_len, true);
      if (size < cmsghdr.size) break;
      const level = view.getUint32(at + cmsghdr.cmsg_level, true);
      const type = view.getUint32(at + cmsghdr.cmsg_type, true);
      const data = at + cmsghdr.size;
      if (level === IPPROTO_IP) {
        if (type === IP_TTL) this.ttl = view.getUint32(data, true);
        else if (type === IP_TOS) this.tos = view.getUint8(data);
        else if (type === IP_PKTINFO) this.#destinationAt = data + in_pktinfo.ipi_addr;
      } else if (level === IPPROTO_IPV6) {
        if (type === IPV6_HOPLIMIT) this.ttl = view.getUint32(data, true);
        else if (type === IPV6_TCLASS) this.tos = view.getUint32(data, true);
        else if (type === IPV6_PKTINFO) this.#destinationAt = data + in6_pktinfo.ipi6_addr;
      } else if (level === IPPROTO_UDP && type === UDP_GRO) {
        this.segmentSize = view.getUint32(data, true);
      }
      at += (size + 7) & ~7;
    }
  }
}
