/** The command capture: copies of packets at a port, or of those that are dropped, as they come. */
import { buildCommand, type Command } from "@stricli/core";
import { type CapturedInfo, CommandError, type Methods } from "../daemon/api.ts";
import { UsageError } from "../daemon/dpctl.ts";
import { VERSION } from "../daemon/version.ts";
import { PcapngWriter } from "../datapath/capture/pcapng_writer.ts";
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
import { parsePackets } from "./language/packet_parse.ts";
import type { Output } from "./output.ts";
import { proposeDatapathThenPorts } from "./propose.ts";
import { followStream, LineSink } from "./stream.ts";

interface CaptureFlags extends CommonFlags {
  readonly drops?: boolean | undefined;
  readonly upcalls?: boolean | undefined;
  readonly samples?: boolean | undefined;
  readonly direction?: "in" | "out" | undefined;
  readonly count?: number | undefined;
  readonly size?: number | undefined;
  readonly write?: string | undefined;
}

type Params = Methods["capture"]["params"];

const CAPTURE: CommandText = {
  brief: "Capture packets at a port, or those that are dropped",
  usage: [
    "DP PORT|any [FILTER] [--direction in|out] [-n N] [-s SIZE] [-w FILE|-] [--json]",
    "DP --drops|--upcalls|--samples [FILTER] [-n N] [-s SIZE] [-w FILE|-] [--json]",
  ],
  description:
    "Prints a line for each packet that PORT receives or sends (any: every port), or that is\n" +
    "dropped anywhere (--drops, with the reason), that goes to whoever takes upcalls (--upcalls),\n" +
    "or that a psample action samples (--samples, with group and cookie); of these, several may be\n" +
    "wanted at once. FILTER is a flow or an OpenFlow match, and leaves the packets that are so at\n" +
    "that moment. -w writes pcapng, - to standard output: an interface per port, the direction of\n" +
    "each packet, and the reason of a drop, or group and cookie of a sample, as its comment. It goes\n" +
    "on until N are given, or until it is interrupted. The switch does not wait for it: what comes\n" +
    "faster than it is taken is lost to the capture, and counted.",
  examples: [
    "capture br0 eth1 -w - | tcpdump -n -r -",
    "capture br0 any tcp,tp_dst=80 -n 10",
    "capture br0 --drops 'eth_type(0x0800)' -w drops.pcapng",
    "capture br0 --samples --json",
  ],
};

export const capture: Command<CliContext> = buildCommand<CaptureFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      drops: switchFlag("Packets that are dropped"),
      upcalls: switchFlag("Packets that go to the control plane"),
      samples: switchFlag("Packets that psample actions sample"),
      direction: {
        kind: "enum",
        values: ["in", "out"],
        optional: true,
        brief: "Only received, or only sent packets",
      },
      count: number("N", "Stop after so many"),
      size: number("SIZE", "Bytes to keep of each packet (default: all)"),
      write: textFlag("FILE", "Write pcapng; - is standard output"),
    },
    aliases: { n: "count", s: "size", w: "write" },
    positional: {
      kind: "array",
      parameter: {
        brief: "Datapath, port, filter",
        parse: asText,
        placeholder: "DP",
        proposeCompletions: proposeDatapathThenPorts,
      },
    },
  },
  docs: documentation(CAPTURE),
  async func(flags, ...words): Promise<void> {
    const { session } = this;
    session.live();
    const params = paramsOf(flags, words);
    const sink: Sink = flags.write === undefined
      ? new LineSink(session.output, flags.json ?? false, renderCaptured)
      : new CaptureSink(session.output, flags.write);
    sink.begin();
    let lost = 0;
    try {
      const result = await followStream(flags, "capture", params, (batch: CapturedInfo[]) => {
        sink.put(batch);
      });
      lost = result.lost;
    } finally {
      sink.end(lost);
    }
    if (lost > 0) session.output.note(`denovs: ${lost} packets were lost: they came too fast\n`);
  },
});

