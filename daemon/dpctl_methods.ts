/**
 * `ovs-appctl dpctl/COMMAND ARG…` on the control socket: arguments to requests, results to the text
 * that ovs-vswitchd would answer with. The commands are the ones that denovs has; DPCTL_COMMANDS
 * lists them.
 */
import type { ConfigMethod, Executor, Methods } from "./api.ts";
import {
  isFlowText,
  parseDumpWords,
  parseFlowWords,
  parsePortWords,
  parseSetWords,
  UsageError,
  withDefaultVerb,
} from "./dpctl.ts";
import { CONNTRACK_COMMANDS, type ConntrackCommand } from "./dpctl_conntrack.ts";
import { renderCaches, renderDatapathList, renderDatapaths } from "./render/datapaths.ts";
import { formatFlowInfo, formatStats, renderFlows } from "./render/flows.ts";

/** What a command runs with. */
interface Call {
  readonly words: readonly string[];
  readonly flags: Flags;
  readonly executor: Executor;
  readonly readText: (path: string) => Promise<string>;
}

interface Flags {
  statistics: boolean;
  more: boolean;
  names: boolean | undefined;
  mayCreate: boolean;
  clear: boolean;
}

interface DpctlCommand {
  readonly usage: string;
  /** Fewest and most words besides options. */
  readonly count: readonly [number, number];
  readonly run: (call: Call) => Promise<string>;
}

/** Commands by name, as `dpctl/list-commands` shows them. */
export const DPCTL_COMMANDS: ReadonlyMap<string, DpctlCommand> = new Map<string, DpctlCommand>([
  ["add-dp", { usage: "dp [iface...]", count: [1, Infinity], run: addDp }],
  ["del-dp", { usage: "dp", count: [1, 1], run: delDp }],
  ["add-if", { usage: "dp iface...", count: [2, Infinity], run: addIf }],
  ["set-if", { usage: "dp iface...", count: [2, Infinity], run: setIf }],
  ["del-if", { usage: "dp iface...", count: [2, Infinity], run: delIf }],
  ["dump-dps", { usage: "", count: [0, 0], run: dumpDps }],
  ["show", { usage: "[-s] [dp...]", count: [0, Infinity], run: show }],
  ["dump-flows", {
    usage: "[-m] [--names] [dp] [filter=..] [type=..]",
    count: [0, 6],
    run: dumpFlows,
  }],
  ["add-flow", { usage: "[dp] flow actions", count: [2, Infinity], run: addFlow }],
  ["mod-flow", { usage: "[dp] flow actions", count: [2, Infinity], run: modFlow }],
  ["get-flow", { usage: "[dp] ufid", count: [1, 2], run: getFlow }],
  ["del-flow", { usage: "[dp] flow", count: [1, Infinity], run: delFlow }],
  ["add-flows", { usage: "[dp] file", count: [1, 2], run: (call) => flowFile(call, "add") }],
  ["mod-flows", { usage: "[dp] file", count: [1, 2], run: (call) => flowFile(call, "modify") }],
  ["del-flows", { usage: "[dp] [file]", count: [0, 2], run: delFlows }],
  ["cache-get-size", { usage: "[dp]", count: [0, 1], run: cacheGetSize }],
  ["cache-set-size", { usage: "dp cache <size>", count: [3, 3], run: cacheSetSize }],
  ...CONNTRACK_COMMANDS.map(([name, { usage, count, run }]) =>
    [name, { usage, count, run: (call: Call) => runConntrack(call, run) }] as const
  ),
  ["list-commands", { usage: "", count: [0, 0], run: listCommands }],
]);

function runConntrack(
  { words, flags, executor }: Call,
  run: ConntrackCommand["run"],
): Promise<string> {
  return run(
    words,
    flags,
    async ({ method, params }, render, next) => {
      let text = "";
      for (let asked: typeof params | undefined = params; asked !== undefined;) {
        const result: Methods[typeof method]["result"] = await executor.execute(method, asked);
        text += render(result);
        asked = next?.(result, asked);
      }
      return text;
    },
  );
}

