/** VLAN tags in flow text: `eth_type(0x8100),vlan(vid=5),encap(…)`, one level in another. */
import type { Attribute } from "../fields/field_types.ts";
import {
  attributeNamed,
  ETH_P_8021AD,
  ETH_P_8021Q,
  VLAN_LEVEL_SIZE,
  VLAN_LEVELS_MAX,
} from "../fields/fields.ts";
import { ETH_TYPE_AT, VLAN_PRESENT, VLAN_TCI_AT, VLAN_TPID_AT } from "../key.ts";
import { formatAttribute, scanAttribute } from "./attribute_text.ts";
import type { FieldContext } from "./field_text.ts";
import type { MatchBytes } from "./number_text.ts";
import type { TypePlace } from "./packet_type_text.ts";
import type { Scanner } from "./scanner.ts";

export const VLAN: Attribute = attributeNamed("vlan");

/** What stands between one pair of encap's parentheses, or outside of them. Positions: −1 = absent. */
export interface Level extends TypePlace {
  vlanAt: number;
  encapAt: number;
}

/** What reading tags needs to know of a flow. */
export interface TagParse {
  readonly scanner: Scanner;
  readonly into: MatchBytes;
  readonly levels: readonly Level[];
}

function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

/** Reads `(…)` behind vlan, which begins at `from` in the level of that number. */
export function scanVlan(tags: TagParse, level: number, from: number): void {
  const { scanner, into } = tags;
  const here = tags.levels[level]!;
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
export function finishLevel(tags: TagParse, level: number): void {
  const { scanner, into } = tags;
  const offset = level * VLAN_LEVEL_SIZE;
  const here = tags.levels[level];
  if (here === undefined || !isTagged(scanner, here)) {
    write16(into.mask, VLAN_TCI_AT + offset, 0xffff);
    if (here !== undefined) writeEthType(into, here);
    return;
  }
  write16(into.key, VLAN_TPID_AT + offset, here.ethType);
  write16(into.mask, VLAN_TPID_AT + offset, 0xffff);
  const inner = tags.levels[level + 1];
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

/** `,eth_type(0x8100),vlan(…),encap(` or "". */
export function formatTag(match: MatchBytes, context: FieldContext): string {
  const tciAt = VLAN_TCI_AT + context.offset;
  if ((read16(match.key, tciAt) & read16(match.mask, tciAt) & VLAN_PRESENT) === 0) return "";
  const type = read16(match.key, VLAN_TPID_AT + context.offset).toString(16).padStart(4, "0");
  const comma = context.offset === 0 ? "," : "";
  return `${comma}eth_type(0x${type}),${formatAttribute(VLAN, match, context)},encap(`;
}
