/**
 * FTP (RFC 959 §3.3, RFC 2428): the control connection announces where data connections go: PORT and
 * EPRT by the client, the answers 227 and 229 to PASV and EPSV by the server. Each is expected, and where
 * the control connection is translated, the announcement is rewritten.
 *
 * A command counts only at the begin of a line, so the ends of lines are remembered as sequence numbers;
 * one that is cut in pieces can't be followed and is dropped, to come again in one piece. Only the
 * speaker's own address is accepted: else a server could open holes to third parties (FTP bounce).
 */
import type { Packet } from "../packet/packet.ts";
import type { HelperContext } from "./helpers.ts";
import {
  EXTENSION,
  EXTENSION_WORDS,
  ID,
  NAT_MASK,
  RECORD_WORDS,
  SEQ_ADJUST,
  STATUS,
} from "./layout.ts";
import { formatIpv6Words, parseIpv6Words } from "./ftp_addresses.ts";
import { INFO_ESTABLISHED } from "./nat.ts";
import { replacePayload } from "./payload.ts";
import { ctDrop } from "./reasons.ts";
import { HELPER_WORDS, noteGrowth } from "./sequence_adjust.ts";
import { T_DST, T_META, T_PORTS, T_SRC } from "./tuple.ts";

const HELPER_FAILED = ctDrop("ct-helper");
const TIMEOUT_MS = 300_000;
/** No announcement is longer than this. */
const LINE_MAX = 256;
/** Ports tried when the announced one is expected by somebody else. */
const PORTS_MAX = 128;
const NEWLINE = 10;

// Words that the helper keeps for each direction: how many line ends it remembers (up to 2), and these.
const LINES = 3;

