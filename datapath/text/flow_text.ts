/**
 * Flows as text, in the syntax of ovs-dpctl: `in_port(1),eth(),eth_type(0x0800),ipv4(proto=6)`.
 *
 * Text *completes* the key: an attribute that eth_type or the protocol implies and that is not
 * written counts as written with everything wildcarded, `eth()` always. All else is as in the
 * kernel: without vlan() only untagged frames match, without recirc_id() or in_port() any does.
 * Masks that the kernel silently makes exact (eth_type, in_port) are exact here too.
 */
import {
  type Attribute,
  ATTRIBUTE_INDEX,
  attributeByName,
  attributeNamed,
  ATTRIBUTES,
  ENCAP,
  ETH_P_8021AD,
  ETH_P_8021Q,
  LATER_ATTRIBUTES,
  VLAN_LEVEL_SIZE,
  VLAN_LEVELS_MAX,
} from "../fields.ts";
import {
  ETH_P_802_2,
  ETH_TYPE_AT,
  IN_PORT_AT,
  KEY_SIZE,
  KEY_WORDS,
  PORT_NONE,
  VLAN_PRESENT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "../key.ts";
import { isInKey, isSelected } from "../layers.ts";
import {
  failOpen,
  formatAttribute,
  isAttributeWildcarded,
  scanAttribute,
} from "./attribute_text.ts";
import { type MatchBytes, type PortNames, scanEtherType } from "./field_text.ts";
import { CLOSE, OPEN, Scanner } from "./scanner.ts";
import { scanUfid } from "./ufid_text.ts";

export type { PortNames } from "./field_text.ts";

export interface ParsedFlow {
  /** 32 hexadecimal digits, when the text began with `ufid:`. */
  ufid?: string;
  /** KEY_WORDS words, as written: bits outside the mask are not cleared. */
  key: Int32Array<ArrayBuffer>;
  /** KEY_WORDS words. */
  mask: Int32Array<ArrayBuffer>;
}

const ETH = attributeNamed("eth");
const VLAN = attributeNamed("vlan");
const ETH_TYPE = attributeNamed("eth_type");
const TCP_FLAGS = attributeNamed("tcp_flags");

/** What stands between one pair of encap's parentheses, or outside of them. Positions: −1 = absent. */
interface Level {
  ethTypeAt: number;
  ethType: number;
  ethTypeMask: number;
  vlanAt: number;
  encapAt: number;
}

interface FlowParse {
  readonly scanner: Scanner;
  readonly into: MatchBytes;
  readonly names: PortNames | undefined;
  /** Where each attribute stands, by its index in ATTRIBUTES. */
  readonly seenAt: Int32Array;
  readonly levels: Level[];
  ufid: string | undefined;
}

/** Parses a flow. Throws FlowSyntaxError; what it returns satisfies validate.ts's checkFlow. */
export function parseFlow(
  text: string,
  options: { readonly names?: PortNames | undefined } = {},
): ParsedFlow {
  const key = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  const into = { key: new Uint8Array(key.buffer), mask: new Uint8Array(mask.buffer) };
  write16(into.key, IN_PORT_AT, PORT_NONE);
  write16(into.key, ETH_TYPE_AT, ETH_P_802_2);
  const parse: FlowParse = {
    scanner: new Scanner(text),
    into,
    names: options.names,
    seenAt: new Int32Array(ATTRIBUTES.length).fill(-1),
    levels: [],
    ufid: undefined,
  };
  scanLevel(parse, 0, -1);
  for (let level = 0; level < VLAN_LEVELS_MAX; level++) finishLevel(parse, level);
  checkRequirements(parse);
  return parse.ufid === undefined ? { key, mask } : { ufid: parse.ufid, key, mask };
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
    const attribute = attributeByName(name);
    if (attribute === undefined) {
      scanSpecial(parse, level, from, name);
    } else if (attribute === ETH_TYPE) {
      scanLevelEthType(parse, level, from);
    } else if (attribute === VLAN) {
      scanVlan(parse, level, from);
    } else {
      const index = ATTRIBUTE_INDEX.get(attribute)!;
      if (parse.seenAt[index]! >= 0) scanner.fail(from, `${name}() stands twice`);
      parse.seenAt[index] = from;
      scanAttribute(scanner, attribute, parse.into, { offset: 0, names: parse.names });
    }
  }
}

