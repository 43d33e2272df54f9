/** Packet threads that do not come back from a port's code, and are replaced. */
import assert from "node:assert/strict";
import { encodeActions } from "../../datapath/actions/action_program.ts";
import { fragmentFrames } from "../../datapath/conntrack/testing/fragments.ts";
import { parseActions } from "../../datapath/text/action_text.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";
import { UpcallConsumer } from "../../datapath/upcall_ring.ts";
import { UdpSocket } from "../../netdev/udp_socket.ts";
import { ThreadLateError } from "./messages.ts";
import {
  addDatapath,
  addFlow,
  addPort,
  assertBalanced,
  eventually,
  openLibraries,
  outputs,
  startSwitch,
  taken,
  udpFrame,
  withPlugin,
} from "./testing.ts";

openLibraries();

/** A type that is stuck at the place that its options name until there is a file, and makes another when it is back. */
const HANGS = `export default (api) => ({
  apiVersion: 1, type: "hangs", summary: "for tests", headroom: 0,
  parseOptions: (raw) => ({ at: raw.get("at"), folder: raw.get("folder") }),
  formatOptions: ({ at }) => new Map([["at", at]]),
  create: ({ thread, options }) => {
    const exists = (name) => {
      try {
        return Deno.statSync(options.folder + "/" + name).isFile;
      } catch {
        return false;
      }
    };
    const wait = (place) => {
      if (options.at !== place) return;
      while (!exists("release"));
      Deno.writeTextFileSync(options.folder + "/back", "");
    };
    wait("create");
    const socket = options.at !== "send" || thread !== 0 ? undefined : api.openUdp({
      local: { address: "127.0.0.1", port: 15077 }, remote: { address: "127.0.0.1", port: 9 },
      shared: false, refused: () => {},
    });
    let armed = false;
    return {
      takesPartialChecksums: true, takesSegmentTrains: true, close: () => socket?.close(),
      send: () => { armed = true; wait("send"); return 0; },
      receiver: { receive: () => { if (armed) wait("receive"); return 0; } },
      sender: { flush: () => { if (armed) wait("flush"); } },
    };
  },
});`;

