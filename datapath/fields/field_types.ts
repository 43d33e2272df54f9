/**
 * What the field table (fields.ts) is made of: attributes and their fields, and the functions that
 * declare them.
 */

/** How a value is written. `hex` is C's `%#x`: zero is `0`. */
export type TextForm =
  | "decimal"
  /** 1 to 16 bytes. */
  | "hex"
  /** 0x and four digits. */
  | "ether_type"
  | "ipv4"
  | "ipv6"
  | "mac"
  /** no, first or later. */
  | "fragment"
  /** Names of bits, as `Field.flagNames` has them: `syn|ack`, `+syn-ack`. */
  | "flags"
  /** A port's number or name. */
  | "port"
  /** Tunnel options: `({class=0x1,type=0x2,len=4,0x1234}…)`, `(gbp(id=1,flags=0x8))` and the like. */
  | "geneve"
  | "vxlan"
  | "erspan"
  | "gtpu";

/**
 * Which masks a field can have. `bits`: any. `whole`: all or nothing, and text has no mask. `exact`:
 * as the kernel does, any mask but 0 counts as all ones. `fixed`: always all ones; text has no mask.
 */
export type MaskKind = "bits" | "whole" | "exact" | "fixed";

/**
 * How numbers are printed. `plain`: as C's %d and %#x. `prefixed`: a hexadecimal zero is `0x0`.
 * `padded`: `prefixed`, and masked values as 0x01/0x0f.
 */
export type DigitStyle = "plain" | "prefixed" | "padded";

export interface Field {
  /** Inside the parentheses; "" where the attribute is one value. */
  readonly name: string;
  /** What is printed instead, as Open vSwitch does; both are read. */
  readonly printedName: string;
  /** For messages: `ipv4 src`. */
  readonly label: string;
  /** First byte of the storage in the key. */
  readonly at: number;
  /** Bytes of the storage: 1, 2, 4, 6, 8 or 16; TUN_OPTIONS_MAX for tunnel options. */
  readonly size: number;
  /** Bits of the value, and of a full mask. */
  readonly bits: number;
  /** Where the value's lowest bit lies in the storage. */
  readonly shift: number;
  readonly form: TextForm;
  /** For `flags`: the name of each bit from the lowest on. */
  readonly flagNames: readonly string[];
  /** For `flags`: what plainly written ones (`syn|ack`) match beside those that are named. */
  readonly exactFlags: number;
  /** For `flags`: the mask with which they are printed plainly, with any other they have signs. */
  readonly plainFlags: number;
  readonly digits: DigitStyle;
  readonly mask: MaskKind;
  /** Largest width that a mask may be written with, in bits; what exceeds `bits` is ignored. */
  readonly maskBits: number;
  /** In a nested attribute: which attribute within it carries the field. */
  readonly subNumber: number;
  /** First byte in the payload of the netlink attribute (in a nested one: of the one within). */
  readonly netlinkAt: number;
  /** Bytes there; the value is in network byte order unless the attribute is `hostOrder`. */
  readonly netlinkSize: number;
  /** Whether a masked set may change it. */
  readonly settable: boolean;
  /** One line for the reference. */
  readonly summary: string;
}

/** What must be matched exactly for an attribute to have a meaning. */
export interface Requirement {
  readonly ethTypes: readonly number[];
  readonly protocol?: number;
  /** ICMPv6 types. */
  readonly icmpTypes?: readonly number[];
  /** The requirement as flow text. */
  readonly text: string;
}

/**
 * What an attribute's netlink payload is. `struct`: its fields one after another. `nested`: attributes
 * of their own (`Field.subNumber`). `labels`: the same 32-bit struct up to MPLS_LABELS_MAX times.
 */
export type AttributeShape = "struct" | "nested" | "labels";

/** Whose numbering of netlink attributes: the kernel module's, or that of ovs-vswitchd's own datapath. */
export type Dialect = "kernel" | "userspace";

export interface Attribute {
  readonly name: string;
  /** OVS_KEY_ATTR_* of uapi/linux/openvswitch.h. */
  readonly number: number;
  readonly shape: AttributeShape;
  readonly fields: readonly Field[];
  readonly requires: Requirement | undefined;
  /** SET_* of set_headers.ts; undefined: it can't be set. */
  readonly set: number | undefined;
  /** The netlink payload is in the host's byte order. */
  readonly hostOrder: boolean;
  /** Netlink keys may leave it out although its header is there; others that are implied must be in them. */
  readonly optional: boolean;
  /** Who has it; both if absent. */
  readonly only: Dialect | undefined;
  readonly summary: string;
}

interface FieldOptions {
  readonly printedName?: string;
  readonly exactFlags?: number;
  readonly plainFlags?: number;
  readonly digits?: DigitStyle;
  readonly bits?: number;
  readonly shift?: number;
  readonly flagNames?: readonly string[];
  readonly mask?: MaskKind;
  readonly maskBits?: number;
  readonly subNumber?: number;
  readonly netlinkAt?: number;
  readonly netlinkSize?: number;
  readonly settable?: boolean;
}

type Shape = readonly [at: number, size: number, form: TextForm];

/** Declares a field; what `options` leave out is the usual. */
export function field(
  name: string,
  shape: Shape,
  summary: string,
  options: FieldOptions = {},
): Field {
  const [start, size, form] = shape;
  const bits = options.bits ?? size * 8;
  const allFlags = form === "flags" ? 2 ** bits - 1 : 0;
  return {
    name,
    printedName: options.printedName ?? name,
    label: name, // completed by attribute()
    at: start,
    size,
    bits,
    shift: options.shift ?? 0,
    form,
    flagNames: options.flagNames ?? [],
    exactFlags: options.exactFlags ?? allFlags,
    plainFlags: options.plainFlags ?? allFlags,
    digits: options.digits ?? "plain",
    mask: options.mask ?? "bits",
    maskBits: options.maskBits ?? bits,
    subNumber: options.subNumber ?? 0,
    netlinkAt: options.netlinkAt ?? -1, // likewise
    netlinkSize: options.netlinkSize ?? size,
    settable: options.settable ?? true,
    summary,
  };
}

interface AttributeOptions {
  readonly shape?: AttributeShape;
  readonly requires?: Requirement;
  readonly set?: number;
  readonly hostOrder?: boolean;
  readonly optional?: boolean;
  readonly only?: Dialect;
}

/**
 * Declares an attribute. Unless they say otherwise, fields follow one another in the netlink payload
 * (those of a nested one within their own attribute); those that share their bytes (vlan) begin at 0.
 */
export function attribute(
  name: string,
  number: number,
  summary: string,
  fields: readonly Field[],
  options: AttributeOptions = {},
): Attribute {
  const ends = new Map<number, number>();
  const laid = fields.map((each) => {
    const next = ends.get(each.subNumber) ?? 0;
    const netlinkAt = each.netlinkAt >= 0 ? each.netlinkAt : next;
    const shared = fields.some((other) => other !== each && other.at === each.at);
    if (!shared) ends.set(each.subNumber, netlinkAt + each.netlinkSize);
    return { ...each, netlinkAt, label: each.name === "" ? name : `${name} ${each.name}` };
  });
  return {
    name,
    number,
    shape: options.shape ?? "struct",
    fields: laid,
    requires: options.requires,
    set: options.set,
    hostOrder: options.hostOrder ?? false,
    optional: options.optional ?? false,
    only: options.only,
    summary,
  };
}
