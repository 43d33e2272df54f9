/**
 * Whether a packet's L4 checksum is right, as conntrack checks it before it believes a header
 * (nf_conntrack_checksum). A packet whose checksum is to be completed, or that the receiving side has
 * verified, is believed. Allocates nothing.
 */
import { crc32c, pseudoIpv4, pseudoIpv6, sum } from "../packet/checksum.ts";
import type { Packet } from "../packet/packet.ts";
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from "./tuple.ts";

/**
 * [l4At, end) is the L4 header and payload. Protocols without a known checksum are right, as are packets
 * too short to have one: their trackers refuse those.
 */
export function isChecksumRight(
  packet: Packet,
  l4At: number,
  end: number,
  protocol: number,
): boolean {
  if (packet.needsCsum || packet.csumValid || l4At + 8 > end) return true;
  const { view, l3At } = packet;
  const isIpv4 = view.getUint8(l3At) >>> 4 === 4;
  if (protocol === IPPROTO_ICMP) return !isIpv4 || sum(view, l4At, end) === 0xffff;
  if (protocol === IPPROTO_SCTP) {
    return l4At + 12 > end || crc32c(view, l4At, end) === view.getUint32(l4At + 8, true);
  }
  if (protocol === IPPROTO_UDP) {
    if (view.getUint16(l4At + 6) === 0) return true;
    end = Math.min(end, l4At + view.getUint16(l4At + 4));
  } else if (protocol === IPPROTO_UDPLITE) {
    return isLiteSumRight(view, l3At, l4At, end);
  } else if (protocol !== IPPROTO_TCP && (isIpv4 || protocol !== IPPROTO_ICMPV6)) {
    return true;
  }
  const size = end - l4At;
  const pseudo = isIpv4
    ? pseudoIpv4(view, l3At, protocol, size)
    : pseudoIpv6(view, l3At, protocol, size);
  const total = pseudo + sum(view, l4At, end);
  return (total & 0xffff) + (total >>> 16) === 0xffff;
}

/** UDP-Lite's checksum covers the pseudo-header and the first bytes, 0: all (RFC 3828 §3.1). */
function isLiteSumRight(view: DataView, l3At: number, l4At: number, end: number): boolean {
  const covered = view.getUint16(l4At + 4) || end - l4At;
  if (covered < 8 || l4At + covered > end) return true; // its tracker refuses it
  const pseudo = view.getUint8(l3At) >>> 4 === 4 ? pseudoIpv4 : pseudoIpv6;
  const total = pseudo(view, l3At, IPPROTO_UDPLITE, end - l4At) + sum(view, l4At, l4At + covered);
  return (total & 0xffff) + (total >>> 16) === 0xffff;
}
