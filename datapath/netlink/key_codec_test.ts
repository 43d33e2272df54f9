import assert from "node:assert/strict";
import type { Dialect } from "../fields/field_types.ts";
import { KEY_WORDS, L3_PACKET, MPLS_COUNT_AT, TCP_FLAGS_AT } from "../key.ts";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { formatFlow, parseFlow } from "../text/flow_text.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  decodeKey,
  decodeTunnelKey,
  encodeKey,
  encodePacketKey,
  encodeTunnelKey,
} from "./key_codec.ts";

const ETH_KEY = tlv(4, "020000000001 020000000002");
const ETH_ZERO = tlv(4, "00".repeat(12));
const IPV4_TCP = tlv(7, "0a000001 0a000002 06 00 40 00");

function flowOf(key: string, mask: string | undefined, dialect: Dialect = "kernel"): string {
  const maskBytes = mask === undefined ? undefined : bytesOf(mask);
  const decoded = decodeKey(bytesOf(key), maskBytes, { dialect });
  return formatFlow(decoded.key, decoded.mask, { unknown: decoded.unknown });
}

Deno.test("decodeKey: without a mask everything that is there is exact", () => {
  const key = tlv(3, "01000000") + ETH_KEY + tlv(6, "0800") + IPV4_TCP + tlv(9, "0050 1f90") +
    tlv(18, "0002");
  assert.equal(
    flowOf(key, undefined),
    "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
      "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=80,dst=8080),tcp_flags(syn)",
  );
  // Not what isn't there, also the type of an 802.2 frame.
  assert.equal(
    flowOf(ETH_KEY, undefined),
    "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)",
  );
});

Deno.test("decodeKey: without a mask a tunnel is exact in all its fields", () => {
  const tunnel = tlv(16, tlv(0, "0000000000000001"), tlv(2, "01010101"), tlv(4, "40"));
  assert.equal(
    flowOf(tunnel + ETH_KEY, undefined),
    "tunnel(tun_id=0x1,src=0.0.0.0,dst=1.1.1.1,tos=0,ttl=64,tp_src=0,tp_dst=0,flags(key))," +
      "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)",
  );
});

Deno.test("decodeKey: masks are completed as in the kernel", () => {
  // Type and port: all or nothing.
  assert.equal(
    flowOf(
      tlv(3, "01000000") + ETH_ZERO + tlv(6, "0800") + tlv(7, "00".repeat(12)),
      tlv(3, "01000000") + tlv(6, "0001"),
    ),
    "in_port(1),eth(),eth_type(0x0800)",
  );
  // A tag whose mask is absent is exact.
  assert.equal(
    flowOf(ETH_ZERO + tlv(6, "8100") + tlv(5, "1005") + tlv(1), ETH_ZERO),
    "eth(),eth_type(0x8100),vlan(vid=5,pcp=0),encap()",
  );
  // Every flow says whether there is an Ethernet header.
  const { mask } = decodeKey(bytesOf(ETH_ZERO), new Uint8Array(), { dialect: "kernel" });
  const flags = new DataView(mask.buffer).getUint16(TCP_FLAGS_AT);
  assert.equal(flags, L3_PACKET);
});

Deno.test("decodeKey: the kernel's dumps mask a tunnel that isn't there", () => {
  assert.equal(flowOf(ETH_ZERO, tlv(16, tlv(4, "00")) + ETH_ZERO), "eth()");
});

Deno.test("decodeKey: the kernel's dumps have no labels where none is matched", () => {
  const [key, mask] = ["8847", "ffff"].map((type) => ETH_ZERO + tlv(6, type) + tlv(21));
  assert.equal(flowOf(key!, mask), "eth(),eth_type(0x8847)");
});

Deno.test("decodeKey: ovs-vswitchd's datapath matches recirc_id always", () => {
  const key = tlv(20, "00000000") + tlv(29, "00000000") + ETH_ZERO;
  assert.equal(flowOf(key, tlv(6, "ffff"), "userspace"), "recirc_id(0),eth(),eth_type(0/0xffff)");
});

