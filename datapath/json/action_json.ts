/**
 * Actions as JSON: the objects of actions.ts with what is undefined or false left out,
 * `{"type": "ct", "commit": true, "mark": {"value": 1, "mask": 255}}`. Addresses are text, and
 * push_nsh has its path in two parts, spi and si; addresses in hexadecimal digits and the path as one
 * number are read too. set has the attribute as flows do, `{"type": "set", "ipv4": {"ttl": 64}}`.
 */
import type { Action, CtAction, CtNat, PushNshAction, SetAction } from "../actions/actions.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import { KEY_SIZE } from "../key.ts";
import { isWholeSet } from "../actions/set_action.ts";
import { LEVELS_MAX, parseActions } from "../text/action_text.ts";
import { ACTION_TYPES } from "../text/actions/table.ts";
import { formatIpv4, formatIpv6, formatMac } from "../text/addresses.ts";
import type { PortNames } from "../text/field_text.ts";
import { nearest } from "../text/near.ts";
import { addAttributeText, attributeToJson } from "./attribute_json.ts";
import { type Json, TextBuilder } from "./field_json.ts";
import { FlowJsonError, jsonArray, jsonObject, pathTo } from "./json_error.ts";
import { ObjectReader } from "./object_reader.ts";

/** An action; what else it has depends on its type. */
export interface JsonAction {
  readonly type: string;
  readonly [name: string]: Json;
}

export interface ActionJsonOptions {
  /** Names that ports may have in JSON. */
  readonly names?: PortNames | undefined;
  /** Attributes that set has; default: this version's. */
  readonly table?: FieldTable | undefined;
}

/** The JSON of an action list. */
export function actionsToJson(
  actions: readonly Action[],
  options: ActionJsonOptions = {},
): JsonAction[] {
  return actions.map((action) => actionToJson(action, options));
}

function actionToJson(action: Action, options: ActionJsonOptions): JsonAction {
  switch (action.type) {
    case "set":
      return setToJson(action, options.table ?? FIELDS);
    case "sample":
    case "clone":
      return { ...present(action), actions: lists(action.actions, options) };
    case "check_pkt_len":
      return {
        ...present(action),
        greater: lists(action.greater, options),
        lessEqual: lists(action.lessEqual, options),
      };
    case "dec_ttl":
      return { ...present(action), exceeded: lists(action.exceeded, options) };
    case "push_eth":
      return { type: "push_eth", src: addressText(action.src), dst: addressText(action.dst) };
    case "push_nsh":
      return pushNshToJson(action);
    case "ct":
      return ctToJson(action);
    default:
      return present(action);
  }
}

function pushNshToJson({ path, metadata, ...others }: PushNshAction): JsonAction {
  return { ...others, spi: path >>> 8, si: path & U8, metadata };
}

function ctToJson(action: CtAction): JsonAction {
  const { nat } = action;
  if (nat === undefined) return present(action);
  const addressMin = nat.addressMin && addressText(nat.addressMin);
  const addressMax = nat.addressMax && addressText(nat.addressMax);
  return present({ ...action, nat: { ...nat, addressMin, addressMax } });
}

/** The text of an IPv4, MAC or IPv6 address, by its 8, 12 or 32 hexadecimal digits. */
function addressText(digits: string): string {
  const bytes = Uint8Array.fromHex(digits);
  if (bytes.length === 4) return formatIpv4(bytes, 0);
  return bytes.length === 6 ? formatMac(bytes, 0) : formatIpv6(bytes, 0);
}

function lists(actions: readonly Action[], options: ActionJsonOptions): Json[] {
  return actionsToJson(actions, options).map((action) => ({ ...action }));
}

/** Scalars, and objects of them, that say something. */
function present({ type, ...others }: Action): JsonAction {
  return { type, ...presentParts(others) };
}

function presentParts(parts: object): Record<string, Json> {
  const json: Record<string, Json> = {};
  for (const [name, value] of Object.entries(parts)) {
    if (value === undefined || value === false || Array.isArray(value)) continue;
    json[name] = typeof value === "object" && value !== null ? presentParts(value) : value;
  }
  return json;
}

