/**
 * Fetching one frame from a packet socket's queue into a packet (recvmsg), with its virtio-net
 * header, device and VLAN tag; and putting a tag back in line.
 */
import { FRAME_SIZE_MAX, type Packet } from "../datapath/packet/packet.ts";
import {
  cmsghdr,
  ETH_P_8021Q,
  iovec,
  MSG_DONTWAIT,
  MSG_TRUNC,
  msghdr,
  PACKET_AUXDATA,
  sockaddr_ll,
  SOL_PACKET,
  TP_STATUS_VLAN_TPID_VALID,
  TP_STATUS_VLAN_VALID,
  tpacket_auxdata,
  virtio_net_hdr,
} from "./abi.ts";
import type { Libc } from "./libc.ts";
import { type MappedBuffer, pointerTo } from "./memory.ts";
import { readVnetHeader } from "./vnet_header.ts";

const VLAN_TAG_SIZE = 4;
const MACS_SIZE = 12;

/** Layout of the memory for one recvmsg. */
const IOVEC_AT = 64;
const VNET_AT: number = IOVEC_AT + 2 * iovec.size;
const NAME_AT: number = VNET_AT + 16;
const CONTROL_AT: number = NAME_AT + 32;
const CONTROL_SIZE = 64;
const AUXDATA_AT: number = CONTROL_AT + cmsghdr.size;
export const FETCH_SIZE: number = CONTROL_AT + CONTROL_SIZE;

export class FrameFetch {
  readonly #libc: Libc;
  readonly #recvmsg: Libc["socket"]["recvmsg"];
  readonly #view: DataView<ArrayBuffer>;
  readonly #message: Deno.PointerObject;
  /** errno of the last fetch that returned −1. */
  errno = 0;

  /** `memory`: at least FETCH_SIZE bytes, all this object's until the socket is closed. */
  constructor(calls: Libc, memory: MappedBuffer) {
    this.#libc = calls;
    this.#recvmsg = calls.socket.recvmsg;
    const { view, address } = memory.buffer;
    this.#view = view;
    this.#message = pointerTo(memory.buffer);
    view.setBigUint64(msghdr.msg_name, BigInt(address + NAME_AT), true);
    view.setBigUint64(msghdr.msg_iov, BigInt(address + IOVEC_AT), true);
    view.setUint32(msghdr.msg_iovlen, 2, true);
    view.setBigUint64(msghdr.msg_control, BigInt(address + CONTROL_AT), true);
    view.setBigUint64(IOVEC_AT + iovec.iov_base, BigInt(address + VNET_AT), true);
    view.setUint32(IOVEC_AT + iovec.iov_len, virtio_net_hdr.size, true);
  }

  /**
   * Takes the queue's first frame. Into `packet` from its start on, with `end` and the offload fields
   * set, or nowhere. Returns the frame's size, which is more than the room when it was cut off (`end`
   * is then not set); −1: nothing taken, or, with EINVAL, a frame whose offload state can't be told.
   */
  fetch(fd: number, packet: Packet | undefined): number {
    const view = this.#view;
    const room = packet === undefined
      ? 0
      : Math.min(packet.tailLimit - packet.start, FRAME_SIZE_MAX);
    const base = packet === undefined ? 0 : packet.buffer.address + packet.start;
    const iov = IOVEC_AT + iovec.size;
    view.setUint32(iov + iovec.iov_base, base >>> 0, true);
    view.setUint32(iov + iovec.iov_base + 4, (base / 0x1_0000_0000) >>> 0, true);
    view.setUint32(iov + iovec.iov_len, room, true);
    // The kernel has overwritten both with what it filled in last time.
    view.setUint32(msghdr.msg_namelen, sockaddr_ll.size, true);
    view.setUint32(msghdr.msg_controllen, CONTROL_SIZE, true);
    const got = this.#recvmsg(fd, this.#message, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0) {
      this.errno = this.#libc.errno();
      return -1;
    }
    const size = got - virtio_net_hdr.size;
    if (packet !== undefined && size <= room) {
      packet.end = packet.start + size;
      readVnetHeader(view, VNET_AT, packet);
    }
    return size;
  }

  /** Device that the last frame came in by; only of a socket without a ring. */
  get ifindex(): number {
    return this.#view.getInt32(NAME_AT + sockaddr_ll.sll_ifindex, true);
  }

  /** The last frame's tag as {@link restoreTag} takes it, or −1; only of a socket with PACKET_AUXDATA. */
  get tag(): number {
    const view = this.#view;
    if (view.getUint32(msghdr.msg_controllen, true) < cmsghdr.size + tpacket_auxdata.size) {
      return -1;
    }
    if (view.getInt32(CONTROL_AT + cmsghdr.cmsg_level, true) !== SOL_PACKET) return -1;
    if (view.getInt32(CONTROL_AT + cmsghdr.cmsg_type, true) !== PACKET_AUXDATA) return -1;
    return tagOf(
      view.getUint32(AUXDATA_AT + tpacket_auxdata.tp_status, true),
      view.getUint16(AUXDATA_AT + tpacket_auxdata.tp_vlan_tci, true),
      view.getUint16(AUXDATA_AT + tpacket_auxdata.tp_vlan_tpid, true),
    );
  }
}

/** Tag that the kernel took out of a frame: TPID and TCI as one number, −1 if there was none. */
export function tagOf(status: number, tci: number, tpid: number): number {
  if ((status & TP_STATUS_VLAN_VALID) === 0) return -1;
  const type = (status & TP_STATUS_VLAN_TPID_VALID) !== 0 ? tpid : ETH_P_8021Q;
  return type * 0x1_0000 + tci;
}

/** Puts a tag back behind the MAC addresses; csumStart moves with it. Returns false, and does nothing, without headroom. */
export function restoreTag(packet: Packet, tag: number): boolean {
  const start = packet.start - VLAN_TAG_SIZE;
  if (start < packet.headLimit) return false;
  const { view } = packet;
  for (let from = 0; from < MACS_SIZE; from += 4) {
    view.setUint32(start + from, view.getUint32(start + from + VLAN_TAG_SIZE));
  }
  view.setUint32(start + MACS_SIZE, tag);
  packet.start = start;
  packet.csumStart += VLAN_TAG_SIZE;
  return true;
}
