/** Keys and masks checked by hand against the structs of linux/openvswitch.h. */
import assert from "node:assert/strict";
import { FIELDS } from "../fields/field_table.ts";
import type { Dialect } from "../fields/field_types.ts";
import { tlv } from "../testing/tlv.ts";
import { parseFlow } from "../text/flow_text.ts";
import { toHex } from "./attributes.ts";
import { decodeKey, encodeKey } from "./key_codec.ts";

const ETH_KEY = tlv(4, "020000000001 020000000002");
const ETH_ZERO = tlv(4, "00".repeat(12));

interface Vector {
  readonly flow: string;
  /** Attributes, by the layouts of linux/openvswitch.h. */
  readonly key: readonly string[];
  readonly mask: readonly string[];
  /** Default: both. */
  readonly dialect?: Dialect;
}

const IPV4_TCP = tlv(7, "0a000001 0a000002 06 00 40 00");
const USERSPACE_HEAD = {
  recirc: tlv(20, "00000000"),
  type: tlv(29, "00000000"),
  typeMask: tlv(29, "ffffffff"),
};

const VECTORS: readonly Vector[] = [
  {
    flow: "recirc_id(0x1),dp_hash(0x2/0xff),skb_priority(0x3),in_port(4),skb_mark(0x5),eth()",
    dialect: "kernel",
    key: [
      tlv(20, "01000000"),
      tlv(19, "02000000"),
      tlv(2, "03000000"),
      tlv(3, "04000000"),
      tlv(15, "05000000"),
      ETH_ZERO,
    ],
    mask: [
      tlv(20, "ffffffff"),
      tlv(19, "ff000000"),
      tlv(2, "ffffffff"),
      tlv(3, "ffffffff"),
      tlv(15, "ffffffff"),
      ETH_ZERO,
    ],
  },
  {
    flow: "ct_state(+new-est),ct_zone(0x1234),ct_mark(0x1/0xf),ct_label(0x1),eth()",
    dialect: "kernel",
    key: [
      tlv(22, "01000000"),
      tlv(23, "3412"),
      tlv(24, "01000000"),
      tlv(25, "01", "00".repeat(15)),
      ETH_ZERO,
    ],
    mask: [
      tlv(22, "03000000"),
      tlv(23, "ffff"),
      tlv(24, "0f000000"),
      tlv(25, "ff".repeat(16)),
      ETH_ZERO,
    ],
  },
  {
    flow: "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
      "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0/0x3,ttl=64,frag=no)," +
      "tcp(src=80/0xff00,dst=8080),tcp_flags(+syn-ack)",
    dialect: "kernel",
    key: [ETH_KEY, tlv(6, "0800"), IPV4_TCP, tlv(9, "0050 1f90"), tlv(18, "0002")],
    mask: [
      tlv(4, "ff".repeat(12)),
      tlv(6, "ffff"),
      tlv(7, "ffffffff ffffffff ff 03 ff ff"),
      tlv(9, "ff00 ffff"),
      tlv(18, "0012"),
    ],
  },
  {
    flow: "eth(),eth_type(0x86dd),ipv6(src=fe80::1,label=0x12345,proto=58,hlimit=255)," +
      "icmpv6(type=135,code=0),nd(target=fe80::2,sll=02:00:00:00:00:01)",
    dialect: "kernel",
    key: [
      ETH_ZERO,
      tlv(6, "86dd"),
      tlv(8, "fe80000000000000 0000000000000001", "00".repeat(16), "00012345 3a 00 ff 00"),
      tlv(12, "87 00"),
      tlv(14, "fe80000000000000 0000000000000002 020000000001 000000000000"),
    ],
    mask: [
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(8, "ff".repeat(16), "00".repeat(16), "000fffff ff 00 ff 00"),
      tlv(12, "ff ff"),
      tlv(14, "ff".repeat(22), "00".repeat(6)),
    ],
  },
  {
    flow: "eth(),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=136,code=0)," +
      "nd_ext(nd_reserved=0x40000000,nd_options_type=2)",
    dialect: "userspace",
    key: [
      USERSPACE_HEAD.recirc,
      USERSPACE_HEAD.type,
      ETH_ZERO,
      tlv(6, "86dd"),
      tlv(8, "00".repeat(36), "3a 00 00 00"),
      tlv(12, "88 00"),
      tlv(14, "00".repeat(28)),
      tlv(30, "40000000 02 000000"),
    ],
    mask: [
      USERSPACE_HEAD.recirc,
      USERSPACE_HEAD.typeMask,
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(8, "00".repeat(36), "ff 00 00 00"),
      tlv(12, "ff ff"),
      tlv(14, "00".repeat(28)),
      tlv(30, "ffffffff ff 000000"),
    ],
  },
  {
    flow: "eth(),eth_type(0x86dd),ipv6(),ipv6_exthdrs(+auth-hop)",
    dialect: "kernel",
    key: [ETH_ZERO, tlv(6, "86dd"), tlv(8, "00".repeat(40)), tlv(32, "0400")],
    mask: [ETH_ZERO, tlv(6, "ffff"), tlv(8, "00".repeat(40)), tlv(32, "4400")],
  },
  {
    flow: "eth(),eth_type(0x0806),arp(sip=10.0.0.1,op=2,sha=02:00:00:00:00:01)",
    dialect: "kernel",
    key: [
      ETH_ZERO,
      tlv(6, "0806"),
      tlv(13, "0a000001 00000000 0002 020000000001 000000000000 0000"),
    ],
    mask: [
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(13, "ffffffff 00000000 00ff ffffffffffff 000000000000 0000"),
    ],
  },
  {
    // ovs-vswitchd shows a whole mask of the operation as 16 bits.
    flow: "eth(),eth_type(0x8035),arp(op=3)",
    dialect: "userspace",
    key: [
      USERSPACE_HEAD.recirc,
      USERSPACE_HEAD.type,
      ETH_ZERO,
      tlv(6, "8035"),
      tlv(13, "00".repeat(8), "0003", "00".repeat(14)),
    ],
    mask: [
      USERSPACE_HEAD.recirc,
      USERSPACE_HEAD.typeMask,
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(13, "00".repeat(8), "ffff", "00".repeat(14)),
    ],
  },
  {
    flow:
      "eth(),eth_type(0x8100),vlan(vid=5,pcp=3),encap(eth_type(0x88a8),vlan(vid=6/0xff,pcp=0/0x0)" +
      ",encap(eth_type(0x0800),ipv4(proto=17),udp(dst=53)))",
    dialect: "kernel",
    key: [
      ETH_ZERO,
      tlv(6, "8100"),
      tlv(5, "7005"),
      tlv(
        1,
        tlv(6, "88a8"),
        tlv(5, "1006"),
        tlv(1, tlv(6, "0800"), tlv(7, "00".repeat(8), "11 00 00 00"), tlv(10, "0000 0035")),
      ),
    ],
    mask: [
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(5, "ffff"),
      tlv(
        1,
        tlv(6, "ffff"),
        tlv(5, "10ff"),
        tlv(1, tlv(6, "ffff"), tlv(7, "00".repeat(8), "ff 00 00 00"), tlv(10, "0000 ffff")),
      ),
    ],
  },
  {
    // Contents that nothing is matched of: the kernel would take an ENCAP of zeros for none.
    flow: "eth(),eth_type(0x8100),vlan(vid=5/0xff,pcp=0/0x0),encap()",
    dialect: "kernel",
    key: [ETH_ZERO, tlv(6, "8100"), tlv(5, "1005"), tlv(1)],
    mask: [ETH_ZERO, tlv(6, "ffff"), tlv(5, "10ff"), tlv(1, tlv(6, "0000"))],
  },
  {
    // 802.2: no type in the key, all ones in the mask.
    flow: "in_port(1),eth(),eth_type(0/0xffff)",
    dialect: "kernel",
    key: [tlv(3, "01000000"), ETH_ZERO],
    mask: [tlv(3, "ffffffff"), ETH_ZERO, tlv(6, "ffff")],
  },
  {
    flow: "packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(ttl=1)",
    dialect: "kernel",
    key: [tlv(6, "0800"), tlv(7, "00".repeat(10), "01 00")],
    mask: [tlv(6, "ffff"), tlv(7, "00".repeat(10), "ff 00")],
  },
  {
    flow: "packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(ttl=1)",
    dialect: "userspace",
    key: [
      USERSPACE_HEAD.recirc,
      tlv(29, "00010800"),
      tlv(6, "0800"),
      tlv(7, "00".repeat(10), "01 00"),
    ],
    mask: [
      USERSPACE_HEAD.recirc,
      USERSPACE_HEAD.typeMask,
      tlv(6, "ffff"),
      tlv(7, "00".repeat(10), "ff 00"),
    ],
  },
  {
    flow:
      "eth(),eth_type(0x8847),mpls(label=100,tc=1,ttl=64,bos=0,label=200,tc=0/0x0,ttl=0/0x0,bos=1)",
    dialect: "kernel",
    key: [ETH_ZERO, tlv(6, "8847"), tlv(21, "00064240 000c8100")],
    mask: [ETH_ZERO, tlv(6, "ffff"), tlv(21, "ffffffff fffff100")],
  },
  {
    flow:
      "eth(),eth_type(0x894f),nsh(flags=1,ttl=63,mdtype=1,np=3,spi=0x123456,si=255,c1=0x01020304)",
    dialect: "kernel",
    key: [
      ETH_ZERO,
      tlv(6, "894f"),
      tlv(28, tlv(1, "01 3f 01 03 123456ff"), tlv(2, "01020304", "00".repeat(12))),
    ],
    mask: [
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(28, tlv(1, "ff".repeat(8)), tlv(2, "ffffffff", "00".repeat(12))),
    ],
  },
  {
    // Another metadata type: none in the key, always in the mask.
    flow: "eth(),eth_type(0x894f),nsh(mdtype=2)",
    dialect: "kernel",
    key: [ETH_ZERO, tlv(6, "894f"), tlv(28, tlv(1, "00 00 02 00 00000000"))],
    mask: [
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(28, tlv(1, "00 00 ff 00 00000000"), tlv(2, "00".repeat(16))),
    ],
  },
  {
    flow: "ct_tuple4(src=10.0.0.1,proto=17,tp_src=53),eth(),eth_type(0x0800)",
    dialect: "kernel",
    key: [
      tlv(26, "0a000001 00000000 0035 0000 11 000000"),
      ETH_ZERO,
      tlv(6, "0800"),
      tlv(7, "00".repeat(12)),
    ],
    mask: [
      tlv(26, "ffffffff 00000000 ffff 0000 ff 000000"),
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(7, "00".repeat(12)),
    ],
  },
  {
    flow: "ct_tuple6(dst=::1,proto=6),eth(),eth_type(0x86dd)",
    dialect: "kernel",
    key: [
      tlv(27, "00".repeat(31), "01 00000000 06 000000"),
      ETH_ZERO,
      tlv(6, "86dd"),
      tlv(8, "00".repeat(40)),
    ],
    mask: [
      tlv(27, "00".repeat(16), "ff".repeat(16), "00000000 ff 000000"),
      ETH_ZERO,
      tlv(6, "ffff"),
      tlv(8, "00".repeat(40)),
    ],
  },
  {
    flow: "tunnel(tun_id=0x7b,src=1.2.3.4,dst=5.6.7.8,tos=0x4,ttl=64,tp_src=1,tp_dst=4789," +
      "vxlan(gbp(id=10,flags=0x8)),flags(df|csum|key)),eth()",
    dialect: "kernel",
    key: [
      tlv(
        16,
        tlv(0, "000000000000007b"),
        tlv(1, "01020304"),
        tlv(2, "05060708"),
        tlv(3, "04"),
        tlv(4, "40"),
        tlv(9, "0001"),
        tlv(10, "12b5"),
        tlv(5),
        tlv(6),
        tlv(11, tlv(1, "0a000800")),
      ),
      ETH_ZERO,
    ],
    mask: [
      tlv(
        16,
        tlv(0, "ff".repeat(8)),
        tlv(1, "ffffffff"),
        tlv(2, "ffffffff"),
        tlv(3, "ff"),
        tlv(4, "ff"),
        tlv(9, "ffff"),
        tlv(10, "ffff"),
        tlv(5),
        tlv(6),
        tlv(7),
        tlv(11, tlv(1, "ffffffff")),
      ),
      ETH_ZERO,
    ],
  },
  {
    // What is zero is absent; the TTL never is.
    flow: "tunnel(ipv6_src=::/ffff::,ipv6_dst=2001:db8::1," +
      "geneve({class=0x102,type=0x80,len=4,0x01020304/0xffff0000})),eth()",
    dialect: "kernel",
    key: [
      tlv(
        16,
        tlv(13, "20010db8", "00".repeat(11), "01"),
        tlv(4, "00"),
        tlv(8, "0102 80 01 01020304"),
      ),
      ETH_ZERO,
    ],
    mask: [
      tlv(
        16,
        tlv(12, "ffff", "00".repeat(14)),
        tlv(13, "ff".repeat(16)),
        tlv(4, "00"),
        tlv(8, "ffff ff 1f ffff0000"),
      ),
      ETH_ZERO,
    ],
  },
  {
    flow: "tunnel(dst=1.1.1.1,ttl=64,erspan(ver=1,idx=0x7)),eth()",
    dialect: "kernel",
    key: [
      tlv(16, tlv(2, "01010101"), tlv(4, "40"), tlv(15, "01000000 00000007 00000000")),
      ETH_ZERO,
    ],
    mask: [
      tlv(16, tlv(2, "ffffffff"), tlv(4, "ff"), tlv(15, "ffffffff ffffffff 00000000")),
      ETH_ZERO,
    ],
  },
  {
    // Version 2: direction and hardware identifier in the last bytes of struct erspan_md2.
    flow: "tunnel(dst=1.1.1.1,erspan(ver=2,dir=1,hwid=0x15)),eth()",
    dialect: "kernel",
    key: [
      tlv(16, tlv(2, "01010101"), tlv(4, "00"), tlv(15, "02000000 00000000 0000 01 58")),
      ETH_ZERO,
    ],
    mask: [
      tlv(16, tlv(2, "ffffffff"), tlv(4, "00"), tlv(15, "ffffffff 00000000 0000 03 f8")),
      ETH_ZERO,
    ],
  },
  {
    flow: "tunnel(dst=1.1.1.1,gtpu(flags=0x30,msgtype=255)),eth()",
    dialect: "userspace",
    key: [
      USERSPACE_HEAD.recirc,
      tlv(16, tlv(2, "01010101"), tlv(4, "00"), tlv(16, "30ff")),
      USERSPACE_HEAD.type,
      ETH_ZERO,
    ],
    mask: [
      USERSPACE_HEAD.recirc,
      tlv(16, tlv(2, "ffffffff"), tlv(4, "00"), tlv(16, "ffff")),
      USERSPACE_HEAD.typeMask,
      ETH_ZERO,
    ],
  },
];

for (const { flow, key, mask, dialect = "kernel" } of VECTORS) {
  Deno.test(`encodeKey, decodeKey: ${dialect}: ${flow}`, () => {
    const parsed = parseFlow(flow);
    const encoded = encodeKey(parsed.key, parsed.mask, { dialect });
    assert.equal(toHex(encoded.key), key.join(""), "key");
    assert.equal(toHex(encoded.mask), mask.join(""), "mask");
    const decoded = decodeKey(encoded.key, encoded.mask, { dialect });
    assert.deepEqual(decoded.mask, parsed.mask);
    const masked = (words: Int32Array): Int32Array =>
      words.map((word, index) => word & parsed.mask[index]!);
    assert.deepEqual(masked(decoded.key), masked(parsed.key));
    assert.deepEqual(decoded.unknown, []);
  });
}

Deno.test("encodeKey: every attribute of the table is one of the vectors", () => {
  const flows = VECTORS.map(({ flow }) => flow).join(" ");
  const missing = FIELDS.attributes.filter(({ name }) => !flows.includes(`${name}(`));
  assert.deepEqual(missing.map(({ name }) => name), ["sctp", "icmp"]);
});
