/**
 * The kernel's connections by netlink (linux/netfilter/nfnetlink_conntrack.h: CTA_*), with all that it
 * tells of them; and removing them all. In the network namespace of the calling thread.
 */
import type { ConnectionInfo, ConnectionTuple } from "../../datapath/conntrack/connection_info.ts";
import { TCP_STATE_NAMES } from "../../datapath/conntrack/tcp_states.ts";
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "../../netdev/abi.ts";
import { MessageWriter, parseAttributes } from "../../netdev/netlink.ts";
import { NetlinkSocket } from "../../netdev/netlink_socket.ts";

const NETLINK_NETFILTER = 12;
/** NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_…. */
const GET = 0x101;
const DELETE = 0x102;
/** struct nfgenmsg: family, version, resource. */
const HEADER_SIZE = 4;

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
const CTA_LABELS = 22;

type Bytes = Uint8Array<ArrayBuffer>;

/** Attributes by type, empty where there are none. */
class Nested {
  readonly #attributes: ReadonlyMap<number, Bytes>;

  constructor(bytes: Bytes | undefined) {
    this.#attributes = bytes === undefined ? new Map() : parseAttributes(bytes);
  }

  has(type: number): boolean {
    return this.#attributes.has(type);
  }

  bytes(type: number): Bytes | undefined {
    return this.#attributes.get(type);
  }

  nested(type: number): Nested {
    return new Nested(this.bytes(type));
  }

  /** A number of any size, highest byte first. */
  number(type: number): number {
    const bytes = this.bytes(type) ?? new Uint8Array();
    return bytes.reduce((value, byte) => value * 256 + byte, 0);
  }
}

/** Connections, and ways to ask for them. */
export class KernelConnections {
  readonly #socket = new NetlinkSocket(NETLINK_NETFILTER);

  list(): ConnectionInfo[] {
    const purpose = { doing: "dump connections", label: "IPCTNL_MSG_CT_GET" };
    return this.#socket.dump(() => message(GET, NLM_F_DUMP), purpose)
      .map(({ payload }) => readConnection(new Nested(payload.slice(HEADER_SIZE))));
  }

  flush(): void {
    const purpose = { doing: "flush connections", label: "IPCTNL_MSG_CT_DELETE" };
    this.#socket.request(message(DELETE, NLM_F_ACK), purpose);
  }

  close(): void {
    this.#socket.close();
  }
}

function message(type: number, flags: number): MessageWriter {
  return new MessageWriter(type, NLM_F_REQUEST | flags).header(HEADER_SIZE, () => {});
}

function readConnection(attributes: Nested): ConnectionInfo {
  const master = attributes.nested(CTA_TUPLE_MASTER);
  const tcp = attributes.nested(CTA_PROTOINFO).nested(1);
  const counters = (type: number): { packets: number; bytes: number } => {
    const counted = attributes.nested(type);
    return { packets: counted.number(1), bytes: counted.number(2) };
  };
  const helper = attributes.nested(CTA_HELP).bytes(1);
  return {
    id: attributes.number(CTA_ID),
    zone: attributes.number(CTA_ZONE),
    original: readTuple(attributes.nested(CTA_TUPLE_ORIG)),
    reply: readTuple(attributes.nested(CTA_TUPLE_REPLY)),
    countersOriginal: counters(CTA_COUNTERS_ORIG),
    countersReply: counters(CTA_COUNTERS_REPLY),
    startMs: 0,
    timeoutSeconds: attributes.number(CTA_TIMEOUT),
    status: attributes.number(CTA_STATUS),
    mark: attributes.number(CTA_MARK),
    // Their bytes lie lowest first.
    labels: Uint8Array.from(attributes.bytes(CTA_LABELS) ?? new Uint8Array(16)).toReversed()
      .toHex(),
    tcp: tcp.has(1)
      ? {
        state: TCP_STATE_NAMES[tcp.number(1)] ?? "?",
        scaleOriginal: tcp.number(2),
        scaleReply: tcp.number(3),
        flagsOriginal: tcp.bytes(4)?.[0] ?? 0,
        flagsReply: tcp.bytes(5)?.[0] ?? 0,
      }
      : undefined,
    helper: helper === undefined ? "" : new TextDecoder().decode(helper).replace(/\0.*/, ""),
    parent: master.has(1) ? readTuple(master) : undefined,
  };
}

function readTuple(attributes: Nested): ConnectionTuple {
  const ip = attributes.nested(1);
  const protocol = attributes.nested(2);
  const isIpv4 = ip.has(1);
  const number = protocol.number(1);
  const icmp = number === 1 ? 4 : 7;
  return {
    family: isIpv4 ? 4 : 6,
    protocol: number,
    source: ip.bytes(isIpv4 ? 1 : 3) ?? new Uint8Array(),
    destination: ip.bytes(isIpv4 ? 2 : 4) ?? new Uint8Array(),
    sourcePort: protocol.number(2),
    destinationPort: protocol.number(3),
    id: protocol.number(icmp),
    type: protocol.number(icmp + 1),
    code: protocol.number(icmp + 2),
  };
}
