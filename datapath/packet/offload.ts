/**
 * Offload state of packets: partial checksums, and completing them in software.
 *
 * A partial checksum is the pseudo-header's sum, not complemented, in a checksum field at
 * csumStart + csumOffset; the device was to add everything from csumStart on.
 */
import { crc32c, finish, sum } from "./checksum.ts";
import type { Packet } from "./packet.ts";

/** Offset of the checksum field in SCTP's header: no other transport's is there. */
const SCTP_CHECKSUM = 8;
const SCTP_SIZE = 12;

/** Buffer offset where the partial checksum begins, 0 if the packet has none. */
export function partialAt(packet: Packet): number {
  return packet.needsCsum ? packet.start + packet.csumStart : 0;
}

/**
 * Whether the partial checksum is not that of the frame's own L4 header: it lies behind an outer L4
 * (or tunnel) header, as in the frame of a kernel tunnel whose underlay crosses the switch, or behind
 * MPLS or NSH. Needs the packet's key to have been extracted.
 */
export function isEncapsulated(packet: Packet): boolean {
  return packet.needsCsum && packet.start + packet.csumStart !== packet.l4At;
}

/**
 * Whether a partial checksum is of a kind that a virtio-net header can't tell: the receiver would
 * take SCTP's for an Internet checksum.
 */
export function partialNeedsSoftware(packet: Packet): boolean {
  return packet.needsCsum && packet.csumOffset === SCTP_CHECKSUM;
}

/**
 * Completes the packet's partial checksum in its bytes, which must be the caller's to change. False:
 * its offsets lie outside of the frame; nothing is changed then. Without one, does nothing.
 */
export function completeChecksum(packet: Packet): boolean {
  if (!packet.needsCsum) return true;
  const { view, end } = packet;
  const from = packet.start + packet.csumStart;
  const field = from + packet.csumOffset;
  if (from < packet.start || field < from) return false;
  if (packet.csumOffset === SCTP_CHECKSUM) {
    if (from + SCTP_SIZE > end) return false;
    view.setUint32(field, crc32c(view, from, end), true);
  } else {
    if (field + 2 > end) return false;
    // Zero means "none" to UDP; 0xffff is the same sum to everybody.
    view.setUint16(field, finish(sum(view, from, end)) || 0xffff, true);
  }
  packet.needsCsum = false;
  packet.csumStart = 0;
  packet.csumOffset = 0;
  return true;
}
