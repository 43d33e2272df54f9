import assert from "node:assert/strict";
import fc from "fast-check";
import { FlowSyntaxError } from "../errors.ts";
import { ETH_P_802_2, ETH_TYPE_AT, IN_PORT_AT, KEY_WORDS, PORT_NONE, VLAN_TCI_AT } from "../key.ts";
import { type Random, randomFlowText } from "../testing/flows.ts";
import { checkFlow } from "../validate.ts";
import { formatFlow, parseFlow, type PortNames } from "./flow_text.ts";

const NAMES: PortNames = {
  byName: (name) => ["br0", "p1", "1st"].indexOf(name) + 1 || undefined,
  byNo: (no) => ["br0", "p1", "1st"][no - 1],
};

/** The text that a flow is printed as. */
function reprint(text: string, verbose = false): string {
  const { key, mask } = parseFlow(text);
  return formatFlow(key, mask, { verbose });
}

function masked(text: string): { key: number[]; mask: number[] } {
  const { key, mask } = parseFlow(text);
  return { key: [...key].map((word, index) => word & mask[index]!), mask: [...mask] };
}

const IP = "eth_type(0x0800),ipv4";
const IP6 = "eth_type(0x86dd),ipv6";

/** Text and what it prints as; undefined: the same. */
const FLOWS: readonly (readonly [text: string, printed?: string])[] = [
  ["", "eth()"],
  ["in_port(1)", "in_port(1),eth()"],
  ["eth()"],
  ["packet_type(ns=0,id=0),in_port(1)", "in_port(1),eth()"],
  [" in_port(1) ,\t eth(),,\r\n", "in_port(1),eth()"],
  ["in_port(0x10),skb_mark(010),eth()", "in_port(16),skb_mark(0x8),eth()"],
  ["in_port(1/0)", "eth()"],
  ["in_port(1/3)", "in_port(1),eth()"],
  ["recirc_id(0),eth()"],
  ["recirc_id(31)", "recirc_id(0x1f),eth()"],
  ["recirc_id(0/0),dp_hash(0/0),skb_priority(0/0),ct_state(0/0)", "eth()"],
  ["skb_priority(0/0xff),eth()"],
  ["skb_mark(0xffffffff),eth()"],
  ["eth(src=1:2:3:4:5:6)", "eth(src=01:02:03:04:05:06)"],
  ["eth(dst=01:00:00:00:00:00/01:00:00:00:00:00)"],
  ["eth(src=00:00:00:00:00:00/00:00:00:00:00:00)", "eth()"],
  [
    "eth(dst=01:02:03:04:05:06,src=0a:0b:0c:0d:0e:0f,)",
    "eth(src=0a:0b:0c:0d:0e:0f,dst=01:02:03:04:05:06)",
  ],
  ["eth(),eth_type(0x1234)"],
  ["eth_type(2048)", "eth(),eth_type(0x0800)"],
  ["eth_type(0x0800/0xff00)", "eth(),eth_type(0x0800)"],
  ["eth_type(0x0800/0),ipv4()", "eth()"],
  ["eth_type(0/0x0000)", "eth()"],
  ["eth_type(0)", "eth(),eth_type(0/0xffff)"],
  ["eth(),eth_type(0/0xffff)"],
  ["eth(),eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800))"],
  [
    "eth_type(0x8100),vlan(pcp=3,vid=5/0xff,cfi=1),encap()",
    "eth(),eth_type(0x8100),vlan(vid=5/0xff,pcp=3),encap()",
  ],
  ["eth(),eth_type(0x8100),vlan(),encap()"],
  [
    "eth_type(0x8100),vlan(vid=5),encap(eth_type(0x1234/0))",
    "eth(),eth_type(0x8100),vlan(vid=5),encap()",
  ],
  [
    `eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800)),ipv4(ttl=1)`,
    `eth(),eth_type(0x8100),vlan(vid=5),encap(${IP}(ttl=1))`,
  ],
  [`eth(),eth_type(0x88a8),vlan(vid=5),encap(eth_type(0x8100),vlan(vid=6,pcp=7),encap(${IP}(proto=17),udp(src=5)))`],
  [`eth(),${IP}(src=10.0.0.0/255.0.0.0,proto=6,tos=0x3/0x3,ttl=64,frag=no)`],
  [`eth(),${IP}(tos=0)`],
  [`${IP}(dst=192.168.7.9/24)`, `eth(),${IP}(dst=192.168.7.0/255.255.255.0)`],
  [`eth(),${IP}(frag=later)`],
  [`${IP}(proto=6)`, `eth(),${IP}(proto=6)`],
  [`eth(),${IP}(proto=6),tcp(src=80/0xfff0,dst=8080),tcp_flags(syn|ack)`],
  [`eth(),${IP}(proto=6),tcp_flags(+syn-ack)`],
  [`eth(),${IP}(proto=6),tcp_flags(0)`],
  [`${IP}(proto=6),tcp(),tcp_flags(0/0)`, `eth(),${IP}(proto=6)`],
  [`${IP}(proto=6),tcp_flags(0x12/0xfff)`, `eth(),${IP}(proto=6),tcp_flags(syn|ack)`],
  [`${IP}(proto=6),tcp_flags(syn|0x10)`, `eth(),${IP}(proto=6),tcp_flags(syn|ack)`],
  [`eth(),${IP}(proto=6),tcp_flags(ns|[200]|[800])`],
  [`eth(),${IP}(proto=1),icmp(type=8,code=0)`],
  [`eth(),${IP}(proto=1),icmp(type=8/0xf)`],
  [`eth(),${IP}(proto=132),sctp(src=1,dst=2)`],
  [`eth(),${IP6}(src=2001:db8::/ffff:ffff::,dst=::1,label=0x12345,proto=17,tclass=0x1c,hlimit=64,frag=first)`],
  [`${IP6}(src=2001:db8::1/32)`, `eth(),${IP6}(src=2001:db8::/ffff:ffff::)`],
  [`eth(),${IP6}(proto=58),icmpv6(type=135,code=0),nd(target=fe80::1,sll=01:02:03:04:05:06)`],
  [`${IP6}(proto=58),icmpv6(type=135)`, `eth(),${IP6}(proto=58),icmpv6(type=135)`],
  ["eth(),eth_type(0x0806),arp(sip=10.0.0.1,tip=10.0.0.2,op=1,sha=01:02:03:04:05:06,tha=00:00:00:00:00:00)"],
  ["eth_type(0x8035),arp(op=3/0xff)", "eth(),eth_type(0x8035),arp(op=3)"],
  ["eth_type(0x0806),arp(op=1/0xff00)", "eth(),eth_type(0x0806)"],
  ["ufid:01020304-0506-0708-090a-0b0c0d0e0f10,in_port(1)", "in_port(1),eth()"],
  ["ufid:01020304-0506-0708-090a-0b0c0d0e0f10 in_port(1)", "in_port(1),eth()"],
];

