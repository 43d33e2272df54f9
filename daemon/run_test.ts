/** The daemon as a process: dummy datapaths, no root. */
import assert from "node:assert/strict";
import {
  CommandError,
  type Executor,
  type FlowInfo,
  type MethodName,
  type Methods,
} from "./api.ts";
import { openOffline } from "./offline.ts";
import { defaultThreads } from "./run.ts";
import { DaemonProcess, PROGRAM, withDaemon } from "./testing/daemon_process.ts";

/** Flow number n; 65,000 of them differ. */
const flow = (n: number): string =>
  `in_port(1),eth_type(0x0800),ipv4(proto=17),udp(dst=${n & 0xffff})`;

async function setUp(executor: Executor, flows = 2): Promise<void> {
  await executor.execute("dp-add", { dp: "dummy@dp0" });
  await executor.execute("port-add", { port: "p1" });
  await executor.execute("port-add", { port: "p2", portNo: 7 });
  for (let n = 0; n < flows; n++) {
    await executor.execute("flow-add", { flow: flow(n), actions: "7" });
  }
}

/** All that is configured, in a form that can be compared. */
async function describe(executor: Executor): Promise<unknown> {
  const { datapaths } = await executor.execute("dp-show", { dps: [] });
  const { flows } = await executor.execute("flow-dump", { dp: "dp0" });
  return {
    datapaths: datapaths.map(({ name, type, miss, flowsMax, ports }) => ({
      name,
      type,
      miss,
      flowsMax,
      ports: ports.map(({ portNo, name, type, options }) => ({ portNo, name, type, options })),
    })),
    flows: flows.map(({ ufid, flow, actions }) => ({ ufid, flow, actions })),
  };
}

async function untilEqual<T>(read: () => Promise<T>, wanted: T): Promise<void> {
  for (let left = 100;; left--) {
    const value = await read();
    if (value === wanted) return;
    if (left === 0) assert.equal(value, wanted);
    await new Promise((done) => setTimeout(done, 50));
  }
}

Deno.test("run restores what was configured offline, and kill -9 loses nothing", async () => {
  await withDaemon(async (daemon) => {
    const offline = await openOffline(daemon.state);
    await setUp(offline);
    const wanted = await describe(offline);
    offline.close();
    await daemon.start();
    let client = await daemon.client();
    assert.deepEqual(await describe(client), wanted);
    await client.execute("flow-add", { flow: "in_port(7)", actions: "1" });
    await client.execute("dp-set", { miss: "learn" });
    const changed = await describe(client);
    client.close();
    await daemon.end("SIGKILL");
    await daemon.start();
    client = await daemon.client();
    assert.deepEqual(await describe(client), changed);
    client.close();
    assert.equal((await daemon.end("SIGTERM")).code, 0);
    const left = [...Deno.readDirSync(daemon.directory)].map(({ name }) => name).sort();
    const locks = ["ctl.lock", "ctl.lock.gate", "state.lock", "state.lock.gate"];
    assert.deepEqual(left, [...locks, "state.db"].sort());
    const again = await openOffline(daemon.state);
    assert.deepEqual(await describe(again), changed);
    again.close();
  });
});

Deno.test("kill -9 in the middle of a stream of commands loses none that was acknowledged", async () => {
  await withDaemon(async (daemon) => {
    await daemon.start();
    const client = await daemon.client();
    await setUp(client, 0);
    let acknowledged = 0;
    const stream = (async () => {
      for (let n = 0;; n++) {
        await client.execute("flow-add", { flow: flow(n), actions: "7" });
        acknowledged++;
      }
    })().catch((error) => error.code);
    await untilEqual(() => Promise.resolve(acknowledged > 20), true);
    await daemon.end("SIGKILL");
    // Whether the daemon had begun the last one decides.
    assert.ok(["ECONNRESET", "ESHUTDOWN"].includes(await stream));
    client.close();
    assert.ok(acknowledged > 0);
    const offline = await openOffline(daemon.state);
    const { flows } = await offline.execute("flow-dump", {});
    // One more may be saved whose answer was on its way.
    assert.ok(flows.length === acknowledged || flows.length === acknowledged + 1);
    offline.close();
  });
});

