import assert from "node:assert/strict";
import { CommandError } from "./api.ts";
import { connect } from "./client.ts";
import { ControlSocket } from "./control_socket.ts";
import { Log } from "./log.ts";
import type { Answer } from "./unixctl.ts";

interface Fixture {
  readonly path: string;
  readonly control: ControlSocket;
  /** What the daemon answers; may be replaced. */
  readonly server: { call: (method: string, params: readonly unknown[]) => Promise<Answer> };
}

const echo = (method: string, params: readonly unknown[]): Promise<Answer> =>
  Promise.resolve({ result: { method, params }, error: null });

async function withSocket(work: (fixture: Fixture) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/run/denovs.ctl`;
  const server = { call: echo };
  const control = await openSocket(path, (method, params) => server.call(method, params));
  try {
    await work({ path, control, server });
  } finally {
    await control.close();
    control.disconnect();
    // Sockets of the other side are closed in the next turns of the event loop.
    await new Promise((done) => setTimeout(done, 20));
    await Deno.remove(directory, { recursive: true });
  }
}

function openSocket(path: string, call: Fixture["server"]["call"]): Promise<ControlSocket> {
  const log = new Log(undefined, () => {}).module("control");
  return ControlSocket.open({ path, log, call, peerUid: () => undefined });
}

Deno.test("a path that no socket can have is refused in words, and leaves nothing", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/new/${"x".repeat(107)}`;
  await assert.rejects(openSocket(path, echo), /has at most 107 bytes/);
  assert.deepEqual([...Deno.readDirSync(directory)], []);
  await Deno.remove(directory);
});

async function dial(path: string): Promise<Deno.UnixConn> {
  return await Deno.connect({ transport: "unix", path });
}

/** Everything that comes until the other side closes. */
async function readAll(connection: Deno.UnixConn): Promise<string> {
  let text = "";
  for await (const bytes of connection.readable) text += new TextDecoder().decode(bytes);
  return text;
}

async function send(connection: Deno.UnixConn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

Deno.test("ControlSocket answers several requests of one connection in order, also after its end of file", async () => {
  await withSocket(async ({ path }) => {
    const connection = await dial(path);
    await send(
      connection,
      '{"method":"a","params":["x"],"id":0}{"id":1,"method":"b","params":[]} {',
    );
    await send(
      connection,
      '"method":"quiet","params":[],"id":null}{"id":"z","method":"c","params":[{}]}',
    );
    await connection.closeWrite();
    assert.equal(
      await readAll(connection),
      '{"result":{"method":"a","params":["x"]},"error":null,"id":0}\n' +
        '{"result":{"method":"b","params":[]},"error":null,"id":1}\n' +
        '{"result":{"method":"c","params":[{}]},"error":null,"id":"z"}\n',
    );
  });
});

Deno.test("ControlSocket cuts off who sends garbage and serves the others", async () => {
  await withSocket(async ({ path }) => {
    for (const garbage of ["hello", "{]}", '{"method":1}', "{}", '{"a":\xff}', "\0\0\0"]) {
      const connection = await dial(path);
      await send(connection, garbage);
      assert.equal(await readAll(connection).catch(() => ""), "", garbage);
    }
    const client = (await connect(path))!;
    assert.deepEqual(await client.text("m", ["x"]) as unknown, { method: "m", params: ["x"] });
    client.close();
  });
});

Deno.test("ControlSocket serves others while one client is slow, half a request in, or takes no answer", async () => {
  await withSocket(async ({ path, server }) => {
    const big = { flows: Array.from({ length: 50_000 }, (_, n) => ({ n, text: "x".repeat(100) })) };
    server.call = (method, params) =>
      method === "big" ? Promise.resolve({ result: big, error: null }) : echo(method, params);
    const half = await dial(path);
    await send(half, '{"method":"a","par');
    const greedy = await dial(path);
    await send(greedy, '{"method":"big","params":[],"id":1}');
    const client = (await connect(path))!;
    assert.ok(await client.text("m", []));
    client.close();
    half.close();
    await greedy.closeWrite();
    assert.deepEqual(JSON.parse(await readAll(greedy)), { result: big, error: null, id: 1 });
  });
});

Deno.test("ControlSocket goes on when a client leaves before its answer", async () => {
  await withSocket(async ({ path, server }) => {
    const gate = Promise.withResolvers<void>();
    server.call = async (method, params) => {
      if (method === "slow") await gate.promise;
      return await echo(method, params);
    };
    const leaver = await dial(path);
    await send(leaver, '{"method":"slow","params":[],"id":1}');
    leaver.close();
    gate.resolve();
    const client = (await connect(path))!;
    assert.ok(await client.text("m", []));
    client.close();
  });
});

Deno.test("connect tells results, errors as objects and errors as text", async () => {
  await withSocket(async ({ path, server }) => {
    const client = (await connect(path))!;
    const error = { code: "ESYNTAX", message: "bad", caret: "x\n^", line: 3 };
    server.call = () => Promise.resolve({ result: null, error });
    await assert.rejects(client.execute("dp-list", {}), (thrown) => {
      assert.ok(thrown instanceof CommandError);
      const { code, message, caret, line } = thrown;
      assert.deepEqual({ code, message, caret, line }, error);
      return true;
    });
    server.call = () => Promise.resolve({ result: null, error: "no such thing\n" });
    await assert.rejects(client.text("x/y", []), /^CommandError: no such thing$/);
    client.close();
  });
});

Deno.test("ControlSocket.open replaces a stale socket, refuses a served one and what is no socket", async () => {
  await withSocket(async ({ path }) => {
    assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    assert.equal((await Deno.stat(path.replace("/denovs.ctl", ""))).mode! & 0o777, 0o700);
    await assert.rejects(openSocket(path, echo), /another daemon \(pid \d+\) serves the socket/);

    const stale = `${path}.stale`;
    const code = `Deno.listen({ transport: "unix", path: ${
      JSON.stringify(stale)
    } }); Deno.exit(0);`;
    await new Deno.Command(Deno.execPath(), { args: ["eval", code] }).output();
    assert.ok((await Deno.stat(stale)).isSocket);
    const second = await openSocket(stale, echo);
    await second.close();
    second.disconnect();

    await Deno.writeTextFile(`${path}.file`, "");
    await assert.rejects(openSocket(`${path}.file`, echo), /exists and is not a socket/);
  });
});

Deno.test("ControlSocket.refuse tells clients to ask again", async () => {
  await withSocket(async ({ path, control }) => {
    const client = (await connect(path))!;
    control.refuse();
    await assert.rejects(
      client.execute("dp-list", {}),
      (error) => error instanceof CommandError && error.code === "ESHUTDOWN",
    );
    client.close();
  });
  assert.equal(await connect("/nowhere/at/all"), undefined);
});
