/**
 * Reads action lists from netlink attributes: what action_codec.ts writes. Actions that this version
 * doesn't know are kept, with their number and payload.
 */
import type { Action } from "../actions/actions.ts";
import * as attr from "./action_attributes.ts";
import {
  ACTION_DEPTH_MAX,
  checkSize,
  ETH_ALEN,
  HASH_ALGORITHMS,
  NSH_BASE_SIZE,
  NSH_M_TYPE1,
  NSH_M_TYPE2,
  NSH_MD1_SIZE,
  OVS_KEY_ATTR_NSH,
  TUNNEL_PUSH_HEAD_SIZE,
  TUNNEL_PUSH_HEADER_MAX,
} from "./action_attributes.ts";
import { AttributeSet, NetlinkCodecError, scanAttributes, toHex, viewOf } from "./attributes.ts";
import { decodeCt } from "./ct_codec.ts";
import type { KeyCodecOptions } from "./key_attributes.ts";
import { decodeSet } from "./set_codec.ts";

/** Reads the payload of OVS_FLOW_ATTR_ACTIONS. Throws NetlinkCodecError. */
export function decodeActions(payload: Uint8Array, options: KeyCodecOptions): Action[] {
  return readActions(payload, { ...options, path: "actions", depth: 0 });
}

interface ReadContext extends KeyCodecOptions {
  readonly path: string;
  readonly depth: number;
}

function readActions(payload: Uint8Array, context: ReadContext): Action[] {
  if (context.depth > ACTION_DEPTH_MAX) {
    throw new NetlinkCodecError(context.path, `more than ${ACTION_DEPTH_MAX} levels`);
  }
  const actions: Action[] = [];
  const damage = scanAttributes(payload, (number, value) => {
    actions.push(
      readAction(number, value, context) ?? { type: "unknown", number, payload: toHex(value) },
    );
  });
  if (damage !== undefined) throw new NetlinkCodecError(context.path, damage);
  return actions;
}

/** Undefined: an action that this version doesn't know, or that has something in it which it doesn't. */
function readAction(
  number: number,
  payload: Uint8Array,
  context: ReadContext,
): Action | undefined {
  const within = (name: string): ReadContext => ({
    ...context,
    path: `${context.path} ${name}`,
    depth: context.depth + 1,
  });
  switch (number) {
    case attr.OVS_ACTION_ATTR_SET:
      return decodeSet(payload, false, context);
    case attr.OVS_ACTION_ATTR_SET_MASKED:
      return decodeSet(payload, true, context);
    case attr.OVS_ACTION_ATTR_CT:
      return decodeCt(payload, `${context.path} ct`);
    case attr.OVS_ACTION_ATTR_CLONE:
      return { type: "clone", actions: readActions(payload, within("clone")) };
    case attr.OVS_ACTION_ATTR_SAMPLE: {
      const inner = new AttributeSet(payload, `${context.path} sample`);
      const { OVS_SAMPLE_ATTR_PROBABILITY: first, OVS_SAMPLE_ATTR_ACTIONS: last } = attr;
      if (!inner.hasOnly(first, last)) return undefined;
      return {
        type: "sample",
        probability: need(inner.u32(attr.OVS_SAMPLE_ATTR_PROBABILITY), inner, "a probability"),
        actions: readList(inner, attr.OVS_SAMPLE_ATTR_ACTIONS, within("sample")),
      };
    }
    case attr.OVS_ACTION_ATTR_CHECK_PKT_LEN: {
      const inner = new AttributeSet(payload, `${context.path} check_pkt_len`);
      const greater = attr.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER;
      const lessEqual = attr.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL;
      if (!inner.hasOnly(attr.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, lessEqual)) return undefined;
      return {
        type: "check_pkt_len",
        size: need(inner.u16(attr.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN), inner, "a length"),
        greater: readList(inner, greater, within("check_pkt_len gt")),
        lessEqual: readList(inner, lessEqual, within("check_pkt_len le")),
      };
    }
    case attr.OVS_ACTION_ATTR_DEC_TTL: {
      const inner = new AttributeSet(payload, `${context.path} dec_ttl`);
      const only = attr.OVS_DEC_TTL_ATTR_ACTION;
      if (!inner.hasOnly(only, only)) return undefined;
      const exceeded = readList(inner, attr.OVS_DEC_TTL_ATTR_ACTION, within("dec_ttl"));
      return { type: "dec_ttl", exceeded };
    }
    case attr.OVS_ACTION_ATTR_USERSPACE:
      return readUserspace(payload, `${context.path} userspace`);
    case attr.OVS_ACTION_ATTR_PSAMPLE: {
      const inner = new AttributeSet(payload, `${context.path} psample`);
      const { OVS_PSAMPLE_ATTR_GROUP: first, OVS_PSAMPLE_ATTR_COOKIE: last } = attr;
      if (!inner.hasOnly(first, last)) return undefined;
      const cookie = inner.bytes(attr.OVS_PSAMPLE_ATTR_COOKIE);
      return {
        type: "psample",
        group: need(inner.u32(attr.OVS_PSAMPLE_ATTR_GROUP), inner, "a group"),
        cookie: cookie === undefined ? undefined : toHex(cookie),
      };
    }
    case attr.OVS_ACTION_ATTR_PUSH_NSH:
      return readPushNsh(payload, `${context.path} push_nsh`);
    default:
      return readStruct(number, payload, context);
  }
}

