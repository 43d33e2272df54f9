/**
 * Timeouts of connections by protocol and state, ms, in shared memory: one run of POLICY_SLOTS words
 * per policy. Policy 0 is the default; named ones (the `timeout=` of a ct action) are numbered by
 * {@link TimeoutPolicies}. Written by the control isolate alone.
 *
 * Defaults are the kernel's (net/netfilter/nf_conntrack_proto_*.c, Documentation
 * networking/nf_conntrack-sysctl.rst). SCTP is followed by its first answer only, not by its states.
 */
import { OptionError } from "../errors.ts";
import { type ConntrackBuffers, POLICIES_MAX, POLICY_SLOTS } from "./layout.ts";

/** Name, slot and default (s) of every timeout. TCP's slots 1 … 9 are its states' numbers (tcp_states.ts). */
export const TIMEOUTS = [
  ["tcp_syn_sent", 1, 120],
  ["tcp_syn_recv", 2, 60],
  ["tcp_established", 3, 432_000],
  ["tcp_fin_wait", 4, 120],
  ["tcp_close_wait", 5, 60],
  ["tcp_last_ack", 6, 30],
  ["tcp_time_wait", 7, 120],
  ["tcp_close", 8, 10],
  ["tcp_syn_sent2", 9, 120],
  ["tcp_retransmit", 10, 300],
  ["tcp_unack", 11, 300],
  ["udp_first", 12, 30],
  ["udp_multiple", 13, 120],
  ["icmp", 14, 30],
  ["icmpv6", 15, 30],
  ["generic", 16, 600],
  ["sctp_first", 17, 3],
  ["sctp_established", 18, 210],
  ["gre_first", 19, 30],
  ["gre_multiple", 20, 180],
] as const;

export type TimeoutName = typeof TIMEOUTS[number][0];

/** Timeouts of a policy that are not the default policy's, s. */
export type TimeoutSeconds = Partial<Record<TimeoutName, number>>;

/** What commands call policy 0. */
export const DEFAULT_POLICY = "default";

/** CTNL_TIMEOUT_NAME_MAX without the byte at its end. */
const NAME_LENGTH_MAX = 31;

/** Open vSwitch's names (ovs-vswitchd.conf.db(5), CT_Timeout_Policy) where they are not ours. */
const OTHER_NAMES: ReadonlyMap<string, readonly TimeoutName[]> = new Map([
  ["udp_single", ["udp_first"]],
  ["icmp_first", ["icmp", "icmpv6"]],
  ["icmp_reply", []],
]);

export const TIMEOUT_RETRANSMIT = 10;
export const TIMEOUT_UNACK = 11;
export const TIMEOUT_UDP_FIRST = 12;
export const TIMEOUT_UDP_MULTIPLE = 13;
export const TIMEOUT_ICMP = 14;
export const TIMEOUT_ICMPV6 = 15;
export const TIMEOUT_GENERIC = 16;
export const TIMEOUT_SCTP_FIRST = 17;
export const TIMEOUT_SCTP_ESTABLISHED = 18;
export const TIMEOUT_GRE_FIRST = 19;
export const TIMEOUT_GRE_MULTIPLE = 20;

/** Longest timeout, s: differences of the 32-bit clock in ms must stay below 2^31. */
export const TIMEOUT_MAX = 2_000_000;

/** Sets the default policy. */
export function setDefaultTimeouts(buffers: ConntrackBuffers): void {
  setTimeoutPolicy(buffers, 0, {});
}

/** Sets a policy: given timeouts (s, 1 … TIMEOUT_MAX), the others as the default policy has them. */
export function setTimeoutPolicy(
  buffers: ConntrackBuffers,
  policy: number,
  seconds: TimeoutSeconds,
): void {
  if (!Number.isInteger(policy) || policy < 0 || policy >= POLICIES_MAX) {
    throw new RangeError(`Cannot set timeout policy ${policy}: there are ${POLICIES_MAX}`);
  }
  const words = new Int32Array(buffers.policies);
  for (const [name, slot, standard] of TIMEOUTS) {
    const given = seconds[name];
    const value = given ?? (policy === 0 ? standard : words[slot]! / 1000);
    if (!(value >= 1 && value <= TIMEOUT_MAX)) {
      throw new RangeError(
        `Cannot set timeout ${name}: must be 1 … ${TIMEOUT_MAX} seconds, not ${value}`,
      );
    }
    words[policy * POLICY_SLOTS + slot] = Math.round(value * 1000);
  }
}

/**
 * Checks timeouts by name, Open vSwitch's names among them, s. icmp_reply is accepted and says nothing:
 * an ICMP query has one timeout, as in the kernel. Throws OptionError.
 */
export function parseTimeouts(given: Readonly<Record<string, number>>): TimeoutSeconds {
  const seconds: { [Name in TimeoutName]?: number } = {};
  for (const [name, value] of Object.entries(given)) {
    const ours = TIMEOUTS.find(([each]) => each === name)?.[0];
    const names = ours === undefined ? OTHER_NAMES.get(name) : [ours];
    if (names === undefined) {
      const known = [...TIMEOUTS.map(([each]) => each), ...OTHER_NAMES.keys()];
      throw new OptionError(name, `unknown timeout "${name}" (known: ${known.join(", ")})`);
    }
    if (!Number.isInteger(value) || value < 1 || value > TIMEOUT_MAX) {
      throw new OptionError(
        name,
        `${name} must be 1 … ${TIMEOUT_MAX} seconds, not ${value}`,
      );
    }
    for (const each of names) seconds[each] = value;
  }
  return seconds;
}

/** Whether a policy can be called that: what a ct action's text can say. */
export function isPolicyName(name: string): boolean {
  return name.length <= NAME_LENGTH_MAX && /^[^\s,()=@]+$/.test(name);
}

/** All timeouts of a policy by name, s: its own, then the default policy's, then the kernel's. */
export function allTimeouts(
  own: TimeoutSeconds,
  defaults: TimeoutSeconds = {},
): Record<TimeoutName, number> {
  return Object.fromEntries(
    TIMEOUTS.map(([name, , standard]) => [name, own[name] ?? defaults[name] ?? standard]),
  ) as Record<TimeoutName, number>;
}

/**
 * The named policies of a tracker. A name has its number from when a flow or a command first says it,
 * for as long as the tracker lives; its timeouts are the default policy's while nobody has set them.
 * Flows may so name a policy before it is there, and outlive it, and connections its change.
 */
export class TimeoutPolicies {
  readonly #buffers: ConntrackBuffers;
  readonly #numbers = new Map<string, number>([[DEFAULT_POLICY, 0]]);

  constructor(buffers: ConntrackBuffers) {
    this.#buffers = buffers;
  }

  /** The number of a policy; that of the default policy when all are taken. */
  numberOf(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    const number = this.#numbers.size;
    if (number >= POLICIES_MAX) return 0;
    this.#numbers.set(name, number);
    setTimeoutPolicy(this.#buffers, number, {});
    return number;
  }

  /** Sets all policies: those that are not given are as the default. Throws RangeError for a time that is none. */
  set(policies: Readonly<Record<string, TimeoutSeconds>>): void {
    setTimeoutPolicy(this.#buffers, 0, policies[DEFAULT_POLICY] ?? {});
    for (const name of Object.keys(policies)) this.numberOf(name);
    for (const [name, number] of this.#numbers) {
      if (number > 0) setTimeoutPolicy(this.#buffers, number, policies[name] ?? {});
    }
  }
}
