/** Attributes of a flow between the key and JSON; set actions have the same. */
import type { Attribute, Field } from "../fields/field_types.ts";
import {
  GENEVE_LENGTH_MASK,
  GENEVE_PARTS,
  geneveDataSize,
  geneveOffsets,
  OPTION_KINDS,
  optionKind,
  optionParts,
} from "../packet/tunnel_options.ts";
import { TUN_OPTIONS_AT, TUN_OPTIONS_KIND_AT } from "../key.ts";
import { HEX_BYTES } from "../text/addresses.ts";
import type { FieldContext } from "../text/field_text.ts";
import { LABEL_SIZE, labelCount } from "../text/labels_text.ts";
import { isWildcarded, type MatchBytes } from "../text/number_text.ts";
import { hasParentheses } from "../text/parentheses.ts";
import {
  addFieldText,
  fieldToJson,
  type Json,
  type JsonObject,
  type TextBuilder,
} from "./field_json.ts";
import { describe, FlowJsonError, jsonArray, jsonObject, pathTo } from "./json_error.ts";

const HEADER_SIZE = 4;

/** The JSON of an attribute that is matched: its value, or an object of its fields that are. */
export function attributeToJson(
  attribute: Attribute,
  match: MatchBytes,
  context: FieldContext,
): Json {
  const [only] = attribute.fields;
  if (only!.name === "") return fieldToJson(only!, match, context);
  if (attribute.shape !== "labels") return fieldsToJson(attribute.fields, match, context);
  return Array.from(
    { length: labelCount(attribute, match.key, match.mask) },
    (_, label) => fieldsToJson(attribute.fields, match, { ...context, offset: label * LABEL_SIZE }),
  );
}

function fieldsToJson(
  fields: readonly Field[],
  match: MatchBytes,
  context: FieldContext,
): JsonObject {
  const json: JsonObject = {};
  for (const field of fields) {
    const kind = optionKind(field.form);
    if (kind !== undefined) {
      const isThere = match.mask[TUN_OPTIONS_KIND_AT] !== 0 &&
        match.key[TUN_OPTIONS_KIND_AT] === kind.number;
      if (isThere) json[field.name] = optionsToJson(field, match, context);
    } else if (field.name !== "cfi" && !isWildcarded(match.mask, field, context.offset)) {
      json[field.name] = fieldToJson(field, match, context);
    }
  }
  return json;
}

function optionsToJson(field: Field, match: MatchBytes, context: FieldContext): Json {
  if (field.form === "geneve") {
    return geneveOffsets(match.key).map((at) => geneveToJson(match, { ...context, offset: at }));
  }
  const kind = optionKind(field.form)!;
  const parts = fieldsToJson(optionParts(kind, match.key, match.mask), match, context);
  return field.form === "vxlan" ? { gbp: parts } : parts;
}

function geneveToJson(match: MatchBytes, context: FieldContext): Json {
  const json = fieldsToJson(GENEVE_PARTS, match, context);
  const size = geneveDataSize(match.key, context.offset);
  const from = TUN_OPTIONS_AT + context.offset + HEADER_SIZE;
  const mask = match.mask.subarray(from, from + size);
  json["data"] = hexOf(mask.map((byte, index) => byte & match.key[from + index]!));
  if (mask.some((byte) => byte !== 0xff)) json["mask"] = hexOf(mask);
  return json;
}

function hexOf(bytes: Uint8Array): string {
  return "0x" + Array.from(bytes, (byte) => HEX_BYTES[byte]!).join("");
}

/** Adds `name(…)` to flow text. */
export function addAttributeText(
  builder: TextBuilder,
  attribute: Attribute,
  json: unknown,
  path: string,
): void {
  builder.add(attribute.name + "(", path);
  const [only] = attribute.fields;
  if (only!.name === "") {
    addFieldText(builder, only!, json, path);
  } else if (attribute.shape === "labels") {
    addLabelsText(builder, attribute, json, path);
  } else {
    addFieldsText(builder, attribute.fields, json, path);
  }
  builder.add(")", path);
}

