/** Commands on the flow language itself, without a switch: flow-parse, packet-parse, packet-make. */
import { buildCommand, type Command } from "@stricli/core";
import { CommandError } from "../daemon/api.ts";
import { toCommandError } from "../daemon/command_errors.ts";
import { UsageError } from "../daemon/dpctl.ts";
import { COMPOSED_SIZE_MAX } from "../datapath/compose/composed_size.ts";
import type { Dialect } from "../datapath/fields/field_types.ts";
import type { PortNames } from "../datapath/text/flow_text.ts";
import { writePcap } from "../datapath/capture/pcap.ts";
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
import { readBytes, readInput } from "./input.ts";
import { describeFlow, renderFlowDescription } from "./language/flow_parse.ts";
import { framesOf, parseHex, parsePackets, renderParsedPackets } from "./language/packet_parse.ts";
import { makePacket } from "./language/packet_make.ts";

interface FlowParseFlags extends CommonFlags {
  readonly dp?: string | undefined;
  readonly explain?: boolean | undefined;
  readonly dialect?: Dialect | undefined;
}

const DP_FLAG = textFlag("DP", "Take the names of ports from this datapath");

const FLOW_PARSE: CommandText = {
  brief: "Check a flow and its actions, and show them in every form",
  usage: ["FLOW|- [ACTIONS] [--explain] [--dialect kernel|userspace] [--dp DP] [--json]"],
  description: "Prints the canonical text of FLOW and ACTIONS, their JSON and their netlink\n" +
    "attributes in hexadecimal; with --explain every field in words. Nothing is installed and no\n" +
    "datapath is needed; --dp takes the names of ports from one. FLOW and ACTIONS may be\n" +
    "text, JSON as this command prints it, or netlink attributes (nl:KEY[/MASK] and nl:ACTIONS).\n" +
    "With - as FLOW, lines `FLOW [ACTIONS]` are read from standard input.",
  examples: [
    "flow-parse 'in_port(1),eth_type(0x0800),ipv4(proto=6),tcp(dst=80)' 'push_vlan(vid=5,pcp=0),2'",
    "flow-parse --explain 'ct_state(+trk-new),eth_type(0x0800)'",
    `flow-parse '{"in_port":1}' '[{"type":"output","port":2}]'`,
  ],
};

export const flowParse: Command<CliContext> = buildCommand<
  FlowParseFlags,
  [string, string | undefined],
  CliContext
>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      dp: DP_FLAG,
      explain: switchFlag("Say in words what each field and action means"),
      dialect: {
        kind: "enum",
        values: ["kernel", "userspace"],
        optional: true,
        brief: "Whose netlink numbers (default: kernel if it has the flow, else userspace)",
      },
    },
    positional: {
      kind: "tuple",
      parameters: [
        { brief: "Flow, or - for lines on standard input", parse: asText, placeholder: "FLOW" },
        { brief: "Actions", parse: asText, placeholder: "ACTIONS", optional: true },
      ],
    },
  },
  docs: documentation(FLOW_PARSE),
  async func(flags, flow, actions): Promise<void> {
    const names = await namesOf(this, flags, flags.dp);
    const { explain, dialect } = flags;
    const options = { names, dialect, explain };
    const { output } = this.session;
    if (flow !== "-") {
      const description = describeFlow(flow, actions, options);
      output.print(
        flags.json === true
          ? `${JSON.stringify(description, null, 2)}\n`
          : renderFlowDescription(description),
      );
      return;
    }
    if (actions !== undefined) throw new UsageError("with - the actions stand in the lines");
    const { flowLines } = await import("../daemon/flow_file.ts");
    for (const line of flowLines(await readInput("-"))) {
      try {
        const description = describeFlow(line.flow, line.actions, options);
        output.print(
          flags.json === true
            ? `${JSON.stringify(description)}\n`
            : renderFlowDescription(description),
        );
      } catch (error) {
        throw toCommandError(error, { line: line.line });
      }
    }
  },
});

/** Names of a datapath's ports, as parser and printer ask for them. */
async function namesOf(
  context: CliContext,
  flags: CommonFlags,
  dp: string | undefined,
): Promise<PortNames | undefined> {
  if (dp === undefined) return undefined;
  const { ports } = await context.session.query(flags, "port-list", { dp });
  const byName = new Map(ports.map((port) => [port.name, port.portNo]));
  const byNo = new Map(ports.map((port) => [port.portNo, port.name]));
  return { byName: (name) => byName.get(name), byNo: (portNo) => byNo.get(portNo) };
}

interface PacketParseFlags extends CommonFlags {
  readonly dp?: string | undefined;
  readonly pcap?: string | undefined;
  readonly inPort?: number | undefined;
  readonly explain?: boolean | undefined;
}

