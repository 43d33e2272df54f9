/** Whom upcalls are for, in the daemon, over dummy ports: no root. */
import assert from "node:assert/strict";
import type { PortInfo } from "../api.ts";
import type { OpenExecutor } from "../client.ts";
import { type DaemonProcess, withDaemon } from "../testing/daemon_process.ts";

/** Frames from `count` hosts, whose flows have different hashes. */
function frames(count: number): string[] {
  return Array.from({ length: count }, (_, host) => {
    const address = `0a00${(host >> 8).toString(16).padStart(2, "0")}${
      (host & 255).toString(16).padStart(2, "0")
    }`;
    const ip = `4500001c000000004011${"0000"}${address}0a0000ff`;
    return `0200000000ff020000000001${"0800"}${ip}0035${"0035"}${"0008"}0000${"00".repeat(18)}`;
  });
}

/** Counts the portids of the upcalls that it is given, and writes them into a file when asked by a frame of ether type 0x88b5. */
function countingHandler(file: string): string {
  return `const counts = {}; export default {
  apiVersion: 1,
  name: "counting",
  upcall(packet, key) {
    if (key.get("eth_type") === 0x88b5) {
      Deno.writeTextFileSync(${JSON.stringify(file)}, JSON.stringify(counts));
    } else counts[packet.portid] = (counts[packet.portid] ?? 0) + 1;
  },
};
`;
}

async function withHandler(
  work: (client: OpenExecutor, counts: () => Promise<Record<string, number>>) => Promise<void>,
): Promise<void> {
  await withDaemon(async (daemon: DaemonProcess) => {
    await daemon.start();
    const client = await daemon.client();
    try {
      await client.execute("dp-add", { dp: "dummy@dp0" });
      for (const name of ["p1", "p2", "p3"]) {
        await client.execute("port-add", { port: name, type: "dummy" });
      }
      const path = `${daemon.directory}/counting.ts`;
      const file = `${daemon.directory}/counts.json`;
      Deno.writeTextFileSync(path, countingHandler(file), { mode: 0o600 });
      await client.execute("dp-set", { upcallHandler: path });
      await work(client, async () => {
        const ask = `0200000000ff02000000000188b5${"00".repeat(46)}`;
        await client.execute("netdev-dummy/receive", { port: "p3", frames: [ask] });
        return JSON.parse(Deno.readTextFileSync(file));
      });
    } finally {
      client.close();
    }
  });
}

async function port(client: OpenExecutor, name: string): Promise<PortInfo> {
  const { ports } = await client.execute("port-list", { statistics: true });
  return ports.find((one) => one.name === name)!;
}

Deno.test("port-set upcall=: the hash of the flow chooses among a port's portids", () =>
  withHandler(async (client, counts) => {
    await client.execute("port-set", { port: "p1", portids: [11, 12] });
    await client.execute("netdev-dummy/receive", { port: "p1", frames: frames(200) });
    await client.execute("netdev-dummy/receive", { port: "p2", frames: frames(10) });
    const { 11: one = 0, 12: other = 0, undefined: none } = await counts();
    assert.equal(one + other, 200);
    assert.ok(one > 50 && other > 50, `${one} and ${other}`);
    assert.equal(none, 10);
  }));

Deno.test("port-set upcall=0: packets of the port go to nobody, and are counted as lost", () =>
  withHandler(async (client, counts) => {
    await client.execute("port-set", { port: "p1", portids: [0] });
    await client.execute("netdev-dummy/receive", { port: "p1", frames: frames(7) });
    await client.execute("netdev-dummy/receive", { port: "p2", frames: frames(3) });
    assert.deepEqual(await counts(), { undefined: 3 });
    const { counters } = await port(client, "p1");
    assert.equal(counters!.upcallErrors, 7);
    assert.deepEqual(counters!.drops, { "no-upcall-handler": 7 });
    const { datapaths } = await client.execute("dp-show", { dps: [] });
    assert.equal(datapaths[0]!.counters.lost, 7);
    await client.execute("port-set", { port: "p1", portids: [] });
    await client.execute("netdev-dummy/receive", { port: "p1", frames: frames(2) });
    assert.deepEqual(await counts(), { undefined: 5 });
  }));

Deno.test("dp-set features=upcall-per-cpu upcall=: the packet thread chooses, also for actions", () =>
  withHandler(async (client, counts) => {
    await client.execute("port-set", { port: "p1", portids: [11] });
    await client.execute("dp-set", { features: ["upcall-per-cpu"], portids: [5] });
    await client.execute("netdev-dummy/receive", { port: "p1", frames: frames(4) });
    assert.deepEqual(await counts(), { 5: 4 });
    await client.execute("dp-set", { features: [] });
    await client.execute("flow-add", { flow: "in_port(2)", actions: "userspace(pid=77)" });
    await client.execute("netdev-dummy/receive", { port: "p1", frames: frames(1) });
    await client.execute("netdev-dummy/receive", { port: "p2", frames: frames(2) });
    assert.deepEqual(await counts(), { 5: 4, 11: 1, 77: 2 });
  }));

Deno.test("port-set: a port that is opened again goes on counting", () =>
  withHandler(async (client) => {
    const file = Deno.makeTempFileSync({ suffix: ".pcap" });
    await client.execute("netdev-dummy/receive", { port: "p1", frames: frames(5) });
    await client.execute("port-set", { port: "p1", options: { rx_pcap: file } });
    await client.execute("netdev-dummy/receive", { port: "p1", frames: frames(2) });
    const { counters, options } = await port(client, "p1");
    assert.equal(counters!.rxPackets, 7);
    assert.deepEqual(options, { rx_pcap: file });
    assert.ok(Deno.statSync(file).size > 100, "the option is in effect");
    Deno.removeSync(file);
    // A port deleted and added is another one.
    await client.execute("port-del", { port: "p1" });
    await client.execute("port-add", { port: "p1", type: "dummy" });
    assert.equal((await port(client, "p1")).counters!.rxPackets, 0);
  }));
