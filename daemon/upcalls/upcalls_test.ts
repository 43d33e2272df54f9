/** Handlers, streams and timeouts in the daemon, over dummy ports: no root. */
import assert from "node:assert/strict";
import type { OpenExecutor } from "../client.ts";
import type { DatapathInfo } from "../api.ts";
import { type DaemonProcess, withDaemon } from "../testing/daemon_process.ts";

const LEARNING_SWITCH = new URL("../../examples/handlers/learning_switch.ts", import.meta.url)
  .pathname;

/** A frame from host to host. */
function frame(from: number, to: number, payload = "0800"): string {
  const hex = (host: number): string => `0200000000${host.toString(16).padStart(2, "0")}`;
  return `${hex(to)}${hex(from)}${payload}${"00".repeat(46)}`;
}

async function setUp(client: OpenExecutor, ports = 3): Promise<void> {
  await client.execute("dp-add", { dp: "dummy@dp0" });
  for (let port = 1; port <= ports; port++) {
    await client.execute("port-add", { port: `p${port}`, type: "dummy" });
  }
}

function receive(client: OpenExecutor, port: number, ...frames: string[]): Promise<unknown> {
  return client.execute("netdev-dummy/receive", { port: `p${port}`, frames });
}

async function show(client: OpenExecutor): Promise<DatapathInfo> {
  return (await client.execute("dp-show", { dps: [], statistics: true })).datapaths[0]!;
}

async function sent(client: OpenExecutor): Promise<number[]> {
  return (await show(client)).ports.slice(1).map(({ counters }) => counters!.txPackets);
}

async function flows(client: OpenExecutor): Promise<string[]> {
  const dump = await client.execute("flow-dump", {});
  return dump.flows.map(({ flow, actions }) => `${flow} ${actions}`);
}

/** Writes a handler into the daemon's folder. */
function writeHandler(daemon: DaemonProcess, name: string, body: string): string {
  const path = `${daemon.directory}/${name}.ts`;
  const text = `export default { apiVersion: 1, name: "${name}", ${body} };\n`;
  Deno.writeTextFileSync(path, text, { mode: 0o600 });
  return path;
}

/** A client with a daemon of dummy ports. */
function withSwitch(
  work: (client: OpenExecutor, daemon: DaemonProcess) => Promise<void>,
): Promise<void> {
  return withDaemon(async (daemon) => {
    await daemon.start();
    const client = await daemon.client();
    try {
      await setUp(client);
      await work(client, daemon);
    } finally {
      client.close();
    }
  });
}

Deno.test("upcall handler: a learning switch floods, learns, and installs flows that are never saved", () =>
  withSwitch(async (client, daemon) => {
    await client.execute("flow-add", {
      flow: "in_port(3),eth(src=02:00:00:00:00:99)",
      actions: "1",
    });
    await client.execute("dp-set", { upcallHandler: LEARNING_SWITCH });
    await receive(client, 1, frame(1, 2));
    assert.deepEqual(await sent(client), [0, 1, 1]);
    await receive(client, 2, frame(2, 1));
    assert.deepEqual(await sent(client), [1, 1, 1]);
    await receive(client, 1, frame(1, 2));
    assert.deepEqual(await sent(client), [1, 2, 1]);
    const before = await show(client);
    await receive(client, 1, frame(1, 2));
    await receive(client, 2, frame(2, 1));
    const after = await show(client);
    assert.equal(after.counters.hit - before.counters.hit, 2);
    assert.deepEqual(await sent(client), [2, 3, 1]);
    assert.equal(after.miss, "upcall");
    assert.equal(after.counters.lost, 0);
    assert.deepEqual(after.ports.map(({ counters }) => counters!.upcalls), [0, 2, 1, 0]);
    assert.equal((await flows(client)).length, 3);
    // The host moves: its flows go with it.
    await receive(client, 3, frame(1, 2));
    assert.deepEqual((await flows(client)).slice(1), [
      "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02) 2",
      "in_port(3),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02) 2",
    ]);
    client.close();
    await daemon.end("SIGKILL");
    await daemon.start();
    const again = await daemon.client();
    assert.equal((await flows(again)).length, 1);
    assert.equal((await show(again)).upcallHandler?.state, "running");
    await receive(again, 1, frame(1, 2));
    assert.deepEqual(await sent(again), [0, 1, 1]);
    await again.execute("dp-set", { upcallHandler: "" });
    await receive(again, 1, frame(1, 2));
    assert.deepEqual(await sent(again), [0, 1, 1]);
    assert.equal((await show(again)).upcallHandler, undefined);
    again.close();
  }));

