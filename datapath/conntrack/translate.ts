/**
 * Address translation of packet bytes: writes a tuple's source or destination into an IP packet, with
 * all checksums put right incrementally (RFC 1624), also partial ones and those of segment trains.
 * Inner packets of ICMP errors too (RFC 5508 §4.2, §4.3). What to write is decided elsewhere
 * (nat.ts). Allocates nothing.
 */
import { crc32c, difference16, difference32, fold, sum, unit, update } from "../packet/checksum.ts";
import { partialAt } from "../packet/offload.ts";
import { GSO_NONE, type Packet } from "../packet/packet.ts";
import {
  findTransport,
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  T_DST,
  T_PORTS,
  T_SRC,
} from "./tuple.ts";

/** What an ICMP error must quote of an L4 header (RFC 792). */
const INNER_MIN = 8;

/** Which end of a packet is translated. */
export const MANIP_SRC = 0;
export const MANIP_DST = 1;

/**
 * Writes source (MANIP_SRC) or destination of `target` into the packet at [l3At, end). The L4 header
 * may be cut off behind its first 8 bytes if `isInner`: then only what is there is changed. False:
 * a header does not fit, or less is there; nothing is changed.
 */
export function translatePacket(
  packet: Packet,
  l3At: number,
  end: number,
  target: Int32Array,
  manip: number,
  isInner: boolean,
): boolean {
  const { view } = packet;
  const found = findTransport(view, l3At, end);
  if (found < 0) return false;
  const l4At = l3At + (found >>> 8);
  const protocol = found & 0xff;
  const checksumAt = checksumOffset(protocol);
  const field = l4At + checksumAt;
  const hasChecksum = checksumAt > 0 && field + 2 <= end;
  if (!isInner && checksumAt > 0 && !hasChecksum) return false;
  const hasHeader = checksumAt > 0 || protocol === IPPROTO_SCTP;
  if (isInner && hasHeader && l4At + INNER_MIN > end) return false;
  // ICMP errors have no identifier of their own: only queries and ports are renamed.
  const portsAt = identifierOffset(protocol, manip, view, l4At, end);
  if (!isInner && protocol === IPPROTO_SCTP && l4At + 12 > end) return false;

  const isPartial = !isInner && isSum(packet, l4At, protocol);
  const oldCrc = protocol === IPPROTO_SCTP && !isInner && !isPartial ? crc32c(view, l4At, end) : 0;
  let difference = 0;
  if (portsAt >= 0) {
    const value = (manip === MANIP_SRC || protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6)
      ? target[T_PORTS]! >>> 16
      : target[T_PORTS]! & 0xffff;
    const old = view.getUint16(l4At + portsAt, true);
    if (old !== unit(value)) {
      difference = difference16(old, unit(value));
      view.setUint16(l4At + portsAt, value);
    }
  }
  const address = writeAddress(view, l3At, target, manip);
  if (protocol === IPPROTO_SCTP) {
    if (!isInner && !isPartial) {
      const word = view.getUint32(l4At + 8, true);
      view.setUint32(l4At + 8, (word ^ oldCrc ^ crc32c(view, l4At, end)) >>> 0, true);
    }
    return true;
  }
  if (!hasChecksum) return true;
  // ICMP over IPv4 has no pseudo-header; a partial checksum has nothing but one.
  if (protocol !== IPPROTO_ICMP) difference = isPartial ? address : difference + address;
  else if (isPartial) difference = 0;
  if (difference !== 0) writeChecksum(view, field, difference, protocol, isPartial);
  return true;
}

function writeChecksum(
  view: DataView,
  field: number,
  difference: number,
  protocol: number,
  isPartial: boolean,
): void {
  const old = view.getUint16(field, true);
  const isUdp = protocol === IPPROTO_UDP;
  if (isUdp && old === 0 && !isPartial) return; // there is none
  const updated = isPartial ? fold(old + difference) : update(old, difference);
  view.setUint16(field, updated === 0 && isUdp ? 0xffff : updated, true);
}

