/**
 * What packet sockets need of the switch: the part of `VportHost` (vports/vport.ts) that they use.
 * netdev stands below vports, so the shape is written again here, and theirs fits it.
 */
import type { DropReason } from "../datapath/drop_reasons.ts";
import { clearMetadata, type Packet } from "../datapath/packet/packet.ts";

/** The switch, as seen by a receiver or sender. Hosts may differ from port to port. */
export interface PacketHost {
  /** A free packet of the thread's pool with room for FRAME_SIZE_MAX, or undefined. */
  allocate(): Packet | undefined;
  /** Takes back a packet from `allocate` that was not handed to `receive`. */
  recycle(packet: Packet): void;
  /** Hands over a received packet; its bytes stay valid until the receiver's `release`. */
  receive(portNo: number, packet: Packet): void;
  /** Counts a packet, or `count`, that could not be received. */
  countRxDrop(portNo: number, reason: DropReason, count?: number): void;
  /** Counts a packet that was accepted for sending and then refused. `size` in bytes. */
  countTxDrop(portNo: number, reason: DropReason, size: number): void;
}

/** Fills in what a receiver owes to every packet and hands it over. */
export function hand(packet: Packet, portNo: number, host: PacketHost): void {
  clearMetadata(packet);
  packet.inPort = portNo;
  packet.l3At = 0;
  packet.l4At = 0;
  packet.lentInRound = -1;
  host.receive(portNo, packet);
}
