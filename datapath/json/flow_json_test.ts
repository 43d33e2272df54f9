import assert from "node:assert/strict";
import { ATTRIBUTES } from "../fields/fields.ts";
import { randomFlowText, randomFlowWith, seededRandom } from "../testing/flows.ts";
import { formatFlow, parseFlow } from "../text/flow_text.ts";
import type { Json } from "./field_json.ts";
import { flowFromJson, flowToJson } from "./flow_json.ts";
import { FlowJsonError } from "./json_error.ts";
import { cases } from "../testing/cases.ts";

const IP = "eth_type(0x0800)";

const CASES: readonly (readonly [text: string, json: Json])[] = [
  ["", {}],
  ["in_port(1)", { in_port: 1 }],
  [
    `in_port(1),eth(src=aa:bb:cc:dd:ee:ff),${IP},ipv4(src=10.0.0.0/255.0.0.0,proto=6,frag=no)`,
    {
      in_port: 1,
      eth: { src: "aa:bb:cc:dd:ee:ff" },
      eth_type: 2048,
      ipv4: { src: { value: "10.0.0.0", mask: "255.0.0.0" }, proto: 6, frag: "no" },
    },
  ],
  [
    `${IP},ipv4(proto=6),tcp(dst=0x10/0xf0),tcp_flags(+syn-ack)`,
    {
      eth_type: 2048,
      ipv4: { proto: 6 },
      tcp: { dst: { value: 16, mask: 240 } },
      tcp_flags: "+syn-ack",
    },
  ],
  [
    "eth_type(0x88a8),vlan(vid=5/0xff,pcp=3),encap(eth_type(0x8100),vlan(),encap(eth_type(0x0800)))",
    {
      vlan: [{ tpid: 0x88a8, vid: { value: 5, mask: 255 }, pcp: 3 }, { tpid: 0x8100 }],
      eth_type: 2048,
    },
  ],
  ["eth_type(0/0xffff)", { eth_type: 0 }],
  ["packet_type(ns=1,id=0x800)", { packet_type: { ns: 1, id: 2048 }, eth_type: 2048 }],
  ["packet_type(ns=1)", { packet_type: { ns: 1 } }],
  [
    "eth_type(0x8847),mpls(label=5,tc=1/1,label=6,bos=1)",
    {
      eth_type: 0x8847,
      mpls: [{ label: 5, tc: { value: 1, mask: 1 } }, { label: 6, bos: 1 }],
    },
  ],
  [
    "tunnel(tun_id=0x1234567890/0xffffffffff,dst=1.2.3.4,geneve({class=1,type=2/3,len=4,0xa/0xff}{len=0}),flags(df|key))",
    {
      tunnel: {
        tun_id: { value: "0x1234567890", mask: "0xffffffffff" },
        dst: "1.2.3.4",
        geneve: [
          { class: 1, type: { value: 2, mask: 3 }, data: "0x0000000a", mask: "0x000000ff" },
          { data: "0x" },
        ],
        flags: "df|key",
      },
    },
  ],
  ["tunnel()", { tunnel: {} }],
  ["tunnel(vxlan(gbp(id=10,flags=0xb)))", { tunnel: { vxlan: { gbp: { id: 10, flags: 11 } } } }],
  ["tunnel(erspan(ver=2,dir=1,hwid=7))", { tunnel: { erspan: { ver: 2, dir: 1, hwid: 7 } } }],
  ["tunnel(gtpu(msgtype=255))", { tunnel: { gtpu: { msgtype: 255 } } }],
  [
    "ct_state(+trk-new),ct_label(0x10/0xff)",
    { ct_state: "-new+trk", ct_label: { value: "0x10", mask: "0xff" } },
  ],
  [
    "ct_tuple6(src=::1,tp_src=5),eth_type(0x86dd)",
    { ct_tuple6: { src: "::1", tp_src: 5 }, eth_type: 0x86dd },
  ],
];

