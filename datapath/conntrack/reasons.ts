/**
 * Why conntrack drops a packet, or calls it invalid: one table each, name → sentence.
 *
 * An invalid packet goes on with ct_state +trk+inv, as in the kernel; its reason is for traces and
 * counters. A dropped one ends; the names are to be joined to the datapath's drop reasons.
 */

/**
 * Drop verdicts: the position is what {@link import("./tracker.ts").Tracker} returns; 0: go on. The names
 * are reasons of the datapath (drop_reasons.ts), which has a sentence for each.
 */
export const CT_DROPS = [
  "none",
  "ct-table-full",
  "ct-zone-limit",
  "ct-clash",
  "ct-nat-failed",
  "ct-helper",
  "ct-no-ip",
  "ct-fragment-overlap",
  "ct-fragment-invalid",
  "ct-fragment-memory",
  "ct-fragment-duplicate",
  "ct-fragment-timeout",
] as const;

export type CtDropName = typeof CT_DROPS[number];

/** Position of a drop verdict. Resolve once. */
export function ctDrop(name: CtDropName): number {
  return CT_DROPS.indexOf(name);
}

/** Why a packet is invalid, 0: it is not. */
export const CT_INVALIDS = [
  ["none", "valid"],
  ["header", "the IP or L4 header is cut off or damaged, or this is a fragment"],
  ["checksum", "the L4 checksum is wrong"],
  ["icmp-type", "an ICMP type that opens no connection"],
  ["icmp-unrelated", "an ICMP error about no connection that is known"],
  ["icmp-address", "an ICMP error sent to somebody else than the connection's sender"],
  ["untracked", "neighbour discovery and multicast listener messages are not tracked"],
  ["tcp-flags", "TCP flags that no segment has together"],
  ["tcp-new", "a TCP segment that opens no connection, and picking up is off or impossible"],
  ["tcp-state", "a TCP segment that the connection's state does not allow"],
  ["tcp-rst", "a TCP reset older than what its receiver has acknowledged"],
  ["tcp-seq-over", "a TCP segment beyond the receiver's window"],
  ["tcp-ack-over", "a TCP acknowledgment of data that was not sent"],
] as const;

export type CtInvalidName = typeof CT_INVALIDS[number][0];

/** Position of a reason for being invalid. Resolve once. */
export function ctInvalid(name: CtInvalidName): number {
  return CT_INVALIDS.findIndex(([each]) => each === name);
}
