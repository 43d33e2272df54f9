/** Unit tests of the ring of asynchronous ports. */
import assert from "node:assert/strict";
import { FrameRing, makeRing } from "./async_ring.ts";

function frame(size: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, at) => at * 7 + seed);
}

function take(ring: FrameRing): Uint8Array | undefined {
  const size = ring.nextSize();
  if (size < 0) return undefined;
  const bytes = new Uint8Array(size);
  ring.take(bytes, 0, size);
  return bytes;
}

Deno.test("FrameRing: frames come out whole and in order, over the ring's end and the counters' wrap", () => {
  const memory = makeRing(256);
  new Int32Array(memory, 0, 2).fill(-400); // 400 bytes before the positions wrap
  const writer = new FrameRing(memory);
  const reader = new FrameRing(memory);
  assert.equal(take(reader), undefined);
  for (let round = 0; round < 40; round++) {
    const sizes = [round % 61 + 1, 14, 60];
    for (const size of sizes) assert(writer.push(frame(size + 3, round), 3, size + 3));
    for (const size of sizes) assert.deepEqual(take(reader), frame(size + 3, round).subarray(3));
    assert.equal(take(reader), undefined);
  }
});

Deno.test("FrameRing.push: a full ring refuses, and takes again when there is room", () => {
  const memory = makeRing(256);
  const ring = new FrameRing(memory);
  assert.equal(ring.push(frame(300, 0), 0, 300), false);
  for (let count = 0; count < 4; count++) assert(ring.push(frame(60, count), 0, 60));
  assert.equal(ring.push(frame(1, 9), 0, 1), false);
  assert.deepEqual(take(ring), frame(60, 0));
  assert(ring.push(frame(60, 4), 0, 60));
  for (let count = 1; count < 5; count++) assert.deepEqual(take(ring), frame(60, count));
});

Deno.test("FrameRing.wasEmptyBefore: says so for the first frame only", () => {
  const ring = new FrameRing(makeRing(256));
  ring.push(frame(60, 0), 0, 60);
  assert.equal(ring.wasEmptyBefore(60), true);
  ring.push(frame(60, 0), 0, 60);
  assert.equal(ring.wasEmptyBefore(60), false);
});
