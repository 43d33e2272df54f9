/**
 * Messages of the family ovs_ct_limit (linux/openvswitch.h: OVS_CT_LIMIT_CMD_*): how many connections
 * each zone may have. Both ways, as the payload of a netlink message.
 */
import { NetlinkCodecError, viewOf } from "./attributes.ts";
import {
  beginOvsMessage,
  type OvsFamily,
  type OvsHeader,
  readOvsMessage,
} from "./generic_message.ts";

export const OVS_CT_LIMIT_FAMILY: OvsFamily = { name: "ovs_ct_limit", version: 1 };

export const OVS_CT_LIMIT_CMD_SET = 1;
export const OVS_CT_LIMIT_CMD_DEL = 2;
export const OVS_CT_LIMIT_CMD_GET = 3;

/** `zone` of the limit for zones that have none of their own. */
export const OVS_ZONE_LIMIT_DEFAULT_ZONE = -1;

const OVS_CT_LIMIT_ATTR_ZONE_LIMIT = 1;
/** struct ovs_zone_limit: s32 zone, u32 limit, u32 count. */
const ZONE_LIMIT_SIZE = 12;

export interface ZoneLimit {
  /** 0 … 65535 or OVS_ZONE_LIMIT_DEFAULT_ZONE. */
  readonly zone: number;
  /** 0: none. */
  readonly limit: number;
  /** Connections that there are, in replies. */
  readonly count: number;
}

export interface CtLimitMessage extends OvsHeader {
  /** In a GET: the zones that are asked for; empty: all. */
  readonly limits?: readonly ZoneLimit[] | undefined;
}

/** Writes a message. */
export function encodeCtLimitMessage(message: CtLimitMessage): Uint8Array<ArrayBuffer> {
  const writer = beginOvsMessage(message, OVS_CT_LIMIT_FAMILY.version);
  if (message.limits !== undefined) {
    const payload = new Uint8Array(ZONE_LIMIT_SIZE * message.limits.length);
    const view = viewOf(payload);
    for (const [index, { zone, limit, count }] of message.limits.entries()) {
      view.setInt32(ZONE_LIMIT_SIZE * index, zone, true);
      view.setUint32(ZONE_LIMIT_SIZE * index + 4, limit, true);
      view.setUint32(ZONE_LIMIT_SIZE * index + 8, count, true);
    }
    writer.attribute(OVS_CT_LIMIT_ATTR_ZONE_LIMIT, payload);
  }
  return writer.bytes();
}

/** Reads the payload of a message. Throws NetlinkCodecError. */
export function decodeCtLimitMessage(payload: Uint8Array): CtLimitMessage {
  const { header, attributes } = readOvsMessage(payload, "ct_limit");
  const structs = attributes.bytes(OVS_CT_LIMIT_ATTR_ZONE_LIMIT);
  if (structs === undefined) return { ...header, limits: undefined };
  if (structs.length % ZONE_LIMIT_SIZE !== 0) {
    const problem = `${structs.length} bytes, must be whole structs of ${ZONE_LIMIT_SIZE}`;
    throw new NetlinkCodecError("ct_limit zone_limit", problem);
  }
  const view = viewOf(structs);
  const limits = Array.from({ length: structs.length / ZONE_LIMIT_SIZE }, (_, index) => ({
    zone: view.getInt32(ZONE_LIMIT_SIZE * index, true),
    limit: view.getUint32(ZONE_LIMIT_SIZE * index + 4, true),
    count: view.getUint32(ZONE_LIMIT_SIZE * index + 8, true),
  }));
  return { ...header, limits };
}
