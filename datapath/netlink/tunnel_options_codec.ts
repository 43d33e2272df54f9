/**
 * Options of a tunnel (Geneve, VXLAN group policy, ERSPAN, GTP-U) between the key's bytes, which are
 * in network byte order (key.ts), and their netlink attributes, which partly aren't.
 */
import type { Dialect, Field } from "../fields/field_types.ts";
import { completeOptionsMask, GENEVE_SIZE_MAX, OPTION_KINDS } from "../packet/tunnel_options.ts";
import {
  TUN_OPTIONS_AT,
  TUN_OPTIONS_ERSPAN,
  TUN_OPTIONS_GENEVE,
  TUN_OPTIONS_GTPU,
  TUN_OPTIONS_KIND_AT,
  TUN_OPTIONS_MAX,
  TUN_OPTIONS_NONE,
  TUN_OPTIONS_SIZE_AT,
  TUN_OPTIONS_VXLAN,
} from "../key.ts";
import { AttributeSet, type AttributeWriter, NetlinkCodecError, viewOf } from "./attributes.ts";
import type { TunnelContext } from "./tunnel_codec.ts";

const OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS = 8;
const OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS = 11;
const OVS_VXLAN_EXT_GBP = 1;
const OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS = 15;
/** ovs-vswitchd's; in the kernel the number is IPV4_INFO_BRIDGE. */
const OVS_TUNNEL_KEY_ATTR_GTPU_OPTS = 16;

const VXLAN_SIZE = 4;
const GTPU_SIZE = 2;

/** struct erspan_metadata (linux/erspan.h): s32 version, then a union of 8 bytes. */
const ERSPAN_SIZE = 12;
const ERSPAN_UNION = 4;
/** Version 2, in the union: u32 timestamp, be16 sgt, then two bytes of bit fields. */
const ERSPAN_HWID_UPPER = 10;
const ERSPAN_DIR_HWID = 11;
const ERSPAN_DIR_BIT = 0x08;
/** Version 2 in the key: a byte each. */
const KEY_DIR = 4;
const KEY_HWID = 5;

const KINDS: ReadonlyMap<number, number> = new Map([
  [OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, TUN_OPTIONS_GENEVE],
  [OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, TUN_OPTIONS_VXLAN],
  [OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, TUN_OPTIONS_ERSPAN],
  [OVS_TUNNEL_KEY_ATTR_GTPU_OPTS, TUN_OPTIONS_GTPU],
]);

const SHARED = [
  OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS,
  OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS,
  OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS,
];

/** The attributes that carry options. */
export const OPTION_TYPES: Readonly<Record<Dialect, ReadonlySet<number>>> = {
  kernel: new Set(SHARED),
  userspace: new Set([...SHARED, OVS_TUNNEL_KEY_ATTR_GTPU_OPTS]),
};

/** Whether the field stands for a set of options. */
export function isOption(field: Field): boolean {
  return field.at === TUN_OPTIONS_AT;
}

function sizeOf(key: Uint8Array): number {
  const size = key[TUN_OPTIONS_SIZE_AT]! << 8 | key[TUN_OPTIONS_SIZE_AT + 1]!;
  return Math.min(size, TUN_OPTIONS_MAX);
}

/** Writes the options' attribute; of the kind and size that the key has, also for a mask. */
export function encodeOptions(
  writer: AttributeWriter,
  bytes: Uint8Array,
  context: TunnelContext,
): void {
  const kind = context.key[TUN_OPTIONS_KIND_AT]!;
  const options = bytes.slice(TUN_OPTIONS_AT, TUN_OPTIONS_AT + sizeOf(context.key));
  switch (kind) {
    case TUN_OPTIONS_NONE:
      return;
    case TUN_OPTIONS_GENEVE:
      checkGeneve(options, context.path);
      writer.attribute(OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, options);
      return;
    case TUN_OPTIONS_VXLAN:
      checkSize(options, VXLAN_SIZE, `${context.path} vxlan`);
      writer.nested(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, () => {
        writer.attributeU32(OVS_VXLAN_EXT_GBP, viewOf(options).getUint32(0));
      });
      return;
    case TUN_OPTIONS_ERSPAN:
      writer.attribute(OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, encodeErspan(options, context));
      return;
    case TUN_OPTIONS_GTPU:
      if (context.dialect !== "userspace") {
        throw new NetlinkCodecError(`${context.path} gtpu`, "the kernel has no GTP-U options");
      }
      checkSize(options, GTPU_SIZE, `${context.path} gtpu`);
      writer.attribute(OVS_TUNNEL_KEY_ATTR_GTPU_OPTS, options);
      return;
    default:
      throw new NetlinkCodecError(context.path, `there are no options of kind ${kind}`);
  }
}

