import assert from "node:assert/strict";
import { seededRandom } from "../testing/flow_values.ts";
import { areWordsMet, isTupleMet, tupleInfo } from "./connection_info.ts";
import { parseFilter } from "./filter_text.ts";
import { makeTuple, T_DST, T_META, T_PORTS, T_SRC } from "./tuple.ts";

const FILTERS = [
  "",
  "ct_nw_src=10.0.0.1",
  "ct_nw_dst=10.0.0.2,ct_nw_proto=6",
  "ct_ipv6_src=::a00:1",
  "ct_ipv6_dst=fd00::1",
  "ct_nw_proto=17,ct_tp_src=80",
  "ct_tp_dst=80",
  "ct_tp_src=0",
  "icmp_id=80",
  "icmp_type=8,icmp_code=0",
  "ct_nw_proto=58,icmp_type=128",
].map((original) => parseFilter({ original }).original!);

Deno.test("property: areWordsMet is isTupleMet of tupleInfo", () => {
  const random = seededRandom(5);
  const pick = <T>(values: readonly T[]): T => values[random(values.length)]!;
  const met = FILTERS.map(() => 0);
  for (let run = 0; run < 20_000; run++) {
    const tuple = makeTuple();
    const isIpv4 = random(2) === 0;
    tuple[T_META] = random(8) << 16 | pick([1, 6, 17, 58]) << 8 | (isIpv4 ? 4 : 6);
    for (const at of [T_SRC, T_DST]) {
      if (!isIpv4) tuple[at] = pick([0, 0xfd000000 | 0]);
      tuple[at + 3] = pick([0x0a000001, 0x0a000002, 1]);
    }
    tuple[T_PORTS] = pick([0, 80, 9]) << 16 | pick([0, 80, 8 << 8, 128 << 8, 3 << 8]);
    for (const [at, filter] of FILTERS.entries()) {
      const wanted = isTupleMet(tupleInfo(tuple), filter);
      assert.equal(areWordsMet(tuple, filter), wanted, `run ${run}, filter ${at}: ${tuple}`);
      if (wanted) met[at]!++;
    }
  }
  assert.ok(met.every((count) => count > 20), `${met}`);
});