Deno.test("decodeKey: a tag that the packet was too short for", () => {
  const key = ETH_ZERO + tlv(6, "8100") + tlv(5, "0000") + tlv(1);
  const { key: words } = decodeKey(bytesOf(key), undefined, { dialect: "kernel" });
  assert.equal(toHex(encodePacketKey(words, { dialect: "kernel" })), key);
  // The kernel says no type for it.
  const untyped = ETH_ZERO + tlv(6, "0000") + tlv(5, "0000") + tlv(1);
  assert.deepEqual(decodeKey(bytesOf(untyped), undefined, { dialect: "kernel" }).key, words);
});

Deno.test("decodeKey, encodeKey: three tags: the type of the third, nothing behind it", () => {
  const key = ETH_ZERO + tlv(6, "88a8") + tlv(5, "1001") +
    tlv(1, tlv(6, "8100"), tlv(5, "1002"), tlv(1, tlv(6, "8100")));
  const decoded = decodeKey(bytesOf(key), undefined, { dialect: "kernel" });
  const encoded = encodeKey(decoded.key, decoded.mask, { dialect: "kernel" });
  assert.equal(toHex(encoded.key), key);
});

Deno.test("decodeKey, encodeKey: attributes that nobody knows are shown and written back", () => {
  const parts = (fill: string): string =>
    tlv(16, tlv(2, fill.repeat(4)), tlv(4, fill), tlv(99, fill.repeat(3))) + tlv(77, fill) +
    tlv(4, fill.repeat(12));
  const key = parts("01") + tlv(6, "8100") + tlv(5, "1001") +
    tlv(
      1,
      tlv(6, "894f"),
      tlv(28, tlv(1, "01".repeat(8)), tlv(2, "00".repeat(16)), tlv(9, "0102")),
      tlv(78),
    );
  const mask = parts("ff") + tlv(6, "ffff") + tlv(5, "ffff") +
    tlv(
      1,
      tlv(6, "ffff"),
      tlv(28, tlv(1, "ff".repeat(8)), tlv(2, "ff".repeat(16)), tlv(9, "ff00")),
      tlv(78),
    );
  const decoded = decodeKey(bytesOf(key), bytesOf(mask), { dialect: "kernel" });
  assert.deepEqual(decoded.unknown, [
    { number: 99, key: "010101", mask: "ffffff", within: [16] },
    { number: 9, key: "0102", mask: "ff00", within: [1, 28] },
    { number: 77, key: "01", mask: "ff" },
    { number: 78, key: "", mask: "", within: [1] },
  ]);
  const { unknown } = decoded;
  const again = encodeKey(decoded.key, decoded.mask, { dialect: "kernel", unknown });
  assert.deepEqual(decodeKey(again.key, again.mask, { dialect: "kernel" }), decoded);
});

Deno.test("decodeKey: what only one side has of an unknown attribute", () => {
  const options = { dialect: "kernel" } as const;
  const inKey = decodeKey(bytesOf(ETH_ZERO, tlv(77, "01")), bytesOf(ETH_ZERO), options);
  assert.deepEqual(inKey.unknown, [{ number: 77, key: "01", mask: "00" }]);
  const inMask = decodeKey(bytesOf(ETH_ZERO), bytesOf(tlv(77, "0f")), options);
  assert.deepEqual(inMask.unknown, [{ number: 77, key: "00", mask: "0f" }]);
  const exact = decodeKey(bytesOf(ETH_ZERO, tlv(77, "01")), undefined, options);
  assert.deepEqual(exact.unknown, [{ number: 77, key: "01", mask: undefined }]);
  const again = encodeKey(exact.key, exact.mask, { ...options, unknown: exact.unknown });
  assert(toHex(again.mask).endsWith(tlv(77, "ff")));
});