Deno.test("parseFlow: what it reads, formatFlow prints", () => {
  for (const [text, printed] of FLOWS) assert.equal(reprint(text), printed ?? text, text);
});

Deno.test("formatFlow: verbose shows wildcarded fields", () => {
  const metadata = "recirc_id(0/0),skb_priority(0/0),in_port(1),skb_mark(0/0)";
  const eth =
    "eth(src=00:00:00:00:00:00/00:00:00:00:00:00,dst=00:00:00:00:00:00/00:00:00:00:00:00)";
  assert.equal(reprint("in_port(1)", true), `${metadata},${eth}`);
  assert.equal(
    reprint("in_port(1),eth_type(0x8100),vlan(vid=1),encap(eth_type(0x0800),ipv4(proto=6))", true),
    `${metadata},${eth},eth_type(0x8100),vlan(vid=1,pcp=0/0x0),encap(eth_type(0x0800),` +
      "ipv4(src=0.0.0.0/0.0.0.0,dst=0.0.0.0/0.0.0.0,proto=6,tos=0/0,ttl=0/0),tcp(src=0/0,dst=0/0))",
  );
});

Deno.test("parseFlow: what is not written", () => {
  const { key, mask } = parseFlow("");
  const keyView = new DataView(key.buffer);
  const maskView = new DataView(mask.buffer);
  assert.equal(keyView.getUint16(IN_PORT_AT), PORT_NONE);
  assert.equal(keyView.getUint16(ETH_TYPE_AT), ETH_P_802_2);
  assert.equal(maskView.getUint16(VLAN_TCI_AT), 0xffff, "only untagged frames");
  maskView.setUint32(VLAN_TCI_AT, 0);
  maskView.setUint32(VLAN_TCI_AT + 4, 0);
  assert.deepEqual(mask, new Int32Array(KEY_WORDS));
});

Deno.test("parseFlow: keys keep the bits outside of the mask", () => {
  const { key } = parseFlow(`${IP}(src=10.1.2.3/255.0.0.0)`);
  assert.equal(new DataView(key.buffer).getUint32(48), 0x0a010203);
});

