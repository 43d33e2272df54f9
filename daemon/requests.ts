/**
 * What each request that changes the configuration does, staged in a transaction: the rules of the
 * kernel's ovs_datapath, ovs_vport and ovs_flow families, the same online and offline, for one
 * request and for many.
 */
import type {
  ConfigMethod,
  DatapathType,
  FlowTimeouts,
  Methods,
  MissPolicy,
  PortAddParams,
} from "./api.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import { deleteLimits, setConnectionsMax, setLimits } from "./conntrack.ts";
import { deleteTimeouts, setConntrackOptions, setTimeouts } from "./ct_settings.ts";
import { addFlow, deleteFlow, flushFlows, formatUfid, modifyFlow } from "./flows.ts";
import { addMeter, deleteMeter, modifyMeter } from "./meters.ts";
import {
  CONNTRACK_DEFAULTS,
  type Datapath,
  type DatapathRecord,
  FEATURES,
  LOCAL_PORT,
  NO_PORTIDS,
  PER_CPU,
  type PortRecord,
  randomBytes,
  randomMac,
} from "./model.ts";
import {
  checkDeviceName,
  findDatapath,
  findDevice,
  findPort,
  parseDatapathName,
  realPortType,
} from "./names.ts";
import { checkPortids, equalOptions, normalOptions, setPort, setPortids } from "./port_settings.ts";
import type { Transaction } from "./transaction.ts";
import { FLOWS_MAX_DEFAULT, FLOWS_MAX_LIMIT } from "../datapath/flow_table/layout.ts";
import { CACHE_ENTRIES_MAX } from "../datapath/flow_table/signature_cache.ts";
import { PORT_MAX } from "../datapath/key.ts";

/** Where a request stands. */
export interface RequestPlace {
  /** Line in a batch. */
  readonly line?: number | undefined;
  /** Port numbers asked for elsewhere in the batch: ports without one keep off them. */
  readonly reserved?: ReadonlySet<number>;
}

type Params<M extends ConfigMethod> = Methods[M]["params"];
type Result<M extends ConfigMethod> = Methods[M]["result"];
type Stage<M extends ConfigMethod> = (
  transaction: Transaction,
  params: Params<M>,
  place: RequestPlace,
) => Result<M> | Promise<Result<M>>;

const MISS_POLICIES: readonly MissPolicy[] = ["drop", "flood", "learn"];
const NOTHING_RESERVED: ReadonlySet<number> = new Set();

const STAGES: { readonly [M in ConfigMethod]: Stage<M> } = {
  "dp-add": addDatapath,
  "dp-del": deleteDatapath,
  "dp-set": setDatapath,
  "port-add": addPort,
  "port-del": deletePort,
  "port-set": setPort,
  "flow-add": async (transaction, params) => {
    const { dp, flow, actions, mayExist } = params;
    const timeouts = checkTimeouts(transaction, params);
    const options = { mayExist, timeouts };
    const staged = addFlow(await flowScope(transaction, dp), flow, actions, options);
    return { ufid: formatUfid(staged.ufid), created: staged.created };
  },
  "flow-mod": async (transaction, { dp, flow, ...change }) => {
    const staged = modifyFlow(await flowScope(transaction, dp), flow, change);
    return { ...staged, ufid: formatUfid(staged.ufid) };
  },
  "flow-del": async (transaction, { dp, flow, ifExists }) => {
    const stats = deleteFlow(await flowScope(transaction, dp), flow, { ifExists });
    return { deleted: stats !== undefined, stats: stats ?? null };
  },
  "flow-flush": async (transaction, { dp }) => {
    return { deleted: await flushFlows(await flowScope(transaction, dp)) };
  },
  "meter-add": addMeter,
  "meter-mod": modifyMeter,
  "meter-del": deleteMeter,
  "ct-limit-set": setLimits,
  "ct-limit-del": deleteLimits,
  "ct-maxconns-set": setConnectionsMax,
  "ct-timeout-set": setTimeouts,
  "ct-timeout-del": deleteTimeouts,
  "ct-set": setConntrackOptions,
};

