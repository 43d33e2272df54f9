/**
 * Every field of the flow key, declared once. Parser, printer, masks, prerequisites, set actions,
 * the netlink codec, JSON and the reference pages are derived from this table.
 *
 * An attribute is what stands before the parentheses in flow text (`ipv4(…)`) and what is one
 * netlink attribute (OVS_KEY_ATTR_*); its fields are what stands inside (`src=…`), in print order.
 * The order of the attributes is the print order of Open vSwitch 3.2 and later. To add a field: an
 * entry here (and its bytes in key.ts), its extraction (extract.ts), and, if it can be set, an
 * set_headers.ts number. A form that is new is one more case in text/field_text.ts, which the
 * compiler asks for.
 */
import {
  SET_ETH,
  SET_IPV4,
  SET_IPV6,
  SET_MARK,
  SET_PRIORITY,
  SET_SCTP,
  SET_TCP,
  SET_UDP,
} from "./set_headers.ts";
import * as at from "./key.ts";

/** How a value is written. `hex` is C's `%#x`: zero is `0`. */
export type TextForm =
  | "decimal"
  | "hex"
  /** 0x and four digits. */
  | "ether_type"
  | "ipv4"
  | "ipv6"
  | "mac"
  /** no, first or later. */
  | "fragment"
  /** `syn|ack`, `+syn-ack`. */
  | "tcp_flags"
  /** A port's number or name. */
  | "port";

/**
 * Which masks a field can have. `bits`: any. `whole`: all or nothing, and text has no mask. `exact`:
 * as the kernel does, any mask but 0 counts as all ones. `fixed`: always all ones; text has no mask.
 */
export type MaskKind = "bits" | "whole" | "exact" | "fixed";

