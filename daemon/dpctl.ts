/**
 * The argument forms of `ovs-dpctl`: words of a command line to requests of daemon/api.ts. Used by
 * the command line (its own verbs take the same forms) and, through daemon/dpctl_methods.ts, by the
 * control socket's methods `dpctl/…`. Pure: what exists is not looked up here.
 */
import type { Methods } from "./api.ts";

/** A command line that is not one: exit status 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** One request as data. */
export type Request = {
  [M in keyof Methods]: { readonly method: M; readonly params: Methods[M]["params"] };
}[keyof Methods];

export interface FlowWords {
  readonly dp: string | undefined;
  readonly flow: string;
  readonly actions: string | undefined;
}

/** A port as `add-if` spells it: `IF[,type=T][,port_no=N][,key=value]…`. */
export interface PortWords {
  readonly port: string;
  readonly type: string | undefined;
  readonly portNo: number | undefined;
  readonly options: Readonly<Record<string, string>>;
}

export interface DumpWords {
  readonly dp: string | undefined;
  readonly filter: string | undefined;
  /** False: `type=` asks only for flows that a switch without offloading does not have. */
  readonly wanted: boolean;
}

// Actions with parentheses, to tell an action from a key attribute where blanks separate both.
const ACTION_NAMES: ReadonlySet<string> = new Set(
  ("output userspace set set_masked push_vlan push_mpls pop_mpls add_mpls push_eth push_nsh sample " +
    "clone ct trunc hash recirc lb_output tnl_push tnl_pop meter check_pkt_len dec_ttl psample")
    .split(" "),
);

// dump-flows type=: whether flows of a switch without hardware offload are of the type.
const FLOW_TYPES: ReadonlyMap<string, boolean> = new Map([
  ["all", true],
  ["ovs", true],
  ["non-offloaded", true],
  ["tc", false],
  ["dpdk", false],
  ["offloaded", false],
  ["partially-offloaded", false],
]);

/**
 * `[DP] FLOW [ACTIONS]`. Flow and actions may stand in several words, as they come when blanks were
 * not quoted; `actions` says whether the command takes them.
 */
export function parseFlowWords(
  words: readonly string[],
  actions: "required" | "optional" | "none",
): FlowWords {
  const [dp, rest] = takeDatapath(words);
  if (rest.length === 0) throw new UsageError("a FLOW is missing, such as 'in_port(1)'");
  if (actions === "none") return { dp, flow: rest.join(" "), actions: undefined };
  const split = splitFlow(rest);
  if (actions === "required" && split.actions === undefined) {
    throw new UsageError("ACTIONS are missing after the flow, such as '2' or 'drop'");
  }
  return { dp, ...split };
}

/** Whether a word can only be flow text: it has parentheses, is a UFID, or is empty. */
export function isFlowText(word: string): boolean {
  return word === "" || word.includes("(") || word.startsWith("ufid:");
}

/** Splits the words of a flow and its actions. Two whole words are taken as they stand. */
export function splitFlow(
  words: readonly string[],
): { flow: string; actions: string | undefined } {
  const groups = joinBrokenWords(words);
  if (groups.length <= 2) return { flow: groups[0] ?? "", actions: groups[1] };
  let end = 1;
  while (end < groups.length && isKeyAttribute(groups[end]!)) end++;
  const actions = groups.slice(end).join(",");
  return { flow: groups.slice(0, end).join(","), actions: actions === "" ? undefined : actions };
}

/**
 * `PORT[,key=value]… …`, and `key=value` words that belong to the port before them. `type=`,
 * `port_no=` and `port-no=` are taken out of the options.
 */
export function parsePortWords(words: readonly string[]): readonly PortWords[] {
  const ports: { name: string; settings: Map<string, string> }[] = [];
  for (const word of words) {
    const parts = word.split(",").filter((part) => part !== "");
    const first = parts[0];
    if (first === undefined) throw new UsageError(`"${word}" is not a port (a device's name)`);
    if (!first.includes("=")) ports.push({ name: parts.shift()!, settings: new Map() });
    const port = ports.at(-1);
    if (port === undefined) {
      throw new UsageError(`"${word}" stands before any port (PORT, then key=value)`);
    }
    for (const part of parts) addSetting(port.settings, part);
  }
  return ports.map(({ name, settings }) => takePortSettings(name, settings));
}

/** A port and what of it changes, as port-set takes them. */
export interface PortChange {
  readonly port: string;
  readonly options?: Readonly<Record<string, string>> | undefined;
  readonly portids?: readonly number[] | undefined;
}

