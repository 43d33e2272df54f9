/** The ct action's nested attributes (OVS_CT_ATTR_*, OVS_NAT_ATTR_*), both ways. */
import type { CtAction, CtNat } from "../actions/actions.ts";
import {
  OVS_CT_ATTR_COMMIT,
  OVS_CT_ATTR_EVENTMASK,
  OVS_CT_ATTR_FORCE_COMMIT,
  OVS_CT_ATTR_HELPER,
  OVS_CT_ATTR_LABELS,
  OVS_CT_ATTR_MARK,
  OVS_CT_ATTR_NAT,
  OVS_CT_ATTR_TIMEOUT,
  OVS_CT_ATTR_ZONE,
  OVS_NAT_ATTR_DST,
  OVS_NAT_ATTR_IP_MAX,
  OVS_NAT_ATTR_IP_MIN,
  OVS_NAT_ATTR_PERSISTENT,
  OVS_NAT_ATTR_PROTO_HASH,
  OVS_NAT_ATTR_PROTO_MAX,
  OVS_NAT_ATTR_PROTO_MIN,
  OVS_NAT_ATTR_PROTO_RANDOM,
  OVS_NAT_ATTR_SRC,
} from "./action_attributes.ts";
import {
  AttributeSet,
  type AttributeWriter,
  fromHex,
  NetlinkCodecError,
  toHex,
  viewOf,
} from "./attributes.ts";

const LABEL_SIZE = 16;
/** Text of the kernel's tables, its zero included. */
const HELPER_SIZE_MAX = 16;
const TIMEOUT_SIZE_MAX = 32;

/** Writes the attributes inside of OVS_ACTION_ATTR_CT. Throws NetlinkCodecError. */
export function encodeCt(writer: AttributeWriter, action: CtAction): void {
  const { zone, mark, label, helper, nat, eventMask, timeout } = action;
  if (action.commit) writer.attributeFlag(OVS_CT_ATTR_COMMIT);
  if (action.forceCommit) writer.attributeFlag(OVS_CT_ATTR_FORCE_COMMIT);
  if (zone !== undefined) writer.attributeU16(OVS_CT_ATTR_ZONE, zone);
  if (mark !== undefined) {
    const both = new Uint8Array(new Uint32Array([mark.value, mark.mask]).buffer);
    writer.attribute(OVS_CT_ATTR_MARK, both);
  }
  if (label !== undefined) {
    const both = new Uint8Array(2 * LABEL_SIZE);
    both.set(labelBytes(label.value));
    both.set(labelBytes(label.mask), LABEL_SIZE);
    writer.attribute(OVS_CT_ATTR_LABELS, both);
  }
  if (helper !== undefined) {
    writer.attribute(OVS_CT_ATTR_HELPER, textBytes(helper, HELPER_SIZE_MAX, "ct helper"));
  }
  if (eventMask !== undefined) writer.attributeU32(OVS_CT_ATTR_EVENTMASK, eventMask);
  if (timeout !== undefined) {
    writer.attribute(OVS_CT_ATTR_TIMEOUT, textBytes(timeout, TIMEOUT_SIZE_MAX, "ct timeout"));
  }
  if (nat !== undefined) writer.nested(OVS_CT_ATTR_NAT, () => encodeNat(writer, nat));
}

/** A label is a number in the host's order there. */
function labelBytes(text: string): Uint8Array {
  const bytes = fromHex(text, "ct label");
  if (bytes.length !== LABEL_SIZE) {
    throw new NetlinkCodecError("ct label", `${bytes.length} bytes, must be ${LABEL_SIZE}`);
  }
  return bytes.reverse();
}

function textBytes(text: string, sizeMax: number, path: string): Uint8Array {
  const bytes = new TextEncoder().encode(`${text}\0`);
  if (bytes.length > sizeMax) {
    throw new NetlinkCodecError(path, `"${text}" has more than ${sizeMax - 1} bytes`);
  }
  return bytes;
}

