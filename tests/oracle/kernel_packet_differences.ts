/**
 * Where the kernel's datapath and ours do different things with a packet, with the kernel's file and
 * function. The random cases leave these out (`leavesOut`), or the comparator makes allowance for them
 * (`compare`), and each has an example of its own that shows both sides. Nothing else is excused.
 *
 * Most are what the kernel's devices and segmentation make of odd stacks of headers, or what it does
 * by a key that it has not extracted anew; none is what a flow asks for.
 */
import type { PacketCase } from "./kernel_packet_cases.ts";
import { EXAMPLES, type PacketExample } from "./kernel_packet_examples.ts";
import { PORTS } from "./kernel_packet_shape.ts";

export interface PacketDifference {
  readonly what: string;
  /** Files and functions of Linux 6.1. */
  readonly kernel: string;
  /** Whether a random case may meet it; `text` is its flows. Absent: `compare`. */
  readonly leavesOut?: (item: PacketCase, text: string) => boolean;
  /** What the comparator (kernel_packet_compare.ts) does about it. */
  readonly compare?: string;
  /** Shows it. */
  readonly example: PacketExample;
}

/** What goes in front of the Ethernet header. */
const IN_FRONT = /push_nsh|add_mpls\([^)]*eth_type=0x884[78]\)/;
const BY_PROTOCOL = /dec_ttl|set\(mpls|push_mpls|pop_mpls|add_mpls/;
/** A frame with three tags, behind struct virtio_net_hdr, hexadecimal. */
const TAGS_3 = /^.{20}.{24}((8100|88a8)....){3}/;
/** A frame that an L3 device is sent with tags and a label behind them. */
const TAGGED_L3 = /^....6558.{20}.{24}((8100|88a8)....)+884[78]/;
/** Hexadecimal digits of an Ethernet frame of 1500 bytes as an L3 device has it. */
const FULL = 2 * (14 + 1500);
/** Hexadecimal digits of 500 bytes: surely shorter than what is referred to. */
const LONG = 1000;

const sentTo = (item: PacketCase, isMeant: (hex: string) => boolean): boolean =>
  PORTS.some(({ isL3 }, index) => isL3 && (item.ours.sent[index] ?? []).some(isMeant));
const isTrain = ({ name }: PacketCase): boolean => name.includes("train");
const tagsIn = (line: string): number => (line.match(/vlan\(/g) ?? []).length;

export const PACKET_DIFFERENCES: Readonly<Record<string, PacketDifference>> = {
  "tag in front": {
    what:
      "a tag goes, at byte 12, into the header that is put in front of its frame; we leave the " +
      "frame together",
    kernel: "net/nsh/nsh.c, nsh_push; net/core/skbuff.c, skb_mpls_push; net/core/dev.c, " +
      "validate_xmit_vlan",
    leavesOut: (_, text) => /vlan/.test(text) && IN_FRONT.test(text),
    example: EXAMPLES.tagInFront,
  },
  "two tags": {
    what:
      "behind two tags, and in a frame that pop_nsh or pop_mpls has just laid bare, dec_ttl does " +
      "nothing, and MPLS labels are not seen",
    kernel: "net/openvswitch/flow.c, key_extract (skb->protocol); actions.c, execute_dec_ttl",
    leavesOut: (_, text) =>
      /(pop_nsh|0x6558).*dec_ttl/.test(text) ||
      BY_PROTOCOL.test(text) && text.split("\n").some((line) => tagsIn(line) > 1),
    example: EXAMPLES.twoTags,
  },
  "three tags": {
    what:
      "after a recirculation with a third tag addresses are written two tags behind the Ethernet " +
      "header, whatever lies there; ours where the header is",
    kernel: "net/openvswitch/flow.c, key_extract (network_header)",
    leavesOut: (_, text) =>
      /recirc\(.*set\((ipv|tcp|udp|sctp|icmp)/.test(text) && /push_vlan/.test(text) &&
      text.split("\n").some((line) => tagsIn(line) > 1),
    example: EXAMPLES.threeTags,
  },
  "tag on an L3 device": {
    what: "a frame with a tag and labels behind it is said to be of the tag's type",
    kernel: "net/openvswitch/vport.c, ovs_vport_send; net/core/dev.c, validate_xmit_vlan",
    leavesOut: (item) => sentTo(item, (hex) => TAGGED_L3.test(hex)),
    example: EXAMPLES.tagOnL3,
  },
  "MTU of an L3 device": {
    what: "counts for the whole of an Ethernet frame; ours for what is behind the Ethernet header",
    kernel: "net/openvswitch/vport.c, ovs_vport_send, packet_length (hard_header_len)",
    leavesOut: (item) => sentTo(item, (hex) => /^....6558/.test(hex) && hex.length > FULL),
    example: EXAMPLES.longOnL3,
  },
  "train on an L3 device": {
    what: "a train that is not plain IP is lost, as nothing segments its type",
    kernel: "net/openvswitch/vport.c, ovs_vport_send; net/core/gro.c, skb_mac_gso_segment",
    leavesOut: (item) => isTrain(item) && sentTo(item, (hex) => !/^....(0800|86dd)/.test(hex)),
    example: EXAMPLES.trainOnL3,
  },
  "train behind three tags": {
    what: "goes on as a train; we see no header behind the second tag, and send segments",
    kernel: "net/core/dev.c, netif_skb_features",
    leavesOut: (item) => isTrain(item) && item.ours.sent.flat().some((hex) => TAGS_3.test(hex)),
    example: EXAMPLES.trainBehindTags,
  },
  "train behind authentication": {
    what:
      "a train from a user program is looked into, and lost where an IPv6 authentication header " +
      "hides TCP; the frames of the random cases have none",
    kernel: "net/ipv6/ip6_offload.c, ipv6_gso_pull_exthdrs",
    leavesOut: () => false,
    example: EXAMPLES.trainBehindAuthentication,
  },
  "train under labels": {
    what:
      "is lost where the labels, a frame among them or what follows them are not what the kernel " +
      "takes them for, and its headers are lost behind userspace; we send segments",
    kernel: "net/mpls/mpls_gso.c, mpls_gso_segment; net/openvswitch/datapath.c, queue_gso_packets",
    leavesOut: (item, text) =>
      isTrain(item) &&
      (/mpls\([^)]*bos=0|add_mpls\([^)]*0x884[78]\)|(mpls|nsh)\(.*userspace|push_nsh.*pop_nsh/s
        .test(text) ||
        /pop_mpls\(/.test(text) && !/pop_mpls\(eth_type=(0x86dd|0x800)\)/.test(text) ||
        /ipv6\(.*pop_mpls\((?!eth_type=0x86dd)/.test(text) ||
        /ipv4\(.*pop_mpls\((?!eth_type=0x800\))/.test(text)),
    example: EXAMPLES.trainUnderLabels,
  },
  "cut train": {
    what:
      "a train that trunc leaves no more than a segment of is lost in segmentation; we send a frame",
    kernel: "net/openvswitch/actions.c, do_output; net/ipv4/tcp_offload.c, tcp_gso_segment",
    leavesOut: (item, text) => isTrain(item) && /trunc/.test(text),
    example: EXAMPLES.cutTrain,
  },
  "cut checksum": {
    what:
      "a frame cut in front of its partial checksum's field is lost when that is completed; we send " +
      "it. Of other cut frames the checksum is that of the cut one, unless it is complete already",
    kernel: "net/core/dev.c, skb_checksum_help",
    leavesOut: ({ name }, text) => name.includes("partial") && /trunc/.test(text),
    example: EXAMPLES.cutChecksum,
  },
  "trunc before a push": {
    what:
      "trunc says how many bytes to cut off, as it is then, also to userspace, which gets the tag " +
      "besides; since 6.12.117 and here it says how many to keep (6.1.176 and 6.12.95 were tried)",
    kernel: "net/openvswitch/actions.c, do_execute_actions (cutlen); datapath.c, " +
      "queue_userspace_packet",
    leavesOut: (_, text) =>
      /vlan/.test(text) && /trunc\(.*userspace/.test(text) ||
      /trunc\(\d+\),(?!\d).*(push|pop|add_mpls|trunc)/s.test(text),
    example: EXAMPLES.truncBeforePush,
  },
  "key that is set": {
    what:
      "a key keeps its number of labels when the bottom of the stack is set, and gets the TTL of a " +
      "malformed IP header, until it is extracted anew; ours is always the packet's",
    kernel: "net/openvswitch/actions.c, set_mpls, execute_dec_ttl",
    leavesOut: (_, text) =>
      /set\(mpls\([^)]*bos=.*(recirc|userspace)/.test(text) ||
      /src=(0\.0\.0\.0|::),dst=(0\.0\.0\.0|::),(label=0,)?proto=0.*(dec_ttl|set\(ipv)/.test(text),
    example: EXAMPLES.bottomSet,
  },
  "frame below a label": {
    what:
      "pop_mpls(eth_type=0x6558) makes a frame that push_eth still takes for an L3 packet, also of " +
      "a packet whose labels are hidden by push_nsh",
    kernel: "net/openvswitch/flow_netlink.c, __ovs_nla_copy_actions; actions.c, pop_mpls; " +
      "net/core/skbuff.c, skb_eth_push",
    leavesOut: (_, text) =>
      /pop_mpls\(eth_type=0x6558\).*push_eth|push_nsh.*pop_mpls\(eth_type=0x6558\)/.test(text),
    example: EXAMPLES.frameBelowLabel,
  },
  "short frame below a header": {
    what:
      "a frame without a whole Ethernet header goes to L3 devices; we drop it where it is laid bare",
    kernel: "net/core/skbuff.c, skb_mpls_pop; net/nsh/nsh.c, nsh_pop",
    leavesOut: ({ ours }, text) =>
      /pop_nsh|pop_mpls\(eth_type=0x6558\)/.test(text) &&
      ours.drops["set-header-missing"] !== undefined,
    example: EXAMPLES.shortFrame,
  },
  "malformed NSH": {
    what: "is dropped at once; we give it zero fields",
    kernel: "net/openvswitch/flow.c, parse_nsh; vport.c, ovs_vport_receive",
    leavesOut: ({ name }, text) =>
      /^cut nsh/.test(name) || /nsh\(flags=0,ttl=0,mdtype=0,np=0/.test(text),
    example: EXAMPLES.malformedNsh,
  },
  "802.2 without its header": {
    what:
      "pop_eth leaves the LLC header, which no type says; we drop the frame. Behind a SNAP header " +
      "pushed labels are known until the key is extracted anew; we don't see them",
    kernel: "net/core/skbuff.c, skb_eth_pop, skb_mpls_update_lse",
    leavesOut: ({ name }, text) => name.includes("llc") && /pop_eth|mpls|push_nsh/.test(text),
    example: EXAMPLES.popLlc,
  },
  "padding of SCTP": {
    what:
      "counts in the checksum of a packet whose ports are set, which makes it wrong; ours is right",
    kernel: "net/openvswitch/actions.c, set_sctp",
    leavesOut: ({ name }, text) => name.includes("sctp padded") && /set\(sctp/.test(text),
    example: EXAMPLES.sctpPadding,
  },
  "cut tag": {
    what:
      "a frame that ends within its tag is received by no device; the frames of the random cases " +
      "do not",
    kernel: "net/core/skbuff.c, skb_vlan_untag",
    leavesOut: () => false,
    example: EXAMPLES.cutTag,
  },
  "cut IPv6 header": {
    what:
      "the key of a packet without its whole IPv6 header has a label that was on the stack; the " +
      "frames of the random cases have the whole header",
    kernel: "net/openvswitch/flow.c, key_extract_l3l4",
    leavesOut: (_, text) => /ipv6\(src=::,dst=::,label=0,proto=0/.test(text),
    example: EXAMPLES.cutIpv6,
  },
  "nested lists": {
    what:
      "in a nested list a packet is checked as one with an Ethernet header if the flow's have one, " +
      "whatever was pushed or popped before",
    kernel: "net/openvswitch/flow_netlink.c, __ovs_nla_copy_actions (ovs_key_mac_proto)",
    compare: "flows that the kernel refuses for that are counted and not compared",
    example: EXAMPLES.nestedList,
  },
  "partial checksum": {
    what:
      "who completes a partial checksum, and whether segments have complete ones, is each one's " +
      "own: we do it when the first port wants it, and for all that follow; the kernel for each " +
      "device by what that can, where labels are for none",
    kernel: "net/core/dev.c, validate_xmit_skb; net/core/skbuff.c, skb_segment",
    compare:
      "where one is partial and the other complete, the partial one is completed first; counted",
    example: EXAMPLES.partialChecksum,
  },
  "key of an upcall": {
    what: "is that of the packet's last extraction, with what was set since; ours is the packet's",
    kernel: "net/openvswitch/actions.c, output_userspace (invalidate_flow_key)",
    compare: "keys of userspace are not compared in cases that push or pop; all the rest is",
    example: EXAMPLES.staleKey,
  },
  "upcall of a train": {
    what:
      "is one of each segment; ours one of all, so that a handler decides once and sends a train on",
    kernel: "net/openvswitch/datapath.c, queue_gso_packets",
    compare: "ours are segmented first",
    example: EXAMPLES.upcallOfTrain,
  },
  "upcall by reference": {
    what:
      "of a long packet an upcall refers to the bytes, so what is set behind userspace shows in it; " +
      "ours has a copy",
    kernel: "net/openvswitch/datapath.c, queue_userspace_packet; net/core/skbuff.c, skb_zerocopy",
    leavesOut: ({ input }, text) =>
      input.frames.some((hex) => hex.length > LONG) &&
      /userspace.*(set\((?!skb)|dec_ttl|push|pop|add_mpls)|trunc.*userspace/s.test(text),
    example: EXAMPLES.upcallByReference,
  },
  "hash": {
    what: "the hash of a packet is each datapath's own",
    kernel: "net/openvswitch/actions.c, execute_hash; datapath.c, queue_userspace_packet",
    compare: "flows don't match dp_hash, and it is not compared",
    example: EXAMPLES.hash,
  },
  "size of headers": {
    what: "hdr_len of struct virtio_net_hdr is a hint: the kernel says what it has in one piece",
    kernel: "include/linux/virtio_net.h, virtio_net_hdr_from_skb",
    compare: "not compared",
    example: EXAMPLES.headersSize,
  },
};

/** The difference that a random case may meet, by name. */
export function differenceMet(item: PacketCase, text: string): string | undefined {
  return Object.entries(PACKET_DIFFERENCES)
    .find(([, { leavesOut }]) => leavesOut?.(item, text) === true)?.[0];
}

/** After these the key of an upcall is an old one. */
export const CHANGES_HEADERS: RegExp =
  /push_mpls|pop_mpls|add_mpls|push_eth|pop_eth|push_nsh|pop_nsh|push_vlan|pop_vlan/;
