import assert from "node:assert/strict";
import type { Action } from "./actions.ts";
import { RuleError } from "./errors.ts";
import {
  ETH_TYPE_AT,
  IN_PORT_AT,
  IP_FRAG_AT,
  IP_PROTO_AT,
  IPV4_SRC_AT,
  IPV6_LABEL_AT,
  KEY_WORDS,
  TP_SRC_AT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "./key.ts";
import { parseActions } from "./text/action_text.ts";
import { parseFlow } from "./text/flow_text.ts";
import { checkActions, checkFlow } from "./validate.ts";

type Edit = readonly [at: number, size: 1 | 2 | 4, value: number, mask: number];

/** A flow from text with some bytes overwritten. */
function edited(text: string, edits: readonly Edit[]): { key: Int32Array; mask: Int32Array } {
  const { key, mask } = parseFlow(text);
  for (const [at, size, value, maskValue] of edits) {
    for (const [words, number] of [[key, value], [mask, maskValue]] as const) {
      const view = new DataView(words.buffer);
      if (size === 1) view.setUint8(at, number);
      else if (size === 2) view.setUint16(at, number);
      else view.setUint32(at, number);
    }
  }
  return { key, mask };
}

function refuses(check: () => void, message: RegExp, about: string): void {
  assert.throws(check, (error: unknown) => {
    assert(error instanceof RuleError, `${about}: ${error}`);
    assert.equal(error.code, "EINVAL");
    assert.match(error.message, message, about);
    return true;
  }, about);
}

const IP = "eth_type(0x0800),ipv4";

const WRONG_FLOWS: readonly (readonly [text: string, edits: readonly Edit[], message: RegExp])[] = [
  ["", [[IN_PORT_AT, 2, 1, 0xff]], /in_port can't be matched in part/],
  ["", [[IN_PORT_AT, 2, 65535, 0xffff]], /in_port must be 0 … 65534/],
  ["", [[ETH_TYPE_AT, 2, 0x0800, 0xff00]], /eth_type can't be matched in part/],
  ["", [[ETH_TYPE_AT, 2, 0x8100, 0xffff]], /needs vlan/],
  ["", [[ETH_TYPE_AT, 2, 0x0100, 0xffff]], /0x0600 … 0xffff/],
  ["", [[VLAN_TCI_AT, 2, 0, 0]], /vlan: either there is no tag/],
  ["", [[VLAN_TCI_AT, 2, 5, 0xffff]], /vlan: either there is no tag/],
  ["", [[VLAN_TCI_AT + 4, 2, 0x1005, 0xffff], [VLAN_TPID_AT + 4, 2, 0x8100, 0xffff]], /outer/],
  ["eth_type(0x8100),vlan(),encap()", [[VLAN_TPID_AT, 2, 0x8100, 0xff00]], /can't have a mask/],
  ["eth_type(0x8100),vlan(),encap()", [[VLAN_TPID_AT, 2, 0x9100, 0xffff]], /0x8100 or 0x88a8/],
  [`${IP}()`, [[IP_FRAG_AT, 1, 3, 0xff]], /frag must be matched whole/],
  [`${IP}()`, [[IP_FRAG_AT, 1, 1, 0x01]], /frag must be matched whole/],
  [`${IP}()`, [[TP_SRC_AT, 2, 80, 0xffff]], /tcp\/udp\/sctp\/icmp\/icmpv6 is matched, which needs/],
  [`${IP}(proto=1)`, [[TP_SRC_AT, 2, 0x100, 0x100]], /tcp.* is matched/],
  [
    "eth_type(0x1234)",
    [[IPV4_SRC_AT, 4, 1, 1]],
    /ipv4.* is matched, which needs eth_type\(0x0800\)/,
  ],
  ["eth_type(0x86dd),ipv6()", [[IPV6_LABEL_AT, 4, 0x100000, 0x100000]], /can't be matched/],
  [`${IP}(proto=6),tcp(src=1)`, [[IP_PROTO_AT, 1, 6, 0xfe]], /is matched, which needs/],
];

Deno.test("checkFlow: refuses what the kernel's match_validate refuses", () => {
  for (const [text, edits, message] of WRONG_FLOWS) {
    const { key, mask } = edited(text, edits);
    refuses(() => checkFlow(key, mask), message, text);
  }
});

Deno.test("checkFlow: an all-zero mask lacks the answer about tags", () => {
  refuses(() => checkFlow(new Int32Array(KEY_WORDS), new Int32Array(KEY_WORDS)), /vlan/, "zero");
});

const TCP = `${IP}(proto=6)`;
const UDP = `${IP}(proto=17)`;

/** As answered by Linux 6.1's openvswitch.ko, but for the marked ones, where we are stricter. */
const ACTIONS: readonly (readonly [flow: string, actions: string, refused?: RegExp])[] = [
  ["", "1,1,65534"],
  ["", "drop"],
  ["", ""],
  ["", "pop_vlan,pop_vlan,pop_vlan,1"],
  ["", "push_vlan(vid=5,pcp=0),push_vlan(vid=5,pcp=0),push_vlan(vid=5,pcp=0),1"],
  ["", "set(eth(src=01:02:03:04:05:06)),1"],
  ["", "set(eth()),1"],
  ["", "set(skb_priority(1)),set(skb_mark(1/3)),1"],
  ["", "set(ipv4(src=1.2.3.4)),1", /needs a flow that matches eth_type\(0x0800\)/],
  [`${IP}()`, "set(ipv4(src=1.2.3.4)),1"],
  [`${IP}()`, "push_vlan(vid=5,pcp=0),set(ipv4(src=1.2.3.4)),1"],
  ["eth_type(0x8100),vlan(),encap(eth_type(0x0800))", "set(ipv4(ttl=1)),pop_vlan,1"],
  ["eth_type(0x86dd),ipv6()", "set(ipv4(src=1.2.3.4)),1", /eth_type\(0x0800\)/],
  [UDP, "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=17,tos=0,ttl=64,frag=no)),1"],
  [UDP, "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=6,tos=0,ttl=64,frag=no)),1", /proto can't be set/],
  [
    `${IP}(proto=17,frag=first)`,
    "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=17,tos=0,ttl=64,frag=no))",
    /frag can't be set/,
  ],
  [`${IP}()`, "set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=6,tos=0,ttl=64,frag=no)),1", /proto/],
  [UDP, "set(udp(src=1)),1"],
  [UDP, "set(tcp(src=1)),1", /needs a flow that matches .*proto=6/],
  [`${IP}(proto=6/0)`, "set(tcp(src=1)),1", /needs a flow/],
  [`${IP}(proto=6/0xfe)`, "set(tcp(src=1)),1", /needs a flow/], // stricter
  [`${IP}(proto=6,frag=later)`, "set(tcp(src=1)),1", /not frag=later/], // stricter
  [`${IP}(proto=6,frag=first)`, "set(tcp(src=1)),1"],
  [TCP, "set(tcp(src=1)),set(ipv4(tos=0x3)),1"],
];

Deno.test("checkActions: as the kernel's __ovs_nla_copy_actions", () => {
  for (const [flow, text, refused] of ACTIONS) {
    const { key, mask } = parseFlow(flow);
    const check = (): void => checkActions(parseActions(text), key, mask);
    const about = `${flow} ${text}`;
    if (refused === undefined) assert.doesNotThrow(check, about);
    else refuses(check, refused, about);
  }
});

Deno.test("checkActions: lists that did not come from text", () => {
  const { key, mask } = parseFlow("");
  const lists: readonly (readonly [Action[], RegExp])[] = [
    [[{ type: "output", port: 65535 }], /0 … 65534/],
    [[{ type: "drop" }, { type: "output", port: 1 }], /drop must be the last/],
    [[{ type: "push_vlan", tpid: 0x9100, tci: 0x1005 }], /tpid/],
    [[{ type: "push_vlan", tpid: 0x8100, tci: 5 }], /cfi/],
    [[{
      type: "set",
      attribute: "skb_mark",
      value: new Int32Array(KEY_WORDS).fill(1),
      mask: new Int32Array(KEY_WORDS),
    }], /outside of its mask/],
  ];
  for (const [actions, message] of lists) {
    refuses(() => checkActions(actions, key, mask), message, JSON.stringify(actions));
  }
});
