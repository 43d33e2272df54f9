import assert from "node:assert/strict";
import fc from "fast-check";
import { FrameError, JsonFrames } from "./json_frames.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

Deno.test("JsonFrames cuts any objects, sent in any pieces, at their ends", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom("", " ", "\n")),
      ),
      fc.integer({ min: 1, max: 9 }),
      (objects, pieceSize) => {
        const stream = bytes(objects.map(([value, gap]) => JSON.stringify(value) + gap).join(""));
        const frames = new JsonFrames(1 << 20);
        const texts: string[] = [];
        for (let at = 0; at < stream.length; at += pieceSize) {
          texts.push(...frames.push(stream.slice(at, at + pieceSize)));
        }
        assert.deepEqual(texts, objects.map(([value]) => JSON.stringify(value)));
        assert.equal(frames.partial, false);
      },
    ),
  );
});

Deno.test("JsonFrames refuses what is not an object, what is too large and what is not UTF-8", () => {
  for (const text of ["[1]", "x", "{}]", '"a"']) {
    assert.throws(() => new JsonFrames(99).push(bytes(text)), FrameError, text);
  }
  const frames = new JsonFrames(10);
  frames.push(bytes('{"a":"'));
  assert.throws(() => frames.push(bytes("bcdef")), /more than 10 bytes/);
  assert.throws(() => new JsonFrames(99).push(Uint8Array.of(0x7b, 0xff, 0x7d)), /UTF-8/);
});
