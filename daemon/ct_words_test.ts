import assert from "node:assert/strict";
import {
  parseFlushWords,
  parseLimitWords,
  parseMaxWords,
  parseZonesWords,
  parseZoneWords,
} from "./ct_words.ts";
import { UsageError } from "./dpctl.ts";

Deno.test("ct_words: the forms of ovs-dpctl", () => {
  assert.deepEqual(parseZoneWords(["br0", "zone=5"]), { dp: "br0", zone: 5 });
  assert.deepEqual(parseZoneWords([]), {});
  assert.deepEqual(parseFlushWords(["br0", "zone=1", "mark=1/3", "ct_nw_proto=6", "ct_tp_src=1"]), {
    dp: "br0",
    zone: 1,
    mark: "1/3",
    original: "ct_nw_proto=6",
    reply: "ct_tp_src=1",
  });
  assert.deepEqual(parseLimitWords(["default=3", "zone=1,limit=0x10"]), {
    dp: undefined,
    defaultLimit: 3,
    zones: [{ zone: 1, limit: 16 }],
  });
  assert.deepEqual(parseZonesWords(["br0", "default", "zone=1,2"]), {
    dp: "br0",
    isDefault: true,
    zones: [1, 2],
  });
  assert.deepEqual(parseMaxWords(["7"]), { dp: undefined, max: 7 });
  assert.deepEqual(parseMaxWords(["br0"]), { dp: "br0", max: undefined });
});

Deno.test("ct_words: what is no such form", () => {
  for (
    const parse of [
      () => parseZoneWords(["br0", "br1"]),
      () => parseZoneWords(["zone=x"]),
      () => parseFlushWords(["br0", "a=1", "b=1", "c=1"]),
      () => parseLimitWords(["zone=1"]),
      () => parseZonesWords(["zone=1,a"]),
      () => parseMaxWords(["br0", "br1"]),
    ]
  ) assert.throws(parse, UsageError);
});
