/**
 * ICMPv6 header, 8 bytes (RFC 4443 §2.1), and neighbour discovery messages, 24 bytes and options
 * (RFC 4861 §4.3, §4.4). `at` is the offset of its first byte. Allocates nothing.
 */
import { finish, pseudoIpv6, sum } from "../packet/checksum.ts";

export const SIZE = 8;
const TYPE = 0;
const CODE = 1;
/** Offset of the checksum: what a partial checksum's csum_offset is. */
export const CHECKSUM = 2;
const REST = 4;
const TARGET = 8;
/** Bytes of a neighbour solicitation or advertisement without options. */
export const ND_SIZE = 24;

export const ECHO_REQUEST = 128;
export const ECHO_REPLY = 129;
export const NEIGHBOUR_SOLICITATION = 135;
export const NEIGHBOUR_ADVERTISEMENT = 136;
export const ND_OPT_SOURCE_LL_ADDR = 1;
export const ND_OPT_TARGET_LL_ADDR = 2;

const IPPROTO_ICMPV6 = 58;

/** Whether a whole header lies in [at, end). */
export function fits(_view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end;
}

export function type(view: DataView, at: number): number {
  return view.getUint8(at + TYPE);
}

export function code(view: DataView, at: number): number {
  return view.getUint8(at + CODE);
}

/** As it stands in the header (network byte order). */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** The header's last four bytes, whose meaning depends on the type. */
export function rest(view: DataView, at: number): number {
  return view.getUint32(at + REST);
}

/** Whether this is a whole neighbour solicitation or advertisement in [at, end). */
export function isNeighbourDiscovery(view: DataView, at: number, end: number): boolean {
  return at + ND_SIZE <= end && code(view, at) === 0 &&
    (type(view, at) === NEIGHBOUR_SOLICITATION || type(view, at) === NEIGHBOUR_ADVERTISEMENT);
}

/** Word 0 … 3 of a neighbour discovery message's target address. */
export function targetWord(view: DataView, at: number, word: number): number {
  return view.getUint32(at + TARGET + word * 4);
}

/** Sets the checksum of a message that ends at `end`; the IPv6 header is at `l3At`. */
export function finishMessage(view: DataView, at: number, end: number, l3At: number): void {
  view.setUint16(at + CHECKSUM, 0);
  const pseudo = pseudoIpv6(view, l3At, IPPROTO_ICMPV6, end - at);
  view.setUint16(at + CHECKSUM, finish(pseudo + sum(view, at, end)), true);
}

/** Writes all 8 bytes; the checksum is 0. */
export function write(view: DataView, at: number, type: number, code: number, rest: number): void {
  view.setUint8(at + TYPE, type);
  view.setUint8(at + CODE, code);
  view.setUint16(at + CHECKSUM, 0);
  view.setUint32(at + REST, rest);
}
