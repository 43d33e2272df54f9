/**
 * The commands by name. Each noun's file is loaded when one of its commands is asked for: every
 * further module costs a command's start half a millisecond. The casts hide the modules from Deno's
 * graph: see main.ts.
 */
import type { Command } from "@stricli/core";
import type { CliContext } from "./flags.ts";

type Load = () => Promise<Command<CliContext>>;

const dp = (): Promise<typeof import("./dp.ts")> => import("./dp.ts" as string);
const port = (): Promise<typeof import("./port.ts")> => import("./port.ts" as string);
const flow = (): Promise<typeof import("./flow.ts")> => import("./flow.ts" as string);
const flowFile = (): Promise<typeof import("./flow_file.ts")> => import("./flow_file.ts" as string);
const daemon = (): Promise<typeof import("./daemon.ts")> => import("./daemon.ts" as string);
const language = (): Promise<typeof import("./language.ts")> => import("./language.ts" as string);
const plugin = (): Promise<typeof import("./plugin.ts")> => import("./plugin.ts" as string);
const upcalls = (): Promise<typeof import("./upcalls.ts")> => import("./upcalls.ts" as string);
const meter = (): Promise<typeof import("./meter.ts")> => import("./meter.ts" as string);
const ct = (): Promise<typeof import("./ct.ts")> => import("./ct.ts" as string);
const ctSettings = (): Promise<typeof import("./ct_settings.ts")> =>
  import("./ct_settings.ts" as string);
const ctDpctl = (name: string): Load => async () => {
  const { dpctlCommand }: typeof import("./ct_dpctl.ts") = await import("./ct_dpctl.ts" as string);
  return dpctlCommand(name);
};
const explain = (): Promise<typeof import("./explain.ts")> => import("./explain.ts" as string);
const batch = (): Promise<typeof import("./batch.ts")> => import("./batch.ts" as string);
const help = (): Promise<typeof import("./help.ts")> => import("./help.ts" as string);
const trace = (): Promise<typeof import("./trace.ts")> => import("./trace.ts" as string);
const traceLive = (): Promise<typeof import("./trace_live.ts")> =>
  import("./trace_live.ts" as string);
const capture = (): Promise<typeof import("./capture.ts")> => import("./capture.ts" as string);
const version = (): Promise<typeof import("./version.ts")> => import("./version.ts" as string);
const completions = (): Promise<typeof import("./completions.ts")> =>
  import("./completions.ts" as string);

/** Commands of ovs-dpctl on connections that are no other name of one of ours. */
export const CONNTRACK_DPCTL_ONLY: readonly string[] = [
  ...["ct-get-nconns", "ct-enable-tcp-seq-chk", "ct-disable-tcp-seq-chk", "ct-get-tcp-seq-chk"],
  ...["ipf-set-enabled", "ipf-set-disabled", "ipf-set-min-frag", "ipf-set-max-nfrags"],
  "ipf-get-status",
];

