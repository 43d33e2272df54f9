/** Commands on datapaths: dp-add, dp-del, dp-list, dp-show, dp-set, and dpctl's of caches. */
import { buildCommand, type Command } from "@stricli/core";
import type { Methods, MissPolicy } from "../daemon/api.ts";
import { parsePortids, parsePortWords, UsageError } from "../daemon/dpctl.ts";
import { renderCaches, renderDatapathList, renderDatapaths } from "../daemon/render/datapaths.ts";
import { renderDrops } from "../daemon/render/drops.ts";
import { proposeDatapaths, proposeFirstDatapath } from "./propose.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
  textFlag,
} from "./flags.ts";
import type { ConfigRequest } from "./session.ts";

const MISS_POLICIES = ["drop", "flood", "learn"] as const;

interface MissFlags extends CommonFlags {
  readonly miss?: MissPolicy | undefined;
}
interface AddFlags extends MissFlags {
  readonly type?: string | undefined;
  readonly flowsMax?: number | undefined;
  readonly mayExist?: boolean | undefined;
}
interface SetFlags extends MissFlags {
  readonly masksCache?: number | undefined;
}
interface DelFlags extends CommonFlags {
  readonly ifExists?: boolean | undefined;
}
interface ShowFlags extends CommonFlags {
  readonly statistics?: boolean | undefined;
  readonly drops?: boolean | undefined;
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
    "[TYPE@]DP [PORT[,key=value]...]... [--type TYPE] [--miss drop|flood|learn] [--flows-max N] " +
    "[--may-exist]",
  ],
  description: "Adds a datapath and its internal port 0 of the same name. TYPE is netdev (the\n" +
    "default), dummy (frames are injected and recorded, for tests) or system: a datapath of the\n" +
    "kernel's openvswitch module. Ports can be added with it, spelled as in port-add. A packet that\n" +
    "matches no flow is dropped, flooded to all ports, or switched by learned MAC addresses, as\n" +
    "--miss says.\n\n" +
    "A system datapath is called system@NAME in every command. The command drives it by itself:\n" +
    "no daemon is needed, nothing is saved, and it stays when denovs ends. Packets that match no\n" +
    "flow go to whoever listens to the kernel, such as ovs-vswitchd, and are lost if nobody does.",
  examples: [
    "dp-add br0",
    "dp-add br0 eth1 eth2 --miss learn",
    "dp-add dummy@dp0 --may-exist",
    "dp-add --type system dp1 eth1 eth2",
  ],
};

export const dpAdd: Command<CliContext> = buildCommand<AddFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      type: textFlag("TYPE", "Type of the datapath, as in front of its name"),
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
    const dp = withType(words[0]!, flags.type);
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
  usage: ["[DP...] [-s|--drops] [--json]"],
  description: "Shows lookups, flows, masks and ports in the shape of ovs-dpctl show, the miss\n" +
    "policy, and why packets were dropped. -s adds the counters of every port and where the\n" +
    "packets of the datapath went; --drops shows only what was dropped, by reason and port (see\n" +
    "explain). Without a daemon all counters are 0.",
  examples: ["dp-show", "dp-show br0 -s", "dp-show br0 --drops", "dp-show --json"],
};

export const dpShow: Command<CliContext> = buildCommand<ShowFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      statistics: switchFlag("Counters of the ports too"),
      drops: switchFlag("Only the dropped packets: why, and at which ports"),
    },
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
    const { drops } = flags;
    const statistics = flags.statistics || drops;
    await this.session.submit(
      flags,
      { method: "dp-show", params: { dps, statistics } },
      ({ datapaths }) =>
        drops ? renderDrops(datapaths) : renderDatapaths(datapaths, { statistics }),
    );
  },
});

const DP_SET: CommandText = {
  brief: "Change settings of a datapath",
  usage: [
    "[DP] [miss=drop|flood|learn] [upcall-handler=FILE] [masks-cache=N] [features=NAME,...]",
    "[DP] features=upcall-per-cpu upcall=ID[:ID]...",
    "system@DP masks-cache=N",
  ],
  description:
    "Changes settings; they take effect at once and are saved. miss= says what happens to\n" +
    "packets that match no flow. upcall-handler= names a module that decides about them instead\n" +
    "(see examples/handlers/learning_switch.ts); given again it is loaded anew, empty it goes.\n" +
    "masks-cache= is how many entries the cache in front of the flow table may have on each thread\n" +
    "or CPU (a power of 2; 0: off). features= lists what is on: unaligned and vport-pids\n" +
    "are kept and shown for those who ask; with upcall-per-cpu the portids of upcalls (port-set)\n" +
    "are those of upcall=, one for each packet thread in turn. --miss and --masks-cache are other\n" +
    "spellings.",
  examples: [
    "dp-set br0 miss=learn",
    "dp-set br0 upcall-handler=examples/handlers/learning_switch.ts",
    "dp-set system@dp1 masks-cache=1024",
  ],
};

