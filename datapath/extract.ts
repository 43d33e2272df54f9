/**
 * From a frame to a flow key, as the kernel's key_extract does it (net/openvswitch/flow.c).
 *
 * Two VLAN tags, 802.2 and SNAP, IPv4, IPv6 with extension headers, ARP and RARP, TCP, UDP, SCTP,
 * ICMP, ICMPv6 with neighbour discovery. Frames are never refused: a header that is malformed or cut
 * off gives zero fields. Nothing is read outside the frame, nothing is allocated, nothing thrown.
 *
 * Header fields go into the key in network byte order, so most are copied as little-endian words
 * (a third faster than byte order conversions, design reference: 21 ns against 24 and 40 by bytes);
 * constants here are therefore written as little-endian reads see them. V8 makes one piece of code of
 * what an IPv4 packet runs through; its size is at the limit of what V8 inlines, so measure
 * (bench/core.ts) after a change.
 */
import { FRAG_FIRST, FRAG_LATER, FRAG_NONE } from "./key.ts";
import { GSO_ECN, GSO_UDP, type Packet } from "./packet.ts";

// Ethernet types, as a little-endian read gives them.
const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
const ETH_P_ARP = 0x0608;
const ETH_P_RARP = 0x3580;
const ETH_P_8021Q = 0x0081;
const ETH_P_8021AD = 0xa888;
const ETH_P_802_2 = 0x0400;

const IPPROTO_ICMP = 1;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_SCTP = 132;
const IPPROTO_ICMPV6 = 58;

const NEXTHDR_HOP = 0;
const NEXTHDR_ROUTING = 43;
const NEXTHDR_FRAGMENT = 44;
const NEXTHDR_AUTH = 51;
const NEXTHDR_NONE = 59;
const NEXTHDR_DEST = 60;

const ICMPV6_NEIGHBOUR_SOLICITATION = 135;
const ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136;
const ND_OPT_SOURCE_LL_ADDR = 1;
const ND_OPT_TARGET_LL_ADDR = 2;
/** ICMPv6 header and target address. */
const ND_MESSAGE_SIZE = 24;

/** Smallest Ethernet header. */
const ETHERNET_SIZE = 14;

/**
 * Writes the packet's key to keys[at, at + KEY_WORDS), and the packet's l3At, l4At and ip.
 *
 * The slot must hold zeros or what this function wrote there before, and nothing else may write it:
 * words that no header of the former and of this packet uses are left alone, because zeroing all 32
 * would cost a fifth of the time. A frame shorter than an Ethernet header gives a key of metadata.
 */
export function extractKey(packet: Packet, keys: Int32Array, at: number): void {
  const view = packet.view;
  const start = packet.start;
  const end = packet.end;
  // Only keys that are neither IPv4 nor empty use the upper half.
  const before = keys[at + 10]! & 0xffff;
  if (before !== ETH_P_IP && before !== 0) clearUpperHalf(keys, at);
  const inPort = packet.inPort;
  keys[at + 4] = (inPort & 0xff) << 8 | inPort >>> 8;
  if ((packet.priority | packet.mark | packet.recircId) === 0) {
    keys[at] = 0;
    keys[at + 1] = 0;
    keys[at + 3] = 0;
  } else {
    writeMetadata(packet, keys, at);
  }
  packet.l4At = 0;
  packet.ip = 0;
  if (end - start < ETHERNET_SIZE) {
    packet.l3At = 0;
    keys.fill(0, at + 5, at + 15);
    return;
  }
  keys[at + 5] = view.getInt32(start, true);
  keys[at + 6] = view.getInt32(start + 4, true);
  keys[at + 7] = view.getInt32(start + 8, true);
  let type = view.getUint16(start + 12, true);
  let l3 = start + ETHERNET_SIZE;
  let tag = 0;
  let innerTag = 0;
  if (isTag(type) && l3 + 4 <= end) {
    tag = tagWord(view, l3 - 2);
    l3 += 4;
    type = view.getUint16(l3 - 2, true);
    if (isTag(type) && l3 + 4 <= end) {
      innerTag = tagWord(view, l3 - 2);
      l3 += 4;
      type = view.getUint16(l3 - 2, true);
    }
  }
  keys[at + 8] = tag;
  keys[at + 9] = innerTag;
  if ((type & 0xff) < 0x06) {
    const snap = snapType(view, l3, end);
    // The LLC and SNAP headers count as link layer when their OUI is that of Ethernet.
    if (snap >= 0) l3 += 8;
    type = snap > 0 ? snap : ETH_P_802_2;
  }
  packet.l3At = l3;
  keys[at + 10] = type;
  if (type === ETH_P_IP) {
    // Positions as arguments: to read them from the packet again cost 5 of 27 ns.
    extractIpv4(packet, view, l3, end, keys, at);
    return;
  }
  keys[at + 11] = 0;
  keys[at + 12] = 0;
  keys[at + 13] = 0;
  keys[at + 14] = 0;
  if (type === ETH_P_IPV6) extractIpv6(packet, keys, at);
  else if (type === ETH_P_ARP || type === ETH_P_RARP) extractArp(view, l3, end, keys, at);
}

