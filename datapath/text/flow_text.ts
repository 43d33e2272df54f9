/**
 * Flows as text, in the syntax of ovs-dpctl: `in_port(1),eth(),eth_type(0x0800),ipv4(proto=6)`.
 *
 * Text *completes* the key: an attribute that eth_type or the protocol implies and that is not
 * written counts as written with everything wildcarded, `eth()` always. All else is as in the
 * kernel: without vlan() only untagged frames match, without recirc_id() or in_port() any does.
 * Masks that the kernel silently makes exact (eth_type, in_port) are exact here too.
 */
import type { Attribute } from "../fields/field_types.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import {
  attributeNamed,
  ENCAP,
  PACKET_TYPE,
  VLAN_LEVEL_SIZE,
  VLAN_LEVELS_MAX,
} from "../fields/fields.ts";
import {
  ETH_P_802_2,
  ETH_TYPE_AT,
  IN_PORT_AT,
  KEY_SIZE,
  KEY_WORDS,
  L3_PACKET,
  PORT_NONE,
  TCP_FLAGS_AT,
} from "../key.ts";
import { isInKey, isSelected } from "../fields/layers.ts";
import {
  failOpen,
  formatAttribute,
  isAttributeWildcarded,
  scanAttribute,
} from "./attribute_text.ts";
import { type PortNames, scanEtherType } from "./field_text.ts";
import type { MatchBytes } from "./number_text.ts";
import {
  finishPacketType,
  formatPacketType,
  type PacketType,
  scanPacketType,
} from "./packet_type_text.ts";
import { CLOSE, OPEN, Scanner } from "./scanner.ts";
import { scanUfid } from "./ufid_text.ts";
import { formatUnknown, scanNumbered, type UnknownAttribute } from "./unknown_text.ts";
import { finishLevel, formatTag, type Level, scanVlan, VLAN } from "./vlan_text.ts";

export type { PortNames } from "./field_text.ts";

export interface ParsedFlow {
  /** 32 hexadecimal digits, when the text began with `ufid:`. */
  ufid?: string;
  /** KEY_WORDS words, as written: bits outside the mask are not cleared. */
  key: Int32Array<ArrayBuffer>;
  /** KEY_WORDS words. */
  mask: Int32Array<ArrayBuffer>;
  /** Attributes of other versions, if the caller keeps them and there are any. */
  unknown?: readonly UnknownAttribute[];
}

export interface FlowTextOptions {
  readonly names?: PortNames | undefined;
  /** Which attributes there are. */
  readonly table?: FieldTable | undefined;
}

export interface ParseOptions extends FlowTextOptions {
  /** Keep `keyN(…)` of attributes that the table does not have; else they are refused. */
  readonly keepUnknown?: boolean | undefined;
}

export interface FormatOptions extends FlowTextOptions {
  /** Wildcarded fields too. */
  readonly verbose?: boolean | undefined;
  /** Printed last. */
  readonly unknown?: readonly UnknownAttribute[] | undefined;
}

const ETH = attributeNamed("eth");
const ETH_TYPE = attributeNamed("eth_type");

/**
 * What Open vSwitch's verbose form leaves out when it is wildcarded: the packets' datapath attributes
 * do not have it, or it would not read back.
 */
const NEVER_WILDCARDED: ReadonlySet<string> = new Set([
  "tunnel",
  "ct_tuple4",
  "ct_tuple6",
  "eth_type",
  "nsh",
  "tcp_flags",
  "nd_ext",
  "ipv6_exthdrs",
]);

/** Netlink has 14 bits for the number of an attribute. */
const KEY_NUMBER_MAX = 0x3fff;

interface FlowParse {
  readonly scanner: Scanner;
  readonly into: MatchBytes;
  readonly names: PortNames | undefined;
  readonly table: FieldTable;
  /** Where each attribute stands, by its index in the table. */
  readonly seenAt: Int32Array;
  readonly levels: Level[];
  ufid: string | undefined;
  packetType: PacketType | undefined;
  /** Undefined: not kept. */
  readonly unknown: UnknownAttribute[] | undefined;
}

/**
 * Parses a flow. Throws FlowSyntaxError; what it returns satisfies validate.ts's checkFlow, but for
 * what only that knows: combinations that no packet has.
 */