/** Stages one request. Throws CommandError; the transaction is then to be rolled back. */
export async function stageRequest<M extends ConfigMethod>(
  transaction: Transaction,
  request: { readonly method: M; readonly params: Params<M> },
  place: RequestPlace = {},
): Promise<Result<M>> {
  try {
    return await STAGES[request.method](transaction, request.params, place);
  } catch (error) {
    throw toCommandError(error, { line: place.line });
  }
}

/** The flow table of the datapath called `dp`, for staging. */
export async function flowScope(
  transaction: Transaction,
  dp: string | undefined,
): Promise<Parameters<typeof addFlow>[0]> {
  const datapath = findDatapath(transaction.model, dp);
  return { transaction, datapath, table: await transaction.table(datapath) };
}

async function addDatapath(
  transaction: Transaction,
  { dp, miss, flowsMax, mayExist }: Params<"dp-add">,
  place: RequestPlace,
): Promise<Result<"dp-add">> {
  const { type = "netdev", name } = parseDatapathName(dp);
  checkDeviceName("datapath", name);
  checkMiss(miss);
  checkFlowsMax(flowsMax);
  const existing = transaction.model.get(name);
  if (existing !== undefined) {
    if (!mayExist) refuse("EEXIST", `cannot add datapath "${name}": it exists already`);
    checkSameDatapath(existing, { type, miss, flowsMax });
    return { created: false };
  }
  const used = findDevice(transaction.model, name);
  if (used !== undefined) {
    const other = used.datapath.record.name;
    refuse("EEXIST", `cannot add datapath "${name}": ${other} has a port of this name`);
  }
  const datapath = await transaction.addDatapath({
    id: randomBytes(16).toHex(),
    name,
    type,
    miss: miss ?? "drop",
    flowsMax: flowsMax ?? FLOWS_MAX_DEFAULT,
    ufidSeed: randomBytes(16),
    masksCache: CACHE_ENTRIES_MAX,
    features: [],
    upcallHandler: null,
    portids: NO_PORTIDS,
    conntrack: CONNTRACK_DEFAULTS,
  });
  stagePort(transaction, datapath, {
    portNo: LOCAL_PORT,
    name,
    type: "internal",
    options: {},
    line: place.line,
  });
  return { created: true };
}

function deleteDatapath(
  transaction: Transaction,
  { dp, ifExists }: Params<"dp-del">,
): Result<"dp-del"> {
  const { type, name } = parseDatapathName(dp);
  const datapath = transaction.model.get(name);
  const gone = datapath === undefined || (type !== undefined && type !== datapath.record.type);
  if (gone && ifExists) return { deleted: false };
  transaction.deleteDatapath(findDatapath(transaction.model, dp));
  return { deleted: true };
}

async function setDatapath(
  transaction: Transaction,
  { dp, miss, masksCacheSize: masksCache, features, upcallHandler, portids }: Params<"dp-set">,
): Promise<Result<"dp-set">> {
  const datapath = findDatapath(transaction.model, dp);
  checkMiss(miss);
  checkCacheSize(masksCache);
  checkFeatures(features);
  const handler = upcallHandler === undefined || upcallHandler === ""
    ? upcallHandler
    : await transaction.backend.checkHandler(upcallHandler);
  const changes: Partial<DatapathRecord> = {
    ...(miss === undefined ? {} : { miss }),
    ...(masksCache === undefined ? {} : { masksCache }),
    ...(features === undefined
      ? {}
      : { features: FEATURES.filter((one) => features.includes(one)) }),
    ...(handler === undefined ? {} : { upcallHandler: handler === "" ? null : handler }),
    ...(portids === undefined
      ? {}
      : { portids: { ...datapath.record.portids, cpus: checkPortids(portids) } }),
  };
  if (Object.keys(changes).length === 0) {
    refuse("EINVAL", "nothing to set (miss, masks-cache, features, upcall-handler or upcall)");
  }
  const { features: allowed, portids: told } = { ...datapath.record, ...changes };
  if (portids !== undefined && told.cpus.length > 0 && !allowed.includes(PER_CPU)) {
    refuse(
      "EINVAL",
      `upcall=${
        portids.join(":")
      } of a datapath needs features=${PER_CPU} (port-set upcall= is per port)`,
    );
  }
  transaction.setDatapath(datapath, changes);
  return {};
}