const ANNOUNCEMENTS = [
  // The client's, then the server's.
  [
    { begin: /^PORT /i, whole: /^PORT +(\d+(?:,\d+){5})\r/i, form: "port" },
    { begin: /^EPRT /i, whole: /^EPRT +(([!-/:-~])([12])\2([0-9a-f:.]+)\2(\d+)\2)/i, form: "eprt" },
  ],
  [
    { begin: /^227 /, whole: /^227 [^0-9\r\n]*(\d+(?:,\d+){5})/, form: "port" },
    {
      begin: /^229 /,
      whole: /^229 [^(\r\n]*\((([!-/:-~])\2\2(\d+)\2)\)/,
      form: "epsv",
    },
  ],
] as const;

/** What a line announces: the text of address and port, where it lies in the line, and what it says. */
interface Announcement {
  readonly form: "port" | "eprt" | "epsv";
  readonly text: string;
  readonly at: number;
  readonly delimiter: string;
  /** As in a tuple; undefined: the speaker's own. */
  readonly address: readonly number[] | undefined;
  readonly port: number;
}

/** Reads a segment from `side` of a control connection. Returns as {@link import("./helpers.ts").Helpers.run}. */
export function readFtp(
  context: HelperContext,
  packet: Packet,
  l4At: number,
  record: number,
  side: number,
  info: number,
): number {
  // Nothing to read until both sides have spoken.
  if (info !== INFO_ESTABLISHED || l4At + 20 > packet.end) return 0;
  const { view } = packet;
  const dataAt = l4At + ((view.getUint8(l4At + 12) & 0xf0) >>> 2);
  const size = packet.end - dataAt;
  if (size <= 0) return 0;
  const { table } = context;
  const extension = table.records[record * RECORD_WORDS + EXTENSION]!;
  if (extension === 0) return 0;
  const lines = extension * EXTENSION_WORDS + HELPER_WORDS + side * LINES;
  const sequence = view.getInt32(l4At + 4);
  let result = 0;
  const endsLine = view.getUint8(packet.end - 1) === NEWLINE;
  if (isLineBegin(table.extensions, lines, sequence)) {
    result = readLine(context, packet, l4At, dataAt, record, side);
    if (result > 0) return result;
  }
  if (endsLine) rememberLine(table.extensions, lines, (sequence + size) | 0);
  return result;
}

function isLineBegin(words: Int32Array, at: number, sequence: number): boolean {
  const count = words[at]!;
  return count > 0 && words[at + 1] === sequence || count > 1 && words[at + 2] === sequence;
}

function rememberLine(words: Int32Array, at: number, sequence: number): void {
  if (isLineBegin(words, at, sequence)) return;
  words[at + 2] = words[at + 1]!;
  words[at + 1] = sequence;
  words[at] = Math.min(2, words[at]! + 1);
}

function readLine(
  context: HelperContext,
  packet: Packet,
  l4At: number,
  dataAt: number,
  record: number,
  side: number,
): number {
  const { view } = packet;
  const first = view.getUint8(dataAt) | 0x20;
  // "p", "e" of the client, "2" of the server.
  if (side === 0 ? first !== 0x70 && first !== 0x65 : first !== 0x32) return 0;
  let line = "";
  const end = Math.min(packet.end, dataAt + LINE_MAX);
  for (let at = dataAt; at < end; at++) {
    const byte = view.getUint8(at);
    if (byte === NEWLINE) {
      line += "\n";
      break;
    }
    line += String.fromCharCode(byte);
  }
  const announcement = parseLine(line, side, context.tuple[T_META]! & 0xff);
  if (announcement === "none") return 0;
  if (announcement === "partial") return HELPER_FAILED;
  return expect(context, packet, l4At, dataAt, record, side, announcement);
}

function parseLine(line: string, side: number, family: number): Announcement | "none" | "partial" {
  for (const { begin, whole, form } of ANNOUNCEMENTS[side === 0 ? 0 : 1]) {
    if (!begin.test(line)) continue;
    const found = whole.exec(line);
    if (found === null) return line.endsWith("\n") ? "none" : "partial";
    const text = found[1]!;
    const at = found.index + found[0].indexOf(text);
    if (form === "port") {
      const numbers = text.split(",").map(Number);
      if (family !== 4 || numbers.some((number) => number > 255)) return "none";
      const [a, b, c, d, high, low] = numbers as [number, number, number, number, number, number];
      const address = [0, 0, 0, a << 24 | b << 16 | c << 8 | d];
      return announce({ form, text, at, delimiter: "", address, port: high << 8 | low });
    }
    if (form === "epsv") {
      const port = Number(found[3]);
      return announce({ form, text, at, delimiter: found[2]!, address: undefined, port });
    }
    if (found[3] !== (family === 4 ? "1" : "2")) return "none";
    const address = family === 4 ? parseIpv4Words(found[4]!) : parseIpv6Words(found[4]!);
    if (address === undefined) return "none";
    return announce({ form, text, at, delimiter: found[2]!, address, port: Number(found[5]) });
  }
  return "none";
}

function announce(announcement: Announcement): Announcement | "none" {
  return announcement.port > 0 && announcement.port < 65536 ? announcement : "none";
}

function parseIpv4Words(text: string): number[] | undefined {
  const numbers = text.split(".").map(Number);
  if (numbers.length !== 4 || numbers.some((number) => !(number >= 0 && number <= 255))) {
    return undefined;
  }
  return [0, 0, 0, numbers.reduce((value, byte) => value << 8 | byte, 0)];
}

/** Expects the announced connection, and rewrites the announcement if addresses are translated. */
function expect(
  context: HelperContext,
  packet: Packet,
  l4At: number,
  dataAt: number,
  record: number,
  side: number,
  announcement: Announcement,
): number {
  const { table, expectations, expectation, tuple, other } = context;
  const { records, extensions } = table;
  const at = record * RECORD_WORDS;
  const { address, port } = announcement;
  if (address?.some((word, index) => word !== tuple[T_SRC + index])) return 0;
  const isTranslated = (records[at + STATUS]! & NAT_MASK) !== 0;
  expectation.master = record;
  expectation.masterId = records[at + ID]!;
  expectation.side = side;
  expectation.savedPort = port;
  expectation.followsNat = isTranslated;
  expectation.helper = 0;
  expectation.timeoutMs = TIMEOUT_MS;
  // The other side connects to where this side seems to be.
  expectation.tuple.set(other);
  for (let word = 0; word < 4; word++) expectation.savedAddress[word] = tuple[T_SRC + word]!;
  let chosen = port;
  expectation.tuple[T_PORTS] = chosen;
  if (isTranslated) {
    for (let tries = 0; expectations.isTaken(expectation, table.now); tries++) {
      if (tries === PORTS_MAX) return HELPER_FAILED;
      chosen = 1024 + (chosen - 1023) % 64512;
      expectation.tuple[T_PORTS] = chosen;
    }
  }
  expectations.add(expectation, table.now);
  if (!isTranslated) return 0;
  const text = formatAnnouncement(announcement, other, chosen);
  if (text === announcement.text) return 0;
  const growth = text.length - announcement.text.length;
  const place = dataAt + announcement.at;
  if (!replacePayload(packet, l4At, place, announcement.text.length, text)) return HELPER_FAILED;
  if (growth !== 0) {
    const extension = records[at + EXTENSION]!;
    noteGrowth(extensions, extension, side, packet.view.getInt32(l4At + 4), growth);
    records[at + STATUS] = records[at + STATUS]! | SEQ_ADJUST;
  }
  return -1;
}

function formatAnnouncement(announcement: Announcement, other: Int32Array, port: number): string {
  const { form, delimiter } = announcement;
  if (form === "epsv") return `${delimiter.repeat(3)}${port}${delimiter}`;
  const word = other[T_DST + 3]!;
  const bytes = [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255];
  if (form === "port") return [...bytes, port >>> 8, port & 255].join(",");
  const isIpv4 = (other[T_META]! & 0xff) === 4;
  const address = isIpv4 ? bytes.join(".") : formatIpv6Words(other, T_DST);
  return ["", isIpv4 ? "1" : "2", address, String(port), ""].join(delimiter);
}
