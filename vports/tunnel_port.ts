/**
 * A tunnel port on a packet thread: what all tunnel types have in common. Packets received come from
 * an endpoint that ports share (tunnel_endpoint.ts); packets sent go through one of a few sockets that
 * all tunnel ports of the thread share (tunnel_senders.ts), chosen by the packet's hash, so that the
 * underlay's routers and NICs can tell flows apart by their UDP source port.
 *
 * Where a packet goes, and with what key, tos, ttl, flags and options, is what the flow's
 * set(tunnel(…)) said, and for what it left out the port's options.
 */
import { sum } from "../datapath/packet/checksum.ts";
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import { flowHash } from "../datapath/actions/flow_hash.ts";
import {
  TUN_FLAG_CSUM,
  TUN_FLAG_DF,
  TUN_FLAG_KEY,
  TUN_FLAG_OAM,
  TUN_OPTIONS_MAX,
  TUN_OPTIONS_NONE,
} from "../datapath/key.ts";
import { GSO_NONE, type Packet } from "../datapath/packet/packet.ts";
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import {
  Envelope,
  HEADERS_MAX,
  MESSAGE_MAX,
  type OutputOwner,
  SEGMENTS_MAX,
  type TunnelOutput,
} from "../netdev/tunnel_output.ts";
import { addressBytes, type Family, type OutputKind } from "../netdev/tunnel_socket.ts";
import type { Steering } from "../netdev/tunnel_steering.ts";
import { SentHeader, type TunnelCodec } from "./tunnel_codec.ts";
import { TunnelEndpoint, type TunnelTaker } from "./tunnel_endpoint.ts";
import type { TunnelOptions, TunnelTraits } from "./tunnel_options.ts";
import { TunnelPaths } from "./tunnel_path.ts";
import { outerSize, type TunnelData } from "./tunnel_registry.ts";
import { SENDERS, TunnelSenders } from "./tunnel_senders.ts";
import { mayAnswerTooBig, writeTooBig } from "./tunnel_too_big.ts";
import { Train } from "./tunnel_train.ts";
import type { Receiver, Vport, VportHost, VportParams } from "./vport.ts";

const NO_DESTINATION = dropReason("tunnel-no-destination");
const OVER_MTU = dropReason("over-mtu");
const TX_ERROR = dropReason("tx-error");
const GSO_INVALID = dropReason("tx-gso-invalid");
const L3_PACKET = dropReason("l3-packet");
const ACTION_IMPOSSIBLE = dropReason("tunnel-malformed");

const ECN_MASK = 3;
const ECN_CE = 3;
const ECN_ECT0 = 2;
const TTL_DEFAULT = 64;
const IPV4_SIZE = 20;
const IPPROTO_TCP = 6;
const ETHERNET_SIZE = 14;
/** Far ends whose MTU a port remembers, if flows choose them, and if one is configured. Powers of 2. */
const PLACES_MANY = 4096;
const PLACES_FEW = 16;
/** Options on their way from one tunnel's key to another's. */
const OPTIONS: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(TUN_OPTIONS_MAX));

export class TunnelPort implements Vport, TunnelTaker, OutputOwner {
  readonly takesPartialChecksums = false;
  readonly takesSegmentTrains = true;
  readonly takesL3Packets: boolean;
  readonly receiver: Receiver | undefined;
  readonly sideReceiver: Receiver | undefined;
  readonly sender: TunnelSenders;
  readonly portNo: number;
  readonly host: VportHost;
  readonly options: TunnelOptions;
  readonly #traits: TunnelTraits;
  readonly #codec: TunnelCodec;
  /** Names of what it shares, to be let go of. */
  readonly #shared: string[] = [];
  readonly #endpoints: TunnelEndpoint[] = [];
  readonly #envelope: Envelope = new Envelope();
  readonly #header: SentHeader = new SentHeader();
  readonly #train: Train = new Train();
  readonly #segment = { index: 0, offset: 0, size: 0, isLast: false, isSummed: false };
  /** The configured far end; undefined: the flow's choice. */
  readonly #remote: DataView | undefined;
  readonly #local: DataView | undefined;
  readonly #paths: TunnelPaths;
  /** An address to ask the paths for. */
  readonly #farEnd: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(16));
  /** Of the packet in hand. */
  readonly #kind: { -readonly [Name in keyof OutputKind]: OutputKind[Name] };
  #closed = false;

