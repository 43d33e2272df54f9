/** Action lists as text, in the syntax of ovs-dpctl: `set(eth(src=…)),push_vlan(vid=5,pcp=0),2`. */
import type { Action, PushVlanAction, SetAction } from "../actions.ts";
import {
  type Attribute,
  attributeByName,
  attributeNamed,
  ATTRIBUTES,
  ENCAP,
  ETH_P_8021AD,
  ETH_P_8021Q,
  isSettable,
  LATER_ATTRIBUTES,
} from "../fields.ts";
import { KEY_SIZE, KEY_WORDS, PORT_MAX, VLAN_PRESENT } from "../key.ts";
import { failOpen, formatAttribute, scanAttribute } from "./attribute_text.ts";
import { isExact, isWildcarded, type MatchBytes, type PortNames } from "./field_text.ts";
import { CLOSE, EQUALS, OPEN, Scanner } from "./scanner.ts";

const ACTION_NAMES = ["drop", "pop_vlan", "push_vlan", "set"];

/** Actions of Open vSwitch that this version does not have. */
export const LATER_ACTIONS: readonly string[] = [
  "add_mpls",
  "check_pkt_len",
  "clone",
  "ct",
  "ct_clear",
  "dec_ttl",
  "hash",
  "lb_output",
  "meter",
  "pop_eth",
  "pop_mpls",
  "pop_nsh",
  "psample",
  "push_eth",
  "push_mpls",
  "push_nsh",
  "recirc",
  "sample",
  "tnl_pop",
  "tnl_push",
  "trunc",
  "userspace",
];

export interface ActionTextOptions {
  readonly names?: PortNames | undefined;
}

/**
 * Parses an action list; empty text is the empty list, which drops too. Throws FlowSyntaxError. Which
 * actions a flow may have is validate.ts's checkActions.
 */
export function parseActions(text: string, options: ActionTextOptions = {}): Action[] {
  const scanner = new Scanner(text);
  const actions: Action[] = [];
  for (;;) {
    scanner.skipSeparators();
    if (scanner.ended) return actions;
    const last = actions.at(-1);
    if (last?.type === "drop") scanner.fail(scanner.at, "nothing can follow drop");
    actions.push(scanAction(scanner, options.names));
  }
}

function scanAction(scanner: Scanner, names: PortNames | undefined): Action {
  const from = scanner.at;
  const item = scanner.item();
  const port = names?.byName(item);
  if (port !== undefined && !ACTION_NAMES.includes(item)) return { type: "output", port };
  scanner.at = from;
  if (scanner.atNumber) return scanOutput(scanner);
  const name = scanner.word();
  switch (name.toLowerCase() === "drop" ? "drop" : name) {
    case "drop":
      expectEnd(scanner, name);
      return { type: "drop" };
    case "pop_vlan":
      expectEnd(scanner, name);
      return { type: "pop_vlan" };
    case "push_vlan":
      return scanPushVlan(scanner);
    case "set":
      return scanSet(scanner);
    default:
      return failUnknown(scanner, from, item, names);
  }
}

function scanOutput(scanner: Scanner): Action {
  const from = scanner.at;
  const port = scanner.number(32, "output port");
  if (port > PORT_MAX) scanner.fail(from, `an output port must be 0 … ${PORT_MAX}`);
  expectEnd(scanner, "a port number");
  return { type: "output", port };
}

function failUnknown(
  scanner: Scanner,
  from: number,
  item: string,
  names: PortNames | undefined,
): never {
  const name = /^[a-z_0-9]*/i.exec(item)![0];
  if (LATER_ACTIONS.includes(name)) {
    scanner.fail(from, `this version doesn't have the action ${name} yet`);
  }
  const kind = names === undefined ? "action" : "action or port";
  return scanner.unknown(from, kind, name === "" ? item : name, ["PORT", ...ACTION_NAMES]);
}

/** After an action without parentheses there must be a separator or the end. */
function expectEnd(scanner: Scanner, name: string): void {
  const at = scanner.at;
  scanner.skipSeparators();
  if (scanner.at > at || scanner.ended) return;
  scanner.fail(at, `"${scanner.text[at]}" can't follow ${name}: a comma or the end must`);
}

const PUSH_VLAN_FIELDS: ReadonlyMap<string, number> = new Map([
  ["tpid", 16],
  ["vid", 12],
  ["pcp", 3],
  ["cfi", 1],
]);

