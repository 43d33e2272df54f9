/**
 * A ct action as words: what the action program carries and {@link import("./tracker.ts").Tracker}
 * reads, so that no packet costs a parse. Always CT_PLAN_WORDS words.
 */
import type { CtAction } from "../actions/actions.ts";

export const CT_PLAN_WORDS = 24;

/** PLAN_* bits. */
export const PLAN_FLAGS = 0;
export const PLAN_ZONE = 1;
/** Value, then mask. */
export const PLAN_MARK = 2;
/** Value and mask, 4 words each, as they lie in the key. */
export const PLAN_LABEL = 4;
/** Lowest and highest address, 4 words each, numbers; an IPv4 address in the last of its four. */
export const PLAN_ADDRESS = 12;
/** Lowest | highest << 16. */
export const PLAN_PORTS = 20;
/** HELPER_*. */
export const PLAN_HELPER = 21;
/** Number of the timeout policy. */
export const PLAN_POLICY = 22;
export const PLAN_EVENTS = 23;

export const PLAN_COMMIT = 0x001;
export const PLAN_FORCE = 0x002;
/** nat without direction: translate as the connection already is. */
export const PLAN_NAT = 0x004;
export const PLAN_NAT_SRC = 0x008;
export const PLAN_NAT_DST = 0x010;
export const PLAN_HAS_ADDRESS = 0x020;
export const PLAN_HAS_PORTS = 0x040;
export const PLAN_PERSISTENT = 0x080;
/** Ports by hash or at random: an unused original port is not kept. */
export const PLAN_RANDOM = 0x100;
export const PLAN_HAS_LABEL = 0x200;
/** The addresses are IPv6's. A translation counts for packets of its own IP version only. */
export const PLAN_IPV6 = 0x400;

export const HELPER_NONE = 0;
export const HELPER_FTP = 1;
export const HELPER_TFTP = 2;
export const HELPER_NAMES = ["", "ftp", "tftp"] as const;

/** 4 words, host reads of the bytes. */
function labelWords(hex: string): number[] {
  return [0, 1, 2, 3].map((word) => {
    let value = 0;
    for (let byte = 3; byte >= 0; byte--) {
      const at = word * 8 + byte * 2;
      value = value << 8 | parseInt(hex.slice(at, at + 2), 16);
    }
    return value;
  });
}

function addressWords(hex: string | undefined): number[] {
  const full = (hex ?? "").padStart(32, "0");
  return [0, 8, 16, 24].map((at) => parseInt(full.slice(at, at + 8), 16) | 0);
}

/**
 * The words of an action. `policyOf` numbers the timeout policies by name. Throws RangeError for a
 * helper that does not exist.
 */
export function encodeCt(action: CtAction, policyOf: (name: string) => number): number[] {
  const { nat } = action;
  const helper = HELPER_NAMES.findIndex((name) => name === (action.helper ?? ""));
  if (helper < 0) {
    throw new RangeError(
      `Cannot use ct helper ${action.helper}: must be one of ${HELPER_NAMES.slice(1).join(", ")}`,
    );
  }
  const label = action.label;
  const portMin = nat?.portMin ?? 0;
  const portMax = nat?.portMax ?? portMin;
  const flags = (action.commit || action.forceCommit ? PLAN_COMMIT : 0) |
    (action.forceCommit ? PLAN_FORCE : 0) |
    (nat !== undefined ? PLAN_NAT : 0) |
    (nat?.direction === "src" ? PLAN_NAT_SRC : 0) |
    (nat?.direction === "dst" ? PLAN_NAT_DST : 0) |
    (nat?.addressMin !== undefined ? PLAN_HAS_ADDRESS : 0) |
    (nat?.addressMin?.length === 32 ? PLAN_IPV6 : 0) |
    (nat?.portMin !== undefined ? PLAN_HAS_PORTS : 0) |
    (nat?.persistent ? PLAN_PERSISTENT : 0) |
    (nat?.hash || nat?.random ? PLAN_RANDOM : 0) |
    (label !== undefined && /[^0]/.test(label.mask) ? PLAN_HAS_LABEL : 0);
  const mark = action.mark;
  return [
    flags,
    action.zone ?? 0,
    mark === undefined ? 0 : mark.value & mark.mask,
    mark === undefined ? 0 : mark.mask | 0,
    ...(label === undefined ? [0, 0, 0, 0] : labelWords(label.value)),
    ...(label === undefined ? [0, 0, 0, 0] : labelWords(label.mask)),
    ...addressWords(nat?.addressMin),
    ...addressWords(nat?.addressMax ?? nat?.addressMin),
    Math.min(portMin, portMax) | Math.max(portMin, portMax) << 16,
    helper,
    action.timeout === undefined ? 0 : policyOf(action.timeout),
    action.eventMask ?? 0,
  ];
}
