/**
 * Connections of the kernel's tracker as nfnetlink messages (linux/netfilter/nfnetlink.h,
 * nfnetlink_conntrack.h), both ways, as the payload of a netlink message. Numbers are big endian
 * there, unlike in other families.
 */
import type {
  ConnectionInfo,
  ConnectionTuple,
  DirectionCounters,
  ExpectedInfo,
  TcpInfo,
} from "../conntrack/connection_info.ts";
import { TCP_STATE_NAMES } from "../conntrack/tcp_states.ts";
import { AttributeSet, AttributeWriter, NetlinkCodecError, viewOf } from "./attributes.ts";

const NFNL_SUBSYS_CTNETLINK = 1;
const NFNL_SUBSYS_CTNETLINK_EXP = 2;

/** Message types: subsystem << 8 | IPCTNL_MSG_*. */
export const CT_GET: number = NFNL_SUBSYS_CTNETLINK << 8 | 1;
export const CT_DELETE: number = NFNL_SUBSYS_CTNETLINK << 8 | 2;
export const EXPECT_GET: number = NFNL_SUBSYS_CTNETLINK_EXP << 8 | 1;

/** struct nfgenmsg: u8 family, u8 version, be16 resource. */
const HEADER_SIZE = 4;
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_PROTOINFO = 4;
const CTA_HELP = 5;
const CTA_TIMEOUT = 7;
const CTA_MARK = 8;
const CTA_COUNTERS_ORIG = 9;
const CTA_COUNTERS_REPLY = 10;
const CTA_ID = 12;
const CTA_TUPLE_MASTER = 14;
const CTA_ZONE = 18;
const CTA_TIMESTAMP = 20;
const CTA_LABELS = 22;

const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_PROTO_ICMP_ID = 4;
const CTA_PROTO_ICMP_TYPE = 5;
const CTA_PROTO_ICMP_CODE = 6;
/** The same of ICMPv6 behind those of ICMP. */
const CTA_PROTO_ICMPV6_SHIFT = 3;

const CTA_PROTOINFO_TCP = 1;
const CTA_PROTOINFO_TCP_STATE = 1;
const CTA_PROTOINFO_TCP_WSCALE_ORIGINAL = 2;
const CTA_PROTOINFO_TCP_WSCALE_REPLY = 3;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY = 5;
const CTA_HELP_NAME = 1;
const CTA_COUNTERS_PACKETS = 1;
const CTA_COUNTERS_BYTES = 2;
const CTA_COUNTERS_PAD = 5;
const CTA_TIMESTAMP_START = 1;

const CTA_EXPECT_MASTER = 1;
const CTA_EXPECT_TUPLE = 2;
const CTA_EXPECT_TIMEOUT = 4;
const CTA_EXPECT_HELP_NAME = 6;
const CTA_EXPECT_ZONE = 7;

const LABELS_SIZE = 16;
const ICMP = 1;
const ICMPV6 = 58;

/** A request about all connections, or all that are expected, of one family (AF_*) or all. */
export function encodeCtRequest(family: number = AF_UNSPEC): Uint8Array<ArrayBuffer> {
  return begin(family).bytes();
}

/** A CT_DELETE of one connection; its identifier keeps a later one with the same tuple from it. */
export function encodeCtDelete(
  { original, zone, id }: Pick<ConnectionInfo, "original" | "zone" | "id">,
): Uint8Array<ArrayBuffer> {
  const writer = begin(original.family === 4 ? AF_INET : AF_INET6);
  writer.nested(CTA_TUPLE_ORIG, () => writeTuple(writer, original));
  if (zone !== 0) writer.attributeBe16(CTA_ZONE, zone);
  return writer.attribute(CTA_ID, be32(id)).bytes();
}

function begin(family: number): AttributeWriter {
  return new AttributeWriter({ marksNested: true })
    .header(HEADER_SIZE, (view) => view.setUint8(0, family));
}

function be32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function writeTuple(writer: AttributeWriter, tuple: ConnectionTuple): void {
  const isIpv4 = tuple.family === 4;
  writer.nested(CTA_TUPLE_IP, () => {
    writer.attribute(isIpv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.source);
    writer.attribute(isIpv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.destination);
  });
  writer.nested(CTA_TUPLE_PROTO, () => {
    writer.attributeU8(CTA_PROTO_NUM, tuple.protocol);
    if (isIcmp(tuple.protocol)) {
      const shift = isIpv4 ? 0 : CTA_PROTO_ICMPV6_SHIFT;
      writer.attributeBe16(CTA_PROTO_ICMP_ID + shift, tuple.id);
      writer.attributeU8(CTA_PROTO_ICMP_TYPE + shift, tuple.type);
      writer.attributeU8(CTA_PROTO_ICMP_CODE + shift, tuple.code);
    } else {
      writer.attributeBe16(CTA_PROTO_SRC_PORT, tuple.sourcePort);
      writer.attributeBe16(CTA_PROTO_DST_PORT, tuple.destinationPort);
    }
  });
}

function isIcmp(protocol: number): boolean {
  return protocol === ICMP || protocol === ICMPV6;
}

