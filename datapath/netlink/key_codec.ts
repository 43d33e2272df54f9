/**
 * Flow keys as netlink attributes (OVS_KEY_ATTR_* of linux/openvswitch.h): a flow's key with its mask,
 * and a packet's key, both ways by the field table. This file writes; key_decoder.ts reads.
 *
 * What is written follows the rules by which net/openvswitch reads (flow_netlink.c: match_validate):
 * every attribute that the key's Ethernet type and protocol imply is in the key, matched or not.
 * Metadata is written if it is matched. Under VLAN tags the rest lies in ENCAP, in the mask as in the
 * key. Frames without an Ethernet type (802.2) have no ETHERTYPE in the key and 0xffff in the mask.
 */
import type { Attribute, Dialect, Field } from "../fields/field_types.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_802_3_MIN,
  VLAN_LEVEL_SIZE,
  VLAN_LEVELS_MAX,
} from "../fields/fields.ts";
import {
  ETH_TYPE_AT,
  IN_PORT_AT,
  KEY_SIZE,
  KEY_WORDS,
  L3_PACKET,
  MPLS_COUNT_AT,
  PORT_NONE,
  TCP_FLAGS_AT,
  TUN_FAMILY_AT,
  TUN_OPTIONS_KIND_AT,
  VLAN_PRESENT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "../key.ts";
import { labelsOf, wantedLabels } from "../fields/label_count.ts";
import { isInKey } from "../fields/layers.ts";
import { AttributeWriter, fromHex, NetlinkCodecError, viewOf } from "./attributes.ts";
import { hasBits, type Role } from "./field_bytes.ts";
import {
  type KeyCodecOptions,
  OVS_KEY_ATTR_ENCAP,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_IN_PORT,
  OVS_KEY_ATTR_PACKET_TYPE,
  OVS_KEY_ATTR_RECIRC_ID,
  OVS_KEY_ATTR_TUNNEL,
  OVS_KEY_ATTR_VLAN,
  PACKET_TYPE_ETHERTYPE,
  type UnknownAttribute,
} from "./key_attributes.ts";
import { encodePayload, labelCount } from "./key_payload.ts";
import { encodeTunnel, saysFamily } from "./tunnel_codec.ts";

export { decodeKey, decodeTunnelKey } from "./key_decoder.ts";
export type { DecodedKey } from "./key_decoder.ts";
export type { KeyCodecOptions, UnknownAttribute } from "./key_attributes.ts";

export interface EncodeKeyOptions extends KeyCodecOptions {
  /** Attributes to write back as they came. */
  readonly unknown?: readonly UnknownAttribute[] | undefined;
}

/** Payloads of OVS_FLOW_ATTR_KEY and OVS_FLOW_ATTR_MASK. */
export interface EncodedKey {
  readonly key: Uint8Array<ArrayBuffer>;
  readonly mask: Uint8Array<ArrayBuffer>;
}

interface Encoder {
  readonly dialect: Dialect;
  readonly table: FieldTable;
  readonly key: Uint8Array;
  /** Undefined: the key is a packet's. */
  readonly mask: Uint8Array | undefined;
  readonly keyWriter: AttributeWriter;
  readonly maskWriter: AttributeWriter;
  readonly unknown: readonly UnknownAttribute[];
}

/**
 * Writes a flow's key and mask, KEY_WORDS words each. Values are written whole, also where the mask is
 * zero. Throws NetlinkCodecError for what the dialect hasn't.
 */
export function encodeKey(
  key: Int32Array,
  mask: Int32Array,
  options: EncodeKeyOptions,
): EncodedKey {
  const encoder = newEncoder(key, mask, options);
  encodeAll(encoder);
  return { key: encoder.keyWriter.bytes(), mask: encoder.maskWriter.bytes() };
}

/**
 * Writes the key of a packet, KEY_WORDS words: the payload of OVS_PACKET_ATTR_KEY. Metadata that is
 * zero is left out, and what the dialect hasn't.
 */
export function encodePacketKey(
  key: Int32Array,
  options: KeyCodecOptions,
): Uint8Array<ArrayBuffer> {
  const encoder = newEncoder(key, undefined, options);
  encodeAll(encoder);
  return encoder.keyWriter.bytes();
}

/** Writes the tunnel of a packet's key alone: the payload of OVS_PACKET_ATTR_EGRESS_TUN_KEY. */
export function encodeTunnelKey(
  key: Int32Array,
  options: KeyCodecOptions,
): Uint8Array<ArrayBuffer> {
  const encoder = newEncoder(key, undefined, options);
  const attribute = encoder.table.byNumber(OVS_KEY_ATTR_TUNNEL);
  if (attribute !== undefined) writeTunnel(encoder, attribute, "key", encoder.keyWriter);
  return encoder.keyWriter.bytes();
}

function newEncoder(
  key: Int32Array,
  mask: Int32Array | undefined,
  options: EncodeKeyOptions,
): Encoder {
  return {
    dialect: options.dialect,
    table: options.table ?? FIELDS,
    key: bytesOf(key),
    mask: mask === undefined ? undefined : bytesOf(mask),
    keyWriter: new AttributeWriter(),
    maskWriter: new AttributeWriter(),
    unknown: options.unknown ?? [],
  };
}

function bytesOf(words: Int32Array): Uint8Array {
  if (words.length !== KEY_WORDS) throw new RangeError(`a key has ${KEY_WORDS} words`);
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

/** Attributes before the tags are metadata and addresses; those behind them lie within the tags. */
function encodeAll(encoder: Encoder): void {
  const { table, key } = encoder;
  const isL3 = (read16(key, TCP_FLAGS_AT) & L3_PACKET) !== 0;
  const vlanAt = table.attributes.findIndex((each) => each.number === OVS_KEY_ATTR_VLAN);
  const inner: Attribute[] = [];
  for (const [index, attribute] of table.attributes.entries()) {
    const { number } = attribute;
    if (number === OVS_KEY_ATTR_VLAN || number === OVS_KEY_ATTR_ETHERTYPE) continue;
    if (number === OVS_KEY_ATTR_ETHERNET) {
      writePacketType(encoder, isL3);
      if (!isL3) writeAttribute(encoder, attribute);
      else if (isMatched(encoder, attribute)) {
        throw new NetlinkCodecError("key eth", "a packet without an Ethernet header has none");
      }
    } else if (index < vlanAt || attribute.requires === undefined) {
      if (isWanted(encoder, attribute)) writeAttribute(encoder, attribute);
    } else if (isWanted(encoder, attribute)) inner.push(attribute);
  }
  if (isL3) {
    writeEtherType(encoder);
    for (const attribute of inner) writeAttribute(encoder, attribute);
  } else writeLevel(encoder, 0, inner);
  writeUnknown(encoder, []);
}

/** Whether an attribute without rules of its own belongs into the message. */
function isWanted(encoder: Encoder, attribute: Attribute): boolean {
  const matched = isMatched(encoder, attribute);
  if (attribute.only !== undefined && attribute.only !== encoder.dialect) {
    if (encoder.mask !== undefined && matched && isInKey(attribute, encoder.key)) {
      throw new NetlinkCodecError(`key ${attribute.name}`, onlyText(attribute.only));
    }
    return false;
  }
  if (attribute.requires !== undefined) {
    return isInKey(attribute, encoder.key) && (!attribute.optional || matched);
  }
  // Without it ovs-vswitchd's datapath matches 0, not anything.
  return matched || encoder.dialect === "userspace" && attribute.number === OVS_KEY_ATTR_RECIRC_ID;
}

function onlyText(dialect: Dialect): string {
  return dialect === "kernel"
    ? "only the kernel can match it"
    : "the kernel can't match it, only ovs-vswitchd's own datapath";
}

/** Whether a bit of the attribute is matched; in a packet's key: whether it is there. */
function isMatched(encoder: Encoder, attribute: Attribute): boolean {
  const { key, mask } = encoder;
  const bytes = mask ?? key;
  if (attribute.number === OVS_KEY_ATTR_TUNNEL && bytes[TUN_FAMILY_AT] !== 0) return true;
  if (mask === undefined && attribute.number === OVS_KEY_ATTR_IN_PORT) {
    return read16(key, IN_PORT_AT) !== PORT_NONE;
  }
  return attribute.fields.some((field) => hasBits(bytes, field));
}

function writeAttribute(encoder: Encoder, attribute: Attribute): void {
  const { key, mask, dialect } = encoder;
  if (attribute.number === OVS_KEY_ATTR_TUNNEL) {
    const tunnelKey = new AttributeWriter();
    writeTunnel(encoder, attribute, "key", tunnelKey);
    encoder.keyWriter.attribute(attribute.number, tunnelKey.bytes());
    if (mask === undefined) return;
    const tunnelMask = new AttributeWriter();
    writeTunnel(encoder, attribute, "mask", tunnelMask);
    encoder.maskWriter.attribute(attribute.number, tunnelMask.bytes());
    return;
  }
  const unknown = unknownIn(encoder, attribute.number);
  const write = (role: Role, writer: AttributeWriter, bytes: Uint8Array): void => {
    const context = { dialect, role, path: `${role} ${attribute.name}` };
    const labels = attribute.shape === "labels" ? labelsToWrite(encoder, attribute, role) : 1;
    const payload = encodePayload(attribute, bytes, context, labels);
    if (unknown.length === 0) writer.attribute(attribute.number, payload);
    else {
      writer.nested(attribute.number, () => {
        writer.raw(payload);
        writeUnknownOf(writer, unknown, role);
      });
    }
  };
  write("key", encoder.keyWriter, key);
  if (mask !== undefined) write("mask", encoder.maskWriter, mask);
}

/** A packet whose stack has no bottom has none; a flow's key must have one. */
function labelsToWrite({ key, mask }: Encoder, attribute: Attribute, role: Role): number {
  if (mask === undefined) return labelsOf(key[MPLS_COUNT_AT]!);
  const wanted = role === "key" ? wantedLabels(key, mask) : labelsOf(mask[MPLS_COUNT_AT]!);
  return wanted > 0 ? wanted : labelCount(attribute, key, mask);
}

function writeTunnel(
  encoder: Encoder,
  attribute: Attribute,
  role: Role,
  writer: AttributeWriter,
): void {
  const { key, mask, dialect } = encoder;
  const bytes = role === "key" ? key : mask ?? key;
  const context = { attribute, dialect, role, path: `${role} tunnel`, key };
  const ttl = attribute.fields.find((field) => field.name === "ttl");
  const isWritten = (field: Field): boolean =>
    hasBits(bytes, field) || field === ttl || role === "key" && saysFamily(field, key);
  const withOptions = (mask ?? key)[TUN_OPTIONS_KIND_AT] !== 0;
  encodeTunnel(writer, bytes, context, { isWritten, withOptions });
  const unknown = unknownIn(encoder, OVS_KEY_ATTR_TUNNEL);
  writeUnknownOf(writer, unknown, role);
}

/** ovs-vswitchd's datapath says so by an attribute, the kernel by whether there is ETHERNET. */
function writePacketType(encoder: Encoder, isL3: boolean): void {
  if (encoder.dialect !== "userspace") return;
  const type = new Uint8Array(4);
  if (isL3) {
    viewOf(type).setUint16(0, PACKET_TYPE_ETHERTYPE);
    viewOf(type).setUint16(2, read16(encoder.key, ETH_TYPE_AT));
  }
  encoder.keyWriter.attribute(OVS_KEY_ATTR_PACKET_TYPE, type);
  encoder.maskWriter.attribute(OVS_KEY_ATTR_PACKET_TYPE, new Uint8Array(4).fill(0xff));
}

/** The tag of a level and, within ENCAP, what is behind it; or, without a tag, type and contents. */
function writeLevel(encoder: Encoder, level: number, inner: readonly Attribute[]): void {
  const { key, mask, keyWriter, maskWriter } = encoder;
  const tciAt = VLAN_TCI_AT + level * VLAN_LEVEL_SIZE;
  const tci = read16(key, tciAt);
  const tciMask = mask === undefined ? 0xffff : read16(mask, tciAt);
  const isTagged = level < VLAN_LEVELS_MAX && (tci & tciMask & VLAN_PRESENT) !== 0;
  const type = read16(key, ETH_TYPE_AT);
  if (!isTagged && (level === VLAN_LEVELS_MAX || !isTagType(type))) {
    writeEtherType(encoder);
    for (const attribute of inner) writeAttribute(encoder, attribute);
    // The kernel takes an ENCAP of zeros for none; the header alone makes it one.
    if (level > 0 && maskWriter.size === 0) maskWriter.attributeBe16(OVS_KEY_ATTR_ETHERTYPE, 0);
    return;
  }
  // Without a tag the type is that of one whose rest the packet was too short for.
  const tpid = isTagged ? read16(key, VLAN_TPID_AT + level * VLAN_LEVEL_SIZE) : type;
  keyWriter.attributeBe16(OVS_KEY_ATTR_ETHERTYPE, tpid).attributeBe16(OVS_KEY_ATTR_VLAN, tci);
  maskWriter.attributeBe16(OVS_KEY_ATTR_ETHERTYPE, 0xffff).attributeBe16(
    OVS_KEY_ATTR_VLAN,
    tciMask,
  );
  const within: Encoder = {
    ...encoder,
    keyWriter: new AttributeWriter(),
    maskWriter: new AttributeWriter(),
  };
  if (isTagged) writeLevel(within, level + 1, inner);
  writeUnknown(within, Array.from({ length: level + 1 }, () => OVS_KEY_ATTR_ENCAP));
  keyWriter.attribute(OVS_KEY_ATTR_ENCAP, within.keyWriter.bytes());
  maskWriter.attribute(OVS_KEY_ATTR_ENCAP, within.maskWriter.bytes());
}

function isTagType(type: number): boolean {
  return type === ETH_P_8021Q || type === ETH_P_8021AD;
}

function writeEtherType(encoder: Encoder): void {
  const { key, mask, keyWriter, maskWriter } = encoder;
  const type = read16(key, ETH_TYPE_AT);
  const typeMask = mask === undefined ? 0xffff : read16(mask, ETH_TYPE_AT);
  if (type >= ETH_P_802_3_MIN) keyWriter.attributeBe16(OVS_KEY_ATTR_ETHERTYPE, type);
  else if (typeMask === 0) return;
  maskWriter.attributeBe16(OVS_KEY_ATTR_ETHERTYPE, typeMask === 0 ? 0 : 0xffff);
}

/** Unknown attributes that lie in one of that number. */
function unknownIn(encoder: Encoder, number: number): UnknownAttribute[] {
  return encoder.unknown.filter(({ within }) => within?.at(-1) === number);
}

/** Writes back what came from that nest of attributes, but what lies in one that has a shape. */
function writeUnknown(encoder: Encoder, nest: readonly number[]): void {
  const here = encoder.unknown.filter(({ within = [] }) =>
    within.length === nest.length && within.every((number, at) => number === nest[at])
  );
  writeUnknownOf(encoder.keyWriter, here, "key");
  writeUnknownOf(encoder.maskWriter, here, "mask");
}

function writeUnknownOf(
  writer: AttributeWriter,
  unknown: readonly UnknownAttribute[],
  role: Role,
): void {
  for (const { number, key, mask } of unknown) {
    const payload = role === "key" ? key : mask ?? "f".repeat(key.length);
    writer.attribute(number, fromHex(payload, `${role} ${number}`));
  }
}
