/** The command trace-live: the ways of the next real packets through a datapath. */
import { buildCommand, type Command } from "@stricli/core";
import type { PacketTrace } from "../daemon/api.ts";
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
} from "./flags.ts";
import { proposeFirstDatapath } from "./propose.ts";
import { followStream } from "./stream.ts";

interface LiveFlags extends CommonFlags {
  readonly count?: number | undefined;
  readonly names?: boolean | undefined;
  readonly more: number;
}

const TRACE_LIVE: CommandText = {
  brief: "Record the next real packets at every step",
  usage: ["[DP] [FILTER] [-n N] [-m] [--names] [--json]"],
  description:
    "Waits for the next N received packets (default 1) and tells of each what trace tells:\n" +
    "bytes, key, flow, actions with what they change, ports and drops. FILTER is a flow or an\n" +
    "OpenFlow match of received packets. The packets go their way as ever; 512 bytes of each are kept.\n" +
    "It ends after N packets, or when it is interrupted. --json prints an object per line.",
  examples: ["trace-live br0 -n 3", "trace-live br0 'in_port(1),eth_type(0x0806)'"],
};

export const traceLive: Command<CliContext> = buildCommand<LiveFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      count: {
        kind: "parsed",
        parse: parseCount,
        placeholder: "N",
        brief: "How many packets (default 1)",
        optional: true,
      },
      names: switchFlag("Names of ports instead of numbers in flows"),
      more: { kind: "counter", brief: "All bytes that are kept" },
    },
    aliases: { n: "count", m: "more" },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, filter",
        parse: asText,
        placeholder: "DP",
        proposeCompletions: proposeFirstDatapath,
      },
    },
  },
  docs: documentation(TRACE_LIVE),
  async func(flags, ...words): Promise<void> {
    const { session } = this;
    session.live();
    const [first, second, other] = words;
    if (other !== undefined) throw new UsageError(`unexpected "${other}"`);
    const isFilter = second === undefined && first !== undefined && /[(=]/.test(first);
    const dp = isFilter ? undefined : first;
    const filter = isFilter ? first : second;
    const { count, names } = flags;
    const more = flags.more > 0;
    const show = (traces: PacketTrace[]): void => {
      session.output.print(
        flags.json === true
          ? traces.map((trace) => `${JSON.stringify(trace)}\n`).join("")
          : traces.map((trace) => `${renderTraces([trace], { more })}\n`).join(""),
      );
      session.output.flush();
    };
    const params = { dp, filter, count, names };
    const { lost } = await followStream(flags, "trace-live", params, show);
    if (lost > 0) session.output.note(`denovs: ${lost} traces were lost: they came too fast\n`);
  },
});

function parseCount(text: string): number {
  const number = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= 1000) return number;
  throw new UsageError(`"${text}" is not a number of packets (1 to 1000)`);
}
