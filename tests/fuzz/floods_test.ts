/**
 * Floods at one port of a real switch: what they take is bounded, what they lose is counted, and the
 * traffic of other ports passes. Counts only; rates are shown by `deno task bench:floods`.
 */
import assert from "node:assert/strict";
import { encodeActions } from "../../datapath/actions/action_program.ts";
import { FRAGMENTS_HELD_MAX } from "../../datapath/conntrack/reassembly.ts";
import { type Random, seededRandom } from "../../datapath/testing/flows.ts";
import { ACK, makePacket, type PacketSpec, SYN } from "../../datapath/conntrack/testing/packets.ts";
import { frameOf, makeFrame } from "../../datapath/testing/frames.ts";
import { parseActions } from "../../datapath/text/action_text.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";
import {
  addDatapath,
  addPort,
  openLibraries,
  taken,
  udpFrame,
  withSwitch,
} from "../../daemon/switch/testing.ts";
import type { LiveDatapath, Switch } from "../../daemon/switch/switch.ts";
import type { DatapathInfo } from "../../daemon/api.ts";
import { eventually } from "../e2e/process.ts";
import { withDaemon } from "../../daemon/testing/daemon_process.ts";

openLibraries();

const FLOOD = 6000;
const BATCH = 500;
const random: Random = seededRandom(7);

/** Installs flows given as text. */
function addFlows(datapath: LiveDatapath, flows: Readonly<Record<string, string>>): void {
  Object.entries(flows).forEach(([flow, actions], at) => {
    const { key, mask } = parseFlow(flow);
    const ufid = (at + 1).toString(16).padStart(32, "0");
    datapath.table.insert({ ufid, key, mask, actions: encodeActions(parseActions(actions)) });
  });
  datapath.table.commit();
}

/** Frames into port 3, in batches; between them a frame from port 1 to port 2. Returns how many of those arrived. */
async function flood(
  datapath: LiveDatapath,
  frame: () => Uint8Array,
  count = FLOOD,
): Promise<{ sent: number; arrived: number }> {
  let sent = 0;
  for (let done = 0; done < count; done += BATCH) {
    const frames = Array.from({ length: Math.min(BATCH, count - done) }, frame);
    await datapath.command(3, "inject", { frames });
    await datapath.command(1, "inject", { frames: [udpFrame(1, sent++)] });
  }
  return { sent, arrived: (await taken(datapath, 2)).length };
}

/** A switch with ports 1 … 4 and a flow from 1 to 2; its buffers must all be back at the end. */
function withPorts(
  use: (datapath: LiveDatapath, live: Switch) => Promise<void>,
): Promise<void> {
  return withSwitch({}, async (live) => {
    const datapath = await addDatapath(live);
    for (const portNo of [1, 2, 3, 4]) await addPort(datapath, portNo);
    const [before] = await live.reports();
    await use(datapath, live);
    const [after] = await live.reports();
    assert.equal(after?.slotsFree, before?.slotsFree, "packet buffers are back");
  });
}

const tuple = (): Uint8Array =>
  makeFrame({
    protocol: "udp",
    source: random(2 ** 32),
    sourcePort: random(65536),
    destinationPort: random(65536),
  }).bytes;

Deno.test("floods: packets that recirculate without end are dropped, each by itself", () =>
  withPorts(async (datapath) => {
    addFlows(datapath, {
      "in_port(1)": "2",
      "in_port(3),recirc_id(0)": "recirc(1)",
      "in_port(3),recirc_id(1)": "recirc(1),recirc(1)",
    });
    const { sent, arrived } = await flood(datapath, () => udpFrame(3, 0), 1000);
    assert.equal(arrived, sent);
    const { received, copied, dropped, drops } = datapath.counters();
    assert.equal(received, 1000 + sent);
    assert.deepEqual(drops, { "recirc-limit": dropped });
    // No more than 4 levels and 9 that wait, of two each.
    assert.ok(copied < 1000 * 2 ** 3 * 10, `${copied}`);
  }));

Deno.test("floods: a loop of patch ports that multiplies packets ends", () =>
  withPorts(async (datapath) => {
    const patch = (portNo: number, name: string, peer: string): Promise<unknown> =>
      datapath.addPort({ portNo, name, type: "patch", options: new Map([["peer", peer]]) });
    await patch(5, "p5", "p6");
    await patch(6, "p6", "p5");
    addFlows(datapath, {
      "in_port(1)": "2",
      "in_port(3)": "5",
      "in_port(5)": "5,6",
      "in_port(6)": "5,6",
    });
    const { sent, arrived } = await flood(datapath, () => udpFrame(3, 0), 100);
    assert.equal(arrived, sent);
    const { received, drops } = datapath.counters();
    assert.ok(received < 100 * 100_000, `${received}`);
    const lost = (drops["patch-loop"] ?? 0) + (drops["tx-queue-full"] ?? 0) +
      (drops["pool-exhausted"] ?? 0);
    assert.ok(lost > 0, JSON.stringify(drops));
  }));

