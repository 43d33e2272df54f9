/** Upcalls: a handler between real hosts, clients that look on, and a flood of new flows. */
import assert from "node:assert/strict";
import { denovsCommand } from "./denovs.ts";
import { rootTest, withLab } from "./lab.ts";
import { eventually, run } from "./process.ts";
import { assertAccounts, sendFrames, sendTcp, serveTcp, twoHosts } from "./traffic.ts";

const LEARNING_SWITCH = new URL("../../examples/handlers/learning_switch.ts", import.meta.url)
  .pathname;

rootTest(
  "upcalls: hosts reach each other through the learning switch",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const { denovs } = lab;
      assert.equal(await a.ping("10.0.0.2", { count: 1 }), 0);
      await denovs.cli("dp-set", "br0", `upcall-handler=${LEARNING_SWITCH}`);
      assert.equal(await a.ping("10.0.0.2", { count: 10 }), 10);
      // Trains and partial checksums, too: the first of them go through the handler.
      await denovs.cli("flow-flush", "br0");
      await serveTcp(b);
      await sendTcp(a, "10.0.0.2", { megabytes: 50 });
      assert.equal(await b.checksumErrors(), 0);
      const { flows } = JSON.parse(await denovs.cli("flow-dump", "br0", "--json"));
      assert.ok(
        flows.length >= 2 && flows.every((flow: { temporary?: unknown }) => flow.temporary),
      );
      const { counters } = await denovs.show();
      assert.ok(Number(counters["missed"]) < 1000, JSON.stringify(counters));
      await assertAccounts(lab);
      // It is back after a restart, and what it had installed is not.
      await denovs.end();
      await denovs.start();
      assert.equal(await denovs.cli("flow-dump", "br0"), "");
      assert.equal(await a.ping("10.0.0.2"), 3);
      await denovs.cli("dp-set", "br0", "upcall-handler=");
      await denovs.cli("flow-flush", "br0");
      assert.equal(await a.ping("10.0.0.2", { count: 1 }), 0);
    }),
);

rootTest(
  "upcalls: denovs upcalls shows packets as text, JSON and a capture",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab, { flows: false });
      const { denovs } = lab;
      const mac = (await a.ip("-br", "link", "show", "eth0")).split(/\s+/)[2] ?? "";
      const frame = `ffffffffffff${mac.replaceAll(":", "")}1234${"5a".repeat(50)}`;
      const upcalls = async (...words: string[]): Promise<string> => {
        const shown = denovs.try(["upcalls", "br0", "-n", "5", ...words]);
        let done = false;
        shown.finally(() => done = true);
        await eventually("five upcalls are shown", async () => {
          await sendFrames(a, [frame]);
          return done;
        });
        const { code, stdout, stderr } = await shown;
        assert.equal(code, 0, stderr);
        return stdout;
      };
      const lines = (await upcalls()).trimEnd().split("\n");
      assert.equal(lines.length, 5);
      assert.ok(
        lines.some((line) => /^miss length:64 .*in_port\(1\).*eth_type\(0x1234\)/.test(line)),
      );
      const objects = (await upcalls("--json")).trimEnd().split("\n").map((line) =>
        JSON.parse(line)
      );
      assert.ok(objects.some(({ packet }) => packet === frame));
      const path = `${denovs.state}.pcap`;
      await upcalls("-w", path);
      const { stdout } = await run([...denovsCommand(), "packet-parse", "--pcap", path]);
      assert.equal(stdout.trimEnd().split("\n").length, 5);
      assert.match(stdout, /eth_type\(0x1234\)/);
    }),
);

/** Installs a flow for each packet's addresses and ports, as a careless controller does. */
const EAGER = `export default {
  apiVersion: 1,
  name: "eager",
  upcall(packet, key, host) {
    host.addFlow({ flow: key.text, actions: "2", idleTimeout: 60 });
    host.execute(packet, "2");
  },
};
`;

rootTest(
  "upcalls: a flood of new flows costs bounded memory, and other traffic goes on",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const { denovs } = lab;
      const c = await lab.peer("c", { address: "10.0.0.3/24" });
      await denovs.cli("port-add", "br0", c.port);
      await denovs.cli("flow-add", "br0", "in_port(1)", "2");
      await denovs.cli("flow-add", "br0", "in_port(2)", "1");
      assert.equal(await a.ping("10.0.0.2"), 3);
      const path = `${denovs.state}.eager.ts`;
      Deno.writeTextFileSync(path, EAGER, { mode: 0o600 });
      await denovs.cli("dp-set", "br0", `upcall-handler=${path}`);
      const frames = Array.from({ length: 20_000 }, randomUdp);
      await sendFrames(c, frames);
      const before = rss(denovs.pid);
      const flood = (async (): Promise<number> => {
        let count = 0;
        for (let time = 0; time < 3; time++) count += await sendFrames(c, frames);
        return count;
      })();
      const replies = await a.ping("10.0.0.2", { count: 60 });
      assert.ok(await flood > 10_000);
      assert.ok(replies >= 58, `${replies} of 60 pings`);
      await eventually("commands are answered", async () => (await denovs.show()) !== undefined);
      const grown = rss(denovs.pid) - before;
      assert.ok(grown < 300 << 20, `grown by ${grown >> 20} MiB`);
      const { counters, ports, flows } = await denovs.show();
      const { upcalls, upcallErrors } = ports.find(({ name }) => name === c.port)!.counters!;
      assert.ok(counters["missed"]! >= 10_000, `${counters["missed"]} misses`);
      assert.equal(upcallErrors, counters["lost"]);
      assert.equal(counters.drops["upcall-queue-full"] ?? 0, counters["lost"]);
      assert.ok(upcalls! > 0 && flows > 2);
      await assertAccounts(lab);
      assert.equal(await b.ping("10.0.0.1"), 3);
    }),
);

/** Bytes of a process in memory. */
function rss(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1]) * 1024;
}

/** A UDP packet in hexadecimal, with random addresses and ports. */
function randomUdp(): string {
  const random = (size: number): string => crypto.getRandomValues(new Uint8Array(size)).toHex();
  const ip = `45000026${random(2)}000040110000${random(8)}`;
  return `0200000000020200000000030800${ip}${random(4)}00120000${"00".repeat(10)}`;
}
