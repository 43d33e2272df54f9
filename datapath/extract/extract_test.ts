import assert from "node:assert/strict";
import * as key from "../key.ts";
import { GSO_UDP, type Packet } from "../packet/packet.ts";
import { extracted as extract } from "../testing/extracted.ts";
import { type FrameOptions, makeFrame, packetOf, ROOM } from "../testing/frames.ts";

function extractFrame(options: FrameOptions): DataView {
  return extract(packetOf(makeFrame(options).bytes));
}

function neighbourSolicitation(options: number[], type = 135, code = 0): Packet {
  const target = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
  const frame = makeFrame({
    isIpv6: true,
    protocol: "icmp",
    payload: Uint8Array.from([...target, ...options]),
  });
  frame.bytes[frame.l4] = type;
  frame.bytes[frame.l4 + 1] = code;
  return packetOf(frame.bytes);
}

function mac(view: DataView, at: number): string {
  return new Uint8Array(view.buffer, at, 6).toHex();
}

Deno.test("extractKey: metadata in network byte order", () => {
  const view = extract(packetOf(makeFrame().bytes, {
    inPort: 0x0102,
    priority: 0x80000001,
    mark: 0xdeadbeef,
    recircId: 7,
  }));
  assert.equal(view.getUint16(key.IN_PORT_AT), 0x0102);
  assert.equal(view.getUint32(key.SKB_PRIORITY_AT), 0x80000001);
  assert.equal(view.getUint32(key.SKB_MARK_AT), 0xdeadbeef);
  assert.equal(view.getUint32(key.RECIRC_ID_AT), 7);
});

Deno.test("extractKey: untagged TCP over IPv4, with l3At, l4At and ip", () => {
  const frame = makeFrame({ tcpFlags: 0x112, ipOptionsSize: 8 });
  const packet = packetOf(frame.bytes);
  const view = extract(packet);
  assert.equal(mac(view, key.ETH_DST_AT), "020000000002");
  assert.equal(mac(view, key.ETH_SRC_AT), "020000000001");
  assert.equal(view.getUint32(key.VLAN_TCI_AT), 0);
  assert.equal(view.getUint32(key.CVLAN_TCI_AT), 0);
  assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x0800);
  assert.equal(view.getUint8(key.IP_PROTO_AT), 6);
  assert.equal(view.getUint8(key.IP_TOS_AT), 0x10);
  assert.equal(view.getUint8(key.IP_TTL_AT), 64);
  assert.equal(view.getUint8(key.IP_FRAG_AT), key.FRAG_NONE);
  assert.equal(view.getUint32(key.IPV4_SRC_AT), 0x0a000001);
  assert.equal(view.getUint32(key.IPV4_DST_AT), 0x0a000002);
  assert.equal(view.getUint16(key.TP_SRC_AT), 1000);
  assert.equal(view.getUint16(key.TP_DST_AT), 2000);
  assert.equal(view.getUint16(key.TCP_FLAGS_AT), 0x112);
  assert.equal(packet.l3At, ROOM + frame.l3);
  assert.equal(packet.l4At, ROOM + frame.l4);
  assert.equal(packet.ip, 6 | 0x10 << 8 | 64 << 16);
});

Deno.test("extractKey: one and two tags, each with the CFI bit that says it is there", () => {
  const one = extractFrame({ tags: [0x8100e005] });
  assert.equal(one.getUint32(key.VLAN_TCI_AT), 0xf0058100);
  assert.equal(one.getUint32(key.CVLAN_TCI_AT), 0);
  const two = extractFrame({ tags: [0x88a80000, 0x81000fff] });
  assert.equal(two.getUint32(key.VLAN_TCI_AT), 0x100088a8);
  assert.equal(two.getUint32(key.CVLAN_TCI_AT), 0x1fff8100);
  assert.equal(two.getUint16(key.ETH_TYPE_AT), 0x0800);
  assert.equal(two.getUint16(key.TP_DST_AT), 2000);
});

Deno.test("extractKey: a third tag is the Ethernet type", () => {
  const view = extractFrame({ tags: [0x88a80001, 0x81000002, 0x81000003] });
  assert.equal(view.getUint32(key.CVLAN_TCI_AT), 0x10028100);
  assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x8100);
  assert.equal(view.getUint32(key.IPV4_SRC_AT), 0);
});

Deno.test("extractKey: a tag that is cut off, or has no type behind it, is the Ethernet type", () => {
  const { bytes } = makeFrame({ tags: [0x81000005] });
  for (const size of [14, 15, 16, 17]) {
    const view = extract(packetOf(bytes.subarray(0, size)));
    assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x8100, `${size}`);
    assert.equal(view.getUint32(key.VLAN_TCI_AT), 0, `${size}`);
  }
  const view = extract(packetOf(bytes.subarray(0, 18)));
  assert.equal(view.getUint32(key.VLAN_TCI_AT), 0x10058100);
  assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x0800);
});

