/** Commands on datapaths: dp-add, dp-del, dp-list, dp-show, dp-set. */
import { buildCommand, type Command } from "@stricli/core";
import type { MissPolicy } from "../daemon/api.ts";
import { parsePortWords, UsageError } from "../daemon/dpctl.ts";
import { renderDatapathList, renderDatapaths } from "../daemon/render/datapaths.ts";
import { proposeDatapaths } from "./propose.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
} from "./flags.ts";
import type { ConfigRequest } from "./session.ts";

const MISS_POLICIES = ["drop", "flood", "learn"] as const;

interface MissFlags extends CommonFlags {
  readonly miss?: MissPolicy | undefined;
}
interface AddFlags extends MissFlags {
  readonly flowsMax?: number | undefined;
  readonly mayExist?: boolean | undefined;
}
interface DelFlags extends CommonFlags {
  readonly ifExists?: boolean | undefined;
}
interface ShowFlags extends CommonFlags {
  readonly statistics?: boolean | undefined;
}

const MISS_FLAG = {
  kind: "enum",
  values: MISS_POLICIES,
  optional: true,
  brief: "What happens to packets that match no flow: drop (the default), flood or learn",
} as const;

const DP_ADD: CommandText = {
  brief: "Add a datapath (a switch)",
  usage: [
    "[TYPE@]DP [PORT[,key=value]...]... [--miss drop|flood|learn] [--flows-max N] [--may-exist]",
  ],
  description: "Adds a datapath and its internal port 0 of the same name. TYPE is netdev (the\n" +
    "default) or dummy (frames are injected and recorded, for tests). Ports can be added with it,\n" +
    "spelled as in port-add. A packet that matches no flow is dropped, flooded to all ports, or\n" +
    "switched by learned MAC addresses, as --miss says.",
  examples: ["dp-add br0", "dp-add br0 eth1 eth2 --miss learn", "dp-add dummy@dp0 --may-exist"],
};

export const dpAdd: Command<CliContext> = buildCommand<AddFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      miss: MISS_FLAG,
      flowsMax: {
        kind: "parsed",
        parse: parseCount,
        placeholder: "N",
        optional: true,
        brief: "Most flows that the datapath can hold (1048576)",
      },
      mayExist: switchFlag("Do nothing if the datapath exists"),
    },
    positional: {
      kind: "array",
      parameter: { brief: "Name of the datapath, then ports", parse: asText, placeholder: "DP" },
      minimum: 1,
    },
  },
  docs: documentation(DP_ADD),
  async func(flags, ...words): Promise<void> {
    const dp = words[0]!;
    const { miss, flowsMax, mayExist } = flags;
    const requests: ConfigRequest[] = [
      { method: "dp-add", params: { dp, miss, flowsMax, mayExist } },
    ];
    for (const port of parsePortWords(words.slice(1))) {
      requests.push({ method: "port-add", params: { dp, ...port, mayExist } });
    }
    await this.session.submitAll(flags, requests);
  },
});

const DP_DEL: CommandText = {
  brief: "Delete a datapath with its ports and flows",
  usage: ["DP... [--if-exists]"],
  description:
    "Deletes datapaths, their ports and flows, and the internal devices made for them.\n" +
    "With several names either all are deleted or none.",
  examples: ["dp-del br0", "dp-del br0 --if-exists"],
};

export const dpDel: Command<CliContext> = buildCommand<DelFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, ifExists: switchFlag("Do nothing if there is no such datapath") },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath",
        parse: asText,
        placeholder: "DP",
        proposeCompletions: proposeDatapaths,
      },
      minimum: 1,
    },
  },
  docs: documentation(DP_DEL),
  async func(flags, ...words): Promise<void> {
    const { ifExists } = flags;
    await this.session.submitAll(
      flags,
      words.map((dp) => ({ method: "dp-del", params: { dp, ifExists } })),
    );
  },
});

const DP_LIST: CommandText = {
  brief: "List the datapaths",
  usage: ["[--json]"],
  description: "Prints TYPE@NAME of every datapath, one per line.",
  examples: ["dp-list", "dp-list --json"],
};

export const dpList: Command<CliContext> = buildCommand<CommonFlags, [], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: { kind: "tuple", parameters: [] } },
  docs: documentation(DP_LIST),
  async func(flags): Promise<void> {
    await this.session.submit(
      flags,
      { method: "dp-list", params: {} },
      ({ datapaths }) => renderDatapathList(datapaths),
    );
  },
});

const DP_SHOW: CommandText = {
  brief: "Show datapaths with their counters and ports",
  usage: ["[DP...] [-s] [--json]"],
  description: "Shows lookups, flows, masks and ports in the shape of ovs-dpctl show, the miss\n" +
    "policy, and why packets were dropped. -s adds the counters of every port and where the\n" +
    "packets of the datapath went. Without a daemon all counters are 0.",
  examples: ["dp-show", "dp-show br0 -s", "dp-show --json"],
};

export const dpShow: Command<CliContext> = buildCommand<ShowFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, statistics: switchFlag("Counters of the ports too") },
    aliases: { s: "statistics" },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath; all when none is named",
        parse: asText,
        placeholder: "DP",
        proposeCompletions: proposeDatapaths,
      },
    },
  },
  docs: documentation(DP_SHOW),
  async func(flags, ...dps): Promise<void> {
    const { statistics } = flags;
    await this.session.submit(
      flags,
      { method: "dp-show", params: { dps, statistics } },
      ({ datapaths }) => renderDatapaths(datapaths, { statistics }),
    );
  },
});

const DP_SET: CommandText = {
  brief: "Change a setting of a datapath",
  usage: ["[DP] --miss drop|flood|learn"],
  description: "Changes what happens to packets that match no flow. Takes effect at once.",
  examples: ["dp-set br0 --miss learn"],
};

export const dpSet: Command<CliContext> = buildCommand<MissFlags, [string | undefined], CliContext>(
  {
    parameters: {
      flags: { ...COMMON_FLAGS, miss: MISS_FLAG },
      positional: {
        kind: "tuple",
        parameters: [{
          brief: "Datapath; may be left out when there is one",
          parse: asText,
          placeholder: "DP",
          optional: true,
          proposeCompletions: proposeDatapaths,
        }],
      },
    },
    docs: documentation(DP_SET),
    async func(flags, dp): Promise<void> {
      const { miss } = flags;
      if (miss === undefined) throw new UsageError("nothing to set (--miss drop|flood|learn)");
      await this.session.submit(flags, { method: "dp-set", params: { dp, miss } });
    },
  },
);

function parseCount(text: string): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (number < 1) throw new UsageError(`"${text}" is not a number of flows (1 or more)`);
  return number;
}
