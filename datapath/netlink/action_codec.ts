/**
 * Action lists as netlink attributes (OVS_ACTION_ATTR_* of linux/openvswitch.h). This file writes;
 * action_decoder.ts reads; set and ct have files of their own.
 */
import type {
  Action,
  PushNshAction,
  TunnelPushAction,
  UserspaceAction,
} from "../actions/actions.ts";
import type { Dialect } from "../fields/field_types.ts";
import * as attr from "./action_attributes.ts";
import {
  ACTION_DEPTH_MAX,
  checkSize,
  ETH_ALEN,
  HASH_ALGORITHMS,
  NSH_BASE_SIZE,
  NSH_M_TYPE1,
  NSH_MD1_SIZE,
  OVS_KEY_ATTR_NSH,
  TUNNEL_PUSH_HEAD_SIZE,
  TUNNEL_PUSH_HEADER_MAX,
} from "./action_attributes.ts";
import { AttributeWriter, fromHex, NetlinkCodecError, viewOf } from "./attributes.ts";
import { encodeCt } from "./ct_codec.ts";
import type { KeyCodecOptions } from "./key_attributes.ts";
import { encodeSet } from "./set_codec.ts";

const NLA_F_NESTED = 0x8000;

export { decodeActions } from "./action_decoder.ts";

/** Writes the payload of OVS_FLOW_ATTR_ACTIONS. Throws NetlinkCodecError for what can't be said. */
export function encodeActions(
  actions: readonly Action[],
  options: KeyCodecOptions,
): Uint8Array<ArrayBuffer> {
  const writer = new AttributeWriter();
  writeActions(writer, actions, options, 0);
  return writer.bytes();
}

function writeActions(
  writer: AttributeWriter,
  actions: readonly Action[],
  options: KeyCodecOptions,
  depth: number,
): void {
  if (depth > ACTION_DEPTH_MAX) {
    throw new NetlinkCodecError("actions", `more than ${ACTION_DEPTH_MAX} levels`);
  }
  for (const action of actions) writeAction(writer, action, options, depth);
}

function writeAction(
  writer: AttributeWriter,
  action: Action,
  options: KeyCodecOptions,
  depth: number,
): void {
  const list = (type: number, actions: readonly Action[]): void => {
    writer.nested(type, () => writeActions(writer, actions, options, depth + 1));
  };
  switch (action.type) {
    case "set":
      return encodeSet(writer, action, options);
    case "ct":
      writer.nested(attr.OVS_ACTION_ATTR_CT, () => encodeCt(writer, action));
      return;
    case "clone":
      return list(attr.OVS_ACTION_ATTR_CLONE, action.actions);
    case "sample":
      writer.nested(attr.OVS_ACTION_ATTR_SAMPLE, () => {
        writer.attributeU32(attr.OVS_SAMPLE_ATTR_PROBABILITY, action.probability);
        list(attr.OVS_SAMPLE_ATTR_ACTIONS, action.actions);
      });
      return;
    case "check_pkt_len":
      writer.nested(attr.OVS_ACTION_ATTR_CHECK_PKT_LEN, () => {
        writer.attributeU16(attr.OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, action.size);
        list(attr.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER, action.greater);
        list(attr.OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL, action.lessEqual);
      });
      return;
    case "dec_ttl":
      writer.nested(
        attr.OVS_ACTION_ATTR_DEC_TTL,
        () => list(attr.OVS_DEC_TTL_ATTR_ACTION, action.exceeded),
      );
      return;
    default:
      writeLeaf(writer, action, options.dialect);
  }
}

type NestedType = "set" | "ct" | "clone" | "sample" | "check_pkt_len" | "dec_ttl";

/** Actions without lists of actions. */
function writeLeaf(
  writer: AttributeWriter,
  action: Exclude<Action, { readonly type: NestedType }>,
  dialect: Dialect,
): void {
  switch (action.type) {
    case "output":
      writer.attributeU32(attr.OVS_ACTION_ATTR_OUTPUT, action.port);
      return;
    case "drop":
      writer.attributeU32(attr.OVS_ACTION_ATTR_DROP, action.reason);
      return;
    case "pop_vlan":
      writer.attributeFlag(attr.OVS_ACTION_ATTR_POP_VLAN);
      return;
    case "pop_mpls":
      writer.attributeBe16(attr.OVS_ACTION_ATTR_POP_MPLS, action.ethType);
      return;
    case "pop_eth":
      writer.attributeFlag(attr.OVS_ACTION_ATTR_POP_ETH);
      return;
    case "pop_nsh":
      writer.attributeFlag(attr.OVS_ACTION_ATTR_POP_NSH);
      return;
    case "recirc":
      writer.attributeU32(attr.OVS_ACTION_ATTR_RECIRC, action.id);
      return;
    case "ct_clear":
      writer.attributeFlag(attr.OVS_ACTION_ATTR_CT_CLEAR);
      return;
    case "trunc":
      writer.attributeU32(attr.OVS_ACTION_ATTR_TRUNC, action.sizeMax);
      return;
    case "meter":
      writer.attributeU32(attr.OVS_ACTION_ATTR_METER, action.id);
      return;
    case "userspace":
      return writeUserspace(writer, action);
    case "psample":
      // Of all nested actions the kernel wants this one marked as nested.
      writer.nested(attr.OVS_ACTION_ATTR_PSAMPLE | NLA_F_NESTED, () => {
        writer.attributeU32(attr.OVS_PSAMPLE_ATTR_GROUP, action.group);
        if (action.cookie === undefined) return;
        writer.attribute(attr.OVS_PSAMPLE_ATTR_COOKIE, fromHex(action.cookie, "psample cookie"));
      });
      return;
    case "lb_output":
      onlyUserspace(action.type, dialect);
      writer.attributeU32(attr.OVS_ACTION_ATTR_LB_OUTPUT, action.bond);
      return;
    case "tnl_pop":
      onlyUserspace(action.type, dialect);
      writer.attributeU32(attr.OVS_ACTION_ATTR_TUNNEL_POP, action.port);
      return;
    case "tnl_push":
      onlyUserspace(action.type, dialect);
      return writeTunnelPush(writer, action);
    case "push_nsh":
      return writePushNsh(writer, action);
    case "unknown":
      writer.attribute(action.number, fromHex(action.payload, `action ${action.number}`));
      return;
    default:
      writeStruct(writer, action);
  }
}

