/**
 * How long packets are, as trunc, check_pkt_len and a port's MTU see them, and output of a part. All
 * sizes are the kernel's: without the outer tag, from the Ethernet header on.
 */
import { ETHERNET_SIZE, isTagged, kernelSize } from "../actions/ethernet_actions.ts";
import type { ActionHost } from "../actions/execute.ts";
import { GSO_ECN, GSO_NONE, GSO_UDP_L4, type Packet } from "./packet.ts";

const TAG_SIZE = 4;
const UDP_SIZE = 8;
const TCP_SIZE = 20;
const TCP_OFFSET = 12;

/** Whether the packet is at most `size` long: a train, if its segments are (skb_gso_validate_mac_len); a reassembled one, by its fragments. */
export function fitsInto(packet: Packet, size: number): boolean {
  if (packet.gsoType !== GSO_NONE && segmentSize(packet) <= size) return true;
  const whole = packet.mru === 0
    ? kernelSize(packet)
    : packet.mru + (packet.isL3 ? 0 : ETHERNET_SIZE);
  return whole <= size;
}

/** Size of a full segment of a train. */
function segmentSize(packet: Packet): number {
  const header = payloadAt(packet) - packet.start;
  return header + packet.gsoSize - (isTagged(packet) ? TAG_SIZE : 0);
}

/** Where a train's payload begins. */
function payloadAt(packet: Packet): number {
  const l4 = packet.needsCsum ? packet.start + packet.csumStart : packet.l4At;
  if ((packet.gsoType & ~GSO_ECN) === GSO_UDP_L4) return l4 + UDP_SIZE;
  const hasHeader = l4 >= packet.start && l4 + TCP_SIZE <= packet.end;
  return l4 + (hasHeader ? (packet.view.getUint8(l4 + TCP_OFFSET) & 0xf0) >>> 2 : TCP_SIZE);
}

/** Whether a single frame is too long for a device of that MTU; one tag is free (ovs_vport_send). */
export function isOverMtu(packet: Packet, mtu: number): boolean {
  if (packet.gsoType !== GSO_NONE) return false;
  return kernelSize(packet) - (packet.isL3 ? 0 : ETHERNET_SIZE) > mtu;
}

/**
 * Sends the first `keep` bytes to a port, but the Ethernet header at least. A checksum field that is
 * cut off can't be completed any more, and a train of less than a segment is none. What a device's port
 * has written in front of the frame for an earlier output says otherwise and may not have been read yet:
 * this port must write its own elsewhere.
 */
export function outputCut(host: ActionHost, packet: Packet, portNo: number, keep: number): void {
  const { end, headLimit, needsCsum, gsoType } = packet;
  const size = Math.max(keep, packet.isL3 ? 0 : ETHERNET_SIZE) + (isTagged(packet) ? TAG_SIZE : 0);
  if (packet.start + size >= end) {
    host.output(packet, portNo);
    return;
  }
  packet.end = packet.start + size;
  const field = packet.start + packet.csumStart + packet.csumOffset;
  if (gsoType !== GSO_NONE && packet.end <= payloadAt(packet) + packet.gsoSize) {
    packet.gsoType = GSO_NONE;
  }
  if (needsCsum && field + 2 > packet.end) packet.needsCsum = false;
  packet.headLimit = packet.start;
  if (packet.needsCsum && packet.gsoType === GSO_NONE) outputCopy(host, packet, portNo);
  else host.output(packet, portNo);
  packet.end = end;
  packet.headLimit = headLimit;
  packet.needsCsum = needsCsum;
  packet.gsoType = gsoType;
}

/** Sends a copy: a port may want the checksum completed, and the whole packet's is another one. */
function outputCopy(host: ActionHost, packet: Packet, portNo: number): void {
  const copy = host.copy(packet);
  if (copy === undefined) {
    // Better a cut frame with the sum that it has than none.
    packet.needsCsum = false;
    host.output(packet, portNo);
    return;
  }
  host.output(copy, portNo);
  host.recycle(copy);
}
