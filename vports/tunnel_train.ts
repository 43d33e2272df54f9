/**
 * Segments of an inner train on their way into a tunnel: each one's headers are written anew, its
 * payload stays where it is. As datapath/packet/segment.ts, which copies, but for trains that are in no
 * tunnel yet.
 */
import { finish, fold, pseudoIpv4, pseudoIpv6, sum } from "../datapath/packet/checksum.ts";
import * as tcp from "../datapath/headers/tcp.ts";
import * as udp from "../datapath/headers/udp.ts";
import {
  GSO_ECN,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  type Packet,
} from "../datapath/packet/packet.ts";

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const TCP_SEQUENCE = 4;
const TCP_FLAGS = 13;
const UDP_LENGTH = 4;

/** The train in hand. One object, filled for each. Offsets are relative to the packet's start. */
export class Train {
  l3 = 0;
  l4 = 0;
  /** Bytes of all inner headers. */
  headersSize = 0;
  isIpv4 = true;
  isTcp = true;
  hasChecksum = true;
  /** Folded sum of the segment written last, from its start on. */
  segmentSum = 0;

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
    this.hasChecksum = this.isTcp || packet.needsCsum || view.getUint16(l4At + udp.CHECKSUM) !== 0;
    return true;
  }

  /**
   * Writes the headers of the segment with `size` bytes of payload from `offset` of the train's on to
   * view[at, at + headersSize). `index` counts segments.
   */
  writeHeaders(
    packet: Packet,
    view: DataView,
    at: number,
    segment: { index: number; offset: number; size: number; isLast: boolean },
  ): void {
    const { index, offset, size, isLast } = segment;
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
    if (this.isTcp) {
      view.setUint32(l4 + TCP_SEQUENCE, (view.getUint32(l4 + TCP_SEQUENCE) + offset) >>> 0);
      let flags = view.getUint8(l4 + TCP_FLAGS);
      if (!isLast) flags &= ~(tcp.FIN | tcp.PSH);
      if (index > 0) flags &= ~tcp.CWR;
      view.setUint8(l4 + TCP_FLAGS, flags);
    } else {
      view.setUint16(l4 + UDP_LENGTH, l4Size);
    }
    this.#finishIp(view, l3, l4, l4Size, index);
    const payloadAt = from + headersSize + offset;
    const payloadSum = this.hasChecksum ? sum(source, payloadAt, payloadAt + size) : 0;
    const headersEnd = at + headersSize;
    if (this.hasChecksum) {
      const field = l4 + (this.isTcp ? tcp.CHECKSUM : udp.CHECKSUM);
      const protocol = this.isTcp ? IPPROTO_TCP : IPPROTO_UDP;
      const pseudo = this.isIpv4
        ? pseudoIpv4(view, l3, protocol, l4Size)
        : pseudoIpv6(view, l3, protocol, l4Size);
      view.setUint16(field, 0);
      const checksum = finish(pseudo + sum(view, l4, headersEnd) + payloadSum);
      view.setUint16(field, checksum === 0 && !this.isTcp ? 0xffff : checksum, true);
    }
    this.segmentSum = fold(sum(view, at, headersEnd) + payloadSum);
  }

  #finishIp(view: DataView, l3: number, l4: number, l4Size: number, index: number): void {
    if (!this.isIpv4) {
      view.setUint16(l3 + 4, l4 - l3 - 40 + l4Size);
      return;
    }
    view.setUint16(l3 + 2, l4 - l3 + l4Size);
    view.setUint16(l3 + 4, (view.getUint16(l3 + 4) + index) & 0xffff);
    view.setUint16(l3 + 10, 0);
    view.setUint16(l3 + 10, finish(sum(view, l3, l4)), true);
  }
}
