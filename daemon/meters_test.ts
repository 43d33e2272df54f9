import assert from "node:assert/strict";
import { CommandError } from "./api.ts";
import { Configuration } from "./configuration.ts";
import { Logger } from "./log.ts";
import { restore } from "./restore.ts";
import type { SavedState } from "./store.ts";
import { makeConfiguration, MemoryBackend } from "./testing/memory_backend.ts";

const METER = "meter=1,kbps,burst,bands=type=drop,rate=10,burst_size=20";

async function withDatapath(): Promise<ReturnType<typeof makeConfiguration>> {
  const made = makeConfiguration();
  await made.configuration.execute("dp-add", { dp: "br0" });
  made.backend.takeEvents();
  made.backend.saved.length = 0;
  return made;
}

/** Code of the refusal. */
async function code(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof CommandError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "done";
}

Deno.test("meter-add sets and saves a meter, once", async () => {
  const { backend, configuration } = await withDatapath();
  const add = (meter: string, mayExist?: boolean): Promise<unknown> =>
    configuration.execute("meter-add", { meter, mayExist });
  assert.deepEqual(await add(METER), { meter: 1, created: true });
  assert.deepEqual(backend.takeEvents(), ["br0 meter 1 kbps 10/20"]);
  assert.deepEqual(backend.saved.map((change) => change.op === "meter-put" && change.meter), [
    { id: 1, meter: "meter=1 kbps burst bands=type=drop rate=10 burst_size=20" },
  ]);
  assert.match(await code(add(METER)), /^EEXIST .*meter-mod changes it/);
  assert.deepEqual(await add(METER, true), { meter: 1, created: false });
  assert.match(
    await code(add("meter=1,pps,bands=type=drop,rate=1", true)),
    /^EEXIST .*it exists as meter=1 kbps burst bands/,
  );
  assert.match(await code(add("meter=1,pps")), /^ESYNTAX column 12/);
  assert.deepEqual(backend.takeEvents(), []);
});

Deno.test("meter-mod sets a meter anew also if it is the same; meter-del takes one or all", async () => {
  const { backend, configuration } = await withDatapath();
  const execute: typeof configuration.execute = (method, params) =>
    configuration.execute(method, params);
  assert.match(await code(execute("meter-mod", { meter: METER })), /^ENOENT/);
  for (const id of [3, 1, 2]) {
    await execute("meter-add", { meter: `meter=${id},pps,bands=type=drop,rate=${id}` });
  }
  backend.takeEvents();
  const same = "meter=2,pktps,bands=type=drop,rate=2";
  assert.deepEqual(await execute("meter-mod", { meter: same }), { meter: 2 });
  assert.deepEqual(backend.takeEvents(), ["br0 meter 2 pps 2/2"]);
  assert.match(await code(execute("meter-del", { meter: 9 })), /^ENOENT/);
  assert.deepEqual(await execute("meter-del", { meter: 9, ifExists: true }), { deleted: 0 });
  assert.deepEqual(await execute("meter-del", { meter: 2 }), { deleted: 1 });
  assert.deepEqual(await execute("meter-del", {}), { deleted: 2 });
  assert.deepEqual(backend.takeEvents(), ["br0 no meter 2", "br0 no meter 1", "br0 no meter 3"]);
  assert.deepEqual((await execute("meter-show", {})).meters, []);
});

Deno.test("meters in a batch are all or nothing", async () => {
  const { backend, configuration } = await withDatapath();
  const meter = "meter=2,pps,bands=type=drop,rate=2";
  await configuration.execute("meter-add", { meter: METER });
  backend.takeEvents();
  const failing = configuration.execute("batch", {
    requests: [
      { line: 1, method: "meter-del", params: { meter: 1 } },
      { line: 2, method: "meter-add", params: { meter } },
      { line: 3, method: "meter-add", params: { meter } },
    ],
  });
  assert.match(await code(failing), /^EEXIST/);
  assert.deepEqual(backend.takeEvents(), []);
  const { meters } = await configuration.execute("meter-show", {});
  assert.deepEqual(meters.map((one) => one.meter), [1]);
  backend.saveFails = true;
  await assert.rejects(configuration.execute("meter-mod", { meter: METER.replace("10", "11") }));
  assert.deepEqual(backend.takeEvents(), []);
  backend.saveFails = false;
  await configuration.execute("batch", {
    requests: [
      { line: 1, method: "dp-add", params: { dp: "br1" } },
      { line: 2, method: "meter-add", params: { dp: "br1", meter } },
      { line: 3, method: "meter-del", params: { dp: "br0", meter: 1 } },
    ],
  });
  const events = backend.takeEvents().filter((event) => event.includes("meter"));
  assert.deepEqual(events.sort(), ["br0 no meter 1", "br1 meter 2 pps 2/2"]);
});

Deno.test("meter-show counts the flows that name a meter, nested ones too", async () => {
  const { configuration } = await withDatapath();
  await configuration.execute("meter-add", { meter: METER });
  const flows = [
    ["in_port(1)", "meter(1),2"],
    ["in_port(2)", "clone(meter(1),3),meter(1),2"],
    ["in_port(3)", "meter(7),2"], // not there: packets pass
    ["in_port(4)", "20"],
  ];
  for (const [flow, actions] of flows) {
    await configuration.execute("flow-add", { flow: flow!, actions: actions! });
  }
  const { features, meters } = await configuration.execute("meter-show", { meter: 1 });
  assert.deepEqual(meters, [{
    meter: 1,
    unit: "kbps",
    burst: true,
    stats: false,
    flows: 2,
    packets: 0,
    bytes: 0,
    durationMs: null,
    bands: [{ type: "drop", rate: 10, burstSize: 20, packets: 0, bytes: 0 }],
  }]);
  assert.equal(features.bandsMax, 8);
  assert.match(await code(configuration.execute("meter-show", { meter: 7 })), /^ENOENT/);
});

Deno.test("restore brings meters back, and leaves out what it can't read", async () => {
  const backend = new MemoryBackend();
  const state: SavedState = {
    datapaths: [{
      id: "0".repeat(32),
      name: "br0",
      type: "netdev",
      miss: "drop",
      flowsMax: 100,
      ufidSeed: "1".repeat(32),
      settings: {},
      ports: [],
      meters: [
        { id: 1, meter: "meter=1 pktps bands=type=drop rate=5" },
        { id: 2, meter: "meter=2 pktps bands=type=gold rate=5" },
      ],
    }],
    loose: [],
  };
  const store = {
    load: () => Promise.resolve(state),
    loadFlows: () => Promise.resolve({ flows: [], next: undefined }),
  };
  const lines: string[] = [];
  const log = new Logger("daemon", (_module, level, text) => lines.push(`${level} ${text}`));
  const model = await restore(store, backend, log);
  assert.deepEqual(backend.takeEvents(), ["+br0", "br0 meter 1 pps 5/5"]);
  assert.match(lines.join("\n"), /left out the saved meter meter=2/);
  const configuration = new Configuration(backend, model);
  const { meters } = await configuration.execute("meter-show", {});
  assert.deepEqual(meters.map((one) => one.meter), [1]);
});