Deno.test("extractKey: 802.2 without SNAP, SNAP of another OUI and SNAP with a length are 802.2", () => {
  const header = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0, 30];
  const llc = (...bytes: number[]): number =>
    extract(packetOf(Uint8Array.from([...header, ...bytes, ...new Array(30).fill(0x45)])))
      .getUint16(key.ETH_TYPE_AT);
  assert.equal(llc(0x42, 0x42, 3), key.ETH_P_802_2);
  assert.equal(llc(0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0x00), key.ETH_P_802_2);
  assert.equal(llc(0xaa, 0xaa, 3, 0, 0, 0, 0x01, 0x00), key.ETH_P_802_2);
  assert.equal(llc(0xaa, 0xaa, 3, 0, 0, 0, 0x88, 0x47), 0x8847);
  const short = extract(packetOf(Uint8Array.from([...header, 0xaa, 0xaa, 3, 0, 0, 0, 8])));
  assert.equal(short.getUint16(key.ETH_TYPE_AT), key.ETH_P_802_2);
});

Deno.test("extractKey: IPv4 in SNAP is IPv4", () => {
  const { bytes } = makeFrame({ protocol: "udp" });
  const snap = Uint8Array.from([
    ...bytes.subarray(0, 12),
    0,
    80,
    0xaa,
    0xaa,
    3,
    0,
    0,
    0,
    ...bytes.subarray(12),
  ]);
  const packet = packetOf(snap);
  const view = extract(packet);
  assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x0800);
  assert.equal(view.getUint16(key.TP_DST_AT), 2000);
  assert.equal(packet.l3At, ROOM + 22);
});

Deno.test("extractKey: IPv4 fragments: first has ports, later has none", () => {
  const first = extractFrame({ fragment: 0x2000 });
  assert.equal(first.getUint8(key.IP_FRAG_AT), key.FRAG_FIRST);
  assert.equal(first.getUint16(key.TP_SRC_AT), 1000);
  for (const fragment of [0x2001, 0x0001, 0x0100, 0x1fff]) {
    const packet = packetOf(makeFrame({ fragment }).bytes);
    const later = extract(packet);
    assert.equal(later.getUint8(key.IP_FRAG_AT), key.FRAG_LATER);
    assert.equal(later.getUint8(key.IP_PROTO_AT), 6);
    assert.equal(later.getUint32(key.TP_SRC_AT), 0);
    assert.equal(later.getUint16(key.TCP_FLAGS_AT), 0);
    assert.equal(packet.l4At, 0);
  }
  const train = extract(packetOf(makeFrame({ protocol: "udp" }).bytes, { gsoType: GSO_UDP }));
  assert.equal(train.getUint8(key.IP_FRAG_AT), key.FRAG_FIRST);
});

Deno.test("extractKey: a malformed or cut off IPv4 header gives zero fields", () => {
  const { bytes, l3 } = makeFrame();
  const shortHeader = bytes.slice();
  shortHeader[l3] = 0x44;
  const longHeader = bytes.subarray(0, l3 + 40).slice();
  longHeader[l3] = 0x4f;
  for (
    const frame of [shortHeader, longHeader, bytes.subarray(0, l3 + 19), bytes.subarray(0, l3)]
  ) {
    const packet = packetOf(frame);
    const view = extract(packet);
    assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x0800);
    assert.equal(view.getUint32(key.IP_PROTO_AT), 0);
    assert.equal(view.getUint32(key.IPV4_SRC_AT), 0);
    assert.equal(view.getUint32(key.TP_SRC_AT), 0);
    assert.equal(packet.l4At, 0);
  }
});

Deno.test("extractKey: a cut off L4 header gives zero ports and flags", () => {
  for (
    const [protocol, size] of [["tcp", 20], ["udp", 8], ["sctp", 12], ["icmp", 8]] as const
  ) {
    for (const isIpv6 of [false, true]) {
      const { bytes, l4 } = makeFrame({ protocol, isIpv6 });
      const whole = extract(packetOf(bytes.subarray(0, l4 + size)));
      assert.notEqual(whole.getUint32(key.TP_SRC_AT), 0, `${protocol} ${isIpv6}`);
      const cut = extract(packetOf(bytes.subarray(0, l4 + size - 1)));
      assert.equal(cut.getUint32(key.TP_SRC_AT), 0, `${protocol} ${isIpv6}`);
      assert.equal(cut.getUint16(key.TCP_FLAGS_AT), 0);
      assert.equal(cut.getUint8(key.IP_TTL_AT), 64);
    }
  }
});

