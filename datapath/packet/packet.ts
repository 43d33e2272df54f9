/**
 * A packet: a descriptor over bytes that lie in a buffer somebody else owns (a pool slot, a frame of
 * a packet-socket ring). Descriptors are made once and pointed at new bytes, so that no packet costs
 * an allocation.
 *
 * Ownership: packets are borrowed. A receiver lends them to the switch until its `release()`; the
 * switch lends them to `send` until the end of the round (`flush`), and changes nothing in
 * [start, end) until then: it copies first if a later action must.
 *
 * Offload state has the meaning of `struct virtio_net_hdr` (uapi/linux/virtio_net.h).
 */

import { KEY_WORDS } from "../key.ts";
import { TunnelKey } from "./tunnel_key.ts";

export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_UDP = 3;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
/** Flag in gsoType: TCP has ECN set. */
export const GSO_ECN = 0x80;

/** Headroom of every packet buffer, bytes in front of the frame as received. */
export const HEADROOM = 256;
/** Largest frame: 64 KiB and an Ethernet header with two tags. */
export const FRAME_SIZE_MAX: number = 65536 + 22;

/** A memory area that packets lie in. `address` is that of byte 0, or 0 where nobody needs it. */
export interface PacketBuffer {
  /** All of it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same, for numbers. */
  readonly view: DataView<ArrayBuffer>;
  /** For system calls. */
  readonly address: number;
}

/** Fragments whose sizes a packet that was put together remembers: with more it has those of `mru`. */
export const PIECES_MAX = 64;

/** Key words from here on are kept in {@link WideMetadata}. */
export const WIDE_METADATA_FROM = 32;

/**
 * Metadata that few packets have, laid out as in a key from word {@link WIDE_METADATA_FROM} on: mark,
 * label and original tuple of the connection, and the tunnel.
 */
export class WideMetadata {
  /** Key word n is word n − WIDE_METADATA_FROM here. */
  readonly words: Int32Array<ArrayBuffer> = new Int32Array(KEY_WORDS - WIDE_METADATA_FROM);
  /** The same bytes: key byte n is byte n − 4 · WIDE_METADATA_FROM here. */
  readonly view: DataView<ArrayBuffer> = new DataView(this.words.buffer);
  /** The tunnel's part. */
  readonly tunnel: TunnelKey = new TunnelKey(this.view, -4 * WIDE_METADATA_FROM);
  /** Where set(tunnel) sends the packet, laid out likewise. The kernel keeps it apart from where it came from. */
  readonly egressWords: Int32Array<ArrayBuffer> = new Int32Array(KEY_WORDS - WIDE_METADATA_FROM);
  /** The same, to be read. */
  readonly egress: TunnelKey = new TunnelKey(
    new DataView(this.egressWords.buffer),
    -4 * WIDE_METADATA_FROM,
  );
  /** Of a packet that was put together: bytes that each fragment had of the fragmented part, in order. */
  readonly pieces: Uint16Array<ArrayBuffer> = new Uint16Array(PIECES_MAX);
  /** How many of `pieces` count; 0: the sizes are not known. Means nothing while the packet's mru is 0. */
  pieceCount = 0;
}

/** A frame with its offload state and what was learned of it. Borrowed: who wants to keep one copies it. */
export class Packet {
  /** The buffer it lies in. */
  buffer: PacketBuffer;
  /** Same as buffer.view: one load less on the fast path. */
  view: DataView<ArrayBuffer>;
  /** Same as buffer.bytes. */
  bytes: Uint8Array<ArrayBuffer>;
  /** The frame is [start, end) of the buffer, from the Ethernet header on (but see isL3), tags in line. */
  start = 0;
  /** One past the frame's last byte. */
  end = 0;
  /** The frame may grow down to headLimit and up to tailLimit. */
  headLimit = 0;
  /** See headLimit. */
  tailLimit = 0;

  /** Port it came from; PORT_NONE if none. */
  inPort = 65535;
  /** skb_priority, unsigned 32-bit, as the numbers that follow. */
  priority = 0;
  /** skb_mark. */
  mark = 0;
  /** Recirculation it is in; 0: none. */
  recircId = 0;
  /** Hash that an action has computed, 32 bits, signed or not; 0: none. */
  dpHash = 0;
  /** ct_state; 0: conntrack has not seen the packet, and ctZone and the connection's part of `wide` mean nothing. */
  ctState = 0;
  /** Whether the tunnel's part of `wide` is what the packet came through. */
  hasTunnel = false;
  /** Whether set(tunnel) has said which tunnel the packet is to be sent through: `wide.egress`. */
  hasEgress = false;
  /** The frame has no Ethernet header: it begins with the L3 header of an `ethType` packet. */
  isL3 = false;

  /** Whether the checksum at csumStart + csumOffset is only the pseudo-header's sum (VIRTIO_NET_HDR_F_NEEDS_CSUM). */
  needsCsum = false;
  /** The receiving side has verified the checksums (VIRTIO_NET_HDR_F_DATA_VALID). */
  csumValid = false;
  /** Relative to `start`. */
  csumStart = 0;
  /** Of the checksum field, relative to csumStart. */
  csumOffset = 0;
  /** VIRTIO_NET_HDR_GSO_*; 0: one frame, not a train of segments. */
  gsoType = 0;
  /** Bytes of payload in each segment. */
  gsoSize = 0;

  /**
   * Buffer offsets of the L3 and L4 headers; 0 when there is none. Written by extraction. l3At is what
   * follows the Ethernet header and its tags: of MPLS the first label, of NSH its header. l4At is
   * where the IPv4 or IPv6 header with its extension headers ends, whatever follows; 0 in later
   * fragments. Nothing says that a whole L4 header lies there.
   */
  l3At = 0;
  /** See l3At. */
  l4At = 0;
  /** The key's word of protocol, TOS, TTL and fragment kind (byte 0 … byte 3). Written by extraction. */
  ip = 0;

