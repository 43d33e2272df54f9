/**
 * IPv6 header, 40 bytes (RFC 8200 §3), and its extension headers' sizes. `at` is the offset of its
 * first byte. An address is four words, word 0 first, unsigned. Allocates nothing.
 */

export const SIZE = 40;
const FLOW = 0;
const PAYLOAD_SIZE = 4;
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const SOURCE = 8;
const DESTINATION = 24;

/** Hop-by-hop options. */
export const NEXTHDR_HOP = 0;
/** Routing header. */
export const NEXTHDR_ROUTING = 43;
/** Fragment header. */
export const NEXTHDR_FRAGMENT = 44;
/** Authentication header (RFC 4302). */
export const NEXTHDR_AUTH = 51;
/** ICMPv6. */
export const NEXTHDR_ICMP = 58;
/** Nothing follows. */
export const NEXTHDR_NONE = 59;
/** Destination options. */
export const NEXTHDR_DEST = 60;
/** Bytes of a fragment header. */
export const FRAGMENT_SIZE = 8;

/** Whether a whole header lies in [at, end) and says version 6. */
export function fits(view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end && version(view, at) === 6;
}

/** 6, in a packet that is one. */
export function version(view: DataView, at: number): number {
  return view.getUint8(at + FLOW) >>> 4;
}

/** DSCP and ECN. */
export function trafficClass(view: DataView, at: number): number {
  return (view.getUint16(at + FLOW) >>> 4) & 0xff;
}

/** Flow label, 20 bits. */
export function label(view: DataView, at: number): number {
  return view.getUint32(at + FLOW) & 0xfffff;
}

/** Bytes behind this header, extension headers included. */
export function payloadSize(view: DataView, at: number): number {
  return view.getUint16(at + PAYLOAD_SIZE);
}

/** What follows the header. */
export function nextHeader(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_HEADER);
}

/** Hops that are left. */
export function hopLimit(view: DataView, at: number): number {
  return view.getUint8(at + HOP_LIMIT);
}

/** Word 0 … 3 of the source address. */
export function sourceWord(view: DataView, at: number, word: number): number {
  return view.getUint32(at + SOURCE + word * 4);
}

/** Word 0 … 3 of the destination address. */
export function destinationWord(view: DataView, at: number, word: number): number {
  return view.getUint32(at + DESTINATION + word * 4);
}

/** Whether another header may follow one of this type. */
export function isExtension(nextHeader: number): boolean {
  return nextHeader === NEXTHDR_HOP || nextHeader === NEXTHDR_ROUTING ||
    nextHeader === NEXTHDR_FRAGMENT || nextHeader === NEXTHDR_AUTH || nextHeader === NEXTHDR_DEST;
}

/** Bytes of the extension header at `at`, of which at least 2 bytes must be there. */
export function extensionSize(view: DataView, at: number, nextHeader: number): number {
  if (nextHeader === NEXTHDR_FRAGMENT) return FRAGMENT_SIZE;
  const units = view.getUint8(at + 1);
  return nextHeader === NEXTHDR_AUTH ? (units + 2) << 2 : (units + 1) << 3;
}

/** A header's fields. */
export interface Fields {
  /** DSCP and ECN. */
  readonly trafficClass: number;
  /** Flow label, 20 bits. */
  readonly label: number;
  /** Bytes behind the fixed header. */
  readonly payloadSize: number;
  /** What follows the header. */
  readonly nextHeader: number;
  /** Hops that are left. */
  readonly hopLimit: number;
  /** Four words each. */
  readonly source: ArrayLike<number>;
  /** Four words, network order. */
  readonly destination: ArrayLike<number>;
}

/** Writes all 40 bytes. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint32(at + FLOW, (6 << 28) | (fields.trafficClass << 20) | (fields.label & 0xfffff));
  view.setUint16(at + PAYLOAD_SIZE, fields.payloadSize);
  view.setUint8(at + NEXT_HEADER, fields.nextHeader);
  view.setUint8(at + HOP_LIMIT, fields.hopLimit);
  for (let word = 0; word < 4; word++) {
    view.setUint32(at + SOURCE + word * 4, fields.source[word]!);
    view.setUint32(at + DESTINATION + word * 4, fields.destination[word]!);
  }
}