/**
 * Runs `command` (without the prefix `dpctl/`) and returns what it prints, newline included.
 * `readText` reads the files of add-flows and its kin.
 * @throws UsageError for wrong arguments, CommandError for refused requests.
 */
export async function runDpctl(
  command: string,
  args: readonly string[],
  executor: Executor,
  readText: (path: string) => Promise<string> = (path) => Deno.readTextFile(path),
): Promise<string> {
  const found = DPCTL_COMMANDS.get(command);
  if (found === undefined) throw new UsageError(`unknown command 'dpctl/${command}'`);
  const { words, flags } = parseOptions(args);
  const [least, most] = found.count;
  if (words.length < least) {
    throw new UsageError(`'${command}' command requires at least ${least} arguments`);
  }
  if (words.length > most) {
    throw new UsageError(`'${command}' command takes at most ${most} arguments`);
  }
  return await found.run({ words, flags, executor, readText });
}

function parseOptions(args: readonly string[]): { words: string[]; flags: Flags } {
  const words: string[] = [];
  const flags: Flags = {
    statistics: false,
    more: false,
    names: undefined,
    mayCreate: false,
    clear: false,
  };
  for (const argument of args) {
    if (argument === "-s" || argument === "--statistics") flags.statistics = true;
    else if (/^-m+$/.test(argument) || argument === "--more") flags.more = true;
    else if (argument === "--names") flags.names = true;
    else if (argument === "--no-names") flags.names = false;
    else if (argument === "--may-create") flags.mayCreate = true;
    else if (argument === "--clear") flags.clear = true;
    else if (/^-[a-z-]/i.test(argument)) throw new UsageError(`unknown option '${argument}'`);
    else words.push(argument);
  }
  return { words, flags };
}

async function addDp({ words, executor }: Call): Promise<string> {
  const dp = words[0]!;
  const requests: BatchItem[] = [{ method: "dp-add", params: { dp } }];
  for (const port of parsePortWords(words.slice(1))) {
    requests.push({ method: "port-add", params: { dp, ...port } });
  }
  await executeAll(executor, requests);
  return "";
}

async function delDp({ words, executor }: Call): Promise<string> {
  await executor.execute("dp-del", { dp: words[0]! });
  return "";
}

async function addIf({ words, executor }: Call): Promise<string> {
  const dp = words[0]!;
  const ports = parsePortWords(words.slice(1));
  await executeAll(
    executor,
    ports.map((port) => ({ method: "port-add", params: { dp, ...port } })),
  );
  return "";
}

async function setIf({ words, executor }: Call): Promise<string> {
  const dp = words[0]!;
  await executeAll(
    executor,
    parseSetWords(words.slice(1)).map((port) => ({ method: "port-set", params: { dp, ...port } })),
  );
  return "";
}

async function delIf({ words, executor }: Call): Promise<string> {
  const dp = words[0]!;
  await executeAll(
    executor,
    words.slice(1).map((port) => ({ method: "port-del", params: { dp, port } })),
  );
  return "";
}

async function dumpDps({ executor }: Call): Promise<string> {
  return renderDatapathList((await executor.execute("dp-list", {})).datapaths);
}

async function show({ words, flags, executor }: Call): Promise<string> {
  const { statistics } = flags;
  const { datapaths } = await executor.execute("dp-show", { dps: words, statistics });
  return renderDatapaths(datapaths, { statistics });
}

async function cacheGetSize({ words, executor }: Call): Promise<string> {
  return renderCaches((await executor.execute("dp-show", { dps: words })).datapaths);
}

