/** The switch over dummy ports: the real threads, loop, pipeline and flow table, without a privilege. */
import assert from "node:assert/strict";
import { IN_PORT_AT, IPV4_SRC_AT, KEY_WORDS } from "../../datapath/key.ts";
import { SwitchClock } from "./clock.ts";
import {
  addDatapath,
  addFlow,
  addPort,
  assertBalanced,
  heapGrowth,
  openLibraries,
  outputs,
  startSwitch,
  taken,
  udpFrame,
  withPlugin,
} from "./testing.ts";

openLibraries();

for (const threads of [1, 2]) {
  Deno.test(`Switch: frames go from port to port as the flow says (${threads} threads)`, async () => {
    const { live } = await startSwitch({ threads });
    try {
      const datapath = await addDatapath(live);
      await addPort(datapath, 1);
      await addPort(datapath, 2);
      await addPort(datapath, 3);
      const ufid = addFlow(datapath, 1, [2, 3]);
      const frames = Array.from({ length: 200 }, (_, at) => udpFrame(at % 5, at, 60 + at * 7));
      await datapath.command(1, "inject", { frames });
      assert.deepEqual(await taken(datapath, 2), frames);
      assert.deepEqual(await taken(datapath, 3), frames);
      assert.deepEqual(await taken(datapath, 1), []);

      const counters = datapath.counters();
      assertBalanced(counters);
      const { hit, received, copied, sent } = counters;
      assert.deepEqual({ hit, received, copied, sent }, {
        hit: 200,
        received: 200,
        copied: 200,
        sent: 400,
      });
      const stats = datapath.table.stats(datapath.table.find(ufid));
      assert.equal(stats.packets, 200);
      assert.equal(datapath.portCounters(1).rxPackets, 200);
      assert.equal(datapath.portCounters(2).txPackets, 200);
      const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
      assert.equal(datapath.portCounters(2).txBytes, bytes);
    } finally {
      await live.stop();
    }
  });
}

Deno.test("PacketLoop: 10,000 packets over dummy ports allocate nothing", async () => {
  const { live } = await startSwitch();
  try {
    const datapath = await addDatapath(live);
    await addPort(datapath, 1);
    await addPort(datapath, 2);
    addFlow(datapath, 1, [2]);
    const inject = (repeat: number): Promise<unknown> =>
      datapath.command(1, "inject", { frames: [udpFrame(1, 1)], repeat });
    await inject(1_000_000); // V8 compiles
    const growth = await heapGrowth(live, () => inject(10_000));
    // A number on the heap is 16 bytes: that much for every third packet would be noticed.
    assert(growth[2]! < 60_000, `heap grew by ${growth} bytes`);
  } finally {
    await live.stop();
  }
});

const THROWS = `export default (api) => ({
  apiVersion: 1, type: "throws", summary: "for tests", headroom: 0,
  parseOptions: (raw) => { api.options.only(raw, ["at"]); return { at: raw.get("at") }; },
  formatOptions: (options) => new Map([["at", options.at]]),
  create: ({ options }) => {
    const fail = (place) => { if (options.at === place) throw new TypeError("broken in " + place); };
    fail("create");
    return {
      receiver: { receive: () => { fail("receive"); return 0; } },
      sender: { flush: () => fail("flush") },
      takesPartialChecksums: true, takesSegmentTrains: true,
      send: () => { fail("send"); return 0; },
      close: () => { throw new Error("and in close"); },
    };
  },
});`;

for (const place of ["send", "receive", "flush"]) {
  Deno.test(`Switch: a plug-in that throws in ${place} loses its port, nothing else`, () =>
    withPlugin(THROWS, async (path) => {
      const failures: string[] = [];
      const { live, logged } = await startSwitch({
        threads: 2,
        plugins: [path],
        onPortFailed: (datapath, portNo) => void failures.push(`${datapath} ${portNo}`),
      });
      try {
        const datapath = await addDatapath(live);
        await addPort(datapath, 1);
        await addPort(datapath, 2);
        const options = new Map([["at", place]]);
        await datapath.addPort({ portNo: 3, name: "bad", type: "throws", options });
        addFlow(datapath, 1, [3, 2]);
        const frames = [udpFrame(1, 0), udpFrame(1, 1), udpFrame(2, 2), udpFrame(3, 3)];
        for (const frame of frames) await datapath.command(1, "inject", { frames: [frame] });
        await live.settle();
        assert.deepEqual(await taken(datapath, 2), frames);
        assert.deepEqual(failures, ["br0 3"]);
        assert.match(datapath.checkPort(3) ?? "", new RegExp(`TypeError: broken in ${place}`));
        assert.equal(datapath.checkPort(2), undefined);
        assert(logged.some((line) => line.includes("port bad of datapath br0 has failed")));
        const { drops } = datapath.counters();
        assert(drops["vport-failed"]! > 0, JSON.stringify(drops));
        assertBalanced(datapath.counters());
        await datapath.removePort(3, "delete");
        await datapath.command(1, "inject", { frames });
        assert.equal(datapath.counters().drops["no-such-port"], 4);
      } finally {
        await live.stop();
      }
    }));
}

