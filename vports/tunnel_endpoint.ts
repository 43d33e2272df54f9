/**
 * The receiving side of tunnels on one packet thread: one socket, or one for datagrams with a checksum
 * and one for those without (netdev/tunnel_steering.ts), shared by all ports of a type and UDP port:
 * reads datagrams, takes off their headers, and finds the port of each.
 */
import { finish, sum } from "../datapath/packet/checksum.ts";
import { dropReason } from "../datapath/drop_reasons.ts";
import * as tcp from "../datapath/headers/tcp.ts";
import {
  PORT_NONE,
  TUN_FLAG_CSUM,
  TUN_FLAG_KEY,
  TUN_OPTIONS_GENEVE,
  TUN_OPTIONS_VXLAN,
} from "../datapath/key.ts";
import { copyBytes, GSO_TCPV4, GSO_TCPV6, type Packet } from "../datapath/packet/packet.ts";
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import { NONE, TOO_LONG, TunnelInput } from "../netdev/tunnel_input.ts";
import { Poller } from "../netdev/poller.ts";
import type { InputPlace } from "../netdev/tunnel_socket.ts";
import { ReceivedHeader, type TunnelCodec } from "./tunnel_codec.ts";
import { TunnelDemux } from "./tunnel_demux.ts";
import {
  acceptCongestion,
  checksumOffset,
  findInner,
  InnerLayout,
  markPartial,
  markTrain,
  pseudoOf,
} from "./tunnel_inner.ts";
import type { TunnelOptions } from "./tunnel_options.ts";
import type { Receiver, VportHost } from "./vport.ts";

/** A port that packets are received for. */
export interface TunnelTaker {
  readonly portNo: number;
  readonly host: VportHost;
  readonly options: TunnelOptions;
  /**
   * Bytes of an inner packet, without Ethernet header, that fit into one outer packet to the far end
   * that a packet came from, behind a tunnel header of so many bytes. 0 or less: none.
   */
  innerMtu(tunnel: TunnelKey, headerSize: number): number;
}

const FRAME_TOO_LONG = dropReason("frame-too-long");
const NOT_A_PORT = dropReason("tunnel-not-a-port");
const MALFORMED = dropReason("tunnel-malformed");
const ECN = dropReason("tunnel-ecn");
const L3_PACKET = dropReason("l3-packet");
const POOL_EXHAUSTED = dropReason("pool-exhausted");

/** Tunnel headers that are read with a datagram, so that an inner frame begins where packets do. */
const GRE_ROOM = 4;
const UDP_ROOM = 8;

/** Datagrams shorter than this don't begin a train. */
const GROW_SIZE_MIN = 512;
/** After datagrams that did not belong together. */
const PATIENCE = 64;

/** Offset of the lower 8 flags in a TCP header. */
const TCP_FLAGS = 13;
/** Flags that only a train's last segment may have. */
const FLAGS_LAST_ONLY = tcp.PSH | tcp.FIN;

export class TunnelEndpoint implements Receiver {
  readonly fd: number;
  /** One, or two that {@link #poller} waits for. */
  readonly #inputs: TunnelInput[] = [];
  readonly #poller: Poller | undefined;
  /** Datagrams that #grow has read, and whether there are more. */
  #grown = 0;
  #hasMore = false;
  /** So many datagrams are not tried to be made trains of. */
  #patience = 0;
  /** The one that is read first the next time. */
  #first = 0;
  /** The one that the datagram in hand came from. */
  #input: TunnelInput;
  readonly #codec: TunnelCodec;
  readonly #demux: TunnelDemux<TunnelTaker> = new TunnelDemux();
  readonly #takers: Set<TunnelTaker> = new Set();
  readonly #header: ReceivedHeader = new ReceivedHeader();
  readonly #layout: InnerLayout = new InnerLayout();
  readonly #next: InnerLayout = new InnerLayout();
  readonly #room: number;
  /** Any port's: buffers are the thread's, and what belongs to no port is counted by one. */
  #host: VportHost;

