/** What a packet thread allocates for packets that are tracked, metered, recirculated and tunnelled: nothing. */
import assert from "node:assert/strict";
import { encodeActions } from "../../datapath/actions/action_program.ts";
import { parseActions } from "../../datapath/text/action_text.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";
import {
  addDatapath,
  addPort,
  openLibraries,
  settledHeapGrowth,
  udpFrame,
  withSwitch,
} from "./testing.ts";
import type { LiveDatapath } from "./switch.ts";

openLibraries();

const PACKETS = 10_000;
const WARM_UP = 100_000;
/** Through sockets each takes ten times as long. */
const WARM_UP_TUNNEL = 20_000;
/** Messages and reports take some; a number on the heap is 16 bytes: for every third packet it would be noticed. */
const BYTES_MAX = 60_000;
const IP = "eth(),eth_type(0x0800),ipv4()";

function addFlows(datapath: LiveDatapath, flows: Readonly<Record<string, string>>): void {
  Object.entries(flows).forEach(([flow, actions], at) => {
    const { key, mask } = parseFlow(flow);
    const ufid = (at + 1).toString(16).padStart(32, "0");
    datapath.table.insert({ ufid, key, mask, actions: encodeActions(parseActions(actions)) });
  });
  datapath.table.commit();
}

const CASES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "tracked and translated": {
    [`recirc_id(0),in_port(1),${IP}`]: "ct(commit,zone=3,mark=1,nat(src=192.0.2.1)),recirc(1)",
    "recirc_id(1),in_port(1)": "2",
  },
  metered: { "in_port(1)": "meter(1),2" },
  "recirculated, in copies": {
    "recirc_id(0),in_port(1)": "hash(sym_l4(0)),recirc(1)",
    "recirc_id(1),in_port(1)": "clone(set(skb_mark(5)),recirc(2)),2",
    "recirc_id(2),in_port(1)": "push_vlan(vid=5,pcp=0),2",
  },
  "sent into a tunnel and received from it": {
    "in_port(1)": "set(tunnel(tun_id=0x7,dst=127.0.0.1,ttl=64,flags(key))),3",
    "in_port(3)": "2",
  },
};

for (const [what, flows] of Object.entries(CASES)) {
  Deno.test(`PacketLoop: 10,000 packets that are ${what} allocate nothing`, () =>
    withSwitch({}, async (live) => {
      const datapath = await addDatapath(live);
      for (const portNo of [1, 2]) await addPort(datapath, portNo);
      if (what.includes("tunnel")) {
        const options = { remote_ip: "flow", key: "flow", dst_port: "14789" };
        const spec = { portNo: 3, name: "tun", type: "vxlan" };
        await datapath.addPort({ ...spec, options: new Map(Object.entries(options)) });
      }
      datapath.meters.set({ id: 1, unit: "pps", bands: [{ rate: 1000, burst: 100 }] }, 1);
      addFlows(datapath, flows);
      const inject = (repeat: number): Promise<unknown> =>
        datapath.command(1, "inject", { frames: [udpFrame(1, 1)], repeat });
      await settledHeapGrowth(live, {
        warmUp: () => inject(what.includes("tunnel") ? WARM_UP_TUNNEL : WARM_UP),
        run: () => inject(PACKETS),
        bytesMax: BYTES_MAX,
      });
      const { received, sent, drops } = datapath.counters();
      assert.ok(received > 4 * PACKETS && sent > 0, JSON.stringify({ received, sent, drops }));
      const unknown = ["action-impossible", "tunnel-no-destination", "no-such-port"];
      assert.deepEqual(unknown.filter((name) => drops[name] !== undefined), []);
    }));
}
