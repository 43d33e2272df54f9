/**
 * Frames for tests: built from options with defaults, so that a test shows only what matters to it,
 * and checked by an implementation of lengths and checksums that shares nothing with the one tested.
 */
import { Packet } from "../packet/packet.ts";

export interface FrameOptions {
  /** Outermost first; each TPID << 16 | TCI. */
  readonly tags?: readonly number[];
  readonly isIpv6?: boolean;
  readonly protocol?: "tcp" | "udp" | "sctp" | "icmp";
  /** Bytes of L4 payload; its bytes count up. */
  readonly payloadSize?: number;
  readonly source?: number;
  readonly destination?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly tcpFlags?: number;
  /** Bytes of TCP options, a multiple of 4. */
  readonly tcpOptionsSize?: number;
  /** Bytes of IPv4 options, a multiple of 4. */
  readonly ipOptionsSize?: number;
  readonly identification?: number;
  /** Flags and offset of the IPv4 header. */
  readonly fragment?: number;
  /** IPv6 extension headers: [type, whole header but for its next-header byte]. */
  readonly extensions?: readonly (readonly [number, readonly number[]])[];
  /** "full" (default), "partial": the pseudo-header's sum, "none": 0. */
  readonly checksum?: "full" | "partial" | "none";
  /** L4 payload instead of counted bytes. */
  readonly payload?: Uint8Array;
}

export interface Frame {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Offsets in bytes. */
  readonly l3: number;
  readonly l4: number;
  readonly payload: number;
}

const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132, icmp: 1 };

/** Sum of 16-bit units in network byte order, folded. */
export function naiveSum(bytes: Uint8Array, at: number, end: number, initial = 0): number {
  let total = initial;
  for (let index = at; index < end; index++) {
    total += (index - at) % 2 === 0 ? bytes[index]! << 8 : bytes[index]!;
  }
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 65536);
  return total;
}

/** CRC32c bit by bit. */
export function naiveCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function pseudoSum(bytes: Uint8Array, l3: number, protocol: number, size: number): number {
  const isIpv4 = bytes[l3]! >>> 4 === 4;
  const addresses = isIpv4 ? naiveSum(bytes, l3 + 12, l3 + 20) : naiveSum(bytes, l3 + 8, l3 + 40);
  return addresses + protocol + (size & 0xffff) + (size >>> 16);
}

