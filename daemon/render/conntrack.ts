/** Text of connections, their numbers and limits, in the shapes of ovs-dpctl. Pure. */
import type { ConnectionStats, ConntrackStatus, Methods } from "../api.ts";
import {
  type DumpOptions,
  formatConnection,
  formatExpected,
} from "../../datapath/conntrack/dump_text.ts";

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

/** As dump-conntrack-exp. */
export function renderExpected({ expected }: Methods["ct-exp-dump"]["result"]): string {
  return expected.map((one) => `${formatExpected(one)}\n`).join("");
}

/** What ct-stats-show prints more. */
export interface StatsOptions {
  /** States of TCP. */
  readonly states?: boolean;
  /** What packets were found to be; Open vSwitch does not say. */
  readonly packets?: boolean;
}

/** As ct-stats-show. */
export function renderConnectionStats(
  stats: ConnectionStats,
  { states = false, packets = false }: StatsOptions = {},
): string {
  let text = `Connections Stats:\n    Total: ${stats.total}\n`;
  const left = new Map(Object.entries(stats.byProtocol));
  for (const [protocol, name] of PROTOCOLS) {
    const count = left.get(`${protocol}`) ?? 0;
    left.delete(`${protocol}`);
    if (count === 0) continue;
    text += `  ${name}: ${count}\n`;
    if (name !== "TCP" || !states) continue;
    text += "    Conn per TCP states:\n";
    for (const [state, number] of Object.entries(stats.byTcpState)) {
      text += `\t  [${state}]=${number}\n`;
    }
  }
  const others = [...left.values()].reduce((sum, count) => sum + count, 0);
  if (others > 0) text += `  Other: ${others}\n`;
  // The kernel's are not known.
  if (!packets || Object.keys(stats.packets).length === 0) return text;
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

/** Buckets in a row of ct-bkts. */
const ROW = 8;

/** As ct-bkts, but rows without a bucket that is to be shown are left out. */
export function renderBuckets(
  { buckets, connections, filled, unlisted }: Methods["ct-bkts"]["result"],
): string {
  let text = `Total Buckets: ${buckets}\nCurrent Connections: ${connections}\n\n`;
  if (connections === 0) return text;
  text += "+-----------+-----------------------------------------+\n" +
    "|  Buckets  |         Connections per Buckets         |\n" +
    "+-----------+-----------------------------------------+";
  let row = -1;
  let next = 0;
  const fillUp = (to: number): void => {
    for (; next < Math.min(to, buckets); next++) text += "    .";
  };
  for (const [bucket, entries] of filled) {
    if (Math.floor(bucket / ROW) !== row) {
      if (row >= 0) fillUp((row + 1) * ROW);
      row = Math.floor(bucket / ROW);
      next = row * ROW;
      text += `\n ${String(next).padStart(3)}..${String(next + ROW - 1).padStart(3)}   | `;
    }
    fillUp(bucket);
    text += String(entries).padStart(5);
    next = bucket + 1;
  }
  if (row >= 0) fillUp((row + 1) * ROW);
  text += "\n\n";
  return unlisted === 0 ? text : `${text}${unlisted} more buckets (gt=N shows the fullest)\n`;
}

/** As ipf-get-status. */
export function renderFragmentStatus({ fragments }: ConntrackStatus): string {
  const { countersIpv4, countersIpv6, sizeMinIpv4, sizeMinIpv6 } = fragments;
  const family = (
    name: string,
    sizeMin: number,
    counters: ConntrackStatus["fragments"]["countersIpv4"],
  ): readonly string[] => [
    `min ${name} frag size: ${sizeMin}`,
    `${name} frags accepted: ${counters.accepted}`,
    `${name} frags completed: ${counters.completed}`,
    `${name} frags expired: ${counters.expired}`,
    `${name} frags too small: ${counters.tooSmall}`,
    `${name} frags overlapped: ${counters.overlapped}`,
    `${name} frags purged: ${counters.purged}`,
  ];
  const lines = [
    "Fragmentation Module Status",
    "---------------------------",
    `v4 enabled: ${fragments.ipv4 ? 1 : 0}`,
    `v6 enabled: ${fragments.ipv6 ? 1 : 0}`,
    `max num frags (v4/v6): ${fragments.countMax}`,
    `num frag: ${fragments.held}`,
    ...family("v4", sizeMinIpv4, countersIpv4),
    ...family("v6", sizeMinIpv6, countersIpv6),
  ];
  return lines.map((line) => `        ${line}\n`).join("");
}

/** Timeout policies, one a line; `isAll`: with what they have of the default. */
export function renderTimeouts(
  { policies }: Methods["ct-timeout-get"]["result"],
  isAll = false,
): string {
  return policies.map(({ policy, set, seconds }) => {
    const shown = isAll || policy === "default" ? seconds : set;
    return `${policy} ${Object.entries(shown).map(([name, s]) => `${name}=${s}`).join(" ")}\n`;
  }).join("");
}
