/** Asynchronous ports in the running switch: frames both ways, and what faults of their code cost. */
import assert from "node:assert/strict";
import {
  addDatapath,
  addFlow,
  addPort,
  assertBalanced,
  openLibraries,
  taken,
  udpFrame,
  withSwitch,
} from "./testing.ts";
import type { LiveDatapath } from "./live_datapath.ts";

openLibraries();

const ECHO = `export default (api) => ({
  apiVersion: 1, kind: "async", type: "echo", summary: "for tests",
  parseOptions: (raw) => { api.options.only(raw, ["fault"]); return { fault: raw.get("fault") ?? "" }; },
  formatOptions: ({ fault }) => new Map(fault === "" ? [] : [["fault", fault]]),
  open: async ({ host, options: { fault } }) => {
    if (fault === "open") throw new TypeError("broken in open");
    if (fault === "refused") {
      throw Object.assign(new Error("nobody listens"), { code: "ECONNREFUSED" });
    }
    if (fault === "shape") return {};
    await new Promise((resolve) => setTimeout(resolve, 20));
    return {
      send: (frame) => {
        if (fault === "send") throw new TypeError("broken in send");
        if (fault === "block") for (const until = Date.now() + 6000; Date.now() < until;);
        if (fault === "nowhere") return false;
        if (fault === "never") return new Promise(() => {});
        if (fault === "later") return void Promise.reject(new TypeError("broken later"));
        if (fault === "lost") return host.lost("the far end has hung up");
        host.receive(frame);
      },
      close: () => {},
    };
  },
});`;

async function withEcho(
  fault: string,
  use: (datapath: LiveDatapath, logged: string[]) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(path, ECHO);
  try {
    await withSwitch({ threads: 2, plugins: [path] }, async (live, logged) => {
      const datapath = await addDatapath(live);
      for (const portNo of [1, 2]) await addPort(datapath, portNo);
      const options = new Map(fault === "" ? [] : [["fault", fault]]);
      await datapath.addPort({ portNo: 3, name: "echo0", type: "echo", options });
      addFlow(datapath, 1, [3]);
      addFlow(datapath, 3, [2]);
      await use(datapath, logged);
      await datapath.removePort(3, "delete");
      await delay(200);
    });
  } finally {
    await Deno.remove(path);
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function failure(datapath: LiveDatapath): Promise<string> {
  for (let waited = 0; waited < 8000; waited += 20) {
    const reason = datapath.checkPort(3);
    if (reason !== undefined) return reason;
    await delay(20);
  }
  return "none";
}

function asyncTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, sanitizeOps: false, sanitizeResources: false, fn });
}

asyncTest(
  "asynchronous port: frames go to its Worker and come back, whole and in order",
  () =>
    withEcho("", async (datapath) => {
      const frames = Array.from({ length: 300 }, (_, at) => udpFrame(1, at, 60 + at * 4));
      await datapath.command(1, "inject", { frames });
      const back: Uint8Array[] = [];
      for (let waited = 0; waited < 5000 && back.length < 300; waited += 20) {
        back.push(...await taken(datapath, 2));
        await delay(20);
      }
      assert.deepEqual(back, frames);
      assert.equal(datapath.portCounters(3).rxPackets, 300);
      assert.equal(datapath.portCounters(3).txPackets, 300);
      assert.equal(datapath.checkPort(3), undefined);
      assertBalanced(datapath.counters());
    }),
);

for (
  const [fault, what, message] of [
    ["open", "throws in open", /^TypeError: broken in open$/],
    ["shape", "opens to a wrong shape", /^TypeError: open returned what has no function send$/],
    ["send", "throws in send", /^TypeError: broken in send$/],
    ["later", "leaves a rejected promise", /^TypeError: broken later$/],
    ["refused", "finds nobody at the far end", /^nobody listens$/],
    ["lost", "loses its far end", /^the far end has hung up$/],
    ["block", "blocks its event loop", /^its Worker has not come back for 2000 ms$/],
  ] as const
) {
  asyncTest(
    `asynchronous port: one that ${what} goes down alone, with the reason`,
    () =>
      withEcho(fault, async (datapath, logged) => {
        await datapath.command(1, "inject", { frames: [udpFrame(1, 1)] });
        assert.match(await failure(datapath), message);
        const isWorld = fault === "refused" || fault === "lost";
        const wanted = isWorld
          ? /port echo0 of datapath br0 is down: /
          : /port echo0 .* has failed and is down/;
        assert(logged.some((line) => wanted.test(line)), logged.join("\n"));
        // Everything else goes on.
        addFlow(datapath, 2, [1]);
        await datapath.command(2, "inject", { frames: [udpFrame(2, 2)] });
        assert.equal((await taken(datapath, 1)).length, 1);
        assert.equal(datapath.checkPort(1), undefined);
        assertBalanced(datapath.counters());
      }),
  );
}

asyncTest(
  "asynchronous port: one that does not keep up drops with a reason, and stays up",
  () =>
    withEcho("never", async (datapath) => {
      const frames = Array.from({ length: 64 }, (_, at) => udpFrame(1, at, 1500));
      for (let time = 0; time < 16; time++) await datapath.command(1, "inject", { frames });
      const { drops } = datapath.portCounters(3);
      assert(drops["async-ring-full"]! > 200, JSON.stringify(drops));
      assert.equal(datapath.checkPort(3), undefined);
      assertBalanced(datapath.counters());
    }),
);

asyncTest(
  "asynchronous port: what it can send nowhere is counted as dropped, with its bytes",
  () =>
    withEcho("nowhere", async (datapath) => {
      const frames = Array.from({ length: 20 }, (_, at) => udpFrame(1, at, 100 + at));
      await datapath.command(1, "inject", { frames });
      for (let waited = 0; waited < 3000; waited += 20) {
        if (datapath.portCounters(3).txDropped === 20) break;
        await delay(20);
      }
      const { txPackets, txBytes, txDropped, drops } = datapath.portCounters(3);
      assert.deepEqual({ txPackets, txBytes, txDropped, drops }, {
        txPackets: 0,
        txBytes: 0,
        txDropped: 20,
        drops: { "port-down": 20 },
      });
      assertBalanced(datapath.counters());
    }),
);