function setToJson(action: SetAction, table: FieldTable): JsonAction {
  const attribute = table.byName(action.attribute);
  if (attribute === undefined) throw new Error(`there is no attribute ${action.attribute}`);
  const match = {
    key: new Uint8Array(action.value.buffer, action.value.byteOffset, KEY_SIZE),
    mask: new Uint8Array(action.mask.buffer, action.mask.byteOffset, KEY_SIZE),
  };
  const plain = isWholeSet(attribute, match.mask);
  const context = { offset: 0, names: undefined, verbose: false, plain };
  return { type: "set", [attribute.name]: attributeToJson(attribute, match, context) };
}

/** The actions that JSON says. Throws FlowJsonError with a path: `[2].actions[0].port`. */
export function actionsFromJson(json: unknown, options: ActionJsonOptions = {}): Action[] {
  return listFromJson(json, "", options, 0);
}

function listFromJson(
  json: unknown,
  path: string,
  options: ActionJsonOptions,
  depth: number,
): Action[] {
  if (depth > LEVELS_MAX) {
    throw new FlowJsonError(path, `lists may be nested ${LEVELS_MAX} levels deep, not deeper`);
  }
  const actions = jsonArray(json, path).map((item, index) =>
    actionFromJson(item, pathTo(path, index), options, depth)
  );
  const drop = actions.findIndex((action) => action.type === "drop");
  if (drop >= 0 && drop < actions.length - 1) {
    throw new FlowJsonError(pathTo(path, drop + 1), "nothing can follow drop");
  }
  return actions;
}

function isActionType(type: unknown): type is Action["type"] {
  return ACTION_TYPES.some((each) => each === type);
}

function actionFromJson(
  json: unknown,
  path: string,
  options: ActionJsonOptions,
  depth: number,
): Action {
  const { type } = jsonObject(json, path);
  if (!isActionType(type)) {
    const problem = typeof type === "string"
      ? `unknown action "${type}"${nearest(type, ACTION_TYPES)}`
      : "must be the name of an action";
    throw new FlowJsonError(pathTo(path, "type"), problem);
  }
  if (type === "set") return setFromJson(json, path, options.table ?? FIELDS);
  const reader = new ObjectReader(json, path, options.names);
  reader.skip("type");
  const list = (name: string): Action[] =>
    listFromJson(reader.take(name), pathTo(path, name), options, depth + 1);
  const action = simpleFromJson(type, reader) ?? nestedFromJson(type, reader, list);
  reader.finish();
  return action;
}

const U8 = 0xff;
const U16 = 0xffff;
const U24 = 0xffffff;
const U32 = 0xffffffff;

type SimpleType = Exclude<Action["type"], "set">;

/** Actions that have numbers and bytes alone; undefined for others. */
function simpleFromJson(type: SimpleType, reader: ObjectReader): Action | undefined {
  switch (type) {
    case "pop_vlan":
    case "pop_eth":
    case "pop_nsh":
    case "ct_clear":
      return { type };
    case "output":
      return { type, port: reader.port("port") };
    case "tnl_pop":
      return { type, port: reader.port("port", U32) };
    case "drop":
      return { type, reason: reader.optionalNumber("reason", U32) ?? 0 };
    case "recirc":
    case "meter":
      return { type, id: reader.number("id", U32) };
    case "trunc":
      return { type, sizeMax: reader.number("sizeMax", U32) };
    case "lb_output":
      return { type, bond: reader.number("bond", U32) };
    case "push_vlan":
      return { type, tpid: reader.number("tpid", U16), tci: reader.number("tci", U16) };
    case "pop_mpls":
      return { type, ethType: reader.number("ethType", U16) };
    case "push_mpls":
      return { type, lse: reader.number("lse", U32), ethType: reader.number("ethType", U16) };
    case "push_eth":
      return { type, src: reader.mac("src"), dst: reader.mac("dst") };
    case "hash":
      return {
        type,
        algorithm: reader.choice("algorithm", ["l4", "sym_l4"]),
        basis: reader.number("basis", U32),
      };
    case "psample":
      return {
        type,
        group: reader.number("group", U32),
        cookie: reader.optionalBytes("cookie", 0, 16),
      };
    default:
      return undefined;
  }
}