  /** `codec` is this port's own. Throws SystemError and leaves nothing behind. */
  constructor(params: VportParams<TunnelOptions>, traits: TunnelTraits, codec: TunnelCodec) {
    const { host, options } = params;
    const { families, steering } = params.data as TunnelData;
    this.portNo = params.portNo;
    this.host = host;
    this.options = options;
    this.takesL3Packets = options.packetKind !== "legacy_l2";
    this.#traits = traits;
    this.#codec = codec;
    this.#kind = { carrier: traits.carrier, family: 4, dontFragment: true, checksum: false };
    const { remote, local } = options;
    this.#envelope.mark = options.mark;
    this.#remote = remote === undefined ? undefined : viewOf(remote);
    this.#local = local === undefined || local === "flow" ? undefined : viewOf(local);
    const places = remote === undefined ? PLACES_MANY : PLACES_FEW;
    this.#paths = new TunnelPaths(places, options.mark);
    try {
      this.sender = host.share(SENDERS, () => new TunnelSenders());
      this.#shared.push(SENDERS);
      for (const family of families) this.#open(params, family, steering?.[family]);
    } catch (error) {
      this.#release();
      throw error;
    }
    [this.receiver, this.sideReceiver] = this.#endpoints;
    for (const endpoint of this.#endpoints) endpoint.add(this);
  }

  #open(
    params: VportParams<TunnelOptions>,
    family: Family,
    steering: Steering | undefined,
  ): void {
    const { thread, threads, options, host } = params;
    const { carrier, type } = this.#traits;
    const port = options.dstPort;
    const name = `${type}.${family}.${port}`;
    const place = { carrier, family, port, thread, threads, steering };
    this.#endpoints.push(host.share(name, () => new TunnelEndpoint(place, this.#codec, host)));
    this.#shared.push(name);
  }