Deno.test("flowToJson, flowFromJson: both ways", () => {
  for (const [text, json] of CASES) {
    const { key, mask } = parseFlow(text);
    assert.deepEqual(flowToJson(key, mask), json, text);
    const back = flowFromJson(JSON.parse(JSON.stringify(json)));
    assert.equal(formatFlow(back.key, back.mask), formatFlow(key, mask), text);
  }
});

Deno.test("flowToJson, flowFromJson: port names and unknown attributes", () => {
  const names = {
    byName: (name: string) => name === "p1" ? 1 : undefined,
    byNo: (no: number) => no === 1 ? "p1" : undefined,
  };
  const { key, mask } = parseFlow("in_port(1)");
  assert.deepEqual(flowToJson(key, mask, { names }), { in_port: "p1" });
  assert.deepEqual(flowFromJson({ in_port: "p1" }, { names }).key, key);
  const unknown = [{ number: 40, key: "0102", mask: "ff00" }, {
    number: 41,
    key: "01",
    mask: undefined,
  }];
  const json = flowToJson(key, mask, { unknown });
  assert.deepEqual(json, {
    in_port: 1,
    key40: { value: "0102", mask: "ff00" },
    key41: { value: "01" },
  });
  assert.deepEqual(flowFromJson(json, { keepUnknown: true }).unknown, unknown);
});

