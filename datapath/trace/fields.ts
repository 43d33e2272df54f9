/** Keys as named fields with their values in text, and what differs between two of them. */
import { exactMask } from "../fields/exact_mask.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import type { Attribute, Field } from "../fields/field_types.ts";
import { labelsOf, wantedLabels } from "../fields/label_count.ts";
import { flowToJson } from "../json/flow_json.ts";
import { KEY_SIZE, MPLS_COUNT_AT } from "../key.ts";
import type { FieldChange, FieldDifference } from "./schema.ts";

/** Value of each field under a mask, in the order of flow text; a masked value is `value/mask`. */
export function namedFields(
  key: Int32Array,
  mask: Int32Array,
  table: FieldTable = FIELDS,
): Map<string, string> {
  const fields = new Map<string, string>();
  for (const [name, value] of Object.entries(flowToJson(key, mask, { table }))) {
    const attribute = table.byName(name);
    if (Array.isArray(value)) {
      value.forEach((level, index) => {
        addFields(fields, value.length > 1 ? `${name}[${index}]` : name, level, attribute);
      });
    } else addFields(fields, name, value, attribute);
  }
  return fields;
}

function addFields(
  fields: Map<string, string>,
  path: string,
  value: unknown,
  attribute: Attribute | undefined,
  field: Field | undefined = attribute?.fields.find(({ name }) => name === ""),
): void {
  if (typeof value !== "object" || value === null) {
    fields.set(path, path.endsWith(".tpid") ? hex(value) : show(value, field));
  } else if ("value" in value && "mask" in value) {
    fields.set(path, `${show(value.value, field)}/${show(value.mask, field)}`);
  } else {
    for (const [name, inner] of Object.entries(value)) {
      const own = attribute?.fields.find((each) => each.name === name);
      addFields(fields, `${path}.${name}`, inner, attribute, own);
    }
  }
}

function show(value: unknown, field: Field | undefined): string {
  if (typeof value === "string") return value;
  const isHex = field?.form === "hex" || field?.form === "ether_type";
  return isHex ? hex(value) : JSON.stringify(value);
}

function hex(value: unknown): string {
  return typeof value === "number" ? `0x${value.toString(16)}` : JSON.stringify(value);
}

/** What an action has made of a packet's key. */
export function changedFields(before: Int32Array, after: Int32Array): FieldChange[] {
  if (before === after) return [];
  const old = namedFields(before, exactMask(before));
  const now = namedFields(after, exactMask(after));
  const changes: FieldChange[] = [];
  for (const [field, from] of old) {
    const to = now.get(field);
    if (to !== from) changes.push({ field, from, to: to ?? null });
  }
  for (const [field, to] of now) if (!old.has(field)) changes.push({ field, from: null, to });
  return changes;
}

/** Fields in which a packet's key is not what a flow wants; the flow's key is masked. */
export function differingFields(
  flow: { readonly key: Int32Array; readonly mask: Int32Array },
  packet: Int32Array,
): FieldDifference[] {
  const wanted = namedFields(flow.key, flow.mask);
  const masked = packet.map((word, at) => word & flow.mask[at]!);
  // As many labels are looked at, whether the packet has them or not: see addLabelCount.
  bytesOf(masked)[MPLS_COUNT_AT] = bytesOf(flow.key)[MPLS_COUNT_AT]!;
  const got = namedFields(masked, flow.mask);
  const differences: FieldDifference[] = [];
  for (const [field, value] of wanted) {
    const other = got.get(field);
    if (other !== value) differences.push({ field, wanted: value, got: other ?? null });
  }
  // A packet's tag, where the flow wants none, is a field that the flow's text has not got.
  for (const [field, value] of got) {
    if (!wanted.has(field) && differences.length === 0) {
      differences.push({ field, wanted: "none", got: value });
    }
  }
  addLabelCount(differences, flow, packet);
  // Fields of another protocol are absent because of the type, which is what differs.
  const own = differences.filter((each) => each.got !== null);
  return own.length > 0 ? own : differences;
}

/** Names of the fields that a flow's mask looks at; partial ones with their mask. */
export function maskedFields(key: Int32Array, mask: Int32Array): string[] {
  return [...namedFields(key, mask)].map(([field, value]) => {
    const slash = value.indexOf("/");
    return slash < 0 ? field : field + value.slice(slash);
  });
}

/** That a packet has too few labels does not show in those that it has. */
function addLabelCount(
  differences: FieldDifference[],
  flow: { readonly key: Int32Array; readonly mask: Int32Array },
  packet: Int32Array,
): void {
  if (differences.length > 0) return;
  const wanted = wantedLabels(bytesOf(flow.key), bytesOf(flow.mask));
  const got = labelsOf(bytesOf(packet)[MPLS_COUNT_AT]!);
  if (got < wanted) differences.push({ field: "mpls labels", wanted: `${wanted}`, got: `${got}` });
}

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}
