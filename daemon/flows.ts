/**
 * Staging of flows: NEW, SET and DEL of the kernel's ovs_flow family (net/openvswitch/datapath.c)
 * with its rules. Changes go into the staged half of the flow table and onto the transaction's list.
 *
 * A flow is known by its UFID: given in the text, or a keyed hash of masked key and mask. Adding is
 * also refused where an installed flow matches the new flow's unmasked key, because which of two
 * overlapping flows a packet takes is not defined.
 */
import type { FlowStats, FlowTimeouts } from "./api.ts";
import { programContext } from "./backend.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import type { Datapath } from "./model.ts";
import type { Transaction } from "./transaction.ts";
import type { Action } from "../datapath/actions/actions.ts";
import { encodeActions } from "../datapath/actions/action_program.ts";
import type { FlowLifetime, FlowTableWriter } from "../datapath/flow_table/writer.ts";
import { KEY_WORDS } from "../datapath/key.ts";
import { formatActions, parseActions } from "../datapath/text/action_text.ts";
import {
  formatFlow,
  type ParsedFlow,
  parseFlow,
  type PortNames,
} from "../datapath/text/flow_text.ts";
import { flowUfid } from "../datapath/ufid.ts";
import { checkFlow } from "../datapath/validate/validate.ts";
import { checkActions, checkExecutable } from "../datapath/validate/validate_actions.ts";
import { decodeActions } from "../datapath/actions/action_program.ts";

/** Where flows are staged: one datapath within one transaction. */
export interface FlowScope {
  readonly transaction: Transaction;
  readonly datapath: Datapath;
  readonly table: FlowTableWriter;
}

/** A flow as a request names it. */
interface NamedFlow {
  /** Only `ufid:…` was written. */
  readonly ufidOnly: boolean;
  readonly ufid: string;
  readonly key: Int32Array;
  readonly mask: Int32Array;
}

export interface Staged {
  /** 32 hex digits. */
  readonly ufid: string;
  readonly created: boolean;
}

const NO_STATS: FlowStats = { packets: 0, bytes: 0, usedMs: null, tcpFlags: 0 };
const UFID_ONLY = /^\s*ufid:[0-9a-fA-F-]+\s*,?\s*$/;
/** Flow texts in messages are cut to this many characters. */
const QUOTE_MAX = 160;

/** The kernel's NEW with NLM_F_CREATE and NLM_F_EXCL. */
export function addFlow(
  scope: FlowScope,
  flow: string,
  actions: string,
  options: { mayExist?: boolean | undefined; timeouts?: FlowTimeouts | undefined } = {},
): Staged {
  const named = parseNamed(scope, flow);
  if (named.ufidOnly) refuse("EINVAL", "cannot add the flow: it has a ufid but no key");
  guard("cannot add the flow", () => checkFlow(named.key, named.mask));
  const { table } = scope;
  const same = table.find(named.ufid);
  if (same < 0) {
    const other = table.lookup(named.key);
    if (other < 0) {
      return { ufid: insert(scope, named, actions, options.timeouts), created: true };
    }
    refuse("EEXIST", `cannot add the flow: its key is matched already by ${quote(scope, other)}`);
  }
  if (options.mayExist && isSameFlow(table, same, named)) {
    const program = compileActions(scope, actions, named);
    if (equalWords(program, table.actions(same))) return { ufid: named.ufid, created: false };
    refuse(
      "EEXIST",
      `cannot add the flow: it exists with other actions: ${
        quote(scope, same)
      } (flow-mod changes it)`,
    );
  }
  refuse("EEXIST", `cannot add the flow: it exists already: ${quote(scope, same)}`);
}

/** SET; with `mayCreate` NEW with NLM_F_CREATE alone. The statistics are those before. */
export function modifyFlow(
  scope: FlowScope,
  flow: string,
  change: {
    actions?: string | undefined;
    mayCreate?: boolean | undefined;
    clear?: boolean | undefined;
  },
): Staged & { stats: FlowStats } {
  const named = parseNamed(scope, flow);
  const { table } = scope;
  const at = findNamed(table, named);
  if (at < 0) {
    if (!change.mayCreate || named.ufidOnly) refuseMissing(scope, "change", named);
    if (change.actions === undefined) {
      refuse("EINVAL", "cannot add the flow: it does not exist yet, and no actions are given");
    }
    return { ...addFlow(scope, flow, change.actions), stats: NO_STATS };
  }
  const ufid = table.ufid(at);
  const stats = readStats(scope, at);
  if (change.actions !== undefined) {
    if (named.ufidOnly) {
      refuse(
        "EINVAL",
        "cannot change the flow's actions: they are checked against the flow's key, so write it " +
          `too: ${quote(scope, at)}`,
      );
    }
    setActions(scope, at, change.actions);
  }
  if (change.clear) table.clearStats(at);
  return { ufid, created: false, stats };
}

