/**
 * Receiving from a tunnel's socket: one datagram at a time into a packet's memory, and what its outer
 * headers said. UDP datagrams that the kernel has joined (UDP_GRO), or that came unsegmented from the
 * same machine, arrive as one with the size of its segments. Others may be read one behind the other
 * into one packet's memory, so that they lie as if they had been joined.
 */
import type { Packet } from "../datapath/packet/packet.ts";
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import { EAGAIN, MSG_DONTWAIT, MSG_TRUNC } from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, recycleBuffer } from "./memory.ts";
import { IPV4_SIZE, Reception, RECEPTION_SIZE } from "./tunnel_reception.ts";
import { type Carrier, type Family, type InputPlace, openInput } from "./tunnel_socket.ts";

/** Errors of earlier datagrams (ICMP) that one call passes over. */
const ATTEMPTS_MAX = 16;
/** A multiple of 8. */
const PLACE_SIZE: number = (RECEPTION_SIZE + 7) & ~7;

/** None waits. */
export const NONE = -1;
/** One was there, but longer than its place. */
export const TOO_LONG = -2;

export class TunnelInput {
  /** Readable when datagrams wait. */
  readonly fd: number;
  readonly family: Family;
  readonly carrier: Carrier;
  /** The UDP port it is bound to; 0 for GRE. */
  readonly port: number;
  /** Whether its datagrams have a UDP checksum; false also where nobody knows. */
  readonly hasChecksum: boolean;
  readonly #libc: Libc;
  readonly #recvmsg: Libc["socket"]["recvmsg"];
  readonly #memory: MappedBuffer;
  /** Bytes in front of a datagram that lie elsewhere. */
  readonly #headerSize: number;
  /** The datagram in hand, and the one that was read behind it. */
  #first: Reception;
  #behind: Reception;
  #closed = false;

  /** Throws SystemError and leaves nothing behind. */
  constructor(place: InputPlace) {
    this.#libc = libc();
    this.#recvmsg = this.#libc.socket.recvmsg;
    this.family = place.family;
    this.carrier = place.carrier;
    this.port = place.port;
    this.hasChecksum = place.steering !== undefined && place.hasChecksum === true;
    this.#memory = allocateBuffer(2 * PLACE_SIZE);
    try {
      this.fd = openInput(place);
    } catch (error) {
      recycleBuffer(this.#memory);
      throw error;
    }
    const isV4 = place.family === 4;
    // A raw IPv4 socket gives the header.
    const kind = { isV4, hasIpv4Header: isV4 && place.carrier === "gre" };
    this.#headerSize = kind.hasIpv4Header ? IPV4_SIZE : 0;
    const { buffer } = this.#memory;
    this.#first = new Reception(buffer, 0, kind);
    this.#behind = new Reception(buffer, PLACE_SIZE, kind);
  }

  /** Type of service in the outer header of the datagram in hand. */
  get tos(): number {
    return this.#first.tos;
  }

  /** Bytes of each datagram of which the one in hand was joined, the last one's apart; 0: it is one. */
  get segmentSize(): number {
    return this.#first.segmentSize;
  }

  /** Bytes between the place of the datagram in hand and its tunnel header: IPv4 options. */
  get optionsSize(): number {
    return this.#first.optionsSize;
  }

  /**
   * Reads one datagram to buffer offset `at` of the packet, up to packet.tailLimit, and sets
   * packet.end and this object's fields. Returns its size; NONE or TOO_LONG.
   */
  receive(packet: Packet, at: number): number {
    const room = packet.tailLimit - at;
    const first = this.#first;
    first.prepare(packet.buffer.address + at, room);
    const got = this.#read(first);
    if (got < 0) return NONE;
    if (got > room) return TOO_LONG;
    packet.end = at + got;
    first.read();
    return got;
  }

  /**
   * Reads the next datagram behind the packet's end, `size` bytes of it, and what is longer to buffer
   * offset `at` of `spare`, leaving the place of those `size` bytes in front. Returns its size; NONE or
   * TOO_LONG. Neither packet's end changes, nor does the datagram in hand.
   */
  receiveBehind(packet: Packet, size: number, spare: Packet, at: number): number {
    const behind = this.#behind;
    const more = spare.tailLimit - at - size;
    const moreAddress = spare.buffer.address + at + size;
    behind.prepare(packet.buffer.address + packet.end, size, moreAddress, more);
    const got = this.#read(behind);
    if (got < 0) return NONE;
    if (got > size + more) return TOO_LONG;
    behind.read();
    return got;
  }

  /** Whether the datagram read behind the one in hand came by the same way, and neither was joined. */
  isSameWay(): boolean {
    return this.#first.isLike(this.#behind);
  }

  /** The datagram read behind the one in hand is the one in hand now. */
  advance(): void {
    const first = this.#first;
    this.#first = this.#behind;
    this.#behind = first;
  }

  /** Writes addresses, ports, tos and ttl of the datagram in hand to a tunnel just begun. */
  describe(tunnel: TunnelKey): void {
    this.#first.describe(tunnel);
    tunnel.destinationPort = this.port;
    if (this.carrier === "gre") tunnel.sourcePort = 0;
  }

  /** Never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc.file.close(this.fd);
    recycleBuffer(this.#memory);
  }

  /** Bytes of the datagram, without what lies elsewhere; less than 0: none. */
  #read(reception: Reception): number {
    for (let attempt = 0; attempt <= ATTEMPTS_MAX; attempt++) {
      if (attempt > 0) reception.reset();
      const got = this.#recvmsg(this.fd, reception.message, MSG_DONTWAIT | MSG_TRUNC);
      // A raw socket's packet is at least a header.
      if (got >= this.#headerSize) return got - this.#headerSize;
      if (got < 0 && this.#libc.errno() === EAGAIN) return NONE;
    }
    return NONE;
  }
}
