import assert from "node:assert/strict";
import type { Methods } from "./api.ts";
import type { Configuration } from "./configuration.ts";
import { runDpctl } from "./dpctl_methods.ts";
import { makeConfiguration } from "./testing/memory_backend.ts";
import { ConntrackControl } from "../datapath/conntrack/control.ts";
import { Lab, makePacket, plan } from "../datapath/conntrack/testing/packets.ts";

const COUNT = 20_000;

/** A datapath with so many connections, every second in zone 1. */
async function withConnections(count: number): Promise<Configuration> {
  const { backend, configuration } = makeConfiguration();
  const lab = new Lab({ connectionsMax: 1 << 15 });
  for (let index = 0; index < count; index++) {
    const packet = makePacket({
      ...{ src: "10.0.0.1", dst: "10.0.0.2", protocol: 17, payload: "x" },
      ...{ sport: 1 + index % 60_000, dport: 53 },
    });
    lab.run(packet, plan({ commit: true, zone: index % 2 }));
  }
  const control = new ConntrackControl(lab.buffers);
  assert.equal(control.count, count);
  backend.conntrack = { control, nowMs: () => lab.nowMs };
  await configuration.execute("dp-add", { dp: "br0" });
  return configuration;
}

/** All pieces of a dump. */
async function pieces(
  configuration: Configuration,
  params: Methods["ct-dump"]["params"],
): Promise<Methods["ct-dump"]["result"][]> {
  const all: Methods["ct-dump"]["result"][] = [];
  let from: number | undefined;
  do {
    const piece = await configuration.execute("ct-dump", { ...params, from });
    all.push(piece);
    from = piece.next;
  } while (from !== undefined);
  return all;
}

Deno.test("ct-dump gives many connections in pieces, each of them once", async () => {
  const configuration = await withConnections(COUNT);
  const all = await pieces(configuration, {});
  assert.ok(all.length >= 2, `${all.length} pieces`);
  assert.ok(all.every(({ connections }) => connections.length < 12_000));
  const ids = new Set(all.flatMap(({ connections }) => connections.map(({ id }) => id)));
  assert.equal(ids.size, COUNT);
  const zone = await pieces(configuration, { zone: 1 });
  assert.equal(zone.flatMap(({ connections }) => connections).length, COUNT / 2);
  await assert.rejects(configuration.execute("ct-dump", { from: 0 }), /from must be/);
  await assert.rejects(configuration.execute("ct-dump", { from: 1.5 }), /from must be/);
});

Deno.test("dpctl/dump-conntrack prints all pieces", async () => {
  const configuration = await withConnections(COUNT);
  const text = await runDpctl("dump-conntrack", ["br0"], configuration);
  const lines = text.split("\n");
  assert.equal(lines.length - 1, COUNT);
  assert.equal(new Set(lines).size - 1, COUNT);
  const some = await runDpctl("dump-conntrack", ["br0", "ct_tp_src=7"], configuration);
  assert.match(some, /^udp,orig=\(src=10\.0\.0\.1,dst=10\.0\.0\.2,sport=7,dport=53\),.*\n$/);
});

Deno.test("ct-bkts, ct-stats and ct-flush agree on how many there are", async () => {
  const configuration = await withConnections(1000);
  const { buckets, connections, filled, unlisted } = await configuration.execute("ct-bkts", {});
  assert.deepEqual([connections, unlisted], [1000, 0]);
  assert.equal(filled.reduce((sum, [, entries]) => sum + entries, 0), 2000);
  assert.ok(filled.every(([bucket, entries]) => bucket < buckets && entries > 0));
  const crowded = await configuration.execute("ct-bkts", { over: 3 });
  assert.deepEqual(crowded.filled, filled.filter(([, entries]) => entries > 3));
  assert.equal((await configuration.execute("ct-stats", { zone: 1 })).total, 500);
  assert.deepEqual(await configuration.execute("ct-flush", { zone: 1 }), { deleted: 500 });
  assert.deepEqual(await configuration.execute("ct-flush", { original: "ct_tp_src=1" }), {
    deleted: 1,
  });
  assert.equal((await configuration.execute("ct-stats", {})).total, 499);
});
