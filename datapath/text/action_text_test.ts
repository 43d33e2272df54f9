import assert from "node:assert/strict";
import type { Action } from "../actions/actions.ts";
import { FlowSyntaxError } from "../errors.ts";
import { ATTRIBUTES } from "../fields/fields.ts";
import { ACTION_TYPES, randomAction, randomSetOf } from "../testing/actions.ts";
import { seededRandom } from "../testing/flow_values.ts";
import { formatActions, LEVELS_MAX, parseActions } from "./action_text.ts";
import { ACTION_TEXTS } from "./actions/table.ts";
import type { PortNames } from "./field_text.ts";
import { cases } from "../testing/cases.ts";

const NAMES: PortNames = {
  byName: (name) => new Map([["br0", 0], ["p1", 1], ["drop", 2], ["1st", 3], ["5", 6]]).get(name),
  byNo: (no) => ["br0", "p1", "drop", "1st", undefined, undefined, "5", "ct(x)"][no],
};

const HEADER = "eth(dst=00:00:00:00:00:02,src=00:00:00:00:00:01,dl_type=0x0800)," +
  "ipv4(src=192.0.2.1,dst=192.0.2.2,proto=17,tos=0,ttl=64,frag=0x4000)";
const HEADER6 = "eth(dst=00:00:00:00:00:02,src=00:00:00:00:00:01,dl_type=0x86dd)," +
  "ipv6(src=2001:db8::1,dst=2001:db8::2,label=0,proto=17,tclass=0x0,hlimit=64)";
const UDP = "udp(src=0,dst=4789,csum=0x0)";
const push = (size: number, type: number, header: string): string =>
  `tnl_push(tnl_port(6),header(size=${size},type=${type},${header}),out_port(1))`;

