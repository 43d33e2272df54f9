import assert from "node:assert/strict";
import { addDatapath, addPort, openLibraries, startSwitch, udpFrame } from "../switch/testing.ts";
import { firstImbalance } from "./balance.ts";
import { withDaemon } from "./daemon_process.ts";

openLibraries();

const NAMES = ["received", "generated", "copied", "sent", "dropped", "consumed", "held"] as const;

Deno.test("startSwitch: accounts that do not balance fail when the switch is stopped", async () => {
  const { live } = await startSwitch();
  const datapath = await addDatapath(live, { miss: "flood" });
  for (const portNo of [1, 2, 3]) await addPort(datapath, portNo);
  await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
  const counters = datapath.counters();
  assert.deepEqual([counters.received, counters.copied, counters.sent], [1, 1, 2]);
  datapath.counters = () => ({ ...counters, sent: 1 });
  await assert.rejects(live.stop(), /received \+ generated \+ copied = 2, but .* = 1/);
});

Deno.test("firstImbalance: names the datapath and any of the counters that is off", () =>
  withDaemon(async (daemon) => {
    await daemon.start();
    const client = await daemon.client();
    try {
      await client.execute("dp-add", { dp: "dummy@dp0" });
      const { datapaths } = await client.execute("dp-show", { dps: [], statistics: true });
      assert.equal(firstImbalance(datapaths), undefined);
      const [{ name, counters }] = datapaths as [typeof datapaths[0] & object];
      for (const counter of NAMES) {
        assert.ok(counter in counters, counter);
        const doctored = { name, counters: { ...counters, [counter]: 1 } };
        assert.match(firstImbalance([doctored])!, /^datapath dp0: /);
      }
    } finally {
      client.close();
    }
  }));
