/** Commands on flows: flow-add, flow-mod, flow-del, flow-get, flow-dump, flow-flush. */
import { buildCommand, type Command } from "@stricli/core";
import { parseDumpWords, parseFlowWords, UsageError } from "../daemon/dpctl.ts";
import { formatFlowInfo, formatStats, renderFlows } from "../daemon/render/flows.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
} from "./flags.ts";
import { proposeFirstDatapath } from "./propose.ts";

interface AddFlags extends CommonFlags {
  readonly mayExist?: boolean | undefined;
  readonly idleTimeout?: number | undefined;
  readonly hardTimeout?: number | undefined;
}
interface ModFlags extends CommonFlags {
  readonly mayCreate?: boolean | undefined;
  readonly clear?: boolean | undefined;
  readonly statistics?: boolean | undefined;
}
interface DelFlags extends CommonFlags {
  readonly ifExists?: boolean | undefined;
  readonly statistics?: boolean | undefined;
}
interface PrintFlags extends CommonFlags {
  readonly more: number;
  readonly names?: boolean | undefined;
}

const NAMES_FLAGS = {
  more: { kind: "counter", brief: "UFIDs and wildcarded fields too" },
  names: {
    kind: "boolean",
    optional: true,
    brief: "Names of ports instead of numbers (the default with -m)",
  },
} as const;

const FLOW_WORDS = {
  kind: "array",
  parameter: {
    brief: "Datapath, flow and actions, in the syntax of ovs-dpctl",
    parse: asText,
    placeholder: "FLOW",
    proposeCompletions: proposeFirstDatapath,
  },
} as const;

function secondsFlag(brief: string): {
  readonly kind: "parsed";
  readonly parse: (text: string) => number;
  readonly placeholder: string;
  readonly optional: true;
  readonly brief: string;
} {
  return { kind: "parsed", parse: parseSeconds, placeholder: "S", optional: true, brief };
}

function parseSeconds(text: string): number {
  const seconds = /^\d{1,10}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds > 0) return seconds;
  throw new UsageError(`"${text}" is not a timeout in seconds (more than 0)`);
}

const FLOW_ADD: CommandText = {
  brief: "Add a flow",
  usage: ["[DP] FLOW ACTIONS [--idle-timeout S] [--hard-timeout S] [--may-exist]"],
  description: "Adds a flow: packets that match FLOW undergo ACTIONS. Both are in the syntax of\n" +
    "ovs-dpctl. Fields that are not written match everything; value/mask matches in part. ACTIONS\n" +
    "are separated by commas; drop drops the packet. DP may be left out when there is\n" +
    "one datapath.\n\n" +
    "With a timeout the flow is temporary: it goes when no packet has matched it for S seconds\n" +
    "(--idle-timeout), or S seconds after it was added (--hard-timeout), and is never saved.\n" +
    "flow-dump --json shows the timeouts.",
  examples: [
    "flow-add br0 'in_port(1)' 2",
    "flow-add 'in_port(1),eth_type(0x0800),ipv4(proto=6),tcp(dst=80)' 'push_vlan(vid=5,pcp=0),2'",
    "flow-add br0 'in_port(eth1),eth(dst=33:33:00:00:00:00/ff:ff:00:00:00:00)' drop",
  ],
};

export const flowAdd: Command<CliContext> = buildCommand<AddFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      mayExist: switchFlag("Do nothing if the same flow exists"),
      idleTimeout: secondsFlag("Seconds without a packet after which the flow goes"),
      hardTimeout: secondsFlag("Seconds after which the flow goes"),
    },
    positional: { ...FLOW_WORDS, minimum: 1 },
  },
  docs: documentation(FLOW_ADD),
  async func(flags, ...words): Promise<void> {
    const { dp, flow, actions } = parseFlowWords(words, "required");
    const { mayExist, idleTimeout, hardTimeout } = flags;
    await this.session.submit(flags, {
      method: "flow-add",
      params: { dp, flow, actions: actions!, mayExist, idleTimeout, hardTimeout },
    });
  },
});

const FLOW_MOD: CommandText = {
  brief: "Change the actions of a flow",
  usage: ["[DP] FLOW [ACTIONS] [--may-create] [--clear] [-s]"],
  description:
    "Replaces the actions of an existing flow; without ACTIONS they stay. FLOW is the\n" +
    "flow as it was added, or ufid:UUID. --clear zeroes its statistics, -s prints those it had\n" +
    "before, --may-create adds the flow if there is none.",
  examples: ["flow-mod br0 'in_port(1)' 3", "flow-mod br0 'in_port(1)' --clear -s"],
};

