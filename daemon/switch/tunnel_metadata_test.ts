/** Tunnel metadata through the switch: dummy ports inject packets that came through a tunnel, and record the one that flows set. */
import assert from "node:assert/strict";
import { encodeActions } from "../../datapath/actions/action_program.ts";
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { parseActions } from "../../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import type { DummySent } from "../../vports/dummy.ts";
import {
  addDatapath,
  addPort,
  openLibraries,
  startSwitch,
  udpFrame,
  withSwitch,
} from "./testing.ts";
import type { LiveDatapath, Switch } from "./switch.ts";

openLibraries();

const FLAGS = "flags(-oam-df-csum+key-bridge)";

function addFlows(datapath: LiveDatapath, flows: Readonly<Record<string, string>>): void {
  Object.entries(flows).forEach(([flow, actions], at) => {
    const { key, mask } = parseFlow(flow);
    const ufid = (at + 1).toString(16).padStart(32, "0");
    datapath.table.insert({ ufid, key, mask, actions: encodeActions(parseActions(actions)) });
  });
  datapath.table.commit();
}

/** Injects a packet at port 1 that came through the tunnel. */
function inject(datapath: LiveDatapath, tunnel: string): Promise<unknown> {
  const { key } = parseFlow(`tunnel(${tunnel}),eth()`);
  return datapath.command(1, "inject", { frames: [udpFrame(1, 1)], keys: [key] });
}

/** What a port was sent since last asked: the tunnels that were set, "" for none. */
async function tunnels(datapath: LiveDatapath, portNo: number): Promise<string[]> {
  const { frames, tunnels } = await datapath.command(portNo, "take", undefined) as DummySent;
  assert.equal(tunnels.length, frames.length);
  return tunnels.map((key) => {
    if (key === undefined) return "";
    const text = /tunnel\((.*?\))\)/.exec(formatFlow(key, exactMask(key)))?.[1] ?? "none";
    return text.replace(",tp_src=0,tp_dst=0", "");
  });
}

async function withPorts(
  use: (datapath: LiveDatapath, live: Switch) => Promise<void>,
  threads = 1,
): Promise<void> {
  await withSwitch({ threads }, async (live) => {
    const datapath = await addDatapath(live);
    for (const portNo of [1, 2, 3]) await addPort(datapath, portNo);
    await use(datapath, live);
  });
}

for (const threads of [1, 2]) {
  Deno.test(`tunnel metadata: flows match what a packet came through (${threads} threads)`, () =>
    withPorts(async (datapath) => {
      addFlows(datapath, {
        [`tunnel(tun_id=0x5,src=10.0.0.1,dst=10.0.0.2,tos=0,ttl=64,${FLAGS}),in_port(1),eth()`]:
          "2",
        "tunnel(ipv6_src=fd00::1,ipv6_dst=fd00::2,flags()),in_port(1),eth()": "3",
      });
      await inject(datapath, `tun_id=0x5,src=10.0.0.1,dst=10.0.0.2,tos=0,ttl=64,${FLAGS}`);
      await inject(datapath, `tun_id=0x6,src=10.0.0.1,dst=10.0.0.2,tos=0,ttl=64,${FLAGS}`);
      await inject(datapath, "ipv6_src=fd00::1,ipv6_dst=fd00::2,flags()");
      await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
      assert.deepEqual(await tunnels(datapath, 2), [""]);
      assert.deepEqual(await tunnels(datapath, 3), [""]);
      const { hit, missed } = datapath.counters();
      assert.deepEqual([hit, missed], [2, 2]);
    }, threads));
}

Deno.test("tunnel metadata: set(tunnel) is what ports are given, until it is set anew", () =>
  withPorts(async (datapath) => {
    const one = "tun_id=0x7,src=10.0.0.1,dst=10.0.0.9,tos=0,ttl=64,flags(-oam+df-csum+key-bridge)";
    const other = "tun_id=0x8,src=0.0.0.0,dst=10.0.0.8,tos=0,ttl=0,flags(-oam-df-csum+key-bridge)";
    const [setOne, setOther] = [one, other].map((tunnel) =>
      `set(tunnel(${tunnel.replace(/flags.*/, tunnel === one ? "flags(df|key)" : "flags(key)")}))`
    );
    addFlows(datapath, {
      "recirc_id(0),in_port(1)": `2,${setOne},2,clone(${setOther},3),2,recirc(1)`,
      "recirc_id(1),in_port(1)": "3",
    });
    await datapath.command(1, "inject", { frames: [udpFrame(1, 1), udpFrame(1, 2)] });
    assert.deepEqual(await tunnels(datapath, 2), ["", one, one, "", one, one]);
    assert.deepEqual(await tunnels(datapath, 3), [other, one, other, one]);
  }));

Deno.test("tunnel metadata: of one packet is not the next one's", async () => {
  const { live } = await startSwitch();
  try {
    const datapath = await addDatapath(live);
    for (const portNo of [1, 2]) await addPort(datapath, portNo);
    addFlows(datapath, {
      [`tunnel(tun_id=0x5,src=10.0.0.1,dst=10.0.0.2,tos=0,ttl=64,${FLAGS}),in_port(1),eth()`]:
        "set(tunnel(tun_id=0x9,dst=10.0.0.3,flags(key))),2",
      "in_port(1),eth()": "2",
    });
    for (let time = 0; time < 3; time++) {
      await inject(datapath, `tun_id=0x5,src=10.0.0.1,dst=10.0.0.2,tos=0,ttl=64,${FLAGS}`);
      await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
    }
    const set = "tun_id=0x9,src=0.0.0.0,dst=10.0.0.3,tos=0,ttl=0,flags(-oam-df-csum+key-bridge)";
    assert.deepEqual(await tunnels(datapath, 2), [set, "", set, "", set, ""]);
  } finally {
    await live.stop();
  }
});
