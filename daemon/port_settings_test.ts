import assert from "node:assert/strict";
import { CommandError, type Methods, type PortInfo } from "./api.ts";
import type { Configuration } from "./configuration.ts";
import { makeConfiguration, type MemoryBackend } from "./testing/memory_backend.ts";

async function setUp(): Promise<{ configuration: Configuration; backend: MemoryBackend }> {
  const made = makeConfiguration();
  await made.configuration.execute("dp-add", { dp: "br0" });
  await made.configuration.execute("port-add", { port: "eth1" });
  await made.configuration.execute("port-add", { port: "eth2" });
  made.backend.takeEvents();
  return made;
}

async function port(configuration: Configuration, name: string): Promise<PortInfo> {
  const { ports } = await configuration.execute("port-list", {});
  return ports.find((one) => one.name === name)!;
}

function set(
  configuration: Configuration,
  params: Methods["port-set"]["params"],
): Promise<{ changed: boolean }> {
  return configuration.execute("port-set", params);
}

Deno.test("port-set: the port is opened again with the options that changed, and saved", async () => {
  const { configuration, backend } = await setUp();
  backend.saved.length = 0;
  assert.deepEqual(await set(configuration, { port: "eth1", options: { host: "share" } }), {
    changed: true,
  });
  assert.deepEqual(backend.takeEvents(), ["-br0:1 close", "+br0:1=eth1"]);
  assert.deepEqual((await port(configuration, "eth1")).options, { host: "share" });
  const [saved] = backend.saved;
  assert.ok(saved?.op === "port-put");
  assert.deepEqual(saved.port.options, { host: "share" });
  // The same again, and back to the default.
  assert.deepEqual(await set(configuration, { port: "1", options: { host: "share" } }), {
    changed: false,
  });
  assert.deepEqual(backend.takeEvents(), []);
  await set(configuration, { port: "1", options: { host: "" } });
  assert.deepEqual((await port(configuration, "eth1")).options, {});
});

Deno.test("port-set: an internal port keeps its device and its address", async () => {
  const { configuration, backend } = await setUp();
  await configuration.execute("port-add", { port: "vnet0", type: "internal" });
  const { mac } = await port(configuration, "vnet0");
  backend.takeEvents();
  await set(configuration, { port: "vnet0", options: { host: "x" } });
  assert.deepEqual(backend.takeEvents(), ["-br0:3 close", "+br0:3=vnet0"]);
  assert.equal((await port(configuration, "vnet0")).mac, mac);
});

Deno.test("port-set: what fails leaves the port as it was", async () => {
  const { configuration, backend } = await setUp();
  const refused = async (
    params: Methods["port-set"]["params"],
    [code, message]: [string, RegExp],
  ): Promise<void> => {
    await assert.rejects(set(configuration, params), (error) => {
      assert.ok(error instanceof CommandError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      return true;
    });
    assert.deepEqual((await port(configuration, "eth1")).options, {});
    assert.equal((await port(configuration, "eth1")).portids, undefined);
  };
  await refused({ port: "eth9", options: { host: "x" } }, ["ENOENT", /no such port/]);
  await refused({ port: "eth1" }, ["EINVAL", /nothing to set/]);
  await refused({ port: "eth1", options: { speed: "1" } }, ["EINVAL", /speed/]);
  await refused({ port: "eth1", portids: [1, 0] }, ["EINVAL", /can't stand beside others/]);
  await refused({ port: "eth1", portids: [2 ** 32] }, ["EINVAL", /4294967296 is not a portid/]);
  assert.deepEqual(backend.takeEvents(), []);
  backend.missing.add("eth1");
  await refused({ port: "eth1", options: { host: "x" } }, [
    "ENODEV",
    /cannot open port "eth1" of br0 anew: cannot find device "eth1"/,
  ]);
  // It was closed, could not be opened, and an attempt was made to have it as before.
  assert.deepEqual(backend.takeEvents(), ["-br0:1 close", "!br0:1=eth1", "!br0:1=eth1"]);
});

Deno.test("port-set upcall=: portids are saved, told, shown, and gone with the port", async () => {
  const { configuration, backend } = await setUp();
  await set(configuration, { port: "eth1", portids: [1, 2] });
  await set(configuration, { port: "eth2", portids: [0] });
  assert.deepEqual(backend.takeEvents(), [
    'br0 dispatches {"ports":{"1":[1,2]},"cpus":[]}',
    'br0 dispatches {"ports":{"1":[1,2],"2":[0]},"cpus":[]}',
  ]);
  assert.deepEqual((await port(configuration, "eth1")).portids, [1, 2]);
  const last = backend.saved.at(-1);
  assert.ok(last?.op === "dp-put");
  assert.deepEqual(last.datapath.settings.portids?.ports, { 1: [1, 2], 2: [0] });
  await configuration.execute("port-del", { port: "eth1" });
  assert.deepEqual(backend.takeEvents(), [
    'br0 dispatches {"ports":{"2":[0]},"cpus":[]}',
    "-br0:1 delete",
  ]);
  await set(configuration, { port: "eth2", portids: [] });
  await assert.rejects(
    configuration.execute("dp-set", { portids: [7, 8] }),
    /upcall=7:8 of a datapath needs features=upcall-per-cpu/,
  );
  await configuration.execute("dp-set", { portids: [7, 8], features: ["upcall-per-cpu"] });
  assert.equal((await port(configuration, "eth2")).portids, undefined);
  const { datapaths } = await configuration.execute("dp-show", { dps: [] });
  assert.deepEqual(datapaths[0]!.portids, [7, 8]);
});

Deno.test("port-set in a batch: the port that was just added, and all or nothing", async () => {
  const { configuration, backend } = await setUp();
  const requests = [
    { line: 1, method: "port-add", params: { port: "eth3" } },
    { line: 2, method: "port-set", params: { port: "eth3", options: { host: "a" }, portids: [5] } },
    { line: 3, method: "port-set", params: { port: "eth1", options: { host: "b" } } },
  ] as const;
  const wrong = { line: 4, method: "port-set", params: { port: "eth9", portids: [1] } } as const;
  await assert.rejects(
    configuration.execute("batch", { requests: [...requests, wrong] }),
    (error) => error instanceof CommandError && error.line === 4,
  );
  assert.equal(await port(configuration, "eth3"), undefined);
  assert.deepEqual(backend.takeEvents(), []);
  await configuration.execute("batch", { requests });
  assert.deepEqual((await port(configuration, "eth3")).options, { host: "a" });
  assert.deepEqual((await port(configuration, "eth3")).portids, [5]);
  assert.deepEqual((await port(configuration, "eth1")).options, { host: "b" });
});
