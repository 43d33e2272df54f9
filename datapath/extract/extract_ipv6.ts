/**
 * The IPv6 part of extraction (extract.ts): header, extension headers, ICMPv6 with neighbour discovery.
 * As the kernel's parse_ipv6hdr and parse_icmpv6 (net/openvswitch/flow.c).
 */
import { FRAG_FIRST, FRAG_LATER, FRAG_NONE } from "../key.ts";
import type { Packet } from "../packet/packet.ts";

const IPPROTO_ICMPV6 = 58;
const NEXTHDR_HOP = 0;
const NEXTHDR_ROUTING = 43;
const NEXTHDR_FRAGMENT = 44;
const NEXTHDR_AUTH = 51;
const NEXTHDR_NONE = 59;
const NEXTHDR_DEST = 60;

// Bits of ipv6_exthdrs, as EXTENSION_NAMES (fields.ts) names them; 2 is ESP, which nothing sets.
const EXTENSION_NONE = 0x001;
const EXTENSION_AUTH = 0x004;
const EXTENSION_DEST = 0x008;
const EXTENSION_FRAG = 0x010;
const EXTENSION_ROUTER = 0x020;
const EXTENSION_HOP = 0x040;
const EXTENSION_UNREP = 0x080;
const EXTENSION_UNSEQ = 0x100;

const ICMPV6_NEIGHBOUR_SOLICITATION = 135;
const ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136;
const ND_OPT_SOURCE_LL_ADDR = 1;
const ND_OPT_TARGET_LL_ADDR = 2;
/** ICMPv6 header and target address. */
const ND_MESSAGE_SIZE = 24;

/**
 * Network header and ICMPv6 message of an IPv6 packet; the slot's IPv6 words are zero. `isTrain`: it is
 * to become fragments. True: another transport header may lie at packet.l4At.
 */
export function extractIpv6(
  packet: Packet,
  isTrain: boolean,
  keys: Int32Array,
  at: number,
): boolean {
  const view = packet.view;
  const l3 = packet.l3At;
  const end = packet.end;
  if (l3 + 40 > end) return false;
  const word0 = view.getInt32(l3, true);
  for (let word = 0; word < 8; word++) {
    keys[at + 16 + word] = view.getInt32(l3 + 8 + word * 4, true);
  }
  keys[at + 24] = word0 & 0xffff0f00;
  const first = view.getUint8(l3 + 6);
  if (first === NEXTHDR_NONE || isExtension(first)) {
    keys[at + 46]! |= extensionsWord(view, l3, end);
  }
  const trafficClass = (word0 & 0x0f) << 4 | (word0 >>> 12) & 0x0f;
  let ip = trafficClass << 8 | view.getUint8(l3 + 7) << 16;
  const l4 = skipExtensions(view, l3, end);
  ip |= protocolFound | kindFound << 24;
  if (kindFound === FRAG_NONE && l4 > 0 && isTrain) ip |= FRAG_FIRST << 24;
  packet.ip = ip;
  keys[at + 11] = ip;
  if (l4 === 0) return false;
  packet.l4At = l4;
  if (protocolFound !== IPPROTO_ICMPV6) return true;
  extractIcmpv6(view, l4, end, keys, at);
  return false;
}

// Further results of skipExtensions. Small integers in module variables cost a store; an object or
// array for them would be an allocation or a lookup.
let protocolFound = 0;
let kindFound = FRAG_NONE;

/**
 * Walks the extension headers as ipv6_find_hdr does (net/ipv6/exthdrs_core.c). Returns where the L4
 * header begins (perhaps past the end of the frame) and sets protocolFound and kindFound. 0: there is
 * none, because this is a later fragment (protocol NEXTHDR_FRAGMENT) or the chain is cut off
 * (NEXTHDR_NONE).
 */
function skipExtensions(view: DataView, l3: number, end: number): number {
  let next = view.getUint8(l3 + 6);
  let at = l3 + 40;
  kindFound = FRAG_NONE;
  protocolFound = NEXTHDR_NONE;
  while (isExtension(next)) {
    if (at + 2 > end) return 0;
    const following = view.getUint8(at);
    let size = (view.getUint8(at + 1) + 1) << 3;
    if (next === NEXTHDR_ROUTING) {
      if (at + 4 > end) return 0;
    } else if (next === NEXTHDR_AUTH) {
      size = (view.getUint8(at + 1) + 2) << 2;
    } else if (next === NEXTHDR_FRAGMENT) {
      kindFound = FRAG_FIRST;
      if (at + 4 > end) return 0;
      if ((view.getUint16(at + 2, true) & 0xf8ff) !== 0) {
        // The kernel sees a later fragment only if no further extension header follows.
        if (!isExtension(following)) {
          kindFound = FRAG_LATER;
          protocolFound = NEXTHDR_FRAGMENT;
        }
        return 0;
      }
      size = 8;
    }
    next = following;
    at += size;
  }
  protocolFound = next;
  return at;
}

/** Bitmap of the extension headers, at its place in key word 46. */
function extensionsWord(view: DataView, l3: number, end: number): number {
  const found = ipv6ExtensionBits(view, l3, end);
  return found << 24 | (found & 0xff00) << 8;
}

/**
 * Which extension headers there are, as get_ipv6_ext_hdrs (net/openvswitch/flow.c) sees them: bits
 * OFPIEH12_* (OpenFlow 1.2). Its peculiarities are kept: it walks on behind a later fragment's header,
 * takes an authentication header's length for units of 8 bytes, and does not know ESP for an extension
 * header.
 */
