/**
 * Why packets are dropped: one table, name → sentence. The position is the counter's index in
 * shared memory, so new reasons go at the end.
 */

/** Name and sentence of each. */
export const DROP_REASONS = [
  ["none", "not dropped"],
  ["explicit", "a flow's drop action, or an empty action list"],
  [
    "no-upcall-handler",
    "no flow matched or a userspace action was met, and nobody takes upcalls (dp-add --miss drop)",
  ],
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
  ["explicit-with-error", "a flow's drop action with an error as its reason"],
  [
    "action-impossible",
    "a push or pop that this packet's headers don't allow, as the kernel's fails on them",
  ],
  ["ttl-exceeded", "dec_ttl found a time to live of 0 or 1, and has no actions for that"],
  ["meter", "over the rate of a meter's band"],
  ["recirc-limit", "recirculated so often that it must be a loop"],
  ["l3-packet", "a packet without Ethernet header was to go to a port that takes frames only"],
  ["tunnel-no-destination", "no set(tunnel(...)) and no remote_ip= said where the tunnel leads"],
  ["tunnel-no-route", "the host has no route to the tunnel's far end"],
  ["tunnel-not-a-port", "came through a tunnel of which no port has such addresses and key"],
  ["tunnel-malformed", "a tunnel's header is damaged, or says what this port's type doesn't know"],
  ["tunnel-ecn", "congestion was marked on the outer header of a packet that can't carry it"],
  ["patch-no-peer", "the patch port's peer doesn't exist, or is another port's peer"],
  [
    "upcall-queue-full",
    "upcalls came faster than they were taken: the queue of the packet thread had no room",
  ],
  [
    "async-ring-full",
    "an asynchronous port did not keep up: the ring to or from its Worker was full",
  ],
  ["ct-table-full", "a new connection, but the connection table is full"],
  ["ct-zone-limit", "a new connection, but its zone is at its limit"],
  ["ct-clash", "another connection took one of the new connection's tuples at the same time"],
  ["ct-nat-failed", "the packet could not be translated: a header is cut off"],
  ["ct-helper", "a helper could not follow the connection: a command in pieces, or no room"],
  ["ct-no-ip", "the ct action met a packet without a whole IP header"],
  ["ct-fragment-overlap", "overlapping fragments: the whole packet is given up (RFC 5722)"],
  ["ct-fragment-invalid", "a fragment whose size or place makes no sense"],
  ["ct-fragment-memory", "no memory for fragments: too many unfinished packets"],
  ["ct-fragment-duplicate", "a fragment that is there already"],
  ["ct-fragment-timeout", "the other fragments of the packet did not come in time"],
  [
    "fragment-impossible",
    "a reassembled packet is too long for the port, and its headers don't let it be taken apart again",
  ],
  [
    "rx-ring-full",
    "frames came faster than they were taken: the kernel found the receive ring full",
  ],
  ["patch-loop", "crossed so many patch ports that it must be a loop"],
  [
    "rx-queue-full",
    "segment trains or SCTP frames came faster than they were taken: the kernel found their queue full",
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
