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
import { type Attribute, attribute, type Field, field, type Requirement } from "./field_types.ts";
import * as at from "../key.ts";
import {
  SET_ARP,
  SET_DP_HASH,
  SET_ETH,
  SET_ICMP,
  SET_ICMPV6,
  SET_IPV4,
  SET_IPV6,
  SET_MARK,
  SET_MPLS,
  SET_ND,
  SET_ND_EXT,
  SET_NSH,
  SET_PRIORITY,
  SET_RECIRC_ID,
  SET_SCTP,
  SET_TCP,
  SET_TUNNEL,
  SET_UDP,
} from "../actions/set_headers.ts";

/** Attributes that packet threads can rewrite. */
export type SettableName =
  | "skb_priority"
  | "skb_mark"
  | "eth"
  | "ipv4"
  | "ipv6"
  | "tcp"
  | "udp"
  | "sctp";

export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_RARP = 0x8035;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_8021AD = 0x88a8;
/** Smaller values in the type field are lengths (IEEE 802.3). */
export const ETH_P_802_3_MIN = 0x0600;
export const ETH_P_MPLS_UC = 0x8847;
export const ETH_P_MPLS_MC = 0x8848;
export const ETH_P_NSH = 0x894f;

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_SCTP = 132;
export const NEIGHBOUR_SOLICITATION = 135;
export const NEIGHBOUR_ADVERTISEMENT = 136;

/** Name of each bit of TCP's flags, lowest first. */
export const TCP_FLAG_NAMES: readonly string[] = [
  "fin",
  "syn",
  "rst",
  "psh",
  "ack",
  "urg",
  "ece",
  "cwr",
  "ns",
  "[200]",
  "[400]",
  "[800]",
];
/** Name of each bit of ct_state, lowest first. */
export const CT_STATE_NAMES: readonly string[] = [
  "new",
  "est",
  "rel",
  "rpl",
  "inv",
  "trk",
  "snat",
  "dnat",
];
/** Name of each bit of TUN_FLAGS_AT (key.ts), lowest first. */
export const TUNNEL_FLAG_NAMES: readonly string[] = ["oam", "df", "csum", "key", "bridge"];
/** Name of each bit of the bitmap of IPv6 extension headers, lowest first. */
export const EXTENSION_NAMES: readonly string[] = [
  "nonext",
  "esp",
  "auth",
  "dest",
  "frag",
  "router",
  "hop",
  "unrep",
  "unseq",
];

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

const ARP_NEEDS: Requirement = {
  ethTypes: [ETH_P_ARP, ETH_P_RARP],
  text: "eth_type(0x0806) or eth_type(0x8035)",
};
const IPV4_NEEDS: Requirement = { ethTypes: [ETH_P_IP], text: "eth_type(0x0800)" };
const IPV6_NEEDS: Requirement = { ethTypes: [ETH_P_IPV6], text: "eth_type(0x86dd)" };
const ND_NEEDS: Requirement = {
  ethTypes: [ETH_P_IPV6],
  protocol: IPPROTO_ICMPV6,
  icmpTypes: [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT],
  text: "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135) or (type=136)",
};

/** Original direction of a connection: netlink has the protocol behind the ports. */
function tupleFields(size: 4 | 16): Field[] {
  const form = size === 4 ? "ipv4" : "ipv6";
  const printed = (name: string): { printedName?: string } =>
    size === 4 ? {} : { printedName: name };
  const portsAt = 2 * size;
  return [
    field("src", [at.CT_TUPLE_SRC_AT, size, form], "source address of the connection"),
    field("dst", [at.CT_TUPLE_DST_AT, size, form], "destination address of the connection"),
    field("proto", [at.CT_PROTO_AT, 1, "decimal"], "protocol of the connection", {
      netlinkAt: portsAt + 4,
    }),
    field("tp_src", [at.CT_TP_SRC_AT, 2, "decimal"], "source port, or ICMP type", {
      ...printed("src_port"),
      netlinkAt: portsAt,
    }),
    field("tp_dst", [at.CT_TP_DST_AT, 2, "decimal"], "destination port, or ICMP code", {
      ...printed("dst_port"),
      netlinkAt: portsAt + 2,
    }),
  ];
}

