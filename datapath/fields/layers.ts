/** Which attributes have a meaning in a flow: the requirements of fields.ts against a key and mask. */
import type { Attribute } from "./field_types.ts";
import { ETH_TYPE_AT, FRAG_LATER, IP_FRAG_AT, IP_PROTO_AT, TP_SRC_AT } from "../key.ts";

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

/**
 * Whether the attribute's header is in every packet with this key, by the values alone: masks are
 * {@link isSelected}'s. A later fragment has no transport header.
 */
export function isInKey(attribute: Attribute, key: Uint8Array): boolean {
  const requires = attribute.requires;
  if (requires === undefined) return true;
  if (!requires.ethTypes.includes(read16(key, ETH_TYPE_AT))) return false;
  if (requires.protocol === undefined) return true;
  if (key[IP_PROTO_AT] !== requires.protocol || key[IP_FRAG_AT] === FRAG_LATER) return false;
  return requires.icmpTypes === undefined || requires.icmpTypes.includes(read16(key, TP_SRC_AT));
}

/** Whether the fields that choose the attribute are matched exactly, so that it may be matched too. */
export function isSelected(attribute: Attribute, key: Uint8Array, mask: Uint8Array): boolean {
  const requires = attribute.requires;
  if (requires === undefined) return true;
  if (!isInKey(attribute, key) || read16(mask, ETH_TYPE_AT) !== 0xffff) return false;
  if (requires.protocol !== undefined && mask[IP_PROTO_AT] !== 0xff) return false;
  return requires.icmpTypes === undefined || read16(mask, TP_SRC_AT) === 0xff;
}