Deno.test("decodeKey: the other dialect's attributes are unknown ones", () => {
  const key = ETH_ZERO + tlv(6, "86dd") + tlv(8, "00".repeat(40)) + tlv(32, "0400");
  const numbers = (dialect: Dialect): number[] =>
    decodeKey(bytesOf(key), undefined, { dialect }).unknown.map(({ number }) => number);
  assert.deepEqual(numbers("kernel"), []);
  assert.deepEqual(numbers("userspace"), [32]);
});

Deno.test("encodeKey: what the dialect hasn't is refused", () => {
  const bad: readonly (readonly [string, Dialect, RegExp])[] = [
    [
      "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135),nd_ext(nd_reserved=1)",
      "kernel",
      /key nd_ext: the kernel can't match it/,
    ],
    ["eth_type(0x86dd),ipv6_exthdrs(+hop)", "userspace", /ipv6_exthdrs: only the kernel/],
    ["tunnel(dst=1.1.1.1,gtpu(msgtype=1))", "kernel", /tunnel gtpu: the kernel has no/],
    ["tunnel(dst=1.1.1.1,flags(+bridge))", "userspace", /tunnel: only the kernel has/],
  ];
  for (const [text, dialect, message] of bad) {
    const { key, mask } = parseFlow(text);
    assert.throws(() => encodeKey(key, mask, { dialect }), (error: unknown) => {
      assert(error instanceof NetlinkCodecError, text);
      assert.match(error.message, message, text);
      return true;
    });
  }
});

