/**
 * The one place where it stands how the kernel's datapath, its ovs-dpctl (Debian 12's, 3.1) and we
 * differ, with the reasons. What is not listed here must be equal.
 */
import type { KernelCase } from "./kernel_cases.ts";
import type { KernelKind } from "./kernel_vm.ts";

/** One known difference. */
export interface Difference {
  readonly reason: string;
  /** Which kernel; both if absent. */
  readonly kind?: KernelKind;
  readonly when: (item: Pick<KernelCase, "flow" | "actions" | "why">) => boolean;
}

const flow = (pattern: RegExp): Difference["when"] => (item) => pattern.test(item.flow);
const actions = (pattern: RegExp): Difference["when"] => (item) => pattern.test(item.actions);

/** What we take and the kernel refuses. */
export const KERNEL_REFUSES: readonly Difference[] = [
  {
    reason: "User-Mode Linux is built without conntrack zones",
    kind: "stable",
    when: (item) => /\bct_zone\(|\bct\([^)]*zone=/.test(`${item.flow} ${item.actions}`),
  },
  {
    reason:
      "drop as an action came with 6.7 (a flow that only drops has no actions, in all of them)",
    kind: "stable",
    when: actions(/drop/),
  },
  {
    reason: "the symmetric hash came with 6.7",
    kind: "stable",
    when: actions(/\bhash\(sym_l4/),
  },
  {
    reason: "helpers of connections are modules, which may not be there",
    when: actions(/\bhelper=/),
  },
  {
    reason: "psample came with 6.11",
    kind: "stable",
    when: actions(/psample\(/),
  },
];

const CHANGES_TYPE = /\b(push_eth|pop_eth|push_nsh|pop_nsh|push_mpls|pop_mpls|add_mpls)\b/;
const NESTED = /\b(clone|sample|check_pkt_len|dec_ttl)\(/;

/** Where the kernel's answer, whichever it is, is about another packet than the one that would come. */
export const KERNEL_MISJUDGES: readonly Difference[] = [
  {
    reason: "in a nested list it takes the packet for one with an Ethernet header if the flow's " +
      "have one, whatever was pushed or popped before the list; we follow the packet",
    when: (item) => CHANGES_TYPE.test(item.actions) && NESTED.test(item.actions),
  },
  {
    reason: "for ct it looks at the flow's Ethernet type, not at what was pushed before",
    when: (item) => CHANGES_TYPE.test(item.actions) && /\bct\(/.test(item.actions),
  },
];

/** What we refuse and the kernel takes. */
export const WE_REFUSE: readonly Difference[] = [
  {
    reason: "that a packet is a fragment is matched whole or not: text has no mask for it",
    when: (item) => item.why.startsWith("frag must be matched whole"),
  },
  {
    reason:
      "ports of later fragments can't be set: the kernel would write into whatever lies there",
    when: (item) =>
      /frag=later/.test(item.flow) && /\bset\((tcp|udp|sctp|icmp|icmpv6)\(/.test(item.actions),
  },
];

/** What the kernel takes and does not show again as it was. */
export const KERNEL_FORGETS: readonly Difference[] = [
  {
    reason: "the original tuple is shown only where its protocol is matched and not 0",
    when: (item) =>
      /\bct_tuple[46]\(/.test(item.flow) &&
      !/\bct_tuple[46]\([^)]*proto=[1-9]\d*[,)]/.test(item.flow),
  },
  {
    reason: "of a tunnel to be set only what is not 0 is shown",
    when: actions(/\bset\(tunnel\(.*\b(src|ipv6_src|tos|tp_src|tp_dst)=(0|0\.0\.0\.0|::)[,)]/),
  },
  {
    reason: "ports of nat that are 0 count as none",
    when: actions(/\bnat\((src|dst)=[^)]*:0(?=[-,)])/),
  },
  {
    reason: "tunnel options without a byte count as no options",
    when: flow(/\bgeneve\(\)/),
  },
  {
    reason: "the flag bridge of a tunnel is matched and not shown",
    when: flow(/[-+|(]bridge\b/),
  },
];

/** What must not be shown to ovs-dpctl 3.1. */
export const OVS_CRASHES: readonly Difference[] = [
  {
    reason: "dec_ttl and psample came with later versions: it takes their numbers for those of " +
      "other actions and reads beyond their ends",
    when: actions(/\b(dec_ttl|psample)\(/),
  },
  {
    reason: "push_nsh with mdtype 2 overruns a buffer of it",
    when: actions(/\bmd2=/),
  },
];

/** What ovs-dpctl 3.1 can't say, or says otherwise, of a flow that is in the kernel. */
export const OVS_CANNOT_SAY: readonly Difference[] = [
  {
    reason: "a probability is rounded to a tenth of a percent",
    when: actions(/\bsample=\d+\.\d{2,}%/),
  },
  {
    reason: "user data that begins like a cookie is shown as one, whatever else is in it",
    when: actions(/\buserdata\(0[1-7]/),
  },
  {
    reason: "of add_mpls the flags are left out",
    when: actions(/\btun_flags=/),
  },
  {
    reason: "push_nsh is shown as its header would be: flags of 2 bits, ttl of 6",
    when: actions(/\bpush_nsh\(flags=([4-9]|\d\d)|ttl=(6[4-9]|[7-9]\d|\d{3}),mdtype/),
  },
  {
    reason: "the number of drop is taken for tnl_pop; with the text drop it is the other way round",
    when: actions(/\bdrop\b/),
  },
  {
    reason: "IPv6 extension headers came with Open vSwitch 3.2: they are shown as key32(…)",
    when: flow(/\bipv6_exthdrs\(/),
  },
  {
    reason: "a field of a tunnel that is 0 under a mask is left out",
    when: flow(/\b(src|dst|ipv6_src|ipv6_dst|tos|tp_src|tp_dst)=(0|0\.0\.0\.0|::)(\/|,|\))/),
  },
  {
    reason: "that a tunnel has VXLAN's policy extension, whatever is in it, is not read",
    when: flow(/\bgbp\(\)/),
  },
  {
    reason: "a tunnel's flag key can't be matched without tun_id",
    when: (item) => /\btunnel\(.*flags\([^)]*key/.test(item.flow) && !/tun_id=/.test(item.flow),
  },
  {
    reason: "flags of nat are left out where no address is given",
    when: actions(/\bnat\((src|dst),/),
  },
  {
    reason: "a set of no bit of a number is shown as one of all bits",
    when: actions(/\bset\(\w+\(0\/0\)\)/),
  },
  {
    reason: "user data of less than 8 bytes are shown as 8",
    when: actions(/\buserdata\(([0-9a-f]{2}){0,7}\)/),
  },
  {
    reason: "userspace gets 48 zero bytes of user data if it has none",
    when: actions(/\buserspace\(pid=\d+(,actions|,tunnel_out_port|\))/),
  },
  {
    reason: "a ct action's event mask is left out",
    when: actions(/\beventmask=/),
  },
  {
    reason: "a tunnel that must not have the flag key is shown like one that may have it",
    when: flow(/-key\b/),
  },
  {
    reason: "a Geneve option's data that are not matched at all are matched whole",
    when: flow(/\blen=\d*[1-9]\d*\}/),
  },
  {
    reason: "of erspan's hwid the upper 2 of 6 bits are lost, both ways",
    when: (item) => /\berspan\(ver=2/.test(`${item.flow} ${item.actions}`),
  },
  {
    reason: "a frame without an Ethernet type inside of tags is shown as one of any type",
    when: flow(/encap\(.*eth_type\(0\/0xffff\)/),
  },
];

/** Kernels with conntrack zones show zone 0 where none was given. */
export function withoutZoneZero(text: string): string {
  return text.replaceAll(/\bct\(zone=0,/g, "ct(").replaceAll(/\bct\(zone=0\)/g, "ct")
    .replaceAll(/,zone=0(?=[,)])/g, "");
}

/** Text of actions from ovs-dpctl, likewise. */
export function withPlainSpellings(text: string): string {
  return text
    .replaceAll("clone(drop)", "clone()")
    .replaceAll("actions(drop)", "actions()")
    .replaceAll("ct_label()", "ct_label(0)");
}

/**
 * Text of a flow from `ovs-dpctl dump-flows -m`, in the form that our parser gives back canonical: what
 * is wildcarded there in spellings that no parser takes is left out.
 */
export function withoutOddSpellings(text: string): string {
  return text
    .replaceAll(/,?\beth_type\(0x0000\/0x0000\)/g, "")
    .replaceAll(/,?\bkey\d+\(([0-9a-f]{2} ?)+\/(00 ?)+\)/g, "")
    // The parenthesis of mpls is not closed.
    .replaceAll(/,?\bmpls\(\(bad key length 0\)/g, "")
    // arp's op has 8 bits in the kernel, 16 in the text.
    .replaceAll(/\bop=(\d+)\/0xff\b/g, "op=$1")
    // Context headers that are not matched are shown as matched.
    .replaceAll(/,?\bc1=0x0,c2=0x0,c3=0x0,c4=0x0\)/g, ")");
}

/** Whether a difference explains it. */
export function isKnown(
  differences: readonly Difference[],
  item: Pick<KernelCase, "flow" | "actions" | "why">,
  kind: KernelKind,
): boolean {
  return differences.some((each) => (each.kind ?? kind) === kind && each.when(item));
}