/** An Ethernet frame with IP and one of the transports. */
export function makeFrame(options: FrameOptions = {}): Frame {
  const tags = options.tags ?? [];
  const isIpv6 = options.isIpv6 ?? false;
  const protocolName = options.protocol ?? "tcp";
  const protocol = protocolName === "icmp" && isIpv6 ? 58 : PROTOCOLS[protocolName];
  const l4HeaderSize = protocolName === "tcp"
    ? 20 + (options.tcpOptionsSize ?? 0)
    : protocolName === "sctp"
    ? 12
    : 8;
  const payload = options.payload ??
    Uint8Array.from({ length: options.payloadSize ?? 10 }, (_, at) => at);
  const extensions = options.extensions ?? [];
  const extensionsSize = extensions.reduce((size, [, rest]) => size + 1 + rest.length, 0);
  const l3HeaderSize = isIpv6 ? 40 + extensionsSize : 20 + (options.ipOptionsSize ?? 0);
  const l3 = 14 + tags.length * 4;
  const l4 = l3 + l3HeaderSize;
  const bytes = new Uint8Array(l4 + l4HeaderSize + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
  tags.forEach((tag, at) => view.setUint32(12 + at * 4, tag));
  view.setUint16(l3 - 2, isIpv6 ? 0x86dd : 0x0800);
  if (isIpv6) writeIpv6(view, l3, options, protocol, bytes.length - l3 - 40);
  else writeIpv4(view, l3, options, protocol, l3HeaderSize);
  bytes.set(payload, l4 + l4HeaderSize);
  writeTransport(bytes, { l3, l4, protocol, headerSize: l4HeaderSize }, options);
  return { bytes, l3, l4, payload: l4 + l4HeaderSize };
}

function writeIpv4(
  view: DataView<ArrayBuffer>,
  l3: number,
  options: FrameOptions,
  protocol: number,
  headerSize: number,
): void {
  view.setUint8(l3, 0x40 | headerSize >> 2);
  view.setUint8(l3 + 1, 0x10);
  view.setUint16(l3 + 2, view.byteLength - l3);
  view.setUint16(l3 + 4, options.identification ?? 0x1234);
  view.setUint16(l3 + 6, options.fragment ?? 0x4000);
  view.setUint8(l3 + 8, 64);
  view.setUint8(l3 + 9, protocol);
  view.setUint32(l3 + 12, options.source ?? 0x0a000001);
  view.setUint32(l3 + 16, options.destination ?? 0x0a000002);
  for (let at = l3 + 20; at < l3 + headerSize; at++) view.setUint8(at, 1);
  view.setUint16(l3 + 10, ~naiveSum(new Uint8Array(view.buffer), l3, l3 + headerSize) & 0xffff);
}

function writeIpv6(
  view: DataView,
  l3: number,
  options: FrameOptions,
  protocol: number,
  payloadSize: number,
): void {
  view.setUint32(l3, 0x61234567);
  view.setUint16(l3 + 4, payloadSize);
  view.setUint8(l3 + 7, 64);
  view.setUint32(l3 + 8, 0xfd000000);
  view.setUint32(l3 + 20, options.source ?? 1);
  view.setUint32(l3 + 24, 0xfd000000);
  view.setUint32(l3 + 36, options.destination ?? 2);
  let nextAt = l3 + 6;
  let at = l3 + 40;
  for (const [type, rest] of options.extensions ?? []) {
    view.setUint8(nextAt, type);
    nextAt = at;
    rest.forEach((byte, index) => view.setUint8(at + 1 + index, byte));
    at += 1 + rest.length;
  }
  view.setUint8(nextAt, protocol);
}

interface TransportPlace {
  readonly l3: number;
  readonly l4: number;
  readonly protocol: number;
  readonly headerSize: number;
}

function writeTransport(bytes: Uint8Array, place: TransportPlace, options: FrameOptions): void {
  const view = new DataView(bytes.buffer);
  const { l3, l4, protocol, headerSize } = place;
  const size = bytes.length - l4;
  const field = checksumField(protocol);
  if (protocol === 1 || protocol === 58) {
    bytes[l4] = protocol === 1 ? 8 : 128;
  } else {
    view.setUint16(l4, options.sourcePort ?? 1000);
    view.setUint16(l4 + 2, options.destinationPort ?? 2000);
  }
  if (protocol === 6) {
    view.setUint32(l4 + 4, 0xfffffff0);
    view.setUint32(l4 + 8, 77);
    view.setUint16(l4 + 12, headerSize >> 2 << 12 | (options.tcpFlags ?? 0x018));
    view.setUint16(l4 + 14, 5000);
    bytes.fill(1, l4 + 20, l4 + headerSize);
  } else if (protocol === 17) {
    view.setUint16(l4 + 4, size);
  }
  if (options.checksum === "none") return;
  if (protocol === 132) {
    if (options.checksum !== "partial") {
      view.setUint32(l4 + field, naiveCrc32c(bytes.subarray(l4)), true);
    }
    return;
  }
  const pseudo = protocol === 1 ? 0 : pseudoSum(bytes, l3, protocol, size);
  if (options.checksum === "partial") {
    view.setUint16(l4 + field, naiveSum(bytes, l4, l4, pseudo));
    return;
  }
  const full = ~naiveSum(bytes, l4, bytes.length, pseudo) & 0xffff;
  view.setUint16(l4 + field, full === 0 && protocol === 17 ? 0xffff : full);
}

/** Offset of the checksum in the L4 header. */
export function checksumField(protocol: number): number {
  return protocol === 6 ? 16 : protocol === 17 ? 6 : protocol === 132 ? 8 : 2;
}

export interface TunnelOptions {
  readonly kind: "vxlan" | "geneve" | "gre" | "ipip";
  readonly isIpv6?: boolean;
  readonly tags?: readonly number[];
  /** Whether the outer UDP or GRE header has a checksum. */
  readonly hasChecksum?: boolean;
  /** What an outer UDP checksum field holds: a train has a sum there, a single packet a checksum. */
  readonly isTrain?: boolean;
}

/** A kernel tunnel's frame around an inner one (whose checksum is mostly partial). Offsets are the outer ones. */
export function makeTunnelFrame(inner: Uint8Array, options: TunnelOptions): Frame {
  if (options.kind === "gre" || options.kind === "ipip") return makeIpTunnel(inner, options);
  const header = options.kind === "vxlan"
    ? [8, 0, 0, 0, 0, 0, 42, 0]
    : [2, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 1, 9, 9, 9, 9];
  const payload = new Uint8Array(header.length + inner.length);
  payload.set(header);
  payload.set(inner, header.length);
  return makeFrame({
    protocol: "udp",
    payload,
    isIpv6: options.isIpv6 ?? false,
    tags: options.tags ?? [],
    destinationPort: options.kind === "vxlan" ? 4789 : 6081,
    sourcePort: 50000,
    checksum: !options.hasChecksum ? "none" : options.isTrain ? "partial" : "full",
  });
}

function makeIpTunnel(inner: Uint8Array, options: TunnelOptions): Frame {
  const header = options.kind === "ipip"
    ? []
    : options.hasChecksum
    ? [0x80, 0, 0x65, 0x58, 0, 0, 0, 0]
    : [0, 0, 0x65, 0x58];
  const frame = makeFrame({
    protocol: "udp",
    isIpv6: options.isIpv6 ?? false,
    tags: options.tags ?? [],
    payloadSize: 0,
    checksum: "none",
  });
  const carried = options.kind === "ipip" ? inner.subarray(14) : inner;
  const bytes = new Uint8Array(frame.l4 + header.length + carried.length);
  bytes.set(frame.bytes.subarray(0, frame.l4));
  bytes.set(header, frame.l4);
  bytes.set(carried, frame.l4 + header.length);
  const view = new DataView(bytes.buffer);
  const protocol = options.kind === "gre" ? 47 : bytes[frame.l4]! >>> 4 === 4 ? 4 : 41;
  if (options.isIpv6) {
    bytes[frame.l3 + 6] = protocol;
    view.setUint16(frame.l3 + 4, bytes.length - frame.l3 - 40);
  } else {
    bytes[frame.l3 + 9] = protocol;
    view.setUint16(frame.l3 + 2, bytes.length - frame.l3);
    view.setUint16(frame.l3 + 10, 0);
    view.setUint16(frame.l3 + 10, ~naiveSum(bytes, frame.l3, frame.l4) & 0xffff);
  }
  return { bytes, l3: frame.l3, l4: frame.l4, payload: frame.l4 + header.length };
}

/** An Ethernet frame of any type. Tags as {@link FrameOptions} has them. */
export function ethernetFrame(
  type: number,
  payload: Iterable<number>,
  tags: readonly number[] = [],
): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(14 + 4 * tags.length);
  const view = new DataView(header.buffer);
  header.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
  tags.forEach((tag, index) => view.setUint32(12 + 4 * index, tag));
  view.setUint16(header.length - 2, type);
  return Uint8Array.from([...header, ...payload]);
}

