/** Trains cut up for a tunnel are cut up as datapath/packet/segment.ts does it. */
import assert from "node:assert/strict";
import { extractKey } from "../datapath/extract/extract.ts";
import { KEY_WORDS } from "../datapath/key.ts";
import { pseudoIpv4, pseudoIpv6, sum } from "../datapath/packet/checksum.ts";
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet } from "../datapath/packet/packet.ts";
import { segment } from "../datapath/packet/segment.ts";
import { Train } from "./tunnel_train.ts";

function newPacket(): Packet {
  const bytes = new Uint8Array(80_000);
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.start = packet.end = 258;
  packet.tailLimit = bytes.length;
  return packet;
}

/** A train as random as one can be, with garbage where segmentation writes. */
function randomTrain(random: (below: number) => number): Packet {
  const isTcp = random(3) > 0;
  const isIpv4 = random(2) === 0;
  const tags = random(3);
  const ipOptions = isIpv4 ? 4 * random(4) : 0;
  const tcpOptions = 4 * random(11);
  const l3Size = isIpv4 ? 20 + ipOptions : 40;
  const l4Size = isTcp ? 20 + tcpOptions : 8;
  const l3 = 14 + 4 * tags;
  const payloadSize = 1 + random(20_000);
  const size = l3 + l3Size + l4Size + payloadSize;
  const packet = newPacket();
  packet.end = packet.start + size;
  const { view, start } = packet;
  for (let at = 0; at < size; at++) view.setUint8(start + at, random(256));
  view.setUint8(start, 2);
  for (let tag = 0; tag < tags; tag++) view.setUint16(start + 12 + 4 * tag, 0x8100);
  view.setUint16(start + l3 - 2, isIpv4 ? 0x0800 : 0x86dd);
  const ip = start + l3;
  const l4 = ip + l3Size;
  const protocol = isTcp ? 6 : 17;
  if (isIpv4) {
    view.setUint8(ip, 0x40 | l3Size >>> 2);
    view.setUint16(ip + 2, size - l3);
    view.setUint16(ip + 6, 0x4000);
    view.setUint8(ip + 9, protocol);
    for (let at = 20; at < l3Size; at++) view.setUint8(ip + at, 1);
  } else {
    view.setUint8(ip, 0x60);
    view.setUint16(ip + 4, size - l3 - 40);
    view.setUint8(ip + 6, protocol);
  }
  if (isTcp) {
    view.setUint8(l4 + 12, (l4Size >>> 2) << 4);
    for (let at = 20; at < l4Size; at++) view.setUint8(l4 + at, 1);
  } else view.setUint16(l4 + 4, size - l3 - l3Size);
  packet.gsoType = isTcp ? isIpv4 ? GSO_TCPV4 : GSO_TCPV6 : GSO_UDP_L4;
  packet.gsoSize = 1 + random(3000);
  // Without this, a UDP checksum of 0 says that there is none.
  packet.needsCsum = random(4) > 0;
  packet.csumStart = l4 - start;
  packet.csumOffset = isTcp ? 16 : 6;
  const checksumAt = l4 + packet.csumOffset;
  const l4PacketSize = packet.end - l4;
  if (packet.needsCsum) {
    const pseudo = isIpv4
      ? pseudoIpv4(view, ip, protocol, l4PacketSize)
      : pseudoIpv6(view, ip, protocol, l4PacketSize);
    view.setUint16(checksumAt, pseudo, true);
  } else if (random(2) === 0) view.setUint16(checksumAt, 0);
  extractKey(packet, new Int32Array(KEY_WORDS), 0);
  return packet;
}

/** By segment.ts. */
function expected(train: Packet): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const reason = segment(train, {
    allocate: newPacket,
    emit: (packet) => frames.push(packet.bytes.slice(packet.start, packet.end)),
    recycle: () => {},
  });
  assert.equal(reason, 0);
  return frames;
}

Deno.test("Train: segments are byte for byte what segment() makes, and their sums are right", () => {
  let state = 0x7ea1;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  for (let round = 0; round < 300; round++) {
    const packet = randomTrain(random);
    const frames = expected(packet);
    const train = new Train();
    assert.ok(train.open(packet));
    train.begin(packet);
    const headers = new DataView(new ArrayBuffer(256));
    const isSummed = round % 2 === 0;
    const { gsoSize } = packet;
    const payloadAt = packet.start + train.headersSize;
    frames.forEach((frame, index) => {
      const offset = index * gsoSize;
      const size = Math.min(gsoSize, packet.end - payloadAt - offset);
      const isLast = index === frames.length - 1;
      new Uint8Array(headers.buffer).fill(0xa5);
      train.writeHeaders(packet, headers, 7, { index, offset, size, isLast, isSummed });
      const payload = packet.bytes.subarray(payloadAt + offset, payloadAt + offset + size);
      const got = new Uint8Array([
        ...new Uint8Array(headers.buffer, 7, train.headersSize),
        ...payload,
      ]);
      assert.deepEqual(got, frame, `round ${round}, segment ${index} of ${frames.length}`);
      if (!isSummed) return;
      assert.equal(train.segmentSum, sum(new DataView(frame.buffer), 0, frame.length));
    });
  }
});

Deno.test("Train: one of more segments than segment() makes is refused as it refuses it", () => {
  const random = (below: number): number => below >> 1;
  for (const [gsoSize, isTaken] of [[1, false], [2, true]] as const) {
    const packet = randomTrain(random);
    assert.ok(packet.end - packet.start > 9000);
    packet.gsoSize = gsoSize;
    let count = 0;
    const counting = { allocate: newPacket, emit: () => count++, recycle: () => {} };
    assert.equal(segment(packet, counting) === 0, isTaken);
    assert.equal(count > 0, isTaken);
    assert.equal(new Train().open(packet), isTaken);
  }
});
