/**
 * Messages of the family ovs_flow (linux/openvswitch.h: OVS_FLOW_CMD_*, OVS_FLOW_ATTR_*): requests,
 * replies and notifications alike, as the payload of a netlink message. Absent attributes are
 * undefined; which ones a command needs is the kernel's to say.
 */
import type { Action } from "../actions/actions.ts";
import { decodeActions, encodeActions } from "./action_codec.ts";
import { fromHex, toHex } from "./attributes.ts";
import {
  beginOvsMessage,
  type OvsFamily,
  type OvsHeader,
  readOvsMessage,
} from "./generic_message.ts";
import type { KeyCodecOptions, UnknownAttribute } from "./key_attributes.ts";
import { decodeKey, encodeKey } from "./key_codec.ts";
import { type PacketStats, readPacketStats, writePacketStats } from "./stats.ts";

export const OVS_FLOW_FAMILY: OvsFamily = { name: "ovs_flow", version: 1 };

export const OVS_FLOW_CMD_NEW = 1;
export const OVS_FLOW_CMD_DEL = 2;
export const OVS_FLOW_CMD_GET = 3;
export const OVS_FLOW_CMD_SET = 4;

/** Bits of `ufidFlags`: what a reply to a request with a UFID may leave out. */
export const OVS_UFID_F_OMIT_KEY = 1;
export const OVS_UFID_F_OMIT_MASK = 2;
export const OVS_UFID_F_OMIT_ACTIONS = 4;

const OVS_FLOW_ATTR_KEY = 1;
const OVS_FLOW_ATTR_ACTIONS = 2;
const OVS_FLOW_ATTR_STATS = 3;
const OVS_FLOW_ATTR_TCP_FLAGS = 4;
const OVS_FLOW_ATTR_USED = 5;
const OVS_FLOW_ATTR_CLEAR = 6;
const OVS_FLOW_ATTR_MASK = 7;
const OVS_FLOW_ATTR_PROBE = 8;
const OVS_FLOW_ATTR_UFID = 9;
const OVS_FLOW_ATTR_UFID_FLAGS = 10;
const OVS_FLOW_ATTR_PAD = 11;

/** A key and its mask, KEY_WORDS words each. */
export interface FlowMatch {
  readonly key: Int32Array;
  readonly mask: Int32Array;
  /** Attributes that this version doesn't know, to be shown and written back. */
  readonly unknown?: readonly UnknownAttribute[] | undefined;
}

export interface FlowMessage extends OvsHeader {
  /** In a reply whose mask was left out (OVS_UFID_F_OMIT_MASK) everything is matched exactly. */
  readonly match?: FlowMatch | undefined;
  readonly actions?: readonly Action[] | undefined;
  /** 1 to 16 bytes, hexadecimal. */
  readonly ufid?: string | undefined;
  /** OVS_UFID_F_*. */
  readonly ufidFlags?: number | undefined;
  readonly stats?: PacketStats | undefined;
  /** Flags of all packets, OR-ed, the lower 8. */
  readonly tcpFlags?: number | undefined;
  /** When the last packet came, by the monotonic clock. */
  readonly usedMs?: bigint | undefined;
  /** Zero the statistics. */
  readonly clear?: boolean | undefined;
  /** The kernel shall not log what is wrong. */
  readonly probe?: boolean | undefined;
}

/** Writes a message. Throws NetlinkCodecError for what can't be said. */
export function encodeFlowMessage(
  message: FlowMessage,
  options: KeyCodecOptions,
): Uint8Array<ArrayBuffer> {
  const writer = beginOvsMessage(message, OVS_FLOW_FAMILY.version);
  const { match, actions, ufid, ufidFlags, stats, tcpFlags, usedMs } = message;
  if (ufid !== undefined) writer.attribute(OVS_FLOW_ATTR_UFID, fromHex(ufid, "flow ufid"));
  if (ufidFlags !== undefined) writer.attributeU32(OVS_FLOW_ATTR_UFID_FLAGS, ufidFlags);
  if (match !== undefined) {
    const { key, mask } = encodeKey(match.key, match.mask, { ...options, unknown: match.unknown });
    writer.attribute(OVS_FLOW_ATTR_KEY, key).attribute(OVS_FLOW_ATTR_MASK, mask);
  }
  if (stats !== undefined) writePacketStats(writer, OVS_FLOW_ATTR_STATS, stats);
  if (tcpFlags !== undefined) writer.attributeU8(OVS_FLOW_ATTR_TCP_FLAGS, tcpFlags);
  if (usedMs !== undefined) writer.attributeU64(OVS_FLOW_ATTR_USED, usedMs);
  if (message.clear === true) writer.attributeFlag(OVS_FLOW_ATTR_CLEAR);
  if (message.probe === true) writer.attributeFlag(OVS_FLOW_ATTR_PROBE);
  if (actions !== undefined) {
    writer.attribute(OVS_FLOW_ATTR_ACTIONS, encodeActions(actions, options));
  }
  return writer.bytes();
}

/** Reads the payload of a message. Throws NetlinkCodecError. */
export function decodeFlowMessage(payload: Uint8Array, options: KeyCodecOptions): FlowMessage {
  const { header, attributes } = readOvsMessage(payload, "flow", { pad: OVS_FLOW_ATTR_PAD });
  const key = attributes.bytes(OVS_FLOW_ATTR_KEY);
  const mask = attributes.bytes(OVS_FLOW_ATTR_MASK);
  const actions = attributes.bytes(OVS_FLOW_ATTR_ACTIONS);
  const ufid = attributes.bytes(OVS_FLOW_ATTR_UFID);
  return {
    ...header,
    match: key === undefined ? undefined : decodeKey(key, mask, options),
    actions: actions === undefined ? undefined : decodeActions(actions, options),
    ufid: ufid === undefined ? undefined : toHex(ufid),
    ufidFlags: attributes.u32(OVS_FLOW_ATTR_UFID_FLAGS),
    stats: readPacketStats(attributes, OVS_FLOW_ATTR_STATS),
    tcpFlags: attributes.u8(OVS_FLOW_ATTR_TCP_FLAGS),
    usedMs: attributes.u64(OVS_FLOW_ATTR_USED),
    clear: attributes.has(OVS_FLOW_ATTR_CLEAR),
    probe: attributes.has(OVS_FLOW_ATTR_PROBE),
  };
}