/** Reads a connection. What the kernel does not count or stamp is 0. Throws NetlinkCodecError. */
export function decodeConnection(payload: Uint8Array): ConnectionInfo {
  const attributes = read(payload, "connection");
  const original = readTuple(attributes, CTA_TUPLE_ORIG);
  const reply = readTuple(attributes, CTA_TUPLE_REPLY);
  if (original === undefined || reply === undefined) {
    throw new NetlinkCodecError("connection", "both its tuples must be there");
  }
  const labels = attributes.bytes(CTA_LABELS) ?? new Uint8Array();
  const startNs = be64(attributes.nested(CTA_TIMESTAMP, "timestamp"), CTA_TIMESTAMP_START);
  return {
    id: be(attributes, CTA_ID, 4) ?? 0,
    zone: attributes.be16(CTA_ZONE) ?? 0,
    original,
    reply,
    countersOriginal: readCounters(attributes, CTA_COUNTERS_ORIG),
    countersReply: readCounters(attributes, CTA_COUNTERS_REPLY),
    startMs: Number(startNs / 1_000_000n),
    timeoutSeconds: be(attributes, CTA_TIMEOUT, 4) ?? 0,
    status: be(attributes, CTA_STATUS, 4) ?? 0,
    mark: be(attributes, CTA_MARK, 4) ?? 0,
    // As the kernel has them, lowest byte first.
    labels: Uint8Array.from({ length: LABELS_SIZE }, (_, at) => labels[LABELS_SIZE - 1 - at] ?? 0)
      .toHex(),
    tcp: readTcp(attributes),
    helper: attributes.nested(CTA_HELP, "help")?.text(CTA_HELP_NAME) ?? "",
    parent: readTuple(attributes, CTA_TUPLE_MASTER),
  };
}

/** Reads an expected connection. Throws NetlinkCodecError. */
export function decodeExpected(payload: Uint8Array): ExpectedInfo {
  const attributes = read(payload, "expectation");
  const tuple = readTuple(attributes, CTA_EXPECT_TUPLE);
  if (tuple === undefined) throw new NetlinkCodecError("expectation", "its tuple must be there");
  return {
    zone: attributes.be16(CTA_EXPECT_ZONE) ?? 0,
    tuple,
    timeoutSeconds: be(attributes, CTA_EXPECT_TIMEOUT, 4) ?? 0,
    helper: attributes.text(CTA_EXPECT_HELP_NAME) ?? "",
    parent: readTuple(attributes, CTA_EXPECT_MASTER),
  };
}

function read(payload: Uint8Array, path: string): AttributeSet {
  if (payload.length < HEADER_SIZE) {
    throw new NetlinkCodecError(path, `${payload.length} bytes, the header has ${HEADER_SIZE}`);
  }
  return new AttributeSet(payload.subarray(HEADER_SIZE), path);
}

/** An unsigned number of `size` bytes. */
function be(attributes: AttributeSet | undefined, type: number, size: 1 | 4): number | undefined {
  const bytes = attributes?.bytes(type);
  if (bytes === undefined) return undefined;
  if (bytes.length < size) return attributes?.fail(type, `must have ${size} bytes`);
  return size === 1 ? bytes[0]! : viewOf(bytes).getUint32(0);
}

/** 0: it is not there. */
function be64(attributes: AttributeSet | undefined, type: number): bigint {
  const bytes = attributes?.bytes(type);
  return bytes === undefined || bytes.length < 8 ? 0n : viewOf(bytes).getBigUint64(0);
}

function readCounters(attributes: AttributeSet, type: number): DirectionCounters {
  const counters = attributes.nested(type, "counters", { pad: CTA_COUNTERS_PAD });
  return {
    packets: Number(be64(counters, CTA_COUNTERS_PACKETS)),
    bytes: Number(be64(counters, CTA_COUNTERS_BYTES)),
  };
}

function readTuple(attributes: AttributeSet, type: number): ConnectionTuple | undefined {
  const tuple = attributes.nested(type, "tuple");
  const addresses = tuple?.nested(CTA_TUPLE_IP, "ip");
  const protocols = tuple?.nested(CTA_TUPLE_PROTO, "proto");
  if (addresses === undefined || protocols === undefined) return undefined;
  const isIpv4 = addresses.has(CTA_IP_V4_SRC);
  const source = addresses.bytes(isIpv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC);
  const destination = addresses.bytes(isIpv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST);
  const size = isIpv4 ? 4 : 16;
  if (source?.length !== size || destination?.length !== size) {
    throw new NetlinkCodecError("tuple", `its addresses must have ${size} bytes each`);
  }
  const shift = isIpv4 ? 0 : CTA_PROTO_ICMPV6_SHIFT;
  return {
    family: isIpv4 ? 4 : 6,
    protocol: be(protocols, CTA_PROTO_NUM, 1) ?? 0,
    source,
    destination,
    sourcePort: protocols.be16(CTA_PROTO_SRC_PORT) ?? 0,
    destinationPort: protocols.be16(CTA_PROTO_DST_PORT) ?? 0,
    id: protocols.be16(CTA_PROTO_ICMP_ID + shift) ?? 0,
    type: be(protocols, CTA_PROTO_ICMP_TYPE + shift, 1) ?? 0,
    code: be(protocols, CTA_PROTO_ICMP_CODE + shift, 1) ?? 0,
  };
}

function readTcp(attributes: AttributeSet): TcpInfo | undefined {
  const tcp = attributes.nested(CTA_PROTOINFO, "protoinfo")?.nested(CTA_PROTOINFO_TCP, "tcp");
  if (tcp === undefined) return undefined;
  const number = (type: number): number => be(tcp, type, 1) ?? 0;
  return {
    state: TCP_STATE_NAMES[number(CTA_PROTOINFO_TCP_STATE)] ?? "NONE",
    scaleOriginal: number(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL),
    scaleReply: number(CTA_PROTOINFO_TCP_WSCALE_REPLY),
    // struct nf_ct_tcp_flags: flags, then a mask.
    flagsOriginal: number(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL),
    flagsReply: number(CTA_PROTOINFO_TCP_FLAGS_REPLY),
  };
}
