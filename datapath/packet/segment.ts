/**
 * Segmentation of trains (GSO) in software, for ports that take none: TCP over IPv4 and IPv6
 * (RFC 9293), UDP_L4, tags in line, and trains inside a kernel tunnel, whose partial checksum begins
 * behind an outer UDP or GRE header (VXLAN, Geneve, GRE, and IP in IP).
 *
 * The kernel's segmentation (net/ipv4/tcp_offload.c, udp_offload.c, gre_offload.c) is the model: IPv4
 * identifications count up in the inner and the outer header, FIN and PSH stay with the last segment
 * and CWR with the first; a partial checksum's pseudo-header, in which a packet with a routing header
 * has its last destination, is adjusted for the length; an outer UDP checksum of 0 stays 0 and any other is computed for each
 * segment, as is GRE's if its header has one. Segments have complete checksums.
 */
import { difference16, finish, fold, pseudoIpv4, pseudoIpv6, sum, unit } from "./checksum.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import {
  copyBytes,
  copyMetadata,
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  type Packet,
} from "./packet.ts";

/** Where segments come from and go to. */
export interface SegmentSink {
  /** An empty packet with the usual headroom; undefined: none is free. */
  allocate(): Packet | undefined;
  /** Takes one segment and its packet. */
  emit(packet: Packet): void;
  /** Takes back an allocated packet that was not needed. */
  recycle(packet: Packet): void;
}

const INVALID = dropReason("tx-gso-invalid");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const NO_HEADROOM = dropReason("no-headroom");

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_GRE = 47;

const ETHERNET_SIZE = 14;
const IPV4_SIZE = 20;
const TCP_SIZE = 20;
const TCP_SEQUENCE = 4;
const TCP_OFFSET = 12;
const TCP_FLAGS = 13;
const TCP_CHECKSUM = 16;
const FIN = 0x01;
const PSH = 0x08;
const CWR = 0x80;
const UDP_SIZE = 8;
const UDP_LENGTH = 4;
const UDP_CHECKSUM = 6;
/** A GRE header with a checksum is at least this long. */
const GRE_CHECKSUM_SIZE = 8;
const GRE_CHECKSUM = 4;
/** Most segments of one train: a train of 64 KiB in the kernel's smallest pieces (TCP_MIN_GSO_SIZE). */
export const TRAIN_SEGMENTS_MAX = 8192;

const OUTER_NONE = 0;
const OUTER_UDP = 1;
const OUTER_GRE = 2;
const OUTER_IP = 3;

/** Where a train's headers are, relative to the frame's beginning. One object, filled for each train. */
class TrainLayout {
  /** Inner headers; the only ones of a train that is in no tunnel. */
  l3 = 0;
  l4 = 0;
  payload = 0;
  isIpv4 = true;
  isTcp = true;
  hasChecksum = true;
  /** The pseudo-header's sum without the length, if the train says what it is (needsCsum); −1: it does not. */
  storedPseudo = -1;
  outerKind = OUTER_NONE;
  outerL3 = 0;
  outerL4 = 0;
  outerIsIpv4 = true;
  outerHasChecksum = false;
}

const layout = new TrainLayout();

/**
 * Makes segments of a train, whose key must have been extracted (l3At, l4At, ip), and hands each to
 * the sink. The train is not changed. Returns 0, or why it could not be done: then no segments, or
 * only the first ones if the pool ran dry, have been handed over.
 */
export function segment(train: Packet, sink: SegmentSink): DropReason {
  if (!findLayout(train, layout)) return INVALID;
  const { gsoSize } = train;
  const payloadFrom = train.start + layout.payload;
  const payloadSize = train.end - payloadFrom;
  if (gsoSize === 0 || payloadSize > gsoSize * TRAIN_SEGMENTS_MAX) return INVALID;
  let index = 0;
  for (let offset = 0; offset === 0 || offset < payloadSize; offset += gsoSize) {
    const size = Math.min(gsoSize, payloadSize - offset);
    const packet = sink.allocate();
    if (packet === undefined) return POOL_EXHAUSTED;
    const start = packet.start;
    if (start + layout.payload + size > packet.tailLimit) {
      sink.recycle(packet);
      return NO_HEADROOM;
    }
    packet.end = start + layout.payload + size;
    copyBytes(train, train.start, packet, start, layout.payload);
    copyBytes(train, payloadFrom + offset, packet, start + layout.payload, size);
    copyMetadata(train, packet);
    packet.l3At = train.l3At - train.start + start;
    packet.l4At = train.l4At - train.start + start;
    packet.ip = train.ip;
    finishSegment(packet, index, offset, offset + size >= payloadSize);
    sink.emit(packet);
    index++;
  }
  return 0;
}

