/**
 * SET_MASKED on the headers of a packet, with checksums put right incrementally, as the kernel does
 * it (net/openvswitch/actions.c, set_eth_addr … set_sctp).
 *
 * Which checksum is a partial one, and so a sum that only address changes touch, see `isSum`. Later
 * fragments have no L4 header: address changes leave their payload alone, and port changes do nothing.
 *
 * In all functions `at` is the position of an action's [from, count, value × count, mask × count].
 */
import { crc32c, difference16, difference32, fold, update } from "../packet/checksum.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { FRAG_LATER } from "../key.ts";
import { partialAt } from "../packet/offload.ts";
import { GSO_NONE, type Packet } from "../packet/packet.ts";
import { SET_SCTP, SET_TCP, SET_UDP } from "./set_headers.ts";

const HEADER_MISSING = dropReason("set-header-missing");

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_SCTP = 132;

const NEXTHDR_HOP = 0;
const NEXTHDR_ROUTING = 43;
const NEXTHDR_FRAGMENT = 44;
const NEXTHDR_AUTH = 51;
const NEXTHDR_DEST = 60;

const TCP_SIZE = 20;
const TCP_CHECKSUM = 16;
const UDP_SIZE = 8;
const UDP_CHECKSUM = 6;
const ICMPV6_SIZE = 8;
const ICMPV6_CHECKSUM = 2;
const SCTP_SIZE = 12;
const SCTP_CHECKSUM = 8;
const IPV4_CHECKSUM = 10;

// Key words (key.ts).
const ETH_WORD = 5;
const IP_WORD = 11;
const IPV4_SRC_WORD = 12;
const IPV4_DST_WORD = 13;
const PORTS_WORD = 14;
const IPV6_SRC_WORD = 16;
const IPV6_DST_WORD = 20;
const IPV6_LABEL_WORD = 24;

/** A header word after the action: `old` where the action's mask has no bits or does not reach. */
export function masked(words: Int32Array, at: number, keyWord: number, old: number): number {
  const index = keyWord - words[at]!;
  const count = words[at + 1]!;
  if (index < 0 || index >= count) return old;
  return (old & ~words[at + 2 + count + index]!) | words[at + 2 + index]!;
}

export function setEthernet(packet: Packet, words: Int32Array, at: number): DropReason {
  const { view, start } = packet;
  for (let word = 0; word < 3; word++) {
    const address = start + word * 4;
    const old = view.getInt32(address, true);
    view.setInt32(address, masked(words, at, ETH_WORD + word, old), true);
  }
  return 0;
}

/** Addresses, TOS and TTL. */
export function setIpv4(packet: Packet, words: Int32Array, at: number): DropReason {
  const { view, l3At } = packet;
  if (l3At === 0 || l3At + 20 > packet.end) return HEADER_MISSING;
  const source = view.getInt32(l3At + 12, true);
  const destination = view.getInt32(l3At + 16, true);
  const newSource = masked(words, at, IPV4_SRC_WORD, source);
  const newDestination = masked(words, at, IPV4_DST_WORD, destination);
  let addresses = 0;
  if (newSource !== source) {
    addresses += difference32(source, newSource);
    view.setInt32(l3At + 12, newSource, true);
  }
  if (newDestination !== destination) {
    addresses += difference32(destination, newDestination);
    view.setInt32(l3At + 16, newDestination, true);
  }
  if (addresses !== 0) {
    updatePseudo(packet, addresses);
    forgetConnection(packet);
  }
  const difference = addresses + setTosAndTtl(view, l3At, words, at);
  if (difference !== 0) {
    const checksum = view.getUint16(l3At + IPV4_CHECKSUM, true);
    view.setUint16(l3At + IPV4_CHECKSUM, update(checksum, difference), true);
  }
  return 0;
}

/**
 * A packet with another tuple is to be looked up anew by the next ct action, though the key still says
 * that it was tracked (ovs_ct_clear without a key: set_ip_addr, set_ipv6_addr, set_tp_port).
 */
function forgetConnection(packet: Packet): void {
  packet.ctRecord = 0;
}

