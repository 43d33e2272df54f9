/**
 * Where connection tracking of the kernel (nf_conntrack and nf_nat below openvswitch.ko) and ours differ
 * on the scenarios of kernel_ct_*.ts, with the reasons. Nothing else is excused, and each is met.
 */

export interface CtDifference {
  readonly what: string;
  /** Where the kernel has it: file, function. */
  readonly kernel: string;
  /** The scenarios that show it; elsewhere it is no excuse. */
  readonly scenario: RegExp;
  /** What we say of a packet as the kernel would. */
  readonly event?: (event: string) => string;
  /** Steps where the kernel sends on what we drop. */
  readonly passes?: readonly number[];
  /** Frames are other fragments of the same packets. */
  readonly isCutOtherwise?: boolean;
  /** Connections that only one side has for it. */
  readonly connections?: RegExp;
}

/** What is said of an invalid packet, made of a new one of IPv4. */
function asInvalid(event: string): string {
  return event.replace("+new", "-new").replace("-inv", "+inv").replace("ct_mark(0x7),", "")
    .replace(/ct_tuple4\(.*?\)/, "ct_tuple4(src=0.0.0.0,dst=0.0.0.0,proto=0,tp_src=0,tp_dst=0)");
}

export const CT_DIFFERENCES: readonly CtDifference[] = [
  {
    what:
      "IPv6 fragments that no packet is put together with (the first without all of its headers, " +
      "or of a size that is no multiple of 8) go on as whole packets by their key; ours says fragment",
    kernel: "net/openvswitch/conntrack.c, handle_fragments (ovs_ct_handle_fragments); " +
      "net/ipv6/netfilter/nf_conntrack_reasm.c, nf_ct_frag6_gather",
    scenario: /^fragments.*, IPv6$/,
    event: (event) => event.includes("+inv") ? event.replace("frag=first", "frag=no") : event,
  },
  {
    what:
      "UDP-Lite's checksum is computed with UDP's protocol number, so that all that comes with a " +
      "right one is invalid",
    kernel: "net/netfilter/nf_conntrack_proto_udp.c, udplite_error",
    scenario: /^UDP-Lite whose checksum is looked at$/,
    event: asInvalid,
    connections: /^udplite,/,
  },
  {
    what:
      "what ct has cut off behind the IP packet's end is still in the key of a recirculated packet; " +
      "ours is extracted anew",
    kernel: "net/openvswitch/actions.c, execute_recirc; net/openvswitch/conntrack.c, " +
      "ovs_skb_network_trim",
    scenario: /^an IPv6 packet without a length$|^an IPv4 packet that ends within its ports$/,
    event: (event) => event.replace("udp(src=0,dst=0)", "udp(src=2,dst=53)"),
  },
  {
    what: "a connection whose translation can't be made unique is another one's, if that is not " +
      "translated and its protocol is not TCP; ours is dropped (ct-clash)",
    kernel: "net/netfilter/nf_conntrack_core.c, nf_ct_resolve_clash",
    scenario: /^a translation that is another connection's$/,
    passes: [1],
    connections: /^253,/,
  },
  {
    what: "SCTP is followed by its chunks; ours by addresses, ports and answers",
    kernel: "net/netfilter/nf_conntrack_proto_sctp.c, nf_conntrack_sctp_packet",
    scenario: /^SCTP that begins with data$/,
    event: asInvalid,
    connections: /^sctp,/,
  },
  {
    what:
      "DCCP is followed by its types, where the kernel still has it; ours by addresses, ports and " +
      "answers",
    kernel: "net/netfilter/nf_conntrack_proto_dccp.c, nf_conntrack_dccp_packet",
    scenario: /^DCCP that begins with a packet of no type$/,
    event: asInvalid,
    connections: /^dccp,/,
  },
  {
    what:
      "a limit counts only connections that were committed while there was one; ours counts all " +
      "of the zone's",
    kernel: "net/openvswitch/conntrack.c, ovs_ct_check_limit",
    scenario: /^a limit that comes late$/,
    passes: [5, 6],
    connections: /sport=10[45],dport=53,/,
  },
  {
    what:
      "a packet that was put together leaves in the fragments that it came in by the last port " +
      "only, by those before in fragments of one size, since it is shared then; ours by all",
    kernel:
      "net/ipv4/ip_output.c, ip_do_fragment; net/ipv6/ip6_output.c, ip6_fragment (skb_cloned)",
    scenario: /^fragments that leave by two ports$/,
    isCutOtherwise: true,
  },
  {
    what: "headers that had to be read or changed are all in the first fragment",
    kernel: "net/core/skbuff.c, __pskb_pull_tail; net/netfilter/nf_nat_proto.c, " +
      "nf_nat_icmpv6_reply_translation (skb_ensure_writable)",
    scenario: /^fragments of an ICMP error, cut within what it quotes$/,
    isCutOtherwise: true,
  },
];
