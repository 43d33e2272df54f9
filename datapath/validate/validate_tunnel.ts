/**
 * What a flow may match of a tunnel: its presence and address family whole, its options as one kind
 * of a known size (net/openvswitch/flow_netlink.c: ip_tun_from_nlattr, validate_geneve_opts).
 *
 * Not as in the kernel: a destination may be wildcarded and a TTL left out, as text can leave out
 * every other field.
 */
import { RuleError } from "../errors.ts";
import {
  TUN_DST_AT,
  TUN_FAMILY_AT,
  TUN_FLAG_INFO_BRIDGE,
  TUN_FLAG_KEY,
  TUN_FLAGS_AT,
  TUN_ID_AT,
  TUN_IPV6_DST_AT,
  TUN_IPV6_SRC_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_GENEVE,
  TUN_OPTIONS_KIND_AT,
  TUN_OPTIONS_MAX,
  TUN_OPTIONS_NONE,
  TUN_OPTIONS_SIZE_AT,
  TUN_SRC_AT,
  TUN_TP_DST_AT,
  TUN_TP_SRC_AT,
  TUN_TTL_AT,
} from "../key.ts";
import {
  GENEVE_SIZE_MAX,
  geneveFault,
  OPTION_KINDS,
  type OptionKind,
  optionsSize,
} from "../packet/tunnel_options.ts";

function refuse(problem: string): never {
  throw new RuleError("EINVAL", problem);
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] !== 0) return false;
  return true;
}

function isFull(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] !== 0xff) return false;
  return true;
}

/** Checks the tunnel's bytes of a key (masked or not) and its mask. Throws RuleError. */
export function checkTunnel(key: Uint8Array, mask: Uint8Array): void {
  const familyMask = mask[TUN_FAMILY_AT]!;
  if (familyMask === 0) {
    if (isZero(mask, TUN_ID_AT, TUN_OPTIONS_AT + TUN_OPTIONS_MAX)) return;
    refuse("a tunnel's fields can't be matched without its address family");
  }
  const family = key[TUN_FAMILY_AT]!;
  if (familyMask !== 0xff || (family !== 4 && family !== 6)) {
    refuse("a tunnel's address family must be matched whole, as 4 or 6");
  }
  const foreign = family === 4
    ? !isZero(mask, TUN_IPV6_SRC_AT, TUN_IPV6_DST_AT + 16)
    : !isZero(mask, TUN_SRC_AT, TUN_DST_AT + 4);
  if (foreign) refuse("a tunnel's addresses can't be both IPv4 and IPv6");
  const [from, to] = family === 4
    ? [TUN_DST_AT, TUN_DST_AT + 4]
    : [TUN_IPV6_DST_AT, TUN_IPV6_DST_AT + 16];
  if (isFull(mask, from, to) && isZero(key, from, to)) {
    refuse("a tunnel's destination address can't be zero");
  }
  checkBridge(key, mask, family);
  checkOptions(key, mask);
}

/** A bridge mode tunnel (IPV4_INFO_BRIDGE) has nothing but an identifier. */
function checkBridge(key: Uint8Array, mask: Uint8Array, family: number): void {
  const flags = (bytes: Uint8Array): number => bytes[TUN_FLAGS_AT]! << 8 | bytes[TUN_FLAGS_AT + 1]!;
  const set = flags(key) & flags(mask);
  if ((set & TUN_FLAG_INFO_BRIDGE) === 0) return;
  if (family !== 4) refuse("a tunnel with the flag bridge has no IPv6 addresses");
  const parts = [[TUN_SRC_AT, TUN_TTL_AT + 1], [TUN_TP_SRC_AT, TUN_TP_DST_AT + 2]] as const;
  const isAlone = parts.every(([from, to]) => {
    for (let at = from; at < to; at++) if ((key[at]! & mask[at]!) !== 0) return false;
    return true;
  });
  if (!isAlone || (set & ~(TUN_FLAG_INFO_BRIDGE | TUN_FLAG_KEY)) !== 0) {
    refuse("a tunnel with the flag bridge has no addresses, ports, tos, ttl or flags but key");
  }
}

function checkOptions(key: Uint8Array, mask: Uint8Array): void {
  const kindMask = mask[TUN_OPTIONS_KIND_AT]!;
  const sizeMask = mask[TUN_OPTIONS_SIZE_AT]! << 8 | mask[TUN_OPTIONS_SIZE_AT + 1]!;
  const size = optionsSize(key);
  const isWild = kindMask === 0 && sizeMask === 0;
  if (!isWild && (kindMask !== 0xff || sizeMask !== 0xffff)) {
    refuse("kind and size of a tunnel's options must be matched whole, both or neither");
  }
  const matched = isWild ? 0 : Math.min(size, TUN_OPTIONS_MAX);
  if (!isZero(mask, TUN_OPTIONS_AT + matched, TUN_OPTIONS_AT + TUN_OPTIONS_MAX)) {
    refuse("a tunnel's options can't be matched beyond their size");
  }
  if (!isWild) checkKind(key, size);
}

function checkKind(key: Uint8Array, size: number): void {
  const number = key[TUN_OPTIONS_KIND_AT]!;
  if (number === TUN_OPTIONS_NONE) {
    if (size !== 0) refuse("a tunnel without options can't have bytes of them");
    return;
  }
  const kinds: readonly OptionKind[] = Object.values(OPTION_KINDS);
  const kind = kinds.find((each) => each.number === number);
  if (kind === undefined) refuse(`a tunnel's options can't be of kind ${number}`);
  if (kind.size !== undefined && size !== kind.size) {
    refuse(`a tunnel's options of kind ${number} must have ${kind.size} bytes, not ${size}`);
  }
  if (number !== TUN_OPTIONS_GENEVE) return;
  if (size > GENEVE_SIZE_MAX || size % 4 !== 0 || geneveFault(key, size) >= 0) {
    refuse("geneve options must be whole options of at most 252 bytes altogether");
  }
}