export const flowMod: Command<CliContext> = buildCommand<ModFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      mayCreate: switchFlag("Add the flow if there is none"),
      clear: switchFlag("Zero the statistics"),
      statistics: switchFlag("Print the statistics that the flow had"),
    },
    aliases: { s: "statistics" },
    positional: { ...FLOW_WORDS, minimum: 1 },
  },
  docs: documentation(FLOW_MOD),
  async func(flags, ...words): Promise<void> {
    const { dp, flow, actions } = parseFlowWords(words, "optional");
    const { mayCreate, clear } = flags;
    if (mayCreate === true && actions === undefined) {
      throw new UsageError("--may-create needs ACTIONS after the flow");
    }
    await this.session.submit(
      flags,
      { method: "flow-mod", params: { dp, flow, actions, mayCreate, clear } },
      ({ stats }) => flags.statistics === true ? `${formatStats(stats)}\n` : "",
    );
  },
});

const FLOW_DEL: CommandText = {
  brief: "Delete a flow",
  usage: ["[DP] FLOW|ufid:UUID [--if-exists] [-s]"],
  description: "Deletes one flow, named as it was added or by its UFID. -s prints its last\n" +
    "statistics.",
  examples: ["flow-del br0 'in_port(1)'", "flow-del ufid:8a6e0b5c-0000-4b5e-9d7b-0123456789ab -s"],
};

export const flowDel: Command<CliContext> = buildCommand<DelFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      ifExists: switchFlag("Do nothing if there is no such flow"),
      statistics: switchFlag("Print the flow's last statistics"),
    },
    aliases: { s: "statistics" },
    positional: { ...FLOW_WORDS, minimum: 1 },
  },
  docs: documentation(FLOW_DEL),
  async func(flags, ...words): Promise<void> {
    const { dp, flow } = parseFlowWords(words, "none");
    const { ifExists } = flags;
    await this.session.submit(
      flags,
      { method: "flow-del", params: { dp, flow, ifExists } },
      ({ stats }) => flags.statistics === true && stats !== null ? `${formatStats(stats)}\n` : "",
    );
  },
});

const FLOW_GET: CommandText = {
  brief: "Print one flow",
  usage: ["[DP] FLOW|ufid:UUID [-m] [--names] [--json]"],
  description: "Prints one flow as flow-dump does.",
  examples: ["flow-get br0 'in_port(1)'", "flow-get ufid:8a6e0b5c-0000-4b5e-9d7b-0123456789ab -m"],
};

export const flowGet: Command<CliContext> = buildCommand<PrintFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, ...NAMES_FLAGS },
    aliases: { m: "more" },
    positional: { ...FLOW_WORDS, minimum: 1 },
  },
  docs: documentation(FLOW_GET),
  async func(flags, ...words): Promise<void> {
    const { dp, flow } = parseFlowWords(words, "none");
    const more = flags.more > 0;
    const names = flags.names ?? more;
    await this.session.submit(
      flags,
      { method: "flow-get", params: { dp, flow, names } },
      (result) => `${formatFlowInfo(result.flow, { more })}\n`,
    );
  },
});

const FLOW_DUMP: CommandText = {
  brief: "Print the flows of a datapath",
  usage: ["[DP] [filter=MATCH] [type=TYPE,...] [-m] [--names|--no-names] [--json]"],
  description: "Prints every flow with its statistics in the shape of ovs-dpctl dump-flows.\n" +
    "filter= takes an OpenFlow match and keeps the flows that could match it; type= is ovs,\n" +
    "non-offloaded or all, or one of the types that this switch never has. -m adds UFIDs and\n" +
    "wildcarded fields. Without a daemon all counters are 0.",
  examples: [
    "flow-dump",
    "flow-dump br0 -m --no-names",
    "flow-dump br0 filter='tcp,tp_dst=80'",
    "flow-dump br0 --json",
  ],
};

export const flowDump: Command<CliContext> = buildCommand<PrintFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, ...NAMES_FLAGS },
    aliases: { m: "more" },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, filter=MATCH, type=TYPE",
        parse: asText,
        placeholder: "DP",
        proposeCompletions: proposeFirstDatapath,
      },
    },
  },
  docs: documentation(FLOW_DUMP),
  async func(flags, ...words): Promise<void> {
    const { dp, filter, wanted } = parseDumpWords(words);
    const more = flags.more > 0;
    const names = flags.names ?? more;
    await this.session.submit(
      flags,
      { method: "flow-dump", params: { dp, filter, names, verbose: more } },
      ({ flows }) => wanted ? renderFlows(flows, { more }) : "",
    );
  },
});

const FLOW_FLUSH: CommandText = {
  brief: "Delete all flows of a datapath",
  usage: ["[DP]"],
  description: "Deletes all flows of a datapath. Its ports stay.",
  examples: ["flow-flush br0"],
};

export const flowFlush: Command<CliContext> = buildCommand<
  CommonFlags,
  [string | undefined],
  CliContext
>({
  parameters: {
    flags: COMMON_FLAGS,
    positional: {
      kind: "tuple",
      parameters: [{
        brief: "Datapath; may be left out when there is one",
        parse: asText,
        placeholder: "DP",
        optional: true,
        proposeCompletions: proposeFirstDatapath,
      }],
    },
  },
  docs: documentation(FLOW_FLUSH),
  async func(flags, dp): Promise<void> {
    await this.session.submit(flags, { method: "flow-flush", params: { dp } });
  },
});
