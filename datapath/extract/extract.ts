/**
 * From a frame to a flow key, as the kernel's key_extract does it (net/openvswitch/flow.c).
 *
 * Two VLAN tags, 802.2 and SNAP, L3 packets, IPv4, ARP and RARP, TCP, UDP, SCTP, ICMP; metadata in
 * extract_metadata.ts, IPv6 in extract_ipv6.ts, MPLS and NSH in extract_labels.ts. Frames are never
 * refused: a header that is malformed or cut off gives zero fields. Nothing is read outside the frame,
 * nothing is allocated, nothing thrown.
 *
 * Header fields go into the key in network byte order, so most are copied as little-endian words
 * (a third faster than byte order conversions, design reference: 21 ns against 24 and 40 by bytes);
 * constants here are therefore written as little-endian reads see them. V8 makes one piece of code of
 * what an IPv4 packet runs through; its size is at the limit of what V8 inlines, so measure
 * (bench/core.ts) after a change.
 */
import { clearFormer, writeMetadata } from "./extract_metadata.ts";
import { extractIpv6 } from "./extract_ipv6.ts";
import { extractMpls, extractNsh } from "./extract_labels.ts";
import type { Packet } from "../packet/packet.ts";

// Numbers and functions of the hot path are this module's own: imported ones are read from memory and
// not inlined, which costs 6 of 15 ns.
const FRAG_NONE = 0;
const FRAG_FIRST = 1;
const FRAG_LATER = 2;
const GSO_UDP = 3;
const GSO_ECN = 0x80;

// Ethernet types, as a little-endian read gives them.
const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
const ETH_P_ARP = 0x0608;
const ETH_P_RARP = 0x3580;
const ETH_P_MPLS_UC = 0x4788;
const ETH_P_MPLS_MC = 0x4888;
const ETH_P_NSH = 0x4f89;
const ETH_P_8021Q = 0x0081;
const ETH_P_8021AD = 0xa888;
const ETH_P_802_2 = 0x0400;
/** L3_PACKET of key.ts, as word 10 has it. */
const L3_PACKET = 0x00800000;

const IPPROTO_ICMP = 1;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_SCTP = 132;

/** Smallest Ethernet header. */
const ETHERNET_SIZE = 14;

/**
 * Writes the packet's key to keys[at, at + KEY_WORDS), and the packet's l3At, l4At and ip.
 *
 * The slot must hold zeros or what this function wrote there before, and nothing else may write it:
 * words that no header of the former and of this packet uses are left alone, because zeroing all 144
 * would cost more than all the rest. Which ones the former packet used follows from its key: its type,
 * its ct_state, and whether it came through a tunnel. A frame shorter than an Ethernet header gives a
 * key of metadata.
 */
export function extractKey(packet: Packet, keys: Int32Array, at: number): void {
  const view = packet.view;
  const start = packet.start;
  const end = packet.end;
  const before = keys[at + 10]! & 0xffff;
  // Only keys of other types, of connections and of tunnels use words from 16 on.
  if ((before !== ETH_P_IP && before !== 0) || (keys[at + 15]! | keys[at + 72]!) !== 0) {
    clearFormer(keys, at);
  }
  const inPort = packet.inPort;
  keys[at + 4] = (inPort & 0xff) << 8 | inPort >>> 8;
  if (
    (packet.priority | packet.mark | packet.recircId | packet.dpHash | packet.ctState) === 0 &&
    !packet.hasTunnel
  ) {
    keys[at] = 0;
    keys[at + 1] = 0;
    keys[at + 2] = 0;
    keys[at + 3] = 0;
  } else {
    writeMetadata(packet, keys, at);
  }
  packet.l4At = 0;
  packet.ip = 0;
  if (packet.isL3) {
    extractL3(packet, keys, at);
    return;
  }
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
  extractOther(packet, type, keys, at);
}

/** Network header of a type that is not IPv4; packet.l3At says where. */
function extractOther(packet: Packet, type: number, keys: Int32Array, at: number): void {
  keys[at + 11] = 0;
  keys[at + 12] = 0;
  keys[at + 13] = 0;
  keys[at + 14] = 0;
  switch (type) {
    case ETH_P_IPV6:
      if (extractIpv6(packet, isUdpFragmentTrain(packet), keys, at)) {
        const protocol = packet.ip & 0xff;
        extractPorts(packet.view, packet.l4At, packet.end, protocol, keys, at);
      }
      return;
    case ETH_P_ARP:
    case ETH_P_RARP:
      return extractArp(packet.view, packet.l3At, packet.end, keys, at);
    case ETH_P_MPLS_UC:
    case ETH_P_MPLS_MC:
      return extractMpls(packet, keys, at);
    case ETH_P_NSH:
      return extractNsh(packet, keys, at);
  }
}

/** A packet without an Ethernet header: addresses and tags are zero, the type is metadata. */
function extractL3(packet: Packet, keys: Int32Array, at: number): void {
  const type = packet.ethType >>> 8 & 0xff | (packet.ethType & 0xff) << 8;
  keys.fill(0, at + 5, at + 10);
  keys[at + 10] = type | L3_PACKET;
  packet.l3At = packet.start;
  if (type === ETH_P_IP) {
    extractIpv4(packet, packet.view, packet.start, packet.end, keys, at);
  } else {
    extractOther(packet, type, keys, at);
  }
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
