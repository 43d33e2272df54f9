/** `deno task demo`, as a newcomer runs it. */
import assert from "node:assert/strict";
import { IS_ROOT, rootTest } from "./lab.ts";
import { eventually, run, signalTo, spawn } from "./process.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const DEMO = [Deno.execPath(), "run", "-A", "--no-check", "--quiet", `${ROOT}tools/demo.ts`];

async function namespaces(prefix: string): Promise<string[]> {
  const { stdout } = await run(["ip", "netns", "list"]);
  return stdout.split("\n").map((line) => line.split(" ")[0] ?? "").filter((name) =>
    name.startsWith(prefix)
  );
}

rootTest("demo: shows the main job, in words, and says so by its exit status", async () => {
  const done = await run(DEMO, { timeoutMs: 90_000 });
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stdout, /0 of 3 pings answered[^]*3 of 3 pings answered[^]*0 of 3[^]*3 of 3/);
  assert.match(done.stdout, /[\d.]+ Gbit\/s/);
  assert.match(done.stdout, /in_port\(1\),eth\(\), packets:\d+, bytes:\d+/);
});

rootTest("demo: Ctrl-C leaves no namespace and no process behind", async () => {
  const before = new Set(await namespaces("dnv-"));
  const demo = spawn(DEMO);
  const right = await eventually(
    "the demo has made its hosts",
    async () =>
      (await namespaces("dnv-")).find((name) => name.endsWith("-right") && !before.has(name)),
  );
  const prefix = right.slice(0, -"right".length);
  await new Promise((wake) => setTimeout(wake, 1500)); // somewhere in the middle
  signalTo(demo, "SIGINT");
  const { code } = await demo.status;
  assert.notEqual(code, 0);
  assert.deepEqual(await namespaces(prefix), []);
  await eventually(
    "no process is left",
    async () => (await run(["pgrep", "-f", prefix])).stdout === "",
  );
  const files = [...Deno.readDirSync("/tmp")].map(({ name }) => name);
  assert.deepEqual(files.filter((name) => name.startsWith(prefix)), []);
});

/** Words that make a command an ordinary user's. */
const UNPRIVILEGED = IS_ROOT ? ["setpriv", "--reuid=65534", "--clear-groups"] : [];

/** Whether such a user may run this Deno and read this folder; in root's home he may not. */
function canDropRoot(): boolean {
  if (!IS_ROOT) return true;
  const probe = [
    ...UNPRIVILEGED,
    Deno.execPath(),
    "eval",
    `Deno.readTextFileSync("${ROOT}deno.json")`,
  ];
  try {
    return new Deno.Command("setpriv", { args: probe.slice(1), stderr: "null" }).outputSync()
      .success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "demo: without root it says what is missing",
  ignore: !canDropRoot(),
  async fn(): Promise<void> {
    const env = { HOME: "/nonexistent", DENO_DIR: Deno.makeTempDirSync({ prefix: "dnv-deno-" }) };
    Deno.chmodSync(env.DENO_DIR, 0o777);
    try {
      const done = await run([...UNPRIVILEGED, ...DEMO], { env });
      assert.equal(done.code, 1, done.stdout);
      assert.match(done.stderr, /needs root/);
      assert.equal(done.stdout, "");
    } finally {
      Deno.removeSync(env.DENO_DIR, { recursive: true });
    }
  },
});