/** Text and what it prints as; undefined: the same. */
const LISTS: readonly (readonly [text: string, printed?: string])[] = [
  ["", "drop"],
  ["drop"],
  ["DROP", "drop"],
  ["drop(3)"],
  ["drop(0)", "drop"],
  ["1"],
  ["0x10, 010\t3", "16,8,3"],
  ["1,,2", "1,2"],
  ["1,drop"],
  ["pop_vlan"],
  ["push_vlan(vid=12,pcp=0)"],
  ["push_vlan(vid=12,pcp=3,cfi=1)", "push_vlan(vid=12,pcp=3)"],
  ["push_vlan(vid=12,pcp=3,cfi=0)"],
  ["push_vlan(tpid=0x8100,vid=12,pcp=3)", "push_vlan(vid=12,pcp=3)"],
  ["push_vlan(tpid=0x88a8,vid=4095,pcp=7)"],
  ["push_vlan(tpid=0x9100,vid=1,pcp=0)"],
  ["push_vlan(vid=5)", "push_vlan(vid=5,pcp=0)"],
  ["set(eth(src=01:02:03:04:05:06)),1"],
  ["set(eth())"],
  ["set(eth(dst=01:00:00:00:00:00/ff:00:00:00:00:00))"],
  [
    "set(eth(dst=01:02:03:00:00:00/ff:00:00:00:00:00))",
    "set(eth(dst=01:00:00:00:00:00/ff:00:00:00:00:00))",
  ],
  ["set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=6,tos=0,ttl=64,frag=no))"],
  ["set(ipv4(tos=0x1/0x3,ttl=9))"],
  ["set(ipv4(proto=6))"],
  ["set(ipv4(frag=no))"],
  ["set(ipv6(src=::1,label=0x1,tclass=0x3,hlimit=4))"],
  ["set(tcp(src=1,dst=2)),set(udp(dst=53)),set(sctp(src=0/0xff))"],
  ["set(skb_priority(1)),set(skb_mark(1/3))", "set(skb_priority(0x1)),set(skb_mark(0x1/0x3))"],
  ["set(in_port(1)),set(eth_type(0x0800)),set(recirc_id(0x1)),set(dp_hash(0x1/0xff))"],
  ["set(vlan(vid=5,pcp=1)),set(vlan(vid=5)),set(vlan(vid=5,pcp=1,cfi=0))"],
  ["set(mpls(label=1,tc=0,ttl=64,bos=1))"],
  ["set(mpls(label=1))", "set(mpls(label=1/0xfffff,tc=0/0,ttl=0/0x0,bos=0/0))"],
  ["set(ct_mark(0x1/0xff)),set(ct_label(0x1/0xff)),set(ct_zone(0x5))"],
  ["set(arp(sip=1.2.3.4,op=2)),set(nd(target=::1,sll=00:00:00:00:00:01))"],
  ["set(icmp(type=1,code=2)),set(icmpv6(type=1)),set(tcp_flags(syn|ack))"],
  ["set(nsh(flags=2,ttl=63)),set(nd_ext(nd_options_type=2)),set(ipv6_exthdrs(dest))"],
  ["set(tunnel(tun_id=0xa,src=1.1.1.1,dst=2.2.2.2,tos=0x8,ttl=64,flags(df|csum|key)))"],
  [
    "set(tunnel(dst=2.2.2.2,ttl=64,flags(df|key)))",
    "set(tunnel(dst=2.2.2.2,ttl=64,flags(df)))",
  ],
  [
    "set(tunnel(tun_id=0x1,ipv6_dst=::1,ttl=64))",
    "set(tunnel(tun_id=0x1,ipv6_dst=::1,ttl=64,flags(key)))",
  ],
  [
    "set(tunnel(dst=2.2.2.2,ttl=64," +
    "geneve({class=0xffff,type=0x80,len=4,0xa}{class=0x1,type=0x2,len=0}),flags(0)))",
  ],
  ["set(tunnel(dst=2.2.2.2,ttl=64,vxlan(gbp(id=10,flags=0xb)),flags(0)))"],
  ["set(tunnel(dst=2.2.2.2,ttl=64,erspan(ver=1,idx=0x7),flags(0)))"],
  ["set(tunnel(dst=2.2.2.2,ttl=64,erspan(ver=2,dir=1,hwid=0x7),flags(0)))"],
  ["userspace(pid=0)"],
  ["userspace(pid= 5)", "userspace(pid=5)"],
  ["userspace(pid=1,userdata())"],
  ["userspace(pid=1,userdata(0102A0),actions,tunnel_out_port=10)".toLowerCase()],
  ["userspace(pid=1,userdata(01 02))", "userspace(pid=1,userdata(0102))"],
  ["userspace(pid=4,sFlow(vid=9,pcp=7,output=10),actions)"],
  ["userspace(pid=4,sFlow(vid=0,pcp=0,output=10))"],
  ["userspace(pid=4,slow_path(0))"],
  ["userspace(pid=4,slow_path())", "userspace(pid=4,slow_path(0))"],
  ["userspace(pid=4,slow_path(cfm,bfd,match))"],
  ["userspace(pid=4,slow_path(cfm|lldp))", "userspace(pid=4,slow_path(cfm,lldp))"],
  [
    "userspace(pid=4,flow_sample(probability=123,collector_set_id=1234,obs_domain_id=2345," +
    "obs_point_id=3456,output_port=10,egress),tunnel_out_port=10)",
  ],
  ["userspace(pid=4,ipfix(output_port=10))"],
  [
    "userspace(pid=4,controller(reason=1,dont_send=0,continuation=1,recirc_id=4444," +
    "rule_cookie=0x5555,controller_id=0,max_len=65535))",
  ],
  ["push_mpls(label=1,tc=2,ttl=3,bos=1,eth_type=0x8847),pop_mpls(eth_type=0x800)"],
  ["add_mpls(label=1,tc=2,ttl=3,bos=1,eth_type=0x8847)"],
  ["add_mpls(label=1,tc=2,ttl=3,bos=0,eth_type=0x8848,tun_flags=1)"],
  ["push_eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02),pop_eth"],
  [
    "push_nsh()",
    "push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x0,si=255,c1=0x0,c2=0x0,c3=0x0,c4=0x0)",
  ],
  ["push_nsh(flags=2,ttl=63,mdtype=1,np=3,spi=0x123,si=5,c1=0x1,c2=0x2,c3=0x3,c4=0xffffffff)"],
  ["push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x0,si=255,md2=0x1020304)"],
  [
    "push_nsh(mdtype=2,md2=0x0102)",
    "push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x0,si=255,md2=0x1020000)",
  ],
  ["push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x0,si=255,md2=0x00010203)"],
  ["push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x0,si=255)"],
  ["pop_nsh()"],
  ["sample(sample=9.7%,actions(1,2,push_vlan(vid=1,pcp=2)))"],
  ["sample(sample=0.01%,actions())"],
  ["sample(sample=100.0%,actions(drop))"],
  ["sample(sample=1e1%,actions(1))", "sample(sample=10.0%,actions(1))"],
  ["recirc(0x1)"],
  ["recirc(010)", "recirc(0xa)"],
  ["hash(l4(0)),hash(sym_l4(4294967295))"],
  ["ct"],
  ["ct()", "ct"],
  ["ct(commit,zone=5,mark=0x1/0xff,label=0x1/0xff,helper=ftp,timeout=0)"],
  ["ct(force_commit)"],
  ["ct(mark=10)", "ct(mark=0x10/0xffffffff)"],
  ["ct(label=10)", "ct(label=0xa)"],
  ["ct(zone=010)", "ct(zone=10)"],
  ["ct(zone=0,eventmask=0x517)"],
  ["ct(nat)"],
  ["ct(nat())", "ct(nat)"],
  ["ct(nat(persistent))", "ct(nat)"],
  ["ct(commit,nat(src))"],
  ["ct(commit,nat(src=10.0.0.240))"],
  ["ct(commit,nat(src=10.0.0.240-10.0.0.254:32768-65535,persistent,random))"],
  ["ct(commit,nat(dst=fe80::1-fe80::2,hash))"],
  ["ct(commit,nat(dst=[fe80::1]))", "ct(commit,nat(dst=fe80::1))"],
  ["ct(commit,nat(dst=[fe80::1]-[fe80::2]:255-4096))"],
  ["ct(commit,nat(src=10.0.0.1-10.0.0.1:0))"],
  ["ct(commit,nat(src=:80-90))"],
  ["ct_clear,trunc(100),meter(0x10)", "ct_clear,trunc(100),meter(16)"],
  ["clone()"],
  ["clone(drop)"],
  ["clone(1,clone(2),3),4"],
  ["check_pkt_len(size=200,gt(1),le(2))"],
  ["check_pkt_len(size=200,gt(drop),le(drop(0)))"],
  ["check_pkt_len(size=200,gt(),le( DROP ))", "check_pkt_len(size=200,gt(drop),le(drop))"],
  ["dec_ttl(le_1())"],
  ["dec_ttl(le_1(userspace(pid=1))),1"],
  ["psample(group=12)"],
  ["psample(group=12,cookie=0x102)"],
  ["psample(group=12,cookie=0xF1)", "psample(group=12,cookie=0xf1)"],
  ["psample(group=12,cookie=0)"],
  ["psample(group=12,cookie=0x000001)"],
  ["lb_output(010)", "lb_output(10)"],
  ["tnl_pop(4)"],
  [push(50, 4, `${HEADER},${UDP},vxlan(flags=0x8000000,vni=0x1c7)`)],
  [push(50, 5, `${HEADER},${UDP},geneve(vni=0x1c7)`)],
  [push(
    58,
    5,
    `${HEADER},${UDP},geneve(oam,crit,vni=0x1,options({class=0xffff,type=0x80,len=4,0xa}))`,
  )],
  [push(38, 3, `${HEADER},gre((flags=0x0,proto=0x6558))`)],
  [push(50, 3, `${HEADER},gre((flags=0xb000,proto=0x6558),csum=0x1,key=0x2,seq=0x3)`)],
  [push(50, 107, `${HEADER},erspan(ver=1,sid=0x3ff,idx=0xfffff)`)],
  [push(54, 107, `${HEADER},erspan(ver=2,sid=0x1,dir=1,hwid=0x3f)`)],
  [push(50, 110, `${HEADER},${UDP},gtpu(flags=0x30,msgtype=255,teid=0xa)`)],
  [push(70, 4, `${HEADER6},${UDP},vxlan(flags=0x8000000,vni=0x1)`)],
  [push(58, 109, `${HEADER6},gre((flags=0x0,proto=0x6558))`)],
  [
    push(78, 112, `${HEADER6},srv6(segments_left=0,segs(2001:db8::9))`),
    push(
      78,
      112,
      `${HEADER6.replace("proto=17", "proto=43")},srv6(segments_left=0,segs(2001:db8::9))`,
    ),
  ],
  [push(3, 4, "data(0a1b2c)")],
  ["action200"],
  ["action200(01 02)"],
];

