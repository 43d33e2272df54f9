import assert from "node:assert/strict";
import fc from "fast-check";
import { IfindexMap } from "./ifindex_map.ts";

Deno.test("IfindexMap: behaves as a Map under any adds and deletes", () => {
  const change = fc.record({
    ifindex: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 0x7fffffff })),
    value: fc.option(fc.nat(1000)),
  });
  fc.assert(fc.property(fc.array(change, { maxLength: 120 }), (changes) => {
    const map = new IfindexMap();
    const model = new Map<number, number>();
    for (const { ifindex, value } of changes) {
      if (value === null) {
        map.delete(ifindex);
        model.delete(ifindex);
      } else {
        map.set(ifindex, value);
        model.set(ifindex, value);
      }
      assert.equal(map.get(ifindex), model.get(ifindex) ?? -1);
    }
    assert.deepEqual([...map.keys()].sort(), [...model.keys()].sort());
    for (const [ifindex, value] of model) assert.equal(map.get(ifindex), value);
    assert.equal(map.get(0x7ffffffe), model.get(0x7ffffffe) ?? -1);
  }));
});
