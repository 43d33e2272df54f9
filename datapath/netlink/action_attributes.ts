/**
 * Numbers of actions and of what is nested in them (linux/openvswitch.h: OVS_ACTION_ATTR_* and others;
 * from TUNNEL_PUSH on ovs-vswitchd's own, which the kernel may give another meaning).
 */
import { attributeNamed } from "../fields/fields.ts";
import { NetlinkCodecError } from "./attributes.ts";

export const OVS_ACTION_ATTR_OUTPUT = 1;
export const OVS_ACTION_ATTR_USERSPACE = 2;
export const OVS_ACTION_ATTR_SET = 3;
export const OVS_ACTION_ATTR_PUSH_VLAN = 4;
export const OVS_ACTION_ATTR_POP_VLAN = 5;
export const OVS_ACTION_ATTR_SAMPLE = 6;
export const OVS_ACTION_ATTR_RECIRC = 7;
export const OVS_ACTION_ATTR_HASH = 8;
export const OVS_ACTION_ATTR_PUSH_MPLS = 9;
export const OVS_ACTION_ATTR_POP_MPLS = 10;
export const OVS_ACTION_ATTR_SET_MASKED = 11;
export const OVS_ACTION_ATTR_CT = 12;
export const OVS_ACTION_ATTR_TRUNC = 13;
export const OVS_ACTION_ATTR_PUSH_ETH = 14;
export const OVS_ACTION_ATTR_POP_ETH = 15;
export const OVS_ACTION_ATTR_CT_CLEAR = 16;
export const OVS_ACTION_ATTR_PUSH_NSH = 17;
export const OVS_ACTION_ATTR_POP_NSH = 18;
export const OVS_ACTION_ATTR_METER = 19;
export const OVS_ACTION_ATTR_CLONE = 20;
export const OVS_ACTION_ATTR_CHECK_PKT_LEN = 21;
export const OVS_ACTION_ATTR_ADD_MPLS = 22;
export const OVS_ACTION_ATTR_DEC_TTL = 23;
export const OVS_ACTION_ATTR_DROP = 24;
export const OVS_ACTION_ATTR_PSAMPLE = 25;
export const OVS_ACTION_ATTR_TUNNEL_PUSH = 26;
export const OVS_ACTION_ATTR_TUNNEL_POP = 27;
export const OVS_ACTION_ATTR_LB_OUTPUT = 28;

export const OVS_USERSPACE_ATTR_PID = 1;
export const OVS_USERSPACE_ATTR_USERDATA = 2;
export const OVS_USERSPACE_ATTR_EGRESS_TUN_PORT = 3;
export const OVS_USERSPACE_ATTR_ACTIONS = 4;

export const OVS_SAMPLE_ATTR_PROBABILITY = 1;
export const OVS_SAMPLE_ATTR_ACTIONS = 2;

export const OVS_CT_ATTR_COMMIT = 1;
export const OVS_CT_ATTR_ZONE = 2;
export const OVS_CT_ATTR_MARK = 3;
export const OVS_CT_ATTR_LABELS = 4;
export const OVS_CT_ATTR_HELPER = 5;
export const OVS_CT_ATTR_NAT = 6;
export const OVS_CT_ATTR_FORCE_COMMIT = 7;
export const OVS_CT_ATTR_EVENTMASK = 8;
export const OVS_CT_ATTR_TIMEOUT = 9;

export const OVS_NAT_ATTR_SRC = 1;
export const OVS_NAT_ATTR_DST = 2;
export const OVS_NAT_ATTR_IP_MIN = 3;
export const OVS_NAT_ATTR_IP_MAX = 4;
export const OVS_NAT_ATTR_PROTO_MIN = 5;
export const OVS_NAT_ATTR_PROTO_MAX = 6;
export const OVS_NAT_ATTR_PERSISTENT = 7;
export const OVS_NAT_ATTR_PROTO_HASH = 8;
export const OVS_NAT_ATTR_PROTO_RANDOM = 9;

export const OVS_CHECK_PKT_LEN_ATTR_PKT_LEN = 1;
export const OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER = 2;
export const OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL = 3;

export const OVS_DEC_TTL_ATTR_ACTION = 1;

export const OVS_PSAMPLE_ATTR_GROUP = 1;
export const OVS_PSAMPLE_ATTR_COOKIE = 2;

export const OVS_NSH_KEY_ATTR_BASE = 1;
export const OVS_NSH_KEY_ATTR_MD1 = 2;
export const OVS_NSH_KEY_ATTR_MD2 = 3;

/** Inside of PUSH_NSH. */
export const OVS_KEY_ATTR_NSH: number = attributeNamed("nsh").number;
export const NSH_BASE_SIZE = 8;
export const NSH_M_TYPE1 = 1;
export const NSH_M_TYPE2 = 2;
export const NSH_MD1_SIZE = 16;

/** OVS_HASH_ALG_*, by number. */
export const HASH_ALGORITHMS = ["l4", "sym_l4"] as const;
export const ETH_ALEN = 6;
/** struct ovs_action_push_tnl of ovs-vswitchd: four u32, then as much of the header as there is. */
export const TUNNEL_PUSH_HEAD_SIZE = 16;
export const TUNNEL_PUSH_HEADER_MAX = 512;

/** Most levels of lists within lists that are read or written; the kernel takes 16. */
export const ACTION_DEPTH_MAX = 32;

/** Throws NetlinkCodecError for a payload that hasn't that size. */
export function checkSize(payload: Uint8Array, size: number, path: string): void {
  if (payload.length === size) return;
  throw new NetlinkCodecError(path, `${payload.length} bytes, must be ${size}`);
}