  /** Throws SystemError and leaves nothing behind. */
  constructor(place: InputPlace, codec: TunnelCodec, host: VportHost) {
    try {
      this.#input = this.#openInput(place, false);
      this.fd = this.#input.fd;
      if (place.steering !== undefined) {
        this.#openInput(place, true);
        this.#poller = new Poller(2);
        for (const { fd } of this.#inputs) this.#poller.add(fd, 0);
        this.fd = this.#poller.fd;
      }
    } catch (error) {
      this.close();
      throw error;
    }
    this.#codec = codec;
    this.#host = host;
    this.#room = place.carrier === "udp" ? UDP_ROOM : GRE_ROOM;
  }

  add(taker: TunnelTaker): void {
    this.#demux.add(taker, taker.options);
    this.#takers.add(taker);
    this.#host = taker.host;
  }

  remove(taker: TunnelTaker): void {
    this.#demux.remove(taker);
    this.#takers.delete(taker);
    for (const { host } of this.#takers) this.#host = host;
  }

  #openInput(place: InputPlace, hasChecksum: boolean): TunnelInput {
    const input = new TunnelInput({ ...place, hasChecksum });
    this.#inputs.push(input);
    return input;
  }

  receive(budget: number): number {
    const inputs = this.#inputs;
    let count = 0;
    for (let time = 0; time < inputs.length && count < budget; time++) {
      this.#input = inputs[this.#first]!;
      this.#first = this.#first + 1 < inputs.length ? this.#first + 1 : 0;
      count += this.#receiveSome(budget - count);
    }
    return count;
  }

  /** From one socket. */
  #receiveSome(budget: number): number {
    const input = this.#input;
    let count = 0;
    while (count < budget) {
      let packet = this.#host.allocate();
      if (packet === undefined) return count; // the datagram waits in the kernel
      const size = input.receive(packet, packet.start - this.#room);
      if (size === NONE) {
        this.#host.recycle(packet);
        return count;
      }
      count++;
      if (size === TOO_LONG) {
        this.#drop(packet, this.#host, PORT_NONE, FRAME_TOO_LONG);
        continue;
      }
      this.#hasMore = true;
      while (packet !== undefined) {
        const at: number = packet.start - this.#room + input.optionsSize;
        const segmentSize = input.segmentSize;
        if (segmentSize !== 0 || !this.#mayGrow(packet, at)) {
          this.#deliver(packet, at, segmentSize);
          break;
        }
        const oneSize = packet.end - at;
        const next: Packet | undefined = this.#grow(packet, oneSize, budget - count);
        count += this.#grown;
        this.#deliver(packet, at, oneSize);
        if (next !== undefined) input.advance();
        packet = next;
      }
      if (!this.#hasMore) return count;
    }
    return count;
  }

  /** Whether the datagram could be the first of a train: a full TCP segment with more to come. */
  #mayGrow(packet: Packet, at: number): boolean {
    if (this.#patience > 0) {
      this.#patience--;
      return false;
    }
    const { view, end } = packet;
    if (end - at < GROW_SIZE_MIN) return false;
    const header = this.#header;
    if (this.#codec.read(view, at, end, header) !== 0) return false;
    const layout = this.#layout;
    if (!findInner(view, header.payloadAt, end, header.etherType, layout)) return false;
    return layout.isTcp && layout.end === end && tcp.flags(view, layout.l4) === tcp.ACK;
  }

  /**
   * Reads up to `countMax` datagrams of the packet's size behind it, as long as they come by the same
   * way, to make a train of them. One that is not of that kind is returned as a packet of its own; its
   * outer header is the one that the input can advance to. Counts them in `#grown`.
   */
  #grow(packet: Packet, size: number, countMax: number): Packet | undefined {
    const input = this.#input;
    this.#grown = 0;
    const spare = this.#host.allocate();
    if (spare === undefined) return undefined;
    const spareAt = spare.start - this.#room;
    while (this.#grown < countMax && packet.end + size <= packet.tailLimit) {
      const got = input.receiveBehind(packet, size, spare, spareAt);
      if (got === NONE) {
        this.#hasMore = false;
        break;
      }
      this.#grown++;
      if (got === TOO_LONG) {
        this.#host.countRxDrop(PORT_NONE, FRAME_TOO_LONG);
        break;
      }
      if (got === 0) {
        this.#host.countRxDrop(PORT_NONE, MALFORMED);
        break;
      }
      if (got > size || !input.isSameWay()) {
        copyBytes(packet, packet.end, spare, spareAt, Math.min(got, size));
        spare.end = spareAt + got;
        return spare;
      }
      packet.end += got;
      if (got < size) break;
    }
    this.#host.recycle(spare);
    return undefined;
  }

  /** Never throws. */
  close(): void {
    this.#poller?.close();
    for (const input of this.#inputs) input.close();
  }

  /** One datagram, or several of `segmentSize` bytes, from `headerAt` on. */
  #deliver(packet: Packet, headerAt: number, segmentSize: number): void {
    const { end } = packet;
    if (segmentSize === 0 || segmentSize >= end - headerAt) {
      this.#deliverOne(packet, headerAt);
      return;
    }
    // One packet if all are segments of one inner train, else as many as there are trains in it.
    let from = headerAt;
    while (from < end) {
      const to = this.#trainEnd(packet, from, end, segmentSize);
      if (from === headerAt && to === end) {
        if (to - from > segmentSize) this.#deliverTrain(packet, from, to, segmentSize);
        else this.#deliverOne(packet, from);
        return;
      }
      // It was not worth the trouble; nor will be what comes next.
      this.#patience = PATIENCE;
      const part = this.#host.allocate();
      if (part === undefined) {
        this.#host.countRxDrop(PORT_NONE, POOL_EXHAUSTED);
      } else {
        const at = part.start - this.#room;
        copyBytes(packet, from, part, at, to - from);
        part.end = at + to - from;
        if (to - from > segmentSize) this.#deliverTrain(part, at, part.end, segmentSize);
        else this.#deliverOne(part, at);
      }
      from = to;
    }
    this.#host.recycle(packet);
  }

  #deliverOne(packet: Packet, at: number): void {
    const taker = this.#open(packet, at, packet.end);
    if (taker === undefined) return;
    const { etherType } = this.#header;
    const layout = this.#layout;
    if (findInner(packet.view, packet.start, packet.end, etherType, layout)) {
      if (markPartial(packet, layout) && layout.isTcp) {
        markTrain(packet, layout, taker.innerMtu(packet.tunnel!, packet.start - at));
      }
    }
    taker.host.receive(taker.portNo, packet);
  }

