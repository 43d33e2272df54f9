import assert from "node:assert/strict";
import * as arp from "./arp.ts";
import * as ethernet from "./ethernet.ts";
import * as icmp from "./icmp.ts";
import * as icmpv6 from "./icmpv6.ts";
import * as ipv4 from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";
import * as mpls from "./mpls.ts";
import * as nsh from "./nsh.ts";
import * as sctp from "./sctp.ts";
import * as tcp from "./tcp.ts";
import * as udp from "./udp.ts";
import * as vlan from "./vlan.ts";

const AT = 6;
const DIRTY = 0xa5;

/** Runs `write` on a buffer full of 0xa5; the bytes written, and that none around them was. */
function written(size: number, write: (view: DataView) => void): DataView {
  const bytes = new Uint8Array(AT + size + 6).fill(DIRTY);
  const view = new DataView(bytes.buffer);
  write(view);
  assert(bytes.subarray(0, AT).every((byte) => byte === DIRTY), "wrote in front of the header");
  assert(bytes.subarray(AT + size).every((byte) => byte === DIRTY), "wrote behind the header");
  return view;
}

function hex(view: DataView, size: number): string {
  return new Uint8Array(view.buffer, AT, size).toHex();
}

Deno.test("ethernet.write sets all 14 bytes, and the accessors read them back", () => {
  const view = written(ethernet.SIZE, (view) =>
    ethernet.write(view, AT, {
      destinationHigh: 0x01020304,
      destinationLow: 0x0506,
      sourceHigh: 0xf0e0d0c0,
      sourceLow: 0xb0a0,
      type: 0x88a8,
    }));
  assert.equal(hex(view, 14), "010203040506f0e0d0c0b0a088a8");
  assert.equal(ethernet.destinationHigh(view, AT), 0x01020304);
  assert.equal(ethernet.destinationLow(view, AT), 0x0506);
  assert.equal(ethernet.sourceHigh(view, AT), 0xf0e0d0c0);
  assert.equal(ethernet.sourceLow(view, AT), 0xb0a0);
  assert.equal(ethernet.type(view, AT), 0x88a8);
  assert.equal(ethernet.isGroup(view, AT), true);
  assert.equal(ethernet.isGroup(view, AT + 1), false);
  assert.equal(ethernet.fits(view, AT, AT + 14), true);
  assert.equal(ethernet.fits(view, AT, AT + 13), false);
});

Deno.test("vlan.write sets all 4 bytes; fits wants a known TPID and a type behind the tag", () => {
  const view = written(vlan.SIZE, (view) => vlan.write(view, AT, 0x88a8, 0xb123));
  assert.equal(hex(view, 4), "88a8b123");
  assert.equal(vlan.tpid(view, AT), 0x88a8);
  assert.equal(vlan.tci(view, AT), 0xb123);
  assert.equal(vlan.vid(view, AT), 0x123);
  assert.equal(vlan.pcp(view, AT), 5);
  assert.equal(vlan.fits(view, AT, AT + 6), true);
  assert.equal(vlan.fits(view, AT, AT + 5), false);
  assert.equal(vlan.fits(view, AT + 1, AT + 9), false);
  assert.equal(vlan.isTpid(0x8100), true);
  assert.equal(vlan.isTpid(0x9100), false);
});

Deno.test("arp.write sets all 28 bytes; fits wants Ethernet and IPv4", () => {
  const fields = {
    operation: arp.REPLY,
    senderHardwareHigh: 0x02000000,
    senderHardwareLow: 0x0001,
    senderProtocol: 0xc0a80001,
    targetHardwareHigh: 0x02000000,
    targetHardwareLow: 0x0002,
    targetProtocol: 0xc0a80002,
  };
  const view = written(arp.SIZE, (view) => arp.write(view, AT, fields));
  assert.equal(hex(view, 28), "0001080006040002020000000001c0a80001020000000002c0a80002");
  assert.deepEqual({
    operation: arp.operation(view, AT),
    senderHardwareHigh: arp.senderHardwareHigh(view, AT),
    senderHardwareLow: arp.senderHardwareLow(view, AT),
    senderProtocol: arp.senderProtocol(view, AT),
    targetHardwareHigh: arp.targetHardwareHigh(view, AT),
    targetHardwareLow: arp.targetHardwareLow(view, AT),
    targetProtocol: arp.targetProtocol(view, AT),
  }, fields);
  assert.equal(arp.fits(view, AT, AT + 28), true);
  assert.equal(arp.fits(view, AT, AT + 27), false);
  view.setUint8(AT + 4, 8);
  assert.equal(arp.fits(view, AT, AT + 28), false);
});

