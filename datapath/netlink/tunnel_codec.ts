/**
 * OVS_KEY_ATTR_TUNNEL between the key's bytes and its nested attributes (OVS_TUNNEL_KEY_ATTR_*):
 * plain fields by the field table, flags as attributes without payload, and the one set of options.
 *
 * The attribute ID says at once what the tunnel's key is and that there is one: it stands for the
 * flag `key` too. In a mask an attribute that is absent is a mask of zeros.
 */
import type { Attribute, Dialect, Field } from "../fields/field_types.ts";
import {
  TUN_FAMILY_AT,
  TUN_FLAG_CSUM,
  TUN_FLAG_DF,
  TUN_FLAG_INFO_BRIDGE,
  TUN_FLAG_KEY,
  TUN_FLAG_OAM,
  TUN_FLAGS_AT,
} from "../key.ts";
import { AttributeSet, type AttributeWriter, NetlinkCodecError } from "./attributes.ts";
import { decodeStruct, encodeStruct, type Layout, type Role } from "./field_bytes.ts";
import { decodeOptions, encodeOptions, isOption, OPTION_TYPES } from "./tunnel_options_codec.ts";

const OVS_TUNNEL_KEY_ATTR_ID = 0;
const OVS_TUNNEL_KEY_ATTR_IPV4_SRC = 1;
const OVS_TUNNEL_KEY_ATTR_IPV4_DST = 2;
const OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT = 5;
const OVS_TUNNEL_KEY_ATTR_CSUM = 6;
const OVS_TUNNEL_KEY_ATTR_OAM = 7;
const OVS_TUNNEL_KEY_ATTR_IPV6_SRC = 12;
const OVS_TUNNEL_KEY_ATTR_IPV6_DST = 13;
const OVS_TUNNEL_KEY_ATTR_PAD = 14;
/** The kernel's; in ovs-vswitchd the number is GTPU_OPTS. */
const OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE = 16;

/** Flags that both dialects have, but for `key`. */
const FLAGS: ReadonlyMap<number, number> = new Map([
  [OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT, TUN_FLAG_DF],
  [OVS_TUNNEL_KEY_ATTR_CSUM, TUN_FLAG_CSUM],
  [OVS_TUNNEL_KEY_ATTR_OAM, TUN_FLAG_OAM],
]);

const IPV4_ADDRESSES = [OVS_TUNNEL_KEY_ATTR_IPV4_SRC, OVS_TUNNEL_KEY_ATTR_IPV4_DST];
const IPV6_ADDRESSES = [OVS_TUNNEL_KEY_ATTR_IPV6_SRC, OVS_TUNNEL_KEY_ATTR_IPV6_DST];

export interface TunnelContext {
  readonly attribute: Attribute;
  readonly dialect: Dialect;
  readonly role: Role;
  /** For errors. */
  readonly path: string;
  /** The key that the bytes are the mask of, or the key itself: says what the options are. */
  readonly key: Uint8Array;
}

/** Plain fields: neither options nor flags, which have forms of their own. */
export function isPlain(field: Field): boolean {
  return !isOption(field) && field.form !== "flags";
}

function layoutOf(context: TunnelContext): Layout {
  const { role, dialect, path } = context;
  return { offset: 0, hostOrder: false, role, dialect, path };
}

/** A field as a struct of its own. */
function alone(field: Field): Field[] {
  return [{ ...field, netlinkAt: 0 }];
}

function flagsOf(bytes: Uint8Array): number {
  return bytes[TUN_FLAGS_AT]! << 8 | bytes[TUN_FLAGS_AT + 1]!;
}

/**
 * Writes the attributes inside of TUNNEL: the plain fields that `isWritten` chooses, and ID if the
 * flag `key` is set; `withOptions`: the options too. Throws NetlinkCodecError for what the dialect
 * hasn't.
 */
