/**
 * Tuples: what identifies one direction of a connection. Ten words in an Int32Array, numbers in host
 * order, so that ranges of addresses can be computed with; an IPv4 address is the lowest word of its
 * four, the others are zero. Allocates nothing but in {@link makeTuple}.
 */
import { finalise, product } from "../flow_table/hash.ts";

/** Zone << 16 | protocol << 8 | IP version. */
export const T_META = 0;
/** Source << 16 | destination; ICMP: identifier << 16 | type << 8 | code; 0 for other protocols. */
export const T_PORTS = 1;
/** 4 words. */
export const T_SRC = 2;
/** 4 words. */
export const T_DST = 6;
export const TUPLE_WORDS = 10;

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_DCCP = 33;
export const IPPROTO_GRE = 47;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_SCTP = 132;
export const IPPROTO_UDPLITE = 136;

const NEXTHDR_HOP = 0;
const NEXTHDR_ROUTING = 43;
const NEXTHDR_FRAGMENT = 44;
const NEXTHDR_AUTH = 51;
const NEXTHDR_DEST = 60;
const NEXTHDR_NONE = 59;

/** Reply types of ICMP queries (RFC 792, RFC 950), + 1; 0: no query. */
const ICMP_INVERSE = new Uint8Array(19);
ICMP_INVERSE[8] = 0 + 1;
ICMP_INVERSE[0] = 8 + 1;
ICMP_INVERSE[13] = 14 + 1;
ICMP_INVERSE[14] = 13 + 1;
ICMP_INVERSE[15] = 16 + 1;
ICMP_INVERSE[16] = 15 + 1;
ICMP_INVERSE[17] = 18 + 1;
ICMP_INVERSE[18] = 17 + 1;
/** Likewise of ICMPv6 (RFC 4443, RFC 4620), from type 128 on. */
const ICMPV6_INVERSE = new Uint8Array(13);
ICMPV6_INVERSE[0] = 129 + 1;
ICMPV6_INVERSE[1] = 128 + 1;
ICMPV6_INVERSE[11] = 140 + 1;
ICMPV6_INVERSE[12] = 139 + 1;

export function makeTuple(): Int32Array {
  return new Int32Array(TUPLE_WORDS);
}

/** Whether the first four bytes behind the IP header are ports. */
export function hasPorts(protocol: number): boolean {
  return protocol === IPPROTO_TCP || protocol === IPPROTO_UDP || protocol === IPPROTO_SCTP ||
    protocol === IPPROTO_UDPLITE || protocol === IPPROTO_DCCP;
}

