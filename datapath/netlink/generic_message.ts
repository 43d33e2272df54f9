/**
 * Generic netlink (linux/genetlink.h) between nlmsghdr and the families' attributes: genlmsghdr,
 * Open vSwitch's own header behind it, and the controller that knows the families by name. What is
 * encoded here is the payload of a netlink message (netdev/netlink.ts writes nlmsghdr and sends).
 */
import { AttributeSet, AttributeWriter, NetlinkCodecError, viewOf } from "./attributes.ts";

/** Bytes of struct genlmsghdr: u8 command, u8 version, u16 reserved. */
export const GENERIC_HEADER_SIZE = 4;
/** Bytes of struct ovs_header: s32 dp_ifindex. */
const OVS_HEADER_SIZE = 4;

/** Message type of the controller family. */
export const GENL_ID_CTRL = 0x10;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const CTRL_ATTR_VERSION = 3;
const CTRL_ATTR_MCAST_GROUPS = 7;
const CTRL_ATTR_MCAST_GRP_NAME = 1;
const CTRL_ATTR_MCAST_GRP_ID = 2;
const CTRL_VERSION = 2;

/** What stands at the beginning of every message of Open vSwitch's families. */
export interface OvsHeader {
  /** OVS_*_CMD_* of the family. */
  readonly command: number;
  /** Interface index of the datapath's LOCAL port; 0: the request isn't about one datapath, or names it. */
  readonly dpIfindex: number;
}

/** A family of Open vSwitch: name (of its multicast group too) and version. */
export interface OvsFamily {
  readonly name: string;
  readonly version: number;
}

/** Begins a message: genlmsghdr and ovs_header; the caller adds attributes and takes `bytes()`. */
export function beginOvsMessage(header: OvsHeader, version: number): AttributeWriter {
  return new AttributeWriter().header(GENERIC_HEADER_SIZE + OVS_HEADER_SIZE, (view) => {
    view.setUint8(0, header.command);
    view.setUint8(1, version);
    view.setInt32(GENERIC_HEADER_SIZE, header.dpIfindex, true);
  });
}

/** Reads genlmsghdr, ovs_header and the attributes. Throws NetlinkCodecError. */
export function readOvsMessage(
  payload: Uint8Array,
  path: string,
  options: { readonly pad?: number } = {},
): { readonly header: OvsHeader; readonly attributes: AttributeSet } {
  const headSize = GENERIC_HEADER_SIZE + OVS_HEADER_SIZE;
  if (payload.length < headSize) {
    throw new NetlinkCodecError(
      path,
      `${payload.length} bytes, the headers alone have ${headSize}`,
    );
  }
  const view = viewOf(payload);
  return {
    header: {
      command: view.getUint8(0),
      dpIfindex: view.getInt32(GENERIC_HEADER_SIZE, true),
    },
    attributes: new AttributeSet(payload.subarray(headSize), path, options),
  };
}

/** A family as the controller knows it. */
export interface GenericFamily {
  /** Message type of its messages. */
  readonly id: number;
  readonly name: string;
  readonly version: number;
  /** Numbers of its multicast groups, by name. */
  readonly groups: ReadonlyMap<string, number>;
}

/** Asks the controller (message type GENL_ID_CTRL) for a family by name; ENOENT: there is none. */
export function encodeGetFamily(name: string): Uint8Array<ArrayBuffer> {
  return new AttributeWriter().header(GENERIC_HEADER_SIZE, (view) => {
    view.setUint8(0, CTRL_CMD_GETFAMILY);
    view.setUint8(1, CTRL_VERSION);
  }).attributeText(CTRL_ATTR_FAMILY_NAME, name).bytes();
}

/** Reads the controller's answer. Throws NetlinkCodecError. */
export function decodeFamily(payload: Uint8Array): GenericFamily {
  const path = "generic netlink family";
  if (payload.length < GENERIC_HEADER_SIZE) {
    throw new NetlinkCodecError(
      path,
      `${payload.length} bytes, the header has ${GENERIC_HEADER_SIZE}`,
    );
  }
  const attributes = new AttributeSet(payload.subarray(GENERIC_HEADER_SIZE), path);
  const id = attributes.u16(CTRL_ATTR_FAMILY_ID);
  const name = attributes.text(CTRL_ATTR_FAMILY_NAME);
  if (id === undefined || name === undefined) {
    throw new NetlinkCodecError(path, "the family's id and name must be there");
  }
  const groups = new Map<string, number>();
  // An array: the types are its indexes.
  const list = attributes.nested(CTRL_ATTR_MCAST_GROUPS, "groups");
  for (const index of list?.types ?? []) {
    const group = list?.nested(index, `${index}`);
    const groupName = group?.text(CTRL_ATTR_MCAST_GRP_NAME);
    const groupId = group?.u32(CTRL_ATTR_MCAST_GRP_ID);
    if (groupName !== undefined && groupId !== undefined) groups.set(groupName, groupId);
  }
  return { id, name, version: attributes.u32(CTRL_ATTR_VERSION) ?? 0, groups };
}