const PACKET_PARSE: CommandText = {
  brief: "Show the flow key of packets",
  usage: ["HEX... [--in-port N] [--explain] [--json]", "--pcap FILE|- [--in-port N] [--json]"],
  description:
    "Prints a line for each packet: its flow key, as a flow that matches exactly this\n" +
    "packet. HEX is the frame from the Ethernet header on; blanks, colons and 0x are skipped.\n" +
    "--pcap reads a capture file (pcap or pcapng).",
  examples: [
    "packet-parse ffffffffffff5254000000010806 --in-port 1",
    "packet-parse --pcap capture.pcap",
    "packet-make 'eth_type(0x0800),ipv4(proto=17),udp(dst=53)' | denovs packet-parse -",
  ],
};

export const packetParse: Command<CliContext> = buildCommand<
  PacketParseFlags,
  string[],
  CliContext
>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      dp: DP_FLAG,
      pcap: textFlag("FILE", "Read a capture file; - is standard input"),
      inPort: portNumber("Port that the packets came from (default: none)"),
      explain: switchFlag("Say in words what each field means"),
    },
    positional: {
      kind: "array",
      parameter: {
        brief: "Frame in hexadecimal, or - for lines of it on standard input",
        parse: asText,
        placeholder: "HEX",
      },
    },
  },
  docs: documentation(PACKET_PARSE),
  async func(flags, ...words): Promise<void> {
    if ((flags.pcap === undefined) === (words.length === 0)) {
      throw new UsageError("either HEX or --pcap FILE is wanted");
    }
    const names = await namesOf(this, flags, flags.dp);
    const frames = flags.pcap !== undefined
      ? framesOf(await readBytes(flags.pcap))
      : parseHex(words.length === 1 && words[0] === "-" ? await readInput("-") : words.join("\n"));
    const packets = parsePackets(frames, { names, inPort: flags.inPort });
    this.session.output.print(
      flags.json === true
        ? `${JSON.stringify({ packets }, null, 2)}\n`
        : renderParsedPackets(packets, flags.explain ?? false),
    );
  },
});

interface PacketMakeFlags extends CommonFlags {
  readonly dp?: string | undefined;
  readonly len?: number | undefined;
  readonly pcap?: string | undefined;
}

const PACKET_MAKE: CommandText = {
  brief: "Make a packet that has a given flow key",
  usage: ["FLOW [--len N] [--pcap FILE|-] [--json]"],
  description:
    "Prints a frame whose flow key is FLOW, in hexadecimal, with the right checksums; what\n" +
    "FLOW leaves open is zero. --len makes it that long, --pcap writes it as a capture file.",
  examples: [
    "packet-make 'eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
    "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,ttl=64),udp(src=1,dst=53)' --len 64",
    "packet-make 'eth_type(0x0806),arp(op=1,tip=10.0.0.1)' --pcap arp.pcap",
  ],
};

export const packetMake: Command<CliContext> = buildCommand<
  PacketMakeFlags,
  [string],
  CliContext
>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      dp: DP_FLAG,
      len: number("N", "Length of the frame in bytes"),
      pcap: textFlag("FILE", "Write a capture file; - is standard output"),
    },
    positional: {
      kind: "tuple",
      parameters: [{ brief: "Flow", parse: asText, placeholder: "FLOW" }],
    },
  },
  docs: documentation(PACKET_MAKE),
  async func(flags, flow): Promise<void> {
    const names = await namesOf(this, flags, flags.dp);
    const made = makePacket(flow, { names, size: flags.len });
    const { output } = this.session;
    if (flags.pcap !== undefined) {
      const file = writePcap([{ bytes: made.frame, isL3: made.isL3 }]);
      if (flags.pcap === "-") output.printBytes(file);
      else writeFile(flags.pcap, file);
      return;
    }
    const packet = made.frame.toHex();
    output.print(flags.json === true ? `${JSON.stringify({ packet }, null, 2)}\n` : `${packet}\n`);
  },
});

function writeFile(path: string, bytes: Uint8Array): void {
  try {
    Deno.writeFileSync(path, bytes);
  } catch (error) {
    throw new CommandError("EIO", `cannot write ${path}: ${(error as Error).message}`);
  }
}

interface NumberFlag {
  readonly kind: "parsed";
  readonly parse: (input: string) => number;
  readonly placeholder: string;
  readonly brief: string;
  readonly optional: true;
}

function number(placeholder: string, brief: string, max = COMPOSED_SIZE_MAX): NumberFlag {
  const parse = (input: string): number => {
    const value = Number(input);
    if (/^(0x)?[0-9a-f]+$/i.test(input) && value <= max) return value;
    throw new UsageError(`"${input}" is not a number from 0 to ${max}`);
  };
  return { kind: "parsed", parse, placeholder, brief, optional: true };
}

function portNumber(brief: string): NumberFlag {
  return number("N", brief, 65534);
}
