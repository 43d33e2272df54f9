/**
 * set(icmp), set(icmpv6), set(nd) and set(nd_ext), which Open vSwitch's own datapath has and the
 * kernel has not. Checksums are put right incrementally; one that is the pseudo-header's sum only is
 * left alone.
 */
import { difference16, update } from "../packet/checksum.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { partialAt } from "../packet/offload.ts";
import type { Packet } from "../packet/packet.ts";
import { masked } from "./set_field.ts";

const HEADER_MISSING = dropReason("set-header-missing");
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const HEADER_SIZE = 8;
const CHECKSUM = 2;
const RESERVED = 4;
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;
const TARGET = 8;
/** Header and target address. */
const MESSAGE_SIZE = 24;
const OPTION_SOURCE = 1;
const OPTION_TARGET = 2;
/** Bytes of a link-layer address option for Ethernet. */
const OPTION_SIZE = 8;

// Key words (key.ts).
const TYPE_WORD = 14;
const TARGET_WORD = 25;
const SOURCE_MAC_WORD = 29;
const TARGET_MAC_WORD = 30;
const OPTION_TYPE_WORD = 46;
const RESERVED_WORD = 47;

/** Type and code. words[at …] as set_field.ts has it, as in the functions that follow. */
export function setIcmp(
  packet: Packet,
  isIcmpv6: boolean,
  words: Int32Array,
  at: number,
): DropReason {
  const { view, l4At } = packet;
  const protocol = isIcmpv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
  if (l4At === 0 || l4At + HEADER_SIZE > packet.end || (packet.ip & 0xff) !== protocol) {
    return HEADER_MISSING;
  }
  // Type and code lie in the lower bytes of two 16-bit fields.
  const old = view.getUint8(l4At) << 8 | view.getUint8(l4At + 1) << 24;
  const word = masked(words, at, TYPE_WORD, old);
  set16(packet, l4At, (word >>> 8 & 0xff) | (word >>> 24) << 8);
  return 0;
}

/** Target address, and the link-layer address in the first option that has one: a message has no use for two. */
export function setNeighbour(packet: Packet, words: Int32Array, at: number): DropReason {
  if (!isNeighbourDiscovery(packet)) return HEADER_MISSING;
  const { view, l4At, end } = packet;
  for (let word = 0; word < 4; word++) {
    const place = l4At + TARGET + 4 * word;
    set32(packet, place, masked(words, at, TARGET_WORD + word, view.getInt32(place, true)));
  }
  let option = l4At + MESSAGE_SIZE;
  while (option + OPTION_SIZE <= end) {
    const type = view.getUint8(option);
    const size = view.getUint8(option + 1) << 3;
    if (size === 0 || option + size > end) break;
    if (size === OPTION_SIZE && (type === OPTION_SOURCE || type === OPTION_TARGET)) {
      if (type === OPTION_SOURCE) setSource(packet, option + 2, words, at);
      else setTarget(packet, option + 2, words, at);
      break;
    }
    option += size;
  }
  return 0;
}

/** The source's address begins with a word of the key, the target's in the middle of one. */
function setSource(packet: Packet, mac: number, words: Int32Array, at: number): void {
  const { view } = packet;
  set32(packet, mac, masked(words, at, SOURCE_MAC_WORD, view.getInt32(mac, true)));
  const low = masked(words, at, SOURCE_MAC_WORD + 1, view.getUint16(mac + 4, true));
  set16(packet, mac + 4, low & 0xffff);
}

function setTarget(packet: Packet, mac: number, words: Int32Array, at: number): void {
  const { view } = packet;
  const high = masked(words, at, TARGET_MAC_WORD, view.getUint16(mac, true) << 16);
  set16(packet, mac, high >>> 16);
  set32(packet, mac + 2, masked(words, at, TARGET_MAC_WORD + 1, view.getInt32(mac + 2, true)));
}

/** Reserved word (flags), and the type of the first option. */
export function setNeighbourExtension(packet: Packet, words: Int32Array, at: number): DropReason {
  if (!isNeighbourDiscovery(packet)) return HEADER_MISSING;
  const { view, l4At, end } = packet;
  const reserved = l4At + RESERVED;
  set32(packet, reserved, masked(words, at, RESERVED_WORD, view.getInt32(reserved, true)));
  const option = l4At + MESSAGE_SIZE;
  if (option + OPTION_SIZE > end) return 0;
  // The type is the second byte of its word of the key.
  const old = view.getUint16(option, true);
  const type = masked(words, at, OPTION_TYPE_WORD, (old & 0xff) << 8) >>> 8 & 0xff;
  set16(packet, option, old & 0xff00 | type);
  return 0;
}

function isNeighbourDiscovery(packet: Packet): boolean {
  const { view, l4At } = packet;
  if (l4At === 0 || l4At + MESSAGE_SIZE > packet.end) return false;
  if ((packet.ip & 0xff) !== IPPROTO_ICMPV6) return false;
  const type = view.getUint8(l4At);
  return type === NEIGHBOUR_SOLICITATION || type === NEIGHBOUR_ADVERTISEMENT;
}

function set32(packet: Packet, place: number, value: number): void {
  set16(packet, place, value & 0xffff);
  set16(packet, place + 2, value >>> 16);
}

/** Sets two bytes at an even distance from l4At to a little-endian unit, and the checksum right. */
function set16(packet: Packet, place: number, value: number): void {
  const { view, l4At } = packet;
  const old = view.getUint16(place, true);
  if (old === value) return;
  view.setUint16(place, value, true);
  if (partialAt(packet) === l4At) return;
  const checksum = view.getUint16(l4At + CHECKSUM, true);
  view.setUint16(l4At + CHECKSUM, update(checksum, difference16(old, value)), true);
}
