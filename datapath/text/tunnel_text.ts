/** What is peculiar to `tunnel(…)`: its presence, its address family, and the flag that an id sets. */
import type { Attribute, Field } from "../fields/field_types.ts";
import { attributeNamed } from "../fields/fields.ts";
import { TUN_FAMILY_AT, TUN_FLAG_KEY, TUN_FLAGS_AT, TUN_OPTIONS_KIND_AT } from "../key.ts";
import { optionKind } from "../packet/tunnel_options.ts";
import type { FieldContext } from "./field_text.ts";
import { isWildcarded, type MatchBytes } from "./number_text.ts";
import type { Scanner } from "./scanner.ts";

const TUNNEL = attributeNamed("tunnel");
const indexOf = (name: string): number => TUNNEL.fields.findIndex((each) => each.name === name);
const bitsOf = (...names: readonly string[]): number =>
  names.reduce((bits, name) => bits | 1 << indexOf(name), 0);

const ID = bitsOf("tun_id");
const IPV4 = bitsOf("src", "dst");
const IPV6 = bitsOf("ipv6_src", "ipv6_dst");

/** Whether this is the tunnel's attribute, of which the rest is here. */
export function isTunnel(attribute: Attribute): boolean {
  return attribute.name === TUNNEL.name;
}

/** Completes the key when the attribute has been read. `seen`: a bit for each of its fields. */
export function finishTunnel(
  scanner: Scanner,
  attribute: Attribute,
  into: MatchBytes,
  { openAt, seen }: { readonly openAt: number; readonly seen: number },
): void {
  if ((seen & IPV4) !== 0 && (seen & IPV6) !== 0) {
    scanner.fail(
      openAt - attribute.name.length,
      "a tunnel has src= and dst=, or ipv6_src= and ipv6_dst=, not both",
    );
  }
  into.key[TUN_FAMILY_AT] = (seen & IPV6) !== 0 ? 6 : 4;
  into.mask[TUN_FAMILY_AT] = 0xff;
  if ((seen & ID) !== 0) {
    into.key[TUN_FLAGS_AT + 1]! |= TUN_FLAG_KEY;
    into.mask[TUN_FLAGS_AT + 1]! |= TUN_FLAG_KEY;
  }
}

/**
 * Whether a field is left out. Open vSwitch's verbose form has the TTL and the flags also when they
 * are wildcarded, but not what the packet's tunnel does not have.
 */
export function isTunnelFieldOmitted(
  field: Field,
  match: MatchBytes,
  context: FieldContext,
): boolean {
  const kind = optionKind(field.form);
  if (kind !== undefined) {
    return match.mask[TUN_OPTIONS_KIND_AT] === 0 || match.key[TUN_OPTIONS_KIND_AT] !== kind.number;
  }
  if (!isWildcarded(match.mask, field)) return false;
  if (field.name === "flags") return !context.verbose && !context.plain;
  return !context.verbose || field.name !== "ttl";
}
