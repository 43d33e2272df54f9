/**
 * What a flow may match and do, by the rules of net/openvswitch (flow_netlink.c: match_validate,
 * __ovs_nla_copy_actions). Flows that came from text have most of this checked with a column; here it
 * is checked whatever they came from. Each refusal is a RuleError with EINVAL.
 *
 * Stricter than the kernel in one point: the fields that choose a set action's header must be matched
 * exactly, and a flow of later fragments can't set ports. The kernel looks at the masked values alone
 * and would write into whatever lies there.
 */
import type { Action, SetAction } from "./actions.ts";
import { RuleError } from "./errors.ts";
import {
  type Attribute,
  attributeNamed,
  ATTRIBUTES,
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_802_3_MIN,
  VLAN_LEVEL_SIZE,
  VLAN_LEVELS_MAX,
} from "./fields.ts";
import {
  ETH_P_802_2,
  ETH_TYPE_AT,
  FRAG_LATER,
  IN_PORT_AT,
  IP_FRAG_AT,
  KEY_SIZE,
  KEY_WORDS,
  PORT_MAX,
  VLAN_PRESENT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "./key.ts";
import { isSelected } from "./layers.ts";
import { isAttributeWildcarded } from "./text/attribute_text.ts";
import { isExact, isWildcarded, readField } from "./text/field_text.ts";

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

function refuse(problem: string): never {
  throw new RuleError("EINVAL", problem);
}

/** Checks a key (masked or not) and its mask. */
export function checkFlow(key: Int32Array, mask: Int32Array): void {
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
  checkSelection(keyBytes, maskBytes);
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
function checkSelection(key: Uint8Array, mask: Uint8Array): void {
  const left = scratch;
  left.set(mask);
  // The tag's bytes were checked; they have no bits of others.
  left.fill(0, VLAN_TCI_AT, VLAN_TPID_AT + VLAN_LEVEL_SIZE + 2);
  for (const attribute of ATTRIBUTES) {
    if (isSelected(attribute, key, mask)) clearFields(attribute, left);
  }
  const at = left.findIndex((byte) => byte !== 0);
  if (at < 0) return;
  const owners = ATTRIBUTES.filter((attribute) =>
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
  for (const field of attribute.fields) {
    if (field.bits === field.size * 8) {
      mask.fill(0, field.at, field.at + field.size);
      continue;
    }
    const usable = 2 ** field.bits - 1;
    for (let index = 0; index < field.size; index++) {
      const shift = (field.size - 1 - index) * 8;
      mask[field.at + index]! &= ~(usable >>> shift);
    }
  }
}

/** Checks the actions of a flow with this key (masked or not) and mask. */
export function checkActions(
  actions: readonly Action[],
  key: Int32Array,
  mask: Int32Array,
): void {
  for (let index = 0; index < actions.length; index++) {
    const action = actions[index]!;
    switch (action.type) {
      case "output":
        if (action.port > PORT_MAX || action.port < 0) {
          refuse(`an output port must be 0 … ${PORT_MAX}`);
        }
        break;
      case "drop":
        if (index < actions.length - 1) refuse("drop must be the last action");
        break;
      case "push_vlan":
        if (action.tpid !== ETH_P_8021Q && action.tpid !== ETH_P_8021AD) {
          refuse("push_vlan: tpid must be 0x8100 or 0x88a8");
        }
        if ((action.tci & VLAN_PRESENT) === 0) refuse("push_vlan: cfi must be 1");
        break;
      case "pop_vlan":
        break;
      case "set":
        checkSet(action, bytesOf(key), bytesOf(mask));
        break;
    }
  }
}

function checkSet(action: SetAction, key: Uint8Array, mask: Uint8Array): void {
  const attribute = attributeNamed(action.attribute);
  const name = `set(${attribute.name}(…))`;
  for (let index = 0; index < KEY_WORDS; index++) {
    if ((action.value[index]! & ~action.mask[index]!) !== 0) {
      refuse(`${name}: the value has bits outside of its mask`);
    }
  }
  if (!isSelected(attribute, key, mask)) {
    const later = attribute.requires!.protocol === undefined ? "" : " (and not frag=later)";
    refuse(
      `${name} needs a flow that matches ${attribute.requires!.text}${later}, without a mask: ` +
        "other packets have no such header",
    );
  }
  checkFixedFields(action, attribute, name, { key, mask });
}

/** Protocol and fragment state: not in a masked set; in a plain one they must be the flow's own. */
function checkFixedFields(
  action: SetAction,
  attribute: Attribute,
  name: string,
  flow: { key: Uint8Array; mask: Uint8Array },
): void {
  const value = bytesOf(action.value);
  const mask = bytesOf(action.mask);
  const whole = attribute.fields.every((field) => isExact(mask, field));
  for (const field of attribute.fields) {
    if (field.settable || isWildcarded(mask, field)) continue;
    if (!whole) refuse(`${name}: ${field.name} can't be set`);
    const own = readField(flow.key, field) & readField(flow.mask, field);
    if (readField(value, field) !== own) {
      refuse(`${name}: ${field.name} can't be set, and must be what the flow matches (${own})`);
    }
  }
}