function scanPushVlan(scanner: Scanner): PushVlanAction {
  const openAt = scanner.at;
  scanner.expect(OPEN, "after push_vlan");
  const values = new Map<string, number>();
  for (;;) {
    scanner.skipSeparators();
    if (scanner.ended) failOpen(scanner, openAt, "push_vlan");
    if (scanner.take(CLOSE)) break;
    const from = scanner.at;
    const name = scanner.word();
    const bits = PUSH_VLAN_FIELDS.get(name);
    if (bits === undefined) {
      scanner.unknown(from, "field of push_vlan", name, PUSH_VLAN_FIELDS.keys());
    }
    if (values.has(name)) scanner.fail(from, `push_vlan ${name} stands twice`);
    scanner.expect(EQUALS, `after push_vlan ${name}`);
    const valueAt = scanner.at;
    const value = scanner.number(bits, `push_vlan ${name}`);
    checkPushVlanValue(scanner, valueAt, name, value);
    values.set(name, value);
  }
  const vid = values.get("vid");
  if (vid === undefined) scanner.fail(openAt, "push_vlan needs vid=: push_vlan(vid=5,pcp=0)");
  const tci = VLAN_PRESENT | (values.get("pcp") ?? 0) << 13 | vid;
  return { type: "push_vlan", tpid: values.get("tpid") ?? ETH_P_8021Q, tci };
}

function checkPushVlanValue(scanner: Scanner, at: number, name: string, value: number): void {
  if (name === "tpid" && value !== ETH_P_8021Q && value !== ETH_P_8021AD) {
    scanner.fail(at, "push_vlan tpid must be 0x8100 or 0x88a8");
  }
  if (name === "cfi" && value !== 1) {
    scanner.fail(at, "push_vlan cfi must be 1: the bit says that there is a tag; leave cfi out");
  }
}

function scanSet(scanner: Scanner): SetAction {
  const openAt = scanner.at;
  scanner.expect(OPEN, "after set");
  const from = scanner.at;
  const attribute = scanSettable(scanner);
  const value = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  const into = { key: new Uint8Array(value.buffer), mask: new Uint8Array(mask.buffer) };
  scanAttribute(scanner, attribute, into, { offset: 0, names: undefined });
  if (scanner.ended) failOpen(scanner, openAt, "set");
  scanner.expect(CLOSE, "after the field of set");
  for (let index = 0; index < KEY_WORDS; index++) {
    if ((value[index]! & ~mask[index]!) !== 0) {
      scanner.fail(from, `set(${attribute.name}(…)) has a value with bits outside of its mask`);
    }
  }
  checkFixedFields(scanner, from, attribute, into);
  if (!isSettable(attribute.name)) return failSettable(scanner, from, attribute.name);
  return { type: "set", attribute: attribute.name, value, mask };
}

function scanSettable(scanner: Scanner): Attribute {
  const from = scanner.at;
  const name = scanner.word();
  const attribute = attributeByName(name);
  if (attribute !== undefined && isSettable(name)) return attribute;
  if (LATER_ATTRIBUTES.has(name)) scanner.fail(from, `this version can't set ${name} yet`);
  if (attribute !== undefined || name === ENCAP.name) return failSettable(scanner, from, name);
  return scanner.unknown(from, "field to set", name, settableNames());
}

function settableNames(): string[] {
  return ATTRIBUTES.filter((each) => each.set !== undefined).map((each) => each.name);
}

function failSettable(scanner: Scanner, from: number, name: string): never {
  return scanner.fail(from, `${name} can't be set; what can is ${settableNames().join(", ")}`);
}

/** The protocol and the fragment state may stand in a set of the whole header only, unchanged. */
function checkFixedFields(
  scanner: Scanner,
  from: number,
  attribute: Attribute,
  into: MatchBytes,
): void {
  if (attribute.fields.every((field) => isExact(into.mask, field))) return;
  for (const field of attribute.fields) {
    if (field.settable || isWildcarded(into.mask, field)) continue;
    scanner.fail(from, `${field.label} can't be set`);
  }
}

/** Text of an action list; an empty one is `drop`. */
export function formatActions(
  actions: readonly Action[],
  options: ActionTextOptions = {},
): string {
  if (actions.length === 0) return "drop";
  return actions.map((action) => formatAction(action, options.names)).join(",");
}

function formatAction(action: Action, names: PortNames | undefined): string {
  switch (action.type) {
    case "output":
      return outputName(action.port, names) ?? String(action.port);
    case "drop":
    case "pop_vlan":
      return action.type;
    case "push_vlan":
      return formatPushVlan(action);
    case "set": {
      const match = { key: bytesOf(action.value), mask: bytesOf(action.mask) };
      const context = { offset: 0, names: undefined, verbose: false };
      return `set(${formatAttribute(attributeNamed(action.attribute), match, context)})`;
    }
  }
}

/** The port's name, unless reading it back would give another action. */
function outputName(port: number, names: PortNames | undefined): string | undefined {
  const name = names?.byNo(port);
  return name === undefined || ACTION_NAMES.includes(name) ? undefined : name;
}

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}

function formatPushVlan(action: PushVlanAction): string {
  const tpid = action.tpid === ETH_P_8021Q ? "" : `tpid=0x${action.tpid.toString(16)},`;
  const cfi = (action.tci & VLAN_PRESENT) === 0 ? ",cfi=0" : "";
  return `push_vlan(${tpid}vid=${action.tci & 0xfff},pcp=${action.tci >> 13 & 7}${cfi})`;
}