function need<T>(value: T | undefined, attributes: AttributeSet, what: string): T {
  if (value !== undefined) return value;
  throw new NetlinkCodecError(attributes.path, `${what} must be there`);
}

function readList(attributes: AttributeSet, type: number, context: ReadContext): Action[] {
  const payload = attributes.bytes(type);
  return payload === undefined ? [] : readActions(payload, context);
}

function readUserspace(payload: Uint8Array, path: string): Action | undefined {
  const inner = new AttributeSet(payload, path);
  const { OVS_USERSPACE_ATTR_PID: first, OVS_USERSPACE_ATTR_ACTIONS: last } = attr;
  if (!inner.hasOnly(first, last)) return undefined;
  const userdata = inner.bytes(attr.OVS_USERSPACE_ATTR_USERDATA);
  return {
    type: "userspace",
    pid: need(inner.u32(attr.OVS_USERSPACE_ATTR_PID), inner, "a pid"),
    userdata: userdata === undefined ? undefined : toHex(userdata),
    actions: inner.has(attr.OVS_USERSPACE_ATTR_ACTIONS),
    tunnelOutPort: inner.u32(attr.OVS_USERSPACE_ATTR_EGRESS_TUN_PORT),
  };
}

function readPushNsh(payload: Uint8Array, path: string): Action | undefined {
  const outer = new AttributeSet(payload, path);
  const inner = need(outer.nested(OVS_KEY_ATTR_NSH, "nsh"), outer, "an NSH key");
  if (!inner.hasOnly(attr.OVS_NSH_KEY_ATTR_BASE, attr.OVS_NSH_KEY_ATTR_MD2)) return undefined;
  const base = need(inner.struct(attr.OVS_NSH_KEY_ATTR_BASE, NSH_BASE_SIZE), inner, "a base");
  const mdtype = base.getUint8(2);
  const md1 = inner.bytes(attr.OVS_NSH_KEY_ATTR_MD1);
  const md2 = inner.bytes(attr.OVS_NSH_KEY_ATTR_MD2);
  if (
    (md1 !== undefined) !== (mdtype === NSH_M_TYPE1) || md2 !== undefined && mdtype !== NSH_M_TYPE2
  ) {
    throw new NetlinkCodecError(inner.path, `the metadata isn't that of mdtype ${mdtype}`);
  }
  if (md1 !== undefined) checkSize(md1, NSH_MD1_SIZE, `${inner.path} metadata`);
  return {
    type: "push_nsh",
    flags: base.getUint8(0),
    ttl: base.getUint8(1),
    mdtype,
    np: base.getUint8(3),
    path: base.getUint32(4),
    metadata: toHex(md1 ?? md2 ?? new Uint8Array()),
  };
}

/** Sizes of the actions whose payload is a struct, or nothing. */
const SIZES: ReadonlyMap<number, number> = new Map([
  [attr.OVS_ACTION_ATTR_OUTPUT, 4],
  [attr.OVS_ACTION_ATTR_PUSH_VLAN, 4],
  [attr.OVS_ACTION_ATTR_POP_VLAN, 0],
  [attr.OVS_ACTION_ATTR_RECIRC, 4],
  [attr.OVS_ACTION_ATTR_HASH, 8],
  [attr.OVS_ACTION_ATTR_PUSH_MPLS, 8],
  [attr.OVS_ACTION_ATTR_POP_MPLS, 2],
  [attr.OVS_ACTION_ATTR_TRUNC, 4],
  [attr.OVS_ACTION_ATTR_PUSH_ETH, 2 * ETH_ALEN],
  [attr.OVS_ACTION_ATTR_POP_ETH, 0],
  [attr.OVS_ACTION_ATTR_CT_CLEAR, 0],
  [attr.OVS_ACTION_ATTR_POP_NSH, 0],
  [attr.OVS_ACTION_ATTR_METER, 4],
  [attr.OVS_ACTION_ATTR_ADD_MPLS, 8],
  [attr.OVS_ACTION_ATTR_DROP, 4],
  [attr.OVS_ACTION_ATTR_TUNNEL_POP, 4],
  [attr.OVS_ACTION_ATTR_LB_OUTPUT, 4],
]);

