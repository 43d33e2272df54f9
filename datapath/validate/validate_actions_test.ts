import assert from "node:assert/strict";
import type { Action } from "../actions/actions.ts";
import { RuleError } from "../errors.ts";
import { KEY_WORDS } from "../key.ts";
import { randomAction, randomValidActions } from "../testing/actions.ts";
import { seededRandom } from "../testing/flow_values.ts";
import { formatActions, parseActions } from "../text/action_text.ts";
import { parseFlow } from "../text/flow_text.ts";
import {
  checkActions,
  checkExecutable,
  DEPTH_MAX,
  NOT_EXECUTABLE,
  type RuleSet,
} from "./validate_actions.ts";

function refuses(check: () => void, message: RegExp, about: string, code = "EINVAL"): void {
  assert.throws(check, (error: unknown) => {
    assert(error instanceof RuleError, `${about}: ${error}`);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message, about);
    return true;
  }, about);
}

const IP = "eth_type(0x0800),ipv4";
const TCP = `${IP}(proto=6)`;
const UDP = `${IP}(proto=17)`;
const MPLS = "eth_type(0x8847),mpls";
const VLAN = "eth_type(0x8100),vlan(),encap(eth_type(0x0800))";
const L3 = "packet_type(ns=1,id=0x800)";
const NSH = "eth_type(0x894f),nsh";

type Case = readonly [flow: string, actions: string, refused?: RegExp];

