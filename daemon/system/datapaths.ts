/** Datapaths of the kernel: dp-add, dp-del, dp-set, dp-list, dp-show. */
import type { DatapathInfo, Methods } from "../api.ts";
import { refuse } from "../command_errors.ts";
import { checkDeviceName } from "../names.ts";
import { explain, hasCode } from "./errors.ts";
import type { Kernel, KernelDatapath } from "./kernel.ts";
import { describePorts } from "./ports.ts";
import type { Undo } from "./undo.ts";

const PREFIX = "system@";
const EXISTING_SHOWN = 8;

/** OVS_DP_F_*, from the lowest bit on. */
const FEATURES = ["unaligned", "vport-pids", "tc-recirc-sharing", "dispatch-upcall-per-cpu"];

/** What stands behind `system@`. */
export function systemName(dp: string): string {
  return dp.startsWith(PREFIX) ? dp.slice(PREFIX.length) : dp;
}

/** The datapath called `dp`. Throws CommandError ENODEV. */
export function findDatapath(kernel: Kernel, dp: string | undefined): KernelDatapath {
  if (dp === undefined) refuse("EINVAL", "which datapath? Write system@NAME");
  const name = systemName(dp);
  const found = isName(name) ? kernel.datapath(name) : undefined;
  if (found !== undefined) return found;
  const names = kernel.datapaths().map((each) => PREFIX + each.name);
  const shown = names.slice(0, EXISTING_SHOWN).join(", ");
  const more = names.length > EXISTING_SHOWN ? ", …" : "";
  const existing = names.length === 0
    ? "there is none in this network namespace; dp-add makes one"
    : `existing: ${shown}${more}`;
  refuse("ENODEV", `no datapath "${PREFIX}${name}" exists (${existing})`);
}

export function addDatapath(
  kernel: Kernel,
  { dp, miss, flowsMax, mayExist }: Methods["dp-add"]["params"],
  undo: Undo,
): Methods["dp-add"]["result"] {
  const name = systemName(dp);
  const doing = `cannot add datapath "${PREFIX}${name}"`;
  checkDeviceName("datapath", name);
  if (miss !== undefined) {
    refuse("EOPNOTSUPP", `${doing}: the kernel has no miss policy (add flows, or run a handler)`);
  }
  if (flowsMax !== undefined) {
    refuse("EOPNOTSUPP", `${doing}: the kernel's flow table has no limit to set`);
  }
  try {
    kernel.addDatapath(name);
  } catch (error) {
    const exists = hasCode(error, "EEXIST") && kernel.datapath(name) !== undefined;
    if (exists && mayExist === true) return { created: false };
    return explain(doing, () => {
      throw error;
    }, { EEXIST: exists ? "it exists already" : `a device "${name}" exists already` });
  }
  undo.done(() => kernel.deleteDatapath(name));
  return { created: true };
}

/** What deletes it, when it is there. Can't be taken back. */
export function prepareDeletion(
  kernel: Kernel,
  { dp, ifExists }: Methods["dp-del"]["params"],
): () => Methods["dp-del"]["result"] {
  const name = systemName(dp);
  if (ifExists === true && (!isName(name) || kernel.datapath(name) === undefined)) {
    return () => ({ deleted: false });
  }
  const datapath = findDatapath(kernel, dp);
  return () => {
    const doing = `cannot delete datapath "${PREFIX}${name}"`;
    explain(doing, () => kernel.deleteDatapath(datapath.name));
    return { deleted: true };
  };
}

export function setDatapath(
  kernel: Kernel,
  { dp, miss, masksCacheSize, features, upcallHandler, portids }: Methods["dp-set"]["params"],
  undo: Undo,
): Record<string, never> {
  const datapath = findDatapath(kernel, dp);
  const { name } = datapath;
  const doing = `cannot change datapath "${PREFIX}${name}"`;
  if (miss !== undefined) refuse("EOPNOTSUPP", `${doing}: the kernel has no miss policy`);
  if (upcallHandler !== undefined) {
    refuse("EOPNOTSUPP", `${doing}: the kernel's upcalls go to its own listeners only`);
  }
  if (features !== undefined || portids !== undefined) {
    refuse("EOPNOTSUPP", `${doing}: its features are its listener's to choose`);
  }
  if (masksCacheSize === undefined) return {};
  const before = datapath.masksCacheSize;
  if (before === undefined) {
    refuse("EOPNOTSUPP", `${doing}: this kernel's masks cache has a fixed size`);
  }
  const why = `masks cache size ${masksCacheSize} is not allowed (0, or a power of 2 up to what ` +
    "fits the kernel's per-CPU memory)";
  const reasons = { EINVAL: why, ERANGE: why };
  explain(doing, () => kernel.setMasksCacheSize(datapath, masksCacheSize), reasons);
  undo.done(() => kernel.setMasksCacheSize(datapath, before));
  return {};
}

export function listDatapaths(kernel: Kernel): Methods["dp-list"]["result"] {
  return { datapaths: kernel.datapaths().map(({ name }) => ({ name, type: "system" })) };
}

export function showDatapaths(
  kernel: Kernel,
  { dps, statistics = false }: Methods["dp-show"]["params"],
): Methods["dp-show"]["result"] {
  const wanted = dps.length === 0 ? kernel.datapaths() : dps.map((dp) => findDatapath(kernel, dp));
  return { datapaths: wanted.map((datapath) => describe(kernel, datapath, statistics)) };
}

function describe(kernel: Kernel, datapath: KernelDatapath, statistics: boolean): DatapathInfo {
  const { name, flows, masks, counters, masksCacheSize } = datapath;
  return {
    name,
    type: "system",
    miss: "upcall",
    flowsMax: null,
    flows,
    masks,
    counters,
    ...(masksCacheSize === undefined ? {} : { masksCacheSize }),
    features: featureNames(datapath.features),
    ports: describePorts(kernel, datapath, statistics),
  };
}

function featureNames(bits: number): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    if ((bits & 1 << bit) !== 0) names.push(FEATURES[bit] ?? `0x${(2 ** bit).toString(16)}`);
  }
  return names;
}

/** Whether a device can have the name: the kernel answers others with what is only confusing. */
function isName(name: string): boolean {
  return name !== "" && new TextEncoder().encode(name).length <= 15;
}
