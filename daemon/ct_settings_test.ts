import assert from "node:assert/strict";
import { CommandError, type MethodName, type Methods } from "./api.ts";
import { CONNTRACK_DEFAULTS, fromSavedDatapath, toSavedDatapath } from "./model.ts";
import type { SavedDatapath } from "./store.ts";
import { makeConfiguration } from "./testing/memory_backend.ts";

interface Made {
  ask<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]>;
  /** What was saved of connection tracking last. */
  saved(): SavedDatapath["settings"]["conntrack"];
}

async function withDatapath(): Promise<Made> {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  return {
    ask: (method, params) => configuration.execute(method, params),
    saved: () => {
      const change = backend.saved.findLast((each) => each.op === "dp-put");
      assert.ok(change?.op === "dp-put");
      return change.datapath.settings.conntrack;
    },
  };
}

async function code(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof CommandError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "done";
}

Deno.test("ct-timeout-set makes and changes policies, ct-timeout-get shows them", async () => {
  const { ask, saved } = await withDatapath();
  const set = (policy: string, seconds: Record<string, number>): Promise<{ created: boolean }> =>
    ask("ct-timeout-set", { policy, seconds });
  assert.deepEqual(await set("quick", { tcp_established: 600 }), { created: true });
  assert.deepEqual(await set("quick", { udp_single: 5 }), { created: false });
  assert.deepEqual(await set("default", { icmp: 7 }), { created: true });
  const { policies } = await ask("ct-timeout-get", {});
  assert.deepEqual(policies.map(({ policy, set }) => [policy, set]), [
    ["default", { icmp: 7 }],
    ["quick", { tcp_established: 600, udp_first: 5 }],
  ]);
  const quick = policies[1]!.seconds;
  assert.deepEqual([quick.tcp_established, quick.udp_first, quick.icmp, quick.generic], [
    600,
    5,
    7,
    600,
  ]);
  assert.equal((await ask("ct-timeout-get", { policy: "quick" })).policies.length, 1);
  assert.deepEqual(saved()?.timeouts, {
    quick: { tcp_established: 600, udp_first: 5 },
    default: { icmp: 7 },
  });
  assert.match(await code(set("a b", { icmp: 7 })), /^EINVAL .*a name has 1 to 31 characters/);
  assert.match(await code(set("quick", {})), /^EINVAL .*no timeout is given/);
  assert.match(await code(set("quick", { tcp: 7 })), /^EINVAL unknown timeout "tcp"/);
  assert.match(
    await code(set("quick", { icmp: 0 })),
    /^EINVAL icmp must be 1 … 2000000 seconds, not 0$/,
  );
  assert.match(await code(ask("ct-timeout-get", { policy: "x" })), /^ENOENT .*\(default, quick\)/);
});

Deno.test("ct-timeout-del", async () => {
  const { ask, saved } = await withDatapath();
  await ask("ct-timeout-set", { policy: "quick", seconds: { icmp: 7 } });
  assert.deepEqual(await ask("ct-timeout-del", { policy: "quick" }), { deleted: true });
  // As it is by default again: nothing of it is saved.
  assert.equal(saved(), undefined);
  assert.match(await code(ask("ct-timeout-del", { policy: "quick" })), /^ENOENT .*no such policy/);
  const again = await ask("ct-timeout-del", { policy: "quick", ifExists: true });
  assert.deepEqual(again, { deleted: false });
});

Deno.test("ct-timeout-set: no more policies than there are numbers", async () => {
  const { ask } = await withDatapath();
  const set = (at: number): Promise<unknown> =>
    ask("ct-timeout-set", { policy: `p${at}`, seconds: { icmp: 1 } });
  for (let at = 0; at < 256; at++) await set(at);
  assert.match(await code(set(256)), /^ENOSPC .*256 policies/);
});

Deno.test("ct-set changes what is given, ct-show shows all", async () => {
  const { ask, saved } = await withDatapath();
  await ask("ct-set", { tcpSequenceCheck: false });
  await ask("ct-set", { fragmentsIpv6: false, fragmentSizeMinIpv4: 1200, fragmentsMax: 100 });
  const { tcpSequenceCheck, fragments } = await ask("ct-show", {});
  assert.equal(tcpSequenceCheck, false);
  const { ipv4, ipv6, sizeMinIpv4, sizeMinIpv6, countMax, held } = fragments;
  assert.deepEqual([ipv4, ipv6, sizeMinIpv4, sizeMinIpv6, countMax, held], [
    ...[true, false],
    ...[1200, 0, 100, 0],
  ]);
  assert.equal(saved()?.tcpSequenceCheck, false);
  assert.equal(saved()?.fragments?.sizeMinIpv4, 1200);
  assert.match(await code(ask("ct-set", {})), /^EINVAL nothing to set/);
  assert.match(await code(ask("ct-set", { fragmentsMax: -1 })), /^EINVAL max-frags must be 0 …/);
  assert.match(
    await code(ask("ct-set", { fragmentSizeMinIpv6: 65_536 })),
    /^EINVAL min-frag-v6 must be 0 … 65535/,
  );
});

Deno.test("connection tracking that an older version saved has the other settings of the default", () => {
  const saved: SavedDatapath = {
    ...{ id: "1", name: "br0", type: "dummy", miss: "drop", flowsMax: 1, ufidSeed: "00" },
    settings: { conntrack: { connectionsMax: 5, defaultLimit: 0, zoneLimits: {} } },
  };
  const record = fromSavedDatapath(saved);
  assert.deepEqual(record.conntrack, { ...CONNTRACK_DEFAULTS, connectionsMax: 5 });
  assert.deepEqual(fromSavedDatapath(toSavedDatapath(record)).conntrack, record.conntrack);
});

Deno.test("settings of a datapath that is made in the same batch reach it", async () => {
  const { backend, configuration } = makeConfiguration();
  const requests = [
    { line: 1, method: "dp-add", params: { dp: "br0" } },
    { line: 2, method: "ct-limit-set", params: { defaultLimit: 5 } },
    { line: 3, method: "dp-set", params: { miss: "flood" } },
  ] as const;
  await configuration.execute("batch", { requests });
  const events = backend.takeEvents();
  assert.ok(events.includes("br0 limits 5 {}"), events.join("\n"));
  assert.ok(events.some((event) => /^br0 .*flood/.test(event)), events.join("\n"));
});