Deno.test("LiveDatapath.addPort: what can't be is refused, and nothing is left", () =>
  withPlugin(THROWS, async (path) => {
    const { live } = await startSwitch({ threads: 2, plugins: [path] });
    try {
      const datapath = await addDatapath(live);
      const add = (
        portNo: number,
        type: string,
        options: [string, string][] = [],
      ): Promise<unknown> =>
        datapath.addPort({ portNo, name: "x", type, options: new Map(options) });
      await assert.rejects(
        add(1, "nosuch"),
        /Unknown port type "nosuch" \(known types: .*dummy.*, throws\)/,
      );
      await assert.rejects(add(1, "dummy", [["pcpa", "f"]]), /Unknown option pcpa=f .*tx_pcap/);
      await assert.rejects(add(1, "throws", [["at", "create"]]), /broken in create/);
      assert.equal(datapath.hasPort(1), false);
      await add(1, "dummy");
      await assert.rejects(add(1, "dummy"), { code: "EBUSY" });
      await assert.rejects(datapath.command(1, "jump", 0), /no command "jump"/);
      await assert.rejects(datapath.command(7, "inject", 0), { code: "ENODEV" });
    } finally {
      await live.stop();
    }
  }));

Deno.test("Switch.start: a plug-in of a known name is refused, and no thread is left", () =>
  withPlugin(THROWS.replace('"throws"', '"dummy"'), async (path) => {
    await assert.rejects(
      startSwitch({ plugins: [path] }),
      /"dummy" from .*: built-in has registered it/,
    );
  }));

Deno.test("LiveDatapath.portCounters: a new port of a number begins at zero", async () => {
  const { live } = await startSwitch();
  try {
    const datapath = await addDatapath(live, { miss: "flood" });
    await addPort(datapath, 1);
    await addPort(datapath, 2);
    await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
    assert.equal(datapath.portCounters(2).txPackets, 1);
    await datapath.removePort(2, "delete");
    await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
    await addPort(datapath, 2);
    assert.equal(datapath.portCounters(2).txPackets, 0);
    await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
    assert.equal(datapath.portCounters(2).txPackets, 1);
    const counters = datapath.counters();
    assert.deepEqual([counters.received, counters.sent, counters.drops], [3, 2, {
      "flood-no-port": 1,
    }]);
    assertBalanced(counters);
  } finally {
    await live.stop();
  }
});

Deno.test("LiveDatapath.setMiss: learn sends to where the station is, until its port goes", async () => {
  const { live } = await startSwitch({ threads: 2 });
  try {
    const datapath = await addDatapath(live);
    for (const portNo of [1, 2, 3]) await addPort(datapath, portNo);
    await datapath.setMiss("learn");
    const back = udpFrame(2, 0);
    back.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    await datapath.command(1, "inject", { frames: [udpFrame(1, 0)] }); // flooded
    await datapath.command(2, "inject", { frames: [back] }); // to port 1 alone
    assert.equal((await taken(datapath, 3)).length, 1);
    assert.equal((await taken(datapath, 1)).length, 1);
    await datapath.removePort(1, "delete");
    await datapath.command(2, "inject", { frames: [back] }); // unknown again
    assert.equal((await taken(datapath, 3)).length, 1);
    assertBalanced(datapath.counters());
  } finally {
    await live.stop();
  }
});