const OPTIONS = [at.TUN_OPTIONS_AT, at.TUN_OPTIONS_MAX] as const;

/** OVS_TUNNEL_KEY_ATTR_*; the codec says how flags and options lie there. */
const tunnelFields = (): Field[] => [
  field("tun_id", [at.TUN_ID_AT, 8, "hex"], "tunnel key: VNI, GRE key", {
    subNumber: 0,
    digits: "prefixed",
  }),
  field("src", [at.TUN_SRC_AT, 4, "ipv4"], "outer source address", { subNumber: 1 }),
  field("dst", [at.TUN_DST_AT, 4, "ipv4"], "outer destination address", { subNumber: 2 }),
  field("ipv6_src", [at.TUN_IPV6_SRC_AT, 16, "ipv6"], "outer source address", { subNumber: 12 }),
  field("ipv6_dst", [at.TUN_IPV6_DST_AT, 16, "ipv6"], "outer destination address", {
    subNumber: 13,
  }),
  field("tos", [at.TUN_TOS_AT, 1, "hex"], "outer type of service", { subNumber: 3 }),
  field("ttl", [at.TUN_TTL_AT, 1, "decimal"], "outer time to live", { subNumber: 4 }),
  field("tp_src", [at.TUN_TP_SRC_AT, 2, "decimal"], "outer UDP source port", { subNumber: 9 }),
  field("tp_dst", [at.TUN_TP_DST_AT, 2, "decimal"], "outer UDP destination port", {
    subNumber: 10,
  }),
  field("erspan", [...OPTIONS, "erspan"], "ERSPAN version and its fields", { subNumber: 15 }),
  field("vxlan", [...OPTIONS, "vxlan"], "VXLAN group policy", { subNumber: 11 }),
  field("geneve", [...OPTIONS, "geneve"], "Geneve options, in the packet's order", {
    subNumber: 8,
  }),
  field("gtpu", [...OPTIONS, "gtpu"], "GTP-U flags and message type (userspace only)", {
    subNumber: 16,
  }),
  field("flags", [at.TUN_FLAGS_AT, 2, "flags"], "oam, df, csum, key", {
    bits: TUNNEL_FLAG_NAMES.length,
    flagNames: TUNNEL_FLAG_NAMES,
    exactFlags: at.TUN_FLAG_OAM | at.TUN_FLAG_DF | at.TUN_FLAG_CSUM,
    plainFlags: at.TUN_FLAG_OAM | at.TUN_FLAG_DF | at.TUN_FLAG_CSUM | at.TUN_FLAG_KEY,
  }),
];

const labelFields = (): Field[] => [
  field("label", [at.MPLS_AT, 4, "decimal"], "label", { bits: 20, shift: 12 }),
  field("tc", [at.MPLS_AT, 4, "decimal"], "traffic class", { bits: 3, shift: 9 }),
  field("ttl", [at.MPLS_AT, 4, "decimal"], "time to live", { bits: 8 }),
  field("bos", [at.MPLS_AT, 4, "decimal"], "bottom of stack", { bits: 1, shift: 8 }),
];

const NSH_BASE = { subNumber: 1, digits: "padded" } as const;

