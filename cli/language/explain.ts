/** Flows and actions in words, by the summaries of their tables. */
import type { Action } from "../../datapath/actions/actions.ts";
import type { Attribute, Field } from "../../datapath/fields/field_types.ts";
import { FIELDS, type FieldTable } from "../../datapath/fields/field_table.ts";
import { PACKET_TYPE } from "../../datapath/fields/fields.ts";
import type { JsonFlow } from "../../datapath/json/flow_json.ts";
import { formatActions } from "../../datapath/text/action_text.ts";
import { TEXT_OF } from "../../datapath/text/actions/table.ts";
import type { PortNames } from "../../datapath/text/flow_text.ts";

/** A line for each field that is matched: what it is called, its value, what it means. */
export function explainFlow(flow: JsonFlow, table: FieldTable = FIELDS): string[] {
  const rows: [string, string][] = [];
  for (const [name, value] of Object.entries(flow)) {
    const attribute = table.byName(name);
    if (attribute === undefined) {
      const isPacketType = name === PACKET_TYPE.name; // its id is said by eth_type
      rows.push(
        isPacketType
          ? [`${name} ns 1`, "packets without an Ethernet header"]
          : [`${name} ${show(value)}`, "a field that this version does not know"],
      );
      continue;
    }
    for (const [index, level] of (Array.isArray(value) ? value : [value]).entries()) {
      const which = Array.isArray(value) && value.length > 1 ? `${name} ${index + 1}` : name;
      rows.push(...explainAttribute(which, attribute, level));
    }
  }
  if (!("eth_type" in flow) && !("packet_type" in flow)) rows.push(["eth()", "any Ethernet frame"]);
  return align(rows);
}

function explainAttribute(name: string, attribute: Attribute, value: unknown): [string, string][] {
  const only = attribute.fields[0]!;
  if (only.name === "") {
    return [[`${name} ${show(value, only)}`, withMask(attribute.summary, value)]];
  }
  if (typeof value !== "object" || value === null) return [];
  const entries = Object.entries(value);
  if (entries.length === 0) return [[`${name}()`, `${attribute.summary}, whatever it is`]];
  return entries.map(([key, inner]) => {
    const field = attribute.fields.find((each) => each.name === key);
    const summary = field?.summary ?? attribute.summary;
    return [`${name} ${key} ${show(inner, field)}`, withMask(summary, inner)];
  });
}

function withMask(summary: string, value: unknown): string {
  return isMasked(value) ? `${summary}, as far as the mask has bits` : summary;
}

function isMasked(value: unknown): value is { readonly value: unknown; readonly mask: unknown } {
  return typeof value === "object" && value !== null && "value" in value && "mask" in value;
}

function show(value: unknown, field?: Field): string {
  if (isMasked(value)) return `${show(value.value, field)}/${show(value.mask, field)}`;
  if (typeof value === "string") return value;
  const isHex = field?.form === "hex" || field?.form === "ether_type";
  return typeof value === "number" && isHex ? `0x${value.toString(16)}` : JSON.stringify(value);
}

/** A line for each action, nested ones indented below their action. */
export function explainActions(
  actions: readonly Action[],
  options: { readonly names?: PortNames | undefined } = {},
  depth = 0,
): string[] {
  const indent = "  ".repeat(depth);
  if (actions.length === 0) return [`${indent}(empty): the packet goes nowhere`];
  return actions.flatMap((action) => {
    const { summary } = TEXT_OF[action.type];
    const lists = Object.entries(action).filter(([, value]) => isList(value));
    const text = lists.length === 0 ? formatActions([action], options) : action.type;
    const nested = lists.flatMap(([name, list]) => [
      `${indent}  ${name}:`,
      ...explainActions(list, options, depth + 2),
    ]);
    return [`${indent}${text}: ${summary}`, ...nested];
  });
}

function isList(value: unknown): value is readonly Action[] {
  return Array.isArray(value);
}

/** Two columns. */
function align(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(48, Math.max(0, ...rows.map(([left]) => left.length)));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