function encodeNat(writer: AttributeWriter, nat: CtNat): void {
  const { direction, addressMin, addressMax, portMin, portMax } = nat;
  if (direction === "src") writer.attributeFlag(OVS_NAT_ATTR_SRC);
  if (direction === "dst") writer.attributeFlag(OVS_NAT_ATTR_DST);
  if (addressMin !== undefined) {
    writer.attribute(OVS_NAT_ATTR_IP_MIN, addressBytes(addressMin));
  }
  if (addressMax !== undefined) {
    writer.attribute(OVS_NAT_ATTR_IP_MAX, addressBytes(addressMax));
  }
  if (portMin !== undefined) writer.attributeU16(OVS_NAT_ATTR_PROTO_MIN, portMin);
  if (portMax !== undefined) writer.attributeU16(OVS_NAT_ATTR_PROTO_MAX, portMax);
  if (nat.persistent) writer.attributeFlag(OVS_NAT_ATTR_PERSISTENT);
  if (nat.hash) writer.attributeFlag(OVS_NAT_ATTR_PROTO_HASH);
  if (nat.random) writer.attributeFlag(OVS_NAT_ATTR_PROTO_RANDOM);
}

function addressBytes(text: string): Uint8Array {
  const bytes = fromHex(text, "ct nat");
  checkAddress(bytes);
  return bytes;
}

function checkAddress(bytes: Uint8Array): void {
  if (bytes.length === 4 || bytes.length === 16) return;
  throw new NetlinkCodecError("ct nat", `an address of ${bytes.length} bytes, must be 4 or 16`);
}

/** Reads the attributes inside of OVS_ACTION_ATTR_CT. Throws NetlinkCodecError; undefined: some are unknown. */
export function decodeCt(payload: Uint8Array, path: string): CtAction | undefined {
  const attributes = new AttributeSet(payload, path);
  if (!attributes.hasOnly(OVS_CT_ATTR_COMMIT, OVS_CT_ATTR_TIMEOUT)) return undefined;
  const mark = sized(attributes, OVS_CT_ATTR_MARK, 8);
  const label = sized(attributes, OVS_CT_ATTR_LABELS, 2 * LABEL_SIZE);
  const nat = attributes.nested(OVS_CT_ATTR_NAT, "nat");
  if (nat?.hasOnly(OVS_NAT_ATTR_SRC, OVS_NAT_ATTR_PROTO_RANDOM) === false) return undefined;
  return {
    type: "ct",
    commit: attributes.has(OVS_CT_ATTR_COMMIT),
    forceCommit: attributes.has(OVS_CT_ATTR_FORCE_COMMIT),
    zone: attributes.u16(OVS_CT_ATTR_ZONE),
    mark: mark === undefined ? undefined : {
      value: viewOf(mark).getUint32(0, true),
      mask: viewOf(mark).getUint32(4, true),
    },
    label: label === undefined ? undefined : {
      value: toHex(label.slice(0, LABEL_SIZE).reverse()),
      mask: toHex(label.slice(LABEL_SIZE).reverse()),
    },
    helper: attributes.text(OVS_CT_ATTR_HELPER),
    nat: nat === undefined ? undefined : decodeNat(nat),
    eventMask: attributes.u32(OVS_CT_ATTR_EVENTMASK),
    timeout: attributes.text(OVS_CT_ATTR_TIMEOUT),
  };
}

function sized(attributes: AttributeSet, type: number, size: number): Uint8Array | undefined {
  const payload = attributes.bytes(type);
  if (payload !== undefined && payload.length !== size) {
    attributes.fail(type, `${payload.length} bytes, must be ${size}`);
  }
  return payload;
}

function decodeNat(attributes: AttributeSet): CtNat {
  const isSource = attributes.has(OVS_NAT_ATTR_SRC);
  const isDestination = attributes.has(OVS_NAT_ATTR_DST);
  if (isSource && isDestination) {
    throw new NetlinkCodecError(attributes.path, "src and dst can't be translated at once");
  }
  return {
    direction: isSource ? "src" : isDestination ? "dst" : undefined,
    addressMin: decodeAddress(attributes, OVS_NAT_ATTR_IP_MIN),
    addressMax: decodeAddress(attributes, OVS_NAT_ATTR_IP_MAX),
    portMin: attributes.u16(OVS_NAT_ATTR_PROTO_MIN),
    portMax: attributes.u16(OVS_NAT_ATTR_PROTO_MAX),
    persistent: attributes.has(OVS_NAT_ATTR_PERSISTENT),
    hash: attributes.has(OVS_NAT_ATTR_PROTO_HASH),
    random: attributes.has(OVS_NAT_ATTR_PROTO_RANDOM),
  };
}

function decodeAddress(attributes: AttributeSet, type: number): string | undefined {
  const payload = attributes.bytes(type);
  if (payload === undefined) return undefined;
  checkAddress(payload);
  return toHex(payload);
}
