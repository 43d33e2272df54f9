/**
 * Meters of the kernel's datapaths: meter-add, meter-mod, meter-del and meter-show by the family
 * ovs_meter. The kernel keeps what a meter has counted, but tells neither its rates nor which meters
 * there are (net/openvswitch/meter.c, ovs_meter_cmd_get): it is asked for one by its number.
 */
import type { MeterInfo, Methods } from "../api.ts";
import { refuse } from "../command_errors.ts";
import { collectMeters } from "../meters.ts";
import { findDatapath } from "./datapaths.ts";
import { explain, hasCode } from "./errors.ts";
import type { Kernel, KernelDatapath } from "./kernel.ts";
import type { Undo } from "./undo.ts";
import {
  decodeMeterMessage,
  encodeMeterMessage,
  type MeterMessage,
  OVS_METER_BAND_TYPE_DROP,
  OVS_METER_CMD_DEL,
  OVS_METER_CMD_FEATURES,
  OVS_METER_CMD_GET,
  OVS_METER_CMD_SET,
  OVS_METER_FAMILY,
} from "../../datapath/netlink/meter_message.ts";
import { parseMeter, toMeterConfig } from "../../datapath/text/meter_text.ts";

interface Scope {
  readonly kernel: Kernel;
  readonly datapath: KernelDatapath;
}

export function addMeter(
  kernel: Kernel,
  { dp, meter: text, mayExist }: Methods["meter-add"]["params"],
  undo: Undo,
): Methods["meter-add"]["result"] {
  const scope = { kernel, datapath: findDatapath(kernel, dp) };
  const { id } = parseMeter(text);
  const doing = `cannot add meter ${id} to system@${scope.datapath.name}`;
  if (getMeter(scope, id) !== undefined) {
    // Whether it is the same, nobody knows.
    const why = mayExist ? "the kernel does not tell how it is set" : "meter-mod changes it";
    refuse("EEXIST", `${doing}: it exists already (${why})`);
  }
  setMeter(scope, text, doing);
  undo.done(() => dropMeter(scope, id));
  return { meter: id, created: true };
}

/** Can't be taken back: how the meter was set, the kernel does not tell. Returns what changes it. */
export function prepareMeterChange(
  kernel: Kernel,
  { dp, meter: text }: Methods["meter-mod"]["params"],
): () => Methods["meter-mod"]["result"] {
  const scope = { kernel, datapath: findDatapath(kernel, dp) };
  const { id } = parseMeter(text);
  if (getMeter(scope, id) === undefined) refuseMissing(scope, "change", id);
  return () => {
    setMeter(scope, text, `cannot change meter ${id} of system@${scope.datapath.name}`);
    return { meter: id };
  };
}

/** Can't be taken back either. Returns what deletes it, when it is there. */
export function prepareMeterDeletion(
  kernel: Kernel,
  { dp, meter: id, ifExists }: Methods["meter-del"]["params"],
): () => Methods["meter-del"]["result"] {
  const scope = { kernel, datapath: findDatapath(kernel, dp) };
  if (id === undefined) refuseUnnamed("meter-del");
  if (getMeter(scope, id) === undefined) {
    if (ifExists) return () => ({ deleted: 0 });
    refuseMissing(scope, "delete", id);
  }
  return () => {
    dropMeter(scope, id);
    return { deleted: 1 };
  };
}

export function showMeters(
  kernel: Kernel,
  { dp, meter: id }: Methods["meter-show"]["params"],
): Methods["meter-show"]["result"] {
  const scope = { kernel, datapath: findDatapath(kernel, dp) };
  const features = getFeatures(scope);
  if (id === undefined) refuseUnnamed("meter-show");
  const meter = getMeter(scope, id);
  if (meter === undefined) refuseMissing(scope, "show", id);
  return { features, meters: [describe(scope, id, meter)] };
}

function describe({ kernel, datapath }: Scope, id: number, meter: MeterMessage): MeterInfo {
  const users = kernel.flows(datapath).filter(({ actions }) => {
    const named = new Set<number>();
    collectMeters(actions, named);
    return named.has(id);
  });
  return {
    meter: id,
    unit: null,
    burst: false,
    stats: true,
    flows: users.length,
    packets: Number(meter.stats?.packets ?? 0n),
    bytes: Number(meter.stats?.bytes ?? 0n),
    durationMs: null,
    bands: (meter.bands ?? []).map(({ stats }) => ({
      type: "drop",
      rate: null,
      packets: Number(stats?.packets ?? 0n),
      bytes: Number(stats?.bytes ?? 0n),
    })),
  };
}

function getFeatures(scope: Scope): Methods["meter-show"]["result"]["features"] {
  const answer = ask(scope, { command: OVS_METER_CMD_FEATURES }, "ask what meters can be");
  return {
    metersMax: answer?.metersMax ?? 0,
    bandsMax: answer?.bandsMax ?? 0,
    bandTypes: (answer?.bands ?? []).map(({ type }) =>
      type === OVS_METER_BAND_TYPE_DROP ? "drop" : `${type}`
    ),
    capabilities: ["kbps", "pps", "burst", "stats"],
  };
}

/** Undefined: there is none. */
function getMeter(scope: Scope, id: number): MeterMessage | undefined {
  try {
    return ask(scope, { command: OVS_METER_CMD_GET, id }, `look up meter ${id}`);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function setMeter(scope: Scope, text: string, doing: string): void {
  const { id, unit, bands } = toMeterConfig(parseMeter(text));
  const message = {
    command: OVS_METER_CMD_SET,
    id,
    kbps: unit === "kbps",
    bands: bands.map(({ rate, burst }) => ({ type: OVS_METER_BAND_TYPE_DROP, rate, burst })),
  };
  explain(doing, () => tell(scope, message, `set meter ${id}`), {
    EFBIG: "its number is too large for this kernel",
    ERANGE: "the kernel has as many meters as it can have",
    EINVAL: `the kernel takes no such meter (${bands.length} bands)`,
  });
}

function dropMeter(scope: Scope, id: number): void {
  const doing = `cannot delete meter ${id} of system@${scope.datapath.name}`;
  explain(doing, () => tell(scope, { command: OVS_METER_CMD_DEL, id }, `delete meter ${id}`));
}

type Command = Omit<MeterMessage, "dpIfindex">;

/** Throws SystemError; CommandError where the kernel has no meters. */
function ask(scope: Scope, message: Command, doing: string): MeterMessage | undefined {
  const answer = tell(scope, message, doing);
  return answer && decodeMeterMessage(answer);
}

/** As {@link ask}, for changes: in what they are answered with the kernel has the number twice. */
function tell(
  { kernel, datapath }: Scope,
  message: Command,
  doing: string,
): Uint8Array | undefined {
  const payload = encodeMeterMessage({ ...message, dpIfindex: datapath.ifindex });
  const purpose = { doing, label: `OVS_METER_CMD ${message.command}` };
  return kernel.askFamily({ family: OVS_METER_FAMILY, payload }, purpose);
}

function refuseMissing({ datapath }: Scope, doing: string, id: number): never {
  refuse("ENOENT", `cannot ${doing} meter ${id}: system@${datapath.name} has no such meter`);
}

function refuseUnnamed(verb: string): never {
  refuse(
    "EOPNOTSUPP",
    `which meter? The kernel does not tell which there are: ${verb} system@NAME ID`,
  );
}