function paramsOf(flags: CaptureFlags, words: readonly string[]): Params {
  const { drops, upcalls, samples, direction, count, size } = flags;
  const events: string[] = [];
  if (drops === true) events.push("drop");
  if (upcalls === true) events.push("upcall");
  if (samples === true) events.push("sample");
  const atPort = events.length === 0;
  const [dp, ...rest] = words;
  const port = atPort ? rest.shift() : undefined;
  if (dp === undefined || (atPort && port === undefined)) {
    throw new UsageError("a DP and a PORT (or any), --drops, --upcalls or --samples are wanted");
  }
  const [filter, other] = rest;
  if (other !== undefined) throw new UsageError(`unexpected "${other}"`);
  if (!atPort && direction !== undefined) throw new UsageError("--direction is for a PORT");
  if (atPort) events.push(...direction === undefined ? ["in", "out"] : [direction]);
  return { dp, port: port === "any" ? undefined : port, events, filter, count, size };
}

/** Where packets are shown. */
interface Sink {
  begin(): void;
  put(packets: readonly CapturedInfo[]): void;
  end(lost: number): void;
}

/** `12:00:00.123456 in port 1 (eth1) length:98 recirc_id(0),in_port(1),…`; of a drop, why; of a sample, what its action said. */
export function renderCaptured(captured: CapturedInfo): string {
  const { event, time, portNo, port, reason, packet, length, l3 } = captured;
  const where = portNo === 65535
    ? "no port"
    : `port ${portNo}${port === undefined ? "" : ` (${port})`}`;
  const bytes = Uint8Array.fromHex(packet);
  const frame = { bytes, isL3: l3 !== undefined, ...(l3 === undefined ? {} : { ethType: l3 }) };
  const [parsed] = parsePackets([frame], event === "out" ? {} : { inPort: portNo });
  const clock = new Date(time * 1000).toISOString().slice(11, 23);
  const why = reason === undefined ? sampleText(captured) : ` ${reason}`;
  return `${clock} ${event} ${where}${why} length:${length} ${parsed?.flow ?? ""}`;
}

/** ` group:7 cookie:0xbeef`; of what is no sample, nothing. */
function sampleText({ group, cookie }: CapturedInfo): string {
  if (group === undefined) return "";
  return ` group:${group}${cookie === undefined ? "" : ` cookie:0x${cookie}`}`;
}

function commentOf(captured: CapturedInfo): string | undefined {
  const { event, reason, meaning } = captured;
  if (event === "drop") return `dropped: ${reason} (${meaning})`;
  if (event === "upcall") return "upcall";
  return event === "sample" ? `sample${sampleText(captured)}` : undefined;
}

class CaptureSink implements Sink {
  readonly #output: Output;
  readonly #path: string;
  readonly #writer: PcapngWriter = new PcapngWriter();
  #file: Deno.FsFile | undefined;
  #wallUs = 0;

  constructor(output: Output, path: string) {
    this.#output = output;
    this.#path = path;
  }

  begin(): void {
    if (this.#path !== "-") {
      try {
        this.#file = Deno.openSync(this.#path, { write: true, create: true, truncate: true });
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new CommandError("EIO", `cannot write ${this.#path}: ${reason}`, { cause });
      }
    }
    this.#write(this.#writer.begin(`denovs ${VERSION}`));
  }

  put(packets: readonly CapturedInfo[]): void {
    for (const captured of packets) {
      const { event, time, portNo, port, packet, length, l3 } = captured;
      this.#wallUs = Math.round(time * 1e6);
      this.#write(this.#writer.packet({
        interfaceName: port ?? (portNo === 65535 ? "none" : String(portNo)),
        bytes: Uint8Array.fromHex(packet),
        fullSize: length,
        isL3: l3 !== undefined,
        wallUs: this.#wallUs,
        direction: event === "out" ? "out" : "in",
        comment: commentOf(captured),
      }));
    }
  }

  end(lost: number): void {
    this.#write(this.#writer.end(lost, this.#wallUs));
    this.#file?.close();
  }

  #write(bytes: Uint8Array): void {
    if (this.#file === undefined) return this.#output.printBytes(bytes);
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }
}

function number(placeholder: string, brief: string): {
  readonly kind: "parsed";
  readonly parse: (input: string) => number;
  readonly placeholder: string;
  readonly brief: string;
  readonly optional: true;
} {
  const parse = (text: string): number => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : 0;
    if (value < 1) throw new UsageError(`"${text}" is not a number of 1 or more`);
    return value;
  };
  return { kind: "parsed", parse, placeholder, brief, optional: true };
}