Deno.test("a second daemon on the same state or socket is refused with its pid", async () => {
  await withDaemon(async (first) => {
    await first.start();
    const second = new DaemonProcess(first.directory);
    second.spawn();
    const { code, stderr } = await second.ended();
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`another daemon \\(pid ${first.pid}\\) runs on .*state\\.db`));
    const third = new DaemonProcess(first.directory, `${first.directory}/other.db`);
    third.spawn();
    const other = await third.ended();
    assert.equal(other.code, 1);
    assert.match(
      other.stderr,
      new RegExp(`another daemon \\(pid ${first.pid}\\) serves the socket`),
    );
    // The refusal has left the state free.
    (await openOffline(`${first.directory}/other.db`)).close();
    await assert.rejects(
      openOffline(first.state, { waitMs: 0 }),
      (error) => error instanceof CommandError && error.code === "ELOCKED",
    );
    const client = await first.client();
    client.close();
  });
});

Deno.test("no command is lost while the daemon starts, nor while it ends", async () => {
  await withDaemon(async (daemon) => {
    const setup = await openOffline(daemon.state);
    await setUp(setup, 0);
    setup.close();
    const failures: unknown[] = [];
    let stop = false;
    let sent = 0;
    let live = 0;
    const clients = Array.from({ length: 3 }, async (_, client) => {
      for (let n = 0; !stop; n++) {
        const executor = daemon.reach();
        const request = { flow: flow(client * 20_000 + n), actions: "7" };
        await executor.execute("flow-add", request).catch((error) => failures.push(error));
        if (!executor.offline) live++;
        executor.close();
        sent++;
        // An offline edit finishes without giving others of this process their turn.
        await new Promise((done) => setTimeout(done, 1));
      }
    });
    try {
      for (let round = 0; round < 2; round++) {
        await daemon.start();
        const before = live;
        await untilEqual(() => Promise.resolve(live > before), true);
        assert.equal((await daemon.end()).code, 0);
      }
    } finally {
      stop = true;
    }
    await Promise.all(clients);
    assert.deepEqual(failures, []);
    const offline = await openOffline(daemon.state);
    assert.equal((await offline.execute("flow-dump", {})).flows.length, sent);
    assert.ok(live > 0 && live < sent, `${live} of ${sent} commands reached a daemon`);
    offline.close();
  });
});

Deno.test("run waits for a client's lock", async () => {
  await withDaemon(async (daemon) => {
    const offline = await openOffline(daemon.state);
    await setUp(offline, 0);
    daemon.spawn();
    await new Promise((done) => setTimeout(done, 400));
    await offline.execute("port-add", { dp: "dp0", port: "last" });
    offline.close();
    const client = daemon.reach();
    assert.equal((await client.execute("port-list", {})).ports.length, 4);
    client.close();
    await untilEqual(async () => {
      const executor = daemon.reach();
      await executor.execute("version", {});
      const offlineNow = executor.offline;
      executor.close();
      return offlineNow;
    }, false);
  });
});

Deno.test("offline and online answer alike, in results and errors", async () => {
  await withDaemon(async (daemon) => {
    await daemon.start();
    const online = await daemon.client();
    const offline = await openOffline(`${daemon.directory}/offline.db`);
    const both = async <M extends MethodName>(
      method: M,
      params: Methods[M]["params"],
    ): Promise<void> => {
      const [a, b] = await Promise.all(
        [online, offline].map((executor) =>
          executor.execute(method, params).then(
            (result) => withoutIdentity(result),
            ({ code, message, caret, line }) => ({ code, message, caret, line }),
          )
        ),
      );
      assert.deepEqual(a, b, method);
    };
    await both("dp-show", { dps: [] });
    await both("dp-add", { dp: "dummy@dp0", flowsMax: 100 });
    await both("dp-add", { dp: "dp0" });
    await both("port-add", { port: "p1", portNo: 3 });
    await both("port-add", { port: "p2" });
    await both("port-add", { port: "p2" });
    await both("port-add", { port: "p3", type: "vxlan" });
    await both("port-add", { port: "p3", options: { nonsense: "1" } });
    await both("port-del", { port: "dp0" });
    await both("port-del", { port: "p9" });
    await both("flow-add", { flow: "in_port(p1),eth()", actions: "p2" });
    await both("flow-add", { flow: "in_port(p1),eth_type(0x0800)", actions: "p2" });
    await both("flow-add", { flow: "in_port(p9)", actions: "p2" });
    await both("flow-add", { flow: "in_port(1),tcp(src=1)", actions: "p2" });
    await both("flow-mod", { flow: "in_port(9)", actions: "1" });
    await both("flow-load", { text: "in_port(9) 1\nin_port(9) 2" });
    await both("flow-load", { text: "in_port(9) 1\nin_port(8) 2" });
    await both("flow-dump", { names: true });
    await both("flow-dump", { filter: "in_port=9" });
    await both("flow-del", { flow: "in_port(9)" });
    await both("port-list", { statistics: true });
    await both("dp-set", { miss: "flood" });
    await both("dp-list", {});
    await both("flow-flush", {});
    await both("dp-del", { dp: "dp0" });
    await both("dp-del", { dp: "dp0" });
    online.close();
    offline.close();
  });
});

