import assert from "node:assert/strict";
import fc from "fast-check";
import { gsoFilter } from "./gso_filter.ts";

/** What a filter sees of a frame, by the offset of the word (struct __sk_buff). */
interface Frame {
  readonly pktType?: number;
  readonly ifindex: number;
  readonly gsoSegs?: number;
  readonly gsoSize?: number;
}

/** Runs a program as the kernel would. */
function keeps(place: "ring" | "queue", devices: readonly number[], frame: Frame): boolean {
  const { pktType = 0, ifindex, gsoSegs = 0, gsoSize = 0 } = frame;
  const words = new Map([[4, pktType], [40, ifindex], [164, gsoSegs], [176, gsoSize]]);
  const { instructions } = gsoFilter(devices, place);
  const registers = new Map<number, number>();
  for (let pc = 0;; pc++) {
    const instruction = instructions[pc];
    assert.ok(instruction !== undefined, "ran out of the program");
    const { code, destination, source, offset, immediate } = instruction;
    const value = registers.get(destination) ?? NaN;
    switch (code) {
      case 0xb7:
        registers.set(destination, immediate);
        break;
      case 0x61:
        assert.equal(source, 1);
        assert.ok(words.has(offset), `no word at ${offset}`);
        registers.set(destination, words.get(offset) ?? 0);
        break;
      case 0x15:
        if (value === immediate) pc += offset;
        break;
      case 0x55:
        if (value !== immediate) pc += offset;
        break;
      case 0x35:
        if (value >= immediate) pc += offset;
        break;
      case 0x95:
        return (registers.get(0) ?? NaN) !== 0;
      default:
        assert.fail(`unknown instruction ${code}`);
    }
  }
}

Deno.test("gsoFilter: each frame of a listed device goes to exactly one place, others to none", () => {
  const ifindex = fc.integer({ min: 1, max: 3000 });
  const frame = fc.record({
    ifindex,
    gsoSegs: fc.constantFrom(0, 1, 2, 45),
    gsoSize: fc.constantFrom(0, 1, 1448, 0xffff),
  });
  fc.assert(fc.property(fc.array(ifindex, { maxLength: 400 }), frame, (list, any) => {
    for (const one of [any, { ...any, ifindex: list[0] ?? 1 }]) {
      const places = [keeps("ring", list, one), keeps("queue", list, one)];
      const listed = list.includes(one.ifindex);
      const forQueue = one.gsoSize === 0xffff || (one.gsoSize !== 0 && one.gsoSegs === 0);
      assert.deepEqual(places, [listed && !forQueue, listed && forQueue]);
      assert.ok(!keeps("ring", list, { ...one, pktType: 4 }));
      assert.ok(!keeps("queue", list, { ...one, pktType: 4 }));
    }
  }));
});

Deno.test("gsoFilter: no device, or thousands", () => {
  assert.ok(!keeps("ring", [], { ifindex: 1 }));
  const many = Array.from({ length: 12_000 }, (_, at) => 2 * at + 1);
  for (const ifindex of [1, 2, 11_999, 12_000, 23_999]) {
    assert.equal(keeps("ring", many, { ifindex }), ifindex % 2 === 1);
  }
  const tooMany = Array.from({ length: 20_000 }, (_, at) => at + 1);
  assert.ok(keeps("ring", tooMany, { ifindex: 99_999 }));
});