Deno.test("floods: fragments of datagrams that never get whole take no more than their store", () =>
  withPorts(async (datapath) => {
    addFlows(datapath, {
      "in_port(1)": "2",
      "in_port(3),eth(),eth_type(0x0800),ipv4()": "ct(commit),4",
    });
    const fragment = (): Uint8Array =>
      makeFrame({
        protocol: "udp",
        source: random(2 ** 32),
        identification: random(65536),
        fragment: 0x2000,
        payloadSize: 24,
      }).bytes;
    const { sent, arrived } = await flood(datapath, fragment);
    assert.equal(arrived, sent);
    const { held, drops } = datapath.counters();
    assert.ok(held > 0 && held <= FRAGMENTS_HELD_MAX, `${held}`);
    assert.deepEqual(drops, { "ct-fragment-memory": FLOOD - held });
  }));

Deno.test("floods: connections that are only begun stay below the limit, established ones stay", () =>
  withPorts(async (datapath) => {
    const connectionsMax = 500;
    datapath.conntrack.connectionsMax = connectionsMax;
    addFlows(datapath, {
      "in_port(1)": "2",
      "in_port(3),recirc_id(0),eth(),eth_type(0x0800),ipv4()": "ct(commit),recirc(1)",
      "in_port(4),recirc_id(0),eth(),eth_type(0x0800),ipv4()": "ct(),recirc(1)",
      "in_port(3),recirc_id(1),ct_state(+est)": "4",
      "in_port(3),recirc_id(1),ct_state(-est)": "drop",
      "in_port(4),recirc_id(1),ct_state(+est)": "3",
    });
    const client = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1000, dport: 80 };
    const server = { src: "10.0.0.2", dst: "10.0.0.1", sport: 80, dport: 1000 };
    const send = (port: number, spec: PacketSpec): Promise<unknown> =>
      datapath.command(port, "inject", { frames: [frameOf(makePacket(spec))] });
    await send(3, { ...client, flags: SYN, seq: 100 });
    await send(4, { ...server, flags: SYN | ACK, seq: 500, ack: 101 });
    await send(3, { ...client, flags: ACK, seq: 101, ack: 501 });
    assert.equal((await taken(datapath, 4)).length, 1);
    const syn = (): Uint8Array =>
      makeFrame({
        source: random(2 ** 32),
        sourcePort: random(65536),
        tcpFlags: 2,
        payloadSize: 0,
      }).bytes;
    const { sent, arrived } = await flood(datapath, syn);
    assert.equal(arrived, sent);
    assert.ok(datapath.conntrack.count <= connectionsMax, `${datapath.conntrack.count}`);
    await send(3, { ...client, flags: ACK, seq: 101, ack: 501 });
    assert.equal((await taken(datapath, 4)).length, 1, "the established connection is known");
  }));

Deno.test("floods: misses fill the ring, are counted, and leave room for other ports", () =>
  withPorts(async (datapath) => {
    addFlows(datapath, { "in_port(1)": "2" });
    await datapath.setUpcalls("handle");
    const { sent, arrived } = await flood(datapath, tuple);
    assert.equal(arrived, sent);
    const { consumed, lost, drops } = datapath.counters();
    assert.equal(consumed + lost, FLOOD);
    assert.deepEqual(drops, { "upcall-queue-full": lost });
    assert.ok(lost > 0);
    await datapath.command(4, "inject", { frames: [tuple()] });
    assert.equal(datapath.portCounters(4).upcalls, 1, "another port's upcall is taken");
  }));

const HANDLER = `export default { apiVersion: 1, name: "eager", upcall(packet, key, host) {
  host.addFlow({ flow: key.text, actions: "2", idleTimeout: 60 });
} };
`;

Deno.test("floods: a handler's flows stop at the table's limit, and the switch goes on", () =>
  withDaemon(async (daemon) => {
    const flowsMax = 300;
    const path = `${daemon.directory}/eager.ts`;
    Deno.writeTextFileSync(path, HANDLER, { mode: 0o600 });
    await daemon.start();
    const client = await daemon.client();
    try {
      await client.execute("dp-add", { dp: "dummy@dp0", flowsMax });
      for (const port of ["p1", "p2"]) {
        await client.execute("port-add", { dp: "dp0", port, type: "dummy", options: {} });
      }
      await client.execute("dp-set", { dp: "dp0", upcallHandler: path });
      const show = async (): Promise<DatapathInfo> =>
        (await client.execute("dp-show", { dps: ["dp0"], statistics: true })).datapaths[0]!;
      for (let batch = 0; batch < 20; batch++) {
        const frames = Array.from({ length: 50 }, () => tuple().toHex());
        await client.execute("netdev-dummy/receive", { port: "p1", frames });
      }
      const shown = await eventually("some are refused for want of room", async () => {
        const now = await show();
        return (now.upcallHandler?.refused ?? 0) > 0 && now;
      });
      assert.equal(shown.flows, flowsMax);
      await client.execute("flow-flush", { dp: "dp0" });
      await client.execute("flow-add", { dp: "dp0", flow: "in_port(1)", actions: "2" });
      await client.execute("netdev-dummy/receive", { port: "p1", frames: [tuple().toHex()] });
      assert.equal((await show()).ports[2]?.counters?.txPackets, 1);
    } finally {
      client.close();
    }
  }));