/** `PORT[,key=value]… …` with `key=value` words behind, of port-set and set-if; `upcall=` is taken out of the options. */
export function parseSetWords(words: readonly string[]): readonly PortChange[] {
  return parsePortWords(words).map(({ port, type, portNo, options }) => {
    const fixed = type !== undefined ? "type" : portNo !== undefined ? "port_no" : undefined;
    if (fixed !== undefined) {
      throw new UsageError(`${fixed}= of a port can't be changed (port-del, then port-add)`);
    }
    const { upcall, ...others } = options;
    return {
      port,
      ...(Object.keys(others).length === 0 ? {} : { options: others }),
      ...(upcall === undefined ? {} : { portids: parsePortids(upcall) }),
    };
  });
}

/** `1:2:3` (or with commas); empty: none. */
export function parsePortids(text: string): number[] {
  if (text === "") return [];
  return text.split(/[:,]/).map((part) => {
    if (/^\d{1,10}$/.test(part)) return Number(part);
    throw new UsageError(
      `"${part}" is not a portid (numbers up to 4294967295, with colons between)`,
    );
  });
}

/** A port number as people write it: decimal or 0x. */
export function parsePortNo(text: string): number {
  const number = /^(\d{1,10}|0x[0-9a-f]{1,8})$/i.test(text) ? Number(text) : NaN;
  if (!(number <= 65534)) {
    throw new UsageError(
      `port number "${text}" is not allowed (1 … 65534; 0: the lowest free one)`,
    );
  }
  return number;
}

/** Words of dump-flows: `[DP] [filter=MATCH] [type=TYPE,…]`, with `pmd=` accepted and without effect. */
export function parseDumpWords(words: readonly string[]): DumpWords {
  let dp: string | undefined;
  let filter: string | undefined;
  let wanted = true;
  for (const word of words) {
    if (word.startsWith("filter=")) filter = word.slice("filter=".length);
    else if (word.startsWith("type=")) wanted = parseFlowTypes(word.slice("type=".length));
    else if (/^pmd=-?\d+$/.test(word)) continue;
    else if (dp === undefined && !word.includes("=")) dp = word;
    else throw new UsageError(`unexpected "${word}" ([DP] [filter=MATCH] [type=TYPE])`);
  }
  return { dp, filter, wanted };
}

/**
 * The text of a flow file with `verb` put in front of lines that name none: add-flows, mod-flows and
 * del-flows differ in that only. Line numbers stay.
 */
export function withDefaultVerb(text: string, verb: "add" | "modify" | "delete"): string {
  if (verb === "add") return text;
  return text.split("\n").map((line) => {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) return line;
    const word = trimmed.split(/\s/, 1)[0]!;
    const named = word !== "" && ["add", "modify", "delete"].some((name) => name.startsWith(word));
    return named ? line : `${verb} ${trimmed}`;
  }).join("\n");
}

function takeDatapath(words: readonly string[]): [string | undefined, readonly string[]] {
  const first = words[0];
  if (first === undefined || isFlowText(first)) return [undefined, words];
  return [first, words.slice(1)];
}

/** Joins what blanks inside parentheses or beside commas have torn apart. */
function joinBrokenWords(words: readonly string[]): string[] {
  const groups: string[] = [];
  let depth = 0;
  let open = false;
  for (const word of words) {
    if (open || (groups.length > 0 && word.startsWith(","))) {
      groups[groups.length - 1] += depth > 0 ? ` ${word}` : word;
    } else groups.push(word);
    for (const character of word) {
      if (character === "(") depth++;
      else if (character === ")") depth--;
    }
    open = depth > 0 || word.endsWith(",");
  }
  return groups;
}

function isKeyAttribute(group: string): boolean {
  const name = /^([a-z_0-9]+)\(/i.exec(group)?.[1];
  return name !== undefined && !ACTION_NAMES.has(name);
}

function addSetting(settings: Map<string, string>, part: string): void {
  const at = part.indexOf("=");
  if (at <= 0) throw new UsageError(`"${part}" is not an option (key=value)`);
  const key = part.slice(0, at).replace(/^port-no$/, "port_no");
  if (settings.has(key)) throw new UsageError(`duplicate "${key}" option`);
  settings.set(key, part.slice(at + 1));
}

function takePortSettings(port: string, settings: Map<string, string>): PortWords {
  const type = settings.get("type");
  const portNo = settings.get("port_no");
  settings.delete("type");
  settings.delete("port_no");
  return {
    port,
    type,
    portNo: portNo === undefined ? undefined : parsePortNo(portNo),
    options: Object.fromEntries(settings),
  };
}

function parseFlowTypes(text: string): boolean {
  let wanted = false;
  for (const type of text.split(",")) {
    const ours = FLOW_TYPES.get(type);
    if (ours === undefined) {
      throw new UsageError(`unknown flow type "${type}" (${[...FLOW_TYPES.keys()].join(", ")})`);
    }
    wanted ||= ours;
  }
  return wanted;
}