/** Results without what is random (UFIDs) or told only by a switch (a port's state and address). */
function withoutIdentity(result: unknown): unknown {
  const unequal = ["ufid", "state", "mac"];
  return JSON.parse(
    JSON.stringify(result, (name, value) => unequal.includes(name) ? null : value),
  );
}

Deno.test("frames go through dummy ports, and time stands still when it is stopped", async () => {
  await withDaemon(async (daemon) => {
    await daemon.start();
    const client = await daemon.client();
    await setUp(client, 3);
    await client.text("time/stop", []);
    const packet = "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
      "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=9,dst=1)";
    await client.execute("netdev-dummy/receive", {
      port: "p1",
      frames: [packet, packet],
      size: 100,
    });
    const hit = async (): Promise<FlowInfo> => {
      const { flows } = await client.execute("flow-dump", {});
      return flows.find(({ flow }) => flow.includes("dst=1)"))!;
    };
    let { packets, bytes, usedMs } = await hit();
    assert.deepEqual({ packets, bytes, usedMs }, { packets: 2, bytes: 200, usedMs: 0 });
    assert.equal(await client.text("time/warp", ["5000", "100"]), "warped\n");
    assert.equal((await hit()).usedMs, 5000);
    await client.text("netdev-dummy/receive", ["p1", packet, "--len", "60"]);
    ({ packets, bytes, usedMs } = await hit());
    assert.deepEqual({ packets, bytes, usedMs }, { packets: 3, bytes: 260, usedMs: 0 });
    const { datapaths } = await client.execute("dp-show", { dps: [], statistics: true });
    const { counters, ports } = datapaths[0]!;
    assert.equal(counters.hit, 3);
    assert.equal(ports.find(({ name }) => name === "p2")?.counters?.txPackets, 3);
    const mod = await client.execute("flow-mod", { flow: flow(1), clear: true });
    assert.equal(mod.stats.packets, 3);
    assert.equal((await hit()).packets, 0);
    await assert.rejects(client.text("netdev-dummy/receive", ["nope", packet]), /no dummy port/);
    client.close();
  });
});

Deno.test("10,000 flows load in one call within seconds, while the daemon goes on answering", async () => {
  await withDaemon(async (daemon) => {
    await daemon.start();
    const client = await daemon.client();
    const other = await daemon.client();
    await setUp(client, 0);
    const text = Array.from({ length: 10_000 }, (_, n) => `${flow(n)} 7`).join("\n");
    let loading = true;
    const start = performance.now();
    const load = client.execute("flow-load", { text }).finally(() => loading = false);
    let worstMs = 0;
    while (loading) {
      const asked = performance.now();
      await other.execute("dp-list", {});
      worstMs = Math.max(worstMs, performance.now() - asked);
    }
    assert.deepEqual(await load, { added: 10_000, modified: 0, deleted: 0 });
    const tookMs = performance.now() - start;
    assert.ok(tookMs < 10_000, `took ${tookMs} ms`);
    assert.ok(worstMs < 500, `an answer took ${worstMs} ms`);
    const { flows } = await client.execute("flow-dump", {});
    assert.equal(flows.length, 10_000);
    await daemon.end("SIGKILL");
    other.close();
    client.close();
    await daemon.start();
    const again = await daemon.client();
    assert.deepEqual((await again.execute("flow-dump", {})).flows, flows);
    again.close();
  });
});