/** Finds the headers; false: they don't make sense. */
function findLayout(train: Packet, found: TrainLayout): boolean {
  const { view, start, end } = train;
  const type = train.gsoType & ~GSO_ECN;
  if (type !== GSO_TCPV4 && type !== GSO_TCPV6 && type !== GSO_UDP_L4) return false;
  const l4 = train.needsCsum ? start + train.csumStart : train.l4At;
  found.isTcp = type !== GSO_UDP_L4;
  if (l4 < start + IPV4_SIZE || l4 + (found.isTcp ? TCP_SIZE : UDP_SIZE) > end) return false;
  const headerSize = found.isTcp ? (view.getUint8(l4 + TCP_OFFSET) & 0xf0) >>> 2 : UDP_SIZE;
  if (found.isTcp && headerSize < TCP_SIZE) return false;
  if (l4 + headerSize > end) return false;
  found.hasChecksum = found.isTcp || train.needsCsum ||
    view.getUint16(l4 + UDP_CHECKSUM) !== 0;
  found.storedPseudo = -1;
  if (train.needsCsum) {
    const field = l4 + (found.isTcp ? TCP_CHECKSUM : UDP_CHECKSUM);
    found.storedPseudo = fold(view.getUint16(field, true) + difference16(unit(end - l4), 0));
  }
  const plain = l4 === train.l4At;
  const l3 = plain ? train.l3At : findInnerL3(train, l4, type);
  if (l3 < firstL3(train) || l3 >= l4) return false;
  if (!leadsUpTo(view, l3, l4)) return false;
  found.isIpv4 = view.getUint8(l3) >>> 4 === 4;
  if (plain && (train.ip & 0xff) !== (found.isTcp ? IPPROTO_TCP : IPPROTO_UDP)) return false;
  if (type === GSO_TCPV4 ? !found.isIpv4 : type === GSO_TCPV6 && found.isIpv4) return false;
  found.l3 = l3 - start;
  found.l4 = l4 - start;
  found.payload = l4 + headerSize - start;
  found.outerKind = OUTER_NONE;
  return plain || train.l4At === 0 || findOuter(train, found, l3);
}

/** Where an L3 header may begin. */
function firstL3(train: Packet): number {
  return train.isL3 ? train.start : train.start + ETHERNET_SIZE;
}

/** Whether the IP header says the version and size that extraction, which trusts the Ethernet type, has found. */
function leadsUpTo(view: DataView, l3: number, l4: number): boolean {
  const first = view.getUint8(l3);
  return first >>> 4 === 4 ? l3 + ((first & 0x0f) << 2) === l4 : first >>> 4 === 6 && l3 + 40 <= l4;
}

/** The headers around an encapsulated train: those that extraction found. */
function findOuter(train: Packet, found: TrainLayout, innerL3: number): boolean {
  const { view, start, l3At, l4At } = train;
  if (l4At > innerL3 || !leadsUpTo(view, l3At, l4At)) return false;
  found.outerL3 = l3At - start;
  found.outerL4 = l4At - start;
  found.outerIsIpv4 = view.getUint8(l3At) >>> 4 === 4;
  found.outerKind = OUTER_IP;
  found.outerHasChecksum = false;
  const protocol = train.ip & 0xff;
  if (protocol === IPPROTO_UDP) {
    if (l4At + UDP_SIZE > innerL3) return false;
    found.outerKind = OUTER_UDP;
    found.outerHasChecksum = view.getUint16(l4At + UDP_CHECKSUM) !== 0;
  } else if (protocol === IPPROTO_GRE) {
    found.outerKind = OUTER_GRE;
    if (l4At + 4 > innerL3) return false;
    found.outerHasChecksum = (view.getUint8(l4At) & 0x80) !== 0;
    if (found.outerHasChecksum && l4At + GRE_CHECKSUM_SIZE > innerL3) return false;
  }
  return true;
}

/**
 * The IP header that ends where the L4 header begins, sought backwards, because what lies between it
 * and the outer headers may be any tunnel protocol on any port. It must say its own size, the
 * protocol and the train's length, and have a right checksum. 0: none.
 */
function findInnerL3(train: Packet, l4: number, type: number): number {
  const { view, end } = train;
  const floor = train.l4At !== 0 ? train.l4At : firstL3(train);
  const protocol = type === GSO_UDP_L4 ? IPPROTO_UDP : IPPROTO_TCP;
  if (type !== GSO_TCPV6) {
    for (let size = 20; size <= 60 && l4 - size >= floor; size += 4) {
      const at = l4 - size;
      if (
        view.getUint8(at) === (0x40 | size >>> 2) && view.getUint8(at + 9) === protocol &&
        view.getUint16(at + 2) === end - at && sum(view, at, l4) === 0xffff
      ) {
        return at;
      }
    }
  }
  if (type !== GSO_TCPV4) {
    for (let at = l4 - 40; at >= floor && at >= l4 - 296; at -= 8) {
      if (
        view.getUint8(at) >>> 4 === 6 && view.getUint16(at + 4) === end - at - 40 &&
        leadsTo(view, at, l4, protocol)
      ) {
        return at;
      }
    }
  }
  return 0;
}

