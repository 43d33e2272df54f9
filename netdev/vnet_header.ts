/**
 * `struct virtio_net_hdr` (linux/virtio_net.h), 10 bytes, little endian here: how the kernel tells
 * and is told a frame's offload state, by packet sockets and TAP devices alike.
 */
import {
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  type Packet,
} from "../datapath/packet/packet.ts";
import { virtio_net_hdr, VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM } from "./abi.ts";

const UDP_HEADER_SIZE = 8;
const TCP_DATA_OFFSET_AT = 12;

/** Sets the packet's offload fields from the header at `at`. */
export function readVnetHeader(view: DataView, at: number, packet: Packet): void {
  const first = view.getUint32(at, true);
  const second = view.getUint32(at + virtio_net_hdr.gso_size, true);
  packet.needsCsum = (first & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
  packet.csumValid = (first & VIRTIO_NET_HDR_F_DATA_VALID) !== 0;
  packet.gsoType = (first >>> 8) & 0xff;
  packet.gsoSize = second & 0xffff;
  packet.csumStart = second >>> 16;
  packet.csumOffset = view.getUint16(at + virtio_net_hdr.csum_offset, true);
}

/** Writes the packet's offload fields as the 10 bytes at `at`. */
export function writeVnetHeader(view: DataView, at: number, packet: Packet): void {
  let first = 0;
  let second = 0;
  let third = 0;
  if (packet.needsCsum) {
    first = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    second = packet.csumStart << 16;
    third = packet.csumOffset;
  }
  if (packet.gsoType !== GSO_NONE) {
    first |= (packet.gsoType << 8) | (headersSize(packet) << 16);
    second |= packet.gsoSize;
  }
  view.setUint32(at, first, true);
  view.setUint32(at + virtio_net_hdr.gso_size, second, true);
  view.setUint16(at + virtio_net_hdr.csum_offset, third, true);
}

/** Bytes of a train's headers (hdr_len): what the kernel must have contiguous. A hint, kept within the frame; 0: not known. */
function headersSize(packet: Packet): number {
  // Without a partial checksum csumStart means nothing, and after a pop_vlan it is negative.
  const l4At = packet.needsCsum ? packet.start + packet.csumStart : packet.l4At;
  if (l4At === 0) return 0;
  const type = packet.gsoType & ~GSO_ECN;
  let size = l4At - packet.start;
  if (type === GSO_UDP_L4) {
    size += UDP_HEADER_SIZE;
  } else if (type === GSO_TCPV4 || type === GSO_TCPV6) {
    if (l4At + TCP_DATA_OFFSET_AT >= packet.end) return 0;
    size += (packet.view.getUint8(l4At + TCP_DATA_OFFSET_AT) >>> 4) * 4;
  }
  return Math.min(size, packet.end - packet.start);
}