async function cacheSetSize({ words, executor }: Call): Promise<string> {
  const [dp, cache, text] = words;
  if (cache !== "masks-cache") throw new UsageError(`there is no cache '${cache}' (masks-cache)`);
  if (!/^\d{1,10}$/.test(text!)) throw new UsageError(`'${text}' is not a size`);
  const masksCacheSize = Number(text);
  await executor.execute("dp-set", { dp, masksCacheSize });
  return `Setting cache size successful, new size ${masksCacheSize}\n`;
}

async function dumpFlows({ words, flags, executor }: Call): Promise<string> {
  const { dp, filter, wanted } = parseDumpWords(words);
  const names = flags.names ?? flags.more;
  const { flows } = await executor.execute("flow-dump", {
    dp,
    filter,
    names,
    verbose: flags.more,
  });
  return wanted ? renderFlows(flows, { more: flags.more }) : "";
}

async function addFlow({ words, executor }: Call): Promise<string> {
  const { dp, flow, actions } = parseFlowWords(words, "required");
  await executor.execute("flow-add", { dp, flow, actions: actions! });
  return "";
}

async function modFlow({ words, flags, executor }: Call): Promise<string> {
  const { dp, flow, actions } = parseFlowWords(words, "required");
  const { mayCreate, clear } = flags;
  const { stats } = await executor.execute("flow-mod", { dp, flow, actions, mayCreate, clear });
  return flags.statistics ? `${formatStats(stats)}\n` : "";
}

async function getFlow({ words, flags, executor }: Call): Promise<string> {
  const { dp, flow } = parseFlowWords(words, "none");
  const names = flags.names ?? flags.more;
  const result = await executor.execute("flow-get", { dp, flow, names });
  return formatFlowInfo(result.flow, { more: flags.more }) + "\n";
}

async function delFlow({ words, flags, executor }: Call): Promise<string> {
  const { dp, flow } = parseFlowWords(words, "none");
  const { stats } = await executor.execute("flow-del", { dp, flow });
  return flags.statistics && stats !== null ? `${formatStats(stats)}\n` : "";
}

async function delFlows(call: Call): Promise<string> {
  const { words, executor } = call;
  const dp = words[0];
  if (words.length === 2) return await flowFile(call, "delete");
  if (dp !== undefined && !(await isDatapath(executor, dp))) return await flowFile(call, "delete");
  await executor.execute("flow-flush", { dp });
  return "";
}

async function flowFile(call: Call, verb: "add" | "modify" | "delete"): Promise<string> {
  const { words, executor } = call;
  const path = words.at(-1)!;
  if (path === "-") throw new UsageError("the daemon cannot read your standard input: name a file");
  const text = withDefaultVerb(await call.readText(path), verb);
  await executor.execute("flow-load", { dp: words.length === 2 ? words[0] : undefined, text });
  return "";
}

function listCommands(): Promise<string> {
  const lines = [...DPCTL_COMMANDS].map(([name, { usage }]) =>
    `  ${`dpctl/${name}`.padEnd(23)} ${usage}`.trimEnd() + "\n"
  );
  return Promise.resolve(`The available commands are:\n${lines.join("")}`);
}

type BatchItem = {
  [M in ConfigMethod]: { readonly method: M; readonly params: Methods[M]["params"] };
}[ConfigMethod];

/** One request by itself, several as one transaction. */
async function executeAll(executor: Executor, items: readonly BatchItem[]): Promise<void> {
  const only = items[0];
  if (only === undefined) return;
  if (items.length === 1) {
    await executor.execute(only.method, only.params);
    return;
  }
  await executor.execute("batch", {
    requests: items.map(({ method, params }, at) => ({ line: at + 1, method, params })),
  });
}

/** As dpctl: a word is a datapath if it names one. */
async function isDatapath(executor: Executor, word: string): Promise<boolean> {
  if (isFlowText(word)) return false;
  const { datapaths } = await executor.execute("dp-list", {});
  return datapaths.some(({ name, type }) => word === name || word === `${type}@${name}`);
}
