/** Reading one fragment: which packet it is of, where in it, and what of it (RFC 791 §3.1, RFC 8200 §4.5). */
import type { Packet } from "../packet/packet.ts";
import { ctDrop } from "./reasons.ts";
import { IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP } from "./tuple.ts";

const INVALID = ctDrop("ct-fragment-invalid");
const PACKET_MAX = 65535;
const NEXTHDR_HOP = 0;
const NEXTHDR_ROUTING = 43;
const NEXTHDR_FRAGMENT = 44;
const NEXTHDR_AUTH = 51;
const NEXTHDR_DEST = 60;

/** It is no fragment. */
export const FRAGMENT_NONE = -2;
/** It is none that a packet is put together with: of IPv6, more follow, and its size is no multiple of 8. */
export const FRAGMENT_UNROUNDED = -5;
/** Words of a key: zone, protocol and version; identification; addresses. */
export const FRAGMENT_KEY_WORDS = 10;

/** The fragment that was read last. Made once. */
export class Fragment {
  /** Says which packet it is of. The source's words are 2 … 5, the destination's 6 … 9. */
  readonly key: Int32Array = new Int32Array(FRAGMENT_KEY_WORDS);
  /** Where its payload belongs in the packet's. */
  offset = 0;
  /** Buffer offset of the payload. */
  dataAt = 0;
  size = 0;
  isLast = false;
  /** Bytes of L3 headers in front of the fragmented part, without IPv6's fragment header. */
  unfragmentable = 0;
  /** IPv6: what follows the fragment header. */
  nextHeader = 0;

  /** Reads a packet with l3At set. 0: it is a fragment; FRAGMENT_NONE, FRAGMENT_UNROUNDED; or a drop verdict. */
  read(packet: Packet, zone: number): number {
    const { view, l3At } = packet;
    if (l3At + 20 > packet.end) return INVALID;
    const isIpv4 = view.getUint8(l3At) >>> 4 === 4;
    return isIpv4 ? this.#readIpv4(packet, zone) : this.#readIpv6(packet, zone);
  }

  #readIpv4(packet: Packet, zone: number): number {
    const { view, l3At } = packet;
    const headerSize = (view.getUint8(l3At) & 0x0f) << 2;
    const total = view.getUint16(l3At + 2);
    const field = view.getUint16(l3At + 6);
    if ((field & 0x3fff) === 0) return FRAGMENT_NONE;
    if (headerSize < 20 || total < headerSize || l3At + total > packet.end) return INVALID;
    this.offset = (field & 0x1fff) << 3;
    this.isLast = (field & 0x2000) === 0;
    this.dataAt = l3At + headerSize;
    // Only the last one may end anywhere: what is over is of no use.
    this.size = this.isLast ? total - headerSize : (total - headerSize) & ~7;
    this.unfragmentable = headerSize;
    const key = this.key;
    key[0] = zone << 16 | view.getUint8(l3At + 9) << 8 | 4;
    key[1] = view.getUint16(l3At + 4);
    key.fill(0, 2);
    key[2] = view.getInt32(l3At + 12);
    key[6] = view.getInt32(l3At + 16);
    return this.#isSane() ? 0 : INVALID;
  }

  #readIpv6(packet: Packet, zone: number): number {
    const { view, l3At } = packet;
    if (l3At + 40 > packet.end) return INVALID;
    const end = l3At + 40 + view.getUint16(l3At + 4);
    if (end > packet.end) return INVALID;
    let next = view.getUint8(l3At + 6);
    let at = l3At + 40;
    while (next !== NEXTHDR_FRAGMENT) {
      if (next !== 0 && next !== 43 && next !== 60) return FRAGMENT_NONE;
      if (at + 8 > end) return INVALID;
      next = view.getUint8(at);
      at += (view.getUint8(at + 1) + 1) << 3;
    }
    if (at + 8 > end) return INVALID;
    const field = view.getUint16(at + 2);
    if (field <= 7 && isCutOff(view, at, end)) return FRAGMENT_NONE;
    this.offset = field & 0xfff8;
    this.isLast = (field & 1) === 0;
    this.dataAt = at + 8;
    this.size = end - this.dataAt;
    this.unfragmentable = at - l3At;
    this.nextHeader = view.getUint8(at);
    const key = this.key;
    key[0] = zone << 16 | 6;
    key[1] = view.getInt32(at + 4);
    for (let word = 0; word < 8; word++) key[2 + word] = view.getInt32(l3At + 8 + word * 4);
    if (!this.isLast && (this.size & 7) !== 0) return FRAGMENT_UNROUNDED;
    return this.#isSane() ? 0 : INVALID;
  }

  /** Whether the packet could be whole with the fragment. */
  #isSane(): boolean {
    return this.unfragmentable + this.offset + this.size <= PACKET_MAX;
  }
}

/**
 * Whether a packet ends before its upper header does, when its fragment header lies at `at`: the first
 * fragment must have all headers (RFC 8200 §4.5, RFC 7112).
 */
function isCutOff(view: DataView, at: number, end: number): boolean {
  let next = view.getUint8(at);
  let from = at + 8;
  for (;;) {
    const size = upperSize(next);
    if (size >= 0) return from + size > end;
    if (from + 2 > end) return false; // nobody can say
    const units = view.getUint8(from + 1);
    const length = next === NEXTHDR_AUTH ? (units + 2) << 2 : (units + 1) << 3;
    next = view.getUint8(from);
    from += length;
  }
}

/** Bytes of an upper header that must be there, −1: an extension header. */
function upperSize(protocol: number): number {
  switch (protocol) {
    case NEXTHDR_HOP:
    case NEXTHDR_ROUTING:
    case NEXTHDR_AUTH:
    case NEXTHDR_DEST:
      return -1;
    case IPPROTO_TCP:
      return 20;
    case IPPROTO_UDP:
    case IPPROTO_ICMPV6:
      return 8;
    default:
      return 1;
  }
}