Deno.test("upcall handler: what throws loses its upcall and nothing else, and is named", () =>
  withSwitch(async (client, daemon) => {
    const path = writeHandler(
      daemon,
      "moody",
      `upcall(packet, key, host) {
        host.addFlow({ flow: "in_port(" + packet.inPort + ")", actions: "drop" });
        host.execute(packet, "3");
        if (packet.inPort === 1) throw new TypeError("not that one");
        if (packet.inPort === 3) host.addFlow({ flow: "no_flow", actions: "1" });
      }`,
    );
    await client.execute("dp-set", { upcallHandler: path });
    await receive(client, 1, frame(1, 2));
    await receive(client, 3, frame(1, 2));
    assert.deepEqual(await flows(client), []);
    assert.deepEqual(await sent(client), [0, 0, 0]);
    await receive(client, 2, frame(1, 2));
    assert.deepEqual(await flows(client), ["in_port(2),eth() drop"]);
    assert.deepEqual(await sent(client), [0, 0, 1]);
    const { upcallHandler } = await show(client);
    assert.deepEqual(upcallHandler, {
      path,
      state: "running",
      reason: null,
      upcalls: 3,
      thrown: 2,
      refused: 0,
      lost: 0,
      restarts: 0,
    });
    client.close();
    const { stderr } = await daemon.end();
    assert.match(stderr, /dp0: handler moody threw TypeError: not that one; the upcall is dropped/);
    assert.match(stderr, /handler moody threw .*no_flow/);
  }));

/** Waits until dp-show says so of the handler. */
async function untilHandler(
  client: OpenExecutor,
  isSo: (info: NonNullable<DatapathInfo["upcallHandler"]>) => boolean,
): Promise<void> {
  for (let left = 1000;; left--) {
    const { upcallHandler } = await show(client);
    if (upcallHandler !== undefined && isSo(upcallHandler)) return;
    assert(left > 0, JSON.stringify(upcallHandler));
    await new Promise((done) => setTimeout(done, 20));
  }
}

Deno.test("upcall handler: one that hangs is named and started anew; commands and packets with flows go on", () =>
  withSwitch(async (client, daemon) => {
    const path = writeHandler(
      daemon,
      "sleepy",
      `upcall(packet, key, host) {
        if (packet.inPort === 1) for (const end = Date.now() + 6000; Date.now() < end;);
        host.execute(packet, "3");
      }`,
    );
    await client.execute("flow-add", { flow: "in_port(2)", actions: "3" });
    await client.execute("dp-set", { upcallHandler: path });
    // Does not wait for the handler, which hangs from now on.
    const received = receive(client, 1, frame(1, 2));
    const other = await daemon.client();
    await receive(other, 2, frame(1, 2));
    assert.deepEqual(await sent(other), [0, 0, 1]);
    await untilHandler(other, ({ restarts, lost }) => restarts === 1 && lost === 1);
    await received;
    await receive(other, 3, frame(1, 2));
    await untilHandler(other, ({ upcalls }) => upcalls === 2);
    assert.equal((await show(other)).upcallHandler?.state, "running");
    await other.execute("dp-set", { upcallHandler: "" });
    client.close();
    other.close();
    const { stderr } = await daemon.end();
    assert.match(
      stderr,
      /upcall handler \S+sleepy.ts has not come back for 2000 ms: it is started anew/,
    );
  }));

