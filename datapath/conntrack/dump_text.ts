/** Connections as text, in the shape of `ovs-dpctl dump-conntrack` (Open vSwitch lib/ct-dpif.c's format). */
import type {
  ConnectionInfo,
  ConnectionTuple,
  DirectionCounters,
  ExpectedInfo,
  PlainConnection,
  PlainExpected,
  PlainTuple,
} from "./connection_info.ts";
import { formatIpv4, formatIpv6 } from "../text/addresses.ts";

/** Names of protocols by number; others print as numbers. */
const PROTOCOLS: ReadonlyMap<number, string> = new Map([
  [1, "icmp"],
  [2, "igmp"],
  [6, "tcp"],
  [17, "udp"],
  [33, "dccp"],
  [58, "icmpv6"],
  [132, "sctp"],
  [136, "udplite"],
]);

/** Names of status bits, IPS_*, lowest first. */
const STATUS_NAMES = [
  "EXPECTED",
  "SEEN_REPLY",
  "ASSURED",
  "CONFIRMED",
  "SRC_NAT",
  "DST_NAT",
  "SEQ_ADJUST",
  "SRC_NAT_DONE",
  "DST_NAT_DONE",
  "DYING",
  "FIXED_TIMEOUT",
  "TEMPLATE",
  "UNTRACKED",
  "HELPER",
];

/** Names of TCP flags of a side, IP_CT_TCP_FLAG_*, lowest first. */
const TCP_FLAG_NAMES = [
  "WINDOW_SCALE",
  "SACK_PERM",
  "CLOSE_INIT",
  "BE_LIBERAL",
  "DATA_UNACKNOWLEDGED",
  "MAXACK_SET",
];

/** What `-s` and `-m` add. */
export interface DumpOptions {
  /** Counters, times. */
  readonly statistics?: boolean;
  /** Identifier, status, TCP's windows, parent. */
  readonly verbose?: boolean;
}

function bitNames(bits: number, names: readonly string[]): string {
  return names.filter((_, bit) => (bits >>> bit & 1) === 1).join("|") || "0";
}

/** `src=…,dst=…,sport=…,dport=…`, or `id=`, `type=`, `code=` of ICMP. */
export function formatTuple(
  tuple: ConnectionTuple | PlainTuple,
  counters?: DirectionCounters,
): string {
  const { protocol, family, source, destination } = plainTuple(tuple);
  let text = `src=${source},dst=${destination}`;
  if (protocol === (family === 4 ? 1 : 58)) {
    text += `,id=${tuple.id},type=${tuple.type},code=${tuple.code}`;
  } else {
    text += `,sport=${tuple.sourcePort},dport=${tuple.destinationPort}`;
  }
  if (counters && (counters.packets > 0 || counters.bytes > 0)) {
    text += `,packets=${counters.packets},bytes=${counters.bytes}`;
  }
  return text;
}

function plainTuple(tuple: ConnectionTuple | PlainTuple): PlainTuple {
  const address = (value: Uint8Array | string): string => {
    if (typeof value === "string") return value;
    return tuple.family === 4 ? formatIpv4(value, 0) : formatIpv6(value, 0);
  };
  return { ...tuple, source: address(tuple.source), destination: address(tuple.destination) };
}

/** A connection for JSON. */
export function plainConnection(connection: ConnectionInfo): PlainConnection {
  const { original, reply, tcp, parent, ...rest } = connection;
  return {
    ...rest,
    original: plainTuple(original),
    reply: plainTuple(reply),
    ...(tcp === undefined ? {} : { tcp }),
    ...(parent === undefined ? {} : { parent: plainTuple(parent) }),
  };
}

/** An expected connection for JSON. */
export function plainExpected({ tuple, parent, ...rest }: ExpectedInfo): PlainExpected {
  return {
    ...rest,
    tuple: plainTuple(tuple),
    ...(parent === undefined ? {} : { parent: plainTuple(parent) }),
  };
}

/** One line of dump-conntrack-exp, without its end. */
export function formatExpected({ tuple, zone, parent }: PlainExpected): string {
  const parts = [
    PROTOCOLS.get(tuple.protocol) ?? String(tuple.protocol),
    `orig=(${formatTuple(tuple)})`,
  ];
  if (zone !== 0) parts.push(`zone=${zone}`);
  if (parent) parts.push(`parent=(${formatTuple(parent)})`);
  return parts.join(",");
}

/** One line, without its end. */
export function formatConnection(
  connection: ConnectionInfo | PlainConnection,
  options: DumpOptions = {},
): string {
  const { statistics, verbose } = options;
  const { original, reply, tcp, parent } = connection;
  const side = (
    name: string,
    tuple: ConnectionTuple | PlainTuple,
    counters: DirectionCounters,
  ): string => `${name}=(${formatTuple(tuple, statistics ? counters : undefined)})`;
  const parts = [
    PROTOCOLS.get(original.protocol) ?? String(original.protocol),
    side("orig", original, connection.countersOriginal),
    side("reply", reply, connection.countersReply),
  ];
  // The kernel stamps and counts only if it is told to.
  if (statistics && connection.startMs > 0) {
    parts.push(`start=${new Date(connection.startMs).toISOString().slice(0, -1)}`);
  }
  if (verbose) parts.push(`id=${connection.id}`);
  if (connection.zone !== 0) parts.push(`zone=${connection.zone}`);
  if (verbose) parts.push(`status=${bitNames(connection.status, STATUS_NAMES)}`);
  if (statistics) parts.push(`timeout=${connection.timeoutSeconds}`);
  if (connection.mark !== 0) parts.push(`mark=${connection.mark}`);
  const labels = connection.labels.replace(/^0+/, "");
  if (labels !== "") parts.push(`labels=0x${labels}`);
  if (tcp) {
    parts.push(
      verbose
        ? `protoinfo=(state_orig=${tcp.state},state_reply=${tcp.state},` +
          (tcp.scaleOriginal === 0 && tcp.scaleReply === 0
            ? ""
            : `wscale_orig=${tcp.scaleOriginal},wscale_reply=${tcp.scaleReply},`) +
          `flags_orig=${bitNames(tcp.flagsOriginal, TCP_FLAG_NAMES)},` +
          `flags_reply=${bitNames(tcp.flagsReply, TCP_FLAG_NAMES)})`
        : `protoinfo=(state=${tcp.state})`,
    );
  }
  if (connection.helper !== "") parts.push(`helper=${connection.helper}`);
  if (verbose && parent) parts.push(`parent=(${formatTuple(parent)})`);
  return parts.join(",");
}
