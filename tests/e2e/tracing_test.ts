/** capture, trace and trace-live on real traffic, read by the tools that people read captures with. */
import assert from "node:assert/strict";
import { type Lab, rootTest, withLab } from "./lab.ts";
import { eventually, run } from "./process.ts";
import { assertAccounts, twoHosts } from "./traffic.ts";

/** Rows of fields that tshark sees in a capture file. */
async function read(file: string, ...fields: string[]): Promise<string[][]> {
  const words = ["tshark", "-r", file, "-T", "fields", ...fields.flatMap((one) => ["-e", one])];
  const { code, stdout, stderr } = await run(words);
  assert.equal(code, 0, stderr);
  return stdout.trimEnd().split("\n").filter(Boolean).map((row) => row.split("\t"));
}

/** Starts a client, and traffic once the packet threads look on; the client ends by itself. */
async function during(lab: Lab, words: string[], traffic: () => Promise<unknown>): Promise<string> {
  const client = lab.denovs.cli(...words);
  let done = false;
  const finished = client.finally(() => done = true);
  for (let tries = 0; !done && tries < 40; tries++) {
    await traffic();
    await Promise.race([finished.catch(() => {}), new Promise((next) => setTimeout(next, 50))]);
  }
  return await client;
}

rootTest("capture: both directions of a ping, as tshark reads them", () =>
  withLab(async (lab) => {
    const { a } = await twoHosts(lab);
    const file = `${lab.folder}/ping.pcapng`;
    await during(
      lab,
      ["capture", "br0", a.port, "icmp", "-n", "6", "-w", file],
      () => a.ping("10.0.0.2", { count: 1 }),
    );
    const rows = await read(
      file,
      "frame.interface_name",
      "frame.packet_flags_direction",
      "icmp.type",
    );
    assert.equal(rows.length, 6);
    for (const [name, direction, type] of rows) {
      assert.equal(name, a.port);
      // A request comes in from a, its answer goes out to it.
      assert.equal(direction, type === "8" ? "0x00000001" : "0x00000002", rows.join(" "));
    }
    assert.ok(rows.some(([, , type]) => type === "8") && rows.some(([, , type]) => type === "0"));
    await assertAccounts(lab);
  }));

rootTest(
  "capture: a drop has its reason as comment; -w - goes into tcpdump",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab, { flows: false });
      await lab.denovs.cli("flow-add", "br0", "in_port(1)", "99");
      const file = `${lab.folder}/drops.pcapng`;
      const send = (): Promise<unknown> => a.ping("10.0.0.2", { count: 1 });
      await during(lab, ["capture", "br0", "--drops", "in_port(1)", "-n", "1", "-w", file], send);
      const [row] = await read(file, "frame.interface_name", "frame.comment", "eth.src");
      assert.equal(row![0], a.port);
      assert.match(row![1]!, /^dropped: no-such-port \(/);
      assert.equal(row![2], a.mac);
      const line = await during(lab, ["capture", "br0", "--drops", "-n", "1", "--json"], send);
      assert.equal(JSON.parse(line).reason, "no-such-port");
      const piped = await during(lab, ["capture", "br0", a.port, "-n", "1", "-w", "-"], send);
      assert.ok(piped.length > 100);
      await assertAccounts(lab);
    }),
);

rootTest(
  "capture: a client that takes nothing loses packets, and the switch goes on",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      using connection = await Deno.connect({ transport: "unix", path: lab.denovs.socket });
      const request = { method: "capture", params: [{ dp: "br0", events: ["in", "out"] }], id: 1 };
      await connection.write(new TextEncoder().encode(JSON.stringify(request)));
      await eventually("the capture is on", async () => {
        await a.ping("10.0.0.2", { count: 1 });
        const buffer = new Uint8Array(1);
        return await connection.read(buffer) === 1;
      });
      await a.run(["ping", "-q", "-f", "-c", "3000", "-s", "1400", "10.0.0.2"], {
        timeoutMs: 60_000,
      });
      assert.equal(await a.ping("10.0.0.2", { count: 3 }), 3);
      await lab.denovs.cli("dp-show", "br0");
      await assertAccounts(lab);
    }),
);

