import assert from "node:assert/strict";
import { copyPacket, FRAME_SIZE_MAX, HEADROOM, type Packet } from "./packet.ts";
import { PacketPool, SLOT_SIZE } from "./packet_pool.ts";
import { frameOf, makeFrame, packetOf } from "../testing/frames.ts";

function makePool(slots: number): PacketPool {
  return new PacketPool(new ArrayBuffer(slots * SLOT_SIZE), 0, slots);
}

Deno.test("SLOT_SIZE is an odd multiple of 64 with room for the longest frame", () => {
  assert.equal(SLOT_SIZE % 128, 64);
  assert(SLOT_SIZE >= HEADROOM + 2 + FRAME_SIZE_MAX);
});

Deno.test("PacketPool: packets lie apart, with headroom, until none is free", () => {
  const pool = makePool(3);
  const packets = [pool.allocate()!, pool.allocate()!, pool.allocate()!];
  assert.equal(pool.allocate(), undefined);
  assert.equal(pool.freeCount, 0);
  packets.forEach((packet, slot) => {
    assert.equal(packet.slot, slot);
    assert.equal(packet.headLimit, slot * SLOT_SIZE);
    assert.equal(packet.start, slot * SLOT_SIZE + HEADROOM + 2);
    assert.equal(packet.end, packet.start);
    assert.equal(packet.tailLimit, (slot + 1) * SLOT_SIZE);
  });
});

Deno.test("PacketPool: a freed packet comes back without the state it had", () => {
  const pool = makePool(1);
  const packet = pool.allocate()!;
  const fresh = { ...packet };
  const used: Partial<Packet> = { start: 5, end: 9, needsCsum: true, gsoType: 1, mark: 3, ip: 1 };
  Object.assign(packet, used, { l3At: 1, l4At: 2, lentInRound: 7, priority: 2, inPort: 1 });
  pool.free(packet);
  assert.deepEqual({ ...pool.allocate()! }, fresh);
});

Deno.test("PacketPool: a retired packet is free from the end of the round on", () => {
  const pool = makePool(2);
  pool.retire(pool.allocate()!);
  pool.allocate();
  assert.equal(pool.allocate(), undefined);
  pool.endRound();
  assert.equal(pool.freeCount, 1);
  assert.equal(pool.allocate()!.slot, 0);
});

Deno.test("PacketPool: memory that is too small is refused", () => {
  assert.throws(() => new PacketPool(new ArrayBuffer(SLOT_SIZE * 2 - 1), 0, 2), RangeError);
});

Deno.test("copyPacket: bytes, header places and offload state of short and long frames", () => {
  const pool = makePool(2);
  for (const payloadSize of [0, 3, 200, 1400, 65000]) {
    const { bytes, l3, l4 } = makeFrame({ payloadSize });
    const source = packetOf(bytes, { needsCsum: true, csumStart: l4, csumOffset: 16, mark: 5 });
    source.l3At = source.start + l3;
    source.l4At = 0;
    const copy = pool.allocate()!;
    assert.equal(copyPacket(source, copy), true);
    assert.deepEqual(frameOf(copy), bytes);
    assert.equal(copy.l3At - copy.start, l3);
    assert.equal(copy.l4At, 0);
    assert.equal(copy.csumStart, l4);
    assert.equal(copy.mark, 5);
    const second = pool.allocate()!;
    assert.equal(copyPacket(copy, second), true);
    assert.deepEqual(frameOf(second), bytes);
    pool.free(copy);
    pool.free(second);
  }
});

Deno.test("copyPacket: a frame longer than the slot is refused", () => {
  const copy = makePool(1).allocate()!;
  assert.equal(copyPacket(packetOf(new Uint8Array(SLOT_SIZE - HEADROOM - 1)), copy), false);
  assert.equal(copy.size, 0);
});
