/**
 * What a set action may change, by the rules of net/openvswitch (flow_netlink.c: validate_set,
 * validate_and_copy_set_tun). Each refusal is a RuleError with EINVAL.
 */
import type { SetAction } from "../actions/actions.ts";
import { RuleError } from "../errors.ts";
import type { Attribute } from "../fields/field_types.ts";
import { FIELDS } from "../fields/field_table.ts";
import { ETH_P_MPLS_MC, ETH_P_MPLS_UC } from "../fields/fields.ts";
import {
  KEY_SIZE,
  KEY_WORDS,
  MPLS_AT,
  TUN_DST_AT,
  TUN_FAMILY_AT,
  TUN_IPV6_DST_AT,
  TUN_OPTIONS_GTPU,
  TUN_OPTIONS_KIND_AT,
  TUN_TTL_AT,
} from "../key.ts";
import { isSelected } from "../fields/layers.ts";
import { isWholeSet } from "../actions/set_action.ts";
import { isWildcarded, readField, writeField } from "../text/number_text.ts";
import { checkTunnel } from "./validate_tunnel.ts";

/** Whose rules. `kernel`: the kernel's alone. `denovs`: what ovs-vswitchd's own datapath sets, too. */
export type RuleSet = "kernel" | "denovs";

/** What a packet of the flow is like when an action reaches it. */
export interface PacketState {
  /** The flow's key under its mask, and the mask. */
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
  hasEthernet: boolean;
  /** Type of what is behind Ethernet header and tags; 0: unknown. */
  ethType: number;
  hasTag: boolean;
  labelCount: number;
  /** A network service header was put in front of what the flow has matched, or taken off. */
  isHidden: boolean;
}

const KERNEL_SETS: ReadonlySet<string> = new Set([
  "skb_priority",
  "skb_mark",
  "ct_mark",
  "ct_label",
  "tunnel",
  "eth",
  "ipv4",
  "ipv6",
  "tcp",
  "udp",
  "sctp",
  "mpls",
]);
const USERSPACE_SETS: ReadonlySet<string> = new Set([
  "dp_hash",
  "recirc_id",
  "arp",
  "nsh",
  "nd",
  "nd_ext",
  "icmp",
  "icmpv6",
]);

function settable(rules: RuleSet): string[] {
  return FIELDS.attributes.map((each) => each.name).filter((name) =>
    KERNEL_SETS.has(name) || rules === "denovs" && USERSPACE_SETS.has(name)
  );
}

function refuse(problem: string): never {
  throw new RuleError("EINVAL", problem);
}

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}

/** Checks a set action where the packet is like `state`. */
export function checkSet(action: SetAction, state: PacketState, rules: RuleSet): void {
  const attribute = FIELDS.byName(action.attribute);
  const name = `set(${action.attribute}(…))`;
  const names = settable(rules);
  if (attribute === undefined || !names.includes(attribute.name)) {
    refuse(`${action.attribute} can't be set; what can is ${names.join(", ")}`);
  }
  for (let index = 0; index < KEY_WORDS; index++) {
    if ((action.value[index]! & ~action.mask[index]!) !== 0) {
      refuse(`${name}: the value has bits outside of its mask`);
    }
  }
  const into = { value: bytesOf(action.value), mask: bytesOf(action.mask) };
  if (attribute.name === "tunnel") return checkTunnelSet(attribute, into, rules);
  checkPlace(attribute, into.mask, name);
  checkHeader(attribute, name, state);
  checkFixedFields(attribute, name, into, state);
}

interface SetBytes {
  readonly value: Uint8Array;
  readonly mask: Uint8Array;
}

/** The mask has bits of the attribute's fields alone. */
function checkPlace(attribute: Attribute, mask: Uint8Array, name: string): void {
  const left = mask.slice();
  for (const field of attribute.fields) {
    if (field.bits === field.size * 8) left.fill(0, field.at, field.at + field.size);
    else writeField(left, field, 0, 0);
  }
  const at = left.findIndex((byte) => byte !== 0);
  if (at < 0) return;
  if (attribute.name === "mpls" && at >= MPLS_AT && at < MPLS_AT + 12) {
    refuse(`${name}: only the outermost label can be set`);
  }
  refuse(`${name}: the mask has bits that are not of ${attribute.name}`);
}

function checkHeader(attribute: Attribute, name: string, state: PacketState): void {
  if (attribute.name === "eth") {
    if (!state.hasEthernet) refuse(`${name}: there is no Ethernet header here`);
    return;
  }
  if (attribute.requires === undefined) return;
  if (attribute.name === "mpls") {
    if (state.ethType === ETH_P_MPLS_UC || state.ethType === ETH_P_MPLS_MC) return;
    refuse(`${name} needs an MPLS label: ${attribute.requires.text}, or push_mpls before it`);
  }
  if (!isSelected(attribute, state.key, state.mask)) {
    const later = attribute.requires.protocol === undefined ? "" : " (and not frag=later)";
    refuse(
      `${name} needs a flow that matches ${attribute.requires.text}${later}, without a mask: ` +
        "other packets have no such header",
    );
  }
  if (state.isHidden || !attribute.requires.ethTypes.includes(state.ethType)) {
    refuse(`${name}: the actions before it hide that header or take it off`);
  }
}

/** Protocol and fragment state: not in a masked set; in a plain one they must be the flow's own. */
function checkFixedFields(
  attribute: Attribute,
  name: string,
  { value, mask }: SetBytes,
  flow: PacketState,
): void {
  const isWhole = isWholeSet(attribute, mask);
  for (const field of attribute.fields) {
    if (field.settable || isWildcarded(mask, field)) continue;
    if (!isWhole) refuse(`${name}: ${field.name} can't be set`);
    const own = (readField(flow.key, field) & readField(flow.mask, field)) >>> 0;
    if (readField(value, field) !== own) {
      refuse(`${name}: ${field.name} can't be set, and must be what the flow matches (${own})`);
    }
  }
}

function checkTunnelSet(
  attribute: Attribute,
  { value, mask }: SetBytes,
  rules: RuleSet,
): void {
  const name = "set(tunnel(…))";
  if (!isWholeSet(attribute, mask) || mask[TUN_FAMILY_AT] === 0) {
    refuse(`${name}: a tunnel is set whole, masks are not allowed`);
  }
  const isIpv6 = value[TUN_FAMILY_AT] === 6;
  const [dstAt, size] = isIpv6 ? [TUN_IPV6_DST_AT, 16] : [TUN_DST_AT, 4];
  if (value.subarray(dstAt, dstAt + size).every((byte) => byte === 0)) {
    refuse(`${name} needs ${isIpv6 ? "ipv6_dst" : "dst"}=, which can't be zero`);
  }
  if (mask[TUN_TTL_AT] !== 0xff) refuse(`${name} needs ttl=`);
  checkTunnel(value, mask);
  if (value[TUN_OPTIONS_KIND_AT] === TUN_OPTIONS_GTPU && rules === "kernel") {
    refuse(`${name}: the kernel has no gtpu`);
  }
  if (!areOptionsWhole(value, mask)) {
    refuse(`${name}: options are set whole, masks are not allowed`);
  }
}

function areOptionsWhole(value: Uint8Array, mask: Uint8Array): boolean {
  if (mask[TUN_OPTIONS_KIND_AT] === 0) return true;
  const sizeAt = TUN_OPTIONS_KIND_AT + 1;
  const size = value[sizeAt]! << 8 | value[sizeAt + 1]!;
  return mask.subarray(sizeAt, sizeAt + 2 + size).every((byte) => byte === 0xff);
}
