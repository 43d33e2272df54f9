import assert from "node:assert/strict";
import { BLOCKS_SIZE_MAX, makeBlockSum } from "./block_sum.ts";
import { fold, sum, sumFaster } from "./checksum.ts";

const SIZE = 4 * 65536;

/** Two views of the same bytes: one in a WebAssembly memory, one not. */
function twins(fill: (at: number) => number): { fast: WebAssembly.Memory; plain: DataView } {
  const fast = new WebAssembly.Memory({ initial: 4, maximum: 4 });
  const bytes = new Uint8Array(fast.buffer);
  for (let at = 0; at < SIZE; at++) bytes[at] = fill(at);
  return { fast, plain: new DataView(bytes.slice().buffer) };
}

Deno.test("makeBlockSum: blocks of all counts at all alignments sum as checksum.ts's own loop does", () => {
  const { fast, plain } = twins((at) => Math.imul(at, 0x9e3779b1) >>> 13);
  const blockSum = makeBlockSum(fast);
  for (let at = 0; at < 40; at++) {
    for (const count of [8, 9, 10, 11, 44, 45, 2047, 2048]) {
      const end = at + 32 * count;
      assert.equal(fold(blockSum(at, end)), sum(plain, at, end), `[${at}, ${end})`);
    }
  }
});

Deno.test("makeBlockSum: the largest sums don't overflow, zeros sum to 0, no block to 0", () => {
  const ones = makeBlockSum(twins(() => 0xff).fast);
  assert.equal(fold(ones(0, BLOCKS_SIZE_MAX)), 0xffff);
  assert.equal(ones(0, BLOCKS_SIZE_MAX) >>> 0, (BLOCKS_SIZE_MAX / 2) * 0xffff);
  assert.equal(ones(64, 64), 0);
  assert.equal(makeBlockSum(twins(() => 0).fast)(0, 65536), 0);
});

Deno.test("sumFaster: sums of any range are the same, by views that begin anywhere", () => {
  const { fast, plain } = twins((at) => Math.imul(at ^ 0x55, 0x85ebca6b) >>> 11);
  let calls = 0;
  const blockSum = makeBlockSum(fast);
  sumFaster(fast.buffer, (at, end) => {
    calls++;
    return blockSum(at, end);
  });
  try {
    const view = new DataView(fast.buffer);
    const later = new DataView(fast.buffer, 1001);
    for (const size of [0, 1, 20, 255, 256, 257, 287, 1447, 1448, 65_535, 131_072, 200_001]) {
      for (const at of [0, 1, 2, 3, 14, 54]) {
        assert.equal(sum(view, at, at + size), sum(plain, at, at + size), `${at} + ${size}`);
        const moved = sum(plain, at + 1001, at + 1001 + size);
        assert.equal(sum(later, at, at + size), moved, `1001 + ${at} + ${size}`);
      }
    }
    assert.ok(calls > 60, `${calls} were fast`);
  } finally {
    sumFaster(new ArrayBuffer(0), () => 0);
  }
});
