/** Random flows and action lists in text, made from the field table; every one is valid. */
import {
  type Attribute,
  attributeNamed,
  ATTRIBUTES,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_RARP,
  type Field,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../fields.ts";
import { TCP_FLAG_NAMES } from "../text/tcp_flags.ts";

/** A random integer of 0 … bound − 1. */
export type Random = (bound: number) => number;

/** Mulberry32: the same numbers for the same seed. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ state >>> 15, state | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return Math.floor(((mixed ^ mixed >>> 14) >>> 0) / 0x1_0000_0000 * bound);
  };
}

export interface FlowOptions {
  /**
   * Only what Open vSwitch's userspace datapath takes: recirc_id(0), in_port and the type matched,
   * every implied attribute written.
   */
  readonly forUserspaceOvs?: boolean;
  /** Every field that is written is matched exactly: text that also stands for a packet. */
  readonly withoutMasks?: boolean;
}

function chance(random: Random, percent: number): boolean {
  return random(100) < percent;
}

function choose<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)]!;
}

function randomBits(random: Random, bits: number): number {
  const low = random(2 ** Math.min(bits, 16));
  return bits <= 16 ? low : random(2 ** (bits - 16)) * 0x10000 + low;
}

function numberText(random: Random, value: number): string {
  const base = random(4);
  if (base === 0) return "0x" + value.toString(16);
  return base === 1 && value > 0 ? "0" + value.toString(8) : String(value);
}

/** A value of the field, within a mask if one is given. */
function randomValue(random: Random, field: Field, masked: boolean): string {
  switch (field.form) {
    case "mac":
    case "ipv4":
    case "ipv6":
      return addressText(random, field, masked);
    case "fragment":
      return choose(random, ["no", "first"]);
    case "tcp_flags":
      return flagsText(random, masked);
    case "port":
      return numberText(random, random(65535));
    case "ether_type":
    case "decimal":
    case "hex": {
      const value = randomBits(random, field.bits);
      if (!masked || field.mask !== "bits") return numberText(random, value);
      const mask = randomBits(random, field.bits);
      return `${numberText(random, (value & mask) >>> 0)}/${numberText(random, mask)}`;
    }
  }
}

function addressText(random: Random, field: Field, masked: boolean): string {
  const full = Array.from({ length: field.size }, () => masked ? choose(random, MASK_BYTES) : 255);
  const value = full.map((mask) => (chance(random, 30) ? 0 : random(256)) & mask);
  return write(field, value) + (masked ? "/" + write(field, full) : "");
}

const MASK_BYTES = [0, 0, 255, 255, 255, 0xf0, 1];

function write(field: Field, bytes: readonly number[]): string {
  if (field.form === "ipv4") return bytes.join(".");
  if (field.form === "mac") return bytes.map((byte) => byte.toString(16)).join(":");
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push((bytes[index]! << 8 | bytes[index + 1]!).toString(16));
  }
  return groups.join(":");
}

function flagsText(random: Random, masked: boolean): string {
  const chosen = TCP_FLAG_NAMES.filter(() => chance(random, 30));
  if (!masked) return chosen.length === 0 ? "0" : chosen.join("|");
  if (chosen.length === 0) return "0/0";
  return chosen.map((name) => choose(random, ["+", "-"]) + name).join("");
}

/** `name(…)` with random fields; `fixed` has the ones that are given. */
function attributeText(
  random: Random,
  attribute: Attribute,
  fixed: Readonly<Record<string, string>> = {},
): string {
  const maskPercent = exactRandoms.has(random) ? 0 : 40;
  const parts = attribute.fields.flatMap((field) => {
    const given = fixed[field.name];
    if (given === "" || field.name === "cfi") return [];
    if (given === undefined && field.name !== "" && chance(random, 50)) return [];
    const value = given ?? randomValue(random, field, chance(random, maskPercent));
    return [field.name === "" ? value : `${field.name}=${value}`];
  });
  return `${attribute.name}(${parts.join(",")})`;
}

function named(random: Random, name: string, fixed?: Readonly<Record<string, string>>): string {
  return attributeText(random, attributeNamed(name), fixed);
}

/** Whose attributes have no masks. */
const exactRandoms = new WeakSet<Random>();

/** A flow without blanks. */
export function randomFlowText(random: Random, options: FlowOptions = {}): string {
  if (options.withoutMasks) exactRandoms.add(random);
  const strict = options.forUserspaceOvs ?? false;
  const parts: string[] = [];
  if (strict) parts.push("recirc_id(0)", `in_port(${1 + random(2)})`);
  else {
    if (chance(random, 30)) parts.push(named(random, "recirc_id"));
    if (chance(random, 60)) parts.push(named(random, "in_port"));
  }
  if (chance(random, 20)) parts.push(named(random, "skb_priority"));
  if (chance(random, 20)) parts.push(named(random, "skb_mark"));
  if (strict || chance(random, 70)) parts.push(named(random, "eth"));
  const contents = randomContents(random, strict);
  const tags = chance(random, 30) ? 1 + random(2) : 0;
  let text = contents.join(",");
  for (let tag = 0; tag < tags; tag++) {
    const tpid = choose(random, ["0x8100", "0x88a8"]);
    text = `eth_type(${tpid}),${named(random, "vlan")},encap(${text})`;
  }
  if (text !== "") parts.push(text);
  return parts.join(",");
}

/** eth_type and what is above it. */
function randomContents(random: Random, strict: boolean): string[] {
  const type = choose(random, [
    ETH_P_IP,
    ETH_P_IP,
    ETH_P_IPV6,
    ETH_P_IPV6,
    ETH_P_ARP,
    ETH_P_RARP,
    0,
  ]);
  if (type === 0) {
    if (!strict && chance(random, 50)) return chance(random, 50) ? [] : ["eth_type(0/0xffff)"];
    return [`eth_type(0x${(0x0600 + random(0x100)).toString(16)})`];
  }
  const head = `eth_type(0x${type.toString(16)})`;
  const written = strict || chance(random, 70);
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
    return [head, named(random, l3, { proto: "44", frag: "later" })];
  }
  const fragment = later ? "later" : choose(random, ["", "no", "first"]);
  const proto = isKnown ? String(protocol.number) : String(200 + random(50));
  const l3Text = named(random, l3, { proto, frag: fragment });
  if (later || !isKnown) return [head, l3Text];
  return [head, l3Text, ...randomTransport(random, protocol, strict)];
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

function randomTransport(random: Random, protocol: Protocol, strict: boolean): string[] {
  if (!strict && chance(random, 30)) return [];
  if (protocol.name === "icmpv6" && chance(random, 60)) {
    const type = choose(random, ["135", "136"]);
    const icmp = named(random, "icmpv6", { type, code: "0" });
    return strict || chance(random, 80) ? [icmp, named(random, "nd")] : [icmp];
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

/** All attribute names, for tests that go through them. */
export const ATTRIBUTE_NAMES: readonly string[] = ATTRIBUTES.map((attribute) => attribute.name);
