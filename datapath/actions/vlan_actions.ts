/**
 * push_vlan and pop_vlan on packets whose tags are in line. What lies behind the MAC addresses stays
 * where it is: the addresses move by the size of a tag, and a partial checksum's beginning, which is
 * counted from the frame's, moves with them.
 */
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import type { Packet } from "../packet/packet.ts";

/** Bytes of a tag. */
export const TAG_SIZE = 4;

const HEADER_MISSING = dropReason("set-header-missing");
/** MAC addresses. */
const ADDRESSES_SIZE = 12;
/** Ethernet header with one tag. */
const TAGGED_SIZE = 18;
// Tag protocol identifiers as a little-endian read gives them.
const ETH_P_8021Q = 0x0081;
const ETH_P_8021AD = 0xa888;

/**
 * Puts a tag in front of all others. `tag` is tpid << 16 | tci, plain numbers; the CFI bit, which only
 * says that there is a tag, does not go into the frame. The packet must have TAG_SIZE bytes of headroom.
 */
export function pushVlan(packet: Packet, tag: number): void {
  const view = packet.view;
  const from = packet.start;
  const to = from - TAG_SIZE;
  view.setInt32(to, view.getInt32(from, true), true);
  view.setInt32(to + 4, view.getInt32(from + 4, true), true);
  view.setInt32(to + 8, view.getInt32(from + 8, true), true);
  view.setInt32(to + ADDRESSES_SIZE, tag & ~0x1000);
  packet.start = to;
  packet.csumStart += TAG_SIZE;
}

/** Takes the outer tag away; a frame without one stays as it is. Returns 0 or why the packet can't go on: its tag is cut off. */
export function popVlan(packet: Packet): DropReason {
  const view = packet.view;
  const from = packet.start;
  const type = view.getUint16(from + ADDRESSES_SIZE, true);
  if (type !== ETH_P_8021Q && type !== ETH_P_8021AD) return 0;
  if (from + TAGGED_SIZE > packet.end) return HEADER_MISSING;
  const to = from + TAG_SIZE;
  view.setInt32(to + 8, view.getInt32(from + 8, true), true);
  view.setInt32(to + 4, view.getInt32(from + 4, true), true);
  view.setInt32(to, view.getInt32(from, true), true);
  packet.start = to;
  packet.csumStart -= TAG_SIZE;
  // A third tag was no tag to the extraction but the network layer.
  if (packet.l3At < to + ADDRESSES_SIZE + 2) {
    packet.l3At = 0;
    packet.l4At = 0;
  }
  return 0;
}