Deno.test("upcall handler: what it asks for outside of upcalls is done, and its close is called", () =>
  withSwitch(async (client, daemon) => {
    const note = `${daemon.directory}/closed`;
    const path = writeHandler(
      daemon,
      "later",
      `upcall(packet, key, host) {
        setTimeout(() => {
          host.addFlow({ flow: "in_port(1)", actions: String(host.ports()[2].portNo) });
          host.execute(packet, "2");
          throw new TypeError("after all");
        }, 10);
      },
      close() { Deno.writeTextFileSync(${JSON.stringify(note)}, "closed"); }`,
    );
    await client.execute("dp-set", { upcallHandler: path });
    await receive(client, 1, frame(1, 2));
    await untilHandler(client, ({ thrown }) => thrown === 1);
    while ((await flows(client)).length === 0) await new Promise((done) => setTimeout(done, 5));
    assert.deepEqual(await flows(client), ["in_port(1),eth() 2"]);
    while ((await sent(client))[1] === 0) await new Promise((done) => setTimeout(done, 5));
    await client.execute("dp-set", { upcallHandler: "" });
    assert.equal(Deno.readTextFileSync(note), "closed");
  }));

Deno.test("dp-set upcall-handler: a file whose top level does not come back is refused", () =>
  withSwitch(async (client, daemon) => {
    const path = `${daemon.directory}/stuck.ts`;
    Deno.writeTextFileSync(path, "const end = Date.now() + 60000; while (Date.now() < end);", {
      mode: 0o600,
    });
    const refused = assert.rejects(
      client.execute("dp-set", { upcallHandler: path }),
      /stuck\.ts: its top level has not finished after \d+ ms/,
    );
    const other = await daemon.client();
    await receive(other, 1, frame(1, 2)); // answered meanwhile
    await refused;
    assert.equal((await show(other)).miss, "drop");
    other.close();
  }));

Deno.test("dp-set upcall-handler: what is no handler is refused and changes nothing", () =>
  withSwitch(async (client, daemon) => {
    const wrong = writeHandler(daemon, "wrong", "upcal() {}");
    const open = writeHandler(daemon, "open", "upcall() {}");
    Deno.chmodSync(open, 0o666);
    for (
      const [path, message] of [
        [wrong, /it has no function upcall/],
        [open, /others may write it/],
        [`${daemon.directory}/none.ts`, /upcall handler .*none\.ts: there is no such file/],
      ] as const
    ) {
      await assert.rejects(client.execute("dp-set", { upcallHandler: path }), message);
    }
    assert.equal((await show(client)).miss, "drop");
  }));

/** A connection that asks for upcalls, and what it is given. */
async function stream(
  daemon: DaemonProcess,
  params: Record<string, unknown>,
): Promise<{ connection: Deno.UnixConn; lines: AsyncGenerator<Record<string, unknown>> }> {
  const connection = await Deno.connect({ transport: "unix", path: daemon.socket });
  const request = JSON.stringify({ method: "upcalls", params: [params], id: 9 });
  await connection.write(new TextEncoder().encode(request));
  async function* read(): AsyncGenerator<Record<string, unknown>> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const bytes of connection.readable) {
      const texts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = texts.pop()!;
      for (const text of texts) yield JSON.parse(text);
    }
  }
  return { connection, lines: read() };
}