Deno.test("parseFlow: ufid", () => {
  const flow = parseFlow("ufid:01020304-0506-0708-090A-0b0c0d0e0f10");
  assert.equal(flow.ufid, "0102030405060708090a0b0c0d0e0f10");
  assert.equal(parseFlow("in_port(1)").ufid, undefined);
});

Deno.test("parseFlow and formatFlow: port names", () => {
  const names = (text: string): string => {
    const { key, mask } = parseFlow(text, { names: NAMES });
    return formatFlow(key, mask, { names: NAMES });
  };
  assert.equal(names("in_port(p1),eth()"), "in_port(p1),eth()");
  assert.equal(names("in_port(2),eth()"), "in_port(p1),eth()");
  assert.equal(names("in_port(1st),eth()"), "in_port(1st),eth()");
  assert.equal(names("in_port(9),eth()"), "in_port(9),eth()");
});

/** Text, column of the fault (1 = first), and part of the message. */
const FAULTS: readonly (readonly [text: string, column: number, message: RegExp])[] = [
  ["in_prt(1)", 1, /unknown field "in_prt": did you mean in_port/],
  ["eth(),ipv5()", 7, /did you mean ipv4 or ipv6/],
  ["%", 1, /expected a field/],
  ["in_port", 8, /expected "\(" after in_port, but the text ends/],
  ["in_port()", 9, /needs a value/],
  ["in_port(1", 8, /"\(" after in_port is never closed/],
  ["in_port(1,2)", 10, /expected "\)"/],
  ["in_port(p9)", 9, /must be a port number, not "p9"/],
  ["in_port(65535)", 9, /0 … 65534/],
  ["in_port(99999999999)", 9, /0 … 4294967295/],
  ["skb_mark(0x)", 12, /no digits/],
  ["skb_mark(09)", 11, /"9" is no octal digit/],
  ["skb_mark(-1)", 10, /must be a number/],
  ["skb_mark(0x100000000)", 10, /0 … 4294967295/],
  ["recirc_id(1/2)", 12, /takes no mask/],
  ["eth(src=00:11:22:33:44)", 9, /six hexadecimal bytes/],
  ["eth(src=00:11:22:33:44:55:66)", 9, /six hexadecimal bytes/],
  ["eth(src=00:11:22:33:44:zz)", 9, /six hexadecimal bytes/],
  ["eth(src=00:11:22:33:44:55/ff)", 27, /eth src mask must be a MAC/],
  ["eth(src=00:11:22:33:44:55", 4, /never closed/],
  ["eth(src=00:11:22:33:44:55;", 26, /can't follow the value of eth src/],
  ["eth(source=00:11:22:33:44:55)", 5, /unknown field of eth "source": (did you mean|allowed)/],
  ["eth(src=1:2:3:4:5:6,src=1:2:3:4:5:6)", 21, /eth src stands twice/],
  ["in_port(1),in_port(1)", 12, /in_port\(\) stands twice/],
  ["eth_type(0x0800),eth_type(0x0800)", 18, /stands twice/],
  ["eth_type(0x05ff)", 10, /0x0600 … 0xffff/],
  ["eth_type(0x10000)", 10, /0 … 65535/],
  ["ipv4(src=1.2.3.4)", 1, /ipv4\(\) needs eth_type\(0x0800\)/],
  ["eth_type(0x0800/0),ipv4(src=1.2.3.4)", 20, /without a mask/],
  [`${IP}(src=1.2.3)`, 27, /four numbers/],
  [`${IP}(src=1.2.3.256)`, 27, /four numbers/],
  [`${IP}(src=1.2.3.4/33)`, 35, /0 … 32/],
  [`${IP}(src=1.2.3.4/255.255)`, 35, /ipv4 src mask/],
  [`${IP}(proto=256)`, 29, /0 … 255/],
  [`${IP}(frag=maybe)`, 28, /no, first or later/],
  [`${IP}(frag=no/1)`, 30, /takes no mask/],
  [`${IP}(proto=17),tcp(src=1)`, 33, /tcp\(\) needs .*proto=6/],
  [`${IP}(),tcp(src=1)`, 25, /tcp\(\) needs/],
  ["tcp()", 1, /tcp\(\) needs/],
  [`${IP}(proto=6/0xfe),tcp(src=1)`, 37, /without a mask/],
  [`${IP}(proto=6,frag=later),tcp(src=1)`, 43, /not frag=later/],
  [`${IP}(proto=6),tcp_flags(foo)`, 42, /names are fin, syn/],
  [`${IP}(proto=6),tcp_flags(+syn+syn)`, 46, /only once/],
  [`${IP}(proto=6),tcp_flags(0x1000)`, 42, /0 … 4095/],
  [`${IP}(proto=6),tcp_flags()`, 42, /needs a value/],
  [`${IP}(proto=58),icmpv6(type=1)`, 33, /icmpv6\(\) needs eth_type\(0x86dd\)/],
  [`${IP6}(src=fe80:::1)`, 27, /IPv6 address/],
  [`${IP6}(src=fe80::1::2)`, 27, /IPv6 address/],
  [`${IP6}(src=1:2:3:4:5:6:7:8:9)`, 27, /IPv6 address/],
  [`${IP6}(label=0x100000)`, 29, /0 … 1048575/],
  [`${IP6}(proto=58),icmpv6(type=128),nd(target=::1)`, 50, /nd\(\) needs/],
  [`${IP6}(proto=58),icmpv6(type=135/0xfe),nd(target=::1)`, 55, /nd\(\) needs/],
  ["eth_type(0x0806),arp(op=256)", 25, /0 … 255/],
  ["eth_type(0x8100)", 1, /needs vlan/],
  ["eth_type(0x8100),vlan(vid=1)", 1, /needs encap/],
  ["eth_type(0x8100),encap()", 1, /needs vlan/],
  ["eth_type(0x8100/0xff00),vlan(),encap()", 1, /can't have a mask/],
  ["vlan(vid=1)", 1, /vlan\(\) needs eth_type\(0x8100\)/],
  ["encap(eth_type(0x0800))", 1, /encap\(\) needs/],
  ["eth_type(0x8100),vlan(vid=1,cfi=0),encap()", 18, /cfi=0/],
  ["eth_type(0x8100),vlan(cfi=1/0),encap()", 18, /cfi=0/],
  ["eth_type(0x8100),vlan(vid=4096),encap()", 27, /0 … 4095/],
  ["eth_type(0x8100),vlan(pcp=8),encap()", 27, /0 … 7/],
  ["eth_type(0x8100),vlan(),encap(eth_type(0x0800)", 30, /never closed/],
  [
    "eth_type(0x8100),vlan(),encap(eth_type(0x8100),vlan(),encap(eth_type(0x8100),vlan(),encap()))",
    78,
    /at most 2 VLAN tags/,
  ],
  ["encap(".repeat(40), 13, /at most 2 VLAN tags/],
  ["ct_state(+trk)", 1, /this version can't match on ct_state yet/],
  ["tunnel(tun_id=1)", 1, /tunnel yet/],
  ["packet_type(ns=1,id=0x800)", 1, /packet_type yet/],
  ["ufid:0102", 6, /8-4-4-4-12/],
  [
    "ufid:01020304-0506-0708-090a-0b0c0d0e0f10,ufid:01020304-0506-0708-090a-0b0c0d0e0f10",
    43,
    /once/,
  ],
];

Deno.test("parseFlow: faults are named with their column", () => {
  for (const [text, column, message] of FAULTS) {
    assert.throws(() => parseFlow(text), (error: unknown) => {
      assert(error instanceof FlowSyntaxError, `${text}: ${error}`);
      assert.equal(error.column, column, `${text}: ${error.message}`);
      assert.match(error.message, message, text);
      return true;
    }, text);
  }
});

Deno.test("property: formatFlow's text is read back as the same masked key and mask", () => {
  fc.assert(
    fc.property(fc.gen(), (g) => {
      const random: Random = (bound) => g(fc.nat, bound - 1);
      const text = randomFlowText(random);
      const { key, mask } = parseFlow(text);
      checkFlow(key, mask);
      for (const verbose of [false, true]) {
        const printed = formatFlow(key, mask, { verbose });
        assert.deepEqual(masked(printed), masked(text), `${text}\n${printed}`);
        assert.equal(reprint(printed, verbose), printed);
      }
    }),
    { numRuns: 1000 },
  );
});

Deno.test("property: parseFlow returns or throws FlowSyntaxError with a column in the text", () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "eth(",
      "ipv4(",
      "encap(",
      ")",
      ",",
      "src=",
      "0x",
      "/",
      "eth_type(0x0800)",
      "1",
    ),
    fc.gen().map((g) => randomFlowText((bound) => g(fc.nat, bound - 1)).slice(0, 200)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const text = pieces.join("");
      try {
        const { key, mask } = parseFlow(text);
        checkFlow(key, mask);
      } catch (error) {
        assert(error instanceof FlowSyntaxError, String(error));
        assert(error.column >= 1 && error.column <= text.length + 1);
        assert(error.caret().includes("^"));
      }
    }),
    { numRuns: 2000 },
  );
});
