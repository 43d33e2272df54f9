/** Random flows and action lists in text, made from the field table; every one is valid. */
import type { Attribute, Field } from "../fields/field_types.ts";
import {
  attributeNamed,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_NSH,
  ETH_P_RARP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../fields/fields.ts";
import { MPLS_LABELS_MAX } from "../key.ts";
import { hasParentheses } from "../text/parentheses.ts";
import {
  chance,
  choose,
  numberText,
  type Random,
  randomNumber,
  randomValue,
} from "./flow_values.ts";

export { type Random, seededRandom } from "./flow_values.ts";

export interface FlowOptions {
  /**
   * Only what Open vSwitch's userspace datapath takes: recirc_id(0), in_port and the type matched,
   * every implied attribute written.
   */
  readonly forUserspaceOvs?: boolean;
  /** Every field that is written is matched exactly: text that also stands for a packet. */
  readonly withoutMasks?: boolean;
  /** Tunnels, connection tracking, packets without an Ethernet header, MPLS and NSH too. */
  readonly everything?: boolean;
}

/** `name(…)` with random fields; `fixed` has the ones that are given, "" for those left out. */
function attributeText(
  random: Random,
  attribute: Attribute,
  fixed: Readonly<Record<string, string>> = {},
): string {
  if (attribute.shape === "labels") return labelsText(random, attribute);
  const maskPercent = exactRandoms.has(random) ? 0 : 40;
  const parts = attribute.fields.flatMap((field) => {
    const given = fixed[field.name];
    if (given === "" || field.name === "cfi") return [];
    if (given === undefined && field.name !== "" && chance(random, 50)) return [];
    const value = given ?? randomValue(random, field, chance(random, maskPercent));
    if (field.name === "") return [value];
    const name = choose(random, [field.name, field.printedName]);
    return [hasParentheses(field) ? name + value : `${name}=${value}`];
  });
  return `${attribute.name}(${parts.join(",")})`;
}

/** One to three labels; of the second and third perhaps nothing is matched but that they are there. */
function labelsText(random: Random, attribute: Attribute): string {
  const exact = exactRandoms.has(random);
  const count = 1 + random(MPLS_LABELS_MAX);
  // It does not keep how many there are.
  const isBare = !exact && !strictRandoms.has(random) && chance(random, 20);
  const labels = Array.from({ length: count }, (_, index) =>
    attribute.fields.flatMap((field) => {
      const isFirst = field === attribute.fields[0];
      if (index > 0 && isBare) return isFirst ? [`${field.name}=0/0`] : [];
      if (field.name === "bos") {
        const bottom = index === count - 1 ? 1 : 0;
        return [`bos=${bottom}${!exact && chance(random, 30) ? "/0" : ""}`];
      }
      if (!isFirst && !exact && chance(random, 30)) return [];
      const masked = !isFirst && !exact && chance(random, 40);
      return [`${field.name}=${randomNumber(random, field.bits, masked)}`];
    }));
  return `${attribute.name}(${labels.flat().join(",")})`;
}

/** Flags that every tunnel can have. */
function tunnelFlags(random: Random, field: Field): string {
  if (chance(random, 50)) return "";
  const masked = !exactRandoms.has(random) && chance(random, 40);
  return randomValue(random, { ...field, flagNames: field.flagNames.slice(0, -1) }, masked);
}

/** A tunnel of one address family and at most one kind of options. */
function tunnelText(random: Random, strict: boolean): string {
  const attribute = attributeNamed("tunnel");
  const isIpv6 = chance(random, 40);
  const kinds = strict ? ["geneve", "vxlan", ""] : ["geneve", "vxlan", "erspan", "gtpu", ""];
  const kind = choose(random, kinds);
  // A device in bridge mode has an identifier and nothing else.
  if (!strict && chance(random, 5)) return `tunnel(tun_id=${random(65536)},flags(+bridge))`;
  const fixed: Record<string, string> = {};
  for (const field of attribute.fields) {
    if (field.name === "flags") fixed["flags"] = tunnelFlags(random, field);
    const isForeign = isIpv6
      ? field.name === "src" || field.name === "dst"
      : field.name.startsWith("ipv6_");
    const isOption = hasParentheses(field) && field.form !== "flags";
    if (isForeign || (isOption && field.name !== kind)) fixed[field.name] = "";
  }
  // A destination of zero is none.
  if (isIpv6) fixed["ipv6_dst"] = `fe80::${(1 + random(65535)).toString(16)}`;
  else fixed["dst"] = `10.0.${random(256)}.${1 + random(255)}`;
  if (strict) {
    // It drops what is zero in these, and wants a TTL.
    fixed["ttl"] = String(random(256));
    if (kind === "vxlan") fixed["vxlan"] = `(gbp(id=${1 + random(65535)}))`;
    const flags = ["oam", "df", "csum"].filter(() => chance(random, 50));
    fixed["flags"] = choose(random, [
      "",
      `(${flags.join("|")})`,
      `(${flags.map((each) => "-" + each).join("")})`,
    ]);
    if (fixed["flags"] === "()") fixed["flags"] = "";
    if (kind === "geneve") {
      const { fields } = attribute;
      const exact = randomValue(random, fields.find((each) => each.name === kind)!, false);
      fixed["geneve"] = exact;
    }
  }
  return attributeText(random, attribute, fixed);
}

function named(random: Random, name: string, fixed?: Readonly<Record<string, string>>): string {
  return attributeText(random, attributeNamed(name), fixed);
}

/** Whose attributes have no masks. */
const exactRandoms = new WeakSet<Random>();
/** Whose flows are for Open vSwitch's own datapath. */
const strictRandoms = new WeakSet<Random>();

/** A flow without blanks. */
export function randomFlowText(random: Random, options: FlowOptions = {}): string {
  if (options.withoutMasks) exactRandoms.add(random);
  else exactRandoms.delete(random);
  const strict = options.forUserspaceOvs ?? false;
  if (strict) strictRandoms.add(random);
  else strictRandoms.delete(random);
  const everything = options.everything ?? false;
  const parts: string[] = [];
  if (strict) parts.push("recirc_id(0)", `in_port(${1 + random(2)})`);
  else {
    if (chance(random, 30)) parts.push(named(random, "recirc_id"));
    if (chance(random, 60)) parts.push(named(random, "in_port"));
  }
  if (chance(random, 20)) parts.push(named(random, "skb_priority"));
  if (chance(random, 20)) parts.push(named(random, "skb_mark"));
  if (everything) parts.push(...randomMetadata(random, strict));
  const isL3 = everything && chance(random, 15);
  if (!isL3 && (strict || chance(random, 70))) parts.push(named(random, "eth"));
  const contents = isL3
    ? randomL3(random, strict)
    : [...randomContents(random, { strict, everything })];
  if (everything) parts.push(...randomTuple(random, contents, strict));
  const tags = !isL3 && chance(random, 30) ? 1 + random(2) : 0;
  let text = contents.join(",");
  for (let tag = 0; tag < tags; tag++) {
    const tpid = choose(random, ["0x8100", "0x88a8"]);
    text = `eth_type(${tpid}),${named(random, "vlan")},encap(${text})`;
  }
  if (text !== "") parts.push(text);
  return parts.join(",");
}

/** What a packet has beside its headers. */
function randomMetadata(random: Random, strict: boolean): string[] {
  const names = ["dp_hash", "ct_state", "ct_zone", "ct_mark", "ct_label"];
  const parts = names.filter(() => chance(random, 20)).map((name) => named(random, name));
  if (chance(random, 40)) parts.push(tunnelText(random, strict));
  return parts;
}

/** The connection of a flow of these contents, which are not neighbour discovery. */
function randomTuple(random: Random, contents: readonly string[], strict: boolean): string[] {
  const text = contents.join(",");
  if (text.includes("icmpv6(") || !chance(random, 20)) return [];
  const fixed = { proto: String(1 + random(255)) };
  if (text.includes("eth_type(0x800)")) return [named(random, "ct_tuple4", fixed)];
  if (!text.includes("eth_type(0x86dd)")) return [];
  const tuple = named(random, "ct_tuple6", fixed);
  // Open vSwitch prints names of the ports that it can't read.
  return [strict ? tuple.replace("src_port", "tp_src").replace("dst_port", "tp_dst") : tuple];
}

/** Contents of a packet without an Ethernet header. */
function randomL3(random: Random, strict: boolean): string[] {
  const contents = randomContents(random, { strict, everything: false, onlyIp: true });
  const type = /0x[0-9a-f]+/.exec(contents[0]!)![0];
  return [`packet_type(ns=1,id=${type})`, ...contents];
}

interface ContentsOptions {
  readonly strict: boolean;
  readonly everything: boolean;
  readonly onlyIp?: boolean;
}

/** eth_type and what is above it. */
function randomContents(
  random: Random,
  { strict, everything, onlyIp }: ContentsOptions,
): string[] {
  const labelTypes = [ETH_P_MPLS_UC, ETH_P_MPLS_MC];
  const common = [ETH_P_IP, ETH_P_IP, ETH_P_IPV6, ETH_P_IPV6, ETH_P_ARP, ETH_P_RARP, 0];
  // Open vSwitch 3.1 can't read nsh().
  const more = strict ? labelTypes : [...labelTypes, ETH_P_NSH];
  const type = choose(
    random,
    onlyIp ? [ETH_P_IP, ETH_P_IPV6] : everything ? [...common, ...more] : common,
  );
  if (type === 0) {
    if (!strict && chance(random, 50)) return chance(random, 50) ? [] : ["eth_type(0/0xffff)"];
    return [`eth_type(0x${(0x0600 + random(0x100)).toString(16)})`];
  }
  const head = `eth_type(0x${type.toString(16)})`;
  const written = strict || chance(random, 70);
  if (labelTypes.includes(type)) return written ? [head, named(random, "mpls")] : [head];
  if (type === ETH_P_NSH) return written ? [head, nshText(random)] : [head];
  const extensions = everything && !strict && type === ETH_P_IPV6 && chance(random, 30)
    ? [named(random, "ipv6_exthdrs")]
    : [];
  if (type === ETH_P_ARP || type === ETH_P_RARP) {
    return written ? [head, named(random, "arp", randomOperation(random))] : [head];
  }
  const l3 = type === ETH_P_IP ? "ipv4" : "ipv6";
  const protocol = choose(random, PROTOCOLS);
  const isKnown = protocol.ethTypes.includes(type);
  if (!isKnown && !written) return [head];
  const later = chance(random, 10);
  // A later IPv6 fragment has the fragment header as its protocol.
  if (later && type === ETH_P_IPV6) {
    return [head, ...extensions, named(random, l3, { proto: "44", frag: "later" })];
  }
  const fragment = later ? "later" : choose(random, ["", "no", "first"]);
  const proto = isKnown ? String(protocol.number) : String(200 + random(50));
  const l3Text = named(random, l3, { proto, frag: fragment });
  if (later || !isKnown) return [head, ...extensions, l3Text];
  const transport = randomTransport(random, protocol, { strict, everything });
  return [head, ...extensions, l3Text, ...transport];
}

/** Only metadata type 1 has context words. */
function nshText(random: Random): string {
  return named(random, "nsh", { mdtype: choose(random, ["", "1"]) });
}

function randomOperation(random: Random): Record<string, string> {
  if (exactRandoms.has(random)) return { op: choose(random, ["1", "2"]) };
  // Open vSwitch prints an exact 255 as 65535.
  return { op: choose(random, ["", String(random(255)), `${random(16)}/0xf`]) };
}

interface Protocol {
  readonly number: number;
  readonly name: string;
  readonly ethTypes: readonly number[];
}

const PROTOCOLS: readonly Protocol[] = [
  { number: IPPROTO_TCP, name: "tcp", ethTypes: [ETH_P_IP, ETH_P_IPV6] },
  { number: IPPROTO_UDP, name: "udp", ethTypes: [ETH_P_IP, ETH_P_IPV6] },
  { number: IPPROTO_SCTP, name: "sctp", ethTypes: [ETH_P_IP, ETH_P_IPV6] },
  { number: IPPROTO_ICMP, name: "icmp", ethTypes: [ETH_P_IP] },
  { number: IPPROTO_ICMPV6, name: "icmpv6", ethTypes: [ETH_P_IPV6] },
];

function randomTransport(
  random: Random,
  protocol: Protocol,
  { strict, everything }: ContentsOptions,
): string[] {
  if (!strict && chance(random, 30)) return [];
  if (protocol.name === "icmpv6" && chance(random, 60)) {
    const type = choose(random, ["135", "136"]);
    const icmp = named(random, "icmpv6", { type, code: "0" });
    const parts = strict || chance(random, 80) ? [icmp, named(random, "nd")] : [icmp];
    if (everything && !strict && chance(random, 40)) parts.push(named(random, "nd_ext"));
    return parts;
  }
  // Types 135 and 136 would imply nd().
  const fixed = protocol.name === "icmpv6" ? { type: String(random(130)) } : undefined;
  const parts = [named(random, protocol.name, fixed)];
  if (protocol.name === "tcp" && (strict || chance(random, 50))) {
    parts.push(named(random, "tcp_flags"));
  }
  return parts;
}

/** What a flow of this text surely has, by the text. */
function headersOf(flow: string): string[] {
  const headers = ["skb_priority", "skb_mark", "eth"];
  if (flow.includes("eth_type(0x800)")) headers.push("ipv4");
  if (flow.includes("eth_type(0x86dd)")) headers.push("ipv6");
  if (flow.includes("frag=later")) return headers;
  for (const { name, number } of PROTOCOLS) {
    if (flow.includes(`proto=${number},`) || flow.includes(`proto=${number})`)) headers.push(name);
  }
  return headers;
}

/** An action list that this flow may have. */
export function randomActionText(random: Random, flow: string): string {
  const settable = headersOf(flow).filter((name) => attributeNamed(name).set !== undefined);
  const parts: string[] = [];
  for (let count = random(5); count > 0; count--) {
    const kind = random(10);
    if (kind < 4) parts.push(numberText(random, random(100)));
    else if (kind === 4) parts.push("pop_vlan");
    else if (kind === 5) parts.push(pushVlanText(random));
    else parts.push(`set(${setText(random, choose(random, settable))})`);
  }
  return parts.length === 0 ? "drop" : parts.join(",");
}

function pushVlanText(random: Random): string {
  const tpid = chance(random, 30) ? "tpid=0x88a8," : "";
  return `push_vlan(${tpid}vid=${numberText(random, random(4096))},pcp=${random(8)})`;
}

function setText(random: Random, name: string): string {
  return named(random, name, { proto: "", frag: "" });
}

/**
 * A flow that has this attribute, with what it requires; the attribute's fields are masked if `masked`,
 * where they have masks. Works with attributes that are in no table.
 */
export function randomFlowWith(random: Random, attribute: Attribute, masked: boolean): string {
  if (masked) exactRandoms.delete(random);
  else exactRandoms.add(random);
  const text = attribute.name === "tunnel"
    ? tunnelText(random, false)
    : attribute.name === "nsh"
    ? nshText(random)
    : attribute.name === "arp"
    ? named(random, "arp", randomOperation(random))
    : attributeText(random, attribute);
  if (attribute.name === "vlan") return `eth_type(0x8100),${text},encap()`;
  if (attribute.requires === undefined) return text;
  return [...requiredText(random, attribute), text].join(",");
}

/** What must stand beside an attribute. */
function requiredText(random: Random, attribute: Attribute): string[] {
  const { ethTypes, protocol, icmpTypes } = attribute.requires!;
  const type = choose(random, ethTypes);
  const parts = [`eth_type(0x${type.toString(16)})`];
  if (protocol !== undefined) {
    parts.push(`${type === ETH_P_IP ? "ipv4" : "ipv6"}(proto=${protocol})`);
  }
  if (icmpTypes !== undefined) parts.push(`icmpv6(type=${choose(random, icmpTypes)})`);
  return parts;
}
