/** What was acknowledged stays: order of commands, restart, kill -9, a second daemon, races. */
import assert from "node:assert/strict";
import { denovsCommand } from "./denovs.ts";
import { type Lab, type Peer, rootTest, withLab } from "./lab.ts";
import { run } from "./process.ts";
import { twoHosts } from "./traffic.ts";

async function hosts(lab: Lab): Promise<{ a: Peer; b: Peer }> {
  const a = await lab.peer("a", { address: "10.0.0.1/24" });
  const b = await lab.peer("b", { address: "10.0.0.2/24" });
  return { a, b };
}

rootTest("state: configure, then run", () =>
  withLab(async (lab) => {
    const { a, b } = await hosts(lab);
    const { denovs } = lab;
    const added = await denovs.try(["dp-add", "br0"]);
    assert.equal(added.code, 0, added.stderr);
    assert.match(added.stderr, /saved; no daemon is running/);
    await denovs.cli("port-add", "br0", a.port);
    await denovs.cli("port-add", "br0", b.port, "--port-no", "5");
    await denovs.cli("flow-add", "br0", "in_port(1)", "5");
    await denovs.cli("flow-add", "br0", "in_port(5)", "1");
    const offline = await denovs.flows();
    assert.deepEqual(offline.map(({ packets }) => packets), [0, 0]);
    await denovs.start();
    assert.equal(await a.ping("10.0.0.2"), 3);
    const live = await denovs.flows();
    assert.deepEqual(live.map(({ ufid }) => ufid), offline.map(({ ufid }) => ufid));
  }));

rootTest("state: half before, half after run; kept over a restart", () =>
  withLab(async (lab) => {
    const { a, b } = await hosts(lab);
    const { denovs } = lab;
    await denovs.cli("dp-add", "br0");
    await denovs.cli("port-add", "br0", a.port);
    await denovs.cli("flow-add", "br0", "in_port(1)", "2");
    await denovs.start();
    await denovs.cli("port-add", "br0", b.port);
    await denovs.cli("flow-add", "br0", "in_port(2)", "1");
    assert.equal(await a.ping("10.0.0.2"), 3);
    assert.equal(await denovs.end("SIGINT"), 0);
    await denovs.start();
    assert.equal(await a.ping("10.0.0.2"), 3);
    await denovs.cli("stop");
    assert.equal(await denovs.exited(), 0);
    assert.throws(() => Deno.lstatSync(denovs.socket), Deno.errors.NotFound);
  }));

rootTest(
  "state: kill -9 keeps flows and ports, br0's MAC, addresses and routes",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab, { flows: false });
      const { denovs, sw } = lab;
      await denovs.cli("flow-add", "br0", "in_port(1)", "0");
      await denovs.cli("flow-add", "br0", "in_port(0)", "1");
      await sw.ip("addr", "add", "10.0.0.10/24", "dev", "br0");
      await sw.ip("link", "set", "br0", "up");
      await sw.ip("route", "add", "10.99.0.0/16", "via", "10.0.0.1", "dev", "br0");
      assert.equal(await a.ping("10.0.0.10"), 3);
      const about = async (): Promise<unknown> => {
        const [link] = JSON.parse(await sw.ip("-j", "addr", "show", "br0"));
        const routes = await sw.ip("route", "show", "dev", "br0");
        const addresses = link.addr_info.map((one: { local: string }) => one.local);
        return {
          mac: link.address,
          ifindex: link.ifindex,
          addresses,
          routes: routes.replaceAll(" linkdown", ""),
        };
      };
      const before = await about();
      const flows = (await denovs.flows()).map(({ ufid, flow, actions }) => ({
        ufid,
        flow,
        actions,
      }));
      await denovs.kill9();
      assert.deepEqual(await about(), before);
      await denovs.start();
      assert.deepEqual(await about(), before);
      assert.deepEqual(
        (await denovs.flows()).map(({ ufid, flow, actions }) => ({ ufid, flow, actions })),
        flows,
      );
      assert.equal(await a.ping("10.0.0.10"), 3);
      await denovs.cli("dp-del", "br0");
      const gone = await sw.run(["ip", "link", "show", "br0"], { fails: true });
      assert.notEqual(gone.code, 0, "dp-del removes the device");
    }),
);

rootTest(
  "state: kill -9 in the middle of commands loses none that was acknowledged",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      await denovs.start();
      await denovs.cli("dp-add", "dummy@dp0");
      const acknowledged: string[] = [];
      for (let round = 0; round < 3; round++) {
        let isRunning = true;
        const adding = (async () => {
          for (let i = 0; isRunning; i++) {
            const flow = `in_port(${round * 1000 + i})`;
            const done = await denovs.try(["flow-add", "dp0", flow, "drop"]);
            if (done.code === 0) acknowledged.push(flow);
          }
        })();
        await new Promise((wake) => setTimeout(wake, 500 + round * 137));
        await denovs.kill9();
        isRunning = false;
        await adding;
        await denovs.start();
        const there = new Set((await denovs.flows("dp0")).map(({ flow }) => flow.split(",")[0]));
        assert.deepEqual(acknowledged.filter((flow) => !there.has(flow)), []);
      }
      assert.ok(acknowledged.length > 3);
    }),
);

rootTest(
  "state: commands that race a starting daemon are never lost",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      await denovs.cli("dp-add", "dummy@dp0");
      denovs.spawn();
      const results = await Promise.all(
        Array.from(
          { length: 12 },
          (_, i) => denovs.try(["flow-add", "dp0", `in_port(${i + 1})`, "drop"]),
        ),
      );
      await denovs.ready();
      const there = (await denovs.flows("dp0")).map(({ flow }) => flow.split(",")[0]);
      for (const [i, done] of results.entries()) {
        assert.equal(done.code, 0, done.stderr);
        assert.ok(there.includes(`in_port(${i + 1})`), `flow ${i + 1} is lost: ${done.stderr}`);
      }
    }),
);

rootTest(
  "state: a second daemon on the same state or socket is refused",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      await denovs.start();
      await denovs.cli("dp-add", "dummy@dp0");
      const second = (extra: Record<string, string>): Promise<{ code: number; stderr: string }> =>
        run([...denovsCommand(), "run"], { env: { ...denovs.env, ...extra }, timeoutMs: 20_000 });
      const sameState = await second({ DENOVS_SOCKET: `${lab.folder}/other` });
      assert.equal(sameState.code, 1, sameState.stderr);
      assert.match(sameState.stderr, /^denovs: .*(in use|already|another|holds)/m);
      const sameSocket = await second({ DENOVS_STATE: `${lab.folder}/other.db` });
      assert.equal(sameSocket.code, 1, sameSocket.stderr);
      assert.match(sameSocket.stderr, /^denovs: .*(in use|already|another|answers)/m);
      assert.equal(await denovs.cli("dp-list"), "dummy@dp0\n");
    }),
);

rootTest("state: a stale socket of a killed daemon is replaced", () =>
  withLab(async (lab) => {
    const { denovs } = lab;
    await denovs.start();
    await denovs.kill9();
    assert.ok(Deno.lstatSync(denovs.socket).isSocket);
    await denovs.start();
    assert.equal(await denovs.cli("dp-list"), "");
  }));

rootTest(
  "state: an explicit --socket that does not answer is an error",
  () =>
    withLab(async (lab) => {
      // Without --state, that is: no saved state is touched instead.
      const done = await run([...denovsCommand(), "dp-list", "--socket", `${lab.folder}/nobody`]);
      assert.equal(done.code, 1);
      assert.match(done.stderr, /^denovs: .*nobody/);
      assert.equal(lab.denovs.log(), "");
    }),
);