function readStruct(number: number, payload: Uint8Array, context: ReadContext): Action | undefined {
  if (number >= attr.OVS_ACTION_ATTR_TUNNEL_PUSH && context.dialect !== "userspace") {
    return undefined;
  }
  if (number === attr.OVS_ACTION_ATTR_TUNNEL_PUSH) {
    return readTunnelPush(payload, `${context.path} tnl_push`);
  }
  const size = SIZES.get(number);
  if (size === undefined) return undefined;
  checkSize(payload, size, `${context.path} attribute ${number}`);
  const view = viewOf(payload);
  switch (number) {
    case attr.OVS_ACTION_ATTR_OUTPUT:
      return { type: "output", port: view.getUint32(0, true) };
    case attr.OVS_ACTION_ATTR_PUSH_VLAN:
      return { type: "push_vlan", tpid: view.getUint16(0), tci: view.getUint16(2) };
    case attr.OVS_ACTION_ATTR_POP_VLAN:
      return { type: "pop_vlan" };
    case attr.OVS_ACTION_ATTR_RECIRC:
      return { type: "recirc", id: view.getUint32(0, true) };
    case attr.OVS_ACTION_ATTR_HASH:
      return readHash(view);
    case attr.OVS_ACTION_ATTR_PUSH_MPLS:
      return { type: "push_mpls", lse: view.getUint32(0), ethType: view.getUint16(4) };
    case attr.OVS_ACTION_ATTR_POP_MPLS:
      return { type: "pop_mpls", ethType: view.getUint16(0) };
    case attr.OVS_ACTION_ATTR_TRUNC:
      return { type: "trunc", sizeMax: view.getUint32(0, true) };
    case attr.OVS_ACTION_ATTR_PUSH_ETH:
      return {
        type: "push_eth",
        src: toHex(payload.subarray(0, ETH_ALEN)),
        dst: toHex(payload.subarray(ETH_ALEN)),
      };
    case attr.OVS_ACTION_ATTR_POP_ETH:
      return { type: "pop_eth" };
    case attr.OVS_ACTION_ATTR_CT_CLEAR:
      return { type: "ct_clear" };
    case attr.OVS_ACTION_ATTR_POP_NSH:
      return { type: "pop_nsh" };
    case attr.OVS_ACTION_ATTR_METER:
      return { type: "meter", id: view.getUint32(0, true) };
    case attr.OVS_ACTION_ATTR_ADD_MPLS:
      return {
        type: "add_mpls",
        lse: view.getUint32(0),
        ethType: view.getUint16(4),
        flags: view.getUint16(6, true),
      };
    case attr.OVS_ACTION_ATTR_DROP:
      return { type: "drop", reason: view.getUint32(0, true) };
    case attr.OVS_ACTION_ATTR_TUNNEL_POP:
      return { type: "tnl_pop", port: view.getUint32(0, true) };
    default:
      return { type: "lb_output", bond: view.getUint32(0, true) };
  }
}

function readHash(view: DataView): Action | undefined {
  const algorithm = HASH_ALGORITHMS[view.getUint32(0, true)];
  return algorithm && { type: "hash", algorithm, basis: view.getUint32(4, true) };
}

function readTunnelPush(payload: Uint8Array, path: string): Action {
  if (payload.length < TUNNEL_PUSH_HEAD_SIZE) {
    const problem = `${payload.length} bytes, must be at least ${TUNNEL_PUSH_HEAD_SIZE}`;
    throw new NetlinkCodecError(path, problem);
  }
  const view = viewOf(payload);
  const size = view.getUint32(8, true);
  const left = payload.length - TUNNEL_PUSH_HEAD_SIZE;
  if (size > Math.min(left, TUNNEL_PUSH_HEADER_MAX)) {
    throw new NetlinkCodecError(path, `a header of ${size} bytes, there are ${left}`);
  }
  return {
    type: "tnl_push",
    tunnelPort: view.getUint32(0, true),
    outPort: view.getUint32(4, true),
    tunnelType: view.getUint32(12, true),
    header: toHex(payload.subarray(TUNNEL_PUSH_HEAD_SIZE, TUNNEL_PUSH_HEAD_SIZE + size)),
  };
}
