import assert from "node:assert/strict";
import { changedBytes } from "./bytes.ts";

function image(hex: string, size?: number): { bytes: Uint8Array; size: number } {
  const bytes = Uint8Array.fromHex(hex);
  return { bytes, size: size ?? bytes.length };
}

Deno.test("changedBytes: runs, insertions, removals, packets that are not kept whole", () => {
  const cases: [string, string, unknown, number?, number?][] = [
    ["00112233", "00112233", []],
    ["00112233", "00aa2233", [{ at: 1, from: "11", to: "aa" }]],
    ["0011223344", "ff1122ee44", [{ at: 0, from: "00", to: "ff" }, {
      at: 3,
      from: "33",
      to: "ee",
    }]],
    ["00112233", "aa11bb33", [{ at: 0, from: "001122", to: "aa11bb" }]],
    ["00112233", "0011aabb2233", [{ at: 2, from: "", to: "aabb" }]],
    ["0011aabb2233", "00112233", [{ at: 2, from: "aabb", to: "" }]],
    ["00112233", "0055662233", [{ at: 1, from: "11", to: "5566" }]],
    // Of 100 bytes 4 are kept: two were inserted behind the first.
    ["00112233", "00aabb11", [{ at: 1, from: "", to: "aabb" }], 100, 102],
    ["00112233", "00112233", [{ at: 4, from: "", to: "" }], 100, 60],
  ];
  for (const [from, to, wanted, fromSize, toSize] of cases) {
    assert.deepEqual(
      changedBytes(image(from, fromSize), image(to, toSize)),
      wanted,
      `${from} ${to}`,
    );
  }
});
