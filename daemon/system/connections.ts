/**
 * Connections of the kernel's tracker: ct-dump, ct-exp-dump, ct-flush and ct-stats by nfnetlink. They
 * are all of the network namespace, whoever tracks them: the kernel's datapaths have no table of their
 * own.
 */
import type { ConnectionStats, Methods } from "../api.ts";
import { findDatapath } from "./datapaths.ts";
import { explain, hasCode } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import {
  type ConnectionFilter,
  type ConnectionInfo,
  isConnectionMet,
} from "../../datapath/conntrack/connection_info.ts";
import { plainConnection, plainExpected } from "../../datapath/conntrack/dump_text.ts";
import { checkZone, parseFilter } from "../../datapath/conntrack/filter_text.ts";
import { TCP_STATE_NAMES } from "../../datapath/conntrack/tcp_states.ts";
import {
  CT_DELETE,
  CT_GET,
  decodeConnection,
  decodeExpected,
  encodeCtDelete,
  encodeCtRequest,
  EXPECT_GET,
} from "../../datapath/netlink/ctnetlink.ts";
import { NETLINK_NETFILTER, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "../../netdev/abi.ts";
import { MessageWriter } from "../../netdev/netlink.ts";
import { NetlinkSocket } from "../../netdev/netlink_socket.ts";

export function dumpConnections(
  kernel: Kernel,
  { dp, ...texts }: Methods["ct-dump"]["params"],
): Methods["ct-dump"]["result"] {
  findDatapath(kernel, dp);
  const filter = parseFilter(texts);
  return { connections: withSocket((socket) => list(socket, filter)).map(plainConnection) };
}

export function dumpExpected(
  kernel: Kernel,
  { dp, zone }: Methods["ct-exp-dump"]["params"],
): Methods["ct-exp-dump"]["result"] {
  findDatapath(kernel, dp);
  if (zone !== undefined) checkZone(zone);
  const all = withSocket((socket) => dump(socket, EXPECT_GET, "IPCTNL_MSG_EXP_GET"));
  const expected = all.map((payload) => plainExpected(decodeExpected(payload)));
  return { expected: expected.filter((one) => zone === undefined || one.zone === zone) };
}

/** Removes them one by one; what ends meanwhile is not counted. Can't be taken back. */
export function flushConnections(
  kernel: Kernel,
  { dp, ...texts }: Methods["ct-flush"]["params"],
): Methods["ct-flush"]["result"] {
  findDatapath(kernel, dp);
  const filter = parseFilter(texts);
  return withSocket((socket) => {
    let deleted = 0;
    for (const connection of list(socket, filter)) {
      if (remove(socket, connection)) deleted++;
    }
    return { deleted };
  });
}

/** What the kernel's packets were found to be, it does not say here. */
export function connectionStats(
  kernel: Kernel,
  { dp, zone }: Methods["ct-stats"]["params"],
): ConnectionStats {
  findDatapath(kernel, dp);
  const connections = withSocket((socket) => list(socket, parseFilter({ zone })));
  const byProtocol: Record<string, number> = {};
  for (const { original } of connections) {
    byProtocol[original.protocol] = (byProtocol[original.protocol] ?? 0) + 1;
  }
  const byTcpState = Object.fromEntries(
    TCP_STATE_NAMES.map((state) =>
      [state, connections.filter(({ tcp }) => tcp?.state === state).length] as const
    ).filter(([, count]) => count > 0),
  );
  return { total: connections.length, byProtocol, byTcpState, packets: {}, invalid: {} };
}

function withSocket<T>(work: (socket: NetlinkSocket) => T): T {
  return explain("cannot use the kernel's connections", () => {
    using socket = new NetlinkSocket(NETLINK_NETFILTER);
    return work(socket);
  });
}

function list(socket: NetlinkSocket, filter: ConnectionFilter): ConnectionInfo[] {
  return dump(socket, CT_GET, "IPCTNL_MSG_CT_GET").map(decodeConnection)
    .filter((connection) => isConnectionMet(connection, filter));
}

function dump(socket: NetlinkSocket, type: number, label: string): Uint8Array[] {
  const writer = (): MessageWriter =>
    new MessageWriter(type, NLM_F_REQUEST | NLM_F_DUMP).raw(encodeCtRequest());
  return socket.dump(writer, { doing: "list connections", label }).map(({ payload }) => payload);
}

/** False: it has gone by itself. */
function remove(socket: NetlinkSocket, connection: ConnectionInfo): boolean {
  const writer = new MessageWriter(CT_DELETE, NLM_F_REQUEST | NLM_F_ACK)
    .raw(encodeCtDelete(connection));
  try {
    socket.request(writer, { doing: "delete a connection", label: "IPCTNL_MSG_CT_DELETE" });
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}