  send(packet: Packet, tunnel: TunnelKey | undefined): DropReason {
    if (packet.isL3 ? !this.takesL3Packets : this.options.packetKind === "legacy_l3") {
      return L3_PACKET;
    }
    if (!this.#address(packet, tunnel)) return NO_DESTINATION;
    this.#describe(packet, tunnel);
    const headerSize = this.#codec.size(this.#header);
    if (headerSize === 0) return ACTION_IMPOSSIBLE;
    const isTrain = packet.gsoType !== GSO_NONE;
    if (isTrain) {
      const isRight = this.#train.open(packet);
      if (!isRight || headerSize + this.#train.headersSize > HEADERS_MAX) return GSO_INVALID;
    }
    if (this.#kind.dontFragment && this.#isTooBig(packet, tunnel, headerSize)) return OVER_MTU;
    const hash = flowHash(packet, false, 0);
    // The kernel cuts trains up only where they have a checksum. What else a TCP connection sends has one
    // too: receivers that go by it (our own, GRO) keep the order.
    const isTcp = (packet.ip & 0xff) === IPPROTO_TCP;
    this.#kind.checksum ||= (isTrain || isTcp) && this.options.csum !== false;
    const output = this.sender.choose(this.#kind, hash);
    if (output === undefined) return TX_ERROR;
    output.beginPacket();
    if (isTrain) this.#sendTrain(packet, output, headerSize);
    else this.#sendOne(packet, output, headerSize);
    return 0;
  }

  /** See OutputOwner. */
  refused(reason: DropReason, size: number): void {
    if (reason === OVER_MTU) this.#paths.forget();
    this.host.countTxDrop(this.portNo, reason, size);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const endpoint of this.#endpoints) endpoint.remove(this);
    this.#release();
  }

  /** See TunnelTaker. */
  innerMtu(tunnel: TunnelKey, headerSize: number): number {
    const family = tunnel.family === 4 ? 4 : 6;
    if (family === 4) this.#farEnd.setUint32(0, tunnel.source);
    else for (let at = 0; at < 4; at++) this.#farEnd.setUint32(4 * at, tunnel.sourceWord(at));
    this.#paths.find(family, this.#farEnd, this.host.nowMs());
    return this.#paths.mtu - outerSize(family, this.#traits) - headerSize - ETHERNET_SIZE;
  }

  #release(): void {
    for (const name of this.#shared.splice(0)) this.host.unshare(name);
  }

  /** Whether the packet, or a segment of the train, is too long for the way to the far end. Its sender is told. */
  #isTooBig(packet: Packet, tunnel: TunnelKey | undefined, headerSize: number): boolean {
    const { family } = this.#kind;
    const outer = outerSize(family, this.#traits) + headerSize;
    const size = packet.end - packet.start;
    const longest = packet.gsoType === GSO_NONE
      ? size
      : Math.min(this.#train.headersSize + packet.gsoSize, size);
    const paths = this.#paths;
    paths.find(family, this.#envelope.remote, this.host.nowMs());
    if (outer + longest <= paths.mtu) return false;
    if (!mayAnswerTooBig(packet)) return true;
    const answer = this.host.allocate();
    if (answer === undefined) return true;
    writeTooBig(packet, answer, paths.mtu - outer);
    this.#turnRound(answer.beginTunnel(family), tunnel);
    answer.inPort = this.portNo;
    this.host.receive(this.portNo, answer);
    return true;
  }

  /**
   * Makes of a tunnel just begun the one that the packet in hand was to go through, seen from our end:
   * flows take what comes through it for the far end's. As drivers/net/vxlan vxlan_xmit_one does.
   */
  #turnRound(into: TunnelKey, tunnel: TunnelKey | undefined): void {
    const { remote, local, hasLocal } = this.#envelope;
    const { inKey, dstPort } = this.options;
    const header = this.#header;
    let own: DataView | undefined = hasLocal ? local : undefined;
    const known = this.#paths.local;
    if (own === undefined && known !== undefined) own = new DataView(known.buffer);
    if (into.family === 4) {
      into.source = remote.getUint32(0);
      into.destination = own?.getUint32(0) ?? 0;
    } else {
      for (let at = 0; at < 4; at++) {
        into.setSourceWord(at, remote.getUint32(4 * at));
        into.setDestinationWord(at, own?.getUint32(4 * at) ?? 0);
      }
    }
    into.ttl = TTL_DEFAULT;
    into.idLow = typeof inKey === "number" ? inKey : header.key;
    into.flags = (header.hasKey ? TUN_FLAG_KEY : 0) | (header.isOam ? TUN_FLAG_OAM : 0) |
      (this.#kind.checksum ? TUN_FLAG_CSUM : 0);
    if (this.#traits.carrier === "udp") into.destinationPort = dstPort;
    if (tunnel === undefined || header.options === undefined) return;
    tunnel.copyOptions(OPTIONS, 0);
    into.setOptions(tunnel.optionsKind, OPTIONS, 0, tunnel.optionsSize);
  }

  #sendOne(packet: Packet, output: TunnelOutput, headerSize: number): void {
    const header = this.#header;
    const { start } = packet;
    const size = packet.end - start;
    if (this.#codec.sumsPayload(header)) header.payloadSum = sum(packet.view, start, packet.end);
    output.beginMessage(1, headerSize);
    this.#codec.write(output.view, output.reserve(headerSize), header);
    output.append(packet.buffer.address + start, size);
    output.endMessage(this.#envelope, this, size, 0);
  }

  #sendTrain(packet: Packet, output: TunnelOutput, headerSize: number): void {
    const train = this.#train;
    const header = this.#header;
    const segment = this.#segment;
    const { gsoSize } = packet;
    const size = packet.end - packet.start;
    const payloadAt = packet.start + train.headersSize;
    const payloadSize = packet.end - payloadAt;
    const allHeaders = headerSize + train.headersSize;
    const datagram = allHeaders + gsoSize;
    const canBeCut = this.#traits.carrier === "udp" && this.options.csum !== false;
    const most = Math.floor(Math.min(MESSAGE_MAX / datagram, HEADERS_MAX / allHeaders));
    const perMessage = canBeCut ? Math.max(1, Math.min(SEGMENTS_MAX, most)) : 1;
    segment.index = 0;
    segment.isSummed = this.#codec.sumsPayload(header);
    train.begin(packet);
    for (let offset = 0; offset < payloadSize || offset === 0;) {
      const left = Math.max(1, Math.ceil((payloadSize - offset) / gsoSize));
      const count = Math.min(perMessage, left);
      output.beginMessage(count, count * allHeaders);
      for (let at = 0; at < count; at++) {
        segment.offset = offset;
        segment.size = Math.min(gsoSize, payloadSize - offset);
        segment.isLast = offset + segment.size >= payloadSize;
        const to = output.reserve(allHeaders);
        train.writeHeaders(packet, output.view, to + headerSize, segment);
        header.payloadSum = train.segmentSum;
        this.#codec.write(output.view, to, header);
        output.append(packet.buffer.address + payloadAt + offset, segment.size);
        segment.index++;
        offset += gsoSize;
      }
      output.endMessage(this.#envelope, this, size, count > 1 ? datagram : 0);
    }
  }

  /** Fills the envelope's addresses. False: nothing says where the packet is to go. */
  #address(packet: Packet, tunnel: TunnelKey | undefined): boolean {
    const envelope = this.#envelope;
    envelope.remotePort = tunnel?.destinationPort || this.options.dstPort;
    let family: Family | 0 = 0;
    if (tunnel?.family === 4 && tunnel.destination !== 0) {
      family = 4;
      envelope.remote.setUint32(0, tunnel.destination);
    } else if (tunnel?.family === 6) {
      let any = 0;
      for (let word = 0; word < 4; word++) {
        envelope.remote.setUint32(4 * word, tunnel.destinationWord(word));
        any |= tunnel.destinationWord(word);
      }
      if (any !== 0) family = 6;
    }
    if (family === 0) {
      if (this.#remote === undefined) return false;
      family = copyAddress(this.#remote, envelope.remote);
    }
    this.#kind.family = family;
    this.#chooseLocal(tunnel, family);
    this.#chooseTos(packet, tunnel);
    return true;
  }

  #chooseLocal(tunnel: TunnelKey | undefined, family: Family): void {
    const { local } = this.#envelope;
    let any = 0;
    if (tunnel?.family === 4 && family === 4) {
      any = tunnel.source;
      local.setUint32(0, tunnel.source);
    } else if (tunnel?.family === 6 && family === 6) {
      for (let word = 0; word < 4; word++) {
        local.setUint32(4 * word, tunnel.sourceWord(word));
        any |= tunnel.sourceWord(word);
      }
    }
    const fallback = this.#local;
    if (any === 0 && fallback !== undefined && (fallback.byteLength === 4) === (family === 4)) {
      copyAddress(fallback, local);
      any = 1;
    }
    this.#envelope.hasLocal = any !== 0;
  }

  /** Type of service and time to live of the outer header. */
  #chooseTos(packet: Packet, tunnel: TunnelKey | undefined): void {
    const { options } = this;
    const envelope = this.#envelope;
    let innerTos = 0;
    let innerTtl = 0;
    const { view, l3At } = packet;
    if (packet.ip !== 0 && l3At + IPV4_SIZE <= packet.end) {
      const isV4 = view.getUint8(l3At) >>> 4 === 4;
      innerTos = isV4 ? view.getUint8(l3At + 1) : (view.getUint16(l3At) >>> 4) & 0xff;
      innerTtl = view.getUint8(l3At + (isV4 ? 8 : 7));
    }
    const said = tunnel?.tos ?? 0;
    const tos = said !== 0 ? said : options.tos === "inherit" ? innerTos : options.tos;
    const ecn = (innerTos & ECN_MASK) === ECN_CE ? ECN_ECT0 : innerTos & ECN_MASK;
    envelope.tos = (tos & ~ECN_MASK) | ecn;
    const ttl = tunnel?.ttl || (options.ttl === "inherit" ? innerTtl : options.ttl);
    envelope.ttl = ttl || TTL_DEFAULT;
  }

  /** Fills in what the tunnel's header is to say. */
  #describe(packet: Packet, tunnel: TunnelKey | undefined): void {
    const { options } = this;
    const header = this.#header;
    const flags = tunnel?.flags ?? 0;
    header.etherType = packet.isL3 ? packet.ethType : 0;
    const isSaid = tunnel !== undefined && (flags & TUN_FLAG_KEY) !== 0;
    const { outKey } = options;
    header.hasKey = isSaid || typeof outKey === "number";
    header.key = isSaid ? tunnel.idLow : typeof outKey === "number" ? outKey : 0;
    header.isOam = (flags & TUN_FLAG_OAM) !== 0;
    header.options = tunnel !== undefined && tunnel.optionsKind !== TUN_OPTIONS_NONE
      ? tunnel
      : undefined;
    this.#kind.dontFragment = tunnel === undefined
      ? options.dfDefault
      : (flags & TUN_FLAG_DF) !== 0;
    const isUdp6 = this.#kind.family === 6 && this.#traits.carrier === "udp";
    this.#kind.checksum = tunnel === undefined
      ? options.csum ?? isUdp6
      : (flags & TUN_FLAG_CSUM) !== 0 || (options.csum ?? false);
    header.checksum = this.#kind.checksum;
  }
}

function viewOf(address: string): DataView {
  const bytes = addressBytes(address)!;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function copyAddress(from: DataView, to: DataView): Family {
  for (let at = 0; at < from.byteLength; at += 4) to.setUint32(at, from.getUint32(at));
  return from.byteLength === 4 ? 4 : 6;
}
