/**
 * Takes packets that were reassembled (ct_actions.ts) apart again where they leave, so that no
 * fragment is larger than the largest that came (mru), as the kernel does (net/openvswitch/actions.c:
 * ovs_fragment, with ip_do_fragment and ip6_fragment; RFC 791 §3.2, RFC 8200 §4.5). They have the sizes
 * that they came in; where those are not known, or the packet is longer or shorter by now, all but the
 * last are as large as the mru allows. What lies in front of the IP header, labels included, is
 * repeated in front of each.
 */
import { finish, sum } from "./checksum.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { isTagged, kernelSize, networkType } from "../actions/ethernet_actions.ts";
import { copyBytes, copyMetadata, GSO_NONE, type Packet } from "./packet.ts";
import type { SegmentSink } from "./segment.ts";

const IMPOSSIBLE = dropReason("fragment-impossible");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const NO_HEADROOM = dropReason("no-headroom");

const ETH_P_MPLS_UC = 0x8847;
const ETH_P_MPLS_MC = 0x8848;
const ETHERNET_SIZE = 14;
const TAG_SIZE = 4;
const LABEL_SIZE = 4;
const BOTTOM_OF_STACK = 0x100;
/** MAX_L2_LEN: an Ethernet header, a tag and three labels; the outer tag is not counted. */
const L2_SIZE_MAX = 30;

const IPV4_SIZE = 20;
const IPV4_TOTAL = 2;
const IPV4_FRAGMENT = 6;
const IPV4_CHECKSUM = 10;
const MORE_FRAGMENTS = 0x2000;

const IPV6_SIZE = 40;
const IPV6_MTU_MIN = 1280;
const FRAGMENT_SIZE = 8;
const HOP_OPTIONS = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;

/** Whether a packet is to leave in fragments: it was reassembled and is longer than the longest of them. */
export function wantsFragments(packet: Packet): boolean {
  return packet.mru !== 0 && packet.gsoType === GSO_NONE &&
    kernelSize(packet) > packet.mru + (packet.isL3 ? 0 : ETHERNET_SIZE);
}

/**
 * Hands the fragments of a packet, whose checksums are complete, to the sink. `identification`: 32 bits
 * for IPv6; IPv4 has its own. The packet is not changed. Returns 0, or why it could not be done: then
 * none, or only the first ones if the pool ran dry, have been handed over.
 */
export function fragment(packet: Packet, sink: SegmentSink, identification: number): DropReason {
  const l3 = findNetwork(packet);
  if (l3 < 0) return IMPOSSIBLE;
  const { view } = packet;
  const isIpv4 = view.getUint8(l3) >>> 4 === 4;
  const header = isIpv4 ? (view.getUint8(l3) & 0x0f) << 2 : ipv6HeaderSize(packet, l3);
  if (header < IPV4_SIZE || l3 + header > packet.end) return IMPOSSIBLE;
  const largest = isIpv4
    ? packet.mru - header
    : Math.max(packet.mru, IPV6_MTU_MIN) - header - FRAGMENT_SIZE;
  const step = largest & ~7;
  if (step <= 0) return IMPOSSIBLE;
  const left = packet.end - l3 - header;
  const added = isIpv4 ? 0 : FRAGMENT_SIZE;
  const pieces = hasPieces(packet, left) ? packet.metadata().pieces : undefined;
  let at = 0;
  for (let offset = 0; offset < left; at++) {
    // The last may end anywhere.
    const rest = left - offset <= largest ? left - offset : step;
    const size = pieces === undefined ? rest : pieces[at]!;
    const piece = sink.allocate();
    if (piece === undefined) return POOL_EXHAUSTED;
    const head = l3 + header - packet.start;
    if (piece.start + head + added + size > piece.tailLimit) {
      sink.recycle(piece);
      return NO_HEADROOM;
    }
    copyBytes(packet, packet.start, piece, piece.start, head);
    const payloadAt = piece.start + head + added;
    copyBytes(packet, l3 + header + offset, piece, payloadAt, size);
    piece.end = payloadAt + size;
    copyMetadata(packet, piece);
    piece.mru = 0;
    piece.l3At = packet.l3At - packet.start + piece.start;
    piece.l4At = offset === 0 ? payloadAt : 0;
    piece.ip = packet.ip & 0x00ff_ffff | (offset === 0 ? 1 : 2) << 24;
    const ipAt = l3 - packet.start + piece.start;
    const hasMore = offset + size < left;
    if (isIpv4) finishIpv4(piece, ipAt, offset, hasMore);
    else finishIpv6(piece, ipAt, payloadAt - FRAGMENT_SIZE, { offset, hasMore, identification });
    sink.emit(piece);
    offset += size;
  }
  return 0;
}

