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
 * [l4At, end) is the L4 header and payload. As the kernel's, the sum of IPv4 includes the IP header
 * (net/netfilter/utils.c, nf_ip_checksum), and UDP's the whole payload of the IP packet, whatever its
 * own length says. Protocols without a known checksum are right, as are packets
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
  // The sum over an IPv4 header is 0 (its ones' complement), or the header is damaged.
  const from = isIpv4 ? l3At : l4At;
  if (protocol === IPPROTO_ICMP) return !isIpv4 || sum(view, from, end) === 0xffff;
  if (protocol === IPPROTO_SCTP) {
    return l4At + 12 > end || crc32c(view, l4At, end) === view.getUint32(l4At + 8, true);
  }
  let covered = end;
  if (protocol === IPPROTO_UDP) {
    if (view.getUint16(l4At + 6) === 0) return true;
  } else if (protocol === IPPROTO_UDPLITE) {
    // Of the first bytes, 0: of all (RFC 3828 §3.1). Its tracker refuses other nonsense.
    covered = l4At + (view.getUint16(l4At + 4) || end - l4At);
    if (covered < l4At + 8 || covered > end) return true;
  } else if (protocol !== IPPROTO_TCP && (isIpv4 || protocol !== IPPROTO_ICMPV6)) {
    return true;
  }
  const size = end - l4At;
  const pseudo = isIpv4
    ? pseudoIpv4(view, l3At, protocol, size)
    : pseudoIpv6(view, l3At, protocol, size);
  const total = pseudo + sum(view, from, covered);
  return (total & 0xffff) + (total >>> 16) === 0xffff;
}
