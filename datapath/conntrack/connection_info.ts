/**
 * Connections as plain data, for dumps, and filters for them. Off the fast path: everything here
 * allocates.
 */
import { inverseType, T_DST, T_META, T_PORTS, T_SRC } from "./tuple.ts";

/** One direction of a connection. */
export interface ConnectionTuple {
  /** 4 or 6. */
  readonly family: number;
  /** Number of the IP protocol. */
  readonly protocol: number;
  /** Bytes, 4 or 16. */
  readonly source: Uint8Array;
  /** Bytes, 4 or 16. */
  readonly destination: Uint8Array;
  /** Ports; of ICMP `id`, `type`, `code` instead. */
  readonly sourcePort: number;
  /** As sourcePort. */
  readonly destinationPort: number;
  /** Identifier of ICMP queries. */
  readonly id: number;
  /** Type of ICMP. */
  readonly type: number;
  /** Code of ICMP. */
  readonly code: number;
}

/** Packets of one direction. */
export interface DirectionCounters {
  /** Packets seen. */
  readonly packets: number;
  /** Bytes of their IP packets. */
  readonly bytes: number;
}

/** TCP's part of a connection. */
export interface TcpInfo {
  /** A name of TCP_STATE_NAMES. */
  readonly state: string;
  /** Window scale of the original side. */
  readonly scaleOriginal: number;
  /** Window scale of the replying side. */
  readonly scaleReply: number;
  /** IP_CT_TCP_FLAG_*. */
  readonly flagsOriginal: number;
  /** The same of the replying side. */
  readonly flagsReply: number;
}

/** A connection as dumps show it. */
export interface ConnectionInfo {
  /** Differs between connections that had the same record. */
  readonly id: number;
  /** 16 bits. */
  readonly zone: number;
  /** What packets of the original direction have. */
  readonly original: ConnectionTuple;
  /** What replies come with. */
  readonly reply: ConnectionTuple;
  /** Of the original direction. */
  readonly countersOriginal: DirectionCounters;
  /** Of the replies. */
  readonly countersReply: DirectionCounters;
  /** When it was committed, ms since 1970; 0: the kernel does not stamp its connections. */
  readonly startMs: number;
  /** Whole seconds left. */
  readonly timeoutSeconds: number;
  /** IPS_* bits. */
  readonly status: number;
  /** Unsigned. */
  readonly mark: number;
  /** 32 hexadecimal digits, the highest first, as CtAction has labels. */
  readonly labels: string;
  /** Of TCP alone. */
  readonly tcp: TcpInfo | undefined;
  /** Empty: none. */
  readonly helper: string;
  /** Original tuple of the connection that this one was expected by. */
  readonly parent: ConnectionTuple | undefined;
}

/** A connection that is expected. */
export interface ExpectedInfo {
  /** 16 bits. */
  readonly zone: number;
  /** What its first packet has; the source port is any. */
  readonly tuple: ConnectionTuple;
  /** Whole seconds left. */
  readonly timeoutSeconds: number;
  /** Who expects it; empty: its connection has gone. */
  readonly helper: string;
  /** Original tuple of the connection that it belongs to; undefined: that has gone. */
  readonly parent: ConnectionTuple | undefined;
}

/** The same as plain JSON: addresses as text. */
export type PlainTuple = Omit<ConnectionTuple, "source" | "destination"> & {
  /** Address as text. */
  readonly source: string;
  /** Address as text. */
  readonly destination: string;
};

/** A connection as plain JSON. */
export type PlainConnection = Omit<ConnectionInfo, "original" | "reply" | "tcp" | "parent"> & {
  /** What packets of the original direction have. */
  readonly original: PlainTuple;
  /** What replies come with. */
  readonly reply: PlainTuple;
  /** Of TCP alone. */
  readonly tcp?: TcpInfo;
  /** Original tuple of the connection that this one was expected by. */
  readonly parent?: PlainTuple;
};

/** An expected connection as plain JSON. */
export type PlainExpected = Omit<ExpectedInfo, "tuple" | "parent"> & {
  /** What its first packet has; the source port is any. */
  readonly tuple: PlainTuple;
  /** Original tuple of the connection that it belongs to; absent: that has gone. */
  readonly parent?: PlainTuple;
};

/** Fields of a tuple to compare; undefined: any. */
export interface TupleFilter {
  readonly source?: Uint8Array | undefined;
  readonly destination?: Uint8Array | undefined;
  readonly protocol?: number | undefined;
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
  readonly id?: number | undefined;
  readonly type?: number | undefined;
  readonly code?: number | undefined;
}

/** Which connections to dump or flush: those that meet everything given. */
export interface ConnectionFilter {
  readonly zone?: number | undefined;
  readonly mark?: { readonly value: number; readonly mask: number } | undefined;
  /** 32 hexadecimal digits each. */
  readonly labels?: { readonly value: string; readonly mask: string } | undefined;
  readonly original?: TupleFilter | undefined;
  readonly reply?: TupleFilter | undefined;
}