/** Whether an IPv6 header's chain of extension headers ends at `l4` with the protocol. */
function leadsTo(view: DataView, l3: number, l4: number, protocol: number): boolean {
  let next = view.getUint8(l3 + 6);
  let at = l3 + 40;
  while (at < l4) {
    next = view.getUint8(at);
    at += (view.getUint8(at + 1) + 1) << 3;
  }
  return at === l4 && next === protocol;
}

/** Puts a segment's headers right, from the inside out. `packet` has the train's headers so far. */
function finishSegment(packet: Packet, index: number, offset: number, isLast: boolean): void {
  const { view, start, end } = packet;
  const l3 = start + layout.l3;
  const l4 = start + layout.l4;
  if (layout.isTcp) {
    view.setUint32(l4 + TCP_SEQUENCE, (view.getUint32(l4 + TCP_SEQUENCE) + offset) >>> 0);
    let flags = view.getUint8(l4 + TCP_FLAGS);
    if (!isLast) flags &= ~(FIN | PSH);
    if (index > 0) flags &= ~CWR;
    view.setUint8(l4 + TCP_FLAGS, flags);
  } else {
    view.setUint16(l4 + UDP_LENGTH, end - l4);
  }
  finishIp(view, l3, end, index, layout.isIpv4);
  const protocol = layout.isTcp ? IPPROTO_TCP : IPPROTO_UDP;
  const pseudo = layout.storedPseudo >= 0
    ? fold(layout.storedPseudo + unit(end - l4))
    : layout.isIpv4
    ? pseudoIpv4(view, l3, protocol, end - l4)
    : pseudoIpv6(view, l3, protocol, end - l4);
  if (layout.hasChecksum) {
    const field = l4 + (layout.isTcp ? TCP_CHECKSUM : UDP_CHECKSUM);
    view.setUint16(field, 0);
    const checksum = finish(pseudo + sum(view, l4, end));
    view.setUint16(field, checksum === 0 && !layout.isTcp ? 0xffff : checksum, true);
  }
  packet.needsCsum = false;
  packet.csumValid = false;
  packet.csumStart = 0;
  packet.csumOffset = 0;
  packet.gsoType = GSO_NONE;
  packet.gsoSize = 0;
  if (layout.outerKind !== OUTER_NONE) finishOuter(packet, index, l4, pseudo);
}

/** Length, and for IPv4 identification and checksum. */
function finishIp(view: DataView, l3: number, end: number, index: number, isIpv4: boolean): void {
  if (!isIpv4) {
    view.setUint16(l3 + 4, end - l3 - 40);
    return;
  }
  view.setUint16(l3 + 2, end - l3);
  view.setUint16(l3 + 4, (view.getUint16(l3 + 4) + index) & 0xffff);
  view.setUint16(l3 + 10, 0);
  const headerSize = (view.getUint8(l3) & 0x0f) << 2;
  view.setUint16(l3 + 10, finish(sum(view, l3, l3 + headerSize)), true);
}

/**
 * The outer headers. `innerPseudo` is the inner pseudo-header's sum: an L4 segment with a right
 * checksum adds up to its complement, so the payload need not be summed again.
 */
function finishOuter(packet: Packet, index: number, innerL4: number, innerPseudo: number): void {
  const { view, start, end } = packet;
  const l3 = start + layout.outerL3;
  const l4 = start + layout.outerL4;
  finishIp(view, l3, end, index, layout.outerIsIpv4);
  if (layout.outerKind === OUTER_UDP) view.setUint16(l4 + UDP_LENGTH, end - l4);
  if (!layout.outerHasChecksum) return;
  const innerSum = ~innerPseudo & 0xffff;
  if (layout.outerKind === OUTER_GRE) {
    view.setUint16(l4 + GRE_CHECKSUM, 0);
    view.setUint16(l4 + GRE_CHECKSUM, finish(sum(view, l4, innerL4) + innerSum), true);
    return;
  }
  view.setUint16(l4 + UDP_CHECKSUM, 0);
  const outerPseudo = layout.outerIsIpv4
    ? pseudoIpv4(view, l3, IPPROTO_UDP, end - l4)
    : pseudoIpv6(view, l3, IPPROTO_UDP, end - l4);
  const total = fold(outerPseudo + sum(view, l4, innerL4)) + innerSum;
  view.setUint16(l4 + UDP_CHECKSUM, finish(total) || 0xffff, true);
}
