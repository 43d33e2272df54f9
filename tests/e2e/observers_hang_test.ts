/** capture and trace-live go on when the packet thread that they look at is replaced, because a plug-in has hung it. */
import assert from "node:assert/strict";
import { denovsCommand } from "./denovs.ts";
import { type Lab, type Namespace, rootTest, withLab } from "./lab.ts";
import { eventually, spawn } from "./process.ts";
import { twoHosts } from "./traffic.ts";

const STUCK = `export default (api) => ({
  apiVersion: 1, type: "stuck", summary: "hangs in its first send", headroom: 0,
  ...api.options.table({}),
  create: () => ({
    takesPartialChecksums: true, takesSegmentTrains: true, close() {},
    send: () => { for (;;); },
  }),
});
`;

/** A client that looks on, and what it has shown so far. */
function watch(lab: Lab, ...words: string[]): () => string {
  const { socket } = lab.denovs;
  const command = [...denovsCommand(), ...words, "--json", "--socket", socket];
  const child = spawn(command, { output: true });
  let shown = "";
  (async () => {
    const decoder = new TextDecoder();
    for await (const bytes of child.stdout) shown += decoder.decode(bytes, { stream: true });
  })().catch(() => {});
  return () => shown;
}

/** A ping whose payload repeats a byte, so that it can be told from others. */
async function send(from: Namespace, pattern: string): Promise<void> {
  await from.run(["ping", "-c", "1", "-W", "1", "-p", pattern, "10.0.0.2"], { fails: true });
}

rootTest(
  "observers: capture and trace-live go on on a replaced packet thread",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const { denovs } = lab;
      const plugin = `${lab.folder}/stuck.js`;
      Deno.writeTextFileSync(plugin, STUCK, { mode: 0o644 });
      await denovs.cli("plugin-add", plugin);
      await denovs.cli("port-add", "br0", "bad0", "--type", "stuck");
      const clients: Readonly<Record<string, () => string>> = {
        capture: watch(lab, "capture", "br0", a.port, "icmp"),
        "trace-live": watch(lab, "trace-live", "br0", "icmp", "-n", "1000"),
      };
      const seen = async (pattern: string): Promise<void> => {
        for (const [name, shown] of Object.entries(clients)) {
          await eventually(`${name} shows packets with ${pattern}`, async () => {
            await send(a, pattern);
            return shown().includes(pattern.repeat(8));
          }, { timeoutMs: 20_000 });
        }
      };
      await seen("a1");
      // A frame to the port that hangs: its thread is replaced, by one without it.
      await denovs.cli("flow-mod", "br0", "in_port(1)", "2,3");
      await send(a, "b2");
      await denovs.cli("flow-mod", "br0", "in_port(1)", "2");
      await eventually(
        "the thread is replaced",
        () => /packet thread \d has been replaced/.test(denovs.log()),
        { timeoutMs: 20_000 },
      );
      const { ports } = await denovs.show();
      assert.deepEqual(ports.map(({ state }) => state), ["up", "up", "up", "failed"]);
      assert.equal(await a.ping("10.0.0.2"), 3);
      await seen("c3");
    }),
);
