/** Faults of asynchronous port types, and of a synchronous one that never makes its port: what the user is told, and that all else goes on. */
import assert from "node:assert/strict";
import { type Lab, type Peer, rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";

function write(lab: Lab, name: string, text: string): string {
  const path = `${lab.folder}/${name}`;
  Deno.writeTextFileSync(path, text);
  Deno.chmodSync(path, 0o644);
  return path;
}

/** A loop with promises that fails where the option `at` says. */
const FAULTY = `import type { AsyncVportOps, PluginApi } from "denovs";
  export default ({ options }: PluginApi): AsyncVportOps<{ at: string }> => ({
  apiVersion: 1, kind: "async", type: "later", summary: "for tests",
  ...options.table<{ at: string }>({ at: options.form.text({ fallback: "" }) }),
  async open({ host, options: { at } }) {
    if (at === "open") throw new TypeError("broken in open");
    if (at === "refused") await Deno.connect({ hostname: "127.0.0.1", port: 9 });
    if (at === "shape") return { send: "soon" } as never;
    if (at === "block-open") for (;;);
    host.status("open with at=" + at);
    return {
      async send(frame) {
        if (at === "send") throw new TypeError("broken in send");
        if (at === "aside") Promise.reject(new TypeError("broken aside"));
        if (at === "lost") host.lost("the far end has gone home");
        if (at === "block") for (;;);
        if (at === "never") await new Promise(() => {});
        host.receive(frame);
      },
      close() {},
    };
  },
});
`;

/** Hosts a and b, and a faulty port on number 3 that gets a's frames as well. */
async function setUp(lab: Lab): Promise<{ a: Peer; b: Peer }> {
  const { denovs } = lab;
  const a = await lab.peer("a", { address: "10.0.0.1/24" });
  const b = await lab.peer("b", { address: "10.0.0.2/24" });
  await denovs.start();
  await denovs.cli("dp-add", "br0");
  await denovs.cli("port-add", "br0", a.port, b.port);
  await denovs.cli("flow-add", "br0", "in_port(1)", "2,3");
  await denovs.cli("flow-add", "br0", "in_port(2)", "1");
  return { a, b };
}

rootTest(
  "plugin: an asynchronous type that fails loses its port, with the reason; all else goes on",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const { a } = await setUp(lab);
      await denovs.cli("plugin-add", write(lab, "later.ts", FAULTY));
      const cases = [
        ["open", "failed", /^TypeError: broken in open$/],
        ["shape", "failed", /^TypeError: open returned what has no function send$/],
        ["send", "failed", /^TypeError: broken in send$/],
        ["aside", "failed", /^TypeError: broken aside$/],
        ["block", "failed", /^its Worker has not come back for 2000 ms$/],
        ["block-open", "failed", /^its Worker has not come back for 2000 ms$/],
        ["refused", "absent", /^Connection refused/],
        ["lost", "absent", /^the far end has gone home$/],
      ] as const;
      for (const [at, state, reason] of cases) {
        await denovs.cli(
          "port-add",
          "br0",
          "bad0",
          "--type",
          "later",
          `at=${at}`,
          "--port-no",
          "3",
        );
        const seen: string[] = [];
        await eventually(`${at} is noticed`, async () => {
          await a.ping("10.0.0.2", { count: 1 });
          const port = (await denovs.show()).ports.find(({ name }) => name === "bad0");
          seen.push(`${port?.state}: ${port?.reason}`);
          return port?.state === state && reason.test(port.reason ?? "");
        }, { timeoutMs: 30_000 }).catch((error) => {
          throw new Error(`${error}; it was ${[...new Set(seen)].join(", ")}`);
        });
        assert.equal(await a.ping("10.0.0.2"), 3, at);
        await denovs.cli("port-del", "br0", "bad0");
      }
      assert.match(denovs.log(), /port bad0 of br0: open with at=block$/m);
    }),
);

rootTest(
  "plugin: an asynchronous type that never takes the next frame costs its own frames only, counted",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const { a } = await setUp(lab);
      await denovs.cli("plugin-add", write(lab, "later.ts", FAULTY));
      await denovs.cli("port-add", "br0", "bad0", "--type", "later", "at=never");
      const lost = async (): Promise<number> => {
        const port = (await denovs.show()).ports.find(({ name }) => name === "bad0");
        return port?.counters?.drops["async-ring-full"] ?? 0;
      };
      await eventually("the ring is full", async () => {
        assert.equal(await a.ping("10.0.0.2", { count: 20, size: 8000 }), 20);
        return await lost() > 0;
      }, { timeoutMs: 60_000 });
      const { state } = (await denovs.show()).ports.find(({ name }) => name === "bad0")!;
      assert.equal(state, "up");
    }),
);

const NEVER = `export default (api) => ({
  apiVersion: 1, type: "never", summary: "for tests", headroom: 0, ...api.options.table({}),
  create: () => { for (;;); },
});`;

rootTest(
  "plugin: a port whose create does not come back is refused, and its packet thread replaced",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const { a } = await setUp(lab);
      await denovs.cli("plugin-add", write(lab, "never.js", NEVER));
      const refusal = await denovs.refused("port-add", "br0", "bad0", "--type", "never");
      assert.match(refusal, /cannot add port "bad0" to br0: .*not come back for 2000 ms/);
      assert.match(
        denovs.log(),
        /packet thread \d has not come back for 2000 ms from port bad0 of datapath br0/,
      );
      await eventually("pings pass", async () => await a.ping("10.0.0.2") === 3);
      assert.deepEqual((await denovs.show()).ports.map(({ name }) => name), ["br0", "va", "vb"]);
    }),
);
