/**
 * Network service header (RFC 8300 §2): base header and service path header of 8 bytes, then context
 * headers: four words for metadata type 1. `at` is the offset of its first byte. Nothing here allocates.
 */
export const SIZE = 8;
/** With the context of metadata type 1. */
export const TYPE_1_SIZE = 24;
export const MD_TYPE_1 = 1;
export const MD_TYPE_2 = 2;

const MD_TYPE = 2;
const NEXT_PROTOCOL = 3;
const PATH = 4;
const CONTEXT = 8;

/** Whether a whole header of version 0 lies in [at, end) and its length is possible for its type. */
export function fits(view: DataView, at: number, end: number): boolean {
  if (at + SIZE > end || version(view, at) !== 0) return false;
  const size = headerSize(view, at);
  if (size < SIZE || at + size > end) return false;
  return mdType(view, at) !== MD_TYPE_1 || size === TYPE_1_SIZE;
}

export function version(view: DataView, at: number): number {
  return view.getUint8(at) >>> 6;
}

/** Two bits: OAM (2) and one that is not assigned. */
export function flags(view: DataView, at: number): number {
  return view.getUint8(at) >>> 4 & 3;
}

/** 0 … 63. */
export function ttl(view: DataView, at: number): number {
  return view.getUint16(at) >>> 6 & 0x3f;
}

/** Bytes of the header with its context. */
export function headerSize(view: DataView, at: number): number {
  return (view.getUint8(at + 1) & 0x3f) << 2;
}

export function mdType(view: DataView, at: number): number {
  return view.getUint8(at + MD_TYPE);
}

/** 1 IPv4, 2 IPv6, 3 Ethernet, 4 NSH. */
export function nextProtocol(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_PROTOCOL);
}

/** Service path identifier << 8 | service index. */
export function path(view: DataView, at: number): number {
  return view.getUint32(at + PATH);
}

/** Context word 0 … 3 of metadata type 1. */
export function context(view: DataView, at: number, index: number): number {
  return view.getUint32(at + CONTEXT + 4 * index);
}

export interface NshFields {
  readonly flags: number;
  readonly ttl: number;
  readonly mdType: number;
  readonly nextProtocol: number;
  readonly path: number;
  /** Four words; written only for metadata type 1. */
  readonly context: readonly number[];
}

/** Writes a header without optional context: TYPE_1_SIZE bytes for metadata type 1, else SIZE. Returns its size. */
export function write(view: DataView, at: number, fields: NshFields): number {
  const size = fields.mdType === MD_TYPE_1 ? TYPE_1_SIZE : SIZE;
  view.setUint16(at, (fields.flags & 3) << 12 | (fields.ttl & 0x3f) << 6 | size >> 2);
  view.setUint8(at + MD_TYPE, fields.mdType);
  view.setUint8(at + NEXT_PROTOCOL, fields.nextProtocol);
  view.setUint32(at + PATH, fields.path);
  for (let index = 0; SIZE + 4 * index < size; index++) {
    view.setUint32(at + CONTEXT + 4 * index, fields.context[index] ?? 0);
  }
  return size;
}