Deno.test("Switch: a table that grows under the threads' eyes loses no flow", async () => {
  const { live } = await startSwitch({ threads: 2 });
  try {
    const datapath = await addDatapath(live, { flowsMax: 20_000 });
    await addPort(datapath, 1);
    await addPort(datapath, 2);
    const mask = new Int32Array(KEY_WORDS);
    const key = new Int32Array(KEY_WORDS);
    new DataView(mask.buffer).setUint16(IN_PORT_AT, 0xffff);
    new DataView(mask.buffer).setUint32(IPV4_SRC_AT, 0xffffffff);
    new DataView(key.buffer).setUint16(IN_PORT_AT, 1);
    const actions = outputs(2);
    for (let flow = 0; flow < 10_000; flow++) {
      new DataView(key.buffer).setUint32(IPV4_SRC_AT, 0x0a000000 + flow);
      datapath.table.insert({ ufid: flow.toString(16).padStart(32, "0"), key, mask, actions });
      if (flow % 500 !== 0) continue;
      datapath.table.commit();
      await datapath.command(1, "inject", { frames: [udpFrame(flow & 0xff, flow)] });
    }
    datapath.table.commit();
    assert.equal(datapath.table.count, 10_000);
    const frames = Array.from({ length: 100 }, (_, at) => udpFrame(at, at));
    await datapath.command(1, "inject", { frames });
    assert.equal(datapath.counters().missed, 0);
    assert.equal(datapath.counters().sent, 120);
  } finally {
    await live.stop();
  }
});