const IPV6_ADDRESS = "00".repeat(16);
const MALFORMED: readonly (readonly [key: string, mask: string | undefined, message: RegExp])[] = [
  [ETH_ZERO + "0800", undefined, /key: 2 bytes are left over/],
  [ETH_ZERO + "ff000600 0800", undefined, /key: attribute 6 at byte 16 has length 255/],
  [ETH_ZERO + ETH_ZERO, undefined, /attribute 4 stands twice/],
  [tlv(4, "00".repeat(11)), undefined, /key eth: 11 bytes, must be 12/],
  [tlv(3, "0000"), undefined, /Ethernet header or an Ethernet type/],
  ["", undefined, /Ethernet header or an Ethernet type/],
  [tlv(3, "00000100") + ETH_ZERO, undefined, /in_port: the value is 0x10000/],
  [ETH_ZERO + tlv(6, "0001"), undefined, /eth_type: 0x1 must be 0x600 … 0xffff/],
  [ETH_ZERO + tlv(6, "08"), undefined, /key attribute 6: 1 bytes, must be 2/],
  [ETH_ZERO + tlv(6, "0806") + tlv(13, "00".repeat(22)), undefined, /arp: 22 bytes, must be 24/],
  [
    ETH_ZERO + tlv(6, "0806") + tlv(13, "00".repeat(8), "0100", "00".repeat(14)),
    undefined,
    /arp: op is 0x100, which has more than 8 bits/,
  ],
  [
    ETH_ZERO + tlv(6, "86dd") + tlv(8, IPV6_ADDRESS, IPV6_ADDRESS, "00100000 00000000"),
    undefined,
    /ipv6: label is 0x100000, which has more than 20 bits/,
  ],
  [tlv(22, "00010000") + ETH_ZERO, undefined, /ct_state: the value is 0x100/],
  [ETH_ZERO + tlv(6, "8847") + tlv(21, "00".repeat(16)), undefined, /mpls: 16 bytes/],
  [ETH_ZERO + tlv(6, "8847") + tlv(21, "0000"), undefined, /mpls: 2 bytes/],
  [ETH_ZERO + tlv(6, "894f") + tlv(28, tlv(1, "00")), undefined, /nsh 1: 1 bytes, must be 8/],
  [ETH_ZERO + tlv(6, "894f") + tlv(28, "0100"), undefined, /key nsh: 2 bytes are left over/],
  // Tags.
  [ETH_ZERO + tlv(6, "8100"), undefined, /needs VLAN and ENCAP/],
  [ETH_ZERO + tlv(6, "8100") + tlv(5, "1001"), undefined, /VLAN and ENCAP must stand together/],
  [ETH_ZERO + tlv(6, "8100") + tlv(1), undefined, /must stand together/],
  [ETH_ZERO + tlv(6, "0800") + tlv(5, "1001") + tlv(1), undefined, /0x8100 or 0x88a8/],
  [ETH_ZERO + tlv(6, "8100") + tlv(5, "0001") + tlv(1), undefined, /0x1 lacks the bit 0x1000/],
  [tlv(6, "8100") + tlv(5, "1001") + tlv(1), undefined, /VLAN needs an Ethernet header/],
  [
    ETH_ZERO + tlv(6, "8100") + tlv(5, "0000") + tlv(1, tlv(6, "0800")),
    undefined,
    /ENCAP behind a cut off tag/,
  ],
  [
    ETH_ZERO + tlv(6, "8100") + tlv(5, "1001") + tlv(1, tlv(6, "8100")),
    undefined,
    /key encap: .* needs VLAN and ENCAP/,
  ],
  [
    ETH_ZERO + tlv(6, "8100") + tlv(5, "1001") +
    tlv(1, tlv(6, "8100"), tlv(5, "1001"), tlv(1, tlv(6, "8100"), tlv(5, "1001"), tlv(1))),
    undefined,
    /key encap encap: more than 2 VLAN tags/,
  ],
  [
    ETH_ZERO + tlv(6, "8100") + tlv(5, "1001") + tlv(1, ETH_ZERO),
    undefined,
    /key encap: attribute 4 stands outside too/,
  ],
  [
    ETH_ZERO + tlv(6, "8100") + tlv(5, "1001") + tlv(1, "04"),
    undefined,
    /key encap: 1 bytes are left over/,
  ],
  [
    ETH_ZERO + tlv(6, "8100") + tlv(5, "1001") + tlv(1),
    tlv(6, "ff00") + tlv(5, "ffff") + tlv(1),
    /type of a VLAN tag must be matched exactly/,
  ],
  [
    ETH_ZERO + tlv(6, "8100") + tlv(5, "1001") + tlv(1),
    tlv(6, "ffff") + tlv(5, "0fff") + tlv(1),
    /bit 0x1000 of a VLAN tag must be matched/,
  ],
  [ETH_ZERO, tlv(5, "0fff"), /no VLAN tag/],
  [ETH_ZERO, tlv(1, tlv(6, "ffff")), /ENCAP where the key has no VLAN tag/],
  [ETH_ZERO, tlv(7, "ff".repeat(12)), /mask ipv4: the key has no such attribute/],
  // Tunnels.
  [tlv(16, tlv(0, "00")) + ETH_ZERO, undefined, /key tunnel tun_id: 1 bytes, must be 8/],
  [tlv(16, tlv(5, "01")) + ETH_ZERO, undefined, /tunnel attribute 5: 1 bytes, a flag has none/],
  [tlv(16, tlv(4, "40") + tlv(4, "40")) + ETH_ZERO, undefined, /attribute 4 stands twice/],
  [
    tlv(16, tlv(2, "01010101"), tlv(13, IPV6_ADDRESS)) + ETH_ZERO,
    undefined,
    /addresses are of IPv4 and IPv6/,
  ],
  [tlv(16, tlv(8, "010203")) + ETH_ZERO, undefined, /tunnel geneve: 3 bytes/],
  [tlv(16, tlv(8, "00".repeat(256))) + ETH_ZERO, undefined, /geneve: 256 bytes/],
  [tlv(16, tlv(8), tlv(11)) + ETH_ZERO, undefined, /options are there already \(8\)/],
  [tlv(16, tlv(11, tlv(1, "00"))) + ETH_ZERO, undefined, /tunnel vxlan attribute 1: 1 bytes/],
  [tlv(16, tlv(15, "00".repeat(8))) + ETH_ZERO, undefined, /erspan: 8 bytes, must be 12/],
  [tlv(16, tlv(16, "0102")) + ETH_ZERO, undefined, /attribute 16: 2 bytes, a flag has none/],
  [
    tlv(16, tlv(8, "00000000")) + ETH_ZERO,
    tlv(16, tlv(8, "00".repeat(8))) + ETH_ZERO,
    /a mask of 8 bytes for 4 of options/,
  ],
  [
    tlv(16, tlv(4, "00")) + ETH_ZERO,
    tlv(16, tlv(8, "00000000")) + ETH_ZERO,
    /masks options that the key hasn't/,
  ],
];

