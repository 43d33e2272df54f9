import assert from "node:assert/strict";
import { makePacket } from "../conntrack/testing/packets.ts";
import { TestHost } from "../testing/ports.ts";
import { sum } from "./checksum.ts";
import { fragment, wantsFragments } from "./fragment_output.ts";
import type { Packet } from "./packet.ts";
import { copyMetadata } from "./packet.ts";

const HEADER = { 4: 20, 6: 48 } as const;

/** A UDP packet that came in fragments of these sizes. */
function reassembled(family: 4 | 6, sizes: readonly number[]): Packet {
  const ends = family === 4
    ? { src: "10.0.0.1", dst: "10.0.0.2" }
    : { src: "fd00::1", dst: "fd00::2" };
  const total = sizes.reduce((all, size) => all + size, 0);
  const packet = makePacket({ ...ends, protocol: 17, payload: new Uint8Array(total - 8).fill(7) });
  packet.mru = Math.max(...sizes) + HEADER[family];
  const wide = packet.metadata();
  wide.pieces.set(sizes);
  wide.pieceCount = sizes.length;
  return packet;
}

/** Sizes of the fragmented parts of what it leaves in; the parts together are the packet. */
function sizesOf(family: 4 | 6, packet: Packet): number[] {
  const host = new TestHost(64);
  const sizes: number[] = [];
  let next = 0;
  const l4At = packet.l4At;
  const verdict = fragment(packet, {
    allocate: () => host.allocate(),
    recycle: (piece) => host.recycle(piece),
    emit: (piece) => {
      const { view, l3At } = piece;
      const at = l3At + HEADER[family];
      const field = view.getUint16(family === 4 ? l3At + 6 : at - 6);
      const offset = family === 4 ? (field & 0x1fff) << 3 : field & 0xfff8;
      assert.equal(offset, next);
      if (family === 4) assert.equal(sum(view, l3At, at), 0xffff);
      const part = piece.bytes.slice(at, piece.end);
      assert.deepEqual(part, packet.bytes.slice(l4At + offset, l4At + offset + part.length));
      next += part.length;
      const hasMore = (field & (family === 4 ? 0x2000 : 1)) !== 0;
      assert.equal(hasMore, next < packet.end - l4At);
      sizes.push(part.length);
      host.recycle(piece);
    },
  }, 1);
  assert.equal(verdict, 0);
  return sizes;
}

for (const family of [4, 6] as const) {
  Deno.test(`fragment: IPv${family} packets leave in the sizes that they came in`, () => {
    for (const sizes of [[400, 800, 308], [1440, 1440, 120], [8, 8, 8, 3]]) {
      const packet = reassembled(family, sizes);
      assert.ok(wantsFragments(packet));
      assert.deepEqual(sizesOf(family, packet), sizes);
    }
  });

  Deno.test(`fragment: IPv${family} packets whose sizes are not known leave in equal ones`, () => {
    const equal = [1400, 1400, 200];
    const packet = reassembled(family, [1400, 800, 800]);
    packet.metadata().pieceCount = 0;
    assert.deepEqual(sizesOf(family, packet), equal);
    // Known, but of a packet that was longer.
    const longer = reassembled(family, [1400, 800, 800]);
    longer.metadata().pieces[2] = 808;
    assert.deepEqual(sizesOf(family, longer), equal);
  });
}

Deno.test("copyMetadata: a copy has the sizes of the fragments too, and forgets its own", () => {
  const source = reassembled(4, [400, 800, 308]);
  const target = reassembled(4, [8, 8, 8, 8]);
  copyMetadata(source, target);
  assert.deepEqual([...target.metadata().pieces.subarray(0, 4)], [400, 800, 308, 8]);
  assert.equal(target.metadata().pieceCount, 3);
});