/** Bytes of MPLS label stack entries. */
export function labelStack(entries: readonly number[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(4 * entries.length));
  entries.forEach((entry, index) => view.setUint32(4 * index, entry));
  return new Uint8Array(view.buffer);
}

/** A network service header with metadata type 1 and context words 0x11111111 … 0x44444444. */
export const NSH_TYPE_1: Uint8Array<ArrayBuffer> = Uint8Array.fromHex(
  "2fc60101" + "123456ff" + "11111111" + "22222222" + "33333333" + "44444444",
);

/** Room that {@link packetOf} leaves around a frame, filled with {@link CANARY}. */
export const ROOM = 64;
export const CANARY = 0xa5;

/** A packet of its own memory with the frame's bytes, surrounded by canaries. */
export function packetOf(frame: Uint8Array, offload: Partial<Packet> = {}): Packet {
  const bytes = new Uint8Array(frame.length + 2 * ROOM).fill(CANARY);
  bytes.set(frame, ROOM);
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.tailLimit = bytes.length;
  packet.start = ROOM;
  packet.end = ROOM + frame.length;
  return Object.assign(packet, offload);
}

/** Copy of a packet's frame. */
export function frameOf(packet: Packet): Uint8Array<ArrayBuffer> {
  return packet.bytes.slice(packet.start, packet.end);
}