type StructType = "push_vlan" | "hash" | "push_mpls" | "add_mpls" | "push_eth";

/** Actions whose payload is a struct of several numbers. */
function writeStruct(
  writer: AttributeWriter,
  action: Extract<Action, { readonly type: StructType }>,
): void {
  const payload = new Uint8Array(action.type === "push_vlan" ? 4 : 8);
  const view = viewOf(payload);
  switch (action.type) {
    case "push_vlan":
      view.setUint16(0, action.tpid);
      view.setUint16(2, action.tci);
      writer.attribute(attr.OVS_ACTION_ATTR_PUSH_VLAN, payload);
      return;
    case "hash":
      view.setUint32(0, HASH_ALGORITHMS.indexOf(action.algorithm), true);
      view.setUint32(4, action.basis, true);
      writer.attribute(attr.OVS_ACTION_ATTR_HASH, payload);
      return;
    case "push_mpls":
      view.setUint32(0, action.lse);
      view.setUint16(4, action.ethType);
      writer.attribute(attr.OVS_ACTION_ATTR_PUSH_MPLS, payload);
      return;
    case "add_mpls":
      view.setUint32(0, action.lse);
      view.setUint16(4, action.ethType);
      view.setUint16(6, action.flags, true);
      writer.attribute(attr.OVS_ACTION_ATTR_ADD_MPLS, payload);
      return;
    case "push_eth": {
      const addresses = fromHex(action.src + action.dst, "push_eth");
      checkSize(addresses, 2 * ETH_ALEN, "push_eth");
      writer.attribute(attr.OVS_ACTION_ATTR_PUSH_ETH, addresses);
    }
  }
}

function onlyUserspace(name: string, dialect: Dialect): void {
  if (dialect === "userspace") return;
  throw new NetlinkCodecError(name, "the kernel has no such action, only ovs-vswitchd's datapath");
}

function writeUserspace(writer: AttributeWriter, action: UserspaceAction): void {
  const { pid, userdata, tunnelOutPort } = action;
  writer.nested(attr.OVS_ACTION_ATTR_USERSPACE, () => {
    writer.attributeU32(attr.OVS_USERSPACE_ATTR_PID, pid);
    if (userdata !== undefined) {
      writer.attribute(attr.OVS_USERSPACE_ATTR_USERDATA, fromHex(userdata, "userspace userdata"));
    }
    if (tunnelOutPort !== undefined) {
      writer.attributeU32(attr.OVS_USERSPACE_ATTR_EGRESS_TUN_PORT, tunnelOutPort);
    }
    if (action.actions) writer.attributeFlag(attr.OVS_USERSPACE_ATTR_ACTIONS);
  });
}

function writeTunnelPush(writer: AttributeWriter, action: TunnelPushAction): void {
  const header = fromHex(action.header, "tnl_push");
  if (header.length > TUNNEL_PUSH_HEADER_MAX) {
    const problem = `a header of ${header.length} bytes, there can be ${TUNNEL_PUSH_HEADER_MAX}`;
    throw new NetlinkCodecError("tnl_push", problem);
  }
  const payload = new Uint8Array(TUNNEL_PUSH_HEAD_SIZE + header.length);
  const view = viewOf(payload);
  view.setUint32(0, action.tunnelPort, true);
  view.setUint32(4, action.outPort, true);
  view.setUint32(8, header.length, true);
  view.setUint32(12, action.tunnelType, true);
  payload.set(header, TUNNEL_PUSH_HEAD_SIZE);
  writer.attribute(attr.OVS_ACTION_ATTR_TUNNEL_PUSH, payload);
}

/** In PUSH_NSH lies OVS_KEY_ATTR_NSH, and in that the header's parts. */
function writePushNsh(writer: AttributeWriter, action: PushNshAction): void {
  const metadata = fromHex(action.metadata, "push_nsh");
  const base = new Uint8Array(NSH_BASE_SIZE);
  base.set([action.flags, action.ttl, action.mdtype, action.np]);
  viewOf(base).setUint32(4, action.path);
  writer.nested(attr.OVS_ACTION_ATTR_PUSH_NSH, () => {
    writer.nested(OVS_KEY_ATTR_NSH, () => {
      writer.attribute(attr.OVS_NSH_KEY_ATTR_BASE, base);
      if (action.mdtype === NSH_M_TYPE1) {
        checkSize(metadata, NSH_MD1_SIZE, "push_nsh metadata");
        writer.attribute(attr.OVS_NSH_KEY_ATTR_MD1, metadata);
      } else if (metadata.length > 0) writer.attribute(attr.OVS_NSH_KEY_ATTR_MD2, metadata);
    });
  });
}