const FAULTS: readonly (readonly [json: unknown, path: string, message: RegExp])[] = [
  [5, "", /must be an object: current value is 5/],
  [[], "", /must be an object/],
  [{ in_prt: 1 }, "in_prt", /did you mean in_port/],
  [{ in_port: -1 }, "in_port", /whole number/],
  [{ in_port: 1.5 }, "in_port", /whole number/],
  [{ in_port: 70000 }, "in_port", /0 … 65534/],
  [{ in_port: "p1" }, "in_port", /must be a port number/],
  [{ in_port: "1),eth(" }, "in_port", /a port's number or name/],
  [{ in_port: null }, "in_port", /a port's number or name: current value is null/],
  [{ eth: { src: 5 } }, "eth.src", /MAC address/],
  [{ eth: { source: "1:2:3:4:5:6" } }, "eth.source", /allowed are src, dst/],
  [{ eth: [] }, "eth", /must be an object/],
  [{ eth_type: 2048, ipv4: { src: "1.2.3" } }, "ipv4.src", /IPv4 address/],
  [{ eth_type: 2048, ipv4: { src: { value: "1.2.3.4", mask: "x" } } }, "ipv4.src.mask", /IPv4/],
  [{ eth_type: 2048, ipv4: { src: { mask: "1.2.3.4" } } }, "ipv4.src", /needs a value/],
  [{ eth_type: 2048, ipv4: { src: { value: "1.2.3.4", msk: 1 } } }, "ipv4.src.msk", /allowed/],
  [{ eth_type: 2048, ipv4: { proto: 256 } }, "ipv4.proto", /0 … 255/],
  [{ eth_type: 2048, ipv4: { frag: "maybe" } }, "ipv4.frag", /no, first, later/],
  [{ eth_type: 2048, ipv4: { frag: { value: "no", mask: 1 } } }, "ipv4.frag.mask", /takes no mask/],
  [{ ipv4: { proto: 6 } }, "ipv4", /needs eth_type\(0x0800\)/],
  [{ eth_type: 2048, ipv4: {}, tcp: { src: 1 } }, "tcp", /needs .*proto=6/],
  [{ eth_type: 2048, ipv4: { proto: 6 }, tcp_flags: "syn,ack" }, "tcp_flags", /flags as text/],
  [{ eth_type: 2048, ipv4: { proto: 6 }, tcp_flags: "+foo" }, "tcp_flags", /names are fin/],
  [{ recirc_id: { value: 1, mask: 2 } }, "recirc_id.mask", /takes no mask/],
  [{ vlan: {} }, "vlan", /must be an array/],
  [{ vlan: [{ vid: 4096 }] }, "vlan[0].vid", /0 … 4095/],
  [{ vlan: [{ tpid: 0x800 }] }, "vlan[0]", /needs eth_type\(0x8100\)/],
  [{ vlan: [{ cfi: 1 }] }, "vlan[0].cfi", /allowed are vid, pcp/],
  [{ vlan: [{}, {}, {}] }, "vlan[2]", /at most 2 VLAN tags/],
  [{ eth_type: 0x8847, mpls: [{}, {}, {}, {}] }, "mpls[3].label", /at most 3 labels/],
  [{ eth_type: 0x8847, mpls: [{ lable: 1 }] }, "mpls[0].lable", /allowed are label/],
  [{ packet_type: { ns: 2 } }, "packet_type", /0 \(Ethernet\) or 1/],
  [{ packet_type: { ns: 1, id: "x" } }, "packet_type.id", /whole number/],
  [{ packet_type: { ns: 1 }, eth: {} }, "eth", /can't stand beside/],
  [{ ct_label: "0x1ffffffffffffffffffffffffffffffff" }, "ct_label", /128 bits/],
  [{ tunnel: { tun_id: "12x" } }, "tunnel.tun_id", /a number, or text of one/],
  [{ tunnel: { flags: "dg" } }, "tunnel.flags", /names are oam/],
  [{ tunnel: { src: "1.1.1.1", ipv6_dst: "::1" } }, "tunnel", /not both/],
  [{ tunnel: { geneve: {} } }, "tunnel.geneve", /must be an array/],
  [{ tunnel: { geneve: [{ data: "0x12" }] } }, "tunnel.geneve[0].data", /8 hexadecimal digits/],
  [
    { tunnel: { geneve: [{ data: "0x12345678", mask: "0x" }] } },
    "tunnel.geneve[0].mask",
    /as long as data/,
  ],
  [{ tunnel: { geneve: [{ clas: 1 }] } }, "tunnel.geneve[0].clas", /allowed are class, type/],
  [{ tunnel: { vxlan: { id: 1 } } }, "tunnel.vxlan.id", /allowed is gbp/],
  [{ tunnel: { vxlan: {} } }, "tunnel.vxlan.gbp", /must be an object/],
  [{ tunnel: { geneve: [], vxlan: { gbp: {} } } }, "tunnel.geneve", /only one of/],
  [{ key40: { value: "01" } }, "key40", /no attribute with the number 40/],
  [{ key40: { value: "0" } }, "key40.value", /two hexadecimal digits/],
];

Deno.test("flowFromJson: faults are named with their path", () => {
  for (const [json, path, message] of FAULTS) {
    const about = JSON.stringify(json);
    assert.throws(() => flowFromJson(json), (error: unknown) => {
      assert(error instanceof FlowJsonError, `${about}: ${error}`);
      assert.equal(error.path, path, `${about}: ${error.message}`);
      assert.match(error.message, message, about);
      return true;
    }, about);
  }
});

function checkRound(text: string): void {
  const { key, mask } = parseFlow(text);
  const json = JSON.stringify(flowToJson(key, mask));
  const back = flowFromJson(JSON.parse(json));
  const about = `${text}\n${json}`;
  assert(back.mask.every((word, index) => word === mask[index]), about);
  assert(back.key.every((word, index) => ((word ^ key[index]!) & mask[index]!) === 0), about);
}

const FLOWS_PER_ATTRIBUTE = 2000;

for (const attribute of ATTRIBUTES) {
  Deno.test(`property: flows of ${attribute.name} come back from JSON`, () => {
    const random = seededRandom(attribute.number + 1000);
    for (let count = 0; count < FLOWS_PER_ATTRIBUTE; count++) {
      checkRound(randomFlowWith(random, attribute, count % 2 === 1));
    }
  });
}

Deno.test("property: flows of everything come back from JSON", () => {
  const random = seededRandom(7);
  for (let count = 0; count < cases(2000); count++) {
    checkRound(randomFlowText(random, { everything: true }));
  }
});
