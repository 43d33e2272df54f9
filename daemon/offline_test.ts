import assert from "node:assert/strict";
import { openOffline } from "./offline.ts";

async function withDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a state that has not been made reads as empty, and is made by the first change", async () => {
  await withDirectory(async (directory) => {
    const state = `${directory}/new/state.db`;
    const offline = await openOffline(state);
    assert.deepEqual(await offline.execute("dp-list", {}), { datapaths: [] });
    await assert.rejects(offline.execute("flow-dump", {}), /no datapath exists/);
    await assert.rejects(offline.execute("stop", {}), /no daemon is running/);
    assert.deepEqual([...Deno.readDirSync(directory)], []);

    await offline.execute("dp-add", { dp: "dummy@dp0" });
    assert.deepEqual(await offline.execute("dp-list", {}), {
      datapaths: [{ name: "dp0", type: "dummy" }],
    });
    await assert.rejects(openOffline(state, { waitMs: 0 }), /is in use by another command/);
    offline.close();
    (await openOffline(state, { waitMs: 0 })).close();
  });
});

Deno.test("an unknown port type: types of plug-ins need the daemon", async () => {
  await withDirectory(async (directory) => {
    const offline = await openOffline(`${directory}/state.db`);
    await offline.execute("dp-add", { dp: "dummy@dp0" });
    await assert.rejects(
      offline.execute("port-add", { dp: "dp0", port: "p1", type: "mine" }),
      /unknown type "mine" \(known: .*dummy; load a plug-in's first/,
    );
    offline.close();
  });
});

Deno.test("savedOffline: only what changes something is saved", async () => {
  await withDirectory(async (directory) => {
    const state = `${directory}/state.db`;
    const first = await openOffline(state);
    await first.execute("dp-add", { dp: "dummy@dp0" });
    assert(first.savedOffline);
    first.close();
    const second = await openOffline(state);
    await second.execute("dp-list", {});
    await second.execute("dp-add", { dp: "dummy@dp0", mayExist: true });
    assert(!second.savedOffline);
    second.close();
  });
});
