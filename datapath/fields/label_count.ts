/**
 * How many MPLS labels a packet has and a flow wants, as bits of the key's byte at MPLS_COUNT_AT: the
 * lowest one for one label, the lowest two for two, all three for three or more (the kernel's
 * num_labels_mask, net/openvswitch/flow.h). A flow that matches n labels has n bits in value and mask,
 * so it wants at least n labels, unless nothing is matched of any of them, which is as good as none
 * (flow_netlink.c, parse_flow_mask_nlattrs); a stack without a bottom in its packet has none, and meets no such
 * flow. Set actions, which change the outermost label, have none either.
 */
import { MPLS_COUNT_AT, MPLS_LABELS_MAX } from "../key.ts";

/** The bits of `count` labels, of which those over MPLS_LABELS_MAX don't count. */
export function labelBits(count: number): number {
  return (1 << Math.min(count, MPLS_LABELS_MAX)) - 1;
}

/** How many labels the bits say. */
export function labelsOf(bits: number): number {
  return (bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1);
}

/** Has a flow want at least `count` labels. */
export function wantLabels(key: Uint8Array, mask: Uint8Array, count: number): void {
  key[MPLS_COUNT_AT] = labelBits(count);
  mask[MPLS_COUNT_AT] = labelBits(count);
}

/** Labels that a flow wants its packets to have at least. */
export function wantedLabels(key: Uint8Array, mask: Uint8Array): number {
  return labelsOf(key[MPLS_COUNT_AT]! & mask[MPLS_COUNT_AT]!);
}