/** As answered by Linux 6.1's openvswitch.ko, but for the marked ones, where we are stricter. */
const SETS: readonly Case[] = [
  ["", "set(eth(src=01:02:03:04:05:06)),1"],
  ["", "set(eth()),1"],
  ["", "set(skb_priority(1)),set(skb_mark(1/3)),1"],
  ["", "set(ct_mark(1/3)),set(ct_label(1/3)),1"],
  ["", "set(ipv4(src=1.2.3.4)),1", /needs a flow that matches eth_type\(0x0800\)/],
  [`${IP}()`, "set(ipv4(src=1.2.3.4)),1"],
  [`${IP}()`, "push_vlan(vid=5,pcp=0),set(ipv4(src=1.2.3.4)),1"],
  [VLAN, "set(ipv4(ttl=1)),pop_vlan,1"],
  ["eth_type(0x86dd),ipv6()", "set(ipv4(src=1.2.3.4)),1", /eth_type\(0x0800\)/],
  ["eth_type(0x86dd),ipv6()", "set(ipv6(label=0x12345/0xfffff,hlimit=1)),1"],
  [UDP, "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=17,tos=0,ttl=64,frag=no)),1"],
  [UDP, "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=6,tos=0,ttl=64,frag=no)),1", /proto can't be set/],
  [
    `${IP}(proto=17,frag=first)`,
    "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=17,tos=0,ttl=64,frag=no))",
    /frag can't be set/,
  ],
  [`${IP}()`, "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=6,tos=0,ttl=64,frag=no)),1", /proto/],
  [`${IP}()`, "set(ipv4(proto=6))", /proto can't be set/],
  [`${IP}()`, "set(ipv4(frag=no))", /frag can't be set/],
  [UDP, "set(udp(src=1)),1"],
  [UDP, "set(tcp(src=1)),1", /needs a flow that matches .*proto=6/],
  [`${IP}(proto=6/0)`, "set(tcp(src=1)),1", /needs a flow/],
  [`${IP}(proto=6/0xfe)`, "set(tcp(src=1)),1", /needs a flow/], // stricter
  [`${IP}(proto=6,frag=later)`, "set(tcp(src=1)),1", /not frag=later/], // stricter
  [`${IP}(proto=6,frag=first)`, "set(tcp(src=1)),1"],
  [TCP, "set(tcp(src=1)),set(ipv4(tos=0x3)),1"],
  [`${MPLS}()`, "set(mpls(label=5,tc=0,ttl=64,bos=1))"],
  [`${MPLS}()`, "set(mpls(label=5))"],
  [
    `${MPLS}()`,
    "set(mpls(label=5,tc=0,ttl=64,bos=0,label=6,tc=0,ttl=64,bos=1))",
    /only the outermost label/,
  ],
  [`${IP}()`, "set(mpls(label=5))", /needs an MPLS label/],
  [`${IP}()`, "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847),set(mpls(label=5))"],
  [
    `${IP}()`,
    "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847),set(ipv4(ttl=5))",
    /hide that header/,
  ],
  [L3, "set(eth(src=01:02:03:04:05:06))", /no Ethernet header/],
  [L3, "push_eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02),set(eth(src=01:02:03:04:05:06))"],
  [L3, "set(ipv4(ttl=1))"],
  ["", "set(in_port(1))", /in_port can't be set; what can is skb_priority/],
  ["", "set(dp_hash(1))", /dp_hash can't be set/],
  ["eth_type(0x0806),arp()", "set(arp(op=1))", /arp can't be set/],
  [`${NSH}()`, "set(nsh(ttl=1))", /nsh can't be set/],
  ["", "set(tunnel(dst=1.2.3.4,ttl=64))"],
  [
    "",
    "set(tunnel(tun_id=0x1,src=1.1.1.1,dst=1.2.3.4,tos=0x4,ttl=64,tp_dst=4789,flags(df|csum|key)))",
  ],
  ["", "set(tunnel(dst=1.2.3.4,ttl=64,geneve({class=1,type=2,len=4,0x3})))"],
  ["", "set(tunnel(ipv6_dst=::1,ttl=64,vxlan(gbp(id=1,flags=0))))"],
  ["", "set(tunnel(dst=1.2.3.4))", /needs ttl=/],
  ["", "set(tunnel(tun_id=0x1,ttl=64))", /needs dst=/],
  ["", "set(tunnel(dst=0.0.0.0,ttl=64))", /needs dst=/],
  ["", "set(tunnel(ipv6_src=::1,ttl=64))", /needs ipv6_dst=/],
  ["", "set(tunnel(dst=1.2.3.0/255.255.255.0,ttl=64))", /masks are not allowed/],
  ["", "set(tunnel(dst=1.2.3.4,ttl=64,geneve({class=1/1,type=2,len=4,0x3})))", /masks are not/],
];

const NAT = "nat(src=10.0.0.1)";
const CASES: readonly Case[] = [
  ["", "1,1,65534"],
  ["", "drop"],
  ["", ""],
  ["", "pop_vlan,pop_vlan,pop_vlan,1"],
  ["", "push_vlan(vid=5,pcp=0),push_vlan(vid=5,pcp=0),push_vlan(vid=5,pcp=0),1"],
  ["", "push_vlan(tpid=0x9100,vid=5,pcp=0)", /tpid must be/],
  ["", "push_vlan(vid=5,pcp=0,cfi=0)", /cfi must be 1/],
  [L3, "push_vlan(vid=5,pcp=0)", /no Ethernet header/],
  [L3, "pop_vlan", /no Ethernet header/],
  ["", "trunc(14),1"],
  ["", "trunc(13),1", /at least 14/],
  ["", "userspace(pid=1)"],
  ["", "userspace(pid=0)", /pid must not be 0/],
  ["", "recirc(1),hash(l4(0)),hash(sym_l4(1)),meter(1),ct_clear"],
  ["", "psample(group=1,cookie=0x01)"],
  ["", "lb_output(1)", /the kernel has no such action/],
  ["", "tnl_pop(1)", /the kernel has no such action/],
  ["", "action200(01)", /action200 is not known/],
  ["", "clone(1,drop)"],
  ["", "sample(sample=10%,actions(drop)),1"],
  ["", "check_pkt_len(size=100,gt(push_vlan(vid=1,pcp=0),1),le(2)),3"],
  [`${IP}()`, "dec_ttl(le_1(1)),2"],
  ["", "clone(trunc(1))", /at least 14/],
  ["", "push_eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02)", /an Ethernet header already/],
  ["", "pop_eth,push_eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02)"],
  ["", "pop_eth,pop_eth", /no Ethernet header/],
  [VLAN, "pop_eth", /there is a VLAN tag/],
  [VLAN, "pop_vlan,pop_eth"],
  ["", "push_vlan(vid=1,pcp=0),pop_eth", /there is a VLAN tag/],
  ["", "clone(pop_eth),pop_eth"],
  [`${IP}()`, "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8848)"],
  [`${IP}()`, "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x800)", /0x8847 or 0x8848/],
  ["", "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847)", /matches eth_type as IPv4/],
  [VLAN, "push_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847)", /there is a VLAN tag/],
  [`${MPLS}()`, "pop_mpls(eth_type=0x800)"],
  [`${MPLS}()`, "pop_mpls(eth_type=0x8847),pop_mpls(eth_type=0x8847),set(mpls(ttl=1))"],
  [`${MPLS}(ttl=1)`, "pop_mpls(eth_type=0x8847),pop_mpls(eth_type=0x800)", /needs an MPLS label/],
  [
    `${MPLS}(label=1,tc=0,ttl=1,bos=0,label=2,tc=0,ttl=1,bos=1)`,
    "pop_mpls(eth_type=0x8847),pop_mpls(eth_type=0x800)",
  ],
  [`${MPLS}()`, "pop_mpls(eth_type=0x6558)", /a frame can't be below/],
  [`${IP}()`, "pop_mpls(eth_type=0x800)", /needs an MPLS label/],
  [`${MPLS}()`, "pop_mpls(eth_type=0x800),set(ipv4(ttl=1))", /needs a flow that matches/],
  ["", "add_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847)"],
  ["", "add_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847),pop_mpls(eth_type=0x6558)"],
  ["", "add_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x8847,tun_flags=1)", /matches eth_type as/],
  ["", "add_mpls(label=1,tc=0,ttl=1,bos=1,eth_type=0x800)", /0x8847 or 0x8848/],
  ["", "push_nsh()"],
  [L3, "push_nsh(np=1)"],
  ["packet_type(ns=1,id=0x806)", "push_nsh()", /needs an Ethernet header/],
  ["", "push_nsh(mdtype=2)", /metadata/],
  ["", "push_nsh(mdtype=2,md2=0x01020304)"],
  ["", `push_nsh(mdtype=2,md2=0x${"00".repeat(244)})`],
  // The header's length field has six bits, for words.
  ["", `push_nsh(mdtype=2,md2=0x${"00".repeat(248)})`, /4 … 244 bytes/],
  [`${NSH}(np=3)`, "pop_nsh()"],
  [`${NSH}(np=9)`, "pop_nsh()", /nsh\(np=…\)/],
  ["", "pop_nsh()", /needs a flow that matches eth_type\(0x894f\)/],
  [`${IP}()`, "push_nsh(),set(ipv4(ttl=1))", /hide that header/], // stricter
  [`${IP}()`, `ct,ct(commit,zone=1,mark=1,label=1,${NAT})`],
  ["", "ct", /needs a flow that matches IPv4 or IPv6/],
  [`${IP}()`, "ct(mark=1)", /mark needs commit/],
  [`${IP}()`, "ct(label=1)", /label needs commit/],
  [`${IP}()`, "ct(commit,mark=0/0)", /mask of mark can't be 0/],
  [`${IP}()`, "ct(force_commit,mark=1)"],
  ["eth_type(0x86dd),ipv6()", `ct(commit,${NAT})`, /of the flow's IP version/], // stricter
];

Deno.test("checkActions: sets, as the kernel's validate_set", () => {
  checkCases(SETS);
});

Deno.test("checkActions: as the kernel's __ovs_nla_copy_actions", () => {
  checkCases(CASES);
});

function checkCases(cases: readonly Case[], rules: RuleSet = "kernel"): void {
  for (const [flow, text, refused] of cases) {
    const { key, mask } = parseFlow(flow);
    const check = (): void => checkActions(parseActions(text), key, mask, { rules });
    const about = `${flow} ${text}`;
    if (refused === undefined) assert.doesNotThrow(check, about);
    else refuses(check, refused, about);
  }
}

Deno.test("checkActions: what only ovs-vswitchd's own datapath has", () => {
  checkCases([
    ["", "lb_output(1),tnl_pop(1),userspace(pid=0),set(dp_hash(1)),set(recirc_id(1))"],
    ["eth_type(0x0806),arp()", "set(arp(op=1))"],
    ["", "set(arp(op=1))", /needs a flow that matches/],
    [`${NSH}()`, "set(nsh(ttl=1))"],
    ["", "set(in_port(1))", /can't be set/],
    ["", "tnl_pop(65535)", /0 … 65534/],
  ], "denovs");
});

Deno.test("checkActions: lists that did not come from text", () => {
  const { key, mask } = parseFlow(`${IP}()`);
  const nat = {
    direction: undefined,
    addressMin: undefined,
    addressMax: undefined,
    portMin: undefined,
    portMax: undefined,
    persistent: true,
    hash: false,
    random: false,
  };
  const ct = parseActions("ct(commit)")[0]!;
  assert(ct.type === "ct");
  const lists: readonly (readonly [Action[], RegExp])[] = [
    [[{ type: "output", port: 65535 }], /0 … 65534/],
    [[{ type: "drop", reason: 0 }, { type: "output", port: 1 }], /drop must be the last/],
    [[{ type: "push_vlan", tpid: 0x9100, tci: 0x1005 }], /tpid/],
    [[{ type: "push_vlan", tpid: 0x8100, tci: 5 }], /cfi/],
    [[{ ...ct, nat }], /needs src or dst/],
    [[{ ...ct, nat: { ...nat, direction: "src", portMax: 1 } }], /no first port/],
    [[{ ...ct, nat: { ...nat, direction: "src", hash: true, random: true } }], /not both/],
    [[{ type: "psample", group: 1, cookie: "00".repeat(17) }], /1 … 16 bytes/],
    [[{ type: "psample", group: 1, cookie: "" }], /1 … 16 bytes/],
    [
      [{ type: "push_nsh", flags: 0, ttl: 1, mdtype: 3, np: 1, path: 1, metadata: "" }],
      /mdtype must be/,
    ],
    [[{
      type: "set",
      attribute: "skb_mark",
      value: new Int32Array(KEY_WORDS).fill(1),
      mask: new Int32Array(KEY_WORDS),
    }], /outside of its mask/],
    [[{
      type: "set",
      attribute: "skb_mark",
      value: new Int32Array(KEY_WORDS),
      mask: new Int32Array(KEY_WORDS).fill(-1),
    }], /not of skb_mark/],
  ];
  for (const [actions, message] of lists) {
    refuses(() => checkActions(actions, key, mask), message, formatActions(actions));
  }
});

Deno.test(`checkActions: ${DEPTH_MAX} levels of lists, not one more (EOVERFLOW)`, () => {
  const { key, mask } = parseFlow("");
  const nest = (levels: number): Action[] =>
    parseActions("clone(".repeat(levels) + "1" + ")".repeat(levels));
  checkActions(nest(DEPTH_MAX), key, mask);
  refuses(() => checkActions(nest(DEPTH_MAX + 1), key, mask), /16 levels/, "17", "EOVERFLOW");
});

Deno.test("checkActions: at most 64 KiB of netlink (EMSGSIZE)", () => {
  const { key, mask } = parseFlow("");
  const outputs = (count: number): Action[] =>
    Array.from({ length: count }, () => ({ type: "output", port: 1 }));
  checkActions(outputs(8191), key, mask);
  refuses(() => checkActions(outputs(8192), key, mask), /65536 bytes/, "8192", "EMSGSIZE");
  const nested: Action[] = [{ type: "clone", actions: outputs(8191) }, ...outputs(1)];
  refuses(() => checkActions(nested, key, mask), /bytes/, "nested", "EMSGSIZE");
});

Deno.test("checkActions: returns or throws RuleError for any actions, and valid ones print", () => {
  const random = seededRandom(3);
  for (const flow of ["", TCP, VLAN, L3, `${MPLS}()`, `${NSH}(np=3)`]) {
    const { key, mask } = parseFlow(flow);
    for (let run = 0; run < 100; run++) {
      const actions = randomValidActions(
        random,
        (list) => checkActions(list, key, mask),
        { dialect: "kernel" },
      );
      if (actions.length > 0) {
        assert.deepEqual(parseActions(formatActions(actions)), actions);
      }
    }
  }
});

Deno.test("checkExecutable: what this version's packet threads run", () => {
  checkExecutable(parseActions("1,push_vlan(vid=1,pcp=0),pop_vlan,set(ipv4(ttl=1)),drop"));
  const random = seededRandom(5);
  for (const type of NOT_EXECUTABLE) {
    const actions = [randomAction(random, type)];
    const message = new RegExp(`packet threads can't run ${type} yet`);
    refuses(() => checkExecutable(actions), message, type, "EOPNOTSUPP");
    const nested: Action[] = [{ type: "clone", actions }];
    refuses(() => checkExecutable(nested), /packet threads can't run/, type, "EOPNOTSUPP");
  }
  const set = parseActions("set(in_port(1))");
  refuses(() => checkExecutable(set), /can't set in_port yet/, "in_port", "EOPNOTSUPP");
});