/** OVS_NSH_KEY_ATTR_BASE is 1, _MD1 2. */
const nshFields = (): Field[] => [
  field("flags", [at.NSH_FLAGS_AT, 1, "decimal"], "flags", NSH_BASE),
  field("ttl", [at.NSH_TTL_AT, 1, "decimal"], "time to live", NSH_BASE),
  field("mdtype", [at.NSH_MDTYPE_AT, 1, "decimal"], "metadata type", {
    ...NSH_BASE,
    settable: false,
  }),
  field("np", [at.NSH_NP_AT, 1, "decimal"], "next protocol", { ...NSH_BASE, settable: false }),
  field("spi", [at.NSH_PATH_AT, 4, "hex"], "service path identifier", {
    ...NSH_BASE,
    bits: 24,
    shift: 8,
    maskBits: 32,
    netlinkAt: 4,
  }),
  field("si", [at.NSH_PATH_AT, 4, "decimal"], "service index", {
    ...NSH_BASE,
    bits: 8,
    netlinkAt: 4,
  }),
  ...[1, 2, 3, 4].map((number) =>
    field(
      `c${number}`,
      [at.NSH_CONTEXT_AT + 4 * (number - 1), 4, "hex"],
      `context word ${number} of metadata type 1`,
      { subNumber: 2, digits: "padded" },
    )
  ),
];