/** What loads each command. */
const COMMANDS: Readonly<Record<string, Load>> = {
  "run": async () => (await daemon()).run,
  "stop": async () => (await daemon()).stop,
  "dp-add": async () => (await dp()).dpAdd,
  "dp-del": async () => (await dp()).dpDel,
  "dp-list": async () => (await dp()).dpList,
  "dp-show": async () => (await dp()).dpShow,
  "dp-set": async () => (await dp()).dpSet,
  "cache-get-size": async () => (await dp()).cacheGetSize,
  "cache-set-size": async () => (await dp()).cacheSetSize,
  "port-add": async () => (await port()).portAdd,
  "port-del": async () => (await port()).portDel,
  "port-set": async () => (await port()).portSet,
  "port-list": async () => (await port()).portList,
  "flow-add": async () => (await flow()).flowAdd,
  "flow-mod": async () => (await flow()).flowMod,
  "flow-del": async () => (await flow()).flowDel,
  "flow-get": async () => (await flow()).flowGet,
  "flow-dump": async () => (await flow()).flowDump,
  "flow-flush": async () => (await flow()).flowFlush,
  "flow-load": async () => (await flowFile()).flowLoad,
  "flow-save": async () => (await flowFile()).flowSave,
  "meter-add": async () => (await meter()).meterAdd,
  "meter-mod": async () => (await meter()).meterMod,
  "meter-del": async () => (await meter()).meterDel,
  "meter-show": async () => (await meter()).meterShow,
  "ct-dump": async () => (await ct()).ctDump,
  "ct-exp-dump": async () => (await ct()).ctExpDump,
  "ct-flush": async () => (await ct()).ctFlush,
  "ct-stats": async () => (await ct()).ctStats,
  "ct-bkts": async () => (await ct()).ctBkts,
  "ct-limit-set": async () => (await ctSettings()).ctLimitSet,
  "ct-limit-get": async () => (await ctSettings()).ctLimitGet,
  "ct-limit-del": async () => (await ctSettings()).ctLimitDel,
  "ct-maxconns": async () => (await ctSettings()).ctMaxconns,
  "ct-timeout-set": async () => (await ctSettings()).ctTimeoutSet,
  "ct-timeout-get": async () => (await ctSettings()).ctTimeoutGet,
  "ct-timeout-del": async () => (await ctSettings()).ctTimeoutDel,
  "ct-set": async () => (await ctSettings()).ctSet,
  "ct-show": async () => (await ctSettings()).ctShow,
  "flow-parse": async () => (await language()).flowParse,
  "packet-parse": async () => (await language()).packetParse,
  "packet-make": async () => (await language()).packetMake,
  "plugin-add": async () => (await plugin()).pluginAdd,
  "plugin-del": async () => (await plugin()).pluginDel,
  "plugin-list": async () => (await plugin()).pluginList,
  "plugin-check": async () => (await plugin()).pluginCheck,
  "plugin-new": async () => (await plugin()).pluginNew,
  "trace": async () => (await trace()).trace,
  "trace-live": async () => (await traceLive()).traceLive,
  "capture": async () => (await capture()).capture,
  "upcalls": async () => (await upcalls()).upcalls,
  "explain": async () => (await explain()).explain,
  "batch": async () => (await batch()).batch,
  "completions": async () => (await completions()).completions,
  "version": async () => (await version()).version,
  "help": async () => (await help()).help,
  "add-flows": async () => (await flowFile()).addFlows,
  "mod-flows": async () => (await flowFile()).modFlows,
  "del-flows": async () => (await flowFile()).delFlows,
  ...Object.fromEntries(CONNTRACK_DPCTL_ONLY.map((name) => [name, ctDpctl(name)])),
  "__plugin-check": async () => (await plugin()).checkChild,
  "__complete": async () => (await completions()).complete,
};

/** Names of all commands. */
export const COMMAND_NAMES: readonly string[] = Object.keys(COMMANDS);

/** Commands that the overview and completions leave out. */
export const HIDDEN_COMMANDS: readonly string[] = [
  ...[
    "__complete",
    "__plugin-check",
    "add-flows",
    "mod-flows",
    "del-flows",
    "cache-get-size",
    "cache-set-size",
    ...CONNTRACK_DPCTL_ONLY,
  ],
];

/** Our names of ovs-dpctl's commands; they take ovs-dpctl's arguments. */
export const DPCTL_ALIASES: Readonly<Record<string, string>> = {
  "add-dp": "dp-add",
  "del-dp": "dp-del",
  "dump-dps": "dp-list",
  "show": "dp-show",
  "add-if": "port-add",
  "set-if": "port-set",
  "del-if": "port-del",
  "add-flow": "flow-add",
  "mod-flow": "flow-mod",
  "del-flow": "flow-del",
  "get-flow": "flow-get",
  "dump-flows": "flow-dump",
  "dump-conntrack": "ct-dump",
  "dump-conntrack-exp": "ct-exp-dump",
  "flush-conntrack": "ct-flush",
  "ct-stats-show": "ct-stats",
  "ct-set-limits": "ct-limit-set",
  "ct-get-limits": "ct-limit-get",
  "ct-del-limits": "ct-limit-del",
  "ct-set-maxconns": "ct-maxconns",
  "ct-get-maxconns": "ct-maxconns",
};

/** Commands by the names under which they can be called. */
export type Commands = Readonly<Record<string, Command<CliContext>>>;

/** The command of that name or alias, alone under that name; undefined: there is none. */
export async function loadCommand(name: string): Promise<Commands | undefined> {
  const ours = Object.hasOwn(DPCTL_ALIASES, name) ? DPCTL_ALIASES[name]! : name;
  return Object.hasOwn(COMMANDS, ours) ? { [name]: await COMMANDS[ours]!() } : undefined;
}

/** All commands, without the aliases. */
export async function loadCommands(): Promise<Commands> {
  const entries = Object.entries(COMMANDS).map(async ([name, load]) =>
    [name, await load()] as const
  );
  return Object.fromEntries(await Promise.all(entries));
}
