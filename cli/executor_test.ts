import assert from "node:assert/strict";
import { takeStateLock } from "../daemon/lock.ts";
import { chooseTarget, openExecutor } from "./executor.ts";

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