export function encodeTunnel(
  writer: AttributeWriter,
  bytes: Uint8Array,
  context: TunnelContext,
  choice: { readonly isWritten: (field: Field) => boolean; readonly withOptions: boolean },
): void {
  const flags = flagsOf(bytes);
  for (const field of context.attribute.fields) {
    if (!isPlain(field)) continue;
    const hasKey = field.subNumber === OVS_TUNNEL_KEY_ATTR_ID && (flags & TUN_FLAG_KEY) !== 0;
    if (!hasKey && !choice.isWritten(field)) continue;
    writer.attribute(field.subNumber, encodeStruct(alone(field), bytes, layoutOf(context)));
  }
  for (const [number, flag] of FLAGS) if ((flags & flag) !== 0) writer.attributeFlag(number);
  if ((flags & TUN_FLAG_INFO_BRIDGE) !== 0) {
    if (context.dialect !== "kernel") {
      throw new NetlinkCodecError(context.path, "only the kernel has the flag bridge");
    }
    writer.attributeFlag(OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE);
  }
  if (choice.withOptions) encodeOptions(writer, bytes, context);
}

/** What was found inside of TUNNEL. */
export interface DecodedTunnel {
  /** Types of the attributes that this version doesn't know, with their payloads. */
  readonly unknown: ReadonlyMap<number, Uint8Array>;
  /** Plain fields that were there. */
  readonly fields: readonly Field[];
  readonly hasOptions: boolean;
}

/** Adds the attributes of `payload` to a key's or mask's bytes. Throws NetlinkCodecError. */
export function decodeTunnel(
  payload: Uint8Array,
  bytes: Uint8Array,
  context: TunnelContext,
): DecodedTunnel {
  const { dialect, path } = context;
  const attributes = new AttributeSet(payload, path, { pad: OVS_TUNNEL_KEY_ATTR_PAD });
  decodeFamily(attributes, bytes, context);
  const plain = new Map(
    context.attribute.fields.filter(isPlain).map((field) => [field.subNumber, field]),
  );
  const unknown = new Map<number, Uint8Array>();
  const fields: Field[] = [];
  let options: number | undefined;
  let flags = 0;
  for (const number of attributes.types) {
    const value = attributes.bytes(number)!;
    const field = plain.get(number);
    if (field !== undefined) {
      decodeStruct(alone(field), value, bytes, {
        ...layoutOf(context),
        path: `${path} ${field.name}`,
      });
      if (number === OVS_TUNNEL_KEY_ATTR_ID) flags |= TUN_FLAG_KEY;
      fields.push(field);
    } else if (isFlag(number, dialect)) {
      if (value.length > 0) attributes.fail(number, `${value.length} bytes, a flag has none`);
      flags |= FLAGS.get(number) ?? TUN_FLAG_INFO_BRIDGE;
    } else if (OPTION_TYPES[dialect].has(number)) {
      if (options !== undefined) attributes.fail(number, `options are there already (${options})`);
      options = number;
      decodeOptions(number, value, bytes, context);
    } else {
      unknown.set(number, value);
    }
  }
  bytes[TUN_FLAGS_AT + 1]! |= flags;
  return { unknown, fields, hasOptions: options !== undefined };
}

function isFlag(number: number, dialect: Dialect): boolean {
  return FLAGS.has(number) ||
    dialect === "kernel" && number === OVS_TUNNEL_KEY_ATTR_IPV4_INFO_BRIDGE;
}

function decodeFamily(
  attributes: AttributeSet,
  bytes: Uint8Array,
  { role, path }: TunnelContext,
): void {
  const isIpv6 = IPV6_ADDRESSES.some((number) => attributes.has(number));
  if (isIpv6 && role === "key" && IPV4_ADDRESSES.some((number) => attributes.has(number))) {
    throw new NetlinkCodecError(path, "addresses are of IPv4 and IPv6");
  }
  bytes[TUN_FAMILY_AT] = role === "mask" ? 0xff : isIpv6 ? 6 : 4;
}

/** Whether a field must be written in a key although it is zero: it says that the addresses are IPv6. */
export function saysFamily(field: Field, key: Uint8Array): boolean {
  return field.subNumber === OVS_TUNNEL_KEY_ATTR_IPV6_DST && key[TUN_FAMILY_AT] === 6;
}

/** Whether the field is an address of the other IP version than the key's. */
export function isOtherFamily(field: Field, key: Uint8Array): boolean {
  const others = key[TUN_FAMILY_AT] === 6 ? IPV4_ADDRESSES : IPV6_ADDRESSES;
  return isPlain(field) && others.includes(field.subNumber);
}

/** Sets every flag of a mask but `bridge`, which says how a tunnel is used. */
export function fillFlags(mask: Uint8Array): void {
  mask[TUN_FLAGS_AT + 1] = TUN_FLAG_DF | TUN_FLAG_CSUM | TUN_FLAG_KEY | TUN_FLAG_OAM;
}
