/**
 * The payload of one key attribute (OVS_KEY_ATTR_*) by its shape in the field table: a struct, a
 * stack of labels, nested attributes. TUNNEL is tunnel_codec.ts's.
 */
import type { Attribute, Dialect, Field } from "../fields/field_types.ts";
import { MPLS_LABELS_MAX, NSH_CONTEXT_AT, NSH_MDTYPE_AT } from "../key.ts";
import { NSH_M_TYPE1, OVS_NSH_KEY_ATTR_MD1 } from "./action_attributes.ts";
import { AttributeSet, AttributeWriter, NetlinkCodecError } from "./attributes.ts";
import { decodeStruct, encodeStruct, hasBits, type Layout, type Role } from "./field_bytes.ts";

const LABEL_SIZE = 4;

export interface PayloadContext {
  readonly dialect: Dialect;
  readonly role: Role;
  /** For errors; ends with the attribute's name. */
  readonly path: string;
}

export function layoutOf(attribute: Attribute, context: PayloadContext, offset = 0): Layout {
  const { role, dialect, path } = context;
  return { offset, hostOrder: attribute.hostOrder, role, dialect, path };
}

/** Fields by the nested attribute that carries them. */
export function fieldsByNumber(attribute: Attribute): Map<number, Field[]> {
  const groups = new Map<number, Field[]>();
  for (const field of attribute.fields) {
    const group = groups.get(field.subNumber);
    if (group === undefined) groups.set(field.subNumber, [field]);
    else group.push(field);
  }
  return groups;
}

/** Labels that a flow names: up to the last of which the key or the mask has a bit, at least one. */
export function labelCount(attribute: Attribute, key: Uint8Array, mask: Uint8Array): number {
  for (let count = MPLS_LABELS_MAX; count > 1; count--) {
    const offset = (count - 1) * LABEL_SIZE;
    const isNamed = attribute.fields.some((field) =>
      hasBits(key, field, offset) || hasBits(mask, field, offset)
    );
    if (isNamed) return count;
  }
  return 1;
}

/** `labels`: how many entries of a stack. */
export function encodePayload(
  attribute: Attribute,
  bytes: Uint8Array,
  context: PayloadContext,
  labels = 1,
): Uint8Array {
  const layout = layoutOf(attribute, context);
  switch (attribute.shape) {
    case "struct":
      return encodeStruct(attribute.fields, bytes, layout);
    case "labels": {
      const payload = new Uint8Array(labels * LABEL_SIZE);
      for (let offset = 0; offset < payload.length; offset += LABEL_SIZE) {
        payload.set(encodeStruct(attribute.fields, bytes, { ...layout, offset }), offset);
      }
      return payload;
    }
    case "nested": {
      const writer = new AttributeWriter();
      for (const [number, fields] of fieldsByNumber(attribute)) {
        if (isLeftOut(number, fields, bytes, context)) continue;
        writer.attribute(number, encodeStruct(fields, bytes, layout));
      }
      return writer.bytes();
    }
  }
}

/** The kernel refuses metadata in a key of another metadata type; a mask always has it. */
function isLeftOut(
  number: number,
  fields: readonly Field[],
  bytes: Uint8Array,
  { role }: PayloadContext,
): boolean {
  const isMetadata = fields[0]!.at === NSH_CONTEXT_AT && number === OVS_NSH_KEY_ATTR_MD1;
  return isMetadata && role === "key" && bytes[NSH_MDTYPE_AT] !== NSH_M_TYPE1 &&
    !fields.some((field) => hasBits(bytes, field));
}

/** Adds the payload to a key's or mask's bytes; returns nested attributes that this version doesn't know. */
export function decodePayload(
  attribute: Attribute,
  payload: Uint8Array,
  bytes: Uint8Array,
  context: PayloadContext,
): ReadonlyMap<number, Uint8Array> {
  const layout = layoutOf(attribute, context);
  const unknown = new Map<number, Uint8Array>();
  switch (attribute.shape) {
    case "struct":
      decodeStruct(attribute.fields, payload, bytes, layout);
      break;
    case "labels":
      checkLabels(payload, context.path);
      for (let offset = 0; offset < payload.length; offset += LABEL_SIZE) {
        const label = payload.subarray(offset, offset + LABEL_SIZE);
        decodeStruct(attribute.fields, label, bytes, { ...layout, offset });
      }
      break;
    case "nested": {
      const inner = new AttributeSet(payload, context.path);
      const groups = fieldsByNumber(attribute);
      for (const number of inner.types) {
        const value = inner.bytes(number)!;
        const fields = groups.get(number);
        if (fields === undefined) unknown.set(number, value);
        else decodeStruct(fields, value, bytes, { ...layout, path: `${context.path} ${number}` });
      }
    }
  }
  return unknown;
}

/** The kernel's dumps have no entries where none is matched. */
function checkLabels(payload: Uint8Array, path: string): void {
  const count = payload.length / LABEL_SIZE;
  if (Number.isInteger(count) && count <= MPLS_LABELS_MAX) return;
  const problem =
    `${payload.length} bytes, must be up to ${MPLS_LABELS_MAX} entries of ${LABEL_SIZE}`;
  throw new NetlinkCodecError(path, problem);
}
