import assert from "node:assert/strict";
import { extractKey } from "../extract/extract.ts";
import * as key from "../key.ts";
import { clearMetadata, copyMetadata, copyPacket, Packet } from "./packet.ts";
import { makeFrame, packetOf } from "../testing/frames.ts";
import { TunnelKey } from "./tunnel_key.ts";

/** A tunnel key over a whole key that holds rubbish. */
function dirty(): { bytes: Uint8Array; tunnel: TunnelKey } {
  const bytes = new Uint8Array(key.KEY_SIZE).fill(0xa5);
  return { bytes, tunnel: new TunnelKey(new DataView(bytes.buffer)) };
}

Deno.test("TunnelKey: begin zeroes the tunnel's bytes and no other", () => {
  const { bytes, tunnel } = dirty();
  tunnel.begin(6);
  const end = key.TUN_OPTIONS_AT + key.TUN_OPTIONS_MAX;
  bytes.forEach((byte, at) => {
    const wanted = at < key.TUN_ID_AT || at >= end ? 0xa5 : at === key.TUN_FAMILY_AT ? 6 : 0;
    assert.equal(byte, wanted, `byte ${at}`);
  });
});

Deno.test("TunnelKey: every field is where the key has it, in network byte order", () => {
  const { bytes, tunnel } = dirty();
  tunnel.begin(4);
  tunnel.idHigh = 0x01020304;
  tunnel.idLow = 0x85060708;
  tunnel.source = 0xac100001;
  tunnel.destination = 0xac100002;
  [0, 1, 2, 3].forEach((index) => {
    tunnel.setSourceWord(index, 0xfd000000 + index);
    tunnel.setDestinationWord(index, 0xfe000000 + index);
  });
  tunnel.tos = 0x1c;
  tunnel.ttl = 63;
  tunnel.flags = key.TUN_FLAG_KEY | key.TUN_FLAG_CSUM;
  tunnel.sourcePort = 50001;
  tunnel.destinationPort = 4789;
  tunnel.vxlanPolicy = 0x00080123;
  const view = new DataView(bytes.buffer);
  assert.equal(view.getBigUint64(key.TUN_ID_AT), 0x0102030485060708n);
  assert.equal(view.getUint32(key.TUN_SRC_AT), 0xac100001);
  assert.equal(view.getUint32(key.TUN_DST_AT), 0xac100002);
  assert.equal(view.getUint32(key.TUN_IPV6_SRC_AT + 12), 0xfd000003);
  assert.equal(view.getUint32(key.TUN_IPV6_DST_AT + 4), 0xfe000001);
  assert.equal(view.getUint8(key.TUN_TOS_AT), 0x1c);
  assert.equal(view.getUint8(key.TUN_TTL_AT), 63);
  assert.equal(view.getUint16(key.TUN_FLAGS_AT), key.TUN_FLAG_KEY | key.TUN_FLAG_CSUM);
  assert.equal(view.getUint32(key.TUN_TP_SRC_AT), 50001 * 65536 + 4789);
  assert.equal(view.getUint32(key.TUN_FAMILY_AT), 0x04020004);
  assert.equal(view.getUint32(key.TUN_OPTIONS_AT), 0x00080123);
  const copy = dirty().tunnel;
  copy.copyFrom(tunnel);
  assert.deepEqual(
    [copy.family, copy.idHigh, copy.idLow, copy.source, copy.destination, copy.tos, copy.ttl],
    [4, 0x01020304, 0x85060708, 0xac100001, 0xac100002, 0x1c, 63],
  );
  assert.deepEqual(
    [copy.flags, copy.sourcePort, copy.destinationPort, copy.vxlanPolicy, copy.optionsKind],
    [key.TUN_FLAG_KEY | key.TUN_FLAG_CSUM, 50001, 4789, 0x00080123, key.TUN_OPTIONS_VXLAN],
  );
  assert.deepEqual([copy.sourceWord(2), copy.destinationWord(3)], [0xfd000002, 0xfe000003]);
});

