/**
 * push_eth and pop_eth, and what other pushes and pops share: a header is put in front of the frame or
 * taken from it, or goes behind the link layer, whose bytes then move. A partial checksum's beginning
 * is counted from the frame's and moves along.
 *
 * Afterwards l3At, l4At and ip are what extraction would find, mostly without it ({@link relocate}): a
 * header that is known tells.
 */
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import type { Packet } from "../packet/packet.ts";

const IMPOSSIBLE = dropReason("action-impossible");
/** Ethernet header without tags. */
export const ETHERNET_SIZE = 14;
const ETH_P_802_3_MIN = 0x0600;
const ETH_P_8021Q = 0x8100;
const ETH_P_8021AD = 0x88a8;

/** Key that nobody reads: written by extraction alone, as it demands. */
const scratch = new Int32Array(KEY_WORDS);

/** Finds the headers of a packet whose network layer is another one now, nobody knows which. */
export function relocate(packet: Packet): void {
  extractKey(packet, scratch, 0);
}

/** The network header lies at `at` now, and no transport header is known behind it. */
export function coverNetwork(packet: Packet, at: number): void {
  packet.l3At = at;
  packet.l4At = 0;
  packet.ip = 0;
}

/** Makes room for `size` bytes in front of the frame, which must be there. */
export function grow(packet: Packet, size: number): void {
  packet.start -= size;
  packet.csumStart += size;
}

/** Takes `size` bytes, which must be there, from the frame's beginning. */
export function shrink(packet: Packet, size: number): void {
  packet.start += size;
  packet.csumStart -= size;
}

/** Whether the frame begins with an Ethernet header that has a tag. */
export function isTagged(packet: Packet): boolean {
  if (packet.isL3 || packet.start + ETHERNET_SIZE > packet.end) return false;
  const type = packet.view.getUint16(packet.start + ETHERNET_SIZE - 2);
  return type === ETH_P_8021Q || type === ETH_P_8021AD;
}

/**
 * Bytes of the frame as the kernel counts them: its outer tag lies in the descriptor (skb->vlan_tci),
 * not in the frame. What meters, check_pkt_len and trunc go by.
 */
export function kernelSize(packet: Packet): number {
  const size = packet.end - packet.start;
  return isTagged(packet) ? size - 4 : size;
}

/** Ethernet type of what lies at l3At; 0: the frame has none. */
export function networkType(packet: Packet): number {
  if (packet.isL3) return packet.ethType;
  return packet.l3At < packet.start + ETHERNET_SIZE ? 0 : packet.view.getUint16(packet.l3At - 2);
}

/** Puts an Ethernet header before an L3 packet; words[at …] has its addresses. The packet must have ETHERNET_SIZE bytes of headroom. */
export function pushEthernet(packet: Packet, words: Int32Array, at: number): DropReason {
  if (!packet.isL3) return IMPOSSIBLE;
  grow(packet, ETHERNET_SIZE);
  const { view, start } = packet;
  for (let word = 0; word < 3; word++) view.setInt32(start + 4 * word, words[at + word]!, true);
  view.setUint16(start + 12, packet.ethType);
  packet.isL3 = false;
  return 0;
}

/** Takes the Ethernet header away; one with a tag or without a type can't be, as in the kernel (skb_eth_pop). */
export function popEthernet(packet: Packet): DropReason {
  if (packet.isL3 || packet.l3At !== packet.start + ETHERNET_SIZE) return IMPOSSIBLE;
  const type = networkType(packet);
  if (type < ETH_P_802_3_MIN) return IMPOSSIBLE;
  shrink(packet, ETHERNET_SIZE);
  packet.isL3 = true;
  packet.ethType = type;
  return 0;
}
