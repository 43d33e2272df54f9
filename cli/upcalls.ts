/** The command upcalls: shows packets that go to the control plane, as they come. */
import { buildCommand, type Command } from "@stricli/core";
import { CommandError, type Methods, type UpcallInfo } from "../daemon/api.ts";
import { parsePortids, UsageError } from "../daemon/dpctl.ts";
import { LINKTYPE_ETHERNET } from "../datapath/capture/captured_packet.ts";
import {
  PCAP_HEADER_SIZE,
  PCAP_RECORD_HEADER_SIZE,
  writePcapHeader,
  writePcapRecordHeader,
} from "../datapath/capture/pcap.ts";
import { chooseTarget } from "./executor.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  textFlag,
} from "./flags.ts";
import type { Output } from "./output.ts";
import { proposeFirstDatapath } from "./propose.ts";
import { LineSink, Stream } from "./stream.ts";

interface UpcallsFlags extends CommonFlags {
  readonly count?: number | undefined;
  readonly write?: string | undefined;
  readonly portids?: readonly number[] | undefined;
}

type Shown = Methods["upcalls"]["result"];

const UPCALLS: CommandText = {
  brief: "Show packets that go to the control plane, as they come",
  usage: ["[DP] [-n N] [--portids ID[:ID]...] [-w FILE|-] [--json]"],
  description: "Prints a line for each packet that matches no flow (miss) and for each that a\n" +
    "userspace action hands over (action): its length, its flow key, and what the action said.\n" +
    "--json prints an object per line, with the packet; -w writes a capture file, - to standard\n" +
    "output. It goes on until N are shown, or until it is interrupted. The switch does not wait\n" +
    "for it: what comes faster than it is taken is lost to it, and counted. Looking on changes\n" +
    "nothing: packets go where the handler or the miss policy sends them. --portids leaves those\n" +
    "for the portids given (port-set upcall=, dp-set upcall=, userspace(pid=)).",
  examples: [
    "upcalls br0",
    "upcalls br0 -n 1 --json",
    "upcalls br0 -w - | tcpdump -r -",
    "upcalls br0 --portids 1:2",
  ],
};

export const upcalls: Command<CliContext> = buildCommand<
  UpcallsFlags,
  [string | undefined],
  CliContext
>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      count: {
        kind: "parsed",
        parse: parseCount,
        placeholder: "N",
        optional: true,
        brief: "Stop after so many",
      },
      portids: {
        kind: "parsed",
        parse: parsePortids,
        placeholder: "ID[:ID]...",
        optional: true,
        brief: "Only upcalls for these portids",
      },
      write: textFlag("FILE", "Write a capture file; - is standard output"),
    },
    aliases: { n: "count", w: "write" },
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
  docs: documentation(UPCALLS),
  async func(flags, dp): Promise<void> {
    const { session } = this;
    session.live();
    const { socket } = chooseTarget(flags, {
      socket: Deno.env.get("DENOVS_SOCKET") || undefined,
      state: Deno.env.get("DENOVS_STATE") || undefined,
    });
    const sink = flags.write === undefined
      ? new LineSink(session.output, flags.json ?? false, renderUpcall)
      : new CaptureSink(session.output, flags.write);
    const stream = await Stream.open(socket, "upcalls", {
      dp,
      count: flags.count,
      portids: flags.portids,
    });
    const interrupt = (): void => void stream.end().catch(() => stream.close());
    Deno.addSignalListener("SIGINT", interrupt);
    try {
      sink.begin();
      const batches = stream.batches();
      let step = await batches.next();
      for (; step.done !== true; step = await batches.next()) sink.put(step.value as UpcallInfo[]);
      const { lost } = step.value as Shown;
      if (lost > 0) session.output.note(`denovs: ${lost} upcalls were lost: they came too fast\n`);
    } finally {
      Deno.removeSignalListener("SIGINT", interrupt);
      stream.close();
      sink.end();
    }
  },
});

/** Where upcalls are shown. */
interface Sink {
  begin(): void;
  put(upcalls: readonly UpcallInfo[]): void;
  end(): void;
}

/** `miss length:98 recirc_id(0),in_port(1),…`; of an action, what it said. */
export function renderUpcall(upcall: UpcallInfo): string {
  const { type, length, packet, key, action, actions, egressTunnel, portid } = upcall;
  const size = packet.length / 2;
  return `${type} length:${length}${size < length ? ` cut:${size}` : ""} ${key}` +
    (portid === undefined ? "" : ` portid:${portid}`) +
    (action === undefined ? "" : ` ${action}`) +
    (actions === undefined ? "" : ` actions:${actions}`) +
    (egressTunnel === undefined ? "" : ` egress:${egressTunnel}`);
}

class CaptureSink implements Sink {
  readonly #output: Output;
  readonly #path: string;
  #file: Deno.FsFile | undefined;
  #withoutEthernet = 0;

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
    const header = new Uint8Array(PCAP_HEADER_SIZE);
    writePcapHeader(new DataView(header.buffer), LINKTYPE_ETHERNET);
    this.#write(header);
  }

  put(upcalls: readonly UpcallInfo[]): void {
    for (const { packet, length, time, l3 } of upcalls) {
      if (l3 === true) {
        this.#withoutEthernet++;
        continue;
      }
      const bytes = Uint8Array.fromHex(packet);
      const record = new Uint8Array(PCAP_RECORD_HEADER_SIZE + bytes.length);
      const wallUs = Math.round(time * 1e6);
      const header = { size: bytes.length, originalSize: length, wallUs };
      writePcapRecordHeader(new DataView(record.buffer), 0, header);
      record.set(bytes, PCAP_RECORD_HEADER_SIZE);
      this.#write(record);
    }
  }

  end(): void {
    this.#file?.close();
    if (this.#withoutEthernet === 0) return;
    this.#output.note(
      `denovs: left out ${this.#withoutEthernet} packets without an Ethernet header\n`,
    );
  }

  #write(bytes: Uint8Array): void {
    if (this.#file === undefined) return this.#output.printBytes(bytes);
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }
}

function parseCount(text: string): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (number < 1) throw new UsageError(`"${text}" is not a number of upcalls (1 or more)`);
  return number;
}
