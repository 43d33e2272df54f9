/** Patch cables, TAP devices and capture files as ports. */
import assert from "node:assert/strict";
import { readCapture, writePcap } from "../../datapath/capture/pcap.ts";
import { THREADS } from "./denovs.ts";
import { rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, sendFrames, sendTcp, serveTcp, twoHosts } from "./traffic.ts";

rootTest(
  "patch: three datapaths in a ring carry ping and TCP, offloads on",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false, v6: true });
      const { denovs } = lab;
      for (const dp of ["br1", "br2"]) await denovs.cli("dp-add", dp);
      await denovs.cli("port-del", "br0", b.port);
      await denovs.cli("port-add", "br2", b.port, "--port-no", "1");
      // br0:2 - br1:2, br1:3 - br2:2, br2:3 - br0:3
      for (
        const [dp, name, portNo, peer] of [
          ["br0", "p01", "2", "p10"],
          ["br1", "p10", "2", "p01"],
          ["br1", "p12", "3", "p21"],
          ["br2", "p21", "2", "p12"],
          ["br2", "p20", "3", "p02"],
          ["br0", "p02", "3", "p20"],
        ] as const
      ) {
        await denovs.cli(
          "port-add",
          dp,
          name,
          "--port-no",
          portNo,
          "--type",
          "patch",
          `peer=${peer}`,
        );
      }
      // There by br1, back directly.
      for (
        const [dp, flow, actions] of [
          ["br0", "in_port(1)", "2"],
          ["br1", "in_port(2)", "3"],
          ["br2", "in_port(2)", "1"],
          ["br2", "in_port(1)", "3"],
          ["br0", "in_port(3)", "1"],
        ] as const
      ) {
        await denovs.cli("flow-add", dp, flow, actions);
      }
      assert.equal(await a.ping("10.0.0.2"), 3);
      assert.equal(await a.ping("fd00::2"), 3);
      await serveTcp(a);
      await serveTcp(b);
      await sendTcp(a, "10.0.0.2", { megabytes: 200 });
      await sendTcp(b, "10.0.0.1", { megabytes: 200 });
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await b.checksumErrors(), 0);
      for (const dp of ["br0", "br1", "br2"]) await assertAccounts(lab, dp);
      // Without its peer a cable leads nowhere, and says so.
      await denovs.cli("port-del", "br1", "p10");
      assert.equal(await a.ping("10.0.0.2", { count: 1 }), 0);
      const { ports } = await denovs.show("br0");
      assert.ok(
        (ports.find(({ name }) => name === "p01")?.counters?.drops["patch-no-peer"] ?? 0) >= 1,
      );
    }),
);

rootTest(
  "patch: a packet that would go round for ever ends as patch-loop, others go on",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const { denovs } = lab;
      // Two cables between br0 and br1; and one, both ends of which are ports of br0.
      await denovs.batch([
        "dp-add br1",
        "port-add br0 p0 --port-no 3 --type patch peer=p1",
        "port-add br1 p1 --port-no 1 --type patch peer=p0",
        "port-add br0 q0 --port-no 4 --type patch peer=q1",
        "port-add br1 q1 --port-no 2 --type patch peer=q0",
        "port-add br0 r0 --port-no 5 --type patch peer=r1",
        "port-add br0 r1 --port-no 6 --type patch peer=r0",
        "flow-del br0 in_port(1)",
        "flow-add br0 in_port(1),eth_type(0x0800) 2",
        "flow-add br0 in_port(1),eth_type(0x0806) 2",
        "flow-add br0 in_port(1),eth_type(0x88b5) 3",
        "flow-add br1 in_port(1) 2",
        "flow-add br0 in_port(4) 3",
        "flow-add br0 in_port(1),eth_type(0x88b6) 5",
        "flow-add br0 in_port(6) 5",
        "flow-add br0 in_port(5) 6",
      ]);
      const frame = (type: string): string => "02000000009902000000009a" + type + "00".repeat(46);
      const frames = [frame("88b5"), frame("88b5"), frame("88b6")];
      assert.equal(await sendFrames(a, frames), frames.length);
      const counters = await eventually("all have come to an end", async () => {
        const { counters } = await denovs.show();
        return counters.drops["patch-loop"] === frames.length && counters;
      });
      // Of its 30 cables a packet crosses 15 out of br1; the other one comes to br0 each time.
      const other = await denovs.show("br1");
      assert.equal(other.counters["received"], 2 * 15);
      assert.ok(counters["received"]! >= 2 * (1 + 15) + (1 + 30), JSON.stringify(counters));
      assert.equal(await a.ping("10.0.0.2"), 3);
      for (const dp of ["br0", "br1"]) await assertAccounts(lab, dp);
    }),
);

rootTest(
  "tap: a device made for another program goes with the port; a foreign one stays",
  () =>
    withLab(async (lab) => {
      const a = await lab.peer("a", { address: "10.0.0.1/24" });
      const { denovs, sw } = lab;
      await denovs.start();
      await denovs.cli("dp-add", "br0");
      await denovs.cli("port-add", "br0", a.port);
      await denovs.cli("port-add", "br0", "tap0", "--type", "tap");
      await sw.ip("tuntap", "add", "tap1", "mode", "tap", ...THREADS > 1 ? ["multi_queue"] : []);
      await denovs.cli("port-add", "br0", "tap1", "--type", "tap");
      await denovs.cli("flow-add", "br0", "in_port(1)", "2");
      await denovs.cli("flow-add", "br0", "in_port(2)", "1");
      await sw.ip("addr", "add", "10.0.0.2/24", "dev", "tap0");
      assert.equal(await a.ping("10.0.0.2"), 3);
      await denovs.cli("port-del", "br0", "tap0");
      await denovs.cli("port-del", "br0", "tap1");
      const links = await sw.ip("-br", "link");
      assert.doesNotMatch(links, /tap0/);
      assert.match(links, /tap1/);
      assert.match(await denovs.refused("port-add", "br0", "lo", "--type", "tap"), /no TAP device/);
    }),
);

rootTest(
  "pcap: a capture is replayed into the switch, and what a port sends is recorded",
  () =>
    withLab(async (lab) => {
      const { denovs, folder } = lab;
      const frames = Array.from({ length: 100 }, (_, seed) => {
        const bytes = new Uint8Array(60 + seed).fill(seed);
        bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
        return bytes;
      });
      const packets = frames.map((bytes) => ({ bytes, isL3: false }));
      Deno.writeFileSync(`${folder}/in.pcap`, writePcap(packets));
      await denovs.start();
      await denovs.cli("dp-add", "br0");
      await denovs.cli("flow-add", "br0", "in_port(1)", "2");
      const out = `tx_pcap=${folder}/out.pcap`;
      await denovs.cli("port-add", "br0", "out", "--port-no", "2", "--type", "pcap", out);
      const words = ["--type", "pcap", `rx_pcap=${folder}/in.pcap`, "loop=3"];
      await denovs.cli("port-add", "br0", "in", "--port-no", "1", ...words);
      await eventually("all frames have gone through", async () => {
        const { ports } = await denovs.show();
        return ports.find(({ name }) => name === "out")?.counters?.txPackets === 300;
      });
      const recorded = [...readCapture(Deno.readFileSync(`${folder}/out.pcap`))];
      assert.deepEqual(recorded.map(({ bytes }) => new Uint8Array(bytes)), [
        ...frames,
        ...frames,
        ...frames,
      ]);
      const missing = ["port-add", "br0", "x", "--type", "pcap", "rx_pcap=/nonexistent.pcap"];
      assert.match(await denovs.refused(...missing), /nonexistent/);
    }),
);