  /**
   * Takes the tunnel's header at `at` off and says on the packet what it said. The datagram that it was
   * in ends at `end`: that of a train's first segment, which GRE's checksum is about. Undefined: the
   * packet was dropped and counted.
   */
  #open(packet: Packet, at: number, end: number): TunnelTaker | undefined {
    const header = this.#header;
    const input = this.#input;
    const reason = this.#codec.read(packet.view, at, end, header);
    if (reason !== 0) return this.#drop(packet, this.#host, PORT_NONE, reason);
    const tunnel = packet.beginTunnel(input.family);
    input.describe(tunnel);
    let flags = header.flags;
    if (input.hasChecksum) flags |= TUN_FLAG_CSUM;
    if (header.hasKey) {
      tunnel.idLow = header.key;
      flags |= TUN_FLAG_KEY;
    }
    tunnel.flags = flags;
    const taker = this.#demux.find(tunnel);
    if (taker === undefined) return this.#drop(packet, this.#host, PORT_NONE, NOT_A_PORT);
    const { host, portNo } = taker;
    if (!setOptions(tunnel, packet.view, header)) {
      return this.#drop(packet, host, portNo, MALFORMED);
    }
    const isL3 = header.etherType !== 0;
    const kind = taker.options.packetKind;
    if (isL3 ? kind === "legacy_l2" : kind === "legacy_l3") {
      return this.#drop(packet, host, portNo, L3_PACKET);
    }
    packet.start = header.payloadAt;
    packet.isL3 = isL3;
    packet.ethType = header.etherType;
    packet.inPort = portNo;
    if (!acceptCongestion(packet, input.tos)) return this.#drop(packet, host, portNo, ECN);
    return taker;
  }

  #drop(packet: Packet, host: VportHost, portNo: number, reason: number): undefined {
    host.countRxDrop(portNo, reason);
    host.recycle(packet);
    return undefined;
  }

  /**
   * End of the longest run of datagrams from `from` on that are consecutive segments of one TCP stream
   * behind equal headers, with right checksums: what segmentation makes of a train.
   */
  #trainEnd(packet: Packet, from: number, end: number, segmentSize: number): number {
    const { view } = packet;
    const first = this.#layout;
    const firstEnd = Math.min(from + segmentSize, end);
    if (!this.#isSegment(view, from, firstEnd, first)) return firstEnd;
    const payloadSize = first.end - first.payload;
    const sequence = tcp.sequence(view, first.l4);
    const next = this.#next;
    let to = firstEnd;
    let index = 1;
    while (to < end) {
      const stop = Math.min(to + segmentSize, end);
      // FIN and PSH end a train.
      if ((tcp.flags(view, to - segmentSize + first.l4 - from) & FLAGS_LAST_ONLY) !== 0) return to;
      if (!this.#isSegment(view, to, stop, next)) return to;
      if (tcp.sequence(view, next.l4) !== (sequence + index * payloadSize) >>> 0) return to;
      if (!isLike(view, from, to, first)) return to;
      to = stop;
      index++;
    }
    return to;
  }

  /** Whether the datagram is a plain TCP segment with payload and a right checksum. */
  #isSegment(view: DataView, at: number, end: number, layout: InnerLayout): boolean {
    const header = this.#header;
    if (this.#codec.read(view, at, end, header) !== 0) return false;
    if (!findInner(view, header.payloadAt, end, header.etherType, layout)) return false;
    if (!layout.isTcp || layout.end !== end || layout.payload === end) return false;
    if ((tcp.flags(view, layout.l4) & ~FLAGS_LAST_ONLY) !== tcp.ACK) return false;
    return finish(pseudoOf(view, layout) + sum(view, layout.l4, end)) === 0;
  }

  /** Makes one train of the segments at [at, end), whose payloads move together. */
  #deliverTrain(packet: Packet, at: number, end: number, segmentSize: number): void {
    const { view, bytes } = packet;
    const layout = this.#layout;
    const header = this.#header;
    this.#codec.read(view, at, at + segmentSize, header);
    findInner(view, header.payloadAt, at + segmentSize, header.etherType, layout);
    const headersSize = layout.payload - at;
    const lastAt = at + Math.floor((end - at - 1) / segmentSize) * segmentSize;
    const lastFlags = tcp.flags(view, lastAt + layout.l4 - at) & FLAGS_LAST_ONLY;
    let to = at + segmentSize;
    for (let from = to; from < end; from += segmentSize) {
      const stop = Math.min(from + segmentSize, end);
      bytes.copyWithin(to, from + headersSize, stop);
      to += stop - from - headersSize;
    }
    packet.end = to;
    const taker = this.#open(packet, at, at + segmentSize);
    if (taker === undefined) return;
    view.setUint8(layout.l4 + TCP_FLAGS, view.getUint8(layout.l4 + TCP_FLAGS) | lastFlags);
    layout.end = to;
    if (layout.isIpv4) {
      view.setUint16(layout.l3 + 2, to - layout.l3);
      view.setUint16(layout.l3 + 10, 0);
      view.setUint16(layout.l3 + 10, finish(sum(view, layout.l3, layout.l4)), true);
    } else {
      view.setUint16(layout.l3 + 4, to - layout.l4);
    }
    const offset = checksumOffset(layout);
    view.setUint16(layout.l4 + offset, pseudoOf(view, layout), true);
    packet.needsCsum = true;
    packet.csumStart = layout.l4 - packet.start;
    packet.csumOffset = offset;
    packet.gsoType = layout.isIpv4 ? GSO_TCPV4 : GSO_TCPV6;
    packet.gsoSize = segmentSize - headersSize;
    taker.host.receive(taker.portNo, packet);
  }
}

