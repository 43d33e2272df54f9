/** Commands on ports: port-add, port-del, port-list; and set-if of ovs-dpctl, which is refused. */
import { buildCommand, type Command } from "@stricli/core";
import { CommandError, type PortAddParams } from "../daemon/api.ts";
import { parsePortNo, parsePortWords, type PortWords, UsageError } from "../daemon/dpctl.ts";
import { renderPortList } from "../daemon/render/datapaths.ts";
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
import {
  proposeDatapaths,
  proposeDatapathThenDevices,
  proposeDatapathThenPorts,
} from "./propose.ts";

interface AddFlags extends CommonFlags {
  readonly type?: string | undefined;
  readonly portNo?: number | undefined;
  readonly mayExist?: boolean | undefined;
}
interface DelFlags extends CommonFlags {
  readonly ifExists?: boolean | undefined;
}
interface ListFlags extends CommonFlags {
  readonly statistics?: boolean | undefined;
}

const PORT_ADD: CommandText = {
  brief: "Add a port to a datapath",
  usage: [
    "[DP] PORT [key=value]... [--type TYPE] [--port-no N] [--may-exist]",
    "[DP] PORT[,key=value]...",
  ],
  description: "Attaches a network device (type netdev, the default), makes an internal device\n" +
    "(--type internal), or a port of another type. key=value are options of the type; port_no=\n" +
    "and type= may be given so too, and all may be joined to the port's name by commas, as in\n" +
    "ovs-dpctl add-if. Without a number the port gets the lowest free one from 1. DP may be left\n" +
    "out when there is one datapath and one port is named.",
  examples: [
    "port-add br0 eth1",
    "port-add br0 vnet0 --type internal --port-no 5",
    "port-add br0 eth1,port_no=7 eth2,host=share",
    "port-add br0 eth1 --may-exist",
  ],
};

export const portAdd: Command<CliContext> = buildCommand<AddFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      type: textFlag(
        "TYPE",
        "Type of the port: netdev (the default), internal, tap, patch, vxlan, geneve, gre, pcap, or a plug-in's",
      ),
      portNo: {
        kind: "parsed",
        parse: parsePortNo,
        placeholder: "N",
        optional: true,
        brief: "Port number, 1 … 65534",
      },
      mayExist: switchFlag("Do nothing if the same port exists"),
    },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, port, options as key=value",
        parse: asText,
        placeholder: "PORT",
        proposeCompletions: proposeDatapathThenDevices,
      },
      minimum: 1,
    },
  },
  docs: documentation(PORT_ADD),
  async func(flags, ...words): Promise<void> {
    const ports = portAddParams(words, flags);
    await this.session.submitAll(
      flags,
      ports.map((params) => ({ method: "port-add", params })),
    );
  },
});

const PORT_DEL: CommandText = {
  brief: "Delete a port",
  usage: ["[DP] PORT... [--if-exists]"],
  description:
    "Deletes ports by name or number. DP may be left out when there is one datapath and\n" +
    "one port is named. Port 0, the datapath's own, goes with the datapath only.",
  examples: ["port-del br0 eth1", "port-del br0 5", "port-del br0 eth1 --if-exists"],
};

export const portDel: Command<CliContext> = buildCommand<DelFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, ifExists: switchFlag("Do nothing if there is no such port") },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, then ports by name or number",
        parse: asText,
        placeholder: "PORT",
        proposeCompletions: proposeDatapathThenPorts,
      },
      minimum: 1,
    },
  },
  docs: documentation(PORT_DEL),
  async func(flags, ...words): Promise<void> {
    const { ifExists } = flags;
    const dp = words.length > 1 ? words[0] : undefined;
    const ports = words.length > 1 ? words.slice(1) : words;
    await this.session.submitAll(
      flags,
      ports.map((port) => ({ method: "port-del", params: { dp, port, ifExists } })),
    );
  },
});

const PORT_LIST: CommandText = {
  brief: "List the ports of a datapath",
  usage: ["[DP] [-s] [--json]"],
  description: "Prints number, name, type, state and options of every port. -s adds the counters.",
  examples: ["port-list", "port-list br0 -s", "port-list br0 --json"],
};

export const portList: Command<CliContext> = buildCommand<
  ListFlags,
  [string | undefined],
  CliContext
>({
  parameters: {
    flags: { ...COMMON_FLAGS, statistics: switchFlag("Counters of the ports too") },
    aliases: { s: "statistics" },
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
  docs: documentation(PORT_LIST),
  async func(flags, dp): Promise<void> {
    const { statistics } = flags;
    await this.session.submit(
      flags,
      { method: "port-list", params: { dp, statistics } },
      ({ ports }) => renderPortList(ports, { statistics }),
    );
  },
});

/** set-if of ovs-dpctl. */
export const setIf: Command<CliContext> = buildCommand<Record<never, never>, string[], CliContext>({
  parameters: {
    positional: {
      kind: "array",
      parameter: { brief: "Datapath, port, options", parse: asText, placeholder: "WORD" },
    },
  },
  docs: documentation({
    brief: "Not supported: delete the port and add it again",
    usage: ["DP PORT[,key=value]..."],
    description: "Changing the options of a port is not supported: delete it and add it again.",
    examples: ["port-del br0 eth1"],
  }),
  func(): void {
    throw new CommandError(
      "EOPNOTSUPP",
      "changing a port is not supported (delete it and add it again: port-del, port-add)",
    );
  },
});

/** `[DP] PORT…` with the options that apply to it. */
function portAddParams(words: readonly string[], flags: AddFlags): PortAddParams[] {
  const parsed = parsePortWords(words);
  // The first of several names is the datapath, unless it already carries options.
  const first = parsed[0]!;
  const named = parsed.length > 1 && !words[0]!.includes(",") && !hasSettings(first);
  const ports = named ? parsed.slice(1) : parsed;
  if (ports.length > 1 && flags.portNo !== undefined) {
    throw new UsageError("--port-no is for one port (write PORT,port_no=N for each)");
  }
  return ports.map((port) => {
    const { type, portNo, ...rest } = port;
    refuseTwice("type", flags.type, type);
    refuseTwice("port_no", flags.portNo, portNo);
    return {
      dp: named ? first.port : undefined,
      ...rest,
      type: flags.type ?? type,
      portNo: flags.portNo ?? portNo,
      mayExist: flags.mayExist,
    };
  });
}

function hasSettings(port: PortWords): boolean {
  return port.type !== undefined || port.portNo !== undefined ||
    Object.keys(port.options).length > 0;
}

function refuseTwice(key: string, flag: unknown, setting: unknown): void {
  if (flag !== undefined && setting !== undefined) {
    throw new UsageError(`${key} is given twice, as an option and as ${key}=`);
  }
}