Deno.test("extractKey: TCP with a data offset below 5 or past the end has no ports", () => {
  const { bytes, l4 } = makeFrame({ payloadSize: 3 });
  for (const offset of [0x40, 0x60]) {
    const frame = bytes.slice();
    frame[l4 + 12] = offset;
    assert.equal(extract(packetOf(frame)).getUint32(key.TP_SRC_AT), 0);
  }
});

Deno.test("extractKey: ICMP type and code as 16-bit ports", () => {
  const { bytes, l4 } = makeFrame({ protocol: "icmp" });
  bytes[l4] = 3;
  bytes[l4 + 1] = 4;
  const view = extract(packetOf(bytes));
  assert.equal(view.getUint16(key.TP_SRC_AT), 3);
  assert.equal(view.getUint16(key.TP_DST_AT), 4);
});

function arpFrame(changes: Record<number, number> = {}, type = 0x0806): Uint8Array {
  const frame = new Uint8Array(42);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, type >> 8, type & 255]);
  frame.set([0, 1, 8, 0, 6, 4, 0, 2], 14);
  frame.set([1, 2, 3, 4, 5, 6, 10, 0, 0, 1, 7, 8, 9, 10, 11, 12, 10, 0, 0, 2], 22);
  for (const [at, value] of Object.entries(changes)) frame[14 + Number(at)] = value;
  return frame;
}

Deno.test("extractKey: ARP and RARP", () => {
  for (const type of [0x0806, 0x8035]) {
    const view = extract(packetOf(arpFrame({}, type)));
    assert.equal(view.getUint8(key.IP_PROTO_AT), 2);
    assert.equal(view.getUint32(key.IPV4_SRC_AT), 0x0a000001);
    assert.equal(view.getUint32(key.IPV4_DST_AT), 0x0a000002);
    assert.equal(mac(view, key.ARP_SHA_AT), "010203040506");
    assert.equal(mac(view, key.ARP_THA_AT), "0708090a0b0c");
  }
});

Deno.test("extractKey: an ARP opcode over 255 is 0; ARP of another kind or cut off has no fields", () => {
  const big = extract(packetOf(arpFrame({ 6: 1 })));
  assert.equal(big.getUint8(key.IP_PROTO_AT), 0);
  assert.equal(big.getUint32(key.IPV4_SRC_AT), 0x0a000001);
  const frames = [
    arpFrame({ 1: 6 }),
    arpFrame({ 2: 9 }),
    arpFrame({ 4: 8 }),
    arpFrame({ 5: 16 }),
    arpFrame().subarray(0, 41),
  ];
  for (const frame of frames) {
    const view = extract(packetOf(frame));
    assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x0806);
    assert.equal(view.getUint32(key.IPV4_SRC_AT), 0);
    assert.equal(mac(view, key.ARP_SHA_AT), "000000000000");
  }
});

Deno.test("extractKey: IPv6 addresses, label, class and hop limit", () => {
  const view = extractFrame({ isIpv6: true, protocol: "udp" });
  assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x86dd);
  assert.equal(view.getUint8(key.IP_PROTO_AT), 17);
  assert.equal(view.getUint8(key.IP_TOS_AT), 0x12);
  assert.equal(view.getUint8(key.IP_TTL_AT), 64);
  assert.equal(view.getUint32(key.IPV6_LABEL_AT), 0x34567);
  assert.equal(view.getUint32(key.IPV6_SRC_AT), 0xfd000000);
  assert.equal(view.getUint32(key.IPV6_SRC_AT + 12), 1);
  assert.equal(view.getUint32(key.IPV6_DST_AT + 12), 2);
  assert.equal(view.getUint16(key.TP_SRC_AT), 1000);
  assert.equal(view.getUint32(key.IPV4_SRC_AT), 0);
});

const HOP: readonly [number, readonly number[]] = [0, [0, 1, 4, 0, 0, 0, 0]];
const DEST: readonly [number, readonly number[]] = [60, [1, ...new Array(14).fill(0)]];
const AUTH: readonly [number, readonly number[]] = [51, [1, 0, 0, ...new Array(8).fill(9)]];
const routing = (left: number): readonly [number, readonly number[]] => [
  43,
  [0, 0, left, 0, 0, 0, 0],
];
const fragment = (offset: number): readonly [number, readonly number[]] => [
  44,
  [0, offset >> 8, offset & 255, 0, 0, 0, 9],
];

Deno.test("extractKey: IPv6 extension headers are skipped", () => {
  const frame = makeFrame({ isIpv6: true, extensions: [HOP, routing(1), DEST, AUTH] });
  const packet = packetOf(frame.bytes);
  const view = extract(packet);
  assert.equal(view.getUint8(key.IP_PROTO_AT), 6);
  assert.equal(view.getUint16(key.TP_DST_AT), 2000);
  assert.equal(packet.l4At, ROOM + frame.l4);
});

