import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeActions, encodeActions } from "../action_program.ts";
import { FlowSyntaxError } from "../errors.ts";
import { type Random, randomActionText, randomFlowText } from "../testing/flows.ts";
import { checkActions } from "../validate.ts";
import { formatActions, parseActions } from "./action_text.ts";
import { parseFlow, type PortNames } from "./flow_text.ts";

const NAMES: PortNames = {
  byName: (name) => new Map([["br0", 0], ["p1", 1], ["drop", 2], ["1st", 3]]).get(name),
  byNo: (no) => ["br0", "p1", "drop", "1st"][no],
};

/** Text and what it prints as; undefined: the same. */
const LISTS: readonly (readonly [text: string, printed?: string])[] = [
  ["", "drop"],
  ["drop"],
  ["DROP", "drop"],
  ["1"],
  ["0x10, 010\t3", "16,8,3"],
  ["1,,2", "1,2"],
  ["1,drop"],
  ["pop_vlan"],
  ["push_vlan(vid=12,pcp=0)"],
  ["push_vlan(vid=12,pcp=3,cfi=1)", "push_vlan(vid=12,pcp=3)"],
  ["push_vlan(tpid=0x8100,vid=12,pcp=3)", "push_vlan(vid=12,pcp=3)"],
  ["push_vlan(tpid=0x88a8,vid=4095,pcp=7)"],
  ["push_vlan(vid=5)", "push_vlan(vid=5,pcp=0)"],
  ["set(eth(src=01:02:03:04:05:06)),1"],
  ["set(eth())"],
  ["set(eth(dst=01:00:00:00:00:00/ff:00:00:00:00:00))"],
  ["set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=6,tos=0,ttl=64,frag=no))"],
  ["set(ipv4(tos=0x1/0x3,ttl=9))"],
  ["set(ipv6(src=::1,label=0x1,tclass=0x3,hlimit=4))"],
  ["set(tcp(src=1,dst=2)),set(udp(dst=53)),set(sctp(src=0/0xff))"],
  ["set(skb_priority(1)),set(skb_mark(1/3))", "set(skb_priority(0x1)),set(skb_mark(0x1/0x3))"],
];

Deno.test("parseActions: what it reads, formatActions prints", () => {
  for (const [text, printed] of LISTS) {
    assert.equal(formatActions(parseActions(text)), printed ?? text, text);
  }
});

Deno.test("parseActions: the empty list and drop are different", () => {
  assert.deepEqual(parseActions(""), []);
  assert.deepEqual(parseActions("drop"), [{ type: "drop" }]);
});

Deno.test("parseActions and formatActions: port names, but not those of actions", () => {
  const reprint = (text: string): string =>
    formatActions(parseActions(text, { names: NAMES }), { names: NAMES });
  assert.equal(reprint("p1,br0,1"), "p1,br0,p1");
  assert.equal(reprint("1st"), "1st");
  assert.equal(reprint("2"), "2");
  assert.deepEqual(parseActions("drop", { names: NAMES }), [{ type: "drop" }]);
});

/** Text, column of the fault (1 = first), and part of the message. */
const FAULTS: readonly (readonly [text: string, column: number, message: RegExp])[] = [
  ["foo", 1, /unknown action "foo": allowed are PORT, drop, pop_vlan, push_vlan, set/],
  ["1,pop_vlam", 3, /did you mean pop_vlan/],
  ["65535", 1, /0 … 65534/],
  ["1x", 2, /"x" is no decimal digit/],
  ["1;2", 2, /can't follow/],
  ["drop,1", 6, /nothing can follow drop/],
  ["pop_vlan()", 9, /can't follow pop_vlan/],
  ["push_vlan", 10, /expected "\("/],
  ["push_vlan(vid=1", 10, /never closed/],
  ["push_vlan()", 10, /needs vid=/],
  ["push_vlan(vid=4096)", 15, /0 … 4095/],
  ["push_vlan(vid=1,pcp=8)", 21, /0 … 7/],
  ["push_vlan(vid=1,vid=2)", 17, /twice/],
  ["push_vlan(tpid=0x9100,vid=1)", 16, /0x8100 or 0x88a8/],
  ["push_vlan(vid=1,cfi=0)", 21, /cfi must be 1/],
  ["push_vlan(vlan=1)", 11, /unknown field of push_vlan "vlan"/],
  ["set()", 5, /unknown field to set/],
  ["set(eth(src=1:2:3:4:5:6)", 4, /never closed/],
  ["set(eth(src=1:2:3:4:5:6),1", 25, /expected "\)"/],
  ["set(eth(src=1:2:3:4:5:6/ff:00:00:00:00:00))", 5, /bits outside of its mask/],
  ["set(ipv4(proto=6))", 5, /ipv4 proto can't be set/],
  ["set(ipv4(frag=no))", 5, /ipv4 frag can't be set/],
  ["set(in_port(1))", 5, /in_port can't be set; what can is skb_priority/],
  ["set(arp(op=1))", 5, /arp can't be set/],
  ["set(encap())", 5, /encap can't be set/],
  ["set(tunnel(tun_id=1))", 5, /can't set tunnel yet/],
  ["recirc(1)", 1, /doesn't have the action recirc yet/],
  ["clone(1)", 1, /doesn't have the action clone yet/],
];

Deno.test("parseActions: faults are named with their column", () => {
  for (const [text, column, message] of FAULTS) {
    assert.throws(() => parseActions(text), (error: unknown) => {
      assert(error instanceof FlowSyntaxError, `${text}: ${error}`);
      assert.equal(error.column, column, `${text}: ${error.message}`);
      assert.match(error.message, message, text);
      return true;
    }, text);
  }
});

Deno.test("property: actions survive text and program", () => {
  fc.assert(
    fc.property(fc.gen(), (g) => {
      const random: Random = (bound) => g(fc.nat, bound - 1);
      const flow = randomFlowText(random, { forUserspaceOvs: true });
      const text = randomActionText(random, flow);
      const actions = parseActions(text);
      const { key, mask } = parseFlow(flow);
      checkActions(actions, key, mask);
      assert.deepEqual(parseActions(formatActions(actions)), actions, text);
      assert.deepEqual(decodeActions(encodeActions(actions)), actions, text);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("property: parseActions returns or throws FlowSyntaxError", () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom("set(", "eth(", ")", ",", "src=", "push_vlan(", "vid=", "1", "/", "drop"),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      try {
        parseActions(pieces.join(""));
      } catch (error) {
        assert(error instanceof FlowSyntaxError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