export interface Field {
  /** Inside the parentheses; "" where the attribute is one value. */
  readonly name: string;
  /** For messages: `ipv4 src`. */
  readonly label: string;
  /** First byte of the storage in the key. */
  readonly at: number;
  /** Bytes of the storage. */
  readonly size: 1 | 2 | 4 | 6 | 16;
  /** Bits of the value, and of a full mask. */
  readonly bits: number;
  /** Where the value's lowest bit lies in the storage. */
  readonly shift: number;
  readonly form: TextForm;
  readonly mask: MaskKind;
  /** Largest width that a mask may be written with, in bits; what exceeds `bits` is ignored. */
  readonly maskBits: number;
  /** First byte in the payload of the netlink attribute. */
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

export interface Attribute {
  readonly name: string;
  /** OVS_KEY_ATTR_* of uapi/linux/openvswitch.h. */
  readonly number: number;
  readonly fields: readonly Field[];
  readonly requires: Requirement | undefined;
  /** SET_* of set_headers.ts; undefined: it can't be set. */
  readonly set: number | undefined;
  /** The netlink payload is in the host's byte order. */
  readonly hostOrder: boolean;
  readonly summary: string;
}

/** Attributes that `set(…)` takes. */
export type SettableName =
  | "skb_priority"
  | "skb_mark"
  | "eth"
  | "ipv4"
  | "ipv6"
  | "tcp"
  | "udp"
  | "sctp";

interface FieldOptions {
  readonly bits?: number;
  readonly shift?: number;
  readonly mask?: MaskKind;
  readonly maskBits?: number;
  readonly netlinkSize?: number;
  readonly settable?: boolean;
}

type Shape = readonly [at: number, size: Field["size"], form: TextForm];

function field(name: string, shape: Shape, summary: string, options: FieldOptions = {}): Field {
  const [start, size, form] = shape;
  const bits = options.bits ?? size * 8;
  return {
    name,
    label: name, // completed by attribute()
    at: start,
    size,
    bits,
    shift: options.shift ?? 0,
    form,
    mask: options.mask ?? "bits",
    maskBits: options.maskBits ?? bits,
    netlinkAt: 0, // likewise
    netlinkSize: options.netlinkSize ?? size,
    settable: options.settable ?? true,
    summary,
  };
}

interface AttributeOptions {
  readonly requires?: Requirement;
  readonly set?: number;
  readonly hostOrder?: boolean;
}

/** Fields follow one another in the netlink payload; those that share their bytes (vlan) begin at 0. */
function attribute(
  name: string,
  number: number,
  summary: string,
  fields: readonly Field[],
  options: AttributeOptions = {},
): Attribute {
  let next = 0;
  const laid = fields.map((each) => {
    const netlinkAt = next;
    if (!sharesBytes(each, fields)) next += each.netlinkSize;
    return { ...each, netlinkAt, label: each.name === "" ? name : `${name} ${each.name}` };
  });
  return {
    name,
    number,
    fields: laid,
    requires: options.requires,
    set: options.set,
    hostOrder: options.hostOrder ?? false,
    summary,
  };
}

function sharesBytes(one: Field, fields: readonly Field[]): boolean {
  return fields.some((other) => other !== one && other.at === one.at);
}

export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_RARP = 0x8035;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_8021AD = 0x88a8;
/** Smaller values in the type field are lengths (IEEE 802.3). */
export const ETH_P_802_3_MIN = 0x0600;

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_SCTP = 132;
export const NEIGHBOUR_SOLICITATION = 135;
export const NEIGHBOUR_ADVERTISEMENT = 136;

const IP_TYPES = [ETH_P_IP, ETH_P_IPV6];

function overIp(protocol: number): Requirement {
  const text =
    `eth_type(0x0800),ipv4(proto=${protocol}) or eth_type(0x86dd),ipv6(proto=${protocol})`;
  return { ethTypes: IP_TYPES, protocol, text };
}

const ports = (what: string): Field[] => [
  field("src", [at.TP_SRC_AT, 2, "decimal"], `${what} source port`),
  field("dst", [at.TP_DST_AT, 2, "decimal"], `${what} destination port`),
];
// ICMP types and codes are one byte, kept in the two bytes of a port.
const icmpFields = (): Field[] => [
  field("type", [at.TP_SRC_AT, 2, "decimal"], "type", { bits: 8, netlinkSize: 1 }),
  field("code", [at.TP_DST_AT, 2, "decimal"], "code", { bits: 8, netlinkSize: 1 }),
];
const FRAGMENT = { mask: "whole", settable: false } as const;

/** The attributes of a flow, in print order. `vlan` and `encap` have their place before `eth_type`. */
export const ATTRIBUTES: readonly Attribute[] = [
  attribute("recirc_id", 20, "recirculation round: 0 is a packet fresh from its port", [
    field("", [at.RECIRC_ID_AT, 4, "hex"], "recirculation id", { mask: "fixed" }),
  ], { hostOrder: true }),
  attribute("skb_priority", 2, "packet priority (queueing)", [
    field("", [at.SKB_PRIORITY_AT, 4, "hex"], "priority"),
  ], { hostOrder: true, set: SET_PRIORITY }),
  attribute("in_port", 3, "port that the packet came from", [
    field("", [at.IN_PORT_AT, 2, "port"], "port number or name", {
      mask: "exact",
      maskBits: 32,
      netlinkSize: 4,
    }),
  ], { hostOrder: true }),
  attribute("skb_mark", 15, "packet mark, as the host's netfilter sees it", [
    field("", [at.SKB_MARK_AT, 4, "hex"], "mark"),
  ], { hostOrder: true, set: SET_MARK }),
  attribute("eth", 4, "Ethernet addresses", [
    field("src", [at.ETH_SRC_AT, 6, "mac"], "source address"),
    field("dst", [at.ETH_DST_AT, 6, "mac"], "destination address"),
  ], { set: SET_ETH }),
  attribute("vlan", 5, "802.1Q or 802.1ad tag, after eth_type(0x8100) or eth_type(0x88a8)", [
    field("vid", [at.VLAN_TCI_AT, 2, "decimal"], "VLAN identifier", { bits: 12 }),
    field("pcp", [at.VLAN_TCI_AT, 2, "decimal"], "priority", { bits: 3, shift: 13 }),
    field("cfi", [at.VLAN_TCI_AT, 2, "decimal"], "always 1: the tag is present", {
      bits: 1,
      shift: 12,
    }),
  ]),
  attribute("eth_type", 6, "Ethernet type of what follows", [
    field("", [at.ETH_TYPE_AT, 2, "ether_type"], "Ethernet type", { mask: "exact" }),
  ]),
  attribute("ipv4", 7, "IPv4 header", [
    field("src", [at.IPV4_SRC_AT, 4, "ipv4"], "source address"),
    field("dst", [at.IPV4_DST_AT, 4, "ipv4"], "destination address"),
    field("proto", [at.IP_PROTO_AT, 1, "decimal"], "protocol", { settable: false }),
    field("tos", [at.IP_TOS_AT, 1, "hex"], "type of service, with the ECN bits"),
    field("ttl", [at.IP_TTL_AT, 1, "decimal"], "time to live"),
    field("frag", [at.IP_FRAG_AT, 1, "fragment"], "no, first or later fragment", FRAGMENT),
  ], { requires: { ethTypes: [ETH_P_IP], text: "eth_type(0x0800)" }, set: SET_IPV4 }),
  attribute("ipv6", 8, "IPv6 header", [
    field("src", [at.IPV6_SRC_AT, 16, "ipv6"], "source address"),
    field("dst", [at.IPV6_DST_AT, 16, "ipv6"], "destination address"),
    field("label", [at.IPV6_LABEL_AT, 4, "hex"], "flow label", { bits: 20 }),
    field("proto", [at.IP_PROTO_AT, 1, "decimal"], "last next-header", { settable: false }),
    field("tclass", [at.IP_TOS_AT, 1, "hex"], "traffic class"),
    field("hlimit", [at.IP_TTL_AT, 1, "decimal"], "hop limit"),
    field("frag", [at.IP_FRAG_AT, 1, "fragment"], "no, first or later fragment", FRAGMENT),
  ], { requires: { ethTypes: [ETH_P_IPV6], text: "eth_type(0x86dd)" }, set: SET_IPV6 }),
  attribute("arp", 13, "ARP or RARP packet", [
    field("sip", [at.IPV4_SRC_AT, 4, "ipv4"], "sender's IPv4 address"),
    field("tip", [at.IPV4_DST_AT, 4, "ipv4"], "target's IPv4 address"),
    field("op", [at.IP_PROTO_AT, 1, "decimal"], "operation; 0 if it is over 255", {
      maskBits: 16,
      netlinkSize: 2,
    }),
    field("sha", [at.ARP_SHA_AT, 6, "mac"], "sender's hardware address"),
    field("tha", [at.ARP_THA_AT, 6, "mac"], "target's hardware address"),
  ], {
    requires: { ethTypes: [ETH_P_ARP, ETH_P_RARP], text: "eth_type(0x0806) or eth_type(0x8035)" },
  }),
  attribute("tcp", 9, "TCP ports", ports("TCP"), { requires: overIp(IPPROTO_TCP), set: SET_TCP }),
  attribute("udp", 10, "UDP ports", ports("UDP"), { requires: overIp(IPPROTO_UDP), set: SET_UDP }),
  attribute("sctp", 17, "SCTP ports", ports("SCTP"), {
    requires: overIp(IPPROTO_SCTP),
    set: SET_SCTP,
  }),
  attribute("icmp", 11, "ICMP message", icmpFields(), {
    requires: {
      ethTypes: [ETH_P_IP],
      protocol: IPPROTO_ICMP,
      text: "eth_type(0x0800),ipv4(proto=1)",
    },
  }),
  attribute("icmpv6", 12, "ICMPv6 message", icmpFields(), {
    requires: {
      ethTypes: [ETH_P_IPV6],
      protocol: IPPROTO_ICMPV6,
      text: "eth_type(0x86dd),ipv6(proto=58)",
    },
  }),
  attribute("tcp_flags", 18, "TCP flags", [
    field("", [at.TCP_FLAGS_AT, 2, "tcp_flags"], "flags", { bits: 12 }),
  ], { requires: overIp(IPPROTO_TCP) }),
  attribute("nd", 14, "IPv6 neighbour discovery", [
    field("target", [at.ND_TARGET_AT, 16, "ipv6"], "target address"),
    field("sll", [at.ND_SLL_AT, 6, "mac"], "source link-layer address option"),
    field("tll", [at.ND_TLL_AT, 6, "mac"], "target link-layer address option"),
  ], {
    requires: {
      ethTypes: [ETH_P_IPV6],
      protocol: IPPROTO_ICMPV6,
      icmpTypes: [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT],
      text: "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135) or (type=136)",
    },
  }),
];

/** Nested attribute: what follows a VLAN tag. Its contents are attributes of the same table. */
export const ENCAP = { name: "encap", number: 1 } as const;
/** Most VLAN tags that a flow can match. */
export const VLAN_LEVELS_MAX = 2;
/** Distance in the key from the outer tag's bytes to the inner one's. */
export const VLAN_LEVEL_SIZE: number = at.CVLAN_TCI_AT - at.VLAN_TCI_AT;

/** Attributes of Open vSwitch that this version does not have, with their netlink numbers. */
export const LATER_ATTRIBUTES: ReadonlyMap<string, number> = new Map([
  ["tunnel", 16],
  ["dp_hash", 19],
  ["mpls", 21],
  ["ct_state", 22],
  ["ct_zone", 23],
  ["ct_mark", 24],
  ["ct_label", 25],
  ["ct_tuple4", 26],
  ["ct_tuple6", 27],
  ["nsh", 28],
  ["packet_type", 29],
  ["nd_ext", 30],
]);

const BY_NAME: ReadonlyMap<string, Attribute> = new Map(
  ATTRIBUTES.map((each) => [each.name, each]),
);

/** The attribute of that name. */
export function attributeByName(name: string): Attribute | undefined {
  return BY_NAME.get(name);
}

/** An attribute that is known to be in the table. */
export function attributeNamed(name: string): Attribute {
  return BY_NAME.get(name)!;
}

/** Position in ATTRIBUTES, for sets of attributes kept as bits. */
export const ATTRIBUTE_INDEX: ReadonlyMap<Attribute, number> = new Map(
  ATTRIBUTES.map((each, index) => [each, index]),
);

/** Attributes that a set action takes, by their SET_* number. */
export const SETTABLE: ReadonlyMap<number, Attribute> = new Map(
  ATTRIBUTES.flatMap((each) => each.set === undefined ? [] : [[each.set, each] as const]),
);

/** Whether a set action takes the attribute. */
export function isSettable(name: string): name is SettableName {
  return BY_NAME.get(name)?.set !== undefined;
}
