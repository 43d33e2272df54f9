/**
 * Single fields of a flow between the key and JSON. Reading goes by way of flow text, which knows every
 * rule: {@link TextBuilder} remembers where in the text each value of the JSON stands, so that the
 * column of a fault tells its path.
 */
import { FlowSyntaxError } from "../errors.ts";
import type { Field } from "../fields/field_types.ts";
import { ETH_P_802_2 } from "../key.ts";
import { type FieldContext, formatField, FRAGMENT_NAMES } from "../text/field_text.ts";
import { isExact, type MatchBytes, readField } from "../text/number_text.ts";
import { formatWide } from "../text/wide_numbers.ts";
import { describe, FlowJsonError, jsonObject, pathTo } from "./json_error.ts";

/** What JSON.stringify takes. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [name: string]: Json };

/** An object while it is made. */
export type JsonObject = Record<string, Json>;

/** Flow text under construction. */
export class TextBuilder {
  text = "";
  readonly #marks: { readonly at: number; readonly path: string }[] = [];

  /** Appends text that stands for what is at this path. */
  add(text: string, path: string): void {
    this.#marks.push({ at: this.text.length, path });
    this.text += text;
  }

  /** Parses the text; a FlowSyntaxError becomes a FlowJsonError with the path. */
  parse<T>(parse: (text: string) => T): T {
    try {
      return parse(this.text);
    } catch (error) {
      if (!(error instanceof FlowSyntaxError)) throw error;
      const at = error.column - 1;
      const mark = this.#marks.findLast((each) => each.at <= at);
      const problem = error.message.replace(/^column \d+: /, "");
      throw new FlowJsonError(mark?.path ?? "", problem);
    }
  }
}

/** Whether the field is an object of a value and a mask if it has a mask; others have it in their text. */
function hasMaskObject(field: Field): boolean {
  return field.form !== "flags" && field.form !== "fragment";
}

/** The JSON of a field that is matched. */
export function fieldToJson(field: Field, match: MatchBytes, context: FieldContext): Json {
  const { offset } = context;
  if (!hasMaskObject(field)) {
    return formatField({ ...field, name: "" }, match.key, match.mask, {
      ...context,
      verbose: false,
    });
  }
  const value = valueToJson(field, masked(field, match, offset), context);
  if (isExact(match.mask, field, offset)) return value;
  return { value, mask: valueToJson(field, match.mask, { ...context, names: undefined }) };
}

/** The key's bytes of one field under its mask, at their place. */
function masked(field: Field, { key, mask }: MatchBytes, offset: number): Uint8Array {
  const bytes = new Uint8Array(key.length);
  const at = field.at + offset;
  for (let index = at; index < at + field.size; index++) bytes[index] = key[index]! & mask[index]!;
  return bytes;
}

function valueToJson(field: Field, bytes: Uint8Array, context: FieldContext): Json {
  const { offset } = context;
  switch (field.form) {
    case "mac":
    case "ipv4":
    case "ipv6": {
      const exact = new Uint8Array(bytes.length).fill(0xff);
      return formatField(field, bytes, exact, context);
    }
    case "ether_type": {
      const type = readField(bytes, field, offset);
      return type === ETH_P_802_2 ? 0 : type;
    }
    case "port": {
      const port = readField(bytes, field, offset);
      return context.names?.byNo(port) ?? port;
    }
    default:
      if (field.size > 4) return formatWide(bytes, field.at + offset, field.size, true);
      return readField(bytes, field, offset);
  }
}

/** Adds a field's value, and its mask, to flow text. */
export function addFieldText(
  builder: TextBuilder,
  field: Field,
  json: unknown,
  path: string,
): void {
  if (typeof json !== "object" || json === null) {
    builder.add(valueText(field, json, path), path);
    return;
  }
  const { value, mask, ...others } = jsonObject(json, path);
  const [other] = Object.keys(others);
  if (other !== undefined) {
    throw new FlowJsonError(pathTo(path, other), "unknown; allowed are value and mask");
  }
  if (value === undefined) throw new FlowJsonError(path, "needs a value beside its mask");
  builder.add(valueText(field, value, pathTo(path, "value")), pathTo(path, "value"));
  if (mask === undefined) return;
  builder.add("/" + valueText(field, mask, pathTo(path, "mask")), pathTo(path, "mask"));
}

/** Characters that a value of each form may consist of: what else there is would be other text. */
const ALLOWED: Readonly<Record<string, RegExp>> = {
  mac: /^[0-9a-f:]+$/i,
  ipv4: /^[0-9.]+$/,
  ipv6: /^[0-9a-f:.]+$/i,
  flags: /^([a-z0-9+|[\]-]+|0\/0)$/i,
};
const NUMBER_TEXT = /^(0x[0-9a-f]+|[0-9]+)$/i;

function valueText(field: Field, json: unknown, path: string): string {
  if (typeof json === "number") {
    if (Number.isInteger(json) && json >= 0 && json <= Number.MAX_SAFE_INTEGER) return String(json);
    throw new FlowJsonError(path, `must be a whole number from 0 on: current value is ${json}`);
  }
  if (typeof json === "string") {
    if (isText(field, json)) return json;
    throw new FlowJsonError(path, `must be ${wanted(field)}: current value is ${describe(json)}`);
  }
  throw new FlowJsonError(path, `must be ${wanted(field)}: current value is ${describe(json)}`);
}

function isText(field: Field, text: string): boolean {
  if (field.form === "fragment") return FRAGMENT_NAMES.includes(text);
  if (field.form === "port") return /^[^()]+$/.test(text);
  return (ALLOWED[field.form] ?? NUMBER_TEXT).test(text);
}

function wanted(field: Field): string {
  switch (field.form) {
    case "mac":
      return "a MAC address as text";
    case "ipv4":
      return "an IPv4 address as text";
    case "ipv6":
      return "an IPv6 address as text";
    case "fragment":
      return FRAGMENT_NAMES.join(", ");
    case "flags":
      return `flags as text, of ${field.flagNames.join(", ")}`;
    case "port":
      return "a port's number or name";
    default:
      return 'a number, or text of one ("0x1f")';
  }
}
