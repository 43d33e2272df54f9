/**
 * push_mpls, add_mpls, pop_mpls and set(mpls) (RFC 3032), as the kernel's skb_mpls_push, _pop and
 * _update_lse. Label stack entries go behind the link layer, tags included; add_mpls can put one in
 * front of the Ethernet header, which makes an L3 packet.
 */
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import {
  coverNetwork,
  ETHERNET_SIZE,
  grow,
  networkType,
  relocate,
  shrink,
} from "./ethernet_actions.ts";
import type { Packet } from "../packet/packet.ts";
import { masked } from "./set_field.ts";

/** Bytes of a label stack entry. */
export const LABEL_SIZE = 4;
/** Flag of add_mpls: the entry goes behind the link layer. */
const L3_TUNNEL = 1;
const MPLS_WORD = 49;
const ADDRESSES_SIZE = 12;
const ETH_P_8021Q = 0x8100;
const ETH_P_8021AD = 0x88a8;
const ETH_P_MPLS_UC = 0x8847;
const ETH_P_MPLS_MC = 0x8848;
/** Transparent Ethernet bridging: what is below is an Ethernet frame. */
const ETH_P_TEB = 0x6558;

const HEADER_MISSING = dropReason("set-header-missing");

/** Puts an entry between link and network layer. The packet must have LABEL_SIZE bytes of headroom. */
export function pushMpls(packet: Packet, entry: number, ethType: number): DropReason {
  const { view } = packet;
  if (packet.isL3) {
    packet.ethType = ethType;
  } else {
    if (packet.l3At === 0) return HEADER_MISSING;
    view.setUint16(typeAt(packet), ethType);
    moveLinkLayer(packet, -LABEL_SIZE);
  }
  grow(packet, LABEL_SIZE);
  coverNetwork(packet, packet.l3At - LABEL_SIZE);
  view.setInt32(packet.l3At, entry);
  return 0;
}

/** add_mpls: as push_mpls, or in front of everything. The packet must have LABEL_SIZE bytes of headroom. */
export function addMpls(packet: Packet, words: Int32Array, at: number): DropReason {
  const entry = words[at]!;
  const ethType = words[at + 1]!;
  if ((words[at + 2]! & L3_TUNNEL) !== 0) return pushMpls(packet, entry, ethType);
  grow(packet, LABEL_SIZE);
  packet.view.setInt32(packet.start, entry);
  packet.isL3 = true;
  packet.ethType = ethType;
  coverNetwork(packet, packet.start);
  return 0;
}

/** Takes the outer entry away; a packet without one stays as it is. What is Ethernet below must have a whole header. */
export function popMpls(packet: Packet, ethType: number): DropReason {
  if (!isMpls(packet)) return 0;
  if (packet.l3At + LABEL_SIZE > packet.end) return HEADER_MISSING;
  if (packet.isL3) {
    const isFrame = ethType === ETH_P_TEB;
    if (isFrame && packet.start + LABEL_SIZE + ETHERNET_SIZE > packet.end) return HEADER_MISSING;
    packet.ethType = ethType;
    packet.isL3 = !isFrame;
  } else {
    packet.view.setUint16(packet.l3At - 2, ethType);
    moveLinkLayer(packet, LABEL_SIZE);
  }
  shrink(packet, LABEL_SIZE);
  if (ethType === ETH_P_MPLS_UC || ethType === ETH_P_MPLS_MC) packet.l3At += LABEL_SIZE;
  else relocate(packet);
  return 0;
}

/** Rewrites the outer entry; words[at …] as set_field.ts has it. */
export function setMpls(packet: Packet, words: Int32Array, at: number): DropReason {
  const { view, l3At } = packet;
  if (!isMpls(packet) || l3At + LABEL_SIZE > packet.end) return HEADER_MISSING;
  view.setInt32(l3At, masked(words, at, MPLS_WORD, view.getInt32(l3At, true)), true);
  return 0;
}

function isMpls(packet: Packet): boolean {
  const type = networkType(packet);
  return type === ETH_P_MPLS_UC || type === ETH_P_MPLS_MC;
}

/** Where the Ethernet type behind the tags lies: with an LLC header in between, that is the length. */
function typeAt(packet: Packet): number {
  const { view, l3At } = packet;
  let at = packet.start + ADDRESSES_SIZE;
  while (at + 6 <= l3At) {
    const type = view.getUint16(at);
    if (type !== ETH_P_8021Q && type !== ETH_P_8021AD) break;
    at += 4;
  }
  return at;
}

/**
 * Moves what lies before l3At by the size of an entry, down or up; start stays. Its length is two more
 * than whole words, or any after an LLC header. (copyWithin costs as much as all the rest.)
 */
function moveLinkLayer(packet: Packet, distance: number): void {
  const { view, start, l3At } = packet;
  if (distance < 0) {
    let at = start;
    for (; at + 4 <= l3At; at += 4) view.setInt32(at + distance, view.getInt32(at, true), true);
    for (; at < l3At; at++) view.setUint8(at + distance, view.getUint8(at));
    return;
  }
  let at = l3At;
  for (; at - 4 >= start; at -= 4) {
    view.setInt32(at - 4 + distance, view.getInt32(at - 4, true), true);
  }
  for (; at > start; at--) view.setUint8(at - 1 + distance, view.getUint8(at - 1));
}
