import assert from "node:assert/strict";
import { takeStateLock } from "../daemon/lock.ts";
import { CommandError } from "../daemon/api.ts";
import { chooseTarget, openExecutor, RoutedExecutor } from "./executor.ts";
import type { SessionExecutor } from "./session.ts";

const NOTHING = { socket: undefined, state: undefined };

Deno.test("chooseTarget: nothing named asks the default daemon, then the default state", () => {
  const choice = chooseTarget({}, NOTHING);
  assert.match(choice.socket, /denovs\.ctl$/);
  assert.match(choice.state!, /state\.db$/);
  assert.equal(choice.stateFirst, false);
});

Deno.test("chooseTarget: a named socket must answer", () => {
  for (
    const choice of [
      chooseTarget({ socket: "/s" }, NOTHING),
      chooseTarget({}, { socket: "/s", state: undefined }),
    ]
  ) assert.deepEqual(choice, { socket: "/s", state: undefined, stateFirst: false });
});

Deno.test("chooseTarget: socket and state named: the state when the socket doesn't answer", () => {
  const wanted = { socket: "/s", state: "/t", stateFirst: false };
  assert.deepEqual(chooseTarget({ socket: "/s", state: "/t" }, NOTHING), wanted);
  assert.deepEqual(chooseTarget({ socket: "/s" }, { socket: "/x", state: "/t" }), wanted);
});

Deno.test("chooseTarget: only a state named: the state decides", () => {
  const choice = chooseTarget({ state: "/t" }, NOTHING);
  assert.equal(choice.state, "/t");
  assert.equal(choice.stateFirst, true);
});

Deno.test("only a state named: another client is waited for, a daemon asked on its own socket", async () => {
  const directory = await Deno.makeTempDir();
  const [state, socket] = [`${directory}/state.db`, `${directory}/ctl`];
  try {
    const add = (dp: string): Promise<unknown> => addDatapath(state, dp);
    await add("dummy@a");
    const client = await takeStateLock(state, { role: "client", waitMs: 0 });
    const waiting = add("dummy@b");
    await new Promise((done) => setTimeout(done, 50));
    client.release();
    assert.deepEqual(await waiting, { created: true });

    using _daemon = await takeStateLock(state, { role: "daemon", waitMs: 0, socket });
    using listener = Deno.listen({ transport: "unix", path: socket });
    const answered = answerOnce(listener);
    assert.deepEqual(await add("dummy@c"), { created: false });
    assert.equal(await answered, "dp-add");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

async function addDatapath(state: string, dp: string): Promise<unknown> {
  const saved = Deno.env.get("DENOVS_SOCKET");
  Deno.env.delete("DENOVS_SOCKET");
  const executor = await openExecutor({ state });
  if (saved !== undefined) Deno.env.set("DENOVS_SOCKET", saved);
  try {
    return await executor.execute("dp-add", { dp });
  } finally {
    executor.close();
  }
}

/** A daemon that has made the datapath before. Returns the method that it was asked for. */
async function answerOnce(listener: Deno.UnixListener): Promise<string> {
  using connection = await listener.accept();
  const buffer = new Uint8Array(4096);
  const length = await connection.read(buffer) ?? 0;
  const { method, id } = JSON.parse(new TextDecoder().decode(buffer.subarray(0, length)));
  const answer = JSON.stringify({ result: { created: false }, error: null, id });
  await connection.write(new TextEncoder().encode(`${answer}\n`));
  return method;
}

/** An executor that answers with its name, and notes what it is asked. */
function named(name: string, asked: string[]): SessionExecutor {
  return {
    savedOffline: false,
    execute: (method, params) => {
      asked.push(`${name} ${method} ${JSON.stringify(params)}`);
      const datapaths = "dps" in params && params.dps.length > 0
        ? params.dps.map((dp) => ({ name: dp }))
        : [{ name }];
      return Promise.resolve({ datapaths } as never);
    },
    close: () => asked.push(`${name} closed`),
  };
}

function routed(asked: string[], hasModule = true): RoutedExecutor {
  return new RoutedExecutor(
    () => named("switch", asked),
    () => Promise.resolve(named("kernel", asked)),
    () => hasModule,
  );
}

Deno.test("RoutedExecutor: system@… goes to the kernel, all else to the switch, each opened when needed", async () => {
  const asked: string[] = [];
  const executor = routed(asked);
  await executor.execute("flow-flush", { dp: "system@x" });
  await executor.execute("flow-flush", { dp: "netdev@x" });
  await executor.execute("flow-flush", {});
  executor.close();
  assert.deepEqual(asked, [
    'kernel flow-flush {"dp":"system@x"}',
    'switch flow-flush {"dp":"netdev@x"}',
    "switch flow-flush {}",
    ...["switch closed", "kernel closed"],
  ]);
});

Deno.test("RoutedExecutor: dp-list and dp-show have both, the kernel only if the module is there", async () => {
  const names = async (hasModule: boolean, dps?: readonly string[]): Promise<string[]> => {
    const executor = routed([], hasModule);
    const result = dps === undefined
      ? await executor.execute("dp-list", {})
      : await executor.execute("dp-show", { dps });
    return result.datapaths.map(({ name }) => name);
  };
  assert.deepEqual(await names(true), ["switch", "kernel"]);
  assert.deepEqual(await names(false), ["switch"]);
  assert.deepEqual(await names(true, []), ["switch", "kernel"]);
  assert.deepEqual(await names(false, []), ["switch"]);
  // Named ones are asked for wherever they are, in their order.
  assert.deepEqual(await names(false, ["system@a", "b"]), ["system@a", "b"]);
});

Deno.test("RoutedExecutor: a kernel that can't be asked has no datapaths, unless it is named", async () => {
  const failing = (): Promise<SessionExecutor> =>
    Promise.reject(new CommandError("EPERM", "not permitted"));
  const executor = new RoutedExecutor(() => named("switch", []), failing, () => true);
  assert.equal((await executor.execute("dp-list", {})).datapaths.length, 1);
  await assert.rejects(executor.execute("dp-show", { dps: ["system@x"] }), /not permitted/);
});

Deno.test("RoutedExecutor: a batch is about one of them", async () => {
  const asked: string[] = [];
  const executor = routed(asked);
  const batch = (...dps: readonly string[]): Promise<unknown> =>
    executor.execute("batch", {
      requests: dps.map((dp, at) => ({ line: at + 1, method: "dp-add", params: { dp } })),
    });
  await batch("system@a", "system@b");
  await batch("a", "b");
  assert.deepEqual(asked.map((line) => line.split(" ")[0]), ["kernel", "switch"]);
  await assert.rejects(
    batch("a", "b", "system@c"),
    (error) =>
      error instanceof CommandError && error.line === 3 &&
      /both system datapaths/.test(error.message),
  );
});
