/**
 * Whether a packet's L4 checksum is right, as conntrack checks it before it believes a header
 * (nf_conntrack_checksum). A packet whose checksum is to be completed, or that the receiving side has
 * verified, is believed. Allocates nothing.
 */
import { crc32c, pseudoIpv4, pseudoIpv6, sum } from "../packet/checksum.ts";
import type { Packet } from "../packet/packet.ts";
import { IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP } from "./tuple.ts";

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