function ipv6ExtensionBits(view: DataView, l3: number, end: number): number {
  let next = view.getUint8(l3 + 6);
  let at = l3 + 40;
  let bits = 0;
  let destinations = 0;
  while (isExtension(next)) {
    bits = withExtension(bits, destinations, next);
    if (next === NEXTHDR_DEST) destinations++;
    if (at + 2 > end) return bits;
    next = view.getUint8(at);
    at += (view.getUint8(at + 1) + 1) << 3;
  }
  return next === NEXTHDR_NONE ? bits | EXTENSION_NONE : bits;
}

/**
 * The bitmap after one more extension header, of the type `next`, behind headers that made it `bits`
 * and among which `destinations` were destination options. Like the kernel it takes the number 44 for
 * the bit of fragments when it judges what may precede authentication.
 */
export function withExtension(bits: number, destinations: number, next: number): number {
  if (next === NEXTHDR_DEST) return bits | destinationBits(bits, destinations);
  if (next === NEXTHDR_HOP) {
    const repeated = (bits & EXTENSION_HOP) === 0 ? 0 : EXTENSION_UNREP;
    return bits | repeated | (bits === 0 ? EXTENSION_HOP : EXTENSION_UNSEQ);
  }
  const bit = extensionBit(next);
  const found = (bits & bit) === 0 ? bits : bits | EXTENSION_UNREP;
  const isUnseq = (found & ~mayPrecede(next)) !== 0 || destinations >= 2;
  return found | bit | (isUnseq ? EXTENSION_UNSEQ : 0);
}

/** What one more destination options header adds: two are allowed, the first at the beginning. */
function destinationBits(bits: number, destinations: number): number {
  if (destinations >= 2) return EXTENSION_UNREP;
  const before = destinations === 0 ? EXTENSION_HOP | EXTENSION_UNREP : 0xff & ~EXTENSION_NONE;
  const unseq = (bits & ~before) === 0 ? 0 : EXTENSION_UNSEQ;
  return destinations === 0 ? EXTENSION_DEST | unseq : unseq;
}

function extensionBit(next: number): number {
  if (next === NEXTHDR_ROUTING) return EXTENSION_ROUTER;
  return next === NEXTHDR_FRAGMENT ? EXTENSION_FRAG : EXTENSION_AUTH;
}

/** Bits that are in order in front of a routing, fragment or authentication header (RFC 8200 §4.1). */
function mayPrecede(next: number): number {
  const first = EXTENSION_HOP | EXTENSION_DEST | EXTENSION_UNREP;
  if (next === NEXTHDR_ROUTING) return first;
  if (next === NEXTHDR_FRAGMENT) return first | EXTENSION_ROUTER;
  return first | EXTENSION_ROUTER | NEXTHDR_FRAGMENT;
}

/** Headers that another one follows. "No next header" ends the chain as an L4 protocol does. */
function isExtension(next: number): boolean {
  return next === NEXTHDR_HOP || next === NEXTHDR_ROUTING || next === NEXTHDR_FRAGMENT ||
    next === NEXTHDR_AUTH || next === NEXTHDR_DEST;
}

function extractIcmpv6(
  view: DataView,
  l4: number,
  end: number,
  keys: Int32Array,
  at: number,
): void {
  if (l4 + 8 > end) return;
  const type = view.getUint8(l4);
  keys[at + 14] = type << 8 | view.getUint8(l4 + 1) << 24;
  if (
    (type === ICMPV6_NEIGHBOUR_SOLICITATION || type === ICMPV6_NEIGHBOUR_ADVERTISEMENT) &&
    view.getUint8(l4 + 1) === 0
  ) {
    // Open vSwitch's nd_ext; the kernel has no such field.
    keys[at + 47] = view.getInt32(l4 + 4, true);
    if (l4 + ND_MESSAGE_SIZE <= end) extractNeighbourDiscovery(view, l4, end, keys, at);
  }
}

/**
 * Target address, link-layer addresses and the type of the first link-layer option; a repeated option
 * makes all addresses zero.
 */
function extractNeighbourDiscovery(
  view: DataView,
  l4: number,
  end: number,
  keys: Int32Array,
  at: number,
): void {
  for (let word = 0; word < 4; word++) {
    keys[at + 25 + word] = view.getInt32(l4 + 8 + word * 4, true);
  }
  let option = l4 + ND_MESSAGE_SIZE;
  while (option + 8 <= end) {
    const type = view.getUint8(option);
    const size = view.getUint8(option + 1) << 3;
    if (size === 0 || option + size > end) return;
    if (type === ND_OPT_SOURCE_LL_ADDR && size === 8) {
      if (keys[at + 29] !== 0 || (keys[at + 30]! & 0xffff) !== 0) {
        keys.fill(0, at + 25, at + 32);
        return;
      }
      noteOption(keys, at, type);
      keys[at + 29] = view.getInt32(option + 2, true);
      keys[at + 30]! |= view.getUint16(option + 6, true);
    } else if (type === ND_OPT_TARGET_LL_ADDR && size === 8) {
      if ((keys[at + 30]! >>> 16) !== 0 || keys[at + 31] !== 0) {
        keys.fill(0, at + 25, at + 32);
        return;
      }
      noteOption(keys, at, type);
      keys[at + 30]! |= view.getUint16(option + 2, true) << 16;
      keys[at + 31] = view.getInt32(option + 4, true);
    }
    option += size;
  }
}

/** Byte 1 of word 46, unless there was an option before. */
function noteOption(keys: Int32Array, at: number, type: number): void {
  if ((keys[at + 46]! & 0xff00) === 0) keys[at + 46]! |= type << 8;
}
