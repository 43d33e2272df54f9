/** Options of ports that change while packets go through them. */
import assert from "node:assert/strict";
import { rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, twoHosts } from "./traffic.ts";

rootTest(
  "port-set: a device is shared with the host and taken again, saved, with flows and counters",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab);
      const { denovs } = lab;
      assert.equal(await a.ping("10.0.0.2"), 3);
      const counted = async (): Promise<number> =>
        (await denovs.show()).ports.find(({ name }) => name === a.port)!.counters!.rxPackets ?? 0;
      const before = await counted();
      assert.ok(before >= 3);
      await denovs.cli("port-set", "br0", a.port, "host=share");
      assert.match(await denovs.cli("port-list", "br0"), new RegExp(`${a.port} .*host=share`));
      assert.ok(await counted() >= before);
      assert.equal(await a.ping("10.0.0.2"), 3);
      // The host's own stack sees the frames now, and answers.
      await lab.sw.ip("addr", "add", "10.9.0.9/24", "dev", a.port);
      await a.ip("addr", "add", "10.9.0.1/24", "dev", "eth0");
      assert.equal(await a.ping("10.9.0.9"), 3);
      await denovs.cli("port-set", "br0", a.port, "host=");
      assert.equal(await a.ping("10.9.0.9", { count: 1 }), 0);
      assert.equal(await b.ping("10.0.0.1"), 3);
      const refused = await denovs.try(["port-set", "br0", a.port, "host=maybe"]);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /host.*maybe/);
      assert.equal(await a.ping("10.0.0.2"), 3);
      await assertAccounts(lab);
    }),
);

rootTest(
  "port-set upcall=: clients take the upcalls for their portids",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const { denovs } = lab;
      await denovs.cli("port-set", "br0", a.port, "upcall=7");
      await denovs.cli("port-set", "br0", b.port, "upcall=8");
      const shown = denovs.try(["upcalls", "br0", "-n", "3", "--portids", "8", "--json"]);
      let done = false;
      shown.finally(() => done = true);
      await eventually("three upcalls for portid 8 are shown", async () => {
        await Promise.all([a.ping("10.0.0.2", { count: 1 }), b.ping("10.0.0.1", { count: 1 })]);
        return done;
      });
      const { code, stdout, stderr } = await shown;
      assert.equal(code, 0, stderr);
      const upcalls = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
      assert.deepEqual(upcalls.map(({ portid, inPort }) => [portid, inPort]), [
        [8, 2],
        [8, 2],
        [8, 2],
      ]);
      await denovs.end();
      assert.match(await denovs.cli("dp-show", "br0"), /port 2: .*upcall=8/);
    }),
);
