/** dec_ttl on IPv4 and IPv6, as the kernel's execute_dec_ttl; other packets stay as they are. */
import { difference16, update } from "../packet/checksum.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { networkType } from "./ethernet_actions.ts";
import type { Packet } from "../packet/packet.ts";

const HEADER_MISSING = dropReason("set-header-missing");
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const IPV4_SIZE = 20;
const IPV4_TTL = 8;
const IPV4_CHECKSUM = 10;
const IPV6_SIZE = 40;
const IPV6_HOP_LIMIT = 7;

/** Whether the packet must not be forwarded: its TTL or hop limit is 0 or 1. */
export function isExpired(packet: Packet): boolean {
  const { view, l3At, end } = packet;
  const type = networkType(packet);
  if (type === ETH_P_IP) return l3At + IPV4_SIZE <= end && view.getUint8(l3At + IPV4_TTL) <= 1;
  return type === ETH_P_IPV6 && l3At + IPV6_SIZE <= end &&
    view.getUint8(l3At + IPV6_HOP_LIMIT) <= 1;
}

/** Takes one off the TTL or hop limit, which is above 1. */
export function decrementTtl(packet: Packet): DropReason {
  const { view, l3At, end } = packet;
  const type = networkType(packet);
  if (type === ETH_P_IP) {
    if (l3At + IPV4_SIZE > end) return HEADER_MISSING;
    const ttl = view.getUint8(l3At + IPV4_TTL);
    const checksum = view.getUint16(l3At + IPV4_CHECKSUM, true);
    view.setUint8(l3At + IPV4_TTL, ttl - 1);
    view.setUint16(l3At + IPV4_CHECKSUM, update(checksum, difference16(ttl, ttl - 1)), true);
  } else if (type === ETH_P_IPV6) {
    if (l3At + IPV6_SIZE > end) return HEADER_MISSING;
    view.setUint8(l3At + IPV6_HOP_LIMIT, view.getUint8(l3At + IPV6_HOP_LIMIT) - 1);
  }
  return 0;
}
