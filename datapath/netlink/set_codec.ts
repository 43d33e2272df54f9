/**
 * Set actions as netlink attributes: OVS_ACTION_ATTR_SET has one key attribute with its value,
 * OVS_ACTION_ATTR_SET_MASKED one with value and mask behind one another.
 *
 * A tunnel is always set as a whole. What of it is written, its mask says: fields that have none are
 * left out if they are zero.
 */
import type { SetAction } from "../actions/actions.ts";
import type { Attribute, Dialect, Field } from "../fields/field_types.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import {
  KEY_SIZE,
  KEY_WORDS,
  TUN_FAMILY_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_KIND_AT,
  TUN_OPTIONS_SIZE_AT,
} from "../key.ts";
import { completeTunnel, isWholeSet } from "../actions/set_action.ts";
import {
  AttributeSet,
  type AttributeWriter,
  NetlinkCodecError,
  scanAttributes,
  viewOf,
} from "./attributes.ts";
import { OVS_ACTION_ATTR_SET, OVS_ACTION_ATTR_SET_MASKED } from "./action_attributes.ts";
import { decodeStruct, encodeStruct, fillBits, hasAllBits, hasBits } from "./field_bytes.ts";
import { type KeyCodecOptions, OVS_KEY_ATTR_TUNNEL } from "./key_attributes.ts";
import { decodePayload, encodePayload, fieldsByNumber, layoutOf } from "./key_payload.ts";
import { decodeTunnel, encodeTunnel, saysFamily } from "./tunnel_codec.ts";

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}

function onlyOf(attribute: Attribute, dialect: Dialect, path: string): void {
  if (attribute.only === undefined || attribute.only === dialect) return;
  const who = attribute.only === "kernel" ? "the kernel" : "ovs-vswitchd's own datapath";
  throw new NetlinkCodecError(path, `only ${who} has ${attribute.name}`);
}

/** Writes SET or, with a mask that isn't all ones, SET_MASKED. Throws NetlinkCodecError. */
export function encodeSet(
  writer: AttributeWriter,
  action: SetAction,
  options: KeyCodecOptions,
): void {
  const table: FieldTable = options.table ?? FIELDS;
  const attribute = table.byName(action.attribute);
  if (attribute === undefined) {
    throw new NetlinkCodecError("set", `there is no attribute "${action.attribute}"`);
  }
  const { dialect } = options;
  const path = `set ${attribute.name}`;
  onlyOf(attribute, dialect, path);
  const value = bytesOf(action.value);
  const mask = bytesOf(action.mask);
  if (attribute.number === OVS_KEY_ATTR_TUNNEL) {
    writer.nested(OVS_ACTION_ATTR_SET, () => {
      writer.nested(
        attribute.number,
        () => writeTunnel(writer, attribute, { value, mask }, dialect),
      );
    });
    return;
  }
  const key = { dialect, role: "key", path } as const;
  if (isWholeSet(attribute, mask)) {
    writer.nested(OVS_ACTION_ATTR_SET, () => {
      writer.attribute(attribute.number, encodePayload(attribute, value, key));
    });
    return;
  }
  writer.nested(OVS_ACTION_ATTR_SET_MASKED, () => {
    if (attribute.shape === "nested") {
      writeMaskedNested(writer, attribute, { value, mask }, dialect);
    } else {
      const masked = encodePayload(attribute, mask, { dialect, role: "mask", path });
      writer.attribute(attribute.number, joined(encodePayload(attribute, value, key), masked));
    }
  });
}

interface SetBytes {
  readonly value: Uint8Array;
  readonly mask: Uint8Array;
}

function joined(value: Uint8Array, mask: Uint8Array): Uint8Array {
  const both = new Uint8Array(value.length + mask.length);
  both.set(value);
  both.set(mask, value.length);
  return both;
}

/** Each nested attribute has its own mask; those without a bit to set are left out, but the first. */
function writeMaskedNested(
  writer: AttributeWriter,
  attribute: Attribute,
  { value, mask }: SetBytes,
  dialect: Dialect,
): void {
  const context = { dialect, path: `set ${attribute.name}` } as const;
  writer.nested(attribute.number, () => {
    let isFirst = true;
    for (const [number, fields] of fieldsByNumber(attribute)) {
      const isLeftOut = !isFirst && !fields.some((field) => hasBits(mask, field));
      isFirst = false;
      if (isLeftOut) continue;
      const values = encodeStruct(fields, value, layoutOf(attribute, { ...context, role: "key" }));
      const masks = encodeStruct(fields, mask, layoutOf(attribute, { ...context, role: "mask" }));
      writer.attribute(number, joined(values, masks));
    }
  });
}

