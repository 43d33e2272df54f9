/** Captures of what crosses a device, and what tshark makes of them. */
import assert from "node:assert/strict";
import type { Lab, Namespace } from "./lab.ts";
import { eventually } from "./process.ts";
import { sendFrames } from "./traffic.ts";

/** To a made-up address, with an Ethernet type for experiments (IEEE 802). */
const MARK_HEADER = "0200000000ee" + "0200000000ef" + "88b5";

/**
 * A capture of what crosses a namespace's device while `during` runs; its file. At the end a frame is
 * sent from the device: the kernel shows frames in order, so when this one is in the file, so is
 * everything before it.
 */
export async function captured(
  lab: Lab,
  where: Namespace,
  during: () => Promise<void>,
  device = "eth0",
): Promise<string> {
  const mark = crypto.randomUUID();
  const file = `${lab.folder}/${mark}.pcap`;
  const command = ["tcpdump", "-U", "--immediate-mode", "-i", device, "-w", file, "-Z", "root"];
  const child = where.start([...command, "-B", "16384"]);
  await eventually("tcpdump has begun", () => sizeOf(file) > 0);
  await during();
  const payload = new TextEncoder().encode(mark.padEnd(46)).toHex();
  assert.equal(await sendFrames(where, [MARK_HEADER + payload], device), 1);
  await eventually("tcpdump has written all", () => {
    const bytes = Deno.readFileSync(file);
    return new TextDecoder("latin1").decode(bytes.subarray(-4096)).includes(mark);
  });
  child.kill("SIGTERM");
  await child.status;
  return file;
}

/** Every checksum is looked at; TCP's retransmissions are not our business. */
const PREFERENCES: readonly string[] = [
  "ip.check_checksum:TRUE",
  "udp.check_checksum:TRUE",
  "tcp.check_checksum:TRUE",
  "tcp.analyze_sequence_numbers:FALSE",
];

/** Stands between the values of a field; no text has it. */
const AGGREGATOR = "\x1f";
/** What hosts say to each other is noise; tshark would guess at protocols, and find them damaged. */
const PAYLOADS = ["tcp.port==1-65535,data", "udp.port==5201,data"];
/** _ws.expert.severity of a warning; an error has more. */
const WARNING = 0x60_0000;
/** _ws.expert.group of what TCP does when packets are late or connections end: no fault of a packet. */
const SEQUENCE = 0x200_0000;

/** Field name → its values, the outermost header's first; none: it isn't in the packet. */
export type DecodedPacket = Readonly<Record<string, readonly string[]>>;

/**
 * Fields of the packets of a capture that a display filter lets through. `decodeAs`: words of
 * tshark's -d.
 */
export async function decoded(
  where: Namespace,
  file: string,
  query: {
    readonly filter: string;
    readonly fields: readonly string[];
    readonly decodeAs?: readonly string[];
  },
): Promise<DecodedPacket[]> {
  const { filter, fields, decodeAs = [] } = query;
  const checks = PREFERENCES.flatMap((preference) => ["-o", preference]);
  const known = decodeAs.flatMap((rule) => ["-d", rule]);
  const columns = fields.flatMap((field) => ["-e", field]);
  const form = ["-T", "fields", "-E", `aggregator=${AGGREGATOR}`, ...columns];
  const command = ["tshark", "-n", "-r", file, ...checks, ...known, "-Y", filter, ...form];
  const { stdout } = await where.run(command);
  return stdout.split("\n").filter((line) => line !== "").map((line) => {
    const texts = line.split("\t");
    const values = (text = ""): string[] => text === "" ? [] : text.split(AGGREGATOR);
    return Object.fromEntries(fields.map((field, at) => [field, values(texts[at])]));
  });
}

/** What tshark warns of or calls an error (a wrong checksum is one): packet, its protocols, message. */
export async function complaints(
  where: Namespace,
  file: string,
  decodeAs: readonly string[] = [],
): Promise<string[]> {
  const expert = ["_ws.expert.severity", "_ws.expert.group", "_ws.expert.message"] as const;
  const packets = await decoded(where, file, {
    filter: "_ws.expert || _ws.malformed",
    fields: ["frame.number", "frame.protocols", ...expert],
    decodeAs: [...PAYLOADS, ...decodeAs],
  });
  return packets.flatMap((packet) => {
    const [severities = [], groups = [], messages = []] = expert.map((field) => packet[field]);
    return messages.filter((_, at) =>
      Number(severities[at]) >= WARNING && Number(groups[at]) !== SEQUENCE
    ).map((message) => `${packet["frame.number"]} ${packet["frame.protocols"]}: ${message}`);
  });
}

/** Bytes; 0 if there is no such file. */
function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch {
    return 0;
  }
}
