/**
 * Where the kernel and Open vSwitch's own datapath do different things with the same actions: ours is
 * the kernel's. The random cases (action_cases.ts, openflow_cases.ts) leave these out; each has a test
 * of its own. Nothing else is excused.
 */
import { makeFrame } from "../../datapath/testing/frames.ts";

export interface Difference {
  readonly what: string;
  /** Where the kernel has it. */
  readonly kernel: string;
  readonly frame: Uint8Array;
  /** What follows in_port(1),eth() in the flow, or the match of an OpenFlow flow. */
  readonly match: string;
  /** Of the datapath, or of OpenFlow. */
  readonly actions: string;
  readonly isOpenFlow?: boolean;
  /** What port 2 is sent. */
  readonly ours: string;
  readonly theirs: string;
}

const tagged = makeFrame({ tags: [0x81000005], payloadSize: 60 }).bytes;
const TAGGED = "eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800),ipv4(frag=no))";
const plain = makeFrame({ payloadSize: 60 }).bytes;
const underLabel = `${plain.slice(0, 12).toHex()}884700000940${plain.slice(14).toHex()}`;
const later = makeFrame({ protocol: "udp", fragment: 0x2003 });
const later6 = makeFrame({
  protocol: "udp",
  isIpv6: true,
  extensions: [[44, [0, 0, 9, 0, 0, 0, 9]]],
});
const solicitation = neighbourSolicitation();

function neighbourSolicitation(): Uint8Array {
  const payload = Uint8Array.fromHex("fe80" + "00".repeat(13) + "05" + "0101020000000009");
  const { bytes, l4 } = makeFrame({ isIpv6: true, protocol: "icmp", payload });
  bytes[l4] = 135;
  bytes[l4 + 2]! -= 7;
  return bytes;
}

/** The frame in hexadecimal with some of its bytes others. */
function patched(frame: Uint8Array, ...patches: readonly (readonly [number, string])[]): string {
  const copy = frame.slice();
  for (const [at, hex] of patches) copy.set(Uint8Array.fromHex(hex), at);
  return copy.toHex();
}

export const DIFFERENCES: readonly Difference[] = [
  {
    what: "trunc counts bytes without the outer tag, which lies beside the frame",
    kernel: "net/openvswitch/actions.c, do_output; flow.c, parse_vlan",
    frame: tagged,
    match: TAGGED,
    actions: "trunc(40),2",
    ours: tagged.slice(0, 44).toHex(),
    theirs: tagged.slice(0, 40).toHex(),
  },
  {
    what: "check_pkt_len counts bytes without the outer tag",
    kernel: "net/openvswitch/actions.c, execute_check_pkt_len",
    frame: tagged,
    match: TAGGED,
    actions: `check_pkt_len(size=${tagged.length - 4},gt(pop_vlan,2),le(2))`,
    ours: tagged.toHex(),
    theirs: plain.toHex(),
  },
  {
    what:
      "trunc says how much is left, whatever is pushed before the output, not how much is cut off",
    kernel: "net/openvswitch/actions.c, do_execute_actions and do_output",
    frame: plain,
    match: "ip",
    actions: "push_mpls:0x8847,output(port=2,max_len=50)",
    isOpenFlow: true,
    ours: underLabel.slice(0, 100),
    theirs: underLabel.slice(0, 108),
  },
  {
    what: "a later fragment's payload is no L4 header: no checksum in it follows the addresses",
    kernel: "net/openvswitch/actions.c, update_ip_l4_checksum",
    frame: later.bytes,
    match: "eth_type(0x0800),ipv4(frag=later)",
    actions: "set(ipv4(src=10.0.0.3)),2",
    ours: patched(later.bytes, [later.l3 + 15, "03"], ipChecksum(later.bytes, later.l3, 2)),
    theirs: patched(
      later.bytes,
      [later.l3 + 15, "03"],
      ipChecksum(later.bytes, later.l3, 2),
      [later.l4 + 6, less(later.bytes, later.l4 + 6, 2)],
    ),
  },
  {
    what:
      "nd_ext: a mask counts (the kernel has no such action; Open vSwitch takes the bits beside it for zero)",
    kernel: "net/openvswitch/flow_netlink.c, validate_set",
    frame: solicitation,
    match: "eth_type(0x86dd),ipv6(proto=58,frag=no),icmpv6(type=135,code=0),nd(target=fe80::5)",
    actions: "set(nd_ext(nd_reserved=0x1/0x1,nd_options_type=0/0x2)),2",
    ours: patched(solicitation, [54 + 2, less(solicitation, 56, 1)], [54 + 7, "01"]),
    theirs: patched(solicitation, [54 + 2, less(solicitation, 56, 1 - 0x100)], [54 + 7, "01"], [
      54 + 24,
      "00",
    ]),
  },
];

/** An IPv4 header checksum that is less by `by`. */
function ipChecksum(frame: Uint8Array, l3: number, by: number): readonly [number, string] {
  return [l3 + 10, less(frame, l3 + 10, by)];
}

/** The number at `at`, less by `by`, with the end-around carry of a checksum. */
function less(frame: Uint8Array, at: number, by: number): string {
  const value = (frame[at]! << 8 | frame[at + 1]!) - by;
  return (value < 0 ? value + 0xffff : value > 0xffff ? value - 0xffff : value).toString(16)
    .padStart(4, "0");
}

/** What both leave as it is, checked so that the table above stays short. */
export const SAME: readonly Omit<Difference, "ours" | "theirs" | "kernel">[] = [
  {
    what: "a later IPv6 fragment's payload stays when addresses change",
    frame: later6.bytes,
    match: "eth_type(0x86dd),ipv6(frag=later)",
    actions: "set(ipv6(src=fd00::99)),2",
  },
];