/** DEL. Returns the last statistics, or undefined when the flow is missing and may be. */
export function deleteFlow(
  scope: FlowScope,
  flow: string,
  options: { ifExists?: boolean | undefined } = {},
): FlowStats | undefined {
  const named = parseNamed(scope, flow);
  const at = findNamed(scope.table, named);
  if (at < 0) {
    if (options.ifExists) return undefined;
    refuseMissing(scope, "delete", named);
  }
  const stats = readStats(scope, at);
  removeFlow(scope, at);
  return stats;
}

/** Takes flow `at` out of the table and the state. */
export function removeFlow({ transaction, datapath, table }: FlowScope, at: number): void {
  transaction.save({ op: "flow-del", dp: datapath.record.id, ufid: table.ufid(at) });
  table.remove(at);
}

/** Removes every flow; returns how many there were. */
export async function flushFlows({ transaction, datapath, table }: FlowScope): Promise<number> {
  const indexes = [...table.indexes()];
  for (const at of indexes) {
    table.remove(at);
    await transaction.backend.rest();
  }
  transaction.save({ op: "flow-flush", dp: datapath.record.id });
  return indexes.length;
}

/** Adds the flow or gives it these actions: what a table loaded with `replace` does line by line. */
export function putFlow(scope: FlowScope, flow: string, actions: string): Staged {
  const named = parseNamed(scope, flow);
  let at = named.ufidOnly ? -1 : findNamed(scope.table, named);
  // What a file says stays: it takes the place of a temporary flow.
  if (at >= 0 && scope.table.lifetime(at) !== undefined) {
    removeFlow(scope, at);
    at = -1;
  }
  if (at < 0) return addFlow(scope, flow, actions);
  setActions(scope, at, actions);
  return { ufid: scope.table.ufid(at), created: false };
}

/** The flow that a request names; its index or −1. */
export function findFlow(
  datapath: Datapath,
  table: FlowTableWriter,
  flow: string,
): number {
  return findNamed(table, parseNamed({ datapath }, flow));
}

/** The UFID that a flow text stands for. */
export function ufidOf(datapath: Datapath, flow: string): string {
  return parseNamed({ datapath }, flow).ufid;
}

/** 32 hex digits as 8-4-4-4-12. */
export function formatUfid(ufid: string): string {
  return `${ufid.slice(0, 8)}-${ufid.slice(8, 12)}-${ufid.slice(12, 16)}-` +
    `${ufid.slice(16, 20)}-${ufid.slice(20)}`;
}

export function statsOf(table: FlowTableWriter, at: number, nowMs: number): FlowStats {
  const { packets, bytes, usedMs, tcpFlags } = table.stats(at);
  return {
    packets,
    bytes,
    usedMs: usedMs === 0 ? null : Math.max(0, Math.round(nowMs - usedMs)),
    tcpFlags,
  };
}

/** Throws the code ENOENT with the reason that helps most. */
export function refuseMissing(
  scope: Pick<FlowScope, "datapath" | "table">,
  doing: string,
  named: { readonly key: Int32Array; readonly ufidOnly: boolean; readonly ufid: string },
): never {
  const what = `cannot ${doing} the flow: ${scope.datapath.record.name} has no such flow`;
  if (named.ufidOnly) refuse("ENOENT", `${what} (ufid:${formatUfid(named.ufid)})`);
  const other = scope.table.lookup(named.key);
  if (other < 0) refuse("ENOENT", what);
  refuse("ENOENT", `${what}; its key is matched by ${quote(scope, other)}, which has another mask`);
}

export function parseNamed(scope: Pick<FlowScope, "datapath">, flow: string): NamedFlow {
  const parsed: ParsedFlow = parseFlow(flow, { names: scope.datapath });
  const { key, mask } = parsed;
  const ufid = parsed.ufid ?? flowUfid(scope.datapath.record.ufidSeed, key, mask);
  return { ufidOnly: parsed.ufid !== undefined && UFID_ONLY.test(flow), ufid, key, mask };
}

function insert(
  scope: FlowScope,
  named: NamedFlow,
  actions: string,
  timeouts: FlowTimeouts | undefined,
): string {
  const { transaction, datapath, table } = scope;
  const { ufid, key, mask } = named;
  const masked = maskKey(key, mask);
  const program = compileActions(scope, actions, named);
  if (timeouts !== undefined) {
    const lifetime = toLifetime(timeouts, transaction.backend.nowMs());
    table.insert({ ufid, key: masked, mask, actions: program, lifetime });
    return ufid;
  }
  table.insert({ ufid, key: masked, mask, actions: program });
  const flow = formatFlow(masked, mask);
  const text = formatActions(decodeActions(program));
  transaction.save({ op: "flow-put", dp: datapath.record.id, flow: { ufid, flow, actions: text } });
  return ufid;
}

