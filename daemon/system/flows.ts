/**
 * Flows of a kernel datapath: flow-add, -mod, -del, -get, -dump, -flush.
 *
 * The kernel knows a flow by its UFID or, without one, by its unmasked key. We give every flow a
 * UFID: the user's own, or a hash of masked key and mask with a fixed seed, since nothing is saved
 * that a seed could lie in. So the same text names the same flow in any later command. Flows of
 * others (ovs-dpctl, ovs-vswitchd) have no UFID or one of their own; they are looked for in a dump,
 * and shown with the UFID they have or would have.
 */
import { CommandError, type FlowInfo, type FlowStats, type Methods } from "../api.ts";
import { refuse, toCommandError } from "../command_errors.ts";
import { findDatapath } from "./datapaths.ts";
import { explain } from "./errors.ts";
import type { Kernel, KernelDatapath, KernelFlow } from "./kernel.ts";
import { checkKernelFlow } from "./kernel_rules.ts";
import { KernelPortNames } from "./ports.ts";
import type { Undo } from "./undo.ts";
import type { Action } from "../../datapath/actions/actions.ts";
import { matchesFilter, parseOfMatch } from "../../datapath/of_match.ts";
import { formatActions, parseActions } from "../../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import { formatUfid } from "../../datapath/text/ufid_text.ts";
import { flowUfid, UFID_SEED_SIZE } from "../../datapath/ufid.ts";
import { checkFlow } from "../../datapath/validate/validate.ts";
import { checkActions } from "../../datapath/validate/validate_actions.ts";

/** One datapath, for one request. */
export interface FlowScope {
  readonly kernel: Kernel;
  readonly datapath: KernelDatapath;
  readonly names: KernelPortNames;
  readonly undo: Undo;
}

/** A flow as a request names it. */
export interface NamedFlow {
  /** Only `ufid:…` was written. */
  readonly ufidOnly: boolean;
  /** 32 hex digits. */
  readonly ufid: string;
  readonly key: Int32Array;
  readonly mask: Int32Array;
}

const SEED = new Uint8Array(UFID_SEED_SIZE);
const NO_STATS: FlowStats = { packets: 0, bytes: 0, usedMs: null, tcpFlags: 0 };
const UFID_ONLY = /^\s*ufid:[0-9a-fA-F-]+\s*,?\s*$/;
/** Flow texts in messages are cut to this many characters. */
const QUOTE_MAX = 160;
const REFUSED = "the kernel refuses it (its log, dmesg, may say why)";

export function flowScope(kernel: Kernel, dp: string | undefined, undo: Undo): FlowScope {
  const datapath = findDatapath(kernel, dp);
  return { kernel, datapath, names: new KernelPortNames(kernel.ports(datapath)), undo };
}

export function addFlow(
  scope: FlowScope,
  { flow, actions: text, mayExist }: Omit<Methods["flow-add"]["params"], "dp">,
): Methods["flow-add"]["result"] {
  const { kernel, datapath, undo } = scope;
  const named = parseNamed(scope, flow);
  const doing = "cannot add the flow";
  if (named.ufidOnly) refuse("EINVAL", `${doing}: it has a ufid but no key`);
  guard(doing, () => {
    checkFlow(named.key, named.mask);
    checkKernelFlow(named.key, named.mask);
  });
  const actions = readActions(scope, text, named);
  const { ufid, key, mask } = named;
  try {
    explain(doing, () => kernel.addFlow(datapath, { ufid, key, mask, actions }), reasons(actions));
  } catch (error) {
    if (!(error instanceof CommandError) || error.code !== "EEXIST") throw error;
    if (mayExist === true && isThereAlready(scope, named, actions)) {
      return { ufid: formatUfid(ufid), created: false };
    }
    refuseExisting(scope, named);
  }
  undo.done(() => kernel.deleteFlow(datapath, { ufid }));
  return { ufid: formatUfid(ufid), created: true };
}

export function modifyFlow(
  scope: FlowScope,
  { flow, actions: text, mayCreate, clear }: Omit<Methods["flow-mod"]["params"], "dp">,
): Methods["flow-mod"]["result"] {
  const named = parseNamed(scope, flow);
  const found = findFlow(scope, named);
  if (found === undefined) {
    if (mayCreate !== true || named.ufidOnly) refuseMissing(scope, "change", named);
    if (text === undefined) {
      refuse("EINVAL", "cannot add the flow: it does not exist yet, and no actions are given");
    }
    return { ...addFlow(scope, { flow, actions: text }), stats: NO_STATS };
  }
  const result = { ufid: formatUfid(ufidOf(found)), created: false, stats: statsOf(scope, found) };
  if (text === undefined) {
    if (clear === true) setFlow(scope, found, undefined, true);
    return result;
  }
  if (named.ufidOnly) {
    refuse(
      "EINVAL",
      "cannot change the flow's actions: they are checked against the flow's key, so write it " +
        `too: ${quote(scope, found)}`,
    );
  }
  setFlow(scope, found, readActions(scope, text, found), clear === true);
  return result;
}

