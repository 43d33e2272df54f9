/**
 * One place for recvmsg(2) on a tunnel's socket: the memory that the kernel fills, and what the outer
 * headers of the datagram in it said.
 */
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import {
  cmsghdr,
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
  msghdr,
  sockaddr_in,
  sockaddr_in6,
  UDP_GRO,
} from "./abi.ts";
import { pointerTo } from "./memory.ts";
import type { PacketBuffer } from "../datapath/packet/packet.ts";

/** Parts that a datagram may be read in: a raw socket's IPv4 header, a place, another place. */
const PARTS_MAX = 3;
const IOVEC_AT = 64;
const NAME_AT: number = IOVEC_AT + PARTS_MAX * iovec.size;
const CONTROL_AT: number = NAME_AT + 32;
const CONTROL_SIZE = 256;
const IPV4_AT: number = CONTROL_AT + CONTROL_SIZE;
/** An IPv4 header without options. */
export const IPV4_SIZE = 20;

/** Bytes of memory that one needs. */
export const RECEPTION_SIZE: number = IPV4_AT + 24;

export class Reception {
  /** For recvmsg. */
  readonly message: Deno.PointerObject;
  /** Type of service, time to live. */
  tos = 0;
  ttl = 0;
  /** Bytes of each datagram of which the one received was joined, the last one's apart; 0: it is one. */
  segmentSize = 0;
  /** Bytes of the IPv4 header behind the first {@link IPV4_SIZE}, which lie in front of the tunnel's header. */
  optionsSize = 0;
  readonly #view: DataView;
  readonly #address: number;
  readonly #at: number;
  readonly #isV4: boolean;
  readonly #hasIpv4Header: boolean;
  /** Where in the view the addresses lie. */
  #sourceAt = 0;
  #destinationAt = 0;

  /**
   * In `memory` from `at` on. `kind`: the IP version, and whether the socket gives the IPv4 header in
   * front of the datagram.
   */
  constructor(
    memory: PacketBuffer,
    at: number,
    kind: { readonly isV4: boolean; readonly hasIpv4Header: boolean },
  ) {
    const { view, address } = memory;
    this.#view = view;
    this.#address = address;
    this.#at = at;
    this.#isV4 = kind.isV4;
    this.#hasIpv4Header = kind.hasIpv4Header;
    this.message = pointerTo(memory, at);
    this.#setPointer(at + msghdr.msg_name, address + at + NAME_AT);
    this.#setPointer(at + msghdr.msg_iov, address + at + IOVEC_AT);
    this.#setPointer(at + msghdr.msg_control, address + at + CONTROL_AT);
    if (!kind.hasIpv4Header) return;
    this.#setPart(0, address + at + IPV4_AT, IPV4_SIZE);
  }

  /** The next datagram goes to `size` bytes at an address, and what is more to `moreSize` bytes at another; 0: nowhere. */
  prepare(address: number, size: number, moreAddress = 0, moreSize = 0): void {
    const view = this.#view;
    let parts = this.#hasIpv4Header ? 1 : 0;
    this.#setPart(parts++, address, size);
    if (moreSize > 0) this.#setPart(parts++, moreAddress, moreSize);
    view.setUint32(this.#at + msghdr.msg_iovlen, parts, true);
    this.reset();
  }

  /** Before each call of recvmsg, which shortens these. */
  reset(): void {
    this.#view.setUint32(this.#at + msghdr.msg_namelen, sockaddr_in6.size, true);
    this.#view.setUint32(this.#at + msghdr.msg_controllen, CONTROL_SIZE, true);
  }

  /** Reads what the kernel said of the datagram. */
  read(): void {
    this.tos = 0;
    this.ttl = 0;
    this.segmentSize = 0;
    this.optionsSize = 0;
    if (this.#hasIpv4Header) this.#readIpv4();
    else this.#readControl();
  }

  /** Whether another datagram came by the same way: all that {@link describe} would say is equal. Both are single ones. */
  isLike(other: Reception): boolean {
    if (this.segmentSize !== 0 || other.segmentSize !== 0) return false;
    if (this.optionsSize !== 0 || other.optionsSize !== 0) return false;
    if (this.tos !== other.tos || this.ttl !== other.ttl) return false;
    if (this.#sourcePort !== other.#sourcePort) return false;
    const view = this.#view;
    const size = this.#isV4 ? 4 : 16;
    for (let byte = 0; byte < size; byte += 4) {
      const source = view.getInt32(this.#sourceAt + byte);
      if (source !== view.getInt32(other.#sourceAt + byte)) return false;
      const destination = view.getInt32(this.#destinationAt + byte);
      if (destination !== view.getInt32(other.#destinationAt + byte)) return false;
    }
    return true;
  }

  /** Writes addresses, source port, tos and ttl to a tunnel just begun. */
  describe(tunnel: TunnelKey): void {
    const view = this.#view;
    if (this.#isV4) {
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
    tunnel.sourcePort = this.#sourcePort;
  }

  /** 0 of what is no UDP. */
  get #sourcePort(): number {
    return this.#hasIpv4Header
      ? 0
      : this.#view.getUint16(this.#at + NAME_AT + sockaddr_in.sin_port);
  }

  #readIpv4(): void {
    const view = this.#view;
    const at = this.#at + IPV4_AT;
    this.#sourceAt = at + 12;
    this.#destinationAt = at + 16;
    this.tos = view.getUint8(at + 1);
    this.ttl = view.getUint8(at + 8);
    this.optionsSize = Math.max(0, ((view.getUint8(at) & 0x0f) << 2) - IPV4_SIZE);
  }

  #readControl(): void {
    const view = this.#view;
    const nameAt = this.#at + NAME_AT;
    this.#sourceAt = nameAt + (this.#isV4 ? sockaddr_in.sin_addr : sockaddr_in6.sin6_addr);
    let at = this.#at + CONTROL_AT;
    const end = at + view.getUint32(this.#at + msghdr.msg_controllen, true);
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

  #setPart(index: number, address: number, size: number): void {
    const at = this.#at + IOVEC_AT + index * iovec.size;
    this.#setPointer(at + iovec.iov_base, address);
    this.#view.setUint32(at + iovec.iov_len, size, true);
  }

  #setPointer(at: number, address: number): void {
    this.#view.setUint32(at, address >>> 0, true);
    this.#view.setUint32(at + 4, (address / 0x1_0000_0000) >>> 0, true);
  }
}