/** Whether the sizes of the fragments that it came in are those of a packet with `left` bytes to fragment. */
function hasPieces(packet: Packet, left: number): boolean {
  const { pieces, pieceCount } = packet.metadata();
  let total = 0;
  for (let at = 0; at < pieceCount; at++) total += pieces[at]!;
  return total === left;
}

/** Where the IP header lies, behind labels if there are any; −1: there is none, or too much in front of it. */
function findNetwork(packet: Packet): number {
  const { view, end } = packet;
  let at = packet.l3At;
  const type = networkType(packet);
  if (type === ETH_P_MPLS_UC || type === ETH_P_MPLS_MC) {
    let isBottom = false;
    while (!isBottom) {
      if (at + LABEL_SIZE > end) return -1;
      isBottom = (view.getInt32(at) & BOTTOM_OF_STACK) !== 0;
      at += LABEL_SIZE;
    }
  }
  if (at - packet.start - (isTagged(packet) ? TAG_SIZE : 0) > L2_SIZE_MAX) return -1;
  if (at + IPV4_SIZE > end) return -1;
  const version = view.getUint8(at) >>> 4;
  return version === 4 || version === 6 && at + IPV6_SIZE <= end ? at : -1;
}

/** Bytes of the IPv6 header and those extension headers that every fragment has (ip6_find_1stfragopt); 0: they are cut off. */
function ipv6HeaderSize(packet: Packet, l3: number): number {
  const { view, end } = packet;
  let next = view.getUint8(l3 + 6);
  let at = l3 + IPV6_SIZE;
  let hasRouting = false;
  while (
    next === HOP_OPTIONS || next === ROUTING || next === DESTINATION_OPTIONS && !hasRouting
  ) {
    if (at + 8 > end) return 0;
    hasRouting ||= next === ROUTING;
    next = view.getUint8(at);
    at += (view.getUint8(at + 1) + 1) << 3;
  }
  return at - l3;
}

function finishIpv4(piece: Packet, l3: number, offset: number, hasMore: boolean): void {
  const { view } = piece;
  view.setUint16(l3 + IPV4_TOTAL, piece.end - l3);
  view.setUint16(l3 + IPV4_FRAGMENT, offset >> 3 | (hasMore ? MORE_FRAGMENTS : 0));
  view.setUint16(l3 + IPV4_CHECKSUM, 0);
  const end = l3 + ((view.getUint8(l3) & 0x0f) << 2);
  view.setUint16(l3 + IPV4_CHECKSUM, finish(sum(view, l3, end)), true);
}

/** `at`: where the fragment header belongs. */
function finishIpv6(
  piece: Packet,
  l3: number,
  at: number,
  { offset, hasMore, identification }: {
    readonly offset: number;
    readonly hasMore: boolean;
    readonly identification: number;
  },
): void {
  const { view } = piece;
  let field = l3 + 6;
  for (let next = l3 + IPV6_SIZE; next < at;) {
    field = next;
    next += (view.getUint8(next + 1) + 1) << 3;
  }
  view.setUint8(at, view.getUint8(field));
  view.setUint8(at + 1, 0);
  view.setUint16(at + 2, offset | (hasMore ? 1 : 0));
  view.setInt32(at + 4, identification);
  view.setUint8(field, FRAGMENT);
  view.setUint16(l3 + 4, piece.end - l3 - IPV6_SIZE);
}