/** Calls `use` with the plug-in's path and the folder of its files; whatever happens, nothing hangs afterwards. */
async function withHangs(use: (path: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await withPlugin(HANGS, (path) => use(path, folder));
  } finally {
    Deno.writeTextFileSync(`${folder}/release`, "");
    await Deno.remove(folder, { recursive: true });
  }
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

for (const place of ["create", "send", "receive", "flush"]) {
  Deno.test(`Switch: ${place} that does not come back costs its port; another thread takes over the rest`, () =>
    withHangs(async (path, folder) => {
      const failures: string[] = [];
      const { live, logged } = await startSwitch({
        threads: 2,
        plugins: [path],
        onPortFailed: (_, portNo, reason) => void failures.push(`${portNo}: ${reason}`),
      });
      try {
        const datapath = await addDatapath(live);
        for (const portNo of [1, 2]) await addPort(datapath, portNo);
        addFlow(datapath, 1, [2]);
        await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
        const options = new Map([["at", place], ["folder", folder]]);
        const stuck = datapath.addPort({ portNo: 3, name: "slow0", type: "hangs", options });
        if (place === "create") {
          await assert.rejects(stuck, /its code has not come back for 2000 ms/);
        } else {
          await stuck;
          addFlow(datapath, 2, [3]);
          const injected = datapath.command(2, "inject", { frames: [udpFrame(1, 1)] });
          if (place === "receive") await injected; // it hangs in the next round
          else await assert.rejects(injected, /packet thread 0 is gone: it was replaced/);
          await eventually(() => datapath.checkPort(3) !== undefined, () => "port 3 goes down");
          assert.match(datapath.checkPort(3) ?? "", /its code has not come back for 2000 ms/);
          assert.equal(failures.length, 1, String(failures));
        }
        assert(
          logged.some((line) =>
            /thread \d has not come back for 2000 ms from port slow0 of datapath br0: the port is down/
              .test(line)
          ),
          logged.join("\n"),
        );
        const isReplaced = (line: string): boolean => /thread \d has been replaced/.test(line);
        await eventually(() => logged.some(isReplaced), () => logged.join("\n"));
        // The new thread has the other ports, and the numbers go on.
        await datapath.command(1, "inject", { frames: [udpFrame(2, 2)] });
        assert.equal((await taken(datapath, 2)).length, 1);
        assert.equal(datapath.portCounters(1).rxPackets, 2);
        assertBalanced(datapath.counters());
        if (place === "send") {
          // What the thread held can be taken again while it still hangs.
          const local = { address: "127.0.0.1", port: 15077 };
          const remote = { address: "127.0.0.1", port: 9 };
          new UdpSocket({ local, remote, shared: false, refused: () => {} }).close();
        }
        Deno.writeTextFileSync(`${folder}/release`, "");
        await eventually(() => exists(`${folder}/back`), () => "the thread comes back");
        await datapath.command(1, "inject", { frames: [udpFrame(3, 3)] });
        assert.equal((await taken(datapath, 2)).length, 1);
        assertBalanced(datapath.counters());
      } finally {
        assert(await live.stop());
      }
    }));
}

Deno.test("Switch: fragments that a replaced thread had are lost, and no others have to make room for them", () =>
  withHangs(async (path, folder) => {
    const { live, logged } = await startSwitch({ plugins: [path] });
    try {
      const datapath = await addDatapath(live);
      for (const portNo of [1, 2]) await addPort(datapath, portNo);
      const { key, mask } = parseFlow("in_port(1),recirc_id(0),eth(),eth_type(0x0800),ipv4()");
      const actions = encodeActions(parseActions("ct(zone=1),2"));
      datapath.table.insert({ ufid: "1".padStart(32, "0"), key, mask, actions });
      datapath.table.commit();
      const [first] = fragmentFrames(4, [0, 800], 1600);
      await datapath.command(1, "inject", { frames: [first] });
      assert.equal(datapath.conntrack.fragmentStatus().held, 1);
      const options = new Map([["at", "send"], ["folder", folder]]);
      await datapath.addPort({ portNo: 3, name: "slow0", type: "hangs", options });
      addFlow(datapath, 2, [3]);
      await assert.rejects(datapath.command(2, "inject", { frames: [udpFrame(1, 1)] }));
      const isReplaced = (line: string): boolean => /thread 0 has been replaced/.test(line);
      await eventually(() => logged.some(isReplaced), () => logged.join("\n"));
      assert.equal(datapath.conntrack.fragmentStatus().held, 0);
      assertBalanced(datapath.counters());
    } finally {
      Deno.writeTextFileSync(`${folder}/release`, "");
      await live.stop();
    }
  }));

Deno.test("LiveDatapath.executePackets: memory for actions comes back when a thread refuses, and when one that is late is gone", () =>
  withHangs(async (path, folder) => {
    const { live } = await startSwitch({ plugins: [path], answerTimeoutMs: 1500 });
    try {
      const datapath = await addDatapath(live);
      await addPort(datapath, 1);
      const options = new Map([["at", "send"], ["folder", folder]]);
      await datapath.addPort({ portNo: 3, name: "slow0", type: "hangs", options });
      await datapath.setUpcalls("handle");
      await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
      const packet = { ...new UpcallConsumer(datapath.upcallRings[0]!).take()!, inPort: 1 };
      const { table } = datapath;
      const place = table.lendActions(outputs(3));
      table.returnActions(place);
      const late = await datapath.executePackets(0, [{ packet, actions: outputs(3) }])
        .then(() => undefined, (error) => error);
      assert(late instanceof ThreadLateError, String(late));
      const other = table.lendActions(outputs(3));
      assert.notEqual(other, place, "the thread may still read it");
      await late.over; // the thread is replaced
      Deno.writeTextFileSync(`${folder}/release`, "");
      assert.equal(table.lendActions(outputs(3)), place);
      table.returnActions(place);
      // Refused, with the same block each time.
      await datapath.close("close");
      for (let time = 0; time < 3; time++) {
        const refused = datapath.executePackets(0, [{ packet, actions: outputs(1) }]);
        await assert.rejects(refused, /has no datapath/);
        assert.equal(table.lendActions(outputs(3)), place);
        table.returnActions(place);
      }
    } finally {
      await live.stop();
    }
  }));