/** What a tuple's words say. */
export function tupleInfo(tuple: Int32Array): ConnectionTuple {
  const family = tuple[T_META]! & 0xff;
  const protocol = (tuple[T_META]! >>> 8) & 0xff;
  const ports = tuple[T_PORTS]!;
  const isQuery = isQueryTuple(family, protocol, ports);
  return {
    family,
    protocol,
    source: addressOf(tuple, T_SRC, family),
    destination: addressOf(tuple, T_DST, family),
    sourcePort: isQuery ? 0 : ports >>> 16,
    destinationPort: isQuery ? 0 : ports & 0xffff,
    id: isQuery ? ports >>> 16 : 0,
    type: isQuery ? (ports >>> 8) & 0xff : 0,
    code: isQuery ? ports & 0xff : 0,
  };
}

function addressOf(tuple: Int32Array, at: number, family: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (let word = 0; word < 4; word++) view.setInt32(word * 4, tuple[at + word]!);
  return family === 4 ? bytes.subarray(12) : bytes;
}

/** Whether a tuple has all that the filter names. */
export function isTupleMet(tuple: ConnectionTuple, filter: TupleFilter): boolean {
  const isSame = (bytes: Uint8Array, wanted: Uint8Array | undefined): boolean =>
    wanted === undefined ||
    wanted.length === bytes.length && wanted.every((byte, at) => byte === bytes[at]);
  const isEqual = (value: number, wanted: number | undefined): boolean =>
    wanted === undefined || wanted === value;
  return isSame(tuple.source, filter.source) && isSame(tuple.destination, filter.destination) &&
    isEqual(tuple.protocol, filter.protocol) && isEqual(tuple.sourcePort, filter.sourcePort) &&
    isEqual(tuple.destinationPort, filter.destinationPort) && isEqual(tuple.id, filter.id) &&
    isEqual(tuple.type, filter.type) && isEqual(tuple.code, filter.code);
}

/** As {@link isTupleMet} of what {@link tupleInfo} would say, without saying it: a table may have millions. */
export function areWordsMet(tuple: Int32Array, filter: TupleFilter): boolean {
  const meta = tuple[T_META]!;
  const family = meta & 0xff;
  const protocol = (meta >>> 8) & 0xff;
  const { source, destination } = filter;
  if (filter.protocol !== undefined && filter.protocol !== protocol) return false;
  if (source !== undefined && !isAddress(tuple, T_SRC, family, source)) return false;
  if (destination !== undefined && !isAddress(tuple, T_DST, family, destination)) return false;
  const { sourcePort, destinationPort, id, type, code } = filter;
  const ports = tuple[T_PORTS]!;
  const isQuery = isQueryTuple(family, protocol, ports);
  const isEqual = (value: number, wanted: number | undefined): boolean =>
    wanted === undefined || wanted === value;
  return isEqual(isQuery ? 0 : ports >>> 16, sourcePort) &&
    isEqual(isQuery ? 0 : ports & 0xffff, destinationPort) &&
    isEqual(isQuery ? ports >>> 16 : 0, id) &&
    isEqual(isQuery ? (ports >>> 8) & 0xff : 0, type) &&
    isEqual(isQuery ? ports & 0xff : 0, code);
}

function isAddress(tuple: Int32Array, at: number, family: number, wanted: Uint8Array): boolean {
  if (wanted.length !== (family === 4 ? 4 : 16)) return false;
  // Its words are numbers; an IPv4 address is the last of four.
  const from = at + 4 - wanted.length / 4;
  for (let byte = 0; byte < wanted.length; byte++) {
    const word = tuple[from + (byte >> 2)]!;
    if (((word >>> (24 - (byte & 3) * 8)) & 0xff) !== wanted[byte]) return false;
  }
  return true;
}

/** Whether the ports are an identifier, type and code of an ICMP query. */
function isQueryTuple(family: number, protocol: number, ports: number): boolean {
  return protocol === (family === 4 ? 1 : 58) && inverseType((ports >>> 8) & 0xff, family) >= 0;
}

/** Whether a connection has all that the filter names. */
export function isConnectionMet(connection: ConnectionInfo, filter: ConnectionFilter): boolean {
  const { zone, mark, labels, original, reply } = filter;
  return (zone === undefined || connection.zone === zone) &&
    (mark === undefined || ((connection.mark ^ mark.value) & mark.mask) === 0) &&
    (labels === undefined || isLabelMet(connection.labels, labels.value, labels.mask)) &&
    (original === undefined || isTupleMet(connection.original, original)) &&
    (reply === undefined || isTupleMet(connection.reply, reply));
}

/** Whether labels agree with a value under a mask, 32 hexadecimal digits each. */
export function isLabelMet(labels: string, value: string, mask: string): boolean {
  const [a, b, c] = [labels, value, mask].map((text) => BigInt("0x" + text)) as [
    bigint,
    bigint,
    bigint,
  ];
  return ((a ^ b) & c) === 0n;
}