  /** ct_zone: 16 bits. */
  ctZone = 0;
  /** Record of its connection in the tracker's table, 0: none; means nothing while ctState is 0. */
  ctRecord = 0;
  /** Tells that connection from earlier and later ones with that record. */
  ctId = 0;
  /** Ethernet type (host order) of an L3 packet; means nothing in others. */
  ethType = 0;
  /** Largest fragment, L3 header included, that a reassembled packet came in; 0: it came whole. */
  mru = 0;
  /** Patch ports that it has crossed. */
  patchHops = 0;
  /** Made by {@link metadata}; kept, whatever packet the descriptor is used for. */
  wide: WideMetadata | undefined = undefined;

  /** Round in which a `send` last borrowed the bytes: while it is the current one, copy before change. */
  lentInRound: number = -1;
  /** Slot in the pool that owns the buffer, or -1 (a receiver's own memory). */
  slot: number = -1;

  /** An empty frame in `buffer`. */
  constructor(buffer: PacketBuffer) {
    this.buffer = buffer;
    this.view = buffer.view;
    this.bytes = buffer.bytes;
  }

  /** Bytes of the frame. */
  get size(): number {
    return this.end - this.start;
  }

  /** `wide`, made if it is not there: allocates once per descriptor. What it holds may be of a former packet. */
  metadata(): WideMetadata {
    return this.wide ??= new WideMetadata();
  }

  /** The tunnel it came through; undefined: none. */
  get tunnel(): TunnelKey | undefined {
    return this.hasTunnel ? this.metadata().tunnel : undefined;
  }

  /** Says that the packet came through a tunnel, and zeroes all about it. */
  beginTunnel(family: 4 | 6): TunnelKey {
    this.hasTunnel = true;
    const tunnel = this.metadata().tunnel;
    tunnel.begin(family);
    return tunnel;
  }
}

/** Copies of up to this many bytes go word by word; longer ones by `set`, which costs one short-lived view. */
const WORDWISE_MAX = 256;

/**
 * Copies `size` bytes between packets' buffers, from offset `from` of `source` to offset `to` of
 * `target`. The ranges must not overlap. Allocates nothing but, for long copies between different
 * buffers, one view (a word loop would cost 4 times as much at 64 KiB).
 */
export function copyBytes(
  source: Packet,
  from: number,
  target: Packet,
  to: number,
  size: number,
): void {
  if (size > WORDWISE_MAX) {
    if (source.bytes === target.bytes) target.bytes.copyWithin(to, from, from + size);
    else target.bytes.set(source.bytes.subarray(from, from + size), to);
    return;
  }
  const input = source.view;
  const output = target.view;
  let at = 0;
  for (; at + 4 <= size; at += 4) output.setInt32(to + at, input.getInt32(from + at, true), true);
  for (; at < size; at++) output.setUint8(to + at, input.getUint8(from + at));
}

/**
 * Makes `target` the same packet as `source`, with bytes of its own from target.start on. False: the
 * frame is too long for the target's buffer; the target is then unchanged.
 */
export function copyPacket(source: Packet, target: Packet): boolean {
  const size = source.end - source.start;
  const start = target.start;
  if (start + size > target.tailLimit) return false;
  copyBytes(source, source.start, target, start, size);
  target.end = start + size;
  const shift = start - source.start;
  target.l3At = source.l3At === 0 ? 0 : source.l3At + shift;
  target.l4At = source.l4At === 0 ? 0 : source.l4At + shift;
  target.ip = source.ip;
  copyMetadata(source, target);
  target.needsCsum = source.needsCsum;
  target.csumValid = source.csumValid;
  target.csumStart = source.csumStart;
  target.csumOffset = source.csumOffset;
  target.gsoType = source.gsoType;
  target.gsoSize = source.gsoSize;
  return true;
}

/** Copies what is known of a packet besides its bytes and its offload state. */
export function copyMetadata(source: Packet, target: Packet): void {
  target.inPort = source.inPort;
  target.priority = source.priority;
  target.mark = source.mark;
  target.recircId = source.recircId;
  target.dpHash = source.dpHash;
  target.ctState = source.ctState;
  target.hasTunnel = source.hasTunnel;
  target.hasEgress = source.hasEgress;
  target.isL3 = source.isL3;
  target.ctZone = source.ctZone;
  target.ethType = source.ethType;
  target.mru = source.mru;
  target.patchHops = source.patchHops;
  if (source.ctState !== 0 || source.hasTunnel) {
    target.ctRecord = source.ctRecord;
    target.ctId = source.ctId;
    target.metadata().words.set(source.metadata().words);
  }
  if (source.hasEgress) target.metadata().egressWords.set(source.metadata().egressWords);
  if (source.mru !== 0) copyPieces(source.metadata(), target.metadata());
}

function copyPieces(source: WideMetadata, target: WideMetadata): void {
  const count = target.pieceCount = source.pieceCount;
  for (let at = 0; at < count; at++) target.pieces[at] = source.pieces[at]!;
}

/**
 * Forgets what a descriptor knew of its last packet: no port, no metadata, an Ethernet header. A
 * receiver calls it for every packet before it fills in what it knows of the new one.
 */
export function clearMetadata(packet: Packet): void {
  packet.inPort = 65535;
  packet.priority = 0;
  packet.mark = 0;
  packet.recircId = 0;
  packet.dpHash = 0;
  packet.ctState = 0;
  packet.ctRecord = 0;
  packet.hasTunnel = false;
  packet.hasEgress = false;
  packet.mru = 0;
  packet.patchHops = 0;
  packet.isL3 = false;
}