/** Returns what the header's sum grew by; 0 if nothing changed. */
function setTosAndTtl(view: DataView, l3At: number, words: Int32Array, at: number): number {
  const tos = view.getUint8(l3At + 1);
  const ttl = view.getUint8(l3At + 8);
  const ip = masked(words, at, IP_WORD, tos << 8 | ttl << 16);
  const newTos = (ip >>> 8) & 0xff;
  const newTtl = (ip >>> 16) & 0xff;
  let difference = 0;
  if (newTos !== tos) {
    difference += difference16(tos << 8, newTos << 8);
    view.setUint8(l3At + 1, newTos);
  }
  if (newTtl !== ttl) {
    difference += difference16(ttl, newTtl);
    view.setUint8(l3At + 8, newTtl);
  }
  return difference;
}

/** Addresses, flow label, traffic class and hop limit. */
export function setIpv6(packet: Packet, words: Int32Array, at: number): DropReason {
  const { view, l3At } = packet;
  if (l3At === 0 || l3At + 40 > packet.end) return HEADER_MISSING;
  let difference = setIpv6Address(view, l3At + 8, words, at, IPV6_SRC_WORD);
  const covered = !isRouted(view, l3At, packet.end);
  const destination = setIpv6Address(view, l3At + 24, words, at, IPV6_DST_WORD);
  // The pseudo-header has the final destination, which lies in the routing header if there is one.
  if (difference !== 0 || destination !== 0) forgetConnection(packet);
  if (covered) difference += destination;
  if (difference !== 0) updatePseudo(packet, difference);

  const first = view.getInt32(l3At, true);
  const trafficClass = (first & 0x0f) << 4 | (first >>> 12) & 0x0f;
  const hopLimit = view.getUint8(l3At + 7);
  const ip = masked(words, at, IP_WORD, trafficClass << 8 | hopLimit << 16);
  const newClass = (ip >>> 8) & 0xff;
  const label = masked(words, at, IPV6_LABEL_WORD, first & 0xffff0f00);
  const newFirst = (first & 0xf0) | newClass >>> 4 | (newClass & 0x0f) << 12 | (label & 0xffff0f00);
  view.setInt32(l3At, newFirst, true);
  view.setUint8(l3At + 7, (ip >>> 16) & 0xff);
  return 0;
}

/** Returns what the address's sum grew by; 0 if it is the same. */
function setIpv6Address(
  view: DataView,
  address: number,
  words: Int32Array,
  at: number,
  keyWord: number,
): number {
  let difference = 0;
  for (let word = 0; word < 4; word++) {
    const old = view.getInt32(address + word * 4, true);
    const value = masked(words, at, keyWord + word, old);
    if (value === old) continue;
    difference += difference32(old, value);
    view.setInt32(address + word * 4, value, true);
  }
  return difference;
}
/** Whether the IPv6 header is followed, behind other extension headers, by a routing header with segments left. */
function isRouted(view: DataView, l3At: number, end: number): boolean {
  let next = view.getUint8(l3At + 6);
  let at = l3At + 40;
  while (at + 4 <= end) {
    const units = view.getUint8(at + 1);
    let size = (units + 1) << 3;
    if (next === NEXTHDR_ROUTING) {
      if (view.getUint8(at + 3) !== 0) return true;
    } else if (next === NEXTHDR_AUTH) {
      size = (units + 2) << 2;
    } else if (next === NEXTHDR_FRAGMENT) {
      size = 8;
    } else if (next !== NEXTHDR_HOP && next !== NEXTHDR_DEST) {
      return false;
    }
    next = view.getUint8(at);
    at += size;
  }
  return false;
}