function writeTunnel(
  writer: AttributeWriter,
  attribute: Attribute,
  { value, mask }: SetBytes,
  dialect: Dialect,
): void {
  const context = { attribute, dialect, role: "key", path: "set tunnel", key: value } as const;
  // All ones in everything says nothing of what was written.
  const isWhole = attribute.fields.every((field) =>
    field.at === TUN_OPTIONS_AT || hasAllBits(mask, field)
  );
  const isWritten = (field: Field): boolean =>
    hasBits(value, field) || saysFamily(field, value) ||
    (isWhole ? field.name === "ttl" : hasBits(mask, field));
  const withOptions = value[TUN_OPTIONS_KIND_AT] !== 0;
  encodeTunnel(writer, value, context, { isWritten, withOptions });
}

/** Reads the payload of SET or SET_MASKED: one key attribute. Throws NetlinkCodecError; undefined: an unknown one. */
export function decodeSet(
  payload: Uint8Array,
  isMasked: boolean,
  options: KeyCodecOptions,
): SetAction | undefined {
  const path = isMasked ? "set_masked" : "set";
  const { number, inner } = onlyAttribute(payload, path);
  const { dialect } = options;
  const attribute = (options.table ?? FIELDS).byNumber(number);
  if (attribute === undefined) return undefined;
  if (attribute.only !== undefined && attribute.only !== dialect) return undefined;
  const action: SetAction = {
    type: "set",
    attribute: attribute.name,
    value: new Int32Array(KEY_WORDS),
    mask: new Int32Array(KEY_WORDS),
  };
  const bytes = { value: bytesOf(action.value), mask: bytesOf(action.mask) };
  const context = { dialect, path: `${path} ${attribute.name}` };
  if (attribute.number === OVS_KEY_ATTR_TUNNEL) {
    if (isMasked) throw new NetlinkCodecError(path, "a tunnel can't be set in part");
    return readTunnel(attribute, inner, bytes, context) ? action : undefined;
  }
  if (attribute.shape === "labels" && inner.length > (isMasked ? 8 : 4)) {
    throw new NetlinkCodecError(context.path, "only the outermost label can be set");
  }
  if (!isMasked) {
    const unknown = decodePayload(attribute, inner, bytes.value, { ...context, role: "key" });
    if (unknown.size > 0) return undefined;
    for (const field of attribute.fields) fillBits(bytes.mask, field);
  } else if (attribute.shape === "nested") {
    return readMaskedNested(attribute, inner, bytes, context) ? action : undefined;
  } else {
    const [value, mask] = halves(inner, context.path);
    decodePayload(attribute, value, bytes.value, { ...context, role: "key" });
    decodePayload(attribute, mask, bytes.mask, { ...context, role: "mask" });
  }
  return action;
}

function onlyAttribute(payload: Uint8Array, path: string): { number: number; inner: Uint8Array } {
  const found: { number: number; inner: Uint8Array }[] = [];
  const damage = scanAttributes(payload, (number, inner) => {
    found.push({ number, inner });
  });
  if (damage !== undefined) throw new NetlinkCodecError(path, damage);
  const [only] = found;
  if (only === undefined || found.length > 1) {
    throw new NetlinkCodecError(path, `${found.length} attributes, must be 1`);
  }
  return only;
}

function halves(payload: Uint8Array, path: string): [Uint8Array, Uint8Array] {
  const half = payload.length / 2;
  if (!Number.isInteger(half)) {
    throw new NetlinkCodecError(path, `${payload.length} bytes aren't a value and its mask`);
  }
  return [payload.subarray(0, half), payload.subarray(half)];
}

/** False: there is a nested attribute that this version doesn't know. */
function readMaskedNested(
  attribute: Attribute,
  payload: Uint8Array,
  { value, mask }: SetBytes,
  context: { dialect: Dialect; path: string },
): boolean {
  const inner = new AttributeSet(payload, context.path);
  const groups = fieldsByNumber(attribute);
  for (const number of inner.types) {
    const fields = groups.get(number);
    if (fields === undefined) return false;
    const path = `${context.path} ${number}`;
    const [values, masks] = halves(inner.bytes(number)!, path);
    decodeStruct(fields, values, value, layoutOf(attribute, { ...context, path, role: "key" }));
    decodeStruct(fields, masks, mask, layoutOf(attribute, { ...context, path, role: "mask" }));
  }
  return true;
}

/** The mask has what is written, all of it. False: there is an attribute that this version doesn't know. */
function readTunnel(
  attribute: Attribute,
  payload: Uint8Array,
  { value, mask }: SetBytes,
  context: { dialect: Dialect; path: string },
): boolean {
  const { fields, hasOptions, unknown } = decodeTunnel(payload, value, {
    ...context,
    attribute,
    role: "key",
    key: value,
  });
  if (unknown.size > 0) return false;
  for (const field of fields) fillBits(mask, field);
  mask[TUN_FAMILY_AT] = 0xff;
  if (hasOptions) {
    mask[TUN_OPTIONS_KIND_AT] = 0xff;
    viewOf(mask).setUint16(TUN_OPTIONS_SIZE_AT, 0xffff);
    const size = viewOf(value).getUint16(TUN_OPTIONS_SIZE_AT);
    mask.fill(0xff, TUN_OPTIONS_AT, TUN_OPTIONS_AT + size);
  }
  completeTunnel(value, mask);
  return true;
}
