import { DatabaseSync } from "node:sqlite";
import assert from "node:assert/strict";
import { CommandError } from "./api.ts";
import { type SavedDatapath, Store, type StoreChange } from "./store.ts";

const BR0: SavedDatapath = {
  id: "0".repeat(32),
  name: "br0",
  type: "netdev",
  miss: "drop",
  flowsMax: 100,
  ufidSeed: "1".repeat(32),
  settings: {},
};
const PORT = { portNo: 1, name: "eth0", type: "netdev", options: { host: "share" }, mac: null };

const flow = (n: number): Extract<StoreChange, { op: "flow-put" }> => ({
  op: "flow-put",
  dp: BR0.id,
  flow: { ufid: n.toString(16).padStart(32, "0"), flow: `in_port(${n})`, actions: "drop" },
});

async function withPath(work: (path: string) => void): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    work(`${directory}/s/state.db`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("Store gives back what was saved, flows in the order they were added", async () => {
  await withPath((path) => {
    let store = new Store(path);
    store.apply([
      { op: "dp-put", datapath: BR0 },
      { op: "port-put", dp: BR0.id, port: PORT },
      ...[3, 1, 2].map(flow),
      { op: "meter-put", dp: BR0.id, meter: { id: 4294967295, meter: "a" } },
      { op: "meter-put", dp: BR0.id, meter: { id: 7, meter: "b" } },
    ]);
    store.apply([
      { op: "meter-put", dp: BR0.id, meter: { id: 7, meter: "c" } },
      { op: "meter-del", dp: BR0.id, id: 4294967295 },
    ]);
    store.apply([{ ...flow(3), flow: { ...flow(3).flow, actions: "1" } }]);
    store.close();
    store = new Store(path);
    const meters = [{ id: 7, meter: "c" }];
    assert.deepEqual(store.load(), { datapaths: [{ ...BR0, ports: [PORT], meters }], loose: [] });
    const first = store.loadFlows(BR0.id, 0, 2);
    assert.deepEqual(first.flows.map((one) => one.flow + one.actions), [
      "in_port(3)1",
      "in_port(1)drop",
    ]);
    const rest = store.loadFlows(BR0.id, first.next!, 2);
    assert.deepEqual(rest.flows.map((one) => one.flow), ["in_port(2)"]);
    assert.equal(rest.next, undefined);
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    store.close();
  });
});

Deno.test("Store.apply saves all of a transaction or nothing", async () => {
  await withPath((path) => {
    const store = new Store(path);
    store.apply([{ op: "dp-put", datapath: BR0 }]);
    const twin: SavedDatapath = { ...BR0, id: "2".repeat(32) }; // the same name
    assert.throws(
      () => store.apply([flow(1), { op: "dp-put", datapath: twin }]),
      (error) => error instanceof CommandError && error.code === "EIO",
    );
    assert.deepEqual(store.loadFlows(BR0.id, 0, 9).flows, []);
    store.apply([flow(1)]);
    store.apply([{ op: "dp-del", dp: BR0.id }]);
    assert.deepEqual(store.load().datapaths, []);
    assert.deepEqual(store.loadFlows(BR0.id, 0, 9).flows, []);
    store.close();
  });
});

Deno.test("Store refuses files that are damaged, another program's, or of a newer denovs", async () => {
  await withPath((path) => {
    new Store(path).close();
    const database = new DatabaseSync(path);
    database.exec("PRAGMA user_version=99");
    database.close();
    assert.throws(() => new Store(path), /written by a newer denovs \(schema 99/);

    const other = new DatabaseSync(`${path}.other`);
    other.exec("CREATE TABLE t (x)");
    other.close();
    assert.throws(() => new Store(`${path}.other`), /SQLite file of another program/);

    Deno.writeTextFileSync(`${path}.text`, "hello ".repeat(1000));
    assert.throws(
      () => new Store(`${path}.text`),
      (error) => error instanceof CommandError && /cannot use the state file/.test(error.message),
    );
  });
});