Deno.test("ipv4.write sets all 20 bytes with a right checksum", () => {
  const fields = {
    tos: 0xb8,
    totalSize: 1400,
    identification: 0xbeef,
    fragment: ipv4.MORE_FRAGMENTS | 5,
    ttl: 33,
    protocol: ipv4.IPPROTO_UDP,
    source: 0xc0a80101,
    destination: 0xe00000fb,
  };
  const view = written(ipv4.SIZE, (view) => ipv4.write(view, AT, fields));
  assert.deepEqual({
    tos: ipv4.tos(view, AT),
    totalSize: ipv4.totalSize(view, AT),
    identification: ipv4.identification(view, AT),
    fragment: ipv4.fragment(view, AT),
    ttl: ipv4.ttl(view, AT),
    protocol: ipv4.protocol(view, AT),
    source: ipv4.source(view, AT),
    destination: ipv4.destination(view, AT),
  }, fields);
  assert.equal(ipv4.version(view, AT), 4);
  assert.equal(ipv4.headerSize(view, AT), 20);
  assert.equal(ipv4.isChecksumRight(view, AT), true);
  view.setUint8(AT + 8, 32);
  assert.equal(ipv4.isChecksumRight(view, AT), false);
  ipv4.finishHeader(view, AT, 60);
  assert.equal(ipv4.isChecksumRight(view, AT), true);
  assert.notEqual(ipv4.checksum(view, AT), 0);
  assert.equal(ipv4.fits(view, AT, AT + 20), true);
  assert.equal(ipv4.fits(view, AT, AT + 19), false);
  view.setUint8(AT, 0x44);
  assert.equal(ipv4.fits(view, AT, AT + 20), false);
  view.setUint8(AT, 0x46);
  assert.equal(ipv4.fits(view, AT, AT + 20), false);
});

Deno.test("ipv6.write sets all 40 bytes; extension sizes follow the header's kind", () => {
  const view = written(ipv6.SIZE, (view) =>
    ipv6.write(view, AT, {
      trafficClass: 0xb8,
      label: 0xabcde,
      payloadSize: 1234,
      nextHeader: ipv6.NEXTHDR_ICMP,
      hopLimit: 255,
      source: [0xfe800000, 1, 2, 3],
      destination: [0xff020000, 4, 5, 0xffffffff],
    }));
  assert.equal(
    hex(view, 40),
    "6b8abcde04d23aff" + "fe800000000000010000000200000003" + "ff0200000000000400000005ffffffff",
  );
  assert.equal(ipv6.version(view, AT), 6);
  assert.equal(ipv6.trafficClass(view, AT), 0xb8);
  assert.equal(ipv6.label(view, AT), 0xabcde);
  assert.equal(ipv6.payloadSize(view, AT), 1234);
  assert.equal(ipv6.nextHeader(view, AT), 58);
  assert.equal(ipv6.hopLimit(view, AT), 255);
  assert.equal(ipv6.sourceWord(view, AT, 0), 0xfe800000);
  assert.equal(ipv6.destinationWord(view, AT, 3), 0xffffffff);
  assert.equal(ipv6.fits(view, AT, AT + 40), true);
  assert.equal(ipv6.fits(view, AT, AT + 39), false);
  view.setUint8(AT + 1, 3);
  assert.equal(ipv6.extensionSize(view, AT, ipv6.NEXTHDR_HOP), 32);
  assert.equal(ipv6.extensionSize(view, AT, ipv6.NEXTHDR_AUTH), 20);
  assert.equal(ipv6.extensionSize(view, AT, ipv6.NEXTHDR_FRAGMENT), 8);
  assert.equal(ipv6.isExtension(ipv6.NEXTHDR_NONE), false);
  assert.equal(ipv6.isExtension(ipv6.NEXTHDR_ROUTING), true);
});

Deno.test("tcp.write sets all 20 bytes", () => {
  const fields = {
    source: 80,
    destination: 65535,
    sequence: 0xfffffffe,
    acknowledgment: 0x80000001,
    flags: tcp.NS | tcp.SYN,
    window: 64240,
  };
  const view = written(tcp.SIZE, (view) => tcp.write(view, AT, fields));
  assert.deepEqual({
    source: tcp.source(view, AT),
    destination: tcp.destination(view, AT),
    sequence: tcp.sequence(view, AT),
    acknowledgment: tcp.acknowledgment(view, AT),
    flags: tcp.flags(view, AT),
    window: tcp.window(view, AT),
  }, fields);
  assert.equal(tcp.headerSize(view, AT), 20);
  assert.equal(tcp.checksum(view, AT), 0);
  assert.equal(tcp.fits(view, AT, AT + 20), true);
  assert.equal(tcp.fits(view, AT, AT + 19), false);
  view.setUint8(AT + 12, 0x40);
  assert.equal(tcp.fits(view, AT, AT + 20), false);
});

