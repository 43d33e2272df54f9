/** Numbers of OVS_KEY_ATTR_* that the key codec treats by their own rules (linux/openvswitch.h). */
import type { Dialect } from "../fields/field_types.ts";
import type { FieldTable } from "../fields/field_table.ts";
import { ENCAP, PACKET_TYPE } from "../fields/fields.ts";

export const OVS_KEY_ATTR_ENCAP: number = ENCAP.number;
export const OVS_KEY_ATTR_IN_PORT = 3;
export const OVS_KEY_ATTR_ETHERNET = 4;
export const OVS_KEY_ATTR_VLAN = 5;
export const OVS_KEY_ATTR_ETHERTYPE = 6;
export const OVS_KEY_ATTR_TUNNEL = 16;
export const OVS_KEY_ATTR_RECIRC_ID = 20;
/** ovs-vswitchd's own. */
export const OVS_KEY_ATTR_PACKET_TYPE: number = PACKET_TYPE.number;

/** The upper half of a packet type: what the lower half is. 0: an Ethernet packet; 1: an Ethernet type. */
export const PACKET_TYPE_ETHERTYPE = 1;

/** An attribute that this version doesn't know, or that the other dialect has, as it came. */
export interface UnknownAttribute {
  readonly number: number;
  /** Payload in the key, hexadecimal; zeros if only the mask has it. */
  readonly key: string;
  /** Payload in the mask, likewise; undefined: all ones. */
  readonly mask: string | undefined;
  /** Numbers of the attributes that it lies in, the outermost first: [1] ENCAP, [16] TUNNEL …; default: in none. */
  readonly within?: readonly number[] | undefined;
}

export interface KeyCodecOptions {
  /** Whose numbers and rules. */
  readonly dialect: Dialect;
  /** Default: this version's. */
  readonly table?: FieldTable | undefined;
}