Deno.test("extractKey: IPv6 fragments: first has ports, later is protocol 44 without", () => {
  const first = extractFrame({ isIpv6: true, extensions: [fragment(1)] });
  assert.equal(first.getUint8(key.IP_FRAG_AT), key.FRAG_FIRST);
  assert.equal(first.getUint8(key.IP_PROTO_AT), 6);
  assert.equal(first.getUint16(key.TP_SRC_AT), 1000);
  const later = extractFrame({ isIpv6: true, extensions: [fragment(0x08)] });
  assert.equal(later.getUint8(key.IP_FRAG_AT), key.FRAG_LATER);
  assert.equal(later.getUint8(key.IP_PROTO_AT), 44);
  assert.equal(later.getUint32(key.TP_SRC_AT), 0);
});

Deno.test("extractKey: a later IPv6 fragment with another extension header is a first one without protocol", () => {
  const view = extractFrame({ isIpv6: true, extensions: [fragment(0x08), DEST] });
  assert.equal(view.getUint8(key.IP_FRAG_AT), key.FRAG_FIRST);
  assert.equal(view.getUint8(key.IP_PROTO_AT), 59);
});

Deno.test("extractKey: an IPv6 chain that is cut off is protocol 59, addresses stay", () => {
  const { bytes, l3 } = makeFrame({ isIpv6: true, extensions: [HOP, DEST] });
  const view = extract(packetOf(bytes.subarray(0, l3 + 40 + 9)));
  assert.equal(view.getUint8(key.IP_PROTO_AT), 59);
  assert.equal(view.getUint8(key.IP_TTL_AT), 64);
  assert.equal(view.getUint32(key.IPV6_DST_AT + 12), 2);
  const header = extract(packetOf(bytes.subarray(0, l3 + 39)));
  assert.equal(header.getUint32(key.IP_PROTO_AT), 0);
  assert.equal(header.getUint32(key.IPV6_SRC_AT), 0);
});

Deno.test("extractKey: neighbour discovery target and options", () => {
  const source = [1, 1, 1, 2, 3, 4, 5, 6];
  const target = [2, 1, 7, 8, 9, 10, 11, 12];
  const view = extract(neighbourSolicitation([...source, 14, 1, 0, 0, 0, 0, 0, 0, ...target]));
  assert.equal(view.getUint16(key.TP_SRC_AT), 135);
  assert.equal(view.getUint16(key.ND_TARGET_AT), 0xfe80);
  assert.equal(view.getUint8(key.ND_TARGET_AT + 15), 7);
  assert.equal(mac(view, key.ND_SLL_AT), "010203040506");
  assert.equal(mac(view, key.ND_TLL_AT), "0708090a0b0c");
});

Deno.test("extractKey: a repeated neighbour discovery option zeroes all three fields", () => {
  for (const type of [1, 2]) {
    const option = [type, 1, 1, 2, 3, 4, 5, 6];
    const view = extract(neighbourSolicitation([...option, ...option]));
    assert.equal(view.getUint16(key.TP_SRC_AT), 135);
    for (let at = key.ND_TARGET_AT; at < 128; at += 4) assert.equal(view.getUint32(at), 0);
    assert.equal(view.getUint8(key.ND_OPTIONS_TYPE_AT), type);
  }
});

Deno.test("extractKey: a neighbour discovery option of length 0 or past the end ends the options", () => {
  for (const option of [[1, 0, 1, 2, 3, 4, 5, 6], [1, 2, 1, 2, 3, 4, 5, 6]]) {
    const view = extract(neighbourSolicitation([...option, 1, 1, 1, 2, 3, 4, 5, 6].slice(0, 8)));
    assert.equal(view.getUint8(key.ND_TARGET_AT + 15), 7);
    assert.equal(mac(view, key.ND_SLL_AT), "000000000000");
  }
});

Deno.test("extractKey: neighbour discovery with a code, or too short for a target, has no target", () => {
  const coded = extract(neighbourSolicitation([], 136, 1));
  assert.equal(coded.getUint16(key.ND_TARGET_AT), 0);
  const packet = neighbourSolicitation([]);
  packet.end -= 1;
  const short = extract(packet);
  assert.equal(short.getUint16(key.TP_SRC_AT), 135);
  assert.equal(short.getUint16(key.ND_TARGET_AT), 0);
});

Deno.test("extractKey: a frame shorter than an Ethernet header has metadata only", () => {
  const packet = packetOf(makeFrame().bytes.subarray(0, 13), { inPort: 5 });
  const view = extract(packet);
  assert.equal(view.getUint16(key.IN_PORT_AT), 5);
  for (let at = key.ETH_DST_AT; at < key.KEY_SIZE; at += 4) assert.equal(view.getUint32(at), 0);
  assert.equal(packet.l3At, 0);
});