/** What is not in the table: ufid:, encap(), and attributes that this version can't match. */
function scanSpecial(parse: FlowParse, level: number, from: number, name: string): void {
  const scanner = parse.scanner;
  if (name === ENCAP.name) return scanEncap(parse, level, from);
  if (name === "ufid" && scanner.text[scanner.at] === ":") {
    if (parse.ufid !== undefined || level > 0) scanner.fail(from, "ufid: may stand only once");
    parse.ufid = scanUfid(scanner);
    return;
  }
  if (name === "") {
    scanner.fail(from, `expected a field such as in_port(1), not "${scanner.text[from]}"`);
  }
  if (LATER_ATTRIBUTES.has(name)) return skipUnsupported(scanner, from, name);
  const names = [...ATTRIBUTES.map((each) => each.name), ENCAP.name, "ufid"];
  scanner.unknown(from, "field", name, names);
}

/** Takes an attribute that this version can't match if it says nothing, as in dumps of Open vSwitch. */
function skipUnsupported(scanner: Scanner, from: number, name: string): void {
  if (scanner.peek() === OPEN) {
    const close = scanner.text.indexOf(")", scanner.at);
    const inside = scanner.text.slice(scanner.at + 1, close < 0 ? undefined : close);
    const isEthernet = name === "packet_type" && inside === "ns=0,id=0";
    if (close >= 0 && (isEthernet || inside === "0/0")) {
      scanner.at = close + 1;
      return;
    }
  }
  scanner.fail(from, `this version can't match on ${name} yet`);
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

function scanVlan(parse: FlowParse, level: number, from: number): void {
  const { scanner, into } = parse;
  const here = parse.levels[level]!;
  if (here.vlanAt >= 0) scanner.fail(from, "vlan() stands twice");
  here.vlanAt = from;
  if (level >= VLAN_LEVELS_MAX) {
    scanner.fail(from, `a flow can match at most ${VLAN_LEVELS_MAX} VLAN tags`);
  }
  const offset = level * VLAN_LEVEL_SIZE;
  write16(into.key, VLAN_TCI_AT + offset, VLAN_PRESENT);
  write16(into.mask, VLAN_TCI_AT + offset, VLAN_PRESENT);
  scanAttribute(scanner, VLAN, into, { offset, names: undefined });
  const present = read16(into.key, VLAN_TCI_AT + offset) &
    read16(into.mask, VLAN_TCI_AT + offset) & VLAN_PRESENT;
  if (present === 0) {
    scanner.fail(from, "vlan() can't match cfi=0: the bit says that there is a tag; leave cfi out");
  }
}

/** Writes the type and the tag of one level, or, where there is none, that there must be no tag. */
function finishLevel(parse: FlowParse, level: number): void {
  const { scanner, into } = parse;
  const offset = level * VLAN_LEVEL_SIZE;
  const here = parse.levels[level];
  if (here === undefined || !isTagged(scanner, here)) {
    write16(into.mask, VLAN_TCI_AT + offset, 0xffff);
    if (here !== undefined) writeEthType(into, here);
    return;
  }
  write16(into.key, VLAN_TPID_AT + offset, here.ethType);
  write16(into.mask, VLAN_TPID_AT + offset, 0xffff);
  const inner = parse.levels[level + 1];
  if (level + 1 === VLAN_LEVELS_MAX && inner !== undefined) {
    if (isTagged(scanner, inner)) {
      scanner.fail(inner.ethTypeAt, `a flow can match at most ${VLAN_LEVELS_MAX} VLAN tags`);
    }
    writeEthType(into, inner);
  }
}

function writeEthType(into: MatchBytes, level: Level): void {
  if (level.ethTypeAt < 0) return;
  write16(into.key, ETH_TYPE_AT, level.ethType);
  if (level.ethTypeMask !== 0) write16(into.mask, ETH_TYPE_AT, 0xffff);
}

/** Whether a level has a tag. Fails if it has only parts of one. */
function isTagged(scanner: Scanner, level: Level): boolean {
  const type = level.ethTypeAt < 0 ? 0 : level.ethType;
  if (type !== ETH_P_8021Q && type !== ETH_P_8021AD) {
    const needs = "needs eth_type(0x8100) or eth_type(0x88a8) beside it";
    if (level.vlanAt >= 0) scanner.fail(level.vlanAt, `vlan() ${needs}`);
    if (level.encapAt >= 0) scanner.fail(level.encapAt, `encap() ${needs}, and vlan()`);
    return false;
  }
  const name = `eth_type(0x${type.toString(16)})`;
  if (level.ethTypeMask !== 0xffff) {
    scanner.fail(level.ethTypeAt, `${name} is the type of a VLAN tag and can't have a mask`);
  }
  if (level.vlanAt < 0) {
    scanner.fail(level.ethTypeAt, `${name} needs vlan(…) beside it; vlan() is any tag`);
  }
  if (level.encapAt < 0) {
    scanner.fail(level.ethTypeAt, `${name} needs encap(…) beside it; encap() is any contents`);
  }
  return true;
}

function checkRequirements(parse: FlowParse): void {
  const { scanner, into, seenAt } = parse;
  for (let index = 0; index < seenAt.length; index++) {
    const attribute = ATTRIBUTES[index]!;
    if (seenAt[index]! < 0 || attribute.requires === undefined) continue;
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
 * Text of a flow in the order of Open vSwitch 3.2 and later: eth() always, other attributes when a
 * bit of them is matched. `verbose`: wildcarded fields too.
 */
export function formatFlow(
  key: Int32Array,
  mask: Int32Array,
  options: { readonly names?: PortNames | undefined; readonly verbose?: boolean | undefined } = {},
): string {
  const match = {
    key: new Uint8Array(key.buffer, key.byteOffset, KEY_SIZE),
    mask: new Uint8Array(mask.buffer, mask.byteOffset, KEY_SIZE),
  };
  const context = { offset: 0, names: options.names, verbose: options.verbose ?? false };
  let text = "";
  let closing = "";
  for (const attribute of ATTRIBUTES) {
    if (attribute === VLAN) {
      for (let level = 0; level < VLAN_LEVELS_MAX; level++) {
        const tag = formatTag(match, { ...context, offset: level * VLAN_LEVEL_SIZE });
        if (tag === "") break;
        text += tag;
        closing += ")";
      }
    } else if (isShown(attribute, match, context.verbose)) {
      // Behind encap's parenthesis no comma is wanted.
      if (text !== "" && !text.endsWith("(")) text += ",";
      text += formatAttribute(attribute, match, context);
    }
  }
  return text + closing;
}

function isShown(attribute: Attribute, match: MatchBytes, verbose: boolean): boolean {
  if (attribute === ETH) return true;
  if (!isSelected(attribute, match.key, match.mask)) return false;
  if (!isAttributeWildcarded(attribute, match.mask)) return true;
  // Open vSwitch has no attribute to show for these when they are wildcarded.
  return verbose && attribute !== ETH_TYPE && attribute !== TCP_FLAGS;
}

/** `,eth_type(0x8100),vlan(…),encap(` or "". */
function formatTag(
  match: MatchBytes,
  context: { offset: number; names: PortNames | undefined; verbose: boolean },
): string {
  const tciAt = VLAN_TCI_AT + context.offset;
  if ((read16(match.key, tciAt) & read16(match.mask, tciAt) & VLAN_PRESENT) === 0) return "";
  const type = read16(match.key, VLAN_TPID_AT + context.offset).toString(16).padStart(4, "0");
  const comma = context.offset === 0 ? "," : "";
  return `${comma}eth_type(0x${type}),${formatAttribute(VLAN, match, context)},encap(`;
}