/** A flow that a handler installs, parsed and checked before it is its turn. */
export interface PreparedFlow {
  readonly ufid: string;
  /** Masked. */
  readonly key: Int32Array;
  readonly mask: Int32Array;
  readonly actions: Int32Array;
}

/** Parses and checks a flow by the rules of {@link addFlow}. */
export function prepareFlow(datapath: Datapath, flow: string, actions: string): PreparedFlow {
  const named = parseNamed({ datapath }, flow);
  if (named.ufidOnly) refuseBareUfid();
  guard("cannot add the flow", () => checkFlow(named.key, named.mask));
  const { ufid, mask } = named;
  const key = maskKey(named.key, mask);
  return { ufid, key, mask, actions: compileActions({ datapath }, actions, named) };
}

/** The same without a datapath at hand: throws what {@link prepareFlow} would throw. */
export function checkFlowText(names: PortNames, flow: string, actions: string): void {
  const { key, mask, ufid } = parseFlow(flow, { names });
  if (ufid !== undefined && UFID_ONLY.test(flow)) refuseBareUfid();
  guard("cannot add the flow", () => checkFlow(key, mask));
  readActions(names, actions, { key, mask });
}

/** Parses and checks actions for packets of one key. */
export function prepareActions(
  datapath: Datapath,
  actions: string,
  match: { readonly key: Int32Array; readonly mask: Int32Array },
): Int32Array {
  return compileActions({ datapath }, actions, match);
}

/** Seconds as the flow table has them. */
export function toLifetime(
  { idleTimeout, hardTimeout }: FlowTimeouts,
  nowMs: number,
): FlowLifetime {
  return { idleMs: idleTimeout * 1000, hardMs: hardTimeout * 1000, addedMs: nowMs };
}

function setActions(scope: FlowScope, at: number, actions: string): void {
  const { transaction, datapath, table } = scope;
  const ufid = table.ufid(at);
  const key = table.key(at);
  const mask = table.mask(at);
  const program = compileActions(scope, actions, { key, mask });
  if (equalWords(program, table.actions(at))) return;
  table.setActions(at, program);
  if (table.lifetime(at) !== undefined) return; // never saved
  const flow = formatFlow(key, mask);
  const text = formatActions(decodeActions(program));
  transaction.save({ op: "flow-put", dp: datapath.record.id, flow: { ufid, flow, actions: text } });
}

function compileActions(
  { datapath }: Pick<FlowScope, "datapath">,
  text: string,
  match: { readonly key: Int32Array; readonly mask: Int32Array },
): Int32Array {
  return encodeActions(readActions(datapath, text, match), programContext(datapath.backend));
}

/** Parses actions and checks that packets of one key may have them. */
export function readActions(
  names: PortNames,
  text: string,
  { key, mask }: { readonly key: Int32Array; readonly mask: Int32Array },
): readonly Action[] {
  const actions = parseActions(text, { names });
  guard("cannot use these actions", () => {
    checkActions(actions, key, mask, { rules: "denovs" });
    checkExecutable(actions);
  });
  return actions;
}

function refuseBareUfid(): never {
  refuse("EINVAL", "cannot add the flow: it has a ufid but no key");
}

function findNamed(table: FlowTableWriter, named: NamedFlow): number {
  const at = table.find(named.ufid);
  if (at >= 0 || named.ufidOnly) return at;
  // The same key and mask, installed under a UFID of the user's own.
  const other = table.lookup(named.key);
  return other >= 0 && isSameFlow(table, other, named) ? other : -1;
}

function isSameFlow(table: FlowTableWriter, at: number, named: NamedFlow): boolean {
  return equalWords(table.mask(at), named.mask) &&
    equalWords(table.key(at), maskKey(named.key, named.mask));
}

function readStats(scope: FlowScope, at: number): FlowStats {
  return statsOf(scope.table, at, scope.transaction.backend.nowMs());
}

/** A flow for a message, cut when long. */
function quote(scope: Pick<FlowScope, "datapath" | "table">, at: number): string {
  const { table } = scope;
  const flow = formatFlow(table.key(at), table.mask(at), { names: scope.datapath });
  return flow.length <= QUOTE_MAX ? flow : `${flow.slice(0, QUOTE_MAX)}…`;
}

function guard(doing: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw toCommandError(error, { doing });
  }
}

function maskKey(key: Int32Array, mask: Int32Array): Int32Array {
  const masked = new Int32Array(KEY_WORDS);
  for (let word = 0; word < KEY_WORDS; word++) masked[word] = key[word]! & mask[word]!;
  return masked;
}

function equalWords(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let word = 0; word < a.length; word++) if (a[word] !== b[word]) return false;
  return true;
}
