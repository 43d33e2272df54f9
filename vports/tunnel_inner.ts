/**
 * The inner packet of a received tunnel packet: where its headers are, whether its checksum is only
 * begun, and what the outer header's congestion mark does to it.
 */
import { difference16, pseudoIpv4, pseudoIpv6, unit, update } from "../datapath/packet/checksum.ts";
import * as ethernet from "../datapath/headers/ethernet.ts";
import * as tcp from "../datapath/headers/tcp.ts";
import * as udp from "../datapath/headers/udp.ts";
import * as vlan from "../datapath/headers/vlan.ts";
import { GSO_TCPV4, GSO_TCPV6, type Packet } from "../datapath/packet/packet.ts";

const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPV4_SIZE = 20;
const IPV6_SIZE = 40;
const ECN_MASK = 3;
const ECN_CE = 3;

/** Headers of a TCP segment or UDP datagram, offsets of its view. One object, filled again for each packet. */
export class InnerLayout {
  l3 = 0;
  l4 = 0;
  /** Where the payload begins. */
  payload = 0;
  /** Where the L3 packet ends; padding may follow. */
  end = 0;
  isIpv4 = true;
  isTcp = true;
}

/**
 * Finds the headers of an inner packet at [at, end); `etherType`: of one without Ethernet header, 0 for
 * a frame. False: it is no whole TCP segment or UDP datagram directly behind an IP header.
 */
export function findInner(
  view: DataView,
  at: number,
  end: number,
  etherType: number,
  found: InnerLayout,
): boolean {
  let l3 = at;
  let type = etherType;
  if (type === 0) {
    if (at + ethernet.SIZE > end) return false;
    l3 = at + ethernet.SIZE;
    type = ethernet.type(view, at);
    for (let tags = 0; tags < 2 && vlan.isTpid(type); tags++) {
      if (l3 + vlan.SIZE > end) return false;
      type = view.getUint16(l3 + 2);
      l3 += vlan.SIZE;
    }
  }
  let protocol = 0;
  if (type === ETH_P_IP) {
    if (l3 + IPV4_SIZE > end || view.getUint8(l3) >>> 4 !== 4) return false;
    if ((view.getUint16(l3 + 6) & 0x3fff) !== 0) return false; // a fragment
    found.l4 = l3 + ((view.getUint8(l3) & 0x0f) << 2);
    found.end = l3 + view.getUint16(l3 + 2);
    found.isIpv4 = true;
    protocol = view.getUint8(l3 + 9);
  } else if (type === ETH_P_IPV6) {
    if (l3 + IPV6_SIZE > end || view.getUint8(l3) >>> 4 !== 6) return false;
    found.l4 = l3 + IPV6_SIZE;
    found.end = found.l4 + view.getUint16(l3 + 4);
    found.isIpv4 = false;
    protocol = view.getUint8(l3 + 6);
  } else return false;
  found.l3 = l3;
  if (found.end > end || found.l4 < l3 + IPV4_SIZE) return false;
  found.isTcp = protocol === IPPROTO_TCP;
  if (found.isTcp) {
    if (!tcp.fits(view, found.l4, found.end)) return false;
    found.payload = found.l4 + tcp.headerSize(view, found.l4);
    return true;
  }
  if (protocol !== IPPROTO_UDP || !udp.fits(view, found.l4, found.end)) return false;
  found.payload = found.l4 + udp.SIZE;
  return true;
}

/** Folded sum of the pseudo-header. */
export function pseudoOf(view: DataView, layout: InnerLayout): number {
  const protocol = layout.isTcp ? IPPROTO_TCP : IPPROTO_UDP;
  const size = layout.end - layout.l4;
  return layout.isIpv4
    ? pseudoIpv4(view, layout.l3, protocol, size)
    : pseudoIpv6(view, layout.l3, protocol, size);
}

/** Offset of the L4 checksum from the L4 header. */
export function checksumOffset(layout: InnerLayout): number {
  return layout.isTcp ? tcp.CHECKSUM : udp.CHECKSUM;
}

/**
 * A packet that has not left this machine since its sender may come with a checksum that is only its
 * pseudo-header's sum; a plain socket does not tell, but it is seen. Returns whether it is so.
 */
export function markPartial(packet: Packet, layout: InnerLayout): boolean {
  const { view } = packet;
  const offset = checksumOffset(layout);
  const checksum = view.getUint16(layout.l4 + offset, true);
  if (checksum !== pseudoOf(view, layout)) return false;
  packet.needsCsum = true;
  packet.csumStart = layout.l4 - packet.start;
  packet.csumOffset = offset;
  return true;
}

/**
 * A TCP segment whose checksum is only begun may be a train of segments. It is taken for one if it is
 * over `mtu` bytes: any size of segments that fits will do for the far end.
 */
export function markTrain(packet: Packet, layout: InnerLayout, mtu: number): void {
  if (layout.end - layout.l3 <= mtu) return;
  const segmentSize = mtu - (layout.payload - layout.l3);
  if (segmentSize <= 0) return; // no path takes these headers: no train of segments
  packet.gsoType = layout.isIpv4 ? GSO_TCPV4 : GSO_TCPV6;
  packet.gsoSize = segmentSize;
}

/**
 * Carries a congestion mark of the outer header inwards (RFC 6040 §4.2). False: the inner packet can't
 * carry it and must be dropped.
 */
export function acceptCongestion(packet: Packet, outerTos: number): boolean {
  if ((outerTos & ECN_MASK) !== ECN_CE) return true;
  const { view, end } = packet;
  let l3 = packet.start;
  let type = packet.ethType;
  if (!packet.isL3) {
    if (l3 + ethernet.SIZE > end) return true;
    type = ethernet.type(view, l3);
    l3 += ethernet.SIZE;
    for (let tags = 0; tags < 2 && vlan.isTpid(type) && l3 + vlan.SIZE <= end; tags++) {
      type = view.getUint16(l3 + 2);
      l3 += vlan.SIZE;
    }
  }
  if (type === ETH_P_IP && l3 + IPV4_SIZE <= end) {
    const word = view.getUint16(l3);
    if ((word & ECN_MASK) === 0) return false;
    view.setUint16(l3, word | ECN_CE);
    const checksum = view.getUint16(l3 + 10, true);
    const difference = difference16(unit(word), unit(word | ECN_CE));
    view.setUint16(l3 + 10, update(checksum, difference), true);
  } else if (type === ETH_P_IPV6 && l3 + IPV6_SIZE <= end) {
    const word = view.getUint16(l3);
    if ((word & ECN_MASK << 4) === 0) return false;
    view.setUint16(l3, word | ECN_CE << 4);
  }
  return true;
}