/** A power of two, as the kernel wants it. */
function checkCacheSize(size: number | undefined): void {
  if (size === undefined || size === 0) return;
  const isPower = Number.isInteger(size) && size > 0 && (size & (size - 1)) === 0;
  if (isPower && size <= CACHE_ENTRIES_MAX) return;
  refuse(
    "EINVAL",
    `masks cache size ${size} is not allowed (0, or a power of 2 up to ${CACHE_ENTRIES_MAX})`,
  );
}

function checkFeatures(features: readonly string[] | undefined): void {
  const unknown = features?.find((one) => !FEATURES.includes(one));
  if (unknown === undefined) return;
  refuse("EINVAL", `unknown feature "${unknown}" (known: ${FEATURES.join(", ")})`);
}

/** Longer than that is a mistake (the kernel's jiffies would not hold it either). */
const TIMEOUT_S_MAX = 10 * 365 * 86400;

/** Undefined: the flow stays. */
function checkTimeouts(
  transaction: Transaction,
  { idleTimeout, hardTimeout }: Params<"flow-add">,
): FlowTimeouts | undefined {
  for (const [name, seconds] of Object.entries({ idle: idleTimeout, hard: hardTimeout })) {
    if (seconds === undefined || (seconds >= 0 && seconds <= TIMEOUT_S_MAX)) continue;
    refuse("EINVAL", `the ${name} timeout can't be ${seconds} s (0 to ${TIMEOUT_S_MAX})`);
  }
  if (!idleTimeout && !hardTimeout) return undefined;
  if (transaction.backend.offline) {
    refuse("ENOTCONN", "a flow with a timeout is never saved, and no daemon is running to add it");
  }
  return { idleTimeout: idleTimeout ?? 0, hardTimeout: hardTimeout ?? 0 };
}

function addPort(
  transaction: Transaction,
  params: Params<"port-add">,
  place: RequestPlace,
): Result<"port-add"> {
  const datapath = findDatapath(transaction.model, params.dp);
  const { port: name, portNo, options = {} } = params;
  const { name: dpName } = datapath.record;
  const doing = `cannot add port "${name}" to ${dpName}`;
  checkDeviceName("port", name);
  const type = realPortType(datapath.record.type, params.type ?? "netdev");
  const normal = normalOptions(transaction, type, options, doing);
  checkPortNo(portNo, doing);
  const used = findDevice(transaction.model, name);
  if (used !== undefined) {
    const { record } = used.datapath;
    const where = `port ${used.port.portNo} of ${record.name}`;
    if (record.name !== dpName) refuse("EBUSY", `${doing}: it is ${where} already`);
    if (!params.mayExist) refuse("EEXIST", `${doing}: it is ${where} already`);
    checkSamePort(used.port, { type, options: normal, params });
    return { created: false, portNo: used.port.portNo };
  }
  const number = choosePortNo(datapath, portNo, { doing, reserved: place.reserved });
  stagePort(transaction, datapath, {
    portNo: number,
    name,
    type,
    options: normal,
    line: place.line,
  });
  return { created: true, portNo: number };
}

function deletePort(
  transaction: Transaction,
  { dp, port: text, ifExists }: Params<"port-del">,
): Result<"port-del"> {
  const datapath = findDatapath(transaction.model, dp);
  const { name } = datapath.record;
  const port = findPort(datapath, text);
  if (port === undefined) {
    if (ifExists) return { deleted: false };
    refuse("ENOENT", `cannot delete port "${text}": ${name} has no such port`);
  }
  if (port.portNo === LOCAL_PORT) {
    refuse("EINVAL", `cannot delete port 0 of ${name}: it goes with the datapath (dp-del)`);
  }
  transaction.deletePort(datapath, port);
  setPortids(transaction, findDatapath(transaction.model, dp), port.portNo, []);
  return { deleted: true };
}

