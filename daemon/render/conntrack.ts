/** Text of connections, their numbers and limits, in the shapes of ovs-dpctl. Pure. */
import type { ConnectionStats, Methods } from "../api.ts";
import { type DumpOptions, formatConnection } from "../../datapath/conntrack/dump_text.ts";

/** Protocols as ct-stats-show names them, in its order; all others are one. */
const PROTOCOLS: readonly (readonly [number, string])[] = [
  [6, "TCP"],
  [17, "UDP"],
  [136, "UDPLITE"],
  [132, "SCTP"],
  [1, "ICMP"],
  [33, "DCCP"],
  [2, "IGMP"],
];

/** As dump-conntrack. */
export function renderConnections(
  { connections }: Methods["ct-dump"]["result"],
  options: DumpOptions,
): string {
  return connections.map((one) => `${formatConnection(one, options)}\n`).join("");
}

/** As ct-stats-show. `more`: states of TCP, and what packets were found to be. */
export function renderConnectionStats(
  stats: ConnectionStats,
  { more = false }: { readonly more?: boolean } = {},
): string {
  let text = `Connections Stats:\n    Total: ${stats.total}\n`;
  const left = new Map(Object.entries(stats.byProtocol));
  for (const [protocol, name] of PROTOCOLS) {
    const count = left.get(`${protocol}`) ?? 0;
    left.delete(`${protocol}`);
    if (count === 0) continue;
    text += `  ${name}: ${count}\n`;
    if (name !== "TCP" || !more) continue;
    text += "    Conn per TCP states:\n";
    for (const [state, number] of Object.entries(stats.byTcpState)) {
      text += `      ${state}: ${number}\n`;
    }
  }
  const others = [...left.values()].reduce((sum, count) => sum + count, 0);
  if (others > 0) text += `  Other: ${others}\n`;
  if (!more) return text;
  text += "Packets:\n";
  for (const [name, count] of Object.entries(stats.packets)) text += `  ${name}: ${count}\n`;
  for (const [name, count] of Object.entries(stats.invalid)) {
    text += `    invalid ${name}: ${count}\n`;
  }
  return text;
}

/** As ct-get-limits. */
export function renderLimits({ defaultLimit, zones }: Methods["ct-limit-get"]["result"]): string {
  return `default limit=${defaultLimit}\n` +
    zones.map(({ zone, limit, count }) => `zone=${zone},limit=${limit},count=${count}\n`).join("");
}