/** The attributes of a flow, in print order. `vlan` and `encap` have their place before `eth_type`. */
export const ATTRIBUTES: readonly Attribute[] = [
  attribute("recirc_id", 20, "recirculation round: 0 is a packet fresh from its port", [
    field("", [at.RECIRC_ID_AT, 4, "hex"], "recirculation id", { mask: "fixed" }),
  ], { hostOrder: true, set: SET_RECIRC_ID }),
  attribute("dp_hash", 19, "hash that a hash action has computed", [
    field("", [at.DP_HASH_AT, 4, "hex"], "hash; 0: none was computed"),
  ], { hostOrder: true, set: SET_DP_HASH }),
  attribute("skb_priority", 2, "packet priority (queueing)", [
    field("", [at.SKB_PRIORITY_AT, 4, "hex"], "priority"),
  ], { hostOrder: true, set: SET_PRIORITY }),
  attribute(
    "tunnel",
    16,
    "outer header of the tunnel that the packet came through",
    tunnelFields(),
    { shape: "nested", set: SET_TUNNEL },
  ),
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
  attribute("ct_state", 22, "state of the packet's connection, after a ct action", [
    field("", [at.CT_STATE_AT, 4, "flags"], "new, est, rel, rpl, inv, trk, snat, dnat", {
      bits: CT_STATE_NAMES.length,
      flagNames: CT_STATE_NAMES,
      plainFlags: 0,
      maskBits: 32,
    }),
  ], { hostOrder: true }),
  attribute("ct_zone", 23, "zone of the packet's connection", [
    field("", [at.CT_ZONE_AT, 2, "hex"], "zone"),
  ], { hostOrder: true }),
  attribute("ct_mark", 24, "mark of the packet's connection", [
    field("", [at.CT_MARK_AT, 4, "hex"], "mark"),
  ], { hostOrder: true }),
  attribute("ct_label", 25, "label of the packet's connection", [
    field("", [at.CT_LABEL_AT, 16, "hex"], "label"),
  ], { hostOrder: true }),
  attribute("ct_tuple4", 26, "original direction of the packet's connection", tupleFields(4), {
    requires: IPV4_NEEDS,
    optional: true,
  }),
  attribute("ct_tuple6", 27, "original direction of the packet's connection", tupleFields(16), {
    requires: IPV6_NEEDS,
    optional: true,
  }),
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
  ], { requires: IPV4_NEEDS, set: SET_IPV4 }),
  attribute("ipv6", 8, "IPv6 header", [
    field("src", [at.IPV6_SRC_AT, 16, "ipv6"], "source address"),
    field("dst", [at.IPV6_DST_AT, 16, "ipv6"], "destination address"),
    field("label", [at.IPV6_LABEL_AT, 4, "hex"], "flow label", { bits: 20 }),
    field("proto", [at.IP_PROTO_AT, 1, "decimal"], "last next-header", { settable: false }),
    field("tclass", [at.IP_TOS_AT, 1, "hex"], "traffic class"),
    field("hlimit", [at.IP_TTL_AT, 1, "decimal"], "hop limit"),
    field("frag", [at.IP_FRAG_AT, 1, "fragment"], "no, first or later fragment", FRAGMENT),
  ], { requires: IPV6_NEEDS, set: SET_IPV6 }),
  attribute("arp", 13, "ARP or RARP packet", [
    field("sip", [at.IPV4_SRC_AT, 4, "ipv4"], "sender's IPv4 address"),
    field("tip", [at.IPV4_DST_AT, 4, "ipv4"], "target's IPv4 address"),
    field("op", [at.IP_PROTO_AT, 1, "decimal"], "operation; 0 if it is over 255", {
      maskBits: 16,
      netlinkSize: 2,
    }),
    field("sha", [at.ARP_SHA_AT, 6, "mac"], "sender's hardware address"),
    field("tha", [at.ARP_THA_AT, 6, "mac"], "target's hardware address"),
  ], { requires: ARP_NEEDS, set: SET_ARP }),
  attribute(
    "mpls",
    21,
    "MPLS label stack entries, the outermost first, up to three; a packet must have as many or more",
    labelFields(),
    {
      shape: "labels",
      requires: {
        ethTypes: [ETH_P_MPLS_UC, ETH_P_MPLS_MC],
        text: "eth_type(0x8847) or eth_type(0x8848)",
      },
      set: SET_MPLS,
    },
  ),
  attribute("nsh", 28, "network service header", nshFields(), {
    shape: "nested",
    requires: { ethTypes: [ETH_P_NSH], text: "eth_type(0x894f)" },
    set: SET_NSH,
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
    set: SET_ICMP,
  }),
  attribute("icmpv6", 12, "ICMPv6 message", icmpFields(), {
    requires: {
      ethTypes: [ETH_P_IPV6],
      protocol: IPPROTO_ICMPV6,
      text: "eth_type(0x86dd),ipv6(proto=58)",
    },
    set: SET_ICMPV6,
  }),
  attribute("tcp_flags", 18, "TCP flags", [
    field("", [at.TCP_FLAGS_AT, 2, "flags"], "flags", {
      bits: TCP_FLAG_NAMES.length,
      flagNames: TCP_FLAG_NAMES,
      maskBits: 16,
    }),
  ], { requires: overIp(IPPROTO_TCP) }),
  attribute("nd", 14, "IPv6 neighbour discovery", [
    field("target", [at.ND_TARGET_AT, 16, "ipv6"], "target address"),
    field("sll", [at.ND_SLL_AT, 6, "mac"], "source link-layer address option"),
    field("tll", [at.ND_TLL_AT, 6, "mac"], "target link-layer address option"),
  ], { requires: ND_NEEDS, set: SET_ND }),
  attribute("nd_ext", 30, "further fields of IPv6 neighbour discovery", [
    field("nd_reserved", [at.ND_RESERVED_AT, 4, "hex"], "reserved word of the message", {
      digits: "padded",
    }),
    field("nd_options_type", [at.ND_OPTIONS_TYPE_AT, 1, "decimal"], "type of the first option"),
  ], { requires: ND_NEEDS, set: SET_ND_EXT, optional: true, only: "userspace" }),
  attribute("ipv6_exthdrs", 32, "IPv6 extension headers of the packet", [
    field("", [at.IPV6_EXTHDRS_AT, 2, "flags"], "which extension headers there are", {
      bits: EXTENSION_NAMES.length,
      flagNames: EXTENSION_NAMES,
      maskBits: 16,
    }),
  ], { requires: IPV6_NEEDS, optional: true, hostOrder: true, only: "kernel" }),
];

/** Nested attribute: what follows a VLAN tag. Its contents are attributes of the same table. */
export const ENCAP = { name: "encap", number: 1 } as const;
/** Most VLAN tags that a flow can match. */
export const VLAN_LEVELS_MAX = 2;
/** Distance in the key from the outer tag's bytes to the inner one's. */
export const VLAN_LEVEL_SIZE: number = at.CVLAN_TCI_AT - at.VLAN_TCI_AT;

/** Whether a packet has an Ethernet header: {@link at.L3_PACKET}, in text and netlink of its own. */
export const PACKET_TYPE = { name: "packet_type", number: 29 } as const;

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
