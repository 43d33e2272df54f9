import assert from "node:assert/strict";
import fc from "fast-check";
import { ifindexFilter } from "./packet_filter.ts";

const OFFSET = 0xfffff000;
const PKTTYPE = 4;
const IFINDEX = 8;

/** What the kernel's interpreter would return for a frame. */
function accepts(program: Uint8Array<ArrayBuffer>, ifindex: number, pktType = 0): boolean {
  const view = new DataView(program.buffer);
  let accumulator = 0;
  for (let pc = 0;; pc++) {
    assert.ok(pc * 8 + 8 <= program.length, "ran out of the program");
    const code = view.getUint16(pc * 8, true);
    const k = view.getUint32(pc * 8 + 4, true);
    const jump = (taken: boolean): number => view.getUint8(pc * 8 + (taken ? 2 : 3));
    switch (code) {
      case 0x20: // ld word
        assert.ok(k === OFFSET + PKTTYPE || k === OFFSET + IFINDEX);
        accumulator = k === OFFSET + PKTTYPE ? pktType : ifindex;
        break;
      case 0x15:
        pc += jump(accumulator === k);
        break;
      case 0x35:
        pc += jump(accumulator >= k);
        break;
      case 0x05:
        pc += k;
        break;
      case 0x06:
        return k !== 0;
      default:
        assert.fail(`unknown instruction ${code}`);
    }
  }
}

Deno.test("ifindexFilter: keeps exactly the listed devices, and nothing that the host sent", () => {
  const ifindex = fc.integer({ min: 1, max: 5000 });
  fc.assert(fc.property(fc.array(ifindex, { maxLength: 600 }), ifindex, (list, other) => {
    const program = ifindexFilter(list);
    const set = new Set(list);
    for (const one of list.slice(0, 20)) {
      assert.ok(accepts(program, one));
      assert.ok(!accepts(program, one, 4));
      for (const near of [one - 1, one + 1]) assert.equal(accepts(program, near), set.has(near));
    }
    assert.equal(accepts(program, other), set.has(other));
  }));
});

Deno.test("ifindexFilter: an empty list drops all", () => {
  assert.ok(!accepts(ifindexFilter([]), 1));
});

Deno.test("ifindexFilter: 2,500 devices fit, far more keep everything", () => {
  const list = (count: number): number[] => Array.from({ length: count }, (_, at) => 3 * at + 1);
  const fits = ifindexFilter(list(2500));
  assert.ok(fits.length / 8 <= 4096);
  for (const ifindex of [1, 4, 3000, 3001, 7498]) {
    assert.equal(accepts(fits, ifindex), ifindex % 3 === 1);
  }
  assert.ok(!accepts(fits, 7501));
  const all = ifindexFilter(list(10_000));
  assert.ok(accepts(all, 2));
  assert.ok(!accepts(all, 2, 4));
});