Deno.test("decodeKey: malformed attributes are named", () => {
  for (const [key, mask, message] of MALFORMED) {
    assert.throws(() => flowOf(key, mask), (error: unknown) => {
      assert(error instanceof NetlinkCodecError, `${key}: ${error}`);
      assert.match(error.message, message);
      return true;
    }, key);
  }
});

Deno.test("decodeKey: packet types of ovs-vswitchd", () => {
  for (const type of ["00000001", "00020000", "00010800", "0000"]) {
    assert.throws(
      () => flowOf(tlv(29, type) + ETH_ZERO, undefined, "userspace"),
      NetlinkCodecError,
    );
  }
  assert.equal(flowOf(tlv(29, "00000000"), undefined, "userspace"), "eth()");
  assert.match(
    flowOf(tlv(29, "00010800"), undefined, "userspace"),
    /^packet_type\(ns=1,id=0x800\)/,
  );
});

Deno.test("encodePacketKey: metadata that is zero is left out, the headers are there", () => {
  const { key } = parseFlow(
    "in_port(7),skb_mark(5),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
      "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=80,dst=8080)",
  );
  assert.equal(
    toHex(encodePacketKey(key, { dialect: "kernel" })),
    tlv(3, "07000000") + tlv(15, "05000000") + ETH_KEY + tlv(6, "0800") + IPV4_TCP +
      tlv(9, "0050 1f90") + tlv(18, "0000"),
  );
});

Deno.test("encodeTunnelKey, decodeTunnelKey: a tunnel alone", () => {
  const options = { dialect: "kernel" } as const;
  const { key } = parseFlow("tunnel(tun_id=0x1,dst=1.2.3.4,ttl=64,vxlan(gbp(id=1,flags=0x2)))");
  const payload = encodeTunnelKey(key, options);
  const expected = tlv(0, "0000000000000001") + tlv(2, "01020304") + tlv(4, "40") +
    tlv(11, tlv(1, "01000200"));
  assert.equal(toHex(payload), expected);
  const words = decodeTunnelKey(payload, options);
  assert.deepEqual(encodeTunnelKey(words, options), payload);
  assert.equal(words.length, KEY_WORDS);
});

Deno.test("netlink: labels that a flow wants, at least as many, or exactly as many", () => {
  const label = "00001140";
  const flow = (keyLabels: number, maskLabels: number): number[] => {
    const key = ETH_ZERO + tlv(6, "8847") + tlv(21, label.repeat(keyLabels));
    const mask = tlv(6, "ffff") + tlv(21, "ffffffff".repeat(maskLabels));
    const decoded = decodeKey(bytesOf(key), bytesOf(mask), {
      dialect: "kernel",
    });
    const encoded = encodeKey(decoded.key, decoded.mask, { dialect: "kernel" });
    const again = decodeKey(encoded.key, encoded.mask, { dialect: "kernel" });
    assert.deepEqual([again.key, again.mask], [decoded.key, decoded.mask]);
    return [
      new Uint8Array(decoded.key.buffer)[MPLS_COUNT_AT]!,
      new Uint8Array(decoded.mask.buffer)[MPLS_COUNT_AT]!,
    ];
  };
  assert.deepEqual([flow(1, 1), flow(2, 2), flow(3, 3)], [[1, 1], [3, 3], [7, 7]]);
  // num_labels_mask of a key with one label under a mask for three.
  assert.deepEqual(flow(1, 3), [1, 7]);
});