Deno.test("TunnelKey.setOptions: bytes of any length, with zeros behind them; too many are refused", () => {
  const { bytes, tunnel } = dirty();
  tunnel.begin(4);
  const options = Uint8Array.from({ length: 300 }, (_, at) => at | 1);
  const view = new DataView(options.buffer);
  for (const size of [key.TUN_OPTIONS_MAX, 5, 0, 8]) {
    assert(tunnel.setOptions(key.TUN_OPTIONS_GENEVE, view, 2, size));
    assert.equal(tunnel.optionsSize, size);
    const wanted = new Uint8Array(key.TUN_OPTIONS_MAX);
    wanted.set(options.subarray(2, 2 + size));
    assert.deepEqual(
      bytes.slice(key.TUN_OPTIONS_AT, key.TUN_OPTIONS_AT + key.TUN_OPTIONS_MAX),
      wanted,
    );
    const copied = new DataView(new ArrayBuffer(size + 1));
    tunnel.copyOptions(copied, 1);
    assert.deepEqual(new Uint8Array(copied.buffer, 1), options.slice(2, 2 + size));
  }
  assert(!tunnel.setOptions(key.TUN_OPTIONS_GENEVE, view, 0, key.TUN_OPTIONS_MAX + 1));
  assert.equal(tunnel.optionsSize, 8);
  assert.equal(tunnel.vxlanPolicy, 0);
});

/** A packet with every kind of metadata. */
function tunnelled(): Packet {
  const packet = packetOf(makeFrame().bytes, { inPort: 3, dpHash: 0xfedcba98, recircId: 5 });
  const tunnel = packet.beginTunnel(4);
  tunnel.idLow = 42;
  tunnel.flags = key.TUN_FLAG_KEY;
  const options = new DataView(Uint8Array.of(1, 2, 3, 1, 9, 9, 9, 9).buffer);
  tunnel.setOptions(key.TUN_OPTIONS_GENEVE, options, 0, 8);
  packet.ctState = 0x22;
  packet.ctZone = 0x1234;
  packet.metadata().view.setUint32(key.CT_MARK_AT - 128, 0xcafe);
  packet.metadata().view.setUint8(key.CT_PROTO_AT - 128, 6);
  return packet;
}

function keyOf(packet: Packet): DataView {
  const words = new Int32Array(key.KEY_WORDS);
  extractKey(packet, words, 0);
  return new DataView(words.buffer);
}

Deno.test("extractKey: hash, connection and tunnel in the key", () => {
  const view = keyOf(tunnelled());
  assert.equal(view.getUint32(key.DP_HASH_AT), 0xfedcba98);
  assert.equal(view.getUint32(key.CT_STATE_AT), 0x22);
  assert.equal(view.getUint16(key.CT_ZONE_AT), 0x1234);
  assert.equal(view.getUint16(key.IN_PORT_AT), 3);
  assert.equal(view.getUint32(key.CT_MARK_AT), 0xcafe);
  assert.equal(view.getUint8(key.CT_PROTO_AT), 6);
  assert.equal(view.getUint32(key.TUN_ID_AT + 4), 42);
  assert.equal(view.getUint32(key.TUN_FAMILY_AT), 0x04010008);
  assert.equal(view.getUint32(key.TUN_OPTIONS_AT + 4), 0x09090909);
});

Deno.test("copyMetadata carries connection and tunnel; clearMetadata forgets them", () => {
  const source = tunnelled();
  const target = new Packet(source.buffer);
  copyMetadata(source, target);
  target.start = source.start;
  target.end = source.end;
  assert.deepEqual(keyOf(target), keyOf(source));
  const other = packetOf(new Uint8Array(200));
  assert(copyPacket(source, other));
  assert.deepEqual(keyOf(other), keyOf(source));
  clearMetadata(target);
  assert.equal(target.tunnel, undefined);
  assert.deepEqual(keyOf(target), keyOf(packetOf(makeFrame().bytes)));
});

Deno.test("Packet.beginTunnel: nothing of a former packet's tunnel remains", () => {
  const packet = tunnelled();
  clearMetadata(packet);
  packet.beginTunnel(6).idLow = 7;
  const fresh = packetOf(makeFrame().bytes);
  fresh.beginTunnel(6).idLow = 7;
  assert.deepEqual(keyOf(packet), keyOf(fresh));
  assert.equal(packet.tunnel?.family, 6);
});
