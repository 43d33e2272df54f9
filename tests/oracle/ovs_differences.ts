/**
 * Every known difference between our flow text and that of Debian's Open vSwitch 3.1, in one place: what
 * it prints is brought into our form by {@link asOurs}, what we print into its by {@link asTheirs}.
 */
import { ATTRIBUTES } from "../../datapath/fields/fields.ts";

/** What is evened out, for the reader; the functions below do it. */
export const DIFFERENCES: readonly string[] = [
  "Until 3.1 recirc_id, dp_hash, in_port and the eth that follows stand behind tunnel, skb_mark and ct_*.",
  "packet_type(ns=0,id=0), and the wildcarded packet_type(ns=0/0,id=0/0) of -m, are not printed by us: " +
  "without packet_type() packets are Ethernet. Beside it Open vSwitch leaves a wildcarded eth() out.",
  "Open vSwitch prints bits of values that the mask leaves out, if they were written; we clear them.",
  "Of a tunnel Open vSwitch leaves out what is matched to be zero, but tun_id and ttl, and reading its " +
  "text back gives another flow.",
];

/**
 * What random flows for the oracle don't have, because 3.1 can't read it or loses it: nsh(…) (a syntax
 * error), nd_ext(…) (not shown), ipv6_exthdrs(…) (unknown), erspan(…) (the masks become zero), masks of
 * gtpu(…), flags(key) without tun_id, values with bits outside of their masks (but for bos=1/0, without
 * which it expects further labels), geneve options without data (read as zero), packets of MPLS without an Ethernet header (refused).
 */
export const LEFT_OUT: readonly string[] = ["nsh", "nd_ext", "ipv6_exthdrs", "erspan", "gtpu"];

/** The parts of a text between commas outside of parentheses. */
export function splitText(text: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at <= text.length; at++) {
    if (text[at] === "(") depth++;
    if (text[at] === ")") depth--;
    if (at === text.length || (text[at] === "," && depth === 0)) {
      found.push(text.slice(from, at));
      from = at + 1;
    }
  }
  return found;
}

function nameOf(attribute: string): string {
  return attribute.slice(0, attribute.indexOf("("));
}

/** A flow that Open vSwitch 3.1 printed, as later ones and we do. */
export function asOurs(flow: string): string {
  const order = ATTRIBUTES.map((attribute) => attribute.name);
  const ethAt = order.indexOf("eth");
  const place = (text: string): number => {
    const name = nameOf(text);
    const at = name === "packet_type" ? ethAt : order.indexOf(name);
    return at >= 0 && at <= ethAt ? at : order.length;
  };
  const attributes = splitText(flow).filter((text) =>
    text !== "packet_type(ns=0,id=0)" && text !== "packet_type(ns=0/0,id=0/0)"
  );
  const hasLayer2 = attributes.some((text) => /^(eth|packet_type)\(/.test(text));
  if (!hasLayer2) attributes.push("eth()");
  const text = attributes.toSorted((a, b) => place(a) - place(b)).join(",");
  return text.replaceAll("bos=1/0", "bos=0/0");
}

/** Fields of a tunnel that Open vSwitch leaves out when they are zero. */
const LEFT_OUT_AS_ZERO = /^(src=0\.0\.0\.0|ipv6_src=::|tos=0|tp_src=0|tp_dst=0)(\/.*)?$/;

/** A flow that we printed, without what Open vSwitch 3.1 leaves out. */
export function asTheirs(flow: string): string {
  return splitText(flow).map((attribute) => {
    if (nameOf(attribute) !== "tunnel") return attribute;
    const inside = attribute.slice("tunnel(".length, -1);
    const kept = splitText(inside).filter((part) => !LEFT_OUT_AS_ZERO.test(part));
    return `tunnel(${kept.join(",")})`;
  }).join(",");
}