function clearUpperHalf(keys: Int32Array, at: number): void {
  for (let word = at + 16; word < at + 32; word++) keys[word] = 0;
}

function writeMetadata(packet: Packet, keys: Int32Array, at: number): void {
  keys[at] = networkOrder(packet.priority);
  keys[at + 1] = networkOrder(packet.mark);
  keys[at + 3] = networkOrder(packet.recircId);
}

/** A word whose four bytes, as they lie in memory, are the number in network byte order. */
function networkOrder(value: number): number {
  return (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}

function isTag(type: number): boolean {
  return type === ETH_P_8021Q || type === ETH_P_8021AD;
}

/** Key word of the tag whose TPID is at `at`: TCI first, CFI set to say that there is one. */
function tagWord(view: DataView, at: number): number {
  const word = view.getInt32(at, true);
  return (word >>> 16) | (word << 16) | 0x10;
}

/** Ethernet type in a SNAP header; 0: SNAP with another protocol identifier; −1: no such header. */
function snapType(view: DataView, at: number, end: number): number {
  if (at + 8 > end) return -1;
  // DSAP, SSAP, control (which may be anything), first byte of the OUI; the rest of the OUI, type.
  if ((view.getInt32(at, true) & 0xff00ffff) !== 0xaaaa) return -1;
  const word = view.getInt32(at + 4, true);
  if ((word & 0xffff) !== 0) return -1;
  const type = word >>> 16;
  return (type & 0xff) < 0x06 ? 0 : type;
}

function extractIpv4(
  packet: Packet,
  view: DataView,
  l3: number,
  end: number,
  keys: Int32Array,
  at: number,
): void {
  const headerSize = l3 + 20 <= end ? (view.getUint8(l3) & 0x0f) << 2 : 0;
  if (headerSize < 20 || l3 + headerSize > end) {
    keys[at + 11] = 0;
    keys[at + 12] = 0;
    keys[at + 13] = 0;
    keys[at + 14] = 0;
    return;
  }
  const word0 = view.getInt32(l3, true);
  const fragment = view.getInt32(l3 + 4, true);
  const word2 = view.getInt32(l3 + 8, true);
  let kind = FRAG_NONE;
  if ((fragment & 0xff1f0000) !== 0) kind = FRAG_LATER;
  else if ((fragment & 0x00200000) !== 0 || isUdpFragmentTrain(packet)) kind = FRAG_FIRST;
  const protocol = (word2 >>> 8) & 0xff;
  const ip = protocol | (word0 & 0xff00) | (word2 & 0xff) << 16 | kind << 24;
  packet.ip = ip;
  keys[at + 11] = ip;
  keys[at + 12] = view.getInt32(l3 + 12, true);
  keys[at + 13] = view.getInt32(l3 + 16, true);
  if (kind === FRAG_LATER) {
    keys[at + 14] = 0;
    return;
  }
  const l4 = l3 + headerSize;
  packet.l4At = l4;
  if (protocol === IPPROTO_ICMP) {
    keys[at + 14] = l4 + 8 <= end ? icmpWord(view, l4) : 0;
  } else {
    extractPorts(view, l4, end, protocol, keys, at);
  }
}

/** UFO: one datagram that is to become IP fragments; the kernel calls it a first fragment. */
function isUdpFragmentTrain(packet: Packet): boolean {
  return (packet.gsoType & ~GSO_ECN) === GSO_UDP;
}

/** Type and code as 16-bit fields. */
function icmpWord(view: DataView, l4: number): number {
  return view.getUint8(l4) << 8 | view.getUint8(l4 + 1) << 24;
}

/** Ports of TCP, UDP and SCTP, and TCP's flags. */
function extractPorts(
  view: DataView,
  l4: number,
  end: number,
  protocol: number,
  keys: Int32Array,
  at: number,
): void {
  let ports = 0;
  if (protocol === IPPROTO_TCP) {
    if (l4 + 20 <= end) {
      const word = view.getUint16(l4 + 12, true);
      const headerSize = (word & 0xf0) >>> 2;
      if (headerSize >= 20 && l4 + headerSize <= end) {
        ports = view.getInt32(l4, true);
        keys[at + 10]! |= (word & 0xff0f) << 16;
      }
    }
  } else if (protocol === IPPROTO_UDP) {
    if (l4 + 8 <= end) ports = view.getInt32(l4, true);
  } else if (protocol === IPPROTO_SCTP) {
    if (l4 + 12 <= end) ports = view.getInt32(l4, true);
  }
  keys[at + 14] = ports;
}

function extractArp(view: DataView, l3: number, end: number, keys: Int32Array, at: number): void {
  if (l3 + 28 > end) return;
  // Hardware type Ethernet, protocol IPv4, address sizes 6 and 4.
  if (view.getInt32(l3, true) !== 0x00080100 || view.getUint16(l3 + 4, true) !== 0x0406) return;
  const operation = view.getUint16(l3 + 6, true);
  // Only opcodes up to 255: the first byte is zero.
  keys[at + 11] = (operation & 0xff) === 0 ? operation >>> 8 : 0;
  keys[at + 12] = view.getInt32(l3 + 14, true);
  keys[at + 13] = view.getInt32(l3 + 24, true);
  keys[at + 16] = view.getInt32(l3 + 8, true);
  keys[at + 17] = view.getUint16(l3 + 12, true) | view.getUint16(l3 + 18, true) << 16;
  keys[at + 18] = view.getInt32(l3 + 20, true);
}

function extractIpv6(packet: Packet, keys: Int32Array, at: number): void {
  const view = packet.view;
  const l3 = packet.l3At;
  const end = packet.end;
  if (l3 + 40 > end) return;
  const word0 = view.getInt32(l3, true);
  for (let word = 0; word < 8; word++) {
    keys[at + 16 + word] = view.getInt32(l3 + 8 + word * 4, true);
  }
  keys[at + 24] = word0 & 0xffff0f00;
  const trafficClass = (word0 & 0x0f) << 4 | (word0 >>> 12) & 0x0f;
  let ip = trafficClass << 8 | view.getUint8(l3 + 7) << 16;
  const l4 = skipExtensions(view, l3, end);
  ip |= protocolFound | kindFound << 24;
  if (kindFound === FRAG_NONE && l4 > 0 && isUdpFragmentTrain(packet)) ip |= FRAG_FIRST << 24;
  packet.ip = ip;
  keys[at + 11] = ip;
  if (l4 === 0) return;
  packet.l4At = l4;
  if (protocolFound === IPPROTO_ICMPV6) extractIcmpv6(view, l4, end, keys, at);
  else extractPorts(view, l4, end, protocolFound, keys, at);
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
  keys[at + 14] = icmpWord(view, l4);
  const type = view.getUint8(l4);
  if (
    (type === ICMPV6_NEIGHBOUR_SOLICITATION || type === ICMPV6_NEIGHBOUR_ADVERTISEMENT) &&
    view.getUint8(l4 + 1) === 0 && l4 + ND_MESSAGE_SIZE <= end
  ) {
    extractNeighbourDiscovery(view, l4, end, keys, at);
  }
}

/** Target address and link-layer addresses; a repeated option makes all of them zero. */
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
      keys[at + 29] = view.getInt32(option + 2, true);
      keys[at + 30]! |= view.getUint16(option + 6, true);
    } else if (type === ND_OPT_TARGET_LL_ADDR && size === 8) {
      if ((keys[at + 30]! >>> 16) !== 0 || keys[at + 31] !== 0) {
        keys.fill(0, at + 25, at + 32);
        return;
      }
      keys[at + 30]! |= view.getUint16(option + 2, true) << 16;
      keys[at + 31] = view.getInt32(option + 4, true);
    }
    option += size;
  }
}