/** Each entry is written in full, so that the next one begins where it should. */
function addLabelsText(
  builder: TextBuilder,
  attribute: Attribute,
  json: unknown,
  path: string,
): void {
  for (const [index, label] of jsonArray(json, path).entries()) {
    const labelPath = pathTo(path, index);
    const given = jsonObject(label, labelPath);
    checkNames(attribute.fields, given, labelPath);
    for (const field of attribute.fields) {
      const fieldPath = pathTo(labelPath, field.name);
      builder.add(field.name + "=", fieldPath);
      const value = given[field.name];
      if (value === undefined) builder.add("0/0", fieldPath);
      else addFieldText(builder, field, value, fieldPath);
      builder.add(",", fieldPath);
    }
  }
}

function checkNames(
  fields: readonly Field[],
  given: Readonly<Record<string, unknown>>,
  path: string,
): void {
  const names = fields.map((each) => each.name);
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    throw new FlowJsonError(pathTo(path, name), `unknown; allowed are ${names.join(", ")}`);
  }
}

function addFieldsText(
  builder: TextBuilder,
  fields: readonly Field[],
  json: unknown,
  path: string,
): void {
  const given = jsonObject(json, path);
  checkNames(fields, given, path);
  for (const field of fields) {
    const value = given[field.name];
    if (value === undefined) continue;
    const fieldPath = pathTo(path, field.name);
    builder.add(field.name + (hasParentheses(field) ? "" : "="), fieldPath);
    if (optionKind(field.form) !== undefined) {
      addOptionsText(builder, field, value, fieldPath);
    } else if (hasParentheses(field)) {
      builder.add("(", fieldPath);
      addFieldText(builder, field, value, fieldPath);
      builder.add(")", fieldPath);
    } else {
      addFieldText(builder, field, value, fieldPath);
    }
    builder.add(",", fieldPath);
  }
}

function addOptionsText(builder: TextBuilder, field: Field, json: unknown, path: string): void {
  builder.add("(", path);
  if (field.form === "geneve") {
    for (const [index, option] of jsonArray(json, path).entries()) {
      addGeneveText(builder, option, pathTo(path, index));
    }
  } else if (field.form === "vxlan") {
    const { gbp, ...others } = jsonObject(json, path);
    const [other] = Object.keys(others);
    if (other !== undefined) {
      throw new FlowJsonError(pathTo(path, other), "unknown; allowed is gbp");
    }
    builder.add("gbp(", path);
    addFieldsText(builder, OPTION_KINDS.vxlan.parts, gbp, pathTo(path, "gbp"));
    builder.add(")", path);
  } else {
    addFieldsText(builder, optionKind(field.form)!.parts, json, path);
  }
  builder.add(")", path);
}

const DATA = /^0x(([0-9a-f]{8})*)$/i;

function addGeneveText(builder: TextBuilder, json: unknown, path: string): void {
  const { data, mask, ...head } = jsonObject(json, path);
  const digits = dataDigits(data ?? "0x", pathTo(path, "data"));
  const size = digits.length / 2;
  if (size / 4 > GENEVE_LENGTH_MASK) {
    throw new FlowJsonError(pathTo(path, "data"), "must have at most 124 bytes");
  }
  builder.add("{", path);
  addFieldsText(builder, GENEVE_PARTS, head, path);
  builder.add(`len=${size}`, pathTo(path, "data"));
  const maskDigits = mask === undefined ? undefined : dataDigits(mask, pathTo(path, "mask"));
  if (maskDigits !== undefined && maskDigits.length !== digits.length) {
    throw new FlowJsonError(pathTo(path, "mask"), "must be as long as data");
  }
  if (size > 0) {
    builder.add(`,0x${digits}`, pathTo(path, "data"));
    if (maskDigits !== undefined) builder.add(`/0x${maskDigits}`, pathTo(path, "mask"));
  }
  builder.add("}", path);
}

function dataDigits(json: unknown, path: string): string {
  const found = typeof json === "string" ? DATA.exec(json) : null;
  if (found !== null) return found[1]!;
  throw new FlowJsonError(
    path,
    `must be "0x" and 8 hexadecimal digits for each 4 bytes: current value is ${describe(json)}`,
  );
}
