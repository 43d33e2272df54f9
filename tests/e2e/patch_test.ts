/** Patch cables, TAP devices and capture files as ports. */
import assert from "node:assert/strict";
import { readCapture, writePcap } from "../../datapath/capture/pcap.ts";
import { THREADS } from "./denovs.ts";
import { rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, sendTcp, serveTcp, twoHosts } from "./traffic.ts";

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
