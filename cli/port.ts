/** Commands on ports: port-add, port-del, port-set, port-list. */
import { buildCommand, type Command } from "@stricli/core";
import type { PortAddParams } from "../daemon/api.ts";
import {
  parsePortNo,
  parsePortWords,
  parseSetWords,
  type PortWords,
  UsageError,
} from "../daemon/dpctl.ts";
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
        brief: "Port number, 1 … 65534; 0: the lowest free one",
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

const PORT_SET: CommandText = {
  brief: "Change options of a port",
  usage: [
    "[DP] PORT key=value... [upcall=ID[:ID]...]",
    "[DP] PORT[,key=value]...",
    "system@DP PORT upcall=ID",
  ],
  description:
    "Changes options of a port's type, as port-add takes them; those not named stay, and\n" +
    "key= takes one back to its default. The port is closed and opened again: it keeps its number,\n" +
    "counters and addresses, and loses the packets of that moment. upcall= says whom its upcalls\n" +
    "are for: portids, numbers that `upcalls --portids` and handlers choose by; of several the hash\n" +
    "of the flow takes one. upcall=0: its packets that match no flow go to no handler (a datapath\n" +
    "that floods or learns by itself goes on); upcall= (empty): nothing is said. PORT is a name or a\n" +
    "number.",
  examples: [
    "port-set br0 vxlan0 remote_ip=192.0.2.7 key=42",
    "port-set br0 eth1 host=",
    "port-set br0 eth1 upcall=1:2",
    "port-set br0 eth2 upcall=0",
  ],
};

export const portSet: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: {
    flags: COMMON_FLAGS,
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, port, options as key=value",
        parse: asText,
        placeholder: "PORT",
        proposeCompletions: proposeDatapathThenPorts,
      },
      minimum: 1,
    },
  },
  docs: documentation(PORT_SET),
  async func(flags, ...words): Promise<void> {
    const parsed = parseSetWords(words);
    const [first] = parsed;
    const isNamed = parsed.length > 1 && first!.options === undefined &&
      first!.portids === undefined;
    const dp = isNamed ? first!.port : undefined;
    const changes = isNamed ? parsed.slice(1) : parsed;
    const empty = changes.find(({ options, portids }) => options === portids);
    if (empty !== undefined) {
      throw new UsageError(`nothing to set of port "${empty.port}" (key=value, upcall=ID)`);
    }
    await this.session.submitAll(
      flags,
      changes.map((change) => ({ method: "port-set", params: { dp, ...change } })),
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