Deno.test("parseActions: what it reads, formatActions prints", () => {
  for (const [text, printed] of LISTS) {
    const actions = parseActions(text);
    assert.equal(formatActions(actions), printed ?? text, text);
    if (text !== "") assert.deepEqual(parseActions(printed ?? text), actions, text);
  }
});

Deno.test("parseActions: the empty list and drop are different", () => {
  assert.deepEqual(parseActions(""), []);
  assert.deepEqual(parseActions("drop"), [{ type: "drop", reason: 0 }]);
  assert.deepEqual(parseActions("clone()"), [{ type: "clone", actions: [] }]);
});

Deno.test("parseActions and formatActions: port names, but not those of actions", () => {
  const reprint = (text: string): string =>
    formatActions(parseActions(text, { names: NAMES }), { names: NAMES });
  assert.equal(reprint("p1,br0,1"), "p1,br0,p1");
  assert.equal(reprint("1st"), "1st");
  assert.equal(reprint("2"), "2");
  assert.equal(reprint("7"), "7");
  assert.equal(reprint("clone(p1,1st),tnl_pop(p1)"), "clone(p1,1st),tnl_pop(p1)");
  assert.equal(
    reprint("userspace(pid=1,tunnel_out_port=p1)"),
    "userspace(pid=1,tunnel_out_port=p1)",
  );
  assert.deepEqual(parseActions("drop", { names: NAMES }), [{ type: "drop", reason: 0 }]);
});

