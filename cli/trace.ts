/** The command trace: a packet's way through a datapath, without sending it. */
import { buildCommand, type Command } from "@stricli/core";
import { COMPOSED_SIZE_MAX } from "../datapath/compose/composed_size.ts";
import type { Methods, PacketTrace } from "../daemon/api.ts";
import { UsageError } from "../daemon/dpctl.ts";
import { renderTraces } from "../daemon/render/traces.ts";
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
import { readBytes } from "./input.ts";
import { proposeFirstDatapath } from "./propose.ts";

interface TraceFlags extends CommonFlags {
  readonly packet?: string | undefined;
  readonly pcap?: string | undefined;
  readonly inPort?: string | undefined;
  readonly len?: number | undefined;
  readonly samples?: "taken" | "skipped" | undefined;
  readonly names?: boolean | undefined;
  readonly dot?: boolean | undefined;
  readonly svg?: boolean | undefined;
  readonly more: number;
}

type Params = Methods["trace"]["params"];

const TRACE: CommandText = {
  brief: "Show a packet's way through a datapath, without sending it",
  usage: [
    "[DP] FLOW [--len N] [-m] [--names] [--samples taken|skipped] [--json|--dot|--svg]",
    "[DP] [FLOW] --packet HEX|--pcap FILE|- [--in-port PORT] [-m] [--json|--dot|--svg]",
  ],
  description:
    "Lets a packet go through the datapath's own code and tells what it does: the packet's\n" +
    "key, each mask that is tried and in what the closest flow differs, the flow found, each\n" +
    "action with the bytes and fields that it changes, recirculations, and the ports reached or\n" +
    "the reason of the drop. Behind patch ports it goes on; of tunnel ports it tells the outer\n" +
    "header. Nothing is sent, counted, learned or charged to a meter. The packet is\n" +
    "made of FLOW, or given in hexadecimal, or by a capture file; FLOW then has its metadata\n" +
    "(in_port, skb_mark, tunnel, ct_state ...). Without a daemon the saved flows are used.\n" +
    "--dot and --svg draw the way as a graph. -m shows whole packets.",
  examples: [
    "trace br0 'in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.2,proto=6,ttl=64),tcp(dst=80)'",
    "trace br0 --packet ffffffffffff5254000000010806 --in-port eth1",
    "trace br0 --pcap capture.pcap --in-port 1 --json",
    "trace br0 'in_port(1)' --svg > way.svg",
  ],
};

export const trace: Command<CliContext> = buildCommand<TraceFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      packet: textFlag("HEX", "The packet, from its Ethernet header on"),
      pcap: textFlag("FILE", "The packets of a capture file; - is standard input"),
      inPort: textFlag("PORT", "Port that the packets come from, by name or number"),
      len: {
        kind: "parsed",
        parse: parseSize,
        placeholder: "N",
        brief: "Bytes of the packet that is made of FLOW",
        optional: true,
      },
      samples: {
        kind: "enum",
        values: ["taken", "skipped"],
        optional: true,
        brief: "What sample actions do (default: as chance has it)",
      },
      names: switchFlag("Names of ports instead of numbers in flows"),
      dot: switchFlag("Print a graph in Graphviz's language"),
      svg: switchFlag("Print a picture"),
      more: { kind: "counter", brief: "Whole packets" },
    },
    aliases: { m: "more" },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, and flow",
        parse: asText,
        placeholder: "FLOW",
        proposeCompletions: proposeFirstDatapath,
      },
    },
  },
  docs: documentation(TRACE),
  async func(flags, ...words): Promise<void> {
    const { packet, pcap, inPort, names, samples } = flags;
    if (packet !== undefined && pcap !== undefined) {
      throw new UsageError("either --packet or --pcap is wanted");
    }
    if ([flags.json, flags.dot, flags.svg].filter((form) => form === true).length > 1) {
      throw new UsageError("only one of --json, --dot and --svg is wanted");
    }
    const given = packet !== undefined || pcap !== undefined;
    const { dp, flow } = splitWords(words, given);
    if (given && flags.len !== undefined) {
      throw new UsageError("--len is for a packet made of FLOW");
    }
    const packets = given ? await readPackets(packet, pcap) : undefined;
    const params: Params = { dp, flow, packets, inPort, size: flags.len, names, samples };
    if (flags.dot === true || flags.svg === true) {
      const { traces } = await this.session.query(flags, "trace", params);
      this.session.output.print(await draw(traces, flags.svg === true));
      return;
    }
    await this.session.submit(
      flags,
      { method: "trace", params },
      ({ traces }) => renderTraces(traces, { more: flags.more > 0 }),
    );
  },
});

/** A datapath's name has no parenthesis, a flow has; a flow alone is the flow of the only datapath. */
function splitWords(
  words: readonly string[],
  given: boolean,
): { dp: string | undefined; flow: string | undefined } {
  const [first, second, ...others] = words;
  if (others.length > 0) throw new UsageError(`unexpected "${others[0]}"`);
  const isFlow = (word: string | undefined): boolean => word !== undefined && word.includes("(");
  if (second !== undefined) return { dp: first, flow: second };
  if (isFlow(first)) return { dp: undefined, flow: first };
  if (!given) throw new UsageError("a FLOW, --packet or --pcap is wanted");
  return { dp: first, flow: undefined };
}

/** The frames as the daemon takes them. The parsers of frames are loaded for this alone. */
async function readPackets(
  hex: string | undefined,
  pcap: string | undefined,
): Promise<NonNullable<Params["packets"]>> {
  const { framesOf, parseHex }: typeof import("./language/packet_parse.ts") = await import(
    "./language/packet_parse.ts" as string
  );
  const frames = pcap === undefined ? parseHex(hex!) : framesOf(await readBytes(pcap));
  return Array.from(frames, ({ bytes, isL3, ethType, time }) => ({
    bytes: bytes.toHex(),
    ...(isL3 ? { l3: ethType ?? 0 } : {}),
    ...(time === undefined ? {} : { time }),
  }));
}

async function draw(traces: readonly PacketTrace[], isSvg: boolean): Promise<string> {
  const { toDot }: typeof import("./trace/graph.ts") = await import("./trace/graph.ts" as string);
  const dot = toDot(traces);
  if (!isSvg) return dot;
  const { toSvg }: typeof import("./trace/picture.ts") = await import(
    "./trace/picture.ts" as string
  );
  return await toSvg(dot);
}

function parseSize(input: string): number {
  const value = Number(input);
  if (/^\d{1,5}$/.test(input) && value <= COMPOSED_SIZE_MAX) return value;
  throw new UsageError(`"${input}" is not a number of bytes (0 ... ${COMPOSED_SIZE_MAX})`);
}
