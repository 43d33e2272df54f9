/**
 * Reads flow keys from netlink attributes: what key_codec.ts writes, and what the kernel and
 * ovs-vswitchd write.
 *
 * The masks are completed as the kernel completes them (flow_netlink.c: ovs_nla_get_match): Ethernet
 * type and port are matched exactly or not at all, a level without a tag is matched as that, and so is
 * whether there is an Ethernet header. What isn't known is kept, never fatal.
 */
import type { Attribute, Dialect } from "../fields/field_types.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import { ETH_P_802_3_MIN, VLAN_LEVEL_SIZE } from "../fields/fields.ts";
import { labelBits } from "../fields/label_count.ts";
import {
  ETH_P_802_2,
  ETH_TYPE_AT,
  IN_PORT_AT,
  KEY_SIZE,
  KEY_WORDS,
  L3_PACKET,
  MPLS_COUNT_AT,
  MPLS_LABELS_MAX,
  PORT_NONE,
  TCP_FLAGS_AT,
  TUN_FAMILY_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_KIND_AT,
  TUN_OPTIONS_SIZE_AT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "../key.ts";
import { AttributeSet, NetlinkCodecError, toHex, viewOf } from "./attributes.ts";
import { fillBits, type Role } from "./field_bytes.ts";
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
import { decodePayload, fieldsByNumber } from "./key_payload.ts";
import { type KeyTree, readKeyTree, readMaskTree } from "./key_tree.ts";
import { decodeTunnel, fillFlags, isOtherFamily, isPlain } from "./tunnel_codec.ts";

export interface DecodedKey {
  /** KEY_WORDS words. */
  readonly key: Int32Array<ArrayBuffer>;
  /** KEY_WORDS words. */
  readonly mask: Int32Array<ArrayBuffer>;
  readonly unknown: readonly UnknownAttribute[];
}

interface Decoder {
  readonly dialect: Dialect;
  readonly table: FieldTable;
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
  readonly keyTree: KeyTree;
  /** Undefined: everything that the key has is matched exactly. */
  readonly maskTree: KeyTree | undefined;
  /** By the numbers of what they lie in and their own. */
  readonly unknown: Map<string, FoundUnknown>;
}

interface FoundUnknown {
  readonly number: number;
  readonly within: readonly number[];
  readonly key?: string;
  readonly mask?: string;
}

/**
 * Reads the payloads of OVS_FLOW_ATTR_KEY and OVS_FLOW_ATTR_MASK, or a packet's key. Without a mask
 * every attribute that is there is matched exactly. Throws NetlinkCodecError.
 */
export function decodeKey(
  keyBytes: Uint8Array,
  maskBytes: Uint8Array | undefined,
  options: KeyCodecOptions,
): DecodedKey {
  const key = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  const keyTree = readKeyTree(keyBytes, "key");
  const decoder: Decoder = {
    dialect: options.dialect,
    table: options.table ?? FIELDS,
    key: new Uint8Array(key.buffer),
    mask: new Uint8Array(mask.buffer),
    keyTree,
    maskTree: maskBytes === undefined ? undefined : readMaskTree(maskBytes, "mask", keyTree),
    unknown: new Map(),
  };
  if (keyTree.find(OVS_KEY_ATTR_IN_PORT) === undefined) {
    viewOf(decoder.key).setUint16(IN_PORT_AT, PORT_NONE);
  }
  decodeTags(decoder);
  decodePacketType(decoder);
  for (const attribute of decoder.table.attributes) {
    if (isSpecial(attribute.number) || isForeign(attribute, decoder.dialect)) continue;
    decodeAttribute(decoder, attribute);
  }
  collectUnknown(decoder, "key", keyTree);
  if (decoder.maskTree !== undefined) collectUnknown(decoder, "mask", decoder.maskTree);
  return { key, mask, unknown: finishUnknown(decoder) };
}

/** Reads the payload of OVS_PACKET_ATTR_EGRESS_TUN_KEY: a key, KEY_WORDS words, with nothing but the tunnel. */
export function decodeTunnelKey(
  payload: Uint8Array,
  options: KeyCodecOptions,
): Int32Array<ArrayBuffer> {
  const words = new Int32Array(KEY_WORDS);
  const key = new Uint8Array(words.buffer);
  const attribute = (options.table ?? FIELDS).byNumber(OVS_KEY_ATTR_TUNNEL);
  if (attribute !== undefined) {
    const { dialect } = options;
    decodeTunnel(payload, key, { attribute, dialect, role: "key", path: "tunnel", key });
  }
  return words;
}

function isSpecial(number: number): boolean {
  return number === OVS_KEY_ATTR_VLAN || number === OVS_KEY_ATTR_ETHERTYPE;
}

function isForeign(attribute: Attribute, dialect: Dialect): boolean {
  return attribute.only !== undefined && attribute.only !== dialect;
}

function decodeTags({ key, mask, keyTree, maskTree }: Decoder): void {
  const keyView = viewOf(key);
  const maskView = viewOf(mask);
  for (const offset of [0, VLAN_LEVEL_SIZE]) maskView.setUint16(VLAN_TCI_AT + offset, 0xffff);
  for (const [level, tag] of keyTree.tags.entries()) {
    const offset = level * VLAN_LEVEL_SIZE;
    keyView.setUint16(VLAN_TCI_AT + offset, tag.tci);
    keyView.setUint16(VLAN_TPID_AT + offset, tag.tpid);
    maskView.setUint16(VLAN_TCI_AT + offset, maskTree?.tags[level]?.tci ?? 0xffff);
    maskView.setUint16(VLAN_TPID_AT + offset, 0xffff);
  }
}

/** Whether there is an Ethernet header, and the Ethernet type. */
function decodePacketType({ dialect, key, mask, keyTree, maskTree }: Decoder): void {
  const keyView = viewOf(key);
  const maskView = viewOf(mask);
  const written = keyTree.etherType;
  const hasEthernet = keyTree.find(OVS_KEY_ATTR_ETHERNET) !== undefined;
  const packetType = dialect === "userspace" ? readPacketType(keyTree) : undefined;
  if (packetType?.isL3 === true && hasEthernet) {
    throw new NetlinkCodecError("key packet_type", "there is an Ethernet header");
  }
  const isL3 = packetType?.isL3 ?? (!hasEthernet && written !== undefined);
  if (!isL3 && !hasEthernet && dialect === "kernel") {
    throw new NetlinkCodecError("key", "an Ethernet header or an Ethernet type must be there");
  }
  maskView.setUint16(TCP_FLAGS_AT, L3_PACKET);
  if (isL3) keyView.setUint16(TCP_FLAGS_AT, L3_PACKET);
  const typeMask = maskTree === undefined ? written ?? 0 : maskTree.etherType ?? 0;
  // The kernel shows a type that isn't matched as 0, with a mask of 0.
  const isShown = written !== undefined && (isL3 || typeMask !== 0 || written !== 0);
  const type = isShown ? written : isL3 ? packetType?.type : undefined;
  if (type !== undefined && type < ETH_P_802_3_MIN && !(isL3 && type === 0)) {
    throw new NetlinkCodecError("key eth_type", `0x${type.toString(16)} must be 0x600 … 0xffff`);
  }
  keyView.setUint16(ETH_TYPE_AT, type ?? ETH_P_802_2);
  if (isL3 || typeMask !== 0) maskView.setUint16(ETH_TYPE_AT, 0xffff);
}

function readPacketType(tree: KeyTree): { isL3: boolean; type: number } | undefined {
  const payload = tree.find(OVS_KEY_ATTR_PACKET_TYPE)?.payload;
  if (payload === undefined) return undefined;
  const path = "key packet_type";
  if (payload.length !== 4) throw new NetlinkCodecError(path, `${payload.length} bytes, must be 4`);
  const namespace = viewOf(payload).getUint16(0);
  const type = viewOf(payload).getUint16(2);
  if (namespace !== PACKET_TYPE_ETHERTYPE && (namespace !== 0 || type !== 0)) {
    throw new NetlinkCodecError(path, `ns=${namespace},id=${type} is neither Ethernet nor ns=1`);
  }
  return { isL3: namespace === PACKET_TYPE_ETHERTYPE, type };
}

function decodeAttribute(decoder: Decoder, attribute: Attribute): void {
  const { keyTree, maskTree, key, mask } = decoder;
  const found = keyTree.find(attribute.number);
  if (found !== undefined) decodeOne(decoder, attribute, "key");
  if (maskTree === undefined) {
    if (found !== undefined) fillMask(attribute, found.payload, key, mask);
    return;
  }
  const foundMask = maskTree.find(attribute.number);
  if (foundMask === undefined) {
    // ovs-vswitchd's datapath matches it always.
    const isAlways = decoder.dialect === "userspace" &&
      attribute.number === OVS_KEY_ATTR_RECIRC_ID;
    if (isAlways) fillMask(attribute, new Uint8Array(), key, mask);
    return;
  }
  if (found === undefined) {
    // The kernel's dumps have a mask of the tunnel always.
    if (attribute.number === OVS_KEY_ATTR_TUNNEL) return;
    if (foundMask.payload.every((byte) => byte === 0)) return;
    if (attribute.requires !== undefined) {
      throw new NetlinkCodecError(`mask ${attribute.name}`, "the key has no such attribute");
    }
  }
  decodeOne(decoder, attribute, "mask");
}

function decodeOne(decoder: Decoder, attribute: Attribute, role: Role): void {
  const { dialect, key } = decoder;
  const { payload, within } = (role === "key" ? decoder.keyTree : decoder.maskTree!)
    .find(attribute.number)!;
  const bytes = role === "key" ? key : decoder.mask;
  const path = `${role} ${attribute.name}`;
  const unknown = attribute.number === OVS_KEY_ATTR_TUNNEL
    ? decodeTunnel(payload, bytes, { attribute, dialect, role, path, key }).unknown
    : decodePayload(attribute, payload, bytes, { dialect, role, path });
  if (attribute.shape === "labels") {
    const saysNothing = role === "mask" && payload.every((byte) => byte === 0);
    bytes[MPLS_COUNT_AT] = saysNothing ? 0 : labelBits(payload.length / 4);
  }
  for (const [number, value] of unknown) {
    keepUnknown(decoder, { number, within: [...within, attribute.number] }, role, value);
  }
}

/** An exact mask of what the payload has. */
function fillMask(
  attribute: Attribute,
  payload: Uint8Array,
  key: Uint8Array,
  mask: Uint8Array,
): void {
  if (attribute.number === OVS_KEY_ATTR_TUNNEL) return fillTunnelMask(attribute, key, mask);
  if (attribute.shape === "labels") {
    for (let offset = 0; offset < payload.length; offset += 4) {
      for (const field of attribute.fields) fillBits(mask, field, offset);
    }
    mask[MPLS_COUNT_AT] = labelBits(MPLS_LABELS_MAX);
  } else if (attribute.shape === "nested") {
    const inner = new AttributeSet(payload, attribute.name);
    for (const [number, fields] of fieldsByNumber(attribute)) {
      if (inner.has(number)) { for (const field of fields) fillBits(mask, field); }
    }
  } else for (const field of attribute.fields) fillBits(mask, field);
}

function fillTunnelMask(attribute: Attribute, key: Uint8Array, mask: Uint8Array): void {
  mask[TUN_FAMILY_AT] = 0xff;
  mask[TUN_OPTIONS_KIND_AT] = 0xff;
  fillFlags(mask);
  for (const field of attribute.fields) {
    if (isPlain(field) && !isOtherFamily(field, key)) fillBits(mask, field);
  }
  if (key[TUN_OPTIONS_KIND_AT] === 0) return;
  viewOf(mask).setUint16(TUN_OPTIONS_SIZE_AT, 0xffff);
  const size = viewOf(key).getUint16(TUN_OPTIONS_SIZE_AT);
  mask.fill(0xff, TUN_OPTIONS_AT, Math.min(TUN_OPTIONS_AT + size, KEY_SIZE));
}

function collectUnknown(decoder: Decoder, role: Role, tree: KeyTree): void {
  const { table, dialect } = decoder;
  for (const [level, set] of tree.levels.entries()) {
    const within = Array.from({ length: level }, () => OVS_KEY_ATTR_ENCAP);
    for (const number of set.types) {
      if (isSpecial(number) || number === OVS_KEY_ATTR_ENCAP) continue;
      if (number === OVS_KEY_ATTR_PACKET_TYPE && dialect === "userspace") continue;
      const attribute = table.byNumber(number);
      if (attribute !== undefined && !isForeign(attribute, dialect)) continue;
      keepUnknown(decoder, { number, within }, role, payloadOf(set, number));
    }
  }
}

function payloadOf(set: AttributeSet, number: number): Uint8Array {
  return set.bytes(number)!;
}

function keepUnknown(
  decoder: Decoder,
  place: { readonly number: number; readonly within: readonly number[] },
  role: Role,
  payload: Uint8Array,
): void {
  const name = [...place.within, place.number].join(" ");
  decoder.unknown.set(name, { ...decoder.unknown.get(name), ...place, [role]: toHex(payload) });
}

/** What the mask lacks isn't matched; without a mask everything is. */
function finishUnknown({ unknown, maskTree }: Decoder): UnknownAttribute[] {
  return [...unknown.values()].map(({ number, within, key, mask }) => {
    const zeros = "0".repeat((key ?? mask ?? "").length);
    return {
      number,
      key: key ?? zeros,
      mask: maskTree === undefined ? undefined : mask ?? zeros,
      ...(within.length > 0 ? { within } : {}),
    };
  });
}