function stagePort(
  transaction: Transaction,
  datapath: Datapath,
  wanted: Pick<PortRecord, "portNo" | "name" | "type" | "options"> & { line: number | undefined },
): void {
  const { portNo, name, options, line } = wanted;
  const type = realPortType(datapath.record.type, wanted.type);
  const state = transaction.backend.offline ? "offline" : "up";
  // A device of our own keeps its address over restarts, so it is chosen before the device exists.
  const mac = type === "internal" ? randomMac() : null;
  const port: PortRecord = { portNo, name, type, options, mac, state, reason: null };
  transaction.addPort(datapath, port, line);
}

function choosePortNo(
  datapath: Datapath,
  wanted: number | undefined,
  { doing, reserved = NOTHING_RESERVED }: {
    doing: string;
    reserved?: ReadonlySet<number> | undefined;
  },
): number {
  if (wanted !== undefined && wanted !== 0) {
    const taken = datapath.port(wanted);
    if (taken === undefined) return wanted;
    refuse("EBUSY", `${doing}: port number ${wanted} is taken by "${taken.name}"`);
  }
  const portNo = datapath.freePortNo(reserved);
  if (portNo > PORT_MAX) refuse("EFBIG", `${doing}: all port numbers up to ${PORT_MAX} are taken`);
  return portNo;
}

function checkPortNo(portNo: number | undefined, doing: string): void {
  if (portNo === undefined) return;
  if (portNo > PORT_MAX) {
    refuse("EFBIG", `${doing}: port number ${portNo} is too large (1 to ${PORT_MAX})`);
  }
  if (!Number.isInteger(portNo) || portNo < 0) {
    refuse("EINVAL", `${doing}: "${portNo}" is not a port number (1 to ${PORT_MAX})`);
  }
}

function checkMiss(miss: MissPolicy | undefined): void {
  if (miss === undefined || MISS_POLICIES.includes(miss)) return;
  refuse("EINVAL", `unknown miss policy "${miss}" (${MISS_POLICIES.join(", ")})`);
}

function checkFlowsMax(flowsMax: number | undefined): void {
  if (flowsMax === undefined) return;
  if (Number.isInteger(flowsMax) && flowsMax >= 1 && flowsMax <= FLOWS_MAX_LIMIT) return;
  refuse("EINVAL", `a datapath cannot hold ${flowsMax} flows at most (1 to ${FLOWS_MAX_LIMIT})`);
}

/** `--may-exist` accepts a datapath only as it was asked for. */
function checkSameDatapath(
  { record }: Datapath,
  wanted: {
    type: DatapathType;
    miss: MissPolicy | undefined;
    flowsMax: number | undefined;
  },
): void {
  const doing = `cannot add datapath "${record.name}": it exists`;
  if (wanted.type !== record.type) refuse("EEXIST", `${doing} as ${record.type}@${record.name}`);
  if (wanted.miss !== undefined && wanted.miss !== record.miss) {
    refuse("EEXIST", `${doing} with miss ${record.miss} (dp-set changes it)`);
  }
  if (wanted.flowsMax !== undefined && wanted.flowsMax !== record.flowsMax) {
    refuse("EEXIST", `${doing} for ${record.flowsMax} flows at most`);
  }
}

/** The same for a port: what was not asked for may be as it is. */
function checkSamePort(
  port: PortRecord,
  wanted: {
    type: string;
    options: Readonly<Record<string, string>>;
    params: PortAddParams;
  },
): void {
  const doing = `cannot add port "${port.name}": it exists`;
  const { params } = wanted;
  if (params.type !== undefined && wanted.type !== port.type) {
    refuse("EEXIST", `${doing} with type ${port.type}`);
  }
  if (params.portNo !== undefined && params.portNo !== 0 && params.portNo !== port.portNo) {
    refuse("EEXIST", `${doing} with number ${port.portNo}`);
  }
  if (params.options !== undefined && !equalOptions(wanted.options, port.options)) {
    const options = Object.entries(port.options).map(([key, value]) => `${key}=${value}`);
    refuse("EEXIST", `${doing} with ${options.join(",") || "no options"}`);
  }
}
