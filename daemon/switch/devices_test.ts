/** The switch over real devices, veth and TAP, in a network namespace of its own. */
import assert from "node:assert/strict";
import { DevicePeer } from "../../tests/device_peer.ts";
import { addVeth, ip, namespaceTests } from "../../tests/namespace.ts";
import type { LiveDatapath } from "./live_datapath.ts";
import {
  addDatapath,
  addFlow,
  assertBalanced,
  heapGrowth,
  openLibraries,
  udpFrame,
  withSwitch,
} from "./testing.ts";

function addDevice(
  datapath: LiveDatapath,
  portNo: number,
  name: string,
  options: Readonly<Record<string, string>> = {},
): Promise<{ mac: string | undefined; mtu: number | undefined; ifindex: number | undefined }> {
  const raw = new Map(Object.entries(options));
  return datapath.addPort({ portNo, name, type: "netdev", options: raw });
}

function addInternal(datapath: LiveDatapath, name: string, mac?: string): Promise<unknown> {
  return datapath.addPort({ portNo: 0, name, type: "internal", options: new Map(), mac });
}

/** What the device received, until `count` frames or two seconds. */
async function receive(peer: DevicePeer, count: number): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for (let time = 0; time < 400 && frames.length < count; time++) {
    frames.push(...peer.received());
    if (frames.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return frames.map((frame) => new Uint8Array(frame));
}

function withPeers(
  names: readonly string[],
  use: (...peers: DevicePeer[]) => Promise<void>,
): Promise<void> {
  const peers = names.map((name) => new DevicePeer(name));
  return use(...peers).finally(() => peers.forEach((peer) => peer.close()));
}

function macOf(name: string): string | undefined {
  return /link\/ether (\S+)/.exec(ip("link", "show", name))?.[1];
}

namespaceTests(import.meta.url, () => {
  openLibraries();
  for (const pair of ["a", "b", "c"]) addVeth(`${pair}0`, `${pair}1`);
  for (const threads of [1, 2]) testTraffic(threads);
  testOwnership();
  testInternal();
  testMtu();
  testMemory();
});

function testTraffic(threads: number): void {
  const suffix = `(${threads} threads)`;
  Deno.test(`Switch: frames cross two veths and a TAP ${suffix}`, () =>
    withSwitch({ threads }, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      await addInternal(datapath, "br0");
      const facts = await addDevice(datapath, 1, "a0");
      assert.equal(facts.mac, macOf("a0"));
      assert.equal(facts.mtu, 1500);
      await addDevice(datapath, 2, "b0");
      addFlow(datapath, 1, [2, 0]);
      addFlow(datapath, 0, [1]);
      await withPeers(["a1", "b1", "br0"], async (a, b, host) => {
        const frames = Array.from({ length: 100 }, (_, at) => udpFrame(at % 7, at, 60 + at * 10));
        for (const frame of frames) a.send(frame);
        assert.deepEqual(sorted(await receive(b, 100)), sorted(frames));
        assert.deepEqual(sorted(await receive(host, 100)), sorted(frames));
        host.send(frames[3]!);
        assert.deepEqual(await receive(a, 1), [frames[3]]);
      });
      await live.settle();
      const counters = datapath.counters();
      assertBalanced(counters);
      assert.deepEqual([counters.received, counters.sent, counters.dropped], [101, 201, 0]);
      assert.equal(datapath.portCounters(2).txPackets, 100);
      assert.equal(datapath.portCounters(0).rxPackets, 1);
      await datapath.close("delete");
    }));

  Deno.test(`LiveDatapath.removePort: while traffic flows ${suffix}`, () =>
    withSwitch({ threads }, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      await addDevice(datapath, 1, "a0");
      addFlow(datapath, 1, [2]);
      await withPeers(["a1", "b1"], async (a, b) => {
        for (let time = 0; time < 5; time++) {
          await addDevice(datapath, 2, "b0");
          for (let at = 0; at < 200; at++) a.send(udpFrame(at, at));
          const removed = datapath.removePort(2, "delete");
          for (let at = 0; at < 200; at++) a.send(udpFrame(at, at));
          await removed;
        }
        await addDevice(datapath, 2, "b0");
        await live.settle();
        b.received();
        a.send(udpFrame(1, 77));
        assert.deepEqual((await receive(b, 1)).at(-1), udpFrame(1, 77));
      });
      await live.settle();
      assertBalanced(datapath.counters());
      assert.equal(datapath.counters().received, 2001);
    }));
}

