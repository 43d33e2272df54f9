/**
 * Limits of connections in the kernel: ct-limit-set, ct-limit-get and ct-limit-del by the family
 * ovs_ct_limit, which belong to the network namespace and not to one datapath
 * (net/openvswitch/conntrack.c), and ct-maxconns, which is a sysctl.
 */
import type { Methods } from "../api.ts";
import { refuse } from "../command_errors.ts";
import { checkLimitDeletion, checkLimits } from "../conntrack.ts";
import { findDatapath } from "./datapaths.ts";
import { explain } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import type { Undo } from "./undo.ts";
import { checkZone } from "../../datapath/conntrack/filter_text.ts";
import {
  decodeCtLimitMessage,
  encodeCtLimitMessage,
  OVS_CT_LIMIT_CMD_DEL,
  OVS_CT_LIMIT_CMD_GET,
  OVS_CT_LIMIT_CMD_SET,
  OVS_CT_LIMIT_FAMILY,
  OVS_ZONE_LIMIT_DEFAULT_ZONE,
  type ZoneLimit,
} from "../../datapath/netlink/ct_limit_message.ts";

const DOING = "cannot use the kernel's connection limits";

export function setLimits(
  kernel: Kernel,
  params: Methods["ct-limit-set"]["params"],
  undo: Undo,
): Methods["ct-limit-set"]["result"] {
  findDatapath(kernel, params.dp);
  checkLimits(params);
  const { defaultLimit, zones = [] } = params;
  const limits = zones.map(({ zone, limit }) => ({ zone, limit, count: 0 }));
  if (defaultLimit !== undefined) {
    limits.push({ zone: OVS_ZONE_LIMIT_DEFAULT_ZONE, limit: defaultLimit, count: 0 });
  }
  const before = allLimits(kernel);
  ask(kernel, OVS_CT_LIMIT_CMD_SET, limits);
  undo.done(() => restore(kernel, before, limits));
  return {};
}

export function deleteLimits(
  kernel: Kernel,
  params: Methods["ct-limit-del"]["params"],
  undo: Undo,
): Methods["ct-limit-del"]["result"] {
  findDatapath(kernel, params.dp);
  checkLimitDeletion(params);
  const { isDefault = false, zones = [] } = params;
  const gone = zones.map((zone) => ({ zone, limit: 0, count: 0 }));
  if (isDefault) gone.push({ zone: OVS_ZONE_LIMIT_DEFAULT_ZONE, limit: 0, count: 0 });
  const before = allLimits(kernel);
  ask(kernel, OVS_CT_LIMIT_CMD_DEL, gone);
  undo.done(() => restore(kernel, before, gone));
  return {};
}

/** Zones that are not named have been set. */
export function showLimits(
  kernel: Kernel,
  { dp, zones }: Methods["ct-limit-get"]["params"],
): Methods["ct-limit-get"]["result"] {
  findDatapath(kernel, dp);
  for (const zone of zones ?? []) checkZone(zone);
  const wanted = zones?.map((zone) => ({ zone, limit: 0, count: 0 }));
  const all = ask(kernel, OVS_CT_LIMIT_CMD_GET, wanted);
  const isDefault = ({ zone }: ZoneLimit): boolean => zone === OVS_ZONE_LIMIT_DEFAULT_ZONE;
  // Of named zones the kernel leaves the default limit out.
  const defaultLimit = (zones === undefined ? all : allLimits(kernel)).find(isDefault)?.limit ?? 0;
  const shown = all.filter((each) => !isDefault(each));
  return { defaultLimit, zones: shown.toSorted((one, other) => one.zone - other.zone) };
}

/** nf_conntrack_max and nf_conntrack_count, of this network namespace. */
export function showConnectionsMax(
  kernel: Kernel,
  { dp }: Methods["ct-maxconns"]["params"],
): Methods["ct-maxconns"]["result"] {
  findDatapath(kernel, dp);
  const read = (name: string): number => {
    try {
      return Number(Deno.readTextFileSync(`/proc/sys/net/netfilter/${name}`));
    } catch {
      return refuse("EOPNOTSUPP", "the kernel has no connection tracking loaded (nf_conntrack)");
    }
  };
  return { max: read("nf_conntrack_max"), count: read("nf_conntrack_count") };
}

function allLimits(kernel: Kernel): readonly ZoneLimit[] {
  return ask(kernel, OVS_CT_LIMIT_CMD_GET, undefined);
}

/** Sets what was there, and deletes what was not. */
function restore(
  kernel: Kernel,
  before: readonly ZoneLimit[],
  changed: readonly ZoneLimit[],
): void {
  const isNew = ({ zone }: ZoneLimit): boolean => before.every((old) => old.zone !== zone);
  if (changed.some(isNew)) ask(kernel, OVS_CT_LIMIT_CMD_DEL, changed.filter(isNew));
  ask(kernel, OVS_CT_LIMIT_CMD_SET, before);
}

function ask(
  kernel: Kernel,
  command: number,
  limits: readonly ZoneLimit[] | undefined,
): readonly ZoneLimit[] {
  const payload = encodeCtLimitMessage({ command, dpIfindex: 0, limits });
  const purpose = { doing: "use connection limits", label: `OVS_CT_LIMIT_CMD ${command}` };
  const answer = explain(
    DOING,
    () => kernel.askFamily({ family: OVS_CT_LIMIT_FAMILY, payload }, purpose),
  );
  return answer === undefined ? [] : decodeCtLimitMessage(answer).limits ?? [];
}
