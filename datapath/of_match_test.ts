import assert from "node:assert/strict";
import { FlowSyntaxError } from "./errors.ts";
import { matchesFilter, parseOfMatch } from "./of_match.ts";
import { parseFlow } from "./text/flow_text.ts";

const NAMES = { byName: (name: string) => name === "p1" ? 1 : undefined, byNo: () => undefined };

function matches(filter: string, flow: string): boolean {
  const { key, mask } = parseFlow(flow);
  return matchesFilter(parseOfMatch(filter, { names: NAMES }), key, mask);
}

const TCP =
  "in_port(1),skb_mark(3),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
  "ipv4(src=10.1.2.3,dst=10.9.9.9,proto=6,tos=0x1e,ttl=64,frag=no),tcp(src=1000,dst=80),tcp_flags(syn)";
const UDP6 =
  "in_port(2),eth_type(0x86dd),ipv6(src=fd00::1,proto=17,tclass=0x2,hlimit=9),udp(dst=53)";
const ARP = "eth_type(0x0806),arp(sip=10.0.0.1,tip=10.0.0.2,op=1,sha=02:00:00:00:00:01)";
const ND =
  "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135,code=0),nd(target=fe80::1,sll=02:00:00:00:00:01)";
const TAGGED = "eth_type(0x8100),vlan(vid=5,pcp=3),encap(eth_type(0x0800))";

const CASES: readonly (readonly [filter: string, flow: string, wanted: boolean])[] = [
  ["", TCP, true],
  ["tcp", TCP, true],
  ["udp", TCP, false],
  ["ip", TCP, true],
  ["ipv6", TCP, false],
  ["tcp6", TCP, false],
  ["arp", TCP, false],
  ["in_port=1", TCP, true],
  ["in_port=p1", TCP, true],
  ["in_port=LOCAL", TCP, false],
  ["in_port=2", TCP, false],
  ["pkt_mark=3", TCP, true],
  ["pkt_mark=0x1/0x1", TCP, true],
  ["dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02", TCP, true],
  ["eth_src=02:00:00:00:00:03", TCP, false],
  ["dl_type=0x0800,nw_proto=6", TCP, true],
  ["tcp,nw_src=10.0.0.0/8 tp_dst=80", TCP, true],
  ["tcp,nw_src=11.0.0.0/255.0.0.0", TCP, false],
  ["ip,ip_dst=10.9.9.9", TCP, true],
  ["tcp,tcp_src=1000,tcp_dst=81", TCP, false],
  ["tcp,tcp_flags=+syn-ack", TCP, true],
  ["tcp,tcp_flags=ack", TCP, false],
  ["ip,nw_tos=0x1c", TCP, true],
  ["ip,ip_dscp=7,nw_ecn=2", TCP, true],
  ["ip,nw_ttl=64", TCP, true],
  ["ip,ip_frag=no", TCP, true],
  ["ip,ip_frag=later", TCP, false],
  ["ip,ip_frag=not_later", TCP, true],
  ["dl_vlan=0xffff", TCP, true],
  ["vlan_tci=0", TCP, true],
  ["dl_vlan=5", TCP, false],
  ["udp6,ipv6_src=fd00::/16,udp_dst=53", UDP6, true],
  ["udp6,tp_dst=54", UDP6, false],
  ["ipv6,nw_ttl=9,nw_ecn=2,ipv6_label=0", UDP6, true],
  ["arp,arp_spa=10.0.0.1,arp_tpa=10.0.0.0/24,arp_op=1", ARP, true],
  ["arp,nw_src=10.0.0.2", ARP, false],
  ["arp,arp_sha=02:00:00:00:00:01", ARP, true],
  ["icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=fe80::1,nd_sll=02:00:00:00:00:01", ND, true],
  ["icmp6,icmpv6_type=136", ND, false],
  ["dl_vlan=5,dl_vlan_pcp=3", TAGGED, true],
  ["dl_vlan=6", TAGGED, false],
  ["vlan_tci=0x1000/0x1000,ip", TAGGED, true],
  ["vlan_vid=5", TAGGED, true],
  ["vlan_vid=0x1000/0x1000", TAGGED, true],
  ["tcp,tp_dst=80", "in_port(1)", true], // the flow looks at neither
  ["in_port=*,dl_src=*", TCP, true],
];

Deno.test("matchesFilter: keeps flows that agree where both look", () => {
  for (const [filter, flow, wanted] of CASES) {
    assert.equal(matches(filter, flow), wanted, `${filter} ${flow}`);
  }
});

Deno.test("parseOfMatch: faults are named with their column", () => {
  const faults: readonly (readonly [string, number, RegExp])[] = [
    ["tp_src=5", 1, /tp_src needs a match on eth_type\(0x0800\),ipv4\(proto=6\)/],
    ["ip,ipv6_src=::1", 4, /ipv6_src needs/],
    ["nw_srx=1", 1, /did you mean nw_src/],
    ["in_port", 8, /expected "="/],
    ["in_port=p9", 9, /p9/],
    ["tcp,tcp", 5, /twice/],
    ["tcp;udp", 4, /can't follow tcp/],
    ["ip,nw_tos=3", 11, /nw_ecn/],
    ["ip,ip_frag=yes", 12, /no, first, later/],
    ["dl_vlan=5000", 9, /0 … 4095/],
  ];
  for (const [text, column, message] of faults) {
    assert.throws(() => parseOfMatch(text), (error: unknown) => {
      assert(error instanceof FlowSyntaxError, `${text}: ${error}`);
      assert.equal(error.column, column, `${text}: ${error.message}`);
      assert.match(error.message, message, text);
      return true;
    });
  }
});
