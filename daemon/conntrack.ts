/**
 * Connections of a datapath: the requests ct-dump, ct-exp-dump, ct-flush, ct-stats, ct-bkts,
 * ct-limit-set, ct-limit-get, ct-limit-del, ct-maxconns and ct-maxconns-set. Limits are saved with the
 * datapath; connections are not. What visits all connections does so in slices, beside the packets.
 */
import type { ConnectionStats, Methods } from "./api.ts";
import type { Backend, ConntrackBackend } from "./backend.ts";
import { refuse } from "./command_errors.ts";
import { change } from "./ct_settings.ts";
import type { Datapath, Model } from "./model.ts";
import { findDatapath } from "./names.ts";
import type { Transaction } from "./transaction.ts";
import type { PlainConnection } from "../datapath/conntrack/connection_info.ts";
import type { ConnectionCounts } from "../datapath/conntrack/control.ts";
import { plainConnection, plainExpected } from "../datapath/conntrack/dump_text.ts";
import { checkZone, parseFilter } from "../datapath/conntrack/filter_text.ts";
import { CONNECTIONS_MAX_DEFAULT, CONNECTIONS_MAX_LIMIT } from "../datapath/conntrack/layout.ts";
import { TCP_STATE_NAMES } from "../datapath/conntrack/tcp_states.ts";

/** Connections in a piece of a dump, and at most a slice more: some megabytes of JSON. */
const PIECE = 8192;

/** The first record: where a walk over all connections begins. */
const FIRST = 1;

export async function dumpConnections(
  backend: Backend,
  model: Model,
  { dp, from = FIRST, ...texts }: Methods["ct-dump"]["params"],
): Promise<Methods["ct-dump"]["result"]> {
  const { control, nowMs } = liveConntrack(findDatapath(model, dp), "dumped");
  const filter = parseFilter(texts);
  if (!Number.isInteger(from) || from < FIRST) {
    refuse("EINVAL", `from must be what the piece before gave as next: current value is ${from}`);
  }
  const connections: PlainConnection[] = [];
  for (let at = from;;) {
    at = control.dump(nowMs(), filter, at, (one) => connections.push(plainConnection(one)));
    if (at === 0) return { connections };
    if (connections.length >= PIECE) return { connections, next: at };
    await backend.rest();
  }
}

export function dumpExpected(
  model: Model,
  { dp, zone }: Methods["ct-exp-dump"]["params"],
): Methods["ct-exp-dump"]["result"] {
  const { control, nowMs } = liveConntrack(findDatapath(model, dp), "expected");
  if (zone !== undefined) checkZone(zone);
  const expected = control.expected(nowMs()).map(plainExpected);
  return { expected: expected.filter((one) => zone === undefined || one.zone === zone) };
}

/** Buckets looked at between two rests. */
const BUCKETS_AT_ONCE = 4096;
/** Buckets that an answer lists. */
const BUCKETS_LISTED_MAX = 65_536;

export async function dumpBuckets(
  backend: Backend,
  model: Model,
  { dp, over = 0 }: Methods["ct-bkts"]["params"],
): Promise<Methods["ct-bkts"]["result"]> {
  const { control } = liveConntrack(findDatapath(model, dp), "counted");
  const { count, fill } = control.buckets();
  const filled: [number, number][] = [];
  let connections = 0;
  let unlisted = 0;
  for (let from = 0; from < count; from += BUCKETS_AT_ONCE) {
    for (const [at, entries] of fill(from, Math.min(BUCKETS_AT_ONCE, count - from)).entries()) {
      connections += entries;
      if (entries <= over) continue;
      if (filled.length < BUCKETS_LISTED_MAX) filled.push([from + at, entries]);
      else unlisted++;
    }
    await backend.rest();
  }
  // Each connection lies in the table twice: by its own tuple, and by that of its replies.
  return { buckets: count, connections: Math.ceil(connections / 2), filled, unlisted };
}

export async function flushConnections(
  backend: Backend,
  model: Model,
  { dp, ...texts }: Methods["ct-flush"]["params"],
): Promise<Methods["ct-flush"]["result"]> {
  const { control, nowMs } = liveConntrack(findDatapath(model, dp), "flushed");
  const filter = parseFilter(texts);
  const before = control.count;
  for (let at = FIRST; at !== 0;) {
    at = control.flush(nowMs(), filter, at);
    await backend.rest();
  }
  return { deleted: Math.max(0, before - control.count) };
}