export function parseFlow(text: string, options: ParseOptions = {}): ParsedFlow {
  const key = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  const into = { key: new Uint8Array(key.buffer), mask: new Uint8Array(mask.buffer) };
  const table = options.table ?? FIELDS;
  write16(into.key, IN_PORT_AT, PORT_NONE);
  write16(into.key, ETH_TYPE_AT, ETH_P_802_2);
  const parse: FlowParse = {
    scanner: new Scanner(text),
    into,
    names: options.names,
    table,
    seenAt: new Int32Array(table.attributes.length).fill(-1),
    levels: [],
    ufid: undefined,
    packetType: undefined,
    unknown: options.keepUnknown ? [] : undefined,
  };
  scanLevel(parse, 0, -1);
  finishPacket(parse);
  for (let level = 0; level < VLAN_LEVELS_MAX; level++) finishLevel(parse, level);
  checkRequirements(parse);
  const flow: ParsedFlow = { key, mask };
  if (parse.ufid !== undefined) flow.ufid = parse.ufid;
  if (parse.unknown !== undefined && parse.unknown.length > 0) flow.unknown = parse.unknown;
  return flow;
}

function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

/** Reads attributes up to the end, or up to the parenthesis that closes encap's at `openAt`. */
function scanLevel(parse: FlowParse, level: number, openAt: number): void {
  const scanner = parse.scanner;
  parse.levels.push({ ethTypeAt: -1, ethType: 0, ethTypeMask: 0, vlanAt: -1, encapAt: -1 });
  for (;;) {
    scanner.skipSeparators();
    if (scanner.ended) {
      if (level === 0) return;
      failOpen(scanner, openAt, ENCAP.name);
    }
    if (level > 0 && scanner.take(CLOSE)) return;
    const from = scanner.at;
    const name = scanner.word();
    const attribute = parse.table.byName(name);
    if (attribute === undefined) {
      scanSpecial(parse, level, from, name);
    } else if (attribute === ETH_TYPE) {
      scanLevelEthType(parse, level, from);
    } else if (attribute === VLAN) {
      scanVlan(parse, level, from);
    } else {
      const index = parse.table.indexOf(attribute);
      if (parse.seenAt[index]! >= 0) scanner.fail(from, `${name}() stands twice`);
      parse.seenAt[index] = from;
      scanAttribute(scanner, attribute, parse.into, { offset: 0, names: parse.names });
    }
  }
}

/** What is not in the table: encap(), ufid:, packet_type() and keyN(). */
function scanSpecial(parse: FlowParse, level: number, from: number, name: string): void {
  const scanner = parse.scanner;
  if (name === ENCAP.name) return scanEncap(parse, level, from);
  if (name === PACKET_TYPE.name) {
    if (level > 0) scanner.fail(from, "packet_type() can't stand in encap()");
    if (parse.packetType !== undefined) scanner.fail(from, "packet_type() stands twice");
    parse.packetType = scanPacketType(scanner, from);
    return;
  }
  if (name === "ufid") {
    if (scanner.text[scanner.at] !== ":") {
      scanner.fail(scanner.at, 'expected ":" and a UUID after ufid');
    }
    if (parse.ufid !== undefined || level > 0) scanner.fail(from, "ufid: may stand only once");
    parse.ufid = scanUfid(scanner);
    return;
  }
  if (name === "") {
    scanner.fail(from, `expected a field such as in_port(1), not "${scanner.text[from]}"`);
  }
  if (/^key[0-9]+$/.test(name)) return scanKey(parse, from, name);
  const names = [...parse.table.attributes.map((each) => each.name), ENCAP.name, PACKET_TYPE.name];
  scanner.unknown(from, "field", name, [...names, "ufid"]);
}

/** `keyN(…)`: bytes of an attribute for which Open vSwitch has no name. We may have one. */
function scanKey(parse: FlowParse, from: number, name: string): void {
  const { scanner, table, into } = parse;
  const number = Number(name.slice(3));
  const attribute = table.byNumber(number);
  if (number === ENCAP.number) scanner.fail(from, `${name} is encap: write encap(…)`);
  if (attribute === undefined && (parse.unknown === undefined || number > KEY_NUMBER_MAX)) {
    scanner.fail(from, `no attribute with the number ${name.slice(3)} is known`);
  }
  if (parse.unknown?.some((each) => each.number === number)) {
    scanner.fail(from, `${name}() stands twice`);
  }
  if (attribute !== undefined) {
    const index = table.indexOf(attribute);
    if (parse.seenAt[index]! >= 0) scanner.fail(from, `${attribute.name}() stands twice`);
    parse.seenAt[index] = from;
  }
  const unknown = scanNumbered(scanner, from, name, { attribute, into });
  if (unknown !== undefined) parse.unknown!.push(unknown);
}

