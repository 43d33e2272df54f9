/**
 * IPv4 header, 20 to 60 bytes (RFC 791 §3.1). `at` is the offset of its first byte. Addresses are
 * unsigned numbers. Allocates nothing.
 */
import { finish, sum } from "../packet/checksum.ts";

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
/** More fragments follow: a bit of {@link fragment}. */
export const MORE_FRAGMENTS = 0x2000;
/** Offset in units of 8 bytes. */
export const FRAGMENT_OFFSET = 0x1fff;

/** Protocol number of ICMP. */
export const IPPROTO_ICMP = 1;
/** Protocol number of TCP. */
export const IPPROTO_TCP = 6;
/** Protocol number of UDP. */
export const IPPROTO_UDP = 17;
/** Protocol number of GRE. */
export const IPPROTO_GRE = 47;
/** Protocol number of SCTP. */
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

/** 4, in a packet that is one. */
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

/** Common to all fragments of a packet. */
export function identification(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFICATION);
}

/** Flags and offset: DONT_FRAGMENT, MORE_FRAGMENTS, FRAGMENT_OFFSET. */
export function fragment(view: DataView, at: number): number {
  return view.getUint16(at + FRAGMENT);
}

/** Time to live. */
export function ttl(view: DataView, at: number): number {
  return view.getUint8(at + TTL);
}

/** Protocol of the payload. */
export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL);
}

/** As it stands in the header (network byte order). */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** Source address, unsigned. */
export function source(view: DataView, at: number): number {
  return view.getUint32(at + SOURCE);
}

/** Destination address, unsigned. */
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
  /** DSCP and ECN. */
  readonly tos: number;
  /** Bytes of header and payload. */
  readonly totalSize: number;
  /** Common to all fragments of a packet. */
  readonly identification: number;
  /** Flags and offset in units of 8 bytes. */
  readonly fragment: number;
  /** Time to live. */
  readonly ttl: number;
  /** Protocol of the payload. */
  readonly protocol: number;
  /** Source address, unsigned. */
  readonly source: number;
  /** Destination address, unsigned. */
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