/**
 * What is wrong with a frame's lengths and checksums, looked at through tags, IP, VXLAN, Geneve and
 * GRE; empty: nothing. Padding behind the IP packet is allowed.
 */
export function faults(bytes: Uint8Array): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 12;
  while (view.getUint16(at) === 0x8100 || view.getUint16(at) === 0x88a8) at += 4;
  const type = view.getUint16(at);
  if (type !== 0x0800 && type !== 0x86dd) return [];
  return ipFaults(bytes.subarray(at + 2));
}

function ipFaults(packet: Uint8Array): string[] {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const found: string[] = [];
  const isIpv4 = packet[0]! >>> 4 === 4;
  let l4 = isIpv4 ? (packet[0]! & 15) * 4 : 40;
  let protocol = packet[isIpv4 ? 9 : 6]!;
  const size = isIpv4 ? view.getUint16(2) : 40 + view.getUint16(4);
  if (size > packet.length) found.push(`IP length ${size} of ${packet.length}`);
  if (isIpv4 && naiveSum(packet, 0, l4) !== 0xffff) found.push("IPv4 checksum");
  if (isIpv4 && (view.getUint16(6) & 0x3fff) !== 0) return found;
  while (!isIpv4 && [0, 43, 60].includes(protocol)) {
    protocol = packet[l4]!;
    l4 += (packet[l4 + 1]! + 1) * 8;
  }
  const body = packet.subarray(l4, size);
  const pseudo = pseudoSum(packet, 0, protocol, body.length);
  if (protocol === 6) {
    if (naiveSum(body, 0, body.length, pseudo) !== 0xffff) found.push("TCP checksum");
  } else if (protocol === 17) {
    const length = body[4]! << 8 | body[5]!;
    if (length !== body.length) found.push(`UDP length ${length} of ${body.length}`);
    const checksum = body[6]! << 8 | body[7]!;
    if (checksum !== 0 && naiveSum(body, 0, body.length, pseudo) !== 0xffff) {
      found.push("UDP checksum");
    }
    const port = body[2]! << 8 | body[3]!;
    const header = port === 4789 ? 16 : port === 6081 ? 16 + (body[8]! & 0x3f) * 4 : 0;
    if (header > 0) found.push(...faults(body.subarray(header)).map((fault) => `inner ${fault}`));
  } else if (protocol === 47) {
    const hasChecksum = (body[0]! & 0x80) !== 0;
    if (hasChecksum && naiveSum(body, 0, body.length) !== 0xffff) found.push("GRE checksum");
    found.push(...faults(body.subarray(hasChecksum ? 8 : 4)).map((fault) => `inner ${fault}`));
  } else if (protocol === 4 || protocol === 41) {
    found.push(...ipFaults(body).map((fault) => `inner ${fault}`));
  } else if (protocol === 58) {
    if (naiveSum(body, 0, body.length, pseudo) !== 0xffff) found.push("ICMPv6 checksum");
  } else if (protocol === 132) {
    const zeroed = body.slice();
    zeroed.fill(0, 8, 12);
    const stored = new DataView(body.buffer, body.byteOffset).getUint32(8, true);
    if (naiveCrc32c(zeroed) !== stored) found.push("SCTP checksum");
  }
  return found;
}
