import assert from "node:assert/strict";
import { Log } from "./log.ts";
import { PortKeeper } from "./port_keeper.ts";
import type { StoreChange } from "./store.ts";
import { makeConfiguration, type MemoryBackend } from "./testing/memory_backend.ts";
import type { Configuration } from "./configuration.ts";

interface Fixture {
  readonly backend: MemoryBackend;
  readonly configuration: Configuration;
  readonly keeper: PortKeeper;
  readonly saved: StoreChange[];
  readonly lines: string[];
  /** Devices' addresses. */
  readonly macs: Map<string, string>;
  /** State and reason of a port. */
  readonly state: (port: string) => Promise<string>;
  /** Lets the keeper look once. */
  readonly look: () => Promise<void>;
}

async function withKeeper(work: (fixture: Fixture) => Promise<void>): Promise<void> {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("port-add", { port: "eth0" });
  backend.takeEvents();
  const lines: string[] = [];
  const saved: StoreChange[] = [];
  const macs = new Map<string, string>();
  const keeper = new PortKeeper({
    configuration,
    log: new Log(undefined, (line) => lines.push(line.split("|").slice(3).join(" "))).module(
      "ports",
    ),
    save: (changes) => {
      saved.push(...changes);
      return Promise.resolve();
    },
    macOf: (device) => macs.get(device),
  });
  const state = async (port: string): Promise<string> => {
    const { ports } = await configuration.execute("port-list", {});
    const found = ports.find(({ name }) => name === port)!;
    return `${found.state} ${found.reason ?? "-"}`;
  };
  const look = async (): Promise<void> => {
    keeper.poke();
    await new Promise((done) => setTimeout(done, 60));
  };
  try {
    await work({ backend, configuration, keeper, saved, lines, macs, state, look });
  } finally {
    keeper.stop();
  }
}

Deno.test("PortKeeper lets go of a port whose device has gone, and attaches it when it is back", async () => {
  await withKeeper(async ({ backend, state, look, lines }) => {
    backend.broken.set("br0:1", "the device is gone");
    backend.missing.add("eth0");
    await look();
    assert.equal(await state("eth0"), "absent the device is gone");
    assert.deepEqual(backend.takeEvents(), ["-br0:1 close"]);
    await look();
    await look();
    assert.equal(await state("eth0"), 'absent Cannot find device "eth0"');
    assert.deepEqual(lines, [
      "WARN port eth0 of br0 is down: the device is gone",
      'WARN port eth0 of br0 is absent: Cannot find device "eth0"',
    ]);
    backend.missing.clear();
    backend.broken.clear();
    await look();
    assert.equal(await state("eth0"), "up -");
  });
});

Deno.test("PortKeeper leaves a port alone whose own code has failed", async () => {
  await withKeeper(async ({ backend, configuration, keeper, state, look }) => {
    keeper.portFailed("br0", 1, "its send threw");
    await look();
    assert.equal(await state("eth0"), "failed its send threw");
    assert.deepEqual(backend.takeEvents(), []);
    await configuration.execute("port-del", { port: "eth0" });
    assert.deepEqual(backend.takeEvents(), ["-br0:1 delete"]);
  });
});

Deno.test("PortKeeper saves the address that an internal device was given", async () => {
  await withKeeper(async ({ macs, saved, look }) => {
    macs.set("br0", "02:00:00:00:00:99").set("eth0", "02:00:00:00:00:98");
    await look();
    await look();
    assert.deepEqual(saved.map((change) => change.op === "port-put" && change.port.mac), [
      "02:00:00:00:00:99",
    ]);
  });
});