export function deleteFlow(
  scope: FlowScope,
  { flow, ifExists }: Omit<Methods["flow-del"]["params"], "dp">,
): Methods["flow-del"]["result"] {
  const named = parseNamed(scope, flow);
  const found = findFlow(scope, named);
  if (found === undefined) {
    if (ifExists === true) return { deleted: false, stats: null };
    refuseMissing(scope, "delete", named);
  }
  return { deleted: true, stats: removeFlow(scope, found) };
}

/** Takes a flow out; returns its last statistics. */
export function removeFlow({ kernel, datapath, undo }: FlowScope, flow: KernelFlow): FlowStats {
  const last = explain(
    "cannot delete the flow",
    () => kernel.deleteFlow(datapath, flow.identity),
  );
  undo.done(() => kernel.restoreFlow(datapath, flow));
  return statsOf({ kernel }, last ?? flow);
}

/** Adds the flow or gives it these actions: what a table loaded with `replace` does line by line. */
export function putFlow(
  scope: FlowScope,
  { flow, actions }: { readonly flow: string; readonly actions: string },
): { created: boolean } {
  const named = parseNamed(scope, flow);
  const found = named.ufidOnly ? undefined : findFlow(scope, named);
  if (found === undefined) return addFlow(scope, { flow, actions });
  const wanted = readActions(scope, actions, found);
  if (!sameActions(found.actions, wanted)) setFlow(scope, found, wanted, false);
  return { created: false };
}

export function getFlow(
  scope: FlowScope,
  { flow, names = false }: Omit<Methods["flow-get"]["params"], "dp">,
): Methods["flow-get"]["result"] {
  const named = parseNamed(scope, flow);
  const found = findFlow(scope, named);
  if (found === undefined) refuseMissing(scope, "get", named);
  return { flow: describe(scope, found, { names, verbose: true, givenUfids: false }) };
}

export function dumpFlows(
  scope: FlowScope,
  params: Methods["flow-dump"]["params"],
): Methods["flow-dump"]["result"] {
  const { filter: match, names = false, verbose = false, givenUfids = false } = params;
  const filter = match === undefined ? undefined : parseOfMatch(match);
  const flows: FlowInfo[] = [];
  for (const flow of allFlows(scope)) {
    if (filter !== undefined && !matchesFilter(filter, flow.key, flow.mask)) continue;
    flows.push(describe(scope, flow, { names, verbose, givenUfids }));
  }
  return { flows };
}

export function flushFlows(scope: FlowScope): Methods["flow-flush"]["result"] {
  const { kernel, datapath, undo } = scope;
  const before = allFlows(scope);
  explain("cannot delete the flows", () => kernel.flushFlows(datapath));
  undo.done(() => {
    for (const flow of before) kernel.restoreFlow(datapath, flow);
  });
  return { deleted: before.length };
}

export function allFlows({ kernel, datapath }: FlowScope): KernelFlow[] {
  return explain("cannot read the flows", () => kernel.flows(datapath));
}

/** The UFID that a flow has, or would have: 32 hex digits. */
export function ufidOf({ identity, key, mask }: KernelFlow): string {
  return "ufid" in identity ? identity.ufid : flowUfid(SEED, key, mask);
}

export function parseNamed({ names }: Pick<FlowScope, "names">, flow: string): NamedFlow {
  const parsed = parseFlow(flow, { names });
  const { key, mask } = parsed;
  const ufid = parsed.ufid ?? flowUfid(SEED, key, mask);
  return { ufidOnly: parsed.ufid !== undefined && UFID_ONLY.test(flow), ufid, key, mask };
}

/** The flow that is meant, whoever installed it. */
function findFlow(scope: FlowScope, named: NamedFlow): KernelFlow | undefined {
  const { kernel, datapath } = scope;
  const direct = explain("cannot read the flow", () => kernel.flow(datapath, named));
  if (direct !== undefined) return direct;
  const text = named.ufidOnly ? undefined : formatFlow(named.key, named.mask);
  return allFlows(scope).find((flow) =>
    ufidOf(flow) === named.ufid || formatFlow(flow.key, flow.mask) === text
  );
}

