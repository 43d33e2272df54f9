import assert from "node:assert/strict";
import { NO_COUNTERS, NO_PORT_COUNTERS } from "../offline_backend.ts";
import type { DatapathInfo, PortInfo } from "../api.ts";
import { renderDrops } from "./drops.ts";

function port(portNo: number, drops: Record<string, number>): PortInfo {
  const counters = { ...NO_PORT_COUNTERS, drops };
  const rest = { type: "dummy", options: {}, mac: null, state: "up", reason: null } as const;
  return { portNo, name: `p${portNo}`, ...rest, counters };
}

const DATAPATH: DatapathInfo = {
  name: "dp0",
  type: "dummy",
  miss: "drop",
  flowsMax: 100,
  flows: 1,
  masks: 1,
  counters: {
    ...NO_COUNTERS,
    received: 100,
    dropped: 17,
    drops: { "meter": 5, "rx-ring-full": 9, "over-mtu": 3 },
  },
  ports: [port(1, { "meter": 4 }), port(2, { "over-mtu": 3, "meter": 1 })],
};

Deno.test("renderDrops: most frequent first, with ports and meanings", () => {
  const lines = renderDrops([DATAPATH, { ...DATAPATH, name: "dp1", counters: NO_COUNTERS }]);
  const [first, total, head, ...rows] = lines.split("\n");
  assert.equal(first, "dummy@dp0:");
  assert.equal(total, "  dropped:17 received:100");
  assert.equal(head, "  REASON        PACKETS  PORTS      MEANING");
  assert.ok(rows[0]!.startsWith("  rx-ring-full        9  -          frames came faster"), rows[0]);
  assert.ok(rows[1]!.startsWith("  meter               5  p1:4 p2:1  over the rate"), rows[1]);
  assert.ok(rows[2]!.startsWith("  over-mtu            3  p2:3       larger than"), rows[2]);
  assert.deepEqual(rows.slice(3), ["dummy@dp1:", "  dropped:0 received:0", ""]);
});

Deno.test("renderDrops: a system datapath counts no drops", () => {
  const counters = { hit: 0, missed: 0, lost: 0, maskHit: 0, cacheHit: 0 };
  const text = renderDrops([{ ...DATAPATH, type: "system", counters, ports: [] }]);
  assert.equal(text, "system@dp0:\n  the kernel doesn't tell why packets are dropped\n");
});
