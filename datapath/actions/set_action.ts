/** What set actions have in common wherever they come from: text, netlink or JSON. */
import type { Attribute } from "../fields/field_types.ts";
import {
  TUN_FLAG_KEY,
  TUN_FLAGS_AT,
  TUN_ID_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_GENEVE,
  TUN_OPTIONS_KIND_AT,
} from "../key.ts";
import { GENEVE_LENGTH_MASK, geneveOffsets, optionKind } from "../packet/tunnel_options.ts";
import { isExact, isWildcarded } from "../text/number_text.ts";

/** Every flag of a tunnel: a set has all of them, also those that it clears. */
const TUNNEL_FLAGS = 0x1f;

/**
 * Brings a set of the tunnel's attribute into the one form that it has: all flags are set, `key` says
 * whether there is an identifier, and the byte of an option's length is set whole if the length is.
 * `value` and `mask` are bytes of a key.
 */
export function completeTunnel(value: Uint8Array, mask: Uint8Array): void {
  const hasId = mask.subarray(TUN_ID_AT, TUN_ID_AT + 8).some((byte) => byte !== 0);
  const low = TUN_FLAGS_AT + 1;
  mask[TUN_FLAGS_AT] = 0;
  mask[low] = TUNNEL_FLAGS;
  value[low] = value[low]! & ~TUN_FLAG_KEY | (hasId ? TUN_FLAG_KEY : 0);
  if (mask[TUN_OPTIONS_KIND_AT] === 0 || value[TUN_OPTIONS_KIND_AT] !== TUN_OPTIONS_GENEVE) return;
  for (const offset of geneveOffsets(value)) {
    const lengthAt = TUN_OPTIONS_AT + offset + 3;
    if ((mask[lengthAt]! & GENEVE_LENGTH_MASK) === GENEVE_LENGTH_MASK) mask[lengthAt] = 0xff;
  }
}

/**
 * Whether a set is Open vSwitch's plain one (OVS_ACTION_ATTR_SET): of a whole attribute. Of a tunnel,
 * what has no mask is absent, and the rest must be whole.
 */
export function isWholeSet(attribute: Attribute, mask: Uint8Array): boolean {
  if (attribute.name !== "tunnel") return attribute.fields.every((field) => isExact(mask, field));
  return attribute.fields.every((field) =>
    optionKind(field.form) !== undefined || isExact(mask, field) || isWildcarded(mask, field)
  );
}