export function isIcmp(protocol: number, family: number): boolean {
  return protocol === (family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/** Reply type of a query, −1 if the type is none. */
export function inverseType(type: number, family: number): number {
  const at = family === 4 ? type : type - 128;
  const map = family === 4 ? ICMP_INVERSE : ICMPV6_INVERSE;
  return at >= 0 && at < map.length ? map[at]! - 1 : -1;
}

/**
 * How far behind l3At the L4 header of an IP packet in [l3At, end) begins, and its protocol:
 * offset << 8 | protocol. −1: damaged, or a later fragment.
 */
export function findTransport(view: DataView, l3At: number, end: number): number {
  if (l3At + 20 > end) return -1;
  const version = view.getUint8(l3At) >>> 4;
  if (version === 4) {
    const size = (view.getUint8(l3At) & 0x0f) << 2;
    if (size < 20 || l3At + size > end || (view.getUint16(l3At + 6) & 0x1fff) !== 0) return -1;
    return size << 8 | view.getUint8(l3At + 9);
  }
  return version === 6 && l3At + 40 <= end ? findTransport6(view, l3At, end) : -1;
}

function findTransport6(view: DataView, l3At: number, end: number): number {
  let next = view.getUint8(l3At + 6);
  let at = l3At + 40;
  // Each header takes the next eight bytes at least: the packet's end bounds it.
  for (;;) {
    let size = 8;
    if (next === NEXTHDR_FRAGMENT) {
      if (at + 8 > end || (view.getUint16(at + 2) & 0xfff8) !== 0) return -1;
    } else if (
      next === NEXTHDR_HOP || next === NEXTHDR_ROUTING || next === NEXTHDR_DEST ||
      next === NEXTHDR_AUTH
    ) {
      if (at + 2 > end) return -1;
      const units = view.getUint8(at + 1);
      size = next === NEXTHDR_AUTH ? (units + 2) << 2 : (units + 1) << 3;
    } else {
      return next === NEXTHDR_NONE ? -1 : (at - l3At) << 8 | next;
    }
    next = view.getUint8(at);
    at += size;
    if (at > end) return -1;
  }
}

/** Fills `tuple` from a packet; l4At and protocol as {@link findTransport} found them. False: it is cut off. */
export function readTuple(
  tuple: Int32Array,
  view: DataView,
  l3At: number,
  l4At: number,
  end: number,
  protocol: number,
  zone: number,
): boolean {
  const family = view.getUint8(l3At) >>> 4;
  tuple[T_META] = zone << 16 | protocol << 8 | family;
  if (family === 4) {
    tuple[T_SRC] = 0;
    tuple[T_SRC + 1] = 0;
    tuple[T_SRC + 2] = 0;
    tuple[T_SRC + 3] = view.getInt32(l3At + 12);
    tuple[T_DST] = 0;
    tuple[T_DST + 1] = 0;
    tuple[T_DST + 2] = 0;
    tuple[T_DST + 3] = view.getInt32(l3At + 16);
  } else {
    for (let word = 0; word < 8; word++) tuple[T_SRC + word] = view.getInt32(l3At + 8 + word * 4);
  }
  tuple[T_PORTS] = 0;
  if (hasPorts(protocol)) {
    if (l4At + 4 > end) return false;
    tuple[T_PORTS] = view.getInt32(l4At);
  } else if (isIcmp(protocol, family)) {
    if (l4At + 8 > end) return false;
    tuple[T_PORTS] = view.getUint16(l4At + 4) << 16 | view.getUint16(l4At);
  }
  return true;
}

/** Makes `out` the tuple of the answer to `tuple`. False: there is none (an ICMP type that is no query). */
export function invertTuple(tuple: Int32Array, out: Int32Array): boolean {
  const meta = tuple[T_META]!;
  const ports = tuple[T_PORTS]!;
  let inverse = ports << 16 | ports >>> 16;
  if (isIcmp((meta >>> 8) & 0xff, meta & 0xff)) {
    const type = inverseType((ports >>> 8) & 0xff, meta & 0xff);
    if (type < 0) return false;
    inverse = (ports & ~0xff00) | type << 8;
  }
  for (let word = 0; word < 4; word++) {
    const source = tuple[T_SRC + word]!;
    out[T_SRC + word] = tuple[T_DST + word]!;
    out[T_DST + word] = source;
  }
  out[T_META] = meta;
  out[T_PORTS] = inverse;
  return true;
}

/** Hash with secret constants. Signed. */
export function hashTuple(constants: Int32Array, tuple: Int32Array): number {
  const meta = tuple[T_META]!;
  let sum = constants[TUPLE_WORDS]! + product(meta, constants[0]!) +
      product(tuple[1]!, constants[1]!) + product(tuple[5]!, constants[5]!) +
      product(tuple[9]!, constants[9]!) | 0;
  if ((meta & 0xff) === 6) {
    sum = sum + product(tuple[2]!, constants[2]!) + product(tuple[3]!, constants[3]!) +
        product(tuple[4]!, constants[4]!) | 0;
    sum = sum + product(tuple[6]!, constants[6]!) + product(tuple[7]!, constants[7]!) +
        product(tuple[8]!, constants[8]!) | 0;
  }
  return finalise(sum);
}

export function sameTuple(a: Int32Array, b: Int32Array): boolean {
  for (let word = 0; word < TUPLE_WORDS; word++) if (a[word] !== b[word]) return false;
  return true;
}
