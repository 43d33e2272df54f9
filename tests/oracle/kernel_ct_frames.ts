/** Frames and flows that scenarios of connection tracking are made of. */
import { makePacket, type PacketSpec } from "../../datapath/conntrack/testing/packets.ts";
import { finish, sum } from "../../datapath/packet/checksum.ts";
import { frameOf } from "../../datapath/testing/frames.ts";
import type { CtFlow, FrameStep } from "./kernel_ct_scenario.ts";

/** Size of an Ethernet header. */
const L3 = 14;

/** Frame of a packet, from one unicast address to another. */
export function frameBytes(spec: PacketSpec): Uint8Array<ArrayBuffer> {
  const bytes = frameOf(makePacket(spec));
  bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
  return bytes;
}

/** The same, hexadecimal. */
export function frame(spec: PacketSpec): string {
  return frameBytes(spec).toHex();
}

/** A packet that a port receives. */
export function send(port: number, spec: PacketSpec): FrameStep {
  return { port, frame: frame(spec) };
}

/** A packet with other bytes in some places, counted from the IP header on; IPv4's header checksum is put right. */
export function sendWith(
  port: number,
  spec: PacketSpec,
  bytes: Readonly<Record<number, number>>,
  cut = 0,
): FrameStep {
  const whole = frameBytes(spec);
  for (const [at, value] of Object.entries(bytes)) whole[L3 + Number(at)] = value;
  if (whole[12] === 0x08) sumIpv4(whole);
  return { port, frame: whole.slice(0, whole.length - cut).toHex() };
}

function sumIpv4(whole: Uint8Array): void {
  const view = new DataView(whole.buffer);
  const size = (view.getUint8(L3) & 15) << 2;
  if (size < 20 || L3 + size > whole.length) return;
  view.setUint16(L3 + 10, 0);
  view.setUint16(L3 + 10, finish(sum(view, L3, L3 + size)), true);
}

/** What an ICMP error quotes: the first bytes of a packet, by default its header and eight more. */
export function quote(spec: PacketSpec, size?: number): Uint8Array {
  const whole = frameBytes(spec);
  return whole.slice(L3, L3 + (size ?? (whole[12] === 0x08 ? 28 : 48)));
}

/** One piece of a packet's payload: [from, to), in any order, overlapping or with gaps. */
export interface Piece {
  readonly from: number;
  /** Default: the end. */
  readonly to?: number;
  /** Default: unless it reaches to the end. */
  readonly hasMore?: boolean;
  /** IPv4: don't fragment. */
  readonly isWhole?: boolean;
  /** Type of service, traffic class. */
  readonly tos?: number;
}

/** Fragments of an IPv4 or IPv6 packet with `id`. */
export function fragments(
  port: number,
  spec: PacketSpec,
  id: number,
  pieces: readonly Piece[],
): FrameStep[] {
  const whole = frameBytes(spec);
  const isIpv4 = whole[12] === 0x08;
  const header = L3 + (isIpv4 ? 20 : 40);
  const size = whole.length - header;
  return pieces.map((piece) => {
    const { from, to = size } = piece;
    const hasMore = piece.hasMore ?? to < size;
    const added = isIpv4 ? 0 : 8;
    const bytes = new Uint8Array(header + added + to - from);
    const view = new DataView(bytes.buffer);
    bytes.set(whole.subarray(0, header));
    bytes.set(whole.subarray(header + from, header + to), header + added);
    if (isIpv4) {
      view.setUint8(L3 + 1, piece.tos ?? 0);
      view.setUint16(L3 + 2, bytes.length - L3);
      view.setUint16(L3 + 4, id);
      const flags = (hasMore ? 0x2000 : 0) | (piece.isWhole ? 0x4000 : 0);
      view.setUint16(L3 + 6, flags | from >> 3);
      sumIpv4(bytes);
    } else {
      view.setUint16(L3, 0x6000 | (piece.tos ?? 0) << 4);
      view.setUint16(L3 + 4, bytes.length - header);
      view.setUint8(header, view.getUint8(L3 + 6));
      view.setUint8(L3 + 6, 44);
      view.setUint16(header + 2, from | (hasMore ? 1 : 0));
      view.setUint32(header + 4, id);
    }
    return { port, frame: bytes.toHex() };
  });
}

const V4 = "eth(),eth_type(0x0800),ipv4()";
const V6 = "eth(),eth_type(0x86dd),ipv6()";

/**
 * Flows of two sides: what comes from port 1 (inside) leaves by port 2 and the other way round, after
 * actions that each side has, with what is known then shown to userspace.
 */
export function twoSides(inside: string, outside: string, family = 4): CtFlow[] {
  const ip = family === 4 ? V4 : V6;
  return [
    [`in_port(1),recirc_id(0),${ip}`, `${inside},recirc(100)`],
    [`in_port(2),recirc_id(0),${ip}`, `${outside},recirc(100)`],
    [`in_port(1),recirc_id(0x64),${ip}`, "userspace(pid=1),2"],
    [`in_port(2),recirc_id(0x64),${ip}`, "userspace(pid=1),1"],
  ];
}

export const A = { src: "10.0.0.1", dst: "10.0.0.2" };
export const B = { src: "10.0.0.2", dst: "10.0.0.1" };
export const A6 = { src: "fd00::1", dst: "fd00::2" };
export const B6 = { src: "fd00::2", dst: "fd00::1" };
export const ICMP = 1;
export const UDP = 17;
export const ICMPV6 = 58;