/** Whether the packets have an Ethernet header; every flow says it. */
function finishPacket(parse: FlowParse): void {
  const { scanner, into, packetType } = parse;
  into.mask[TCP_FLAGS_AT]! |= L3_PACKET >> 8;
  if (packetType === undefined) return;
  const level = parse.levels[0]!;
  const isEthernet = finishPacketType(scanner, packetType, level);
  if (isEthernet) return;
  const ethAt = parse.seenAt[parse.table.indexOf(ETH)]!;
  if (ethAt >= 0) scanner.fail(ethAt, "eth() can't stand beside packet_type(ns=1)");
  if (level.vlanAt >= 0) scanner.fail(level.vlanAt, "vlan() can't stand beside packet_type(ns=1)");
  into.key[TCP_FLAGS_AT]! |= L3_PACKET >> 8;
}

function scanEncap(parse: FlowParse, level: number, from: number): void {
  const scanner = parse.scanner;
  const openAt = scanner.at;
  scanner.expect(OPEN, "after encap");
  const here = parse.levels[level]!;
  if (here.encapAt >= 0) scanner.fail(from, "encap() stands twice");
  here.encapAt = from;
  if (level >= VLAN_LEVELS_MAX) {
    scanner.fail(from, `a flow can match at most ${VLAN_LEVELS_MAX} VLAN tags`);
  }
  scanLevel(parse, level + 1, openAt);
}

function scanLevelEthType(parse: FlowParse, level: number, from: number): void {
  const scanner = parse.scanner;
  const here = parse.levels[level]!;
  if (here.ethTypeAt >= 0) scanner.fail(from, "eth_type() stands twice");
  const openAt = scanner.at;
  scanner.expect(OPEN, "after eth_type");
  const type = scanEtherType(scanner);
  if (scanner.ended) failOpen(scanner, openAt, "eth_type");
  scanner.expect(CLOSE, "behind the value of eth_type");
  here.ethTypeAt = from;
  here.ethType = type.value;
  here.ethTypeMask = type.mask;
}

function checkRequirements(parse: FlowParse): void {
  const { scanner, into, seenAt, table } = parse;
  for (let index = 0; index < seenAt.length; index++) {
    if (seenAt[index]! < 0) continue;
    const attribute = table.attributes[index]!;
    if (attribute.requires === undefined) continue;
    const fits = isAttributeWildcarded(attribute, into.mask)
      ? isInKey(attribute, into.key)
      : isSelected(attribute, into.key, into.mask);
    if (!fits) failRequirement(scanner, seenAt[index]!, attribute);
  }
}

function failRequirement(scanner: Scanner, at: number, attribute: Attribute): never {
  const fragment = attribute.requires!.protocol === undefined ? "" : ", and not frag=later";
  scanner.fail(
    at,
    `${attribute.name}() needs ${attribute.requires!.text} beside it, without a mask${fragment}`,
  );
}

/**
 * Text of a flow in the order of Open vSwitch 3.2 and later: eth() always where there is an Ethernet
 * header, other attributes when a bit of them is matched. `verbose`: wildcarded fields too.
 */
export function formatFlow(
  key: Int32Array,
  mask: Int32Array,
  options: FormatOptions = {},
): string {
  const match = {
    key: new Uint8Array(key.buffer, key.byteOffset, KEY_SIZE),
    mask: new Uint8Array(mask.buffer, mask.byteOffset, KEY_SIZE),
  };
  const context = { offset: 0, names: options.names, verbose: options.verbose ?? false };
  const isL3 =
    (read16(match.key, TCP_FLAGS_AT) & read16(match.mask, TCP_FLAGS_AT) & L3_PACKET) !== 0;
  let text = "";
  let closing = "";
  for (const attribute of (options.table ?? FIELDS).attributes) {
    if (attribute === VLAN) {
      for (let level = 0; level < VLAN_LEVELS_MAX; level++) {
        const tag = formatTag(match, { ...context, offset: level * VLAN_LEVEL_SIZE });
        if (tag === "") break;
        text += tag;
        closing += ")";
      }
      continue;
    }
    const isHead = attribute === ETH;
    if (!isHead && !isShown(attribute, match, context.verbose)) continue;
    // Behind encap's parenthesis no comma is wanted.
    if (text !== "" && !text.endsWith("(")) text += ",";
    text += isHead && isL3 ? formatPacketType(match) : formatAttribute(attribute, match, context);
  }
  return text + closing + formatUnknown(options.unknown ?? []);
}

function isShown(attribute: Attribute, match: MatchBytes, verbose: boolean): boolean {
  if (!isSelected(attribute, match.key, match.mask)) return false;
  if (!isAttributeWildcarded(attribute, match.mask)) return true;
  return verbose && !NEVER_WILDCARDED.has(attribute.name);
}
