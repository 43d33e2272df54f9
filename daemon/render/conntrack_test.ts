import assert from "node:assert/strict";
import { renderBuckets, renderConnectionStats, renderTimeouts } from "./conntrack.ts";

Deno.test("renderBuckets: rows of eight, those without a bucket to show left out", () => {
  const head = "Total Buckets: 20\nCurrent Connections: 9\n\n" +
    "+-----------+-----------------------------------------+\n" +
    "|  Buckets  |         Connections per Buckets         |\n" +
    "+-----------+-----------------------------------------+\n";
  const filled = [[1, 3], [7, 12], [17, 3]] as const;
  assert.equal(
    renderBuckets({ buckets: 20, connections: 9, filled, unlisted: 0 }),
    head +
      "   0..  7   |     .    3    .    .    .    .    .   12\n" +
      "  16.. 23   |     .    3    .    .\n\n",
  );
  assert.equal(
    renderBuckets({ buckets: 20, connections: 9, filled: [], unlisted: 0 }),
    head.slice(0, -1) + "\n\n",
  );
  assert.match(
    renderBuckets({ buckets: 20, connections: 9, filled, unlisted: 7 }),
    /\n7 more buckets \(gt=N shows the fullest\)\n$/,
  );
  assert.equal(
    renderBuckets({ buckets: 20, connections: 0, filled: [], unlisted: 0 }),
    "Total Buckets: 20\nCurrent Connections: 0\n\n",
  );
});

Deno.test("renderConnectionStats: packets only when there are such counts", () => {
  const stats = {
    ...{ total: 3, byProtocol: { 6: 1, 58: 2 }, byTcpState: { ESTABLISHED: 1 } },
    ...{ packets: { found: 5 }, invalid: { header: 2 } },
  };
  const text = "Connections Stats:\n    Total: 3\n  TCP: 1\n";
  assert.equal(renderConnectionStats(stats), `${text}  Other: 2\n`);
  const states = "    Conn per TCP states:\n\t  [ESTABLISHED]=1\n";
  assert.equal(renderConnectionStats(stats, { states: true }), `${text}${states}  Other: 2\n`);
  assert.equal(
    renderConnectionStats(stats, { packets: true }),
    `${text}  Other: 2\nPackets:\n  found: 5\n    invalid header: 2\n`,
  );
  assert.equal(
    renderConnectionStats({ ...stats, packets: {} }, { packets: true }),
    `${text}  Other: 2\n`,
  );
});

Deno.test("renderTimeouts: all of the default, of others what was set", () => {
  const policies = [
    { policy: "default", set: {}, seconds: { icmp: 30, generic: 600 } },
    { policy: "quick", set: { icmp: 5 }, seconds: { icmp: 5, generic: 600 } },
  ];
  assert.equal(renderTimeouts({ policies }), "default icmp=30 generic=600\nquick icmp=5\n");
  assert.equal(
    renderTimeouts({ policies }, true),
    "default icmp=30 generic=600\nquick icmp=5 generic=600\n",
  );
});
