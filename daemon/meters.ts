/**
 * Meters of a datapath: the requests meter-add, meter-mod, meter-del and meter-show. A flow may name a
 * meter that is not there, as in the kernel: its packets pass.
 */
import type { MeterInfo, Methods } from "./api.ts";
import type { Backend } from "./backend.ts";
import { refuse } from "./command_errors.ts";
import type { Datapath, Model } from "./model.ts";
import { findDatapath } from "./names.ts";
import type { Transaction } from "./transaction.ts";
import { decodeActions, METER } from "../datapath/actions/action_program.ts";
import type { Action } from "../datapath/actions/actions.ts";
import { METER_BANDS_MAX, METERS_MAX } from "../datapath/meters.ts";
import { formatMeter, type MeterText, parseMeter } from "../datapath/text/meter_text.ts";

const FEATURES: Methods["meter-show"]["result"]["features"] = {
  metersMax: METERS_MAX,
  bandsMax: METER_BANDS_MAX,
  bandTypes: ["drop"],
  capabilities: ["kbps", "pps", "burst", "stats"],
};

export function addMeter(
  transaction: Transaction,
  { dp, meter: text, mayExist }: Methods["meter-add"]["params"],
): Methods["meter-add"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  const meter = parseMeter(text);
  const { id } = meter;
  const doing = `cannot add meter ${id} to ${datapath.record.name}`;
  const known = datapath.meter(id);
  if (known !== undefined) {
    if (!mayExist) refuse("EEXIST", `${doing}: it exists already (meter-mod changes it)`);
    if (formatMeter(known) !== formatMeter(meter)) {
      refuse("EEXIST", `${doing}: it exists as ${formatMeter(known)}`);
    }
    return { meter: id, created: false };
  }
  if (datapath.meterCount >= METERS_MAX) {
    refuse("ENOSPC", `${doing}: it has ${METERS_MAX} meters, the most it can have`);
  }
  transaction.putMeter(datapath, meter);
  return { meter: id, created: true };
}

export function modifyMeter(
  transaction: Transaction,
  { dp, meter: text }: Methods["meter-mod"]["params"],
): Methods["meter-mod"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  const meter = parseMeter(text);
  if (datapath.meter(meter.id) === undefined) refuseMissing(datapath, "change", meter.id);
  transaction.putMeter(datapath, meter);
  return { meter: meter.id };
}

/** All meters when none is named. */
export function deleteMeter(
  transaction: Transaction,
  { dp, meter: id, ifExists }: Methods["meter-del"]["params"],
): Methods["meter-del"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  if (id !== undefined && datapath.meter(id) === undefined) {
    if (ifExists) return { deleted: 0 };
    refuseMissing(datapath, "delete", id);
  }
  const ids = id === undefined ? datapath.meters().map((meter) => meter.id) : [id];
  const edited = transaction.edit(datapath);
  for (const each of ids) transaction.deleteMeter(edited, each);
  return { deleted: ids.length };
}

export async function showMeters(
  backend: Backend,
  model: Model,
  { dp, meter: id }: Methods["meter-show"]["params"],
): Promise<Methods["meter-show"]["result"]> {
  const datapath = findDatapath(model, dp);
  const meter = id === undefined ? undefined : datapath.meter(id);
  if (id !== undefined && meter === undefined) refuseMissing(datapath, "show", id);
  const wanted = meter === undefined ? datapath.meters() : [meter];
  const users = await countUsers(backend, datapath, wanted.length > 0);
  const nowMs = backend.nowMs();
  const meters = wanted.map((each) => describeMeter(datapath, each, { users, nowMs }));
  return { features: FEATURES, meters };
}

function describeMeter(
  { backend }: Datapath,
  { id, unit, burst, stats, bands }: MeterText,
  { users, nowMs }: { readonly users: ReadonlyMap<number, number>; readonly nowMs: number },
): MeterInfo {
  const counted = backend.meterStats(id);
  return {
    meter: id,
    unit,
    burst,
    stats,
    flows: users.get(id) ?? 0,
    packets: counted?.packets ?? 0,
    bytes: counted?.bytes ?? 0,
    durationMs: counted === undefined ? null : Math.max(0, Math.round(nowMs - counted.sinceMs)),
    bands: bands.map((band, at) => ({
      type: "drop",
      ...band,
      packets: counted?.bands[at]?.packets ?? 0,
      bytes: counted?.bands[at]?.bytes ?? 0,
    })),
  };
}

/** How many flows name each meter. */
async function countUsers(
  backend: Backend,
  datapath: Datapath,
  wanted: boolean,
): Promise<ReadonlyMap<number, number>> {
  const users = new Map<number, number>();
  if (!wanted) return users;
  const table = await datapath.backend.table();
  for (const at of table.publishedIndexes()) {
    const program = table.publishedActions(at);
    // Few flows have meters: the others are not decoded.
    if (program.some((word) => (word & 0xff) === METER)) {
      const named = new Set<number>();
      collectMeters(decodeActions(program), named);
      for (const id of named) users.set(id, (users.get(id) ?? 0) + 1);
    }
    await backend.rest();
  }
  return users;
}

/** Adds the numbers of the meters that actions name. */
export function collectMeters(actions: readonly Action[], into: Set<number>): void {
  for (const action of actions) {
    if (action.type === "meter") into.add(action.id);
    else {
      for (const value of Object.values(action)) {
        if (isActions(value)) collectMeters(value, into);
      }
    }
  }
}

function isActions(value: unknown): value is readonly Action[] {
  return Array.isArray(value) && value.every((each) => typeof each === "object" && "type" in each);
}

function refuseMissing({ record }: Datapath, doing: string, id: number): never {
  refuse("ENOENT", `cannot ${doing} meter ${id}: ${record.name} has no such meter`);
}
