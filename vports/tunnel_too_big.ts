/**
 * What senders of packets that don't fit into a tunnel are told: ICMP "fragmentation needed" (RFC 792,
 * RFC 1191 §4) and ICMPv6 "packet too big" (RFC 4443 §3.2), as if the packet's own destination had
 * sent them.
 */
import { finish, pseudoIpv6, sum } from "../datapath/packet/checksum.ts";
import { copyBytes, type Packet } from "../datapath/packet/packet.ts";

const ETHERNET_SIZE = 14;
const IPV4_SIZE = 20;
const IPV6_SIZE = 40;
const ICMP_SIZE = 8;
const DONT_FRAGMENT = 0x4000;
const LATER_FRAGMENT = 0x1fff;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
/** Bytes of the packet that an answer repeats: IPv4 hosts take 576, IPv6 hosts 1280 altogether. */
const QUOTE4_MAX: number = 576 - IPV4_SIZE - ICMP_SIZE;
const QUOTE6_MAX: number = 1280 - IPV6_SIZE - ICMP_SIZE;
/** Smallest MTUs of hosts; less is never announced. */
const IPV4_MTU_MIN = 68;
const IPV6_MTU_MIN = 1280;
const TTL = 64;

/**
 * Whether the packet's sender is to be told. Not of packets that may be fragmented or are no IP, of
 * errors and of groups' packets. The packet's headers have been extracted.
 */
export function mayAnswerTooBig(packet: Packet): boolean {
  const { view, start, l3At } = packet;
  if (packet.ip === 0 || l3At + IPV4_SIZE > packet.end) return false;
  if (packet.isL3) {
    if (l3At !== start) return false;
  } else if (l3At < start + ETHERNET_SIZE || (view.getUint8(start) & 1) !== 0) return false;
  return isIpv4(packet) ? mayAnswer4(packet) : mayAnswer6(packet);
}

/**
 * Makes `answer` what the packet's sender is told: no more than `sizeMax` bytes fit, from the packet's
 * start on. Only for packets that {@link mayAnswerTooBig}.
 */
export function writeTooBig(packet: Packet, answer: Packet, sizeMax: number): void {
  const { start, l3At } = packet;
  const layer2 = l3At - start;
  const mtu = sizeMax - layer2;
  const isV4 = isIpv4(packet);
  answer.isL3 = packet.isL3;
  answer.ethType = isV4 ? ETH_P_IP : ETH_P_IPV6;
  if (!packet.isL3) {
    // The packet's own Ethernet header with its tags, turned round.
    copyBytes(packet, start, answer, answer.start, layer2);
    copyBytes(packet, start + 6, answer, answer.start, 6);
    copyBytes(packet, start, answer, answer.start + 6, 6);
  }
  const at = answer.start + layer2;
  if (isV4) write4(packet, answer, at, Math.max(mtu, IPV4_MTU_MIN));
  else write6(packet, answer, at, Math.max(mtu, IPV6_MTU_MIN));
}

function isIpv4(packet: Packet): boolean {
  return packet.view.getUint8(packet.l3At) >>> 4 === 4;
}

function mayAnswer4(packet: Packet): boolean {
  const { view, l3At, l4At } = packet;
  const fragment = view.getUint16(l3At + 6);
  if ((fragment & DONT_FRAGMENT) === 0 || (fragment & LATER_FRAGMENT) !== 0) return false;
  if (view.getUint8(l3At + 16) >= 224) return false;
  if (view.getUint8(l3At + 9) !== IPPROTO_ICMP) return true;
  const type = l4At + 1 <= packet.end ? view.getUint8(l4At) : 3;
  return type === 0 || type === 8;
}

function mayAnswer6(packet: Packet): boolean {
  const { view, l3At, l4At } = packet;
  if (l3At + IPV6_SIZE > packet.end || view.getUint8(l3At + 24) === 0xff) return false;
  if ((packet.ip & 0xff) !== IPPROTO_ICMPV6) return true;
  return l4At + 1 <= packet.end && view.getUint8(l4At) >= 128;
}

function write4(packet: Packet, answer: Packet, at: number, mtu: number): void {
  const { view } = answer;
  const source = packet.view;
  const from = packet.l3At;
  const quote = Math.min(packet.end - from, QUOTE4_MAX);
  const icmp = at + IPV4_SIZE;
  answer.end = icmp + ICMP_SIZE + quote;
  view.setUint16(at, 0x4500);
  view.setUint16(at + 2, answer.end - at);
  view.setUint32(at + 4, DONT_FRAGMENT);
  view.setUint16(at + 8, TTL << 8 | IPPROTO_ICMP);
  view.setUint16(at + 10, 0);
  view.setUint32(at + 12, source.getUint32(from + 16));
  view.setUint32(at + 16, source.getUint32(from + 12));
  view.setUint16(at + 10, finish(sum(view, at, icmp)), true);
  view.setUint32(icmp, 0x0304_0000);
  view.setUint32(icmp + 4, mtu);
  copyBytes(packet, from, answer, icmp + ICMP_SIZE, quote);
  view.setUint16(icmp + 2, finish(sum(view, icmp, answer.end)), true);
}

function write6(packet: Packet, answer: Packet, at: number, mtu: number): void {
  const { view } = answer;
  const from = packet.l3At;
  const quote = Math.min(packet.end - from, QUOTE6_MAX);
  const icmp = at + IPV6_SIZE;
  answer.end = icmp + ICMP_SIZE + quote;
  view.setUint32(at, 0x6000_0000);
  view.setUint16(at + 4, ICMP_SIZE + quote);
  view.setUint16(at + 6, IPPROTO_ICMPV6 << 8 | TTL);
  copyBytes(packet, from + 24, answer, at + 8, 16);
  copyBytes(packet, from + 8, answer, at + 24, 16);
  view.setUint32(icmp, 0x0200_0000);
  view.setUint32(icmp + 4, mtu);
  copyBytes(packet, from, answer, icmp + ICMP_SIZE, quote);
  const pseudo = pseudoIpv6(view, at, IPPROTO_ICMPV6, answer.end - icmp);
  view.setUint16(icmp + 2, finish(pseudo + sum(view, icmp, answer.end)), true);
}
