/**
 * Messages of the family ovs_packet (linux/openvswitch.h: OVS_PACKET_CMD_*, OVS_PACKET_ATTR_*): upcalls
 * of the datapath (MISS, ACTION) and packets for it (EXECUTE), as the payload of a netlink message.
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
import type { KeyCodecOptions } from "./key_attributes.ts";
import {
  type DecodedKey,
  decodeKey,
  decodeTunnelKey,
  encodePacketKey,
  encodeTunnelKey,
} from "./key_codec.ts";

export const OVS_PACKET_FAMILY: OvsFamily = { name: "ovs_packet", version: 1 };

export const OVS_PACKET_CMD_MISS = 1;
export const OVS_PACKET_CMD_ACTION = 2;
export const OVS_PACKET_CMD_EXECUTE = 3;

const OVS_PACKET_ATTR_PACKET = 1;
const OVS_PACKET_ATTR_KEY = 2;
const OVS_PACKET_ATTR_ACTIONS = 3;
const OVS_PACKET_ATTR_USERDATA = 4;
const OVS_PACKET_ATTR_EGRESS_TUN_KEY = 5;
const OVS_PACKET_ATTR_PROBE = 8;
const OVS_PACKET_ATTR_MRU = 9;
const OVS_PACKET_ATTR_LEN = 10;
const OVS_PACKET_ATTR_HASH = 11;
const OVS_PACKET_ATTR_UPCALL_PID = 12;

export interface PacketMessage extends OvsHeader {
  /** The packet from its first header on; when read, a view of the message. */
  readonly packet?: Uint8Array | undefined;
  /** KEY_WORDS words. */
  readonly key?: Int32Array | undefined;
  /** When read: the exact mask of the key's attributes and what isn't known of them. */
  readonly decodedKey?: DecodedKey | undefined;
  readonly actions?: readonly Action[] | undefined;
  /** Of the userspace action, hexadecimal. */
  readonly userdata?: string | undefined;
  /** The tunnel that the packet would leave through: KEY_WORDS words with nothing else in them. */
  readonly egressTunnel?: Int32Array | undefined;
  /** Size of the largest fragment that the packet was put together from. */
  readonly mru?: number | undefined;
  /** Size before a trunc action. */
  readonly size?: number | undefined;
  /** Hash of the packet, with bit 32: by software, bit 33: of layer 4. */
  readonly hash?: bigint | undefined;
  readonly probe?: boolean | undefined;
  /** Netlink port for upcalls while the packet is executed (kernel 6.17). */
  readonly upcallPid?: number | undefined;
}

/** Writes a message; `decodedKey` is ignored. Throws NetlinkCodecError for what can't be said. */
export function encodePacketMessage(
  message: PacketMessage,
  options: KeyCodecOptions,
): Uint8Array<ArrayBuffer> {
  const writer = beginOvsMessage(message, OVS_PACKET_FAMILY.version);
  const { packet, key, actions, userdata, egressTunnel, mru, size, hash, upcallPid } = message;
  if (key !== undefined) writer.attribute(OVS_PACKET_ATTR_KEY, encodePacketKey(key, options));
  if (userdata !== undefined) {
    writer.attribute(OVS_PACKET_ATTR_USERDATA, fromHex(userdata, "packet userdata"));
  }
  if (egressTunnel !== undefined) {
    writer.attribute(OVS_PACKET_ATTR_EGRESS_TUN_KEY, encodeTunnelKey(egressTunnel, options));
  }
  if (actions !== undefined) {
    writer.attribute(OVS_PACKET_ATTR_ACTIONS, encodeActions(actions, options));
  }
  if (mru !== undefined) writer.attributeU16(OVS_PACKET_ATTR_MRU, mru);
  if (size !== undefined) writer.attributeU32(OVS_PACKET_ATTR_LEN, size);
  if (hash !== undefined) writer.attributeU64(OVS_PACKET_ATTR_HASH, hash);
  if (message.probe === true) writer.attributeFlag(OVS_PACKET_ATTR_PROBE);
  if (upcallPid !== undefined) writer.attributeU32(OVS_PACKET_ATTR_UPCALL_PID, upcallPid);
  if (packet !== undefined) writer.attribute(OVS_PACKET_ATTR_PACKET, packet);
  return writer.bytes();
}

/** Reads the payload of a message. Throws NetlinkCodecError. */
export function decodePacketMessage(payload: Uint8Array, options: KeyCodecOptions): PacketMessage {
  const { header, attributes } = readOvsMessage(payload, "packet");
  const key = attributes.bytes(OVS_PACKET_ATTR_KEY);
  const decodedKey = key === undefined ? undefined : decodeKey(key, undefined, options);
  const actions = attributes.bytes(OVS_PACKET_ATTR_ACTIONS);
  const userdata = attributes.bytes(OVS_PACKET_ATTR_USERDATA);
  const tunnel = attributes.bytes(OVS_PACKET_ATTR_EGRESS_TUN_KEY);
  return {
    ...header,
    packet: attributes.bytes(OVS_PACKET_ATTR_PACKET),
    key: decodedKey?.key,
    decodedKey,
    actions: actions === undefined ? undefined : decodeActions(actions, options),
    userdata: userdata === undefined ? undefined : toHex(userdata),
    egressTunnel: tunnel === undefined ? undefined : decodeTunnelKey(tunnel, options),
    mru: attributes.u16(OVS_PACKET_ATTR_MRU),
    size: attributes.u32(OVS_PACKET_ATTR_LEN),
    hash: attributes.u64(OVS_PACKET_ATTR_HASH),
    probe: attributes.has(OVS_PACKET_ATTR_PROBE),
    upcallPid: attributes.u32(OVS_PACKET_ATTR_UPCALL_PID),
  };
}