/** Whether the headers of the datagram at `b` are those at `a` but for lengths, identification, checksums, sequence and flags. */
function isLike(view: DataView, a: number, b: number, layout: InnerLayout): boolean {
  const l3 = layout.l3 - a;
  const l4 = layout.l4 - a;
  const size = layout.payload - a;
  let byte = 0;
  for (; byte + 4 <= l3; byte += 4) {
    if (view.getInt32(a + byte) !== view.getInt32(b + byte)) return false;
  }
  for (; byte < l3; byte++) {
    if (view.getUint8(a + byte) !== view.getUint8(b + byte)) return false;
  }
  const skipFrom = l3 + (layout.isIpv4 ? 2 : 4);
  for (let at = l3; at < l4; at += 2) {
    // IPv4: total length and identification, then the checksum; IPv6: payload length.
    if (at >= skipFrom && at < l3 + 6) continue;
    if (layout.isIpv4 && at === l3 + 10) continue;
    if (view.getUint16(a + at) !== view.getUint16(b + at)) return false;
  }
  if (view.getInt32(a + l4) !== view.getInt32(b + l4)) return false;
  if (view.getInt32(a + l4 + 8) !== view.getInt32(b + l4 + 8)) return false;
  if (view.getUint8(a + l4 + 12) !== view.getUint8(b + l4 + 12)) return false;
  if (view.getUint16(a + l4 + 14) !== view.getUint16(b + l4 + 14)) return false;
  for (let at = l4 + 18; at < size; at += 2) {
    if (view.getUint16(a + at) !== view.getUint16(b + at)) return false;
  }
  return true;
}

/** Options of the header go to the tunnel. False: there are more than a key has room for. */
function setOptions(tunnel: TunnelKey, view: DataView, header: ReceivedHeader): boolean {
  if (header.optionsKind === TUN_OPTIONS_GENEVE) {
    return tunnel.setOptions(TUN_OPTIONS_GENEVE, view, header.optionsAt, header.optionsSize);
  }
  if (header.optionsKind === TUN_OPTIONS_VXLAN) tunnel.vxlanPolicy = header.policy;
  return true;
}
