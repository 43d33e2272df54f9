/**
 * Flows as JSON: `{"in_port": 1, "eth_type": 2048, "ipv4": {"src": {"value": "10.0.0.0", "mask":
 * "255.0.0.0"}, "proto": 6}}`. An attribute's name and its value, or an object of its fields; what is
 * wildcarded is absent. Tags are `"vlan": [{"tpid": 33024, "vid": 5}]`, the outermost first, labels
 * `"mpls": [{"label": 5}]`, what has no name here `"key40": {"value": "0102", "mask": "ffff"}`.
 */
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import type { Attribute } from "../fields/field_types.ts";
import {
  attributeNamed,
  ETH_P_802_3_MIN,
  PACKET_TYPE,
  VLAN_LEVEL_SIZE,
  VLAN_LEVELS_MAX,
} from "../fields/fields.ts";
import {
  ETH_TYPE_AT,
  KEY_SIZE,
  L3_PACKET,
  TCP_FLAGS_AT,
  VLAN_PRESENT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "../key.ts";
import { isSelected } from "../fields/layers.ts";
import { isAttributeWildcarded } from "../text/attribute_text.ts";
import type { PortNames } from "../text/field_text.ts";
import { type ParsedFlow, parseFlow } from "../text/flow_text.ts";
import type { MatchBytes } from "../text/number_text.ts";
import { nearest } from "../text/near.ts";
import type { UnknownAttribute } from "../text/unknown_text.ts";
import { addAttributeText, attributeToJson } from "./attribute_json.ts";
import { type Json, type JsonObject, TextBuilder } from "./field_json.ts";
import { describe, FlowJsonError, jsonArray, jsonObject, pathTo } from "./json_error.ts";

const VLAN = attributeNamed("vlan");
const ETH_TYPE = attributeNamed("eth_type");

/** A flow: attributes by name. */
export type JsonFlow = Readonly<Record<string, Json>>;

export interface FlowJsonOptions {
  readonly names?: PortNames | undefined;
  /** Which attributes there are. */
  readonly table?: FieldTable | undefined;
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

/** The JSON of a key and its mask, KEY_WORDS words each. */
export function flowToJson(
  key: Int32Array,
  mask: Int32Array,
  options: FlowJsonOptions & { readonly unknown?: readonly UnknownAttribute[] | undefined } = {},
): JsonFlow {
  const match = {
    key: new Uint8Array(key.buffer, key.byteOffset, KEY_SIZE),
    mask: new Uint8Array(mask.buffer, mask.byteOffset, KEY_SIZE),
  };
  const context = { offset: 0, names: options.names, verbose: false };
  const json: JsonObject = {};
  for (const attribute of (options.table ?? FIELDS).attributes) {
    if (attribute === VLAN) {
      const tags = tagsToJson(match);
      if (tags.length > 0) json[VLAN.name] = tags;
      continue;
    }
    if (attribute.name === "eth") addPacketType(json, match);
    if (!isSelected(attribute, match.key, match.mask)) continue;
    if (isAttributeWildcarded(attribute, match.mask)) continue;
    json[attribute.name] = attributeToJson(attribute, match, context);
  }
  for (const { number, key: value, mask: bits } of options.unknown ?? []) {
    json[`key${number}`] = bits === undefined ? { value } : { value, mask: bits };
  }
  return json;
}

function addPacketType(json: JsonObject, { key, mask }: MatchBytes): void {
  if ((read16(key, TCP_FLAGS_AT) & read16(mask, TCP_FLAGS_AT) & L3_PACKET) === 0) return;
  const type = read16(key, ETH_TYPE_AT);
  const hasType = read16(mask, ETH_TYPE_AT) === 0xffff && type >= ETH_P_802_3_MIN;
  json[PACKET_TYPE.name] = hasType ? { ns: 1, id: type } : { ns: 1 };
}

function tagsToJson(match: MatchBytes): Json[] {
  const tags: Json[] = [];
  for (let level = 0; level < VLAN_LEVELS_MAX; level++) {
    const offset = level * VLAN_LEVEL_SIZE;
    const tciAt = VLAN_TCI_AT + offset;
    if ((read16(match.key, tciAt) & read16(match.mask, tciAt) & VLAN_PRESENT) === 0) break;
    const tpid = read16(match.key, VLAN_TPID_AT + offset);
    const fields = attributeToJson(VLAN, match, { offset, names: undefined, verbose: false });
    tags.push({ tpid, ...jsonObject(fields, "vlan") } as JsonObject);
  }
  return tags;
}

/** The flow that JSON says; what is absent is as in flow text. Throws FlowJsonError with a path. */
export function flowFromJson(
  json: unknown,
  options: FlowJsonOptions & { readonly keepUnknown?: boolean | undefined } = {},
): ParsedFlow {
  const table = options.table ?? FIELDS;
  const builder = new TextBuilder();
  const { vlan, eth_type: type, ...others } = jsonObject(json, "");
  for (const [name, value] of Object.entries(others)) {
    const attribute = table.byName(name);
    if (attribute !== undefined) addAttributeText(builder, attribute, value, name);
    else addSpecial(builder, table, name, value);
    builder.add(",", name);
  }
  addTypes(builder, vlan, type);
  return builder.parse((text) => parseFlow(text, { ...options, table }));
}

/** The tags around the Ethernet type. */
function addTypes(builder: TextBuilder, vlan: unknown, type: unknown): void {
  const tags = vlan === undefined ? [] : jsonArray(vlan, VLAN.name);
  for (const [index, tag] of tags.entries()) {
    const path = pathTo(VLAN.name, index);
    const { tpid, ...fields } = jsonObject(tag, path);
    const tpidPath = pathTo(path, "tpid");
    addAttributeText(builder, ETH_TYPE, tpid ?? 0x8100, tpidPath);
    builder.add(",", tpidPath);
    addAttributeText(builder, withoutPresence(VLAN), fields, path);
    builder.add(",encap(", path);
  }
  if (type !== undefined) addAttributeText(builder, ETH_TYPE, type, ETH_TYPE.name);
  builder.add(")".repeat(tags.length), VLAN.name);
}

/** That there is a tag is said by its being there. */
function withoutPresence(attribute: Attribute): Attribute {
  return { ...attribute, fields: attribute.fields.filter((each) => each.name !== "cfi") };
}

function addSpecial(
  builder: TextBuilder,
  table: FieldTable,
  name: string,
  json: unknown,
): void {
  if (name === PACKET_TYPE.name) return addPacketTypeText(builder, json);
  if (/^key[0-9]+$/.test(name)) return addUnknownText(builder, name, json);
  const names = [...table.attributes.map((each) => each.name), PACKET_TYPE.name];
  throw new FlowJsonError(name, `unknown${nearest(name, names)}`);
}

function addPacketTypeText(builder: TextBuilder, json: unknown): void {
  const path = PACKET_TYPE.name;
  builder.add(`${path}(`, path);
  for (const [part, value] of Object.entries(jsonObject(json, path))) {
    if (part !== "ns" && part !== "id") {
      throw new FlowJsonError(pathTo(path, part), "unknown; allowed are ns and id");
    }
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
      throw new FlowJsonError(
        pathTo(path, part),
        `must be a whole number from 0 on: current value is ${describe(value)}`,
      );
    }
    builder.add(`${part}=${value},`, pathTo(path, part));
  }
  builder.add(")", path);
}

function addUnknownText(builder: TextBuilder, name: string, json: unknown): void {
  const { value, mask } = jsonObject(json, name);
  builder.add(`${name}(`, name);
  builder.add(bytesText(value, pathTo(name, "value")), pathTo(name, "value"));
  if (mask !== undefined) {
    builder.add("/" + bytesText(mask, pathTo(name, "mask")), pathTo(name, "mask"));
  }
  builder.add(")", name);
}

function bytesText(json: unknown, path: string): string {
  if (typeof json === "string" && /^([0-9a-f]{2})*$/i.test(json)) return json;
  throw new FlowJsonError(
    path,
    `must be text of two hexadecimal digits for each byte: current value is ${describe(json)}`,
  );
}