/** Ports of TCP, UDP or SCTP: `header` is one of SET_TCP, SET_UDP, SET_SCTP. */
export function setTransport(
  packet: Packet,
  header: number,
  words: Int32Array,
  at: number,
): DropReason {
  const { view, l4At, end } = packet;
  if (l4At === 0) return packet.ip >>> 24 === FRAG_LATER ? 0 : HEADER_MISSING;
  const protocol = packet.ip & 0xff;
  let wanted = IPPROTO_SCTP;
  let size = SCTP_SIZE;
  if (header === SET_TCP) {
    wanted = IPPROTO_TCP;
    size = TCP_SIZE;
  } else if (header === SET_UDP) {
    wanted = IPPROTO_UDP;
    size = UDP_SIZE;
  }
  if (protocol !== wanted || l4At + size > end) return HEADER_MISSING;
  const old = view.getInt32(l4At, true);
  const ports = masked(words, at, PORTS_WORD, old);
  if (ports === old) return 0;
  forgetConnection(packet);
  if (header === SET_SCTP) setSctpPorts(packet, ports);
  else setPorts(packet, header === SET_TCP, old, ports);
  return 0;
}

function setPorts(packet: Packet, isTcp: boolean, old: number, ports: number): void {
  const { view, l4At } = packet;
  view.setInt32(l4At, ports, true);
  const field = l4At + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM);
  const checksum = view.getUint16(field, true);
  // UDP's zero means that there is none. A sum of the pseudo-header does not cover ports.
  if (isSum(packet, isTcp) || (!isTcp && checksum === 0)) return;
  const updated = update(checksum, difference32(old, ports));
  view.setUint16(field, updated === 0 && !isTcp ? 0xffff : updated, true);
}

/** An error that the checksum had stays in it. */
function setSctpPorts(packet: Packet, ports: number): void {
  const { view, l4At } = packet;
  if (partialAt(packet) === l4At) {
    view.setInt32(l4At, ports, true);
    return;
  }
  const end = l4End(packet);
  const before = crc32c(view, l4At, end);
  view.setInt32(l4At, ports, true);
  const after = crc32c(view, l4At, end);
  const field = l4At + SCTP_CHECKSUM;
  view.setUint32(field, (view.getUint32(field, true) ^ before ^ after) >>> 0, true);
}

/** Where the L4 payload ends by the IP header's length: Ethernet padding is not in a CRC. The frame's end if that makes no sense. */
function l4End(packet: Packet): number {
  const { view, l3At, l4At, end } = packet;
  const size = view.getUint8(l3At) >>> 4 === 4
    ? view.getUint16(l3At + 2)
    : 40 + view.getUint16(l3At + 4);
  const byHeader = l3At + size;
  return byHeader >= l4At + SCTP_SIZE && byHeader <= end ? byHeader : end;
}

/** Puts the L4 checksum right after the sum of the IP addresses grew by `difference`. */
function updatePseudo(packet: Packet, difference: number): void {
  const { view, l4At, end } = packet;
  if (l4At === 0) return;
  const protocol = packet.ip & 0xff;
  let field = 0;
  if (protocol === IPPROTO_TCP) {
    if (l4At + TCP_SIZE <= end) field = l4At + TCP_CHECKSUM;
  } else if (protocol === IPPROTO_UDP) {
    if (l4At + UDP_SIZE <= end) field = l4At + UDP_CHECKSUM;
  } else if (protocol === IPPROTO_ICMPV6 && view.getUint8(packet.l3At) >>> 4 === 6) {
    if (l4At + ICMPV6_SIZE <= end) field = l4At + ICMPV6_CHECKSUM;
  }
  if (field === 0) return;
  const old = view.getUint16(field, true);
  const isUdp = protocol === IPPROTO_UDP;
  if (isUdp && old === 0 && partialAt(packet) !== l4At) return;
  const updated = isSum(packet, !isUdp) ? fold(old + difference) : update(old, difference);
  view.setUint16(field, updated === 0 && isUdp ? 0xffff : updated, true);
}

/**
 * Whether the L4 checksum is the sum of its pseudo-header only: a partial checksum begins right here,
 * or this is the outer UDP header of an encapsulated train, where the kernel leaves a sum to be
 * completed for each segment (udp_set_csum). An encapsulated single packet has a complete outer one.
 */
function isSum(packet: Packet, isTcp: boolean): boolean {
  if (!packet.needsCsum) return false;
  return partialAt(packet) === packet.l4At || (!isTcp && packet.gsoType !== GSO_NONE);
}