Deno.test("udp.write sets all 8 bytes, checksum 0", () => {
  const view = written(
    udp.SIZE,
    (view) => udp.write(view, AT, { source: 53, destination: 4789, totalSize: 508 }),
  );
  assert.equal(hex(view, 8), "003512b501fc0000");
  assert.equal(udp.source(view, AT), 53);
  assert.equal(udp.destination(view, AT), 4789);
  assert.equal(udp.totalSize(view, AT), 508);
  assert.equal(udp.checksum(view, AT), 0);
  assert.equal(udp.fits(view, AT, AT + 8), true);
  assert.equal(udp.fits(view, AT, AT + 7), false);
});

Deno.test("icmp.write sets all 8 bytes; finishMessage makes the sum all ones", () => {
  const view = written(
    icmp.SIZE,
    (view) => icmp.write(view, AT, icmp.ECHO_REQUEST, 0, 0x00010002),
  );
  assert.equal(hex(view, 8), "0800000000010002");
  icmp.finishMessage(view, AT, AT + 8);
  assert.equal(icmp.checksum(view, AT), 0xf7fc);
  assert.equal(icmp.type(view, AT), 8);
  assert.equal(icmp.code(view, AT), 0);
  assert.equal(icmp.rest(view, AT), 0x00010002);
  assert.equal(icmp.fits(view, AT, AT + 7), false);
});

Deno.test("icmpv6.write sets all 8 bytes; isNeighbourDiscovery wants 24 bytes and code 0", () => {
  const view = written(
    icmpv6.SIZE,
    (view) => icmpv6.write(view, AT, icmpv6.NEIGHBOUR_ADVERTISEMENT, 0, 0xe0000000),
  );
  assert.equal(hex(view, 8), "88000000e0000000");
  assert.equal(icmpv6.type(view, AT), 136);
  assert.equal(icmpv6.rest(view, AT), 0xe0000000);
  assert.equal(icmpv6.isNeighbourDiscovery(view, AT, AT + 24), true);
  assert.equal(icmpv6.isNeighbourDiscovery(view, AT, AT + 23), false);
  assert.equal(icmpv6.targetWord(view, AT, 0), 0xa5a5a5a5);
  view.setUint8(AT + 1, 1);
  assert.equal(icmpv6.isNeighbourDiscovery(view, AT, AT + 24), false);
});

Deno.test("sctp.write sets all 12 bytes; finishPacket makes the checksum right", () => {
  const view = written(
    sctp.SIZE,
    (view) => sctp.write(view, AT, { source: 1, destination: 2, tag: 0x80000003 }),
  );
  assert.equal(hex(view, 12), "000100028000000300000000");
  assert.equal(sctp.source(view, AT), 1);
  assert.equal(sctp.destination(view, AT), 2);
  assert.equal(sctp.tag(view, AT), 0x80000003);
  assert.equal(sctp.isChecksumRight(view, AT, AT + 16), false);
  sctp.finishPacket(view, AT, AT + 16);
  assert.equal(sctp.isChecksumRight(view, AT, AT + 16), true);
});

Deno.test("mpls.write sets all 4 bytes; isBottom is the entry's", () => {
  const view = written(mpls.SIZE, (view) => mpls.write(view, AT, 0xfffff13e));
  assert.equal(hex(view, 4), "fffff13e");
  assert.equal(mpls.entry(view, AT), 0xfffff13e);
  assert(mpls.isBottom(view, AT));
  assert(!mpls.isBottom(written(4, (view) => mpls.write(view, AT, 0xfffffeff)), AT));
  assert(mpls.fits(AT, AT + 4));
  assert(!mpls.fits(AT, AT + 3));
});

Deno.test("nsh.write sets all bytes of both metadata types, and the accessors read them back", () => {
  const fields = { flags: 2, ttl: 63, nextProtocol: 3, path: 0xabcdef07, context: [1, 2, 3, -1] };
  for (const mdType of [nsh.MD_TYPE_1, nsh.MD_TYPE_2]) {
    const size = mdType === nsh.MD_TYPE_1 ? nsh.TYPE_1_SIZE : nsh.SIZE;
    const view = written(size, (view) => {
      assert.equal(nsh.write(view, AT, { ...fields, mdType }), size);
    });
    assert.equal(hex(view, 8), `2fc${mdType === 1 ? 6 : 2}0${mdType}03abcdef07`);
    assert.equal(nsh.version(view, AT), 0);
    assert.equal(nsh.flags(view, AT), 2);
    assert.equal(nsh.ttl(view, AT), 63);
    assert.equal(nsh.headerSize(view, AT), size);
    assert.equal(nsh.mdType(view, AT), mdType);
    assert.equal(nsh.nextProtocol(view, AT), 3);
    assert.equal(nsh.path(view, AT), 0xabcdef07);
    assert(nsh.fits(view, AT, AT + size));
    assert(!nsh.fits(view, AT, AT + size - 1));
    if (mdType === nsh.MD_TYPE_1) assert.equal(nsh.context(view, AT, 3), 0xffffffff);
  }
});