function setFlow(
  { kernel, datapath, undo }: FlowScope,
  flow: KernelFlow,
  actions: readonly Action[] | undefined,
  clear: boolean,
): void {
  const doing = "cannot change the flow";
  const why = actions === undefined ? {} : reasons(actions);
  explain(doing, () => kernel.setFlow(datapath, flow, { actions, clear }), why);
  if (actions === undefined) return;
  undo.done(() => kernel.setFlow(datapath, flow, { actions: flow.actions, clear: false }));
}

function readActions(
  { names }: FlowScope,
  text: string,
  { key, mask }: { readonly key: Int32Array; readonly mask: Int32Array },
): readonly Action[] {
  const actions = parseActions(text, { names });
  guard("cannot use these actions", () => checkActions(actions, key, mask, { rules: "kernel" }));
  return actions;
}

function isThereAlready(scope: FlowScope, named: NamedFlow, actions: readonly Action[]): boolean {
  const found = findFlow(scope, named);
  if (found === undefined) return false;
  if (sameActions(found.actions, actions)) return true;
  refuse(
    "EEXIST",
    `cannot add the flow: it exists with other actions: ${
      quote(scope, found)
    } (flow-mod changes it)`,
  );
}

function sameActions(a: readonly Action[], b: readonly Action[]): boolean {
  return formatActions(a) === formatActions(b);
}

function refuseExisting(scope: FlowScope, named: NamedFlow): never {
  const same = findFlow(scope, named);
  if (same !== undefined) {
    refuse("EEXIST", `cannot add the flow: it exists already: ${quote(scope, same)}`);
  }
  const other = findMatching(scope, named.key);
  const by = other === undefined ? "another flow" : quote(scope, other);
  refuse("EEXIST", `cannot add the flow: its key is matched already by ${by}`);
}

function refuseMissing(scope: FlowScope, doing: string, named: NamedFlow): never {
  const what = `cannot ${doing} the flow: system@${scope.datapath.name} has no such flow`;
  if (named.ufidOnly) refuse("ENOENT", `${what} (ufid:${formatUfid(named.ufid)})`);
  const other = findMatching(scope, named.key);
  if (other === undefined) refuse("ENOENT", what);
  refuse("ENOENT", `${what}; its key is matched by ${quote(scope, other)}, which has another mask`);
}

/** The flow that a packet with this key would take. */
function findMatching(scope: FlowScope, key: Int32Array): KernelFlow | undefined {
  return allFlows(scope).find((flow) =>
    flow.key.every((word, at) => ((word ^ key[at]!) & flow.mask[at]!) === 0)
  );
}

/** What the kernel's errors mean for a flow that has passed our own checks. */
function reasons(actions: readonly Action[]): Record<string, string> {
  const names = [...new Set(actions.map(({ type }) => type))].join(", ");
  return {
    EINVAL: REFUSED,
    ERANGE: REFUSED,
    EMSGSIZE: "its actions are too long for this kernel",
    E2BIG: "its actions are too long for this kernel",
    EOPNOTSUPP: `this kernel lacks something that it uses (${names})`,
    EPFNOSUPPORT: `this kernel lacks something that it uses (${names})`,
    EOVERFLOW: "its actions are nested too deeply for the kernel",
  };
}

function describe(
  { kernel, names }: Pick<FlowScope, "kernel" | "names">,
  flow: KernelFlow,
  style: { names: boolean; verbose: boolean; givenUfids: boolean },
): FlowInfo {
  const { key, mask, actions } = flow;
  const options = style.names ? { names } : {};
  const ufid = ufidOf(flow);
  const given = style.givenUfids && "ufid" in flow.identity && ufid !== flowUfid(SEED, key, mask);
  const info: FlowInfo = {
    ufid: formatUfid(ufid),
    ...(given ? { givenUfid: true } : {}),
    flow: formatFlow(key, mask, options),
    actions: formatActions(actions, options),
    ...statsOf({ kernel }, flow),
  };
  if (!style.verbose) return info;
  return { ...info, flowVerbose: formatFlow(key, mask, { ...options, verbose: true }) };
}

function statsOf(
  { kernel }: Pick<FlowScope, "kernel">,
  { packets, bytes, usedAtMs, tcpFlags }: KernelFlow,
): FlowStats {
  const usedMs = usedAtMs === null ? null : Math.max(0, kernel.nowMs() - usedAtMs);
  return { packets, bytes, usedMs, tcpFlags };
}

/** A flow for a message, cut when long. */
function quote({ names }: FlowScope, { key, mask }: KernelFlow): string {
  const flow = formatFlow(key, mask, { names });
  return flow.length <= QUOTE_MAX ? flow : `${flow.slice(0, QUOTE_MAX)}…`;
}

function guard(doing: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw toCommandError(error, { doing });
  }
}