rootTest("trace-live and trace agree about a ping", () =>
  withLab(async (lab) => {
    const { a, b } = await twoHosts(lab);
    const text = await during(
      lab,
      ["trace-live", "br0", "icmp,in_port=1", "-n", "1", "--json"],
      () => a.ping("10.0.0.2", { count: 1 }),
    );
    const live = JSON.parse(text);
    assert.equal(live.port, a.port);
    assert.deepEqual(live.outputs.map((each: { port: string }) => each.port), [b.port]);
    const packet = live.passes[0].packet;
    const words = ["trace", "br0", "--packet", packet, "--in-port", a.port, "--json"];
    const { traces: [traced] } = JSON.parse(await lab.denovs.cli(...words));
    assert.deepEqual(traced.outputs, live.outputs);
    assert.deepEqual(traced.passes[0].flow, live.passes[0].flow);
    assert.equal(traced.passes[0].key, live.passes[0].key);
    assert.deepEqual(traced.passes[0].steps, live.passes[0].steps);
    await assertAccounts(lab);
  }));

rootTest(
  "trace: captures are followed packet by packet, with pictures",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const file = `${lab.folder}/in.pcapng`;
      await during(
        lab,
        ["capture", "br0", a.port, "icmp", "--direction", "in", "-n", "3", "-w", file],
        () => a.ping("10.0.0.2", { count: 1 }),
      );
      const before = (await lab.denovs.show()).counters;
      const words = ["trace", "br0", "--pcap", file, "--in-port", "1"];
      const { traces } = JSON.parse(await lab.denovs.cli(...words, "--json"));
      assert.equal(traces.length, 3);
      for (const { outputs, time } of traces) {
        assert.deepEqual(outputs.map((each: { portNo: number }) => each.portNo), [2]);
        assert.ok(Math.abs(time - Date.now() / 1000) < 60);
      }
      assert.match(await lab.denovs.cli(...words, "--svg"), /<svg [\s\S]*port 2/);
      assert.deepEqual((await lab.denovs.show()).counters, before);
    }),
);

rootTest(
  "trace: what is longer than the outgoing device's MTU is dropped, as in truth",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const drops = async (size: string): Promise<string[]> => {
        const words = ["trace", "br0", "in_port(1)", "--len", size, "--json"];
        const { traces: [trace] } = JSON.parse(await lab.denovs.cli(...words));
        return trace.drops.map(({ reason }: { reason: string }) => reason);
      };
      assert.deepEqual(await drops("1514"), []);
      assert.deepEqual(await drops("1515"), ["over-mtu"], a.port);
      await assertAccounts(lab);
    }),
);

rootTest(
  "capture --samples: what psample actions take, with group and cookie",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const sampling = "sample(sample=100%,actions(trunc(60),psample(group=7,cookie=0xbeef))),2";
      await lab.denovs.cli("flow-mod", "br0", "in_port(1)", sampling);
      const send = (): Promise<unknown> => a.ping("10.0.0.2", { count: 1 });
      const line = await during(lab, ["capture", "br0", "--samples", "icmp", "-n", "1"], send);
      assert.match(line, / sample port 1 \(\S+\) group:7 cookie:0xbeef length:98 .*icmp\(type=8/);
      const json = await during(lab, ["capture", "br0", "--samples", "-n", "1", "--json"], send);
      const { event, group, cookie, packet, length } = JSON.parse(json);
      assert.deepEqual([event, group, cookie], ["sample", 7, "beef"]);
      assert.equal(packet.length / 2, Math.min(60, length));
      const file = `${lab.folder}/samples.pcapng`;
      await during(lab, ["capture", "br0", "--samples", "icmp", "-n", "1", "-w", file], send);
      assert.deepEqual(await read(file, "frame.interface_name", "frame.comment", "icmp.type"), [
        [a.port, "sample group:7 cookie:0xbeef", "8"],
      ]);
      await assertAccounts(lab);
    }),
);
