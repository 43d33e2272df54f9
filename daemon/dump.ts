/** What is asked without changing anything: datapaths, ports, flows, with their statistics. */
import type { DatapathInfo, FlowInfo, Methods, PortInfo } from "./api.ts";
import type { Backend } from "./backend.ts";
import { refuse } from "./command_errors.ts";
import { findFlow, formatUfid, parseNamed, refuseMissing, statsOf } from "./flows.ts";
import type { Datapath, Model, PortRecord } from "./model.ts";
import { findDatapath } from "./names.ts";
import { decodeActions } from "../datapath/actions/action_program.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import { parseOfMatch } from "../datapath/of_match.ts";
import { formatActions } from "../datapath/text/action_text.ts";
import { formatFlow } from "../datapath/text/flow_text.ts";
import { flowUfid } from "../datapath/ufid.ts";

/** How flows are written. */
interface FlowStyle {
  readonly names: boolean;
  readonly verbose: boolean;
  readonly givenUfids: boolean;
}

/** An OpenFlow match that flows must meet. */
interface Filter {
  readonly key: Int32Array;
  readonly mask: Int32Array;
}

export function listDatapaths(model: Model): Methods["dp-list"]["result"] {
  const datapaths = [...model.values()].map(({ record: { name, type } }) => ({ name, type }));
  return { datapaths };
}

export async function showDatapaths(
  model: Model,
  { dps, statistics = false }: Methods["dp-show"]["params"],
): Promise<Methods["dp-show"]["result"]> {
  const wanted = dps.length === 0 ? [...model.values()] : dps.map((dp) => findDatapath(model, dp));
  const datapaths: DatapathInfo[] = [];
  for (const datapath of wanted) datapaths.push(await describeDatapath(datapath, statistics));
  return { datapaths };
}

export function listPorts(
  model: Model,
  { dp, statistics = false }: Methods["port-list"]["params"],
): Methods["port-list"]["result"] {
  const datapath = findDatapath(model, dp);
  return { ports: describePorts(datapath, statistics) };
}

export async function getFlow(
  backend: Backend,
  model: Model,
  { dp, flow, names = false }: Methods["flow-get"]["params"],
): Promise<Methods["flow-get"]["result"]> {
  const datapath = findDatapath(model, dp);
  const table = await datapath.backend.table();
  const at = findFlow(datapath, table, flow);
  if (at < 0) refuseMissing({ datapath, table }, "get", parseNamed({ datapath }, flow));
  const style: FlowStyle = { names, verbose: true, givenUfids: false };
  return { flow: describeFlow({ backend, datapath, table }, at, style) };
}

/**
 * Goes through the table in slices, beside requests that change it: what they have staged is not in
 * it, what comes and goes meanwhile may be.
 */
export async function dumpFlows(
  backend: Backend,
  model: Model,
  params: Methods["flow-dump"]["params"],
): Promise<Methods["flow-dump"]["result"]> {
  const { dp, filter: match, names = false, verbose = false, givenUfids = false } = params;
  const datapath = findDatapath(model, dp);
  const filter = match === undefined ? undefined : parseOfMatch(match);
  const table = await datapath.backend.table();
  const source = { backend, datapath, table };
  const flows: FlowInfo[] = [];
  for (const at of table.publishedIndexes()) {
    if (filter === undefined || meets(table, at, filter)) {
      flows.push(describeFlow(source, at, { names, verbose, givenUfids }));
    }
    await backend.rest();
  }
  return { flows };
}

async function describeDatapath(datapath: Datapath, statistics: boolean): Promise<DatapathInfo> {
  const { name, type, miss, flowsMax, masksCache, features, upcallHandler, portids } =
    datapath.record;
  const { backend } = datapath;
  const table = await backend.table();
  const handler = upcallHandler === null ? undefined : backend.handlerInfo(upcallHandler);
  return {
    name,
    type,
    miss: handler?.state === "running" ? "upcall" : miss,
    flowsMax,
    flows: table.count,
    masks: table.maskCount,
    counters: backend.counters(),
    masksCacheSize: masksCache,
    features,
    ...(portids.cpus.length === 0 ? {} : { portids: portids.cpus }),
    ...(handler === undefined ? {} : { upcallHandler: handler }),
    maxHeadroom: backend.maxHeadroom,
    ports: describePorts(datapath, statistics),
  };
}

function describePorts(datapath: Datapath, statistics: boolean): PortInfo[] {
  return datapath.ports().map((port) => describePort(datapath, port, statistics));
}

function describePort(datapath: Datapath, port: PortRecord, statistics: boolean): PortInfo {
  const { portNo, name, type, options, mac, state, reason } = port;
  const status = state === "up" ? datapath.backend.portStatus?.(portNo) : undefined;
  const portids = datapath.record.portids.ports[portNo];
  const info: PortInfo = {
    ...{ portNo, name, type, options, mac, state, reason },
    ...(status === undefined ? {} : { status }),
    ...(portids === undefined ? {} : { portids }),
  };
  return statistics ? { ...info, counters: datapath.backend.portCounters(portNo) } : info;
}

function describeFlow(
  { backend, datapath, table }: {
    readonly backend: Backend;
    readonly datapath: Datapath;
    readonly table: FlowTableWriter;
  },
  at: number,
  style: FlowStyle,
): FlowInfo {
  const key = table.key(at);
  const mask = table.mask(at);
  const options = style.names ? { names: datapath } : {};
  const ufid = table.ufid(at);
  const lifetime = table.lifetime(at);
  const given = style.givenUfids && ufid !== flowUfid(datapath.record.ufidSeed, key, mask);
  const info: FlowInfo = {
    ufid: formatUfid(ufid),
    ...(given ? { givenUfid: true } : {}),
    flow: formatFlow(key, mask, options),
    actions: formatActions(decodeActions(table.publishedActions(at)), options),
    ...(lifetime === undefined ? {} : {
      temporary: { idleTimeout: lifetime.idleMs / 1000, hardTimeout: lifetime.hardMs / 1000 },
    }),
    ...statsOf(table, at, backend.nowMs()),
  };
  if (!style.verbose) return info;
  return { ...info, flowVerbose: formatFlow(key, mask, { ...options, verbose: true }) };
}

function meets(table: FlowTableWriter, at: number, filter: Filter): boolean {
  const key = table.key(at);
  return key.every((word, index) => ((word ^ filter.key[index]!) & filter.mask[index]!) === 0);
}

/** The datapath and port of a dummy device, wherever it is. */
export function findDummy(model: Model, name: string): { datapath: Datapath; port: PortRecord } {
  for (const datapath of model.values()) {
    const port = datapath.portNamed(name);
    if (port === undefined) continue;
    if (!port.type.startsWith("dummy")) {
      refuse("EINVAL", `port "${name}" is of type ${port.type}; frames go into dummy ports only`);
    }
    return { datapath, port };
  }
  refuse("ENOENT", `no dummy port "${name}" exists`);
}
