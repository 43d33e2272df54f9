import assert from "node:assert/strict";
import { RuleError } from "../errors.ts";
import {
  CT_STATE_AT,
  ETH_TYPE_AT,
  IN_PORT_AT,
  IP_FRAG_AT,
  IP_PROTO_AT,
  IPV4_SRC_AT,
  IPV6_EXTHDRS_AT,
  IPV6_LABEL_AT,
  KEY_WORDS,
  MPLS_AT,
  NSH_CONTEXT_AT,
  TCP_FLAGS_AT,
  TP_SRC_AT,
  TUN_FAMILY_AT,
  TUN_ID_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_KIND_AT,
  TUN_OPTIONS_SIZE_AT,
  VLAN_TCI_AT,
  VLAN_TPID_AT,
} from "../key.ts";
import { parseFlow } from "../text/flow_text.ts";
import { checkFlow } from "./validate.ts";

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
  ["", [[TCP_FLAGS_AT, 2, 0, 0]], /must match whether packets have an Ethernet header/],
  ["eth(src=1:2:3:4:5:6)", [[TCP_FLAGS_AT, 2, 0x8000, 0x8000]], /eth can't be matched of/],
  [
    "eth_type(0x8100),vlan(),encap()",
    [[TCP_FLAGS_AT, 2, 0x8000, 0x8000]],
    /vlan can't be matched of/,
  ],
  ["", [[CT_STATE_AT, 4, 0x100, 0x100]], /can't be matched/],
  ["", [[MPLS_AT, 4, 1, 1]], /mpls is matched, which needs/],
  ["", [[NSH_CONTEXT_AT, 4, 1, 1]], /nsh is matched, which needs/],
  ["eth_type(0x894f),nsh(mdtype=2,c1=1)", [], /only mdtype=1 has c1/],
  [
    "ct_tuple6(proto=6),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135)",
    [],
    /ct_tuple6 can't be matched of packets of neighbour discovery/,
  ],
  ["", [[IPV6_EXTHDRS_AT, 2, 1, 1]], /ipv6_exthdrs is matched, which needs/],
  ["eth_type(0x86dd)", [[IPV6_EXTHDRS_AT, 2, 0x200, 0x200]], /is matched|can't be matched/],
  ["", [[TUN_ID_AT, 4, 1, 1]], /without its address family/],
  ["tunnel()", [[TUN_FAMILY_AT, 1, 5, 0xff]], /as 4 or 6/],
  ["tunnel()", [[TUN_FAMILY_AT, 1, 0, 0xff]], /as 4 or 6/],
  ["tunnel()", [[TUN_FAMILY_AT, 1, 4, 0x0f]], /matched whole/],
  ["tunnel(dst=1.2.3.4)", [[TUN_FAMILY_AT, 1, 6, 0xff]], /both IPv4 and IPv6/],
  ["tunnel(ipv6_src=::1)", [[TUN_FAMILY_AT, 1, 4, 0xff]], /both IPv4 and IPv6/],
  ["tunnel(dst=0.0.0.0)", [], /destination address can't be zero/],
  ["tunnel(ipv6_dst=::)", [], /destination address can't be zero/],
  ["tunnel(geneve())", [[TUN_OPTIONS_KIND_AT, 1, 1, 0x0f]], /both or neither/],
  ["tunnel(geneve())", [[TUN_OPTIONS_SIZE_AT, 2, 0, 0]], /both or neither/],
  ["tunnel(geneve())", [[TUN_OPTIONS_AT, 4, 1, 1]], /beyond their size/],
  ["tunnel(geneve())", [[TUN_OPTIONS_SIZE_AT, 2, 6, 0xffff]], /whole options/],
  ["tunnel(geneve({len=4}))", [[TUN_OPTIONS_SIZE_AT, 2, 4, 0xffff]], /whole options/],
  ["tunnel(geneve())", [[TUN_OPTIONS_SIZE_AT, 2, 256, 0xffff]], /at most 252 bytes/],
  ["tunnel(geneve())", [[TUN_OPTIONS_KIND_AT, 1, 9, 0xff]], /can't be of kind 9/],
  ["tunnel(vxlan(gbp()))", [[TUN_OPTIONS_SIZE_AT, 2, 8, 0xffff]], /must have 4 bytes, not 8/],
  ["tunnel(geneve({len=0}))", [[TUN_OPTIONS_KIND_AT, 1, 0, 0xff]], /without options/],
];

Deno.test("checkFlow: takes flows of every attribute", () => {
  for (
    const text of [
      "packet_type(ns=1,id=0x800),ipv4(ttl=1)",
      "tunnel(dst=1.2.3.4/0.0.0.0)",
      "eth_type(0x894f),nsh(c1=1)",
      "ct_tuple6(proto=6),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=128)",
      "eth_type(0x8847),mpls(label=1,label=2,label=3)",
      "ct_tuple4(proto=6),eth_type(0x0800),ipv4(frag=later)",
    ]
  ) {
    const { key, mask } = parseFlow(text);
    checkFlow(key, mask);
  }
});

Deno.test("checkFlow: refuses what the kernel's match_validate refuses", () => {
  for (const [text, edits, message] of WRONG_FLOWS) {
    const check = (): void => {
      const { key, mask } = edited(text, edits);
      checkFlow(key, mask);
    };
    refuses(check, message, text);
  }
});

Deno.test("checkFlow: an all-zero mask lacks the answer about tags", () => {
  refuses(() => checkFlow(new Int32Array(KEY_WORDS), new Int32Array(KEY_WORDS)), /vlan/, "zero");
});