function nestedFromJson(
  type: SimpleType,
  reader: ObjectReader,
  list: (name: string) => Action[],
): Action {
  switch (type) {
    case "add_mpls":
      return {
        type,
        lse: reader.number("lse", U32),
        ethType: reader.number("ethType", U16),
        flags: reader.optionalNumber("flags", U16) ?? 0,
      };
    case "push_nsh":
      return {
        type,
        flags: reader.number("flags", U8),
        ttl: reader.number("ttl", U8),
        mdtype: reader.number("mdtype", U8),
        np: reader.number("np", U8),
        path: nshPath(reader),
        metadata: reader.bytes("metadata", 0, 248),
      };
    case "userspace":
      return {
        type,
        pid: reader.number("pid", U32),
        userdata: reader.optionalBytes("userdata", 0, U16),
        actions: reader.flag("actions"),
        tunnelOutPort: reader.optionalPort("tunnelOutPort", U32),
      };
    case "tnl_push":
      return {
        type,
        tunnelPort: reader.port("tunnelPort", U32),
        outPort: reader.port("outPort", U32),
        tunnelType: reader.number("tunnelType", U32),
        header: reader.bytes("header", 0, 512),
      };
    case "unknown":
      return {
        type,
        number: reader.number("number", U16),
        payload: reader.bytes("payload", 0, U16),
      };
    case "ct":
      return ctFromJson(reader);
    case "sample":
      return { type, probability: reader.number("probability", U32), actions: list("actions") };
    case "clone":
      return { type, actions: list("actions") };
    case "check_pkt_len":
      return {
        type,
        size: reader.number("size", U16),
        greater: list("greater"),
        lessEqual: list("lessEqual"),
      };
    case "dec_ttl":
      return { type, exceeded: list("exceeded") };
    default:
      throw new Error(`no JSON for ${type}`);
  }
}

/** `spi` and `si`, or both as one number, `path`. */
function nshPath(reader: ObjectReader): number {
  const path = reader.optionalNumber("path", U32);
  const spi = reader.optionalNumber("spi", U24);
  const si = reader.optionalNumber("si", U8);
  if (path === undefined) {
    return (reader.number("spi", U24) << 8 | reader.number("si", U8)) >>> 0;
  }
  if (spi !== undefined || si !== undefined) reader.refuse("path", "stands for spi and si");
  return path;
}

const LABEL_SIZE = 16;

function ctFromJson(reader: ObjectReader): CtAction {
  return {
    type: "ct",
    commit: reader.flag("commit"),
    forceCommit: reader.flag("forceCommit"),
    zone: reader.optionalNumber("zone", U16),
    mark: reader.optionalObject("mark", (mark) => ({
      value: mark.number("value", U32),
      mask: mark.number("mask", U32),
    })),
    label: reader.optionalObject("label", (label) => ({
      value: label.bytes("value", LABEL_SIZE, LABEL_SIZE),
      mask: label.bytes("mask", LABEL_SIZE, LABEL_SIZE),
    })),
    helper: reader.optionalName("helper", 15),
    nat: reader.optionalObject("nat", natFromJson),
    eventMask: reader.optionalNumber("eventMask", U32),
    timeout: reader.optionalName("timeout", 31),
  };
}

function natFromJson(reader: ObjectReader): CtNat {
  return {
    direction: reader.optionalChoice("direction", ["src", "dst"]),
    addressMin: reader.optionalAddress("addressMin"),
    addressMax: reader.optionalAddress("addressMax"),
    portMin: reader.optionalNumber("portMin", U16),
    portMax: reader.optionalNumber("portMax", U16),
    persistent: reader.flag("persistent"),
    hash: reader.flag("hash"),
    random: reader.flag("random"),
  };
}

/** By way of its text, which JSON's values are parts of. */
function setFromJson(json: unknown, path: string, table: FieldTable): Action {
  const { type: _type, ...attributes } = jsonObject(json, path);
  const [name, ...more] = Object.keys(attributes);
  if (name === undefined || more.length > 0) {
    throw new FlowJsonError(path, "set needs one attribute: its name and its value");
  }
  const attribute = table.byName(name);
  if (attribute === undefined) {
    const names = table.attributes.map((each) => each.name);
    throw new FlowJsonError(pathTo(path, name), `unknown${nearest(name, names)}`);
  }
  const builder = new TextBuilder();
  builder.add("set(", path);
  addAttributeText(builder, attribute, attributes[name], pathTo(path, name));
  builder.add(")", path);
  const [action] = builder.parse((text) => parseActions(text, { table }));
  return action!;
}
