/**
 * OpenFlow matches as text (ovs-fields(7)), for dpctl's `filter=`: `tcp,nw_src=10.0.0.0/8,tp_dst=80`.
 * Names and shorthands of the fields that the flow key has; further ones are entries of the tables.
 * Unlike dpctl, masks are taken.
 */
import type { Attribute, Field } from "./fields/field_types.ts";
import {
  attributeNamed,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_RARP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "./fields/fields.ts";
import {
  ETH_TYPE_AT,
  FRAG_FIRST,
  FRAG_LATER,
  FRAG_NONE,
  IP_FRAG_AT,
  IP_PROTO_AT,
  IP_TOS_AT,
  KEY_WORDS,
  VLAN_PRESENT,
  VLAN_TCI_AT,
} from "./key.ts";
import { isSelected } from "./fields/layers.ts";
import { type PortNames, scanField } from "./text/field_text.ts";
import type { MatchBytes } from "./text/number_text.ts";
import { EQUALS, Scanner, SLASH } from "./text/scanner.ts";

export interface OfMatch {
  /** KEY_WORDS words. */
  readonly key: Int32Array;
  readonly mask: Int32Array;
}

/** Shorthands: Ethernet type and protocol. */
const PROTOCOLS: ReadonlyMap<string, readonly [ethType: number, protocol?: number]> = new Map([
  ["ip", [ETH_P_IP]],
  ["ipv4", [ETH_P_IP]],
  ["icmp", [ETH_P_IP, IPPROTO_ICMP]],
  ["tcp", [ETH_P_IP, IPPROTO_TCP]],
  ["udp", [ETH_P_IP, IPPROTO_UDP]],
  ["sctp", [ETH_P_IP, IPPROTO_SCTP]],
  ["arp", [ETH_P_ARP]],
  ["rarp", [ETH_P_RARP]],
  ["ipv6", [ETH_P_IPV6]],
  ["ip6", [ETH_P_IPV6]],
  ["icmp6", [ETH_P_IPV6, IPPROTO_ICMPV6]],
  ["icmpv6", [ETH_P_IPV6, IPPROTO_ICMPV6]],
  ["tcp6", [ETH_P_IPV6, IPPROTO_TCP]],
  ["udp6", [ETH_P_IPV6, IPPROTO_UDP]],
  ["sctp6", [ETH_P_IPV6, IPPROTO_SCTP]],
  ["mpls", [ETH_P_MPLS_UC]],
  ["mplsm", [ETH_P_MPLS_MC]],
]);

/** `attribute.field` that a name stands for; several that share their bytes, one of which must be selected. */
const FIELDS: ReadonlyMap<string, readonly string[]> = new Map([
  ["recirc_id", ["recirc_id"]],
  ["skb_priority", ["skb_priority"]],
  ["pkt_mark", ["skb_mark"]],
  ["dl_src", ["eth.src"]],
  ["eth_src", ["eth.src"]],
  ["dl_dst", ["eth.dst"]],
  ["eth_dst", ["eth.dst"]],
  ["dl_type", ["eth_type"]],
  ["eth_type", ["eth_type"]],
  ["nw_src", ["ipv4.src", "arp.sip"]],
  ["ip_src", ["ipv4.src"]],
  ["nw_dst", ["ipv4.dst", "arp.tip"]],
  ["ip_dst", ["ipv4.dst"]],
  ["nw_proto", ["ipv4.proto", "ipv6.proto", "arp.op"]],
  ["ip_proto", ["ipv4.proto", "ipv6.proto"]],
  ["nw_ttl", ["ipv4.ttl", "ipv6.hlimit"]],
  ["ipv6_src", ["ipv6.src"]],
  ["ipv6_dst", ["ipv6.dst"]],
  ["ipv6_label", ["ipv6.label"]],
  ["arp_op", ["arp.op"]],
  ["arp_spa", ["arp.sip"]],
  ["arp_tpa", ["arp.tip"]],
  ["arp_sha", ["arp.sha"]],
  ["arp_tha", ["arp.tha"]],
  ["tp_src", ["tcp.src", "udp.src", "sctp.src"]],
  ["tp_dst", ["tcp.dst", "udp.dst", "sctp.dst"]],
  ["tcp_src", ["tcp.src"]],
  ["tcp_dst", ["tcp.dst"]],
  ["tcp_flags", ["tcp_flags"]],
  ["udp_src", ["udp.src"]],
  ["udp_dst", ["udp.dst"]],
  ["sctp_src", ["sctp.src"]],
  ["sctp_dst", ["sctp.dst"]],
  ["icmp_type", ["icmp.type"]],
  ["icmp_code", ["icmp.code"]],
  ["icmpv6_type", ["icmpv6.type"]],
  ["icmpv6_code", ["icmpv6.code"]],
  ["nd_target", ["nd.target"]],
  ["nd_sll", ["nd.sll"]],
  ["nd_tll", ["nd.tll"]],
  ["nd_reserved", ["nd_ext.nd_reserved"]],
  ["nd_options_type", ["nd_ext.nd_options_type"]],
  ["dp_hash", ["dp_hash"]],
  ["ct_state", ["ct_state"]],
  ["ct_zone", ["ct_zone"]],
  ["ct_mark", ["ct_mark"]],
  ["ct_label", ["ct_label"]],
  ["ct_nw_src", ["ct_tuple4.src"]],
  ["ct_nw_dst", ["ct_tuple4.dst"]],
  ["ct_ipv6_src", ["ct_tuple6.src"]],
  ["ct_ipv6_dst", ["ct_tuple6.dst"]],
  ["ct_nw_proto", ["ct_tuple4.proto", "ct_tuple6.proto"]],
  ["ct_tp_src", ["ct_tuple4.tp_src", "ct_tuple6.tp_src"]],
  ["ct_tp_dst", ["ct_tuple4.tp_dst", "ct_tuple6.tp_dst"]],
  ["tun_id", ["tunnel.tun_id"]],
  ["tunnel_id", ["tunnel.tun_id"]],
  ["tun_src", ["tunnel.src"]],
  ["tun_dst", ["tunnel.dst"]],
  ["tun_ipv6_src", ["tunnel.ipv6_src"]],
  ["tun_ipv6_dst", ["tunnel.ipv6_dst"]],
  ["mpls_label", ["mpls.label"]],
  ["mpls_tc", ["mpls.tc"]],
  ["mpls_ttl", ["mpls.ttl"]],
  ["mpls_bos", ["mpls.bos"]],
  ["nsh_flags", ["nsh.flags"]],
  ["nsh_ttl", ["nsh.ttl"]],
  ["nsh_mdtype", ["nsh.mdtype"]],
  ["nsh_np", ["nsh.np"]],
  ["nsh_spi", ["nsh.spi"]],
  ["nsh_si", ["nsh.si"]],
  ["nsh_c1", ["nsh.c1"]],
  ["nsh_c2", ["nsh.c2"]],
  ["nsh_c3", ["nsh.c3"]],
  ["nsh_c4", ["nsh.c4"]],
]);

/** Names whose value is not that of one field. */
const SPECIAL: ReadonlyMap<string, (parse: MatchParse) => void> = new Map([
  ["in_port", scanInPort],
  ["dl_vlan", scanVlanId],
  ["vlan_vid", scanVlanVid],
  ["dl_vlan_pcp", scanVlanPriority],
  ["vlan_pcp", scanVlanPriority],
  ["vlan_tci", scanVlanTci],
  ["nw_tos", (parse) => scanTos(parse, { bits: 8, shift: 0, usable: 0xfc })],
  ["ip_dscp", (parse) => scanTos(parse, { bits: 6, shift: 2, usable: 0xfc })],
  ["nw_ecn", (parse) => scanTos(parse, { bits: 2, shift: 0, usable: 0x03 })],
  ["ip_ecn", (parse) => scanTos(parse, { bits: 2, shift: 0, usable: 0x03 })],
  ["ip_frag", scanIpFrag],
  ["nw_frag", scanIpFrag],
]);

const IP_ATTRIBUTES = ["ipv4", "ipv6"];

interface MatchParse {
  readonly scanner: Scanner;
  readonly into: MatchBytes;
  readonly names: PortNames | undefined;
  /** What must be selected in the end: one of the attributes, else the fault is at `at`. */
  readonly needs: { at: number; name: string; attributes: readonly Attribute[] }[];
}

/** Parses a match; everything that is not named is wildcarded, VLAN tags too. Throws FlowSyntaxError. */
export function parseOfMatch(
  text: string,
  options: { readonly names?: PortNames | undefined } = {},
): OfMatch {
  const key = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  const into = { key: new Uint8Array(key.buffer), mask: new Uint8Array(mask.buffer) };
  const scanner = new Scanner(text);
  const parse: MatchParse = { scanner, into, names: options.names, needs: [] };
  const seen = new Set<string>();
  for (;;) {
    scanner.skipSeparators();
    if (scanner.ended) break;
    const from = scanner.at;
    const name = scanner.word();
    if (seen.has(name)) scanner.fail(from, `${name} stands twice`);
    seen.add(name);
    scanItem(parse, from, name);
    const next = scanner.at;
    scanner.skipSeparators();
    if (scanner.at === next && !scanner.ended) {
      scanner.fail(next, `"${text[next]}" can't follow ${name}: a comma or the end must`);
    }
  }
  for (const { at, name, attributes } of parse.needs) {
    if (attributes.some((each) => isSelected(each, into.key, into.mask))) continue;
    const texts = attributes.map((each) => each.requires!.text);
    scanner.fail(at, `${name} needs a match on ${[...new Set(texts)].join(" or ")} beside it`);
  }
  return { key, mask };
}

/** Whether a flow and a match agree in the bits that both look at: what `filter=` keeps. */
export function matchesFilter(match: OfMatch, key: Int32Array, mask: Int32Array): boolean {
  for (let index = 0; index < KEY_WORDS; index++) {
    const common = match.mask[index]! & mask[index]!;
    if (((match.key[index]! ^ key[index]!) & common) !== 0) return false;
  }
  return true;
}

function scanItem(parse: MatchParse, from: number, name: string): void {
  const { scanner, into } = parse;
  const protocol = PROTOCOLS.get(name);
  if (protocol !== undefined && scanner.peek() !== EQUALS) {
    writeBytes(into, ETH_TYPE_AT, 2, protocol[0]);
    if (protocol[1] !== undefined) writeBytes(into, IP_PROTO_AT, 1, protocol[1]);
    return;
  }
  const special = SPECIAL.get(name);
  const fields = FIELDS.get(name);
  if (special === undefined && fields === undefined) {
    const names = [...PROTOCOLS.keys(), ...SPECIAL.keys(), ...FIELDS.keys()];
    scanner.unknown(from, "match", name, names);
  }
  scanner.expect(EQUALS, `after ${name}`);
  if (scanner.text[scanner.at] === "*") {
    scanner.at++;
    return;
  }
  if (special !== undefined) {
    special(parse);
    if (name.startsWith("nw_") || name.startsWith("ip_")) need(parse, from, name, IP_ATTRIBUTES);
    return;
  }
  scanField(scanner, fieldOf(fields![0]!), into, { offset: 0, names: undefined });
  need(parse, from, name, fields!);
}

function need(parse: MatchParse, at: number, name: string, fields: readonly string[]): void {
  const attributes = fields.map((each) => attributeNamed(each.split(".")[0]!));
  if (attributes[0]!.requires !== undefined) parse.needs.push({ at, name, attributes });
}

function fieldOf(path: string): Field {
  const [attribute, name = ""] = path.split(".");
  return attributeNamed(attribute!).fields.find((each) => each.name === name)!;
}

/** Writes an exactly matched number. */
function writeBytes(into: MatchBytes, at: number, size: 1 | 2, value: number): void {
  writeMasked(into, at, size, { value, mask: size === 1 ? 0xff : 0xffff });
}

/** Adds bits to a storage of one or two bytes. */
function writeMasked(
  into: MatchBytes,
  at: number,
  size: 1 | 2,
  bits: { value: number; mask: number },
): void {
  const last = at + size - 1;
  into.key[last]! |= bits.value & bits.mask & 0xff;
  into.mask[last]! |= bits.mask & 0xff;
  if (size === 1) return;
  into.key[at]! |= (bits.value & bits.mask) >> 8;
  into.mask[at]! |= bits.mask >> 8;
}

function scanInPort(parse: MatchParse): void {
  const { scanner, into, names } = parse;
  const from = scanner.at;
  const item = scanner.item();
  const named = item === "LOCAL" ? 0 : names?.byName(item);
  if (named !== undefined) {
    writeBytes(into, IN_PORT_FIELD.at, 2, named);
    return;
  }
  scanner.at = from;
  scanField(scanner, IN_PORT_FIELD, into, { offset: 0, names: undefined });
}

const IN_PORT_FIELD = fieldOf("in_port");
const VLAN_VID_MASK = 0xfff;

/** `dl_vlan=5`; 0xffff: no tag. */
function scanVlanId({ scanner, into }: MatchParse): void {
  const from = scanner.at;
  const vid = scanner.number(16, "dl_vlan");
  if (vid === 0xffff) return writeBytes(into, VLAN_TCI_AT, 2, 0);
  if (vid > VLAN_VID_MASK) scanner.fail(from, "dl_vlan must be 0 … 4095, or 0xffff for no tag");
  const mask = VLAN_PRESENT | VLAN_VID_MASK;
  writeMasked(into, VLAN_TCI_AT, 2, { value: VLAN_PRESENT | vid, mask });
}

/** OpenFlow 1.2's vlan_vid: the VLAN id with the bit 0x1000, with a mask. */
function scanVlanVid({ scanner, into }: MatchParse): void {
  const written = scanner.number(13, "vlan_vid");
  const mask = scanner.take(SLASH) ? scanner.number(13, "vlan_vid mask") : 0x1fff;
  const value = mask === 0x1fff && written !== 0 ? written | VLAN_PRESENT : written;
  writeMasked(into, VLAN_TCI_AT, 2, { value, mask });
}

function scanVlanPriority({ scanner, into }: MatchParse): void {
  const priority = scanner.number(3, "dl_vlan_pcp");
  const mask = VLAN_PRESENT | 7 << 13;
  writeMasked(into, VLAN_TCI_AT, 2, { value: VLAN_PRESENT | priority << 13, mask });
}

function scanVlanTci({ scanner, into }: MatchParse): void {
  const value = scanner.number(16, "vlan_tci");
  const mask = scanner.take(SLASH) ? scanner.number(16, "vlan_tci mask") : 0xffff;
  writeMasked(into, VLAN_TCI_AT, 2, { value, mask });
}

/** A part of the type of service or traffic class. */
function scanTos(
  { scanner, into }: MatchParse,
  part: { bits: number; shift: number; usable: number },
): void {
  const from = scanner.at;
  const value = scanner.number(part.bits, "nw_tos") << part.shift;
  if ((value & ~part.usable) !== 0) {
    scanner.fail(from, "nw_tos must have its two lowest bits 0; they are nw_ecn");
  }
  writeMasked(into, IP_TOS_AT, 1, { value, mask: part.usable });
}

const FRAGMENTS: ReadonlyMap<string, { value: number; mask: number }> = new Map([
  ["no", { value: FRAG_NONE, mask: 0xff }],
  ["first", { value: FRAG_FIRST, mask: 0xff }],
  ["later", { value: FRAG_LATER, mask: 0xff }],
  ["not_later", { value: 0, mask: FRAG_LATER }],
]);

function scanIpFrag({ scanner, into }: MatchParse): void {
  const from = scanner.at;
  const match = FRAGMENTS.get(scanner.word());
  if (match === undefined) {
    return scanner.fail(from, `ip_frag must be ${[...FRAGMENTS.keys()].join(", ")}`);
  }
  writeMasked(into, IP_FRAG_AT, 1, match);
}