Deno.test("SwitchClock: stopped, flows and captures get the virtual time", async () => {
  const clock = new SwitchClock();
  const { live } = await startSwitch({ clock });
  const folder = await Deno.makeTempDir();
  try {
    const datapath = await addDatapath(live);
    await addPort(datapath, 1);
    const options = new Map([["tx_pcap", `${folder}/tx.pcap`]]);
    await datapath.addPort({ portNo: 2, name: "p2", type: "dummy", options });
    const ufid = addFlow(datapath, 1, [2]);
    clock.stop();
    const startMs = clock.nowMs();
    const startUs = clock.wallUs();
    clock.warp(12_345);
    const frame = udpFrame(1, 1);
    await datapath.command(1, "inject", { frames: [frame] });
    clock.warp(1_000);
    const flow = datapath.table.find(ufid);
    assert.equal(datapath.table.stats(flow).usedMs - startMs, 12_345);
    const pcap = await Deno.readFile(`${folder}/tx.pcap`);
    const view = new DataView(pcap.buffer);
    assert.equal(view.getUint32(0, true), 0xa1b2c3d4);
    assert.equal(view.getUint32(24, true) * 1e6 + view.getUint32(28, true) - startUs, 12_345_000);
    assert.deepEqual(pcap.subarray(40), frame);
  } finally {
    await live.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("Switch: idle threads sleep", async () => {
  const { live } = await startSwitch({ threads: 2 });
  try {
    const datapath = await addDatapath(live);
    await addPort(datapath, 1);
    await live.settle();
    const before = (await live.reports()).map(({ rounds }) => rounds);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const after = (await live.reports()).map(({ rounds }) => rounds);
    // To report takes a round or two; without sleep there would be thousands.
    for (const [at, rounds] of after.entries()) assert(rounds - before[at]! < 10);
  } finally {
    await live.stop();
  }
});

const MISSHAPEN: readonly (readonly [what: string, port: string, message: RegExp])[] = [
  [
    "create that returns nothing",
    "undefined",
    /Vport type "odd" has made no port: it is a undefined/,
  ],
  ["a port without send", "{ close() {} }", /it has no function send/],
  [
    "a port without flags",
    "{ send() {}, close() {} }",
    /its takesPartialChecksums is neither true nor false/,
  ],
  [
    "a receiver without receive",
    "{ send() {}, close() {}, takesPartialChecksums: true, takesSegmentTrains: true, receiver: {} }",
    /its receiver has no function receive/,
  ],
];

for (const [what, port, message] of MISSHAPEN) {
  Deno.test(`LiveDatapath.addPort: ${what} is refused with what is wrong`, () => {
    const text = `export default { apiVersion: 1, type: "odd", summary: "for tests", headroom: 0,
      parseOptions: () => ({}), formatOptions: () => new Map(), create: () => (${port}) };`;
    return withPlugin(text, async (path) => {
      const { live } = await startSwitch({ plugins: [path] });
      try {
        const datapath = await addDatapath(live);
        const spec = { portNo: 1, name: "odd0", type: "odd", options: new Map() };
        await assert.rejects(datapath.addPort(spec), message);
        assert.equal(datapath.hasPort(1), false);
      } finally {
        await live.stop();
      }
    });
  });
}

Deno.test("LiveDatapath.addPort: what is refused because it is no port is closed", () => {
  // The next one of the type finds what the first has left open.
  const text = `let open = 0;
    export default { apiVersion: 1, type: "odd", summary: "for tests", headroom: 0,
      parseOptions: () => ({}), formatOptions: () => new Map(), create: () => {
        if (open > 0) throw new Error("still open");
        open++;
        return { send() {}, close() { open--; }, takesPartialChecksums: true };
      } };`;
  return withPlugin(text, async (path) => {
    const { live } = await startSwitch({ plugins: [path] });
    try {
      const datapath = await addDatapath(live);
      for (let time = 0; time < 2; time++) {
        const spec = { portNo: 1, name: "odd0", type: "odd", options: new Map() };
        await assert.rejects(datapath.addPort(spec), /its takesSegmentTrains is neither/);
      }
    } finally {
      await live.stop();
    }
  });
});

for (
  const [what, port, message] of [
    ["send", "send: () => undefined", /TypeError: send returned undefined/],
    ["receive", "send: () => 0, receiver: { receive: () => {} }", /receive returned undefined/],
  ] as const
) {
  Deno.test(`Switch: ${what} that returns nothing fails its port, with the reason`, () => {
    const text = `export default { apiVersion: 1, type: "odd", summary: "for tests", headroom: 0,
      parseOptions: () => ({}), formatOptions: () => new Map(),
      create: () => ({ ${port}, close() {}, takesPartialChecksums: true, takesSegmentTrains: true }) };`;
    return withPlugin(text, async (path) => {
      const { live } = await startSwitch({ plugins: [path] });
      try {
        const datapath = await addDatapath(live);
        await addPort(datapath, 1);
        await datapath.addPort({ portNo: 2, name: "odd0", type: "odd", options: new Map() });
        addFlow(datapath, 1, [2]);
        await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
        await live.settle();
        assert.match(datapath.checkPort(2) ?? "", message);
        assertBalanced(datapath.counters());
      } finally {
        await live.stop();
      }
    });
  });
}

Deno.test("Switch: plug-ins come, are changed and go while it runs", () =>
  withPlugin(THROWS, async (path) => {
    const { live } = await startSwitch({ threads: 2 });
    try {
      const datapath = await addDatapath(live);
      const add = (portNo: number): Promise<unknown> =>
        datapath.addPort({
          portNo,
          name: `t${portNo}`,
          type: "throws",
          options: new Map([["at", "create"]]),
        });
      await assert.rejects(live.plugins.unload("throws"), /there is none \(known types: .*dummy/);
      await assert.rejects(live.plugins.unload("dummy"), /it is built in/);
      assert.deepEqual(await live.loadPlugin(path), {
        type: "throws",
        file: path,
        change: "added",
      });
      assert.equal((await live.loadPlugin(path)).change, "unchanged");
      await assert.rejects(add(1), /broken in create/);
      const better = THROWS.replace("options.at === place", "false");
      await Deno.writeTextFile(path, better);
      await Deno.utime(path, 1000, 1000);
      assert.equal((await live.loadPlugin(path)).change, "reloaded");
      await add(1);
      await assert.rejects(
        live.plugins.unload("throws"),
        { code: "EBUSY", message: /port t1 of datapath br0 is of it/ },
      );
      // A change for the worse leaves what there is.
      await Deno.writeTextFile(path, "export default 7;");
      await Deno.utime(path, 2000, 2000);
      await assert.rejects(live.loadPlugin(path), /default export is a number/);
      await add(2);
      for (const portNo of [1, 2]) await datapath.removePort(portNo, "delete");
      await live.plugins.unload("throws");
      await assert.rejects(add(1), /Unknown port type "throws"/);
    } finally {
      await live.stop();
    }
  }));

Deno.test("Switch.start: a thread that can't start is an error with its reason, and nothing is left", async () => {
  await assert.rejects(
    startSwitch({ threadUrl: `data:application/javascript,${encodeURIComponent(FAILS)}` }),
    { name: "ThreadError", message: /packet thread 0.*out of luck/s },
  );
});

/** A thread that says hello and then dies, as one without descriptors would. */
const FAILS = `self.onmessage = ({ data }) => {
  data.port.postMessage({ kind: "died", reason: "out of luck" });
};
self.postMessage("denovs-packet-thread");`;
