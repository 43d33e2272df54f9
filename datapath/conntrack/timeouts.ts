/**
 * Timeouts of connections by protocol and state, ms, in shared memory: one run of POLICY_SLOTS words
 * per policy. Policy 0 is the default; named ones (the `timeout=` of a ct action) are numbered by who
 * compiles the actions. Written by the control isolate alone.
 *
 * Defaults are the kernel's (net/netfilter/nf_conntrack_proto_*.c, Documentation
 * networking/nf_conntrack-sysctl.rst). SCTP is followed by its first answer only, not by its states.
 */
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
  seconds: Partial<Record<TimeoutName, number>>,
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
        `Cannot set timeout ${name}: must be 1 … ${TIMEOUT_MAX} seconds: current value is ${value}`,
      );
    }
    words[policy * POLICY_SLOTS + slot] = Math.round(value * 1000);
  }
}