/** Offset of the Internet checksum in the L4 header; 0: it has none. */
function checksumOffset(protocol: number): number {
  switch (protocol) {
    case IPPROTO_TCP:
      return 16;
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_DCCP:
      return 6;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return 2;
    default:
      return 0;
  }
}

/** Offset of the port or identifier that a translation renames, −1: none. */
function identifierOffset(
  protocol: number,
  manip: number,
  view: DataView,
  l4At: number,
  end: number,
): number {
  switch (protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_DCCP:
    case IPPROTO_SCTP:
      return l4At + 4 <= end ? (manip === MANIP_SRC ? 0 : 2) : -1;
    case IPPROTO_ICMP: {
      if (l4At + 8 > end) return -1;
      const type = view.getUint8(l4At);
      return type === 0 || type === 8 || type >= 13 && type <= 18 ? 4 : -1;
    }
    case IPPROTO_ICMPV6: {
      if (l4At + 8 > end) return -1;
      const type = view.getUint8(l4At);
      return type === 128 || type === 129 ? 4 : -1;
    }
    default:
      return -1;
  }
}

/** Writes an address and IPv4's header checksum. Returns what the pseudo-header's sum grew by, below 2^20. */
function writeAddress(
  view: DataView,
  l3At: number,
  target: Int32Array,
  manip: number,
): number {
  const from = manip === MANIP_SRC ? T_SRC : T_DST;
  let difference = 0;
  if (view.getUint8(l3At) >>> 4 === 4) {
    const at = l3At + (manip === MANIP_SRC ? 12 : 16);
    const old = view.getInt32(at, true);
    view.setInt32(at, target[from + 3]!);
    const value = view.getInt32(at, true);
    if (old === value) return 0;
    difference = difference32(old, value);
    const checksum = view.getUint16(l3At + 10, true);
    view.setUint16(l3At + 10, update(checksum, difference), true);
    return difference;
  }
  const at = l3At + (manip === MANIP_SRC ? 8 : 24);
  for (let word = 0; word < 4; word++) {
    const old = view.getInt32(at + word * 4, true);
    view.setInt32(at + word * 4, target[from + word]!);
    const value = view.getInt32(at + word * 4, true);
    if (old !== value) difference += difference32(old, value);
  }
  return difference;
}

/** Whether the L4 checksum is only its pseudo-header's sum: see `isSum` of set_field.ts. */
function isSum(packet: Packet, l4At: number, protocol: number): boolean {
  if (!packet.needsCsum) return false;
  return partialAt(packet) === l4At ||
    (protocol === IPPROTO_UDP && packet.gsoType !== GSO_NONE);
}

/**
 * Translates an ICMP error: the packet inside as `inner` says, at the end opposite to `manip`, then
 * the outer header's `manip` end to the same address. The ICMP checksum covers both. False: damaged.
 */
export function translateError(
  packet: Packet,
  l4At: number,
  end: number,
  inner: Int32Array,
  outer: Int32Array,
  manip: number,
): boolean {
  const { view, l3At } = packet;
  const innerAt = l4At + 8;
  if (innerAt + 20 > end) return false;
  // The difference of the whole inner part's sum: it may have odd places, so it is taken in one piece.
  const before = sum(view, innerAt, end);
  if (!translatePacket(packet, innerAt, end, inner, 1 - manip, true)) return false;
  const after = sum(view, innerAt, end);
  let difference = difference16(before, after);
  const address = writeAddress(view, l3At, outer, manip);
  if (view.getUint8(l3At) >>> 4 === 6) difference += address;
  if (packet.needsCsum && partialAt(packet) === l4At) {
    if (view.getUint8(l3At) >>> 4 === 6) {
      view.setUint16(l4At + 2, fold(view.getUint16(l4At + 2, true) + address), true);
    }
    return true;
  }
  view.setUint16(l4At + 2, update(view.getUint16(l4At + 2, true), difference), true);
  return true;
}