Deno.test("formatActions: the number of a port that is another one's name is not decimal", () => {
  const actions: Action[] = [{ type: "output", port: 5 }, { type: "output", port: 6 }];
  const text = formatActions(actions, { names: NAMES });
  assert.equal(text, "0x5,5");
  assert.deepEqual(parseActions(text, { names: NAMES }), actions);
});

Deno.test("ACTION_TEXTS: sorted, and every example prints as it is", () => {
  const names = ACTION_TEXTS.map((each) => each.name);
  assert.deepEqual(names, names.toSorted());
  for (const { type, example } of ACTION_TEXTS) {
    const actions = parseActions(example);
    assert.equal(formatActions(actions), example);
    assert.equal(actions[0]?.type, type, example);
  }
});

Deno.test(`parseActions: ${LEVELS_MAX} levels of lists, not one more`, () => {
  const nest = (levels: number): string => "clone(".repeat(levels) + "1" + ")".repeat(levels);
  assert.equal(formatActions(parseActions(nest(LEVELS_MAX))), nest(LEVELS_MAX));
  assert.throws(() => parseActions(nest(LEVELS_MAX + 1)), (error: unknown) => {
    assert(error instanceof FlowSyntaxError);
    assert.equal(error.column, "clone".length + 6 * LEVELS_MAX + 1);
    return true;
  });
});

Deno.test("parseActions: a list of over 64 KiB of netlink is refused where it gets too long", () => {
  const most = Array.from({ length: 8191 }, () => "1").join(",");
  assert.equal(parseActions(most).length, 8191);
  assert.throws(() => parseActions(most + ",1"), (error: unknown) => {
    assert(error instanceof FlowSyntaxError);
    assert.equal(error.column, most.length + 2);
    assert.match(error.message, /65535 bytes/);
    return true;
  });
});

const SEED = 20261121;
const RUNS = 2000;

for (const type of ACTION_TYPES.any) {
  Deno.test(`property: ${type} survives its text`, () => {
    const random = seededRandom(SEED);
    for (let run = 0; run < RUNS; run++) {
      const actions = [randomAction(random, type)];
      const text = formatActions(actions);
      const about = `seed ${SEED} run ${run}: ${text}`;
      assert.deepEqual(parseActions(text), actions, about);
    }
  });
}

for (const attribute of ATTRIBUTES) {
  Deno.test(`property: set(${attribute.name}(…)) survives its text`, () => {
    const random = seededRandom(SEED);
    for (let run = 0; run < RUNS; run++) {
      const actions = [randomSetOf(random, attribute)];
      const text = formatActions(actions);
      assert.deepEqual(parseActions(text), actions, `seed ${SEED} run ${run}: ${text}`);
    }
  });
}

Deno.test("property: parseActions returns or throws FlowSyntaxError, whatever is cut or swapped", () => {
  const random = seededRandom(SEED);
  const pieces = [
    "(",
    ")",
    ",",
    "=",
    "-",
    "/",
    "0x",
    "drop",
    "1",
    "[",
    "{",
    "%",
    "\0",
    "é",
    "ct(nat(",
  ];
  for (let run = 0; run < cases(20_000); run++) {
    const type = ACTION_TYPES.any[random(ACTION_TYPES.any.length)]!;
    const text = formatActions([randomAction(random, type)]);
    const at = random(text.length + 1);
    const piece = pieces[random(pieces.length)]!;
    const broken = text.slice(0, at) + (random(2) === 0 ? piece : "") + text.slice(at + random(4));
    try {
      parseActions(broken);
    } catch (error) {
      assert(error instanceof FlowSyntaxError, `${JSON.stringify(broken)}: ${error}`);
      assert(error.column >= 1 && error.column <= broken.length + 1, broken);
    }
  }
});