/** Adds the options of an attribute that OPTION_TYPES has. Throws NetlinkCodecError. */
export function decodeOptions(
  number: number,
  payload: Uint8Array,
  bytes: Uint8Array,
  context: TunnelContext,
): void {
  const options = decodePayload(number, payload, context);
  const kind = KINDS.get(number)!;
  const view = viewOf(bytes);
  if (context.role === "key") {
    bytes[TUN_OPTIONS_KIND_AT] = kind;
    view.setUint16(TUN_OPTIONS_SIZE_AT, options.length);
  } else {
    const { key, path } = context;
    if (key[TUN_OPTIONS_KIND_AT] !== kind) {
      throw new NetlinkCodecError(path, `attribute ${number} masks options that the key hasn't`);
    }
    const size = sizeOf(key);
    if (size !== options.length) {
      throw new NetlinkCodecError(path, `a mask of ${options.length} bytes for ${size} of options`);
    }
    bytes[TUN_OPTIONS_KIND_AT] = 0xff;
    view.setUint16(TUN_OPTIONS_SIZE_AT, 0xffff);
  }
  bytes.set(options, TUN_OPTIONS_AT);
  if (kind === TUN_OPTIONS_ERSPAN && context.role === "mask") {
    completeOptionsMask(OPTION_KINDS.erspan, context.key, bytes);
  }
}

function decodePayload(
  number: number,
  payload: Uint8Array,
  context: TunnelContext,
): Uint8Array {
  switch (number) {
    case OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS:
      checkGeneve(payload, context.path);
      return payload;
    case OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS: {
      const options = new Uint8Array(VXLAN_SIZE);
      const policy = new AttributeSet(payload, `${context.path} vxlan`).u32(OVS_VXLAN_EXT_GBP);
      viewOf(options).setUint32(0, policy ?? 0);
      return options;
    }
    case OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS:
      return decodeErspan(payload, context);
    default:
      checkSize(payload, GTPU_SIZE, `${context.path} gtpu`);
      return payload;
  }
}

function checkGeneve(options: Uint8Array, path: string): void {
  if (options.length % 4 === 0 && options.length <= GENEVE_SIZE_MAX) return;
  const problem =
    `${options.length} bytes, must be whole words of at most ${GENEVE_SIZE_MAX} bytes`;
  throw new NetlinkCodecError(`${path} geneve`, problem);
}

function checkSize(options: Uint8Array, size: number, path: string): void {
  if (options.length === size) return;
  throw new NetlinkCodecError(path, `${options.length} bytes, must be ${size}`);
}

/** Version 1 or 2, which says what the union is; it is the key's for a mask too. */
function versionOf(options: Uint8Array): number {
  return viewOf(options).getUint32(0);
}

function encodeErspan(options: Uint8Array, context: TunnelContext): Uint8Array {
  const path = `${context.path} erspan`;
  checkSize(options, ERSPAN_SIZE, path);
  const payload = new Uint8Array(ERSPAN_SIZE);
  viewOf(payload).setUint32(0, versionOf(options), true);
  const version = versionOf(context.key.subarray(TUN_OPTIONS_AT, TUN_OPTIONS_AT + ERSPAN_SIZE));
  if (version === 1) {
    payload.set(options.subarray(ERSPAN_UNION, ERSPAN_UNION + 4), ERSPAN_UNION);
  } else if (version === 2) {
    const hwid = options[KEY_HWID]!;
    payload[ERSPAN_HWID_UPPER] = hwid >> 4 & 3;
    payload[ERSPAN_DIR_HWID] = (hwid & 15) << 4 |
      ((options[KEY_DIR]! & 1) !== 0 ? ERSPAN_DIR_BIT : 0);
  }
  return payload;
}

/**
 * Only what flows can name comes out: version 2 has a timestamp, a group tag and more, which change
 * from packet to packet.
 */
function decodeErspan(payload: Uint8Array, context: TunnelContext): Uint8Array {
  const path = `${context.path} erspan`;
  checkSize(payload, ERSPAN_SIZE, path);
  const options = new Uint8Array(ERSPAN_SIZE);
  const isMask = context.role === "mask";
  const written = viewOf(payload).getUint32(0, true);
  // ovs-vswitchd masks one byte of the four.
  viewOf(options).setUint32(0, isMask && written !== 0 ? 0xffffffff : written);
  const version = isMask
    ? versionOf(context.key.subarray(TUN_OPTIONS_AT, TUN_OPTIONS_AT + ERSPAN_SIZE))
    : written;
  if (version === 1) {
    options.set(payload.subarray(ERSPAN_UNION, ERSPAN_UNION + 4), ERSPAN_UNION);
  } else if (version === 2) {
    const hwid = (payload[ERSPAN_HWID_UPPER]! & 3) << 4 | payload[ERSPAN_DIR_HWID]! >> 4;
    options[KEY_DIR] = (payload[ERSPAN_DIR_HWID]! & ERSPAN_DIR_BIT) !== 0 ? 1 : 0;
    options[KEY_HWID] = hwid;
  }
  return options;
}