Deno.test("run --detach returns when the daemon is ready; signals and stop end it; SIGHUP reopens the log", async () => {
  await withDaemon(async (daemon) => {
    const pidfile = `${daemon.directory}/pid`;
    const logFile = `${daemon.directory}/log`;
    const detach = async (): Promise<Deno.CommandOutput> => {
      const [program, ...before] = PROGRAM;
      const args = [...before, ...daemon.runArguments, "--detach", "--pidfile", pidfile];
      return await new Deno.Command(program, { args: [...args, "--log-file", logFile] }).output();
    };
    const started = await detach();
    assert.equal(started.code, 0, new TextDecoder().decode(started.stderr));
    const pid = Number(await Deno.readTextFile(pidfile));
    try {
      const client = await daemon.client();
      await client.execute("version", {});
      client.close();
      const refused = await detach();
      assert.equal(refused.code, 1);
      assert.match(new TextDecoder().decode(refused.stderr), /another daemon \(pid \d+\)/);
      await Deno.rename(logFile, `${logFile}.1`);
      Deno.kill(pid, "SIGHUP");
      await untilEqual(() => exists(logFile), true);
      const last = await daemon.client();
      await last.execute("stop", {});
      last.close();
      assert.equal(await exists(pidfile), false);
      assert.equal(await exists(daemon.socket), false);
      await untilEqual(() => exists(`/proc/${pid}`), false);
    } finally {
      if (await exists(`/proc/${pid}`)) Deno.kill(pid, "SIGKILL");
    }
    assert.match(await Deno.readTextFile(`${logFile}.1`), /\|daemon\|INFO\|denovs .* runs/);
  });
});

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

Deno.test("run says why it can't start, and leaves nothing behind", async () => {
  await withDaemon(async (daemon) => {
    await Deno.writeTextFile(daemon.state, "not a database, ".repeat(100));
    daemon.spawn();
    const { code, stderr } = await daemon.ended();
    assert.equal(code, 1);
    assert.match(stderr, /^denovs: .*cannot use the state file .*not a database\n$/);
    await Deno.remove(daemon.state);
    daemon.spawn(["--plugin", "/no/such/plugin.ts"]);
    const plugin = await daemon.ended();
    assert.equal(plugin.code, 1);
    assert.match(plugin.stderr, /^denovs: .*\/no\/such\/plugin\.ts/m);
    assert.equal(await exists(daemon.socket), false);
    await daemon.start();
  });
});

Deno.test("broken clients do not disturb a daemon that works", async () => {
  await withDaemon(async (daemon) => {
    await daemon.start();
    const client = await daemon.client();
    await setUp(client, 0);
    const seed = Date.now() & 0xffffffff;
    let state = seed;
    const random = (): number => (state = Math.imul(state, 1664525) + 1013904223 | 0) >>> 8;
    for (let round = 0; round < 40; round++) {
      const connection = await Deno.connect({ transport: "unix", path: daemon.socket });
      const bytes = Uint8Array.from({ length: 100 + random() % 3000 }, () => random());
      if (random() % 2 === 0) bytes.set(new TextEncoder().encode('{"method":"flow-add","pa'));
      await connection.write(bytes).catch(() => {});
      connection.close();
      await client.execute("flow-mod", { flow: flow(round), actions: "7", mayCreate: true });
    }
    assert.equal((await client.execute("flow-dump", {})).flows.length, 40, `seed ${seed}`);
    client.close();
  });
});

Deno.test("sd_notify tells the supervisor when the switch is ready and when it ends", async () => {
  await withDaemon(async (daemon) => {
    const path = `${daemon.directory}/notify`;
    const supervisor = new Deno.Command("python3", {
      args: [
        "-c",
        "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(sys.argv[1])\n" +
        "print('bound',flush=True)\n" +
        "for i in range(2): print(s.recv(100).decode(),flush=True)",
        path,
      ],
      stdout: "piped",
    }).spawn();
    await untilEqual(() => exists(path), true);
    await daemon.start([], { NOTIFY_SOCKET: path });
    await daemon.end();
    const { stdout } = await supervisor.output();
    assert.equal(new TextDecoder().decode(stdout), "bound\nREADY=1\nSTOPPING=1\n");
  });
});

Deno.test("defaultThreads is 1 on up to two cores, else cores − 1 up to 4", () => {
  assert.deepEqual([1, 2, 3, 4, 5, 64].map(defaultThreads), [1, 1, 2, 3, 4, 4]);
});
