/**
 * FTP (RFC 959 §3.3, RFC 2428): the control connection announces where data connections go: PORT and
 * EPRT by the client, the answers 227 and 229 to PASV and EPSV by the server. Each is expected, and where
 * the control connection is translated, the announcement is rewritten.
 *
 * A command counts only at the begin of a line, so the ends of lines are remembered as sequence numbers;
 * one that is cut in pieces can't be followed and is dropped, to come again in one piece, and so is one
 * that can't be read (nf_conntrack_ftp.c, find_pattern). Only the speaker's own address is accepted:
 * else a server could open holes to third parties (FTP bounce).
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
const LINE_MAX = 1024;
/** Ports tried when the announced one is expected by somebody else. */
const PORTS_MAX = 128;
const NEWLINE = 10;

// Words that the helper keeps for each direction: how many line ends it remembers (up to 2), and these.
const LINES = 3;

/** What announcements begin with, in small letters, and which character the numbers follow, "": the first digit. */
const ANNOUNCEMENTS = [
  // The client's, then the server's.
  [{ begin: "port", skip: " ", form: "port" }, { begin: "eprt", skip: " ", form: "eprt" }],
  [{ begin: "227 ", skip: "", form: "port" }, { begin: "229 ", skip: "(", form: "epsv" }],
] as const;
const BEGIN_SIZE = 4;

/** Six numbers and what ends them: a client's line, whatever else in an answer. */
const SIX_OF_CLIENT = /^(\d*(?:,\d*){5})\r/;
const SIX_OF_SERVER = /^(\d*(?:,\d*){5})[^\d,]/;
const EXTENDED = /^(([!-/:-~])([12])\2([0-9a-f:.]+)\2(\d+)\2)/i;
const EXTENDED_PORT = /^(([!-/:-~])\2\2(\d+)\2)/;

/** What a line announces: the text of address and port, where it lies in the line, and what it says. */
interface Announcement {
  readonly form: "port" | "eprt" | "epsv";
  readonly text: string;
  readonly at: number;
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
    line += String.fromCharCode(view.getUint8(at));
  }
  const announcement = parseLine(line, side, context.tuple[T_META]! & 0xff);
  if (announcement === "none") return 0;
  if (announcement === "partial") return HELPER_FAILED;
  return expect(context, packet, l4At, dataAt, record, side, announcement);
}

/** "partial": it begins like an announcement and can't be read as one. */
function parseLine(line: string, side: number, family: number): Announcement | "none" | "partial" {
  const head = line.slice(0, BEGIN_SIZE).toLowerCase();
  for (const { begin, skip, form } of ANNOUNCEMENTS[side === 0 ? 0 : 1]) {
    if (!begin.startsWith(head)) continue;
    if (line.length <= BEGIN_SIZE) return "partial";
    const rest = line.slice(BEGIN_SIZE);
    const skipped = skip === "" ? rest.search(/\d/) : rest.indexOf(skip);
    if (skipped < 0) return "partial";
    const at = BEGIN_SIZE + skipped + skip.length;
    const numbers = line.slice(at);
    if (form === "port") return readPort(numbers, at, side === 0 ? SIX_OF_CLIENT : SIX_OF_SERVER);
    return form === "epsv" ? readEpsv(numbers, at) : readEprt(numbers, at, family);
  }
  return "none";
}

function readPort(numbers: string, at: number, form: RegExp): Announcement | "partial" {
  const text = form.exec(numbers)?.[1];
  if (text === undefined) return "partial";
  const parts = text.split(",").map(Number) as [number, number, number, number, number, number];
  const [a, b, c, d, high, low] = parts;
  const address = [0, 0, 0, a << 24 | b << 16 | c << 8 | d];
  return { form: "port", text, at, address, port: (high << 8 | low) & 0xffff };
}

function readEpsv(numbers: string, at: number): Announcement | "partial" {
  const [, text = "", , digits = ""] = EXTENDED_PORT.exec(numbers) ?? [];
  const port = Number(digits) & 0xffff;
  if (port === 0) return "partial";
  return { form: "epsv", text, at, address: undefined, port };
}

function readEprt(numbers: string, at: number, family: number): Announcement | "partial" {
  const [, text = "", , kind, host = "", digits = ""] = EXTENDED.exec(numbers) ?? [];
  const address = family === 4 ? parseIpv4Words(host) : parseIpv6Words(host);
  const port = Number(digits) & 0xffff;
  if (kind !== (family === 4 ? "1" : "2") || address === undefined || port === 0) return "partial";
  return { form: "eprt", text, at, address, port };
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

/** As nf_nat_ftp writes it: extended ones always with bars, IPv6 addresses with all their digits. */
function formatAnnouncement({ form }: Announcement, other: Int32Array, port: number): string {
  if (form === "epsv") return `|||${port}|`;
  const word = other[T_DST + 3]!;
  const bytes = [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255];
  if (form === "port") return [...bytes, port >>> 8, port & 255].join(",");
  const isIpv4 = (other[T_META]! & 0xff) === 4;
  return isIpv4 ? `|1|${bytes.join(".")}|${port}|` : `|2|${formatIpv6Words(other, T_DST)}|${port}|`;
}
