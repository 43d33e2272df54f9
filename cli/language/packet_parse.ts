/** What packet-parse shows: the flow key of each packet, as a flow that matches exactly this packet. */
import { CommandError } from "../../daemon/api.ts";
import { extractKey } from "../../datapath/extract/extract.ts";
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { flowToJson, type JsonFlow } from "../../datapath/json/flow_json.ts";
import { KEY_WORDS, PORT_NONE } from "../../datapath/key.ts";
import { Packet } from "../../datapath/packet/packet.ts";
import { type CapturedPacket, readCapture } from "../../datapath/capture/pcap.ts";
import { formatFlow, type PortNames } from "../../datapath/text/flow_text.ts";
import { explainFlow } from "./explain.ts";

/** A packet as `packet-parse --json` prints it. */
export interface ParsedPacket {
  /** 1 = first. */
  readonly number: number;
  /** Bytes of the frame. */
  readonly size: number;
  /** Seconds since 1970, of a capture. */
  readonly time?: number;
  /** A flow that matches exactly this packet. */
  readonly flow: string;
  readonly key: JsonFlow;
}

/** Frames in hexadecimal, one a line; blanks, colons and 0x are skipped. Throws CommandError. */
export function parseHex(text: string): CapturedPacket[] {
  const lines = text.split("\n").map((line) => line.replace(/0x|[\s:]/gi, ""));
  return lines.filter((line) => line !== "").map((line) => {
    try {
      return { bytes: Uint8Array.fromHex(line), isL3: false };
    } catch {
      const bad = /[^0-9a-f]/i.exec(line);
      const why = bad === null
        ? `it has ${line.length} digits, and two make a byte`
        : `"${bad[0]}" is no hexadecimal digit`;
      throw new CommandError("EINVAL", `a frame must be bytes in hexadecimal: ${why}`);
    }
  });
}

/** The packets of a capture file. Throws CommandError. */
export function framesOf(file: Uint8Array<ArrayBuffer>): Iterable<CapturedPacket> {
  return readCapture(file);
}

/** The flow key of each frame. */
export function parsePackets(
  frames: Iterable<CapturedPacket>,
  { names, inPort = PORT_NONE }: {
    readonly names?: PortNames | undefined;
    readonly inPort?: number | undefined;
  },
): ParsedPacket[] {
  const packets: ParsedPacket[] = [];
  for (const frame of frames) {
    const { bytes, time } = frame;
    const key = keyOf(frame, inPort);
    const mask = exactMask(key);
    packets.push({
      number: packets.length + 1,
      size: bytes.length,
      ...(time === undefined ? {} : { time }),
      flow: formatFlow(key, mask, { names }),
      key: flowToJson(key, mask),
    });
  }
  return packets;
}

/** The flow key of a packet. */
export function keyOf(frame: CapturedPacket, inPort: number = PORT_NONE): Int32Array<ArrayBuffer> {
  const key = new Int32Array(KEY_WORDS);
  const packet = packetOf(frame.bytes, inPort);
  packet.isL3 = frame.isL3;
  packet.ethType = frame.ethType ?? 0;
  extractKey(packet, key, 0);
  return key;
}

/** A descriptor over a copy of the bytes. */
function packetOf(bytes: Uint8Array, inPort: number): Packet {
  const copy = new Uint8Array(bytes);
  const packet = new Packet({ bytes: copy, view: new DataView(copy.buffer), address: 0 });
  packet.end = copy.length;
  packet.tailLimit = copy.length;
  packet.inPort = inPort;
  return packet;
}

/** A line for each packet; `explain` adds its fields in words. */
export function renderParsedPackets(packets: readonly ParsedPacket[], explain: boolean): string {
  const lines = packets.flatMap((packet) =>
    explain ? [packet.flow, ...explainFlow(packet.key)] : [packet.flow]
  );
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}
