/**
 * Segments of an inner train on their way into a tunnel: each one's headers are written anew, its
 * payload stays where it is. As datapath/packet/segment.ts, which copies, but for trains that are in no
 * tunnel yet.
 */
import {
  difference16,
  finish,
  fold,
  pseudoIpv4,
  pseudoIpv6,
  sum,
  unit,
} from "../datapath/packet/checksum.ts";
import * as tcp from "../datapath/headers/tcp.ts";
import * as udp from "../datapath/headers/udp.ts";
import {
  GSO_ECN,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  type Packet,
} from "../datapath/packet/packet.ts";
import { TRAIN_SEGMENTS_MAX } from "../datapath/packet/segment.ts";

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const TCP_SEQUENCE = 4;
const TCP_OFFSET = 12;
const TCP_FLAGS = 13;
const TCP_WINDOW = 14;
const TCP_URGENT = 18;
const UDP_LENGTH = 4;
const IPV6_SIZE = 40;

/** The train in hand. One object, filled for each. Offsets are relative to the packet's start. */
export class Train {
  l3 = 0;
  l4 = 0;
  /** Bytes of all inner headers. */
  headersSize = 0;
  isIpv4 = true;
  isTcp = true;
  hasChecksum = true;
  /** Folded sum of the segment written last, from its start on, if it was asked for. */
  segmentSum = 0;
  /** Sums of what is the same in the headers of all segments: of the IPv4 header; of the L4 header with its pseudo-header. */
  #l3Sum = 0;
  #l4Sum = 0;

  /** Finds the headers of a packet with a gsoType, whose key has been extracted. False: they don't make sense. */
  open(packet: Packet): boolean {
    const { view, start, end, l3At, l4At } = packet;
    const type = packet.gsoType & ~GSO_ECN;
    if (type !== GSO_TCPV4 && type !== GSO_TCPV6 && type !== GSO_UDP_L4) return false;
    if (l3At < start || l4At <= l3At || packet.gsoSize === 0) return false;
    this.isTcp = type !== GSO_UDP_L4;
    if ((packet.ip & 0xff) !== (this.isTcp ? IPPROTO_TCP : IPPROTO_UDP)) return false;
    if (this.isTcp ? !tcp.fits(view, l4At, end) : !udp.fits(view, l4At, end)) return false;
    this.isIpv4 = view.getUint8(l3At) >>> 4 === 4;
    if (type === GSO_TCPV4 ? !this.isIpv4 : type === GSO_TCPV6 && this.isIpv4) return false;
    this.l3 = l3At - start;
    this.l4 = l4At - start;
    const l4Size = this.isTcp ? tcp.headerSize(view, l4At) : udp.SIZE;
    this.headersSize = this.l4 + l4Size;
    const payloadSize = end - start - this.headersSize;
    if (payloadSize > packet.gsoSize * TRAIN_SEGMENTS_MAX) return false;
    this.hasChecksum = this.isTcp || packet.needsCsum || view.getUint16(l4At + udp.CHECKSUM) !== 0;
    return true;
  }

  /** Before the segments of a train that has been opened: sums what they have in common. */
  begin(packet: Packet): void {
    const { view, start } = packet;
    const l3 = start + this.l3;
    const l4 = start + this.l4;
    const end = start + this.headersSize;
    if (this.isIpv4) {
      // All but length, identification and checksum.
      this.#l3Sum = view.getUint16(l3, true) + view.getUint16(l3 + 6, true) +
        view.getUint16(l3 + 8, true) + sum(view, l3 + 12, l4);
    }
    if (!this.hasChecksum) return;
    this.#l4Sum = this.#pseudo(packet, l3, l4) + sum(view, l4, l4 + 4);
    if (!this.isTcp) return;
    // All but sequence, flags and checksum.
    this.#l4Sum += sum(view, l4 + 8, l4 + TCP_OFFSET) + view.getUint16(l4 + TCP_WINDOW, true) +
      sum(view, l4 + TCP_URGENT, end);
  }

  /** Folded sum of the pseudo-header without the length: what the train says it is, if it does (with a routing header the last destination is in it). */
  #pseudo(packet: Packet, l3: number, l4: number): number {
    const { view } = packet;
    if (packet.needsCsum) {
      const partial = view.getUint16(l4 + (this.isTcp ? tcp.CHECKSUM : udp.CHECKSUM), true);
      return fold(partial + difference16(unit(packet.end - l4), 0));
    }
    const protocol = this.isTcp ? IPPROTO_TCP : IPPROTO_UDP;
    return this.isIpv4 ? pseudoIpv4(view, l3, protocol, 0) : pseudoIpv6(view, l3, protocol, 0);
  }

  /**
   * Writes the headers of the segment with `size` bytes of payload from `offset` of the train's on to
   * view[at, at + headersSize). `index` counts segments. `isSummed`: segmentSum is wanted.
   */
  writeHeaders(
    packet: Packet,
    view: DataView,
    at: number,
    segment: Segment,
  ): void {
    const { index, offset, size, isLast, isSummed } = segment;
    const { headersSize } = this;
    const source = packet.view;
    const from = packet.start;
    let byte = 0;
    for (; byte + 4 <= headersSize; byte += 4) {
      view.setInt32(at + byte, source.getInt32(from + byte, true), true);
    }
    for (; byte < headersSize; byte++) view.setUint8(at + byte, source.getUint8(from + byte));
    const l3 = at + this.l3;
    const l4 = at + this.l4;
    const l4Size = headersSize - this.l4 + size;
    if (this.isIpv4) {
      const total = l4 - l3 + l4Size;
      const id = (view.getUint16(l3 + 4) + index) & 0xffff;
      view.setUint16(l3 + 2, total);
      view.setUint16(l3 + 4, id);
      view.setUint16(l3 + 10, finish(this.#l3Sum + unit(total) + unit(id)), true);
    } else {
      view.setUint16(l3 + 4, l4 - l3 - IPV6_SIZE + l4Size);
    }
    let changing = unit(l4Size);
    if (this.isTcp) {
      const sequence = (view.getUint32(l4 + TCP_SEQUENCE) + offset) >>> 0;
      view.setUint32(l4 + TCP_SEQUENCE, sequence);
      let flags = view.getUint8(l4 + TCP_FLAGS);
      if (!isLast) flags &= ~(tcp.FIN | tcp.PSH);
      if (index > 0) flags &= ~tcp.CWR;
      view.setUint8(l4 + TCP_FLAGS, flags);
      changing += unit(sequence >>> 16) + unit(sequence & 0xffff) +
        view.getUint16(l4 + TCP_OFFSET, true);
    } else {
      view.setUint16(l4 + UDP_LENGTH, l4Size);
      changing += unit(l4Size);
    }
    const payloadAt = from + headersSize + offset;
    const payloadSum = this.hasChecksum || isSummed ? sum(source, payloadAt, payloadAt + size) : 0;
    if (this.hasChecksum) {
      const field = l4 + (this.isTcp ? tcp.CHECKSUM : udp.CHECKSUM);
      const checksum = finish(this.#l4Sum + changing + payloadSum);
      view.setUint16(field, checksum === 0 && !this.isTcp ? 0xffff : checksum, true);
    }
    if (isSummed) this.segmentSum = fold(sum(view, at, at + headersSize) + payloadSum);
  }
}

/** One segment of a train. */
export interface Segment {
  /** 0, 1, … */
  readonly index: number;
  /** Of its payload in the train's, and its size, in bytes. */
  readonly offset: number;
  readonly size: number;
  readonly isLast: boolean;
  /** Its sum is wanted. */
  readonly isSummed: boolean;
}