/** Two threads keep the order of a flow, not of all frames. */
function sorted(frames: readonly Uint8Array[]): string[] {
  return frames.map((frame) => frame.toHex()).sort();
}

function testOwnership(): void {
  Deno.test("netdev: devices that can't be ports are refused with the reason", () =>
    withSwitch({}, async (live) => {
      ip("link", "add", "bridge0", "type", "bridge");
      ip("link", "set", "c0", "master", "bridge0");
      const datapath = await addDatapath(live, { type: "netdev" });
      const other = await addDatapath(live, { type: "netdev", name: "other" });
      await addInternal(other, "other");
      await addDevice(other, 1, "b0");
      const refused = (name: string, wanted: RegExp, code: string): Promise<void> =>
        assert.rejects(addDevice(datapath, 5, name), (error: Error) => {
          assert.match(error.message, wanted);
          assert.equal((error as Error & { code: string }).code, code);
          return true;
        });
      await refused("nosuch0", /There is no network device "nosuch0"/, "ENODEV");
      await refused("lo", /"lo" can't be a port: it is the loopback device/, "EINVAL");
      await refused("c0", /"c0" can't be a port: it belongs to bridge "bridge0"/, "EBUSY");
      await refused("other", /it is the internal port of a denovs datapath/, "EINVAL");
      await refused("b0", /"b0" is already a port of datapath other/, "EBUSY");
      await other.removePort(1, "delete");
      await addDevice(datapath, 5, "b0");
      await other.close("delete");
      ip("link", "del", "bridge0");
    }));

  Deno.test("netdev: the host sees no frame of a port, but with host=share", () =>
    withSwitch({}, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      const seen = (): number =>
        Number(
          / IpInReceives\s+(\d+)|^IpInReceives\s+(\d+)/m.exec(nstat())?.slice(1).find(Boolean),
        );
      // A broadcast to an address of the device: the host's IP counts it if it gets it.
      const frame = udpFrame(1, 1);
      frame.fill(0xff, 0, 6);
      await withPeers(["a1"], async (a) => {
        await addDevice(datapath, 1, "a0");
        const before = seen();
        a.send(frame);
        await live.settle();
        assert.equal(seen(), before);
        await datapath.removePort(1, "delete");
        await addDevice(datapath, 1, "a0", { host: "share" });
        a.send(frame);
        await live.settle();
        assert.equal(seen(), before + 1);
        assert.equal(datapath.portCounters(1).rxPackets, 1);
      });
    }));

  Deno.test("netdev: a device that is deleted under the switch is told by checkPort", () =>
    withSwitch({}, async (live) => {
      addVeth("d0", "d1");
      const datapath = await addDatapath(live, { type: "netdev" });
      await addDevice(datapath, 1, "d0");
      assert.equal(datapath.checkPort(1), undefined);
      ip("link", "del", "d1");
      assert.match(datapath.checkPort(1) ?? "", /device "d0" is gone/);
      await datapath.removePort(1, "close");
      addVeth("d0", "d1");
      await addDevice(datapath, 1, "d0");
      addFlow(datapath, 1, [1]);
      await withPeers(["d1"], async (peer) => {
        peer.send(udpFrame(1, 1));
        assert.deepEqual(await receive(peer, 1), [udpFrame(1, 1)]);
      });
      await datapath.close("delete");
      ip("link", "del", "d1");
    }));
}

function nstat(): string {
  const { stdout } = new Deno.Command("nstat", { args: ["-a", "-s", "-z"] }).outputSync();
  return new TextDecoder().decode(stdout);
}

function testInternal(): void {
  const MAC = "02:11:22:33:44:55";
  Deno.test("internal: the device outlives the switch and is adopted with all it has", async () => {
    await withSwitch({}, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      await addInternal(datapath, "br0", MAC);
      assert.equal(macOf("br0"), MAC);
      ip("addr", "add", "10.1.1.1/24", "dev", "br0");
    });
    assert.match(ip("addr", "show", "br0"), /10\.1\.1\.1\/24/);
    await withSwitch({ threads: 2 }, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      await addInternal(datapath, "br0", MAC);
      assert.match(ip("addr", "show", "br0"), /10\.1\.1\.1\/24/);
      await datapath.removePort(0, "delete");
    });
    assert.throws(() => ip("link", "show", "br0"));
  });

  Deno.test("internal: a device of somebody else is refused and left alone", () =>
    withSwitch({}, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      await assert.rejects(addInternal(datapath, "a0"), (error: Error) => {
        assert.match(
          error.message,
          /Device "a0" exists already and was not made by denovs \(veth\)/,
        );
        assert.equal((error as Error & { code: string }).code, "EEXIST");
        return true;
      });
      const other = await addDatapath(live, { type: "netdev", name: "other" });
      await addInternal(other, "other");
      await assert.rejects(addInternal(datapath, "other"), /belongs to a datapath of another/);
      assert.match(ip("link", "show", "a0"), /UP/);
      await other.close("delete");
    }));

  Deno.test("internal: a device that is deleted under the switch fails its port, and no thread spins", () =>
    withSwitch({}, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      await addInternal(datapath, "br0");
      ip("link", "del", "br0");
      for (let time = 0; time < 100 && datapath.checkPort(0) === undefined; time++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.match(datapath.checkPort(0) ?? "", /br0/);
      await new Promise((resolve) => setTimeout(resolve, 50));
      const before = (await live.reports())[0]!.rounds;
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert((await live.reports())[0]!.rounds - before < 10);
    }));
}

