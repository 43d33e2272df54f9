/** The mask under which a packet's key is matched by this packet's headers alone, as upcalls show it. */
import type { Attribute, Field } from "./field_types.ts";
import { FIELDS, type FieldTable } from "./field_table.ts";
import {
  CT_STATE_AT,
  CVLAN_TCI_AT,
  IN_PORT_AT,
  KEY_SIZE,
  KEY_WORDS,
  L3_PACKET,
  MPLS_AT,
  MPLS_COUNT_AT,
  NSH_CONTEXT_AT,
  NSH_MDTYPE_AT,
  PORT_NONE,
  TCP_FLAGS_AT,
  TUN_DST_AT,
  TUN_FAMILY_AT,
  TUN_FLAG_KEY,
  TUN_FLAGS_AT,
  TUN_ID_AT,
  TUN_IPV6_DST_AT,
  TUN_IPV6_SRC_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_KIND_AT,
  TUN_OPTIONS_SIZE_AT,
  TUN_SRC_AT,
  VLAN_PRESENT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "../key.ts";
import { labelsOf } from "./label_count.ts";
import { isInKey } from "./layers.ts";

/** What a bit of ct_state says: the packet has been through connection tracking. */
const TRACKED = 0x20;

/**
 * Mask of every field that the key's packet has: headers that are there, tags and their absence, and
 * metadata that is set. KEY_WORDS words.
 */
export function exactMask(key: Int32Array, table: FieldTable = FIELDS): Int32Array<ArrayBuffer> {
  const mask = new Int32Array(KEY_WORDS);
  const keyBytes = new Uint8Array(key.buffer, key.byteOffset, KEY_SIZE);
  const bytes = new Uint8Array(mask.buffer);
  for (const attribute of table.attributes) {
    if (!isPresent(attribute, keyBytes)) continue;
    if (attribute.shape === "labels") fillLabels(keyBytes, bytes);
    else for (const field of attribute.fields) fill(field, keyBytes, bytes);
  }
  fillTags(keyBytes, bytes);
  leaveOutOfTunnel(keyBytes, bytes);
  if (keyBytes[NSH_MDTYPE_AT] !== 1) bytes.fill(0, NSH_CONTEXT_AT, NSH_CONTEXT_AT + 16);
  bytes[TCP_FLAGS_AT]! |= L3_PACKET >> 8;
  return mask;
}

/** A tunnel has addresses of one family, and perhaps no identifier: family and flags, which are matched, say so. */
function leaveOutOfTunnel(key: Uint8Array, mask: Uint8Array): void {
  if (key[TUN_FAMILY_AT] === 4) mask.fill(0, TUN_IPV6_SRC_AT, TUN_IPV6_DST_AT + 16);
  if (key[TUN_FAMILY_AT] === 6) mask.fill(0, TUN_SRC_AT, TUN_DST_AT + 4);
  if ((read16(key, TUN_FLAGS_AT) & TUN_FLAG_KEY) === 0) mask.fill(0, TUN_ID_AT, TUN_ID_AT + 8);
}

/** Absence counts too: a packet without a tag matches "no tag". */
function fillTags(key: Uint8Array, mask: Uint8Array): void {
  mask.fill(0xff, VLAN_TCI_AT, VLAN_TCI_AT + 2);
  mask.fill(0xff, CVLAN_TCI_AT, CVLAN_TCI_AT + 2);
  for (const tciAt of [VLAN_TCI_AT, CVLAN_TCI_AT]) {
    const tpidAt = tciAt + VLAN_TPID_AT - VLAN_TCI_AT;
    if ((read16(key, tciAt) & VLAN_PRESENT) !== 0) mask.fill(0xff, tpidAt, tpidAt + 2);
  }
}

/** The label stack entries that there are; none of a stack whose bottom is not in the packet: no flow matches them. */
function fillLabels(key: Uint8Array, mask: Uint8Array): void {
  const bits = key[MPLS_COUNT_AT]!;
  mask[MPLS_COUNT_AT] = bits;
  mask.fill(0xff, MPLS_AT, MPLS_AT + 4 * labelsOf(bits));
}

function isPresent(attribute: Attribute, key: Uint8Array): boolean {
  const isL3 = (read16(key, TCP_FLAGS_AT) & L3_PACKET) !== 0;
  switch (attribute.name) {
    case "recirc_id":
    case "eth_type":
      return true;
    case "in_port":
      return read16(key, IN_PORT_AT) !== PORT_NONE;
    case "eth":
      return !isL3;
    case "vlan":
      return false; // fillTags
    case "tunnel":
      return key[TUN_FAMILY_AT] !== 0;
    case "ct_tuple4":
    case "ct_tuple6":
      return (key[CT_STATE_AT + 3]! & TRACKED) !== 0 && isInKey(attribute, key);
    default:
      if (attribute.requires !== undefined && attribute.only === undefined) {
        return isInKey(attribute, key);
      }
      return isInKey(attribute, key) && attribute.fields.some((field) => !isZero(field, key));
  }
}

function fill(field: Field, key: Uint8Array, mask: Uint8Array): void {
  if (field.at === TUN_OPTIONS_AT) {
    const size = read16(key, TUN_OPTIONS_SIZE_AT);
    mask.fill(0xff, TUN_OPTIONS_AT, TUN_OPTIONS_AT + size);
    mask[TUN_FAMILY_AT] = 0xff;
    if (key[TUN_OPTIONS_KIND_AT] === 0) return;
    mask[TUN_OPTIONS_KIND_AT] = 0xff;
    mask.fill(0xff, TUN_OPTIONS_SIZE_AT, TUN_OPTIONS_SIZE_AT + 2);
    return;
  }
  // Bits beyond the field's are another's, or nobody's.
  for (let bit = 0; bit < field.bits; bit++) {
    const place = field.shift + bit;
    mask[field.at + field.size - 1 - (place >> 3)]! |= 1 << (place & 7);
  }
}

function isZero(field: Field, key: Uint8Array): boolean {
  for (let at = field.at; at < field.at + field.size; at++) if (key[at] !== 0) return false;
  return true;
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}
