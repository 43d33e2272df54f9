/**
 * How many bytes actions have as netlink attributes: what limits a list. Every attribute has a header
 * of 4 bytes, and its payload fills whole words.
 */
import type { Action, CtAction, CtNat, SetAction } from "./actions.ts";
import { FIELDS } from "../fields/field_table.ts";
import type { Field } from "../fields/field_types.ts";
import { KEY_SIZE, TUN_OPTIONS_KIND_AT, TUN_OPTIONS_SIZE_AT } from "../key.ts";
import { isWholeSet } from "./set_action.ts";
import { isWildcarded } from "../text/number_text.ts";
import { optionKind } from "../packet/tunnel_options.ts";

/** Most bytes of a list: what an attribute's 16-bit length, its header included, can say. */
export const ACTIONS_SIZE_MAX = 65535;

/** Bytes of an attribute with such a payload. */
function attribute(payload: number): number {
  return 4 + (payload + 3 & ~3);
}

function optional(value: unknown, payload: number): number {
  return value === undefined || value === false ? 0 : attribute(payload);
}

/** Bytes of a list. */
export function actionsSize(actions: readonly Action[]): number {
  return actions.reduce((size, action) => size + actionSize(action), 0);
}

/** Bytes of one action. */
export function actionSize(action: Action): number {
  return attribute(payloadSize(action));
}

function payloadSize(action: Action): number {
  switch (action.type) {
    case "pop_vlan":
    case "pop_eth":
    case "pop_nsh":
    case "ct_clear":
      return 0;
    case "pop_mpls":
      return 2;
    case "output":
    case "drop":
    case "push_vlan":
    case "recirc":
    case "trunc":
    case "meter":
    case "lb_output":
    case "tnl_pop":
      return 4;
    case "push_mpls":
    case "add_mpls":
    case "hash":
      return 8;
    case "push_eth":
      return 12;
    case "push_nsh":
      return attribute(attribute(8) + (action.metadata === "" ? 0 : bytes(action.metadata)));
    case "psample":
      return attribute(4) + (action.cookie === undefined ? 0 : bytes(action.cookie));
    case "userspace":
      return attribute(4) + (action.userdata === undefined ? 0 : bytes(action.userdata)) +
        optional(action.actions, 0) + optional(action.tunnelOutPort, 4);
    case "tnl_push":
      return 16 + 512; // the header has its room however short it is
    case "unknown":
      return action.payload.length / 2;
    case "set":
      return setSize(action);
    case "ct":
      return ctSize(action);
    case "clone":
      return actionsSize(action.actions);
    case "sample":
      return attribute(4) + attribute(actionsSize(action.actions));
    case "check_pkt_len":
      return attribute(2) + attribute(actionsSize(action.greater)) +
        attribute(actionsSize(action.lessEqual));
    case "dec_ttl":
      return attribute(actionsSize(action.exceeded));
  }
}

/** An attribute with a byte string. */
function bytes(hex: string): number {
  return attribute(hex.length / 2);
}

function ctSize(action: CtAction): number {
  return optional(action.commit, 0) + optional(action.forceCommit, 0) + optional(action.zone, 2) +
    optional(action.mark, 8) + optional(action.label, 32) +
    optional(action.helper, (action.helper?.length ?? 0) + 1) +
    optional(action.timeout, (action.timeout?.length ?? 0) + 1) +
    optional(action.eventMask, 4) +
    (action.nat === undefined ? 0 : attribute(natSize(action.nat)));
}

function natSize(nat: CtNat): number {
  return optional(nat.direction, 0) + optional(nat.addressMin, (nat.addressMin?.length ?? 0) / 2) +
    optional(nat.addressMax, (nat.addressMax?.length ?? 0) / 2) + optional(nat.portMin, 2) +
    optional(nat.portMax, 2) + optional(nat.persistent, 0) + optional(nat.hash, 0) +
    optional(nat.random, 0);
}

function setSize({ attribute: name, mask }: SetAction): number {
  const found = FIELDS.byName(name);
  if (found === undefined) return attribute(0);
  const maskBytes = new Uint8Array(mask.buffer, mask.byteOffset, KEY_SIZE);
  if (name === "tunnel") return attribute(tunnelSize(found.fields, maskBytes));
  const copies = isWholeSet(found, maskBytes) ? 1 : 2;
  if (found.shape !== "nested") return attribute(copies * structSize(found.fields));
  const numbers = new Set(found.fields.map((field) => field.subNumber));
  let size = 0;
  for (const number of numbers) {
    const fields = found.fields.filter((field) => field.subNumber === number);
    size += attribute(copies * structSize(fields));
  }
  return attribute(size);
}

function structSize(fields: readonly Field[]): number {
  return Math.max(...fields.map((field) => field.netlinkAt + field.netlinkSize));
}

/** Every flag and option counts as if it were there. */
function tunnelSize(fields: readonly Field[], mask: Uint8Array): number {
  let size = 0;
  for (const field of fields) {
    if (field.form === "flags") size += 3 * attribute(0);
    else if (optionKind(field.form) === undefined && !isWildcarded(mask, field)) {
      size += attribute(field.size);
    }
  }
  if (mask[TUN_OPTIONS_KIND_AT] === 0) return size;
  const optionBytes = mask.subarray(TUN_OPTIONS_SIZE_AT + 2).findLastIndex((byte) => byte !== 0);
  return size + attribute(attribute(optionBytes + 1));
}
