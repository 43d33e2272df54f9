import assert from "node:assert/strict";
import { parseFilter } from "./filter_text.ts";

Deno.test("parseFilter: every part", () => {
  const filter = parseFilter({
    zone: 5,
    mark: "0x1/0xf",
    labels: "0xab",
    original: "ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_nw_proto=6,ct_tp_src=1,ct_tp_dst=2",
    reply: "ct_ipv6_src=fd00::1,icmp_id=1,icmp_type=128,icmp_code=0",
  });
  assert.deepEqual(filter.mark, { value: 1, mask: 15 });
  assert.deepEqual(filter.labels, { value: "ab".padStart(32, "0"), mask: "f".repeat(32) });
  assert.deepEqual([...filter.original!.source!], [10, 0, 0, 1]);
  assert.equal(filter.original!.destinationPort, 2);
  assert.equal(filter.reply!.source!.length, 16);
  assert.deepEqual([filter.reply!.id, filter.reply!.type, filter.reply!.code], [1, 128, 0]);
});

Deno.test("parseFilter: faults name the part", () => {
  assert.throws(() => parseFilter({ zone: 65536 }), /zone must be 0 … 65535, not 65536$/);
  assert.throws(() => parseFilter({ mark: "1/2/3" }), /mark must be/);
  assert.throws(() => parseFilter({ labels: "7" }), /labels must be/);
  assert.throws(
    () => parseFilter({ original: "nw_src=1.2.3.4" }),
    /"nw_src=1.2.3.4" is neither zone=, .* nor part of a tuple/,
  );
  assert.throws(() => parseFilter({ original: "ct_tp_src=65536" }), /ct_tp_src must be/);
  assert.throws(() => parseFilter({ original: "ct_nw_src=1.2.3" }), /ct_nw_src must be/);
});