export const dpSet: Command<CliContext> = buildCommand<SetFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      miss: MISS_FLAG,
      masksCache: {
        kind: "parsed",
        parse: parseCacheSize,
        placeholder: "N",
        optional: true,
        brief: "Entries of the masks cache",
      },
    },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, which may be left out when there is one, then key=value",
        parse: asText,
        placeholder: "DP",
        proposeCompletions: proposeFirstDatapath,
      },
    },
  },
  docs: documentation(DP_SET),
  async func(flags, ...words): Promise<void> {
    const dp = words[0]?.includes("=") === false ? words.shift() : undefined;
    const { miss, masksCache: masksCacheSize } = flags;
    const params = { dp, miss, masksCacheSize, ...parseSettings(words) };
    if (Object.entries(params).every(([name, value]) => name === "dp" || value === undefined)) {
      throw new UsageError(`nothing to set (${SETTINGS.join("=, ")}=)`);
    }
    await this.session.submit(flags, { method: "dp-set", params });
  },
});

const SETTINGS = ["miss", "masks-cache", "features", "upcall-handler", "upcall"] as const;

/** `key=value` words of dp-set. */
function parseSettings(words: readonly string[]): Omit<Methods["dp-set"]["params"], "dp"> {
  const values = new Map<string, string>();
  for (const word of words) {
    const at = word.indexOf("=");
    const name = SETTINGS.find((one) => one === word.slice(0, at));
    if (name === undefined) {
      throw new UsageError(`"${word}" is no setting (settings: ${SETTINGS.join("=, ")}=)`);
    }
    if (values.has(name)) throw new UsageError(`${name}= is given twice`);
    values.set(name, word.slice(at + 1));
  }
  const [miss, cache, features, file, portids] = SETTINGS.map((name) => values.get(name));
  if (miss !== undefined && !MISS_POLICIES.some((policy) => policy === miss)) {
    throw new UsageError(`miss=${miss} is not allowed (${MISS_POLICIES.join(", ")})`);
  }
  return {
    ...(miss === undefined ? {} : { miss: miss as MissPolicy }),
    ...(cache === undefined ? {} : { masksCacheSize: parseCacheSize(cache) }),
    ...(features === undefined ? {} : { features: features.split(",").filter((one) => one) }),
    ...(file === undefined ? {} : { upcallHandler: absolute(file) }),
    ...(portids === undefined ? {} : { portids: parsePortids(portids) }),
  };
}

/** The daemon has a working directory of its own. */
function absolute(path: string): string {
  return path === "" || path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}

const CACHE_GET: CommandText = {
  brief: "Print the sizes of a datapath's caches",
  usage: ["[DP]"],
  description: "As ovs-dpctl cache-get-size: how many entries the masks cache may have.",
  examples: ["cache-get-size br0"],
};

export const cacheGetSize: Command<CliContext> = buildCommand<
  CommonFlags,
  [string | undefined],
  CliContext
>({
  parameters: {
    flags: COMMON_FLAGS,
    positional: {
      kind: "tuple",
      parameters: [{ brief: "Datapath", parse: asText, placeholder: "DP", optional: true }],
    },
  },
  docs: documentation(CACHE_GET),
  async func(flags, dp): Promise<void> {
    await this.session.submit(
      flags,
      { method: "dp-show", params: { dps: dp === undefined ? [] : [dp] } },
      ({ datapaths }) => renderCaches(datapaths),
    );
  },
});

const CACHE_SET: CommandText = {
  brief: "Set the size of a datapath's cache",
  usage: ["DP masks-cache N"],
  description: "As ovs-dpctl cache-set-size: another spelling of dp-set DP masks-cache=N.",
  examples: ["cache-set-size br0 masks-cache 1024"],
};

export const cacheSetSize: Command<CliContext> = buildCommand<
  CommonFlags,
  [string, string, string],
  CliContext
>({
  parameters: {
    flags: COMMON_FLAGS,
    positional: {
      kind: "tuple",
      parameters: [
        { brief: "Datapath", parse: asText, placeholder: "DP" },
        { brief: "Cache: masks-cache", parse: asText, placeholder: "CACHE" },
        { brief: "Entries", parse: asText, placeholder: "N" },
      ],
    },
  },
  docs: documentation(CACHE_SET),
  async func(flags, dp, cache, size): Promise<void> {
    if (cache !== "masks-cache") throw new UsageError(`there is no cache "${cache}" (masks-cache)`);
    const masksCacheSize = parseCacheSize(size);
    await this.session.submit(
      flags,
      { method: "dp-set", params: { dp, masksCacheSize } },
      () => `Setting cache size successful, new size ${masksCacheSize}\n`,
    );
  },
});

/** `--type TYPE DP` is another spelling of `TYPE@DP`. */
function withType(dp: string, type: string | undefined): string {
  if (type === undefined) return dp;
  const at = dp.indexOf("@");
  if (at < 0) return `${type}@${dp}`;
  if (dp.slice(0, at) === type) return dp;
  throw new UsageError(`${dp} and --type ${type} contradict each other`);
}

function parseCacheSize(text: string): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (number <= 0xffffffff) return number;
  throw new UsageError(`"${text}" is not a size of a cache (0, or a power of 2)`);
}

function parseCount(text: string): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (number < 1) throw new UsageError(`"${text}" is not a number of flows (1 or more)`);
  return number;
}