/** A frame of `size` bytes; tagged, four bytes of it are the tag. */
function longFrame(size: number, isTagged: boolean): Uint8Array {
  const frame = udpFrame(1, 1, isTagged ? size - 4 : size);
  if (!isTagged) return frame;
  const tagged = new Uint8Array(size);
  tagged.set(frame.subarray(0, 12));
  tagged.set([0x81, 0x00, 0x00, 0x05], 12);
  tagged.set(frame.subarray(12), 16);
  return tagged;
}

function testMtu(): void {
  Deno.test("ThreadPort.mtu: longer frames are dropped as over-mtu, one tag is free, changes count", () =>
    withSwitch({}, async (live) => {
      for (const name of ["a0", "a1", "b1"]) ip("link", "set", name, "mtu", "3000");
      const datapath = await addDatapath(live, { type: "netdev", name: "dp0" });
      await addInternal(datapath, "dp0");
      await addDevice(datapath, 1, "a0");
      assert.equal((await addDevice(datapath, 2, "b0")).mtu, 1500);
      addFlow(datapath, 1, [2, 0]);
      await withPeers(["a1", "b1"], async (a, b) => {
        const drops = (): (number | undefined)[] =>
          [2, 0].map((portNo) => datapath.portCounters(portNo).drops["over-mtu"]);
        const fits = [longFrame(1514, false), longFrame(1518, true)];
        const tooLong = [longFrame(1515, false), longFrame(1519, true)];
        for (const frame of [...fits, ...tooLong]) a.send(frame);
        const got = await receive(b, 2);
        assert.deepEqual(got.map((frame) => frame.length), [1514, 1518]);
        await live.settle();
        assert.deepEqual(drops(), [2, 2]);

        ip("link", "set", "b0", "mtu", "3000");
        for (const portNo of [0, 1, 2]) assert.equal(datapath.checkPort(portNo), undefined);
        await live.settle();
        for (const frame of tooLong) a.send(frame);
        assert.deepEqual((await receive(b, 2)).map((frame) => frame.length), [1515, 1519]);
        await live.settle();
        assert.deepEqual(drops(), [2, 4]);
        const { txDropped, txPackets } = datapath.portCounters(2);
        assert.deepEqual({ txDropped, txPackets }, { txDropped: 2, txPackets: 4 });
        assertBalanced(datapath.counters());
      });
      await datapath.close("delete");
      for (const name of ["a0", "a1", "b0", "b1"]) ip("link", "set", name, "mtu", "1500");
    }));
}

function testMemory(): void {
  Deno.test("PacketLoop: 10,000 packets over veths allocate nothing", () =>
    withSwitch({}, async (live) => {
      const datapath = await addDatapath(live, { type: "netdev" });
      await addDevice(datapath, 1, "a0");
      await addDevice(datapath, 2, "b0");
      addFlow(datapath, 1, [2]);
      await withPeers(["a1"], async (a) => {
        const frame = udpFrame(1, 1);
        const run = async (count: number): Promise<void> => {
          const wanted = datapath.counters().received + count;
          for (let at = 0; at < count; at++) a.send(frame);
          for (let time = 0; time < 400 && datapath.counters().received < wanted; time++) {
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        };
        await run(300_000); // V8 compiles
        const growth = await heapGrowth(live, () => run(10_000));
        // A number on the heap is 16 bytes: that much for every third packet would be noticed.
        assert(growth[2]! < 60_000, `heap grew by ${growth} bytes`);
      });
      await live.settle();
      assertBalanced(datapath.counters());
    }));
}
