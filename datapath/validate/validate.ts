/**
 * What a flow may match, by the rules of net/openvswitch (flow_netlink.c: match_validate). Flows that
 * came from text have most of this checked with a column; here it is checked whatever they came from.
 * Each refusal is a RuleError with EINVAL. What a flow may do: validate_actions.ts.
 */
import { RuleError } from "../errors.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import type { Attribute } from "../fields/field_types.ts";
import {
  attributeNamed,
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_802_3_MIN,
  VLAN_LEVEL_SIZE,
  VLAN_LEVELS_MAX,
} from "../fields/fields.ts";
import {
  ETH_P_802_2,
  ETH_TYPE_AT,
  FRAG_LATER,
  IN_PORT_AT,
  IP_FRAG_AT,
  KEY_SIZE,
  L3_PACKET,
  MPLS_COUNT_AT,
  MPLS_LABELS_MAX,
  NSH_CONTEXT_AT,
  NSH_MDTYPE_AT,
  PORT_MAX,
  TCP_FLAGS_AT,
  TUN_ID_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_MAX,
  VLAN_PRESENT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "../key.ts";
import { labelBits } from "../fields/label_count.ts";
import { isInKey, isSelected } from "../fields/layers.ts";
import { isAttributeWildcarded } from "../text/attribute_text.ts";
import { LABEL_SIZE } from "../text/labels_text.ts";
import { writeField } from "../text/number_text.ts";
import { checkTunnel } from "./validate_tunnel.ts";

const CT_TUPLE6 = attributeNamed("ct_tuple6");
const ETH = attributeNamed("eth");
const ND = attributeNamed("nd");
const NSH = attributeNamed("nsh");

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

function refuse(problem: string): never {
  throw new RuleError("EINVAL", problem);
}

/** Checks a key (masked or not) and its mask; `table` has the attributes that there are. */
export function checkFlow(key: Int32Array, mask: Int32Array, table: FieldTable = FIELDS): void {
  const keyBytes = bytesOf(key);
  const maskBytes = bytesOf(mask);
  const portMask = read16(maskBytes, IN_PORT_AT);
  if (portMask !== 0) {
    if (portMask !== 0xffff) refuse("in_port can't be matched in part");
    if (read16(keyBytes, IN_PORT_AT) > PORT_MAX) refuse(`in_port must be 0 … ${PORT_MAX}`);
  }
  checkEtherType(keyBytes, maskBytes);
  for (let level = 0; level < VLAN_LEVELS_MAX; level++) checkTag(keyBytes, maskBytes, level);
  const fragmentMask = maskBytes[IP_FRAG_AT]!;
  if (fragmentMask !== 0 && (fragmentMask !== 0xff || keyBytes[IP_FRAG_AT]! > FRAG_LATER)) {
    refuse("frag must be matched whole, as no, first or later");
  }
  checkLayer2(keyBytes, maskBytes);
  checkTunnel(keyBytes, maskBytes);
  checkSelection(keyBytes, maskBytes, table);
  checkCombinations(keyBytes, maskBytes);
}

/** Packets with and without an Ethernet header are told apart by every flow. */
function checkLayer2(key: Uint8Array, mask: Uint8Array): void {
  if ((read16(mask, TCP_FLAGS_AT) & L3_PACKET) === 0) {
    refuse("a flow must match whether packets have an Ethernet header");
  }
  if ((read16(key, TCP_FLAGS_AT) & L3_PACKET) === 0) return;
  if (!isAttributeWildcarded(ETH, mask)) {
    refuse("eth can't be matched of packets without an Ethernet header");
  }
  if ((read16(key, VLAN_TCI_AT) & read16(mask, VLAN_TCI_AT)) !== 0) {
    refuse("vlan can't be matched of packets without an Ethernet header");
  }
}

/** What the kernel keeps in one place, and what only one kind of header has. */
function checkCombinations(key: Uint8Array, mask: Uint8Array): void {
  if (!isAttributeWildcarded(CT_TUPLE6, mask) && isInKey(ND, key)) {
    refuse("ct_tuple6 can't be matched of packets of neighbour discovery");
  }
  const isMatched = mask[NSH_MDTYPE_AT] === 0xff;
  const hasContext = mask.subarray(NSH_CONTEXT_AT, NSH_CONTEXT_AT + 16).some((byte) => byte !== 0);
  if (hasContext && isSelected(NSH, key, mask) && isMatched && key[NSH_MDTYPE_AT] !== 1) {
    refuse("nsh: only mdtype=1 has c1 … c4");
  }
}

function checkEtherType(key: Uint8Array, mask: Uint8Array): void {
  const typeMask = read16(mask, ETH_TYPE_AT);
  if (typeMask === 0) return;
  const type = read16(key, ETH_TYPE_AT);
  if (typeMask !== 0xffff) refuse("eth_type can't be matched in part");
  if (type === ETH_P_8021Q || type === ETH_P_8021AD) {
    refuse(`eth_type(0x${type.toString(16)}) needs vlan(…) and encap(…)`);
  }
  if (type < ETH_P_802_3_MIN && type !== ETH_P_802_2) {
    refuse("eth_type must be 0x0600 … 0xffff, or 0 for frames without a type (LLC)");
  }
}

function checkTag(key: Uint8Array, mask: Uint8Array, level: number): void {
  const offset = level * VLAN_LEVEL_SIZE;
  const tci = read16(key, VLAN_TCI_AT + offset);
  const tciMask = read16(mask, VLAN_TCI_AT + offset);
  const which = level === 0 ? "vlan" : "inner vlan";
  if ((tci & tciMask & VLAN_PRESENT) === 0) {
    if (tciMask !== 0xffff || tci !== 0) {
      refuse(`${which}: either there is no tag, or the bit that says so must be matched`);
    }
    return;
  }
  const tpid = read16(key, VLAN_TPID_AT + offset);
  if (read16(mask, VLAN_TPID_AT + offset) !== 0xffff) {
    refuse(`${which}: the tag's type can't have a mask`);
  }
  if (tpid !== ETH_P_8021Q && tpid !== ETH_P_8021AD) {
    refuse(`${which}: the tag's type must be 0x8100 or 0x88a8`);
  }
  if (level > 0) {
    const outer = read16(key, VLAN_TCI_AT) & read16(mask, VLAN_TCI_AT);
    if ((outer & VLAN_PRESENT) === 0) refuse("an inner vlan needs an outer one");
  }
}

const scratch = new Uint8Array(KEY_SIZE);

/** Nothing may be matched but attributes whose header the flow selects. */
function checkSelection(key: Uint8Array, mask: Uint8Array, table: FieldTable): void {
  const left = scratch;
  left.set(mask);
  // The bytes of tags and tunnels were checked; they have no bits of others.
  left.fill(0, VLAN_TCI_AT, VLAN_TPID_AT + VLAN_LEVEL_SIZE + 2);
  left.fill(0, TUN_ID_AT, TUN_OPTIONS_AT + TUN_OPTIONS_MAX);
  left[TCP_FLAGS_AT]! &= ~(L3_PACKET >> 8);
  for (const attribute of table.attributes) {
    if (isSelected(attribute, key, mask)) clearFields(attribute, left);
  }
  const at = left.findIndex((byte) => byte !== 0);
  if (at < 0) return;
  const owners = table.attributes.filter((attribute) =>
    attribute.requires !== undefined && !isAttributeWildcarded(attribute, left)
  );
  const [owner] = owners;
  if (owner === undefined) refuse(`byte ${at} of the key can't be matched`);
  refuse(
    `${owners.map((each) => each.name).join("/")} is matched, which needs ` +
      `${owner.requires!.text}, without a mask`,
  );
}

/** Clears the bits that the attribute's fields may match. */
function clearFields(attribute: Attribute, mask: Uint8Array): void {
  if (attribute.shape === "labels") mask[MPLS_COUNT_AT]! &= ~labelBits(MPLS_LABELS_MAX);
  const repeats = attribute.shape === "labels" ? MPLS_LABELS_MAX : 1;
  for (const field of attribute.fields) {
    for (let repeat = 0; repeat < repeats; repeat++) {
      const at = field.at + repeat * LABEL_SIZE;
      if (field.bits === field.size * 8) mask.fill(0, at, at + field.size);
      else writeField(mask, field, 0, repeat * LABEL_SIZE);
    }
  }
}