export async function connectionStats(
  backend: Backend,
  model: Model,
  { dp, zone }: Methods["ct-stats"]["params"],
): Promise<ConnectionStats> {
  const { control, nowMs } = liveConntrack(findDatapath(model, dp), "counted");
  if (zone !== undefined) checkZone(zone);
  const counts: ConnectionCounts = { total: 0, byProtocol: new Map(), byTcpState: new Map() };
  for (let at = FIRST; at !== 0;) {
    at = control.tally(nowMs(), zone, at, counts);
    await backend.rest();
  }
  return {
    total: counts.total,
    byProtocol: Object.fromEntries(counts.byProtocol),
    byTcpState: Object.fromEntries(
      TCP_STATE_NAMES.flatMap((name) => {
        const count = counts.byTcpState.get(name);
        return count === undefined ? [] : [[name, count]];
      }),
    ),
    packets: control.stats(),
    invalid: Object.fromEntries(control.invalidCounts()),
  };
}

export function showLimits(
  model: Model,
  { dp, zones }: Methods["ct-limit-get"]["params"],
): Methods["ct-limit-get"]["result"] {
  const datapath = findDatapath(model, dp);
  const { defaultLimit, zoneLimits } = datapath.record.conntrack;
  const wanted = zones ?? Object.keys(zoneLimits).map(Number);
  const control = datapath.backend.conntrack?.control;
  return {
    defaultLimit,
    zones: wanted.map((zone) => {
      checkZone(zone);
      const limit = zoneLimits[`${zone}`] ?? defaultLimit;
      return { zone, limit, count: control?.zoneCount(zone) ?? 0 };
    }),
  };
}

export function showConnectionsMax(
  model: Model,
  { dp }: Methods["ct-maxconns"]["params"],
): Methods["ct-maxconns"]["result"] {
  const { record, backend } = findDatapath(model, dp);
  const max = record.conntrack.connectionsMax ?? CONNECTIONS_MAX_DEFAULT;
  return { max, count: backend.conntrack?.control.count ?? 0 };
}

export function setLimits(
  transaction: Transaction,
  { dp, defaultLimit, zones = [] }: Methods["ct-limit-set"]["params"],
): Methods["ct-limit-set"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  const { conntrack } = datapath.record;
  checkLimits({ defaultLimit, zones });
  const zoneLimits: Record<string, number> = { ...conntrack.zoneLimits };
  for (const { zone, limit } of zones) zoneLimits[`${zone}`] = limit;
  change(transaction, datapath, {
    zoneLimits,
    ...(defaultLimit === undefined ? {} : { defaultLimit }),
  });
  return {};
}

export function deleteLimits(
  transaction: Transaction,
  { dp, isDefault = false, zones = [] }: Methods["ct-limit-del"]["params"],
): Methods["ct-limit-del"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  checkLimitDeletion({ isDefault, zones });
  const gone = new Set(zones.map(String));
  const kept = Object.entries(datapath.record.conntrack.zoneLimits).filter(([zone]) =>
    !gone.has(zone)
  );
  change(transaction, datapath, {
    zoneLimits: Object.fromEntries(kept),
    ...(isDefault ? { defaultLimit: 0 } : {}),
  });
  return {};
}

export function setConnectionsMax(
  transaction: Transaction,
  { dp, max }: Methods["ct-maxconns-set"]["params"],
): Methods["ct-maxconns-set"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  const most = datapath.backend.conntrack?.control.connectionsLimit ?? CONNECTIONS_MAX_LIMIT;
  if (!Number.isInteger(max) || max < 0 || max > CONNECTIONS_MAX_LIMIT) {
    refuse("EINVAL", `maxconns must be 0 … ${CONNECTIONS_MAX_LIMIT}, not ${max}`);
  }
  if (max > most) {
    refuse(
      "EINVAL",
      `the running datapath was made for ${most} connections: set a larger maxconns while no ` +
        "daemon runs",
    );
  }
  change(transaction, datapath, { connectionsMax: max });
  return {};
}

function liveConntrack({ backend }: Datapath, done: string): ConntrackBackend {
  return backend.conntrack ??
    refuse("ENOTCONN", `no daemon is running that could have connections to be ${done}`);
}

/** Throws CommandError or OptionError. */
export function checkLimits(
  { defaultLimit, zones = [] }: Methods["ct-limit-set"]["params"],
): void {
  if (defaultLimit === undefined && zones.length === 0) {
    refuse("EINVAL", "no limit is given (default=LIMIT, zone=ZONE,limit=LIMIT)");
  }
  if (defaultLimit !== undefined) checkLimit(defaultLimit);
  for (const { zone, limit } of zones) {
    checkZone(zone);
    checkLimit(limit);
  }
}

/** Throws CommandError or OptionError. */
export function checkLimitDeletion(
  { isDefault = false, zones = [] }: Methods["ct-limit-del"]["params"],
): void {
  if (!isDefault && zones.length === 0) {
    refuse("EINVAL", "no limit is named (default, zone=ZONE,…)");
  }
  for (const zone of zones) checkZone(zone);
}

function checkLimit(limit: number): void {
  if (Number.isInteger(limit) && limit >= 0 && limit <= 0xffffffff) return;
  refuse("EINVAL", `a limit must be 0 (none) … ${0xffffffff}, not ${limit}`);
}
