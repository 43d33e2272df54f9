import assert from "node:assert/strict";
import fc from "fast-check";
import {
  crc32c,
  difference16,
  difference32,
  finish,
  fold,
  pseudoIpv4,
  pseudoIpv6,
  sum,
  unit,
  update,
} from "./checksum.ts";
import { makeFrame, naiveCrc32c, naiveSum } from "../testing/frames.ts";

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

Deno.test("sum equals the sum by bytes at every offset and length", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 3000, size: "max" }),
      fc.nat(9),
      (bytes, at) => {
        fc.pre(at <= bytes.length);
        assert.equal(unit(sum(viewOf(bytes), at, bytes.length)), naiveSum(bytes, at, bytes.length));
      },
    ),
  );
});

Deno.test("sum of 64 KiB of ones is all ones, not an overflow", () => {
  const bytes = new Uint8Array(65556).fill(0xff);
  assert.equal(sum(viewOf(bytes), 0, bytes.length), 0xffff);
  assert.equal(finish(0xffff), 0);
});

Deno.test("update: incremental equals full for any change of words", () => {
  const change = fc.record({
    at: fc.nat(15),
    value: fc.nat(0xffff),
    isWord: fc.boolean(),
    high: fc.nat(0xffff),
  });
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 40, maxLength: 40 }),
      fc.array(change, { minLength: 1, maxLength: 4 }),
      (bytes, changes) => {
        const view = viewOf(bytes);
        // Data that is all zeros before or after is the one case where RFC 1624 differs.
        bytes[39] = 1;
        let checksum = finish(sum(view, 0, 40));
        for (const { at, value, isWord, high } of changes) {
          if (isWord) {
            const old = view.getInt32(at * 2, true);
            const word = value | high << 16;
            view.setInt32(at * 2, word, true);
            checksum = update(checksum, difference32(old, word));
          } else {
            const old = view.getUint16(at * 2, true);
            view.setUint16(at * 2, value, true);
            checksum = update(checksum, difference16(old, value));
          }
        }
        assert.equal(checksum, finish(sum(view, 0, 40)));
      },
    ),
  );
});

Deno.test("update: a sum that grows by a difference stays the partial checksum", () => {
  const before = makeFrame({ checksum: "partial", source: 0x0a000001 });
  const after = makeFrame({ checksum: "partial", source: 0xc0a80107 });
  const old = viewOf(before.bytes).getUint16(before.l4 + 16, true);
  const difference = difference32(
    viewOf(before.bytes).getInt32(before.l3 + 12, true),
    viewOf(after.bytes).getInt32(after.l3 + 12, true),
  );
  assert.equal(fold(old + difference), viewOf(after.bytes).getUint16(after.l4 + 16, true));
});

Deno.test("pseudoIpv4 and pseudoIpv6 complete to the checksum by bytes", () => {
  for (const isIpv6 of [false, true]) {
    for (const size of [0, 1, 700, 65000]) {
      const { bytes, l3, l4 } = makeFrame({ isIpv6, payloadSize: size });
      const view = viewOf(bytes);
      const pseudo = isIpv6
        ? pseudoIpv6(view, l3, 6, bytes.length - l4)
        : pseudoIpv4(view, l3, 6, bytes.length - l4);
      assert.equal(finish(pseudo + sum(view, l4, bytes.length)), 0, `${isIpv6} ${size}`);
    }
  }
});

Deno.test("crc32c equals the bitwise CRC with the field zeroed", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 300 }), (bytes) => {
      const zeroed = bytes.slice();
      zeroed.fill(0, 8, 12);
      assert.equal(crc32c(viewOf(bytes), 0, bytes.length), naiveCrc32c(zeroed));
    }),
  );
  // The check value of the catalogue of parametrised CRC algorithms.
  assert.equal(naiveCrc32c(new TextEncoder().encode("123456789")), 0xe3069283);
});
