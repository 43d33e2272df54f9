/**
 * Why packets are dropped: one table, name → sentence. The position is the counter's index in
 * shared memory, so new reasons go at the end.
 */
export const DROP_REASONS = [
  ["none", "not dropped"],
  ["explicit", "a flow's drop action, or an empty action list"],
  ["no-upcall-handler", "no flow matched, and the datapath drops misses (dp-add --miss drop)"],
  ["no-such-port", "an output action named a port that does not exist"],
  ["port-down", "the port's device is down, absent or failed"],
  ["frame-too-short", "shorter than an Ethernet header"],
  ["frame-too-long", "longer than a packet buffer"],
  ["over-mtu", "larger than the outgoing port's MTU and not segmentable"],
  ["no-headroom", "no room left in front of or behind the frame for a header"],
  ["set-header-missing", "a set action's header is not in this packet"],
  ["rx-truncated", "the kernel gave a truncated frame"],
  ["rx-not-a-port", "came from a device that is no port (any more)"],
  ["rx-invalid-offload", "the kernel could not express the frame's offload state"],
  ["tx-queue-full", "the outgoing device took no more (EAGAIN, ENOBUFS)"],
  ["tx-error", "the outgoing device refused the frame with an error"],
  ["tx-gso-invalid", "a segment train's headers or a checksum's offsets are damaged"],
  ["vport-failed", "the port's plug-in threw; the port is down"],
  ["pool-exhausted", "no packet buffer was free"],
  ["flood-no-port", "a flood had no port to go to"],
  ["learned-same-port", "the destination was learned on the port that the packet came from"],
  [
    "reserved-multicast",
    "sent to a link-local group (01:80:c2:00:00:0x) that switches don't forward",
  ],
] as const;

/** Name of a drop reason. */
export type DropReasonName = typeof DROP_REASONS[number][0];
/** A drop reason as the data plane carries it: an index into {@link DROP_REASONS}. 0: not dropped. */
export type DropReason = number;

const INDEX: ReadonlyMap<string, number> = new Map(DROP_REASONS.map(([name], at) => [name, at]));

/** Index of a reason; resolve once, outside of the fast path. */
export function dropReason(name: DropReasonName): DropReason {
  return INDEX.get(name)!;
}
