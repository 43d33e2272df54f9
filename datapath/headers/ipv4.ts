/**
 * IPv4 header, 20 to 60 bytes (RFC 791 §3.1). `at` is the offset of its first byte. Addresses are
 * unsigned numbers. Allocates nothing.
 */
import { finish, sum } from "../checksum.ts";

/** Smallest header, and what {@link write} writes. */
export const SIZE = 20;
const VERSION = 0;
const TOS = 1;
const TOTAL_SIZE = 2;
const IDENTIFICATION = 4;
const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SOURCE = 12;
const DESTINATION = 16;

/** Bits of {@link fragment}. */
export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
/** Offset in units of 8 bytes. */
export const FRAGMENT_OFFSET = 0x1fff;

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_GRE = 47;
export const IPPROTO_SCTP = 132;

/** Whether a whole header, options included, lies in [at, end). */
export function fits(view: DataView, at: number, end: number): boolean {
  if (at + SIZE > end) return false;
  const size = headerSize(view, at);
  return size >= SIZE && at + size <= end;
}

/** Bytes of the header with its options; below 20: malformed. */
export function headerSize(view: DataView, at: number): number {
  return (view.getUint8(at + VERSION) & 0x0f) << 2;
}

export function version(view: DataView, at: number): number {
  return view.getUint8(at + VERSION) >>> 4;
}

/** Type of service: DSCP and ECN. */
export function tos(view: DataView, at: number): number {
  return view.getUint8(at + TOS);
}

/** Bytes of header and payload. */
export function totalSize(view: DataView, at: number): number {
  return view.getUint16(at + TOTAL_SIZE);
}

export function identification(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFICATION);
}

/** Flags and offset: DONT_FRAGMENT, MORE_FRAGMENTS, FRAGMENT_OFFSET. */
export function fragment(view: DataView, at: number): number {
  return view.getUint16(at + FRAGMENT);
}

export function ttl(view: DataView, at: number): number {
  return view.getUint8(at + TTL);
}

export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL);
}

/** As it stands in the header (network byte order). */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

export function source(view: DataView, at: number): number {
  return view.getUint32(at + SOURCE);
}

export function destination(view: DataView, at: number): number {
  return view.getUint32(at + DESTINATION);
}

/** Whether the header's checksum is right. The header must fit. */
export function isChecksumRight(view: DataView, at: number): boolean {
  return sum(view, at, at + headerSize(view, at)) === 0xffff;
}

/** Sets total size and checksum of a header that is otherwise complete. */
export function finishHeader(view: DataView, at: number, totalSize: number): void {
  view.setUint16(at + TOTAL_SIZE, totalSize);
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, finish(sum(view, at, at + headerSize(view, at))), true);
}

/** A header's fields. */
export interface Fields {
  readonly tos: number;
  readonly totalSize: number;
  readonly identification: number;
  readonly fragment: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
}

/** Writes all 20 bytes of a header without options, checksum included. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint8(at + VERSION, 0x45);
  view.setUint8(at + TOS, fields.tos);
  view.setUint16(at + IDENTIFICATION, fields.identification);
  view.setUint16(at + FRAGMENT, fields.fragment);
  view.setUint8(at + TTL, fields.ttl);
  view.setUint8(at + PROTOCOL, fields.protocol);
  view.setUint32(at + SOURCE, fields.source);
  view.setUint32(at + DESTINATION, fields.destination);
  finishHeader(view, at, fields.totalSize);
}