async function untilMissesAre(client: OpenExecutor, wanted: "taken" | "left"): Promise<void> {
  for (let left = 100;; left--) {
    const before = (await show(client)).ports[1]!.counters!.upcalls!;
    await receive(client, 1, frame(1, 2));
    const after = (await show(client)).ports[1]!.counters!.upcalls!;
    if ((after > before) === (wanted === "taken")) return;
    assert(left > 0, `misses are not ${wanted}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

Deno.test("upcalls: a client is given so many, then its answer; the datapath goes on as before", () =>
  withSwitch(async (client, daemon) => {
    await client.execute("flow-add", {
      flow: "in_port(2)",
      actions: "trunc(20),userspace(pid=1,userdata(0a0b),actions),3",
    });
    const { lines } = await stream(daemon, { count: 2 });
    await untilMissesAre(client, "taken");
    await receive(client, 2, frame(2, 1));
    const miss = (await lines.next()).value!;
    const action = (await lines.next()).value!;
    const answer = (await lines.next()).value!;
    const [first] = miss["params"] as [Record<string, unknown>];
    assert.equal(miss["method"], "upcall");
    assert.equal(miss["id"], null);
    assert.equal(first["type"], "miss");
    assert.equal(first["packet"], frame(1, 2));
    assert.match(String(first["key"]), /^recirc_id\(0\),in_port\(1\),eth\(src=02:00:00:00:00:01/);
    const [second] = action["params"] as [Record<string, unknown>];
    assert.equal(second["type"], "action");
    assert.equal(second["packet"], frame(2, 1).slice(0, 40));
    assert.equal(second["length"], 60);
    assert.equal(second["userdata"], "0a0b");
    assert.match(String(second["actions"]), /^trunc\(20\),userspace\(.*\),3$/);
    assert.deepEqual(answer, { result: { upcalls: 2, lost: 0 }, error: null, id: 9 });
    await lines.return(undefined);
    const { counters, miss: policy } = await show(client);
    assert.equal(policy, "drop");
    assert("drops" in counters && counters.drops["no-upcall-handler"]! >= 1);
    await untilMissesAre(client, "left");
  }));

Deno.test("upcalls: a client is let go with its datapath", () =>
  withSwitch(async (client, daemon) => {
    const { lines } = await stream(daemon, {});
    await untilMissesAre(client, "taken");
    await client.execute("dp-del", { dp: "dp0" });
    let answer: Record<string, unknown> | undefined;
    for await (const line of lines) {
      if (line["method"] === "upcall") continue;
      answer = line;
      break;
    }
    assert.equal(answer?.["error"], null);
  }));

Deno.test("upcalls: the tunnel that a packet is to be sent through is told to who asks for it", () =>
  withSwitch(async (client, daemon) => {
    const tunnel = "tunnel(tun_id=0x7,src=1.1.1.1,dst=2.2.2.2,ttl=64,flags(df|key))";
    await client.execute("flow-add", {
      flow: "in_port(1)",
      actions: `set(${tunnel}),userspace(pid=1,tunnel_out_port=2),userspace(pid=2)`,
    });
    const { lines } = await stream(daemon, { count: 2 });
    await untilMissesAre(client, "taken");
    await receive(client, 1, frame(1, 2));
    const told: unknown[] = [];
    for await (const { method, params } of lines) {
      if (method !== "upcall") break;
      const [upcall] = params as [Record<string, unknown>];
      told.push([upcall["action"], upcall["egressTunnel"]]);
    }
    const [[first, egress], second] = told as [[string, string], unknown];
    assert.equal(first, "userspace(pid=1,tunnel_out_port=2)");
    assert.match(
      egress,
      /^tunnel\(tun_id=0x7,src=1.1.1.1,dst=2.2.2.2,tos=0,ttl=64,.*flags\(.*\)\)$/,
    );
    assert.deepEqual(second, ["userspace(pid=2)", undefined]);
  }));

Deno.test("upcalls: a client that takes nothing loses some, and one that is gone is forgotten", () =>
  withSwitch(async (client, daemon) => {
    const { connection, lines } = await stream(daemon, {});
    await untilMissesAre(client, "taken");
    for (let time = 0; time < 60; time++) {
      await receive(client, 1, ...Array.from({ length: 100 }, (_, at) => frame(at, 2)));
    }
    // Nobody else has waited for it.
    assert((await show(client)).ports[1]!.counters!.upcalls! > 5000);
    await connection.closeWrite();
    let given = 0;
    let answer: Record<string, unknown> = {};
    for await (const line of lines) {
      if (line["method"] === "upcall") given++;
      else answer = line;
      if (line["method"] === undefined) break;
    }
    const { result } = answer as { result: { upcalls: number; lost: number } };
    assert.equal(result.upcalls, given);
    assert(result.lost > 0, JSON.stringify(result));
    await untilMissesAre(client, "left");
  }));

Deno.test("flow-add: a flow with a timeout goes when its time is over, and is never saved", () =>
  withSwitch(async (client, daemon) => {
    await client.text("time/stop", []);
    const flow = (port: number): string => `in_port(${port})`;
    await client.execute("flow-add", { flow: flow(1), actions: "3", idleTimeout: 10 });
    await client.execute("flow-add", { flow: flow(2), actions: "3", hardTimeout: 15 });
    await client.execute("flow-add", { flow: flow(3), actions: "1" });
    assert.deepEqual((await client.execute("flow-get", { flow: flow(1) })).flow.temporary, {
      idleTimeout: 10,
      hardTimeout: 0,
    });
    await client.text("time/warp", ["9000"]);
    await receive(client, 1, frame(1, 2));
    await receive(client, 2, frame(1, 2));
    await client.text("time/warp", ["5999"]);
    assert.equal((await flows(client)).length, 3);
    // Changed by a user, it stays as temporary as it was.
    await client.execute("flow-mod", { flow: flow(1), actions: "drop" });
    await client.text("time/warp", ["1"]);
    assert.deepEqual(await flows(client), ["in_port(1),eth() drop", "in_port(3),eth() 1"]);
    await client.text("time/warp", ["10000", "1000"]);
    assert.deepEqual(await flows(client), ["in_port(3),eth() 1"]);
    await client.execute("flow-add", { flow: flow(1), actions: "3", idleTimeout: 10 });
    await client.execute("batch", {
      requests: [{
        line: 1,
        method: "flow-add",
        params: { flow: flow(2), actions: "3", hardTimeout: 1e6 },
      }],
    });
    await assert.rejects(
      client.execute("flow-add", { flow: "in_port(4)", actions: "1", idleTimeout: -1 }),
      /idle timeout can't be -1 s/,
    );
    client.close();
    await daemon.end();
    await daemon.start();
    const again = await daemon.client();
    assert.deepEqual(await flows(again), ["in_port(3),eth() 1"]);
    again.close();
  }));

Deno.test("dp-set: masks-cache and features are checked, shown and saved", () =>
  withSwitch(async (client, daemon) => {
    await client.execute("dp-set", {
      masksCacheSize: 1024,
      features: ["upcall-per-cpu", "unaligned"],
    });
    for (const masksCacheSize of [3, -1, 2 ** 23, 0.5]) {
      await assert.rejects(client.execute("dp-set", { masksCacheSize }), /not allowed/);
    }
    await assert.rejects(
      client.execute("dp-set", { features: ["magic"] }),
      /unknown feature "magic"/,
    );
    client.close();
    await daemon.end("SIGKILL");
    await daemon.start();
    const again = await daemon.client();
    const { masksCacheSize, features } = await show(again);
    assert.deepEqual({ masksCacheSize, features }, {
      masksCacheSize: 1024,
      features: ["unaligned", "upcall-per-cpu"],
    });
    assert.match(
      await again.text("dpctl/cache-set-size", ["dp0", "masks-cache", "0"]),
      /^Setting cache size successful, new size 0\n$/,
    );
    assert.equal(
      await again.text("dpctl/cache-get-size", []),
      "dummy@dp0:\n  caches:\n    masks-cache: size:0\n",
    );
    again.close();
  }));
