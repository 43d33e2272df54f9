import assert from "node:assert/strict";
import { checkPluginFile, loadPlugin } from "./loader.ts";
import { pluginApi } from "./plugin_api.ts";
import { PluginError } from "./shape.ts";
import type { VportOps } from "./vport.ts";

const EXAMPLE = new URL("../examples/plugins/udp.ts", import.meta.url).pathname;

const BODY = `{
  apiVersion: 1, type: "probe", summary: "for tests", headroom: 0,
  parseOptions: () => ({}), formatOptions: () => new Map(),
  create: () => { throw new Error("not in this test"); },
}`;

/** Loads a module of this text, as a file of its own. */
async function load(
  text: string,
  options: { mode?: number; name?: string } = {},
): Promise<VportOps> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/${options.name ?? "probe.ts"}`;
    await Deno.writeTextFile(path, text);
    await Deno.chmod(path, options.mode ?? 0o644);
    return await loadPlugin(await checkPluginFile(path), pluginApi);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function refusal(
  text: string,
  options: { mode?: number; name?: string } = {},
): Promise<string> {
  try {
    await load(text, options);
  } catch (error) {
    assert(error instanceof PluginError, String(error));
    return error.message;
  }
  throw new Error("it was loaded");
}

Deno.test("loadPlugin: an object and a function from the API both make a type", async () => {
  assert.equal((await load(`export default ${BODY};`)).type, "probe");
  const text = `import type { PluginApi } from "./nowhere.ts";
    export default function (api: PluginApi) { return { ...${BODY}, summary: String(api.apiVersion) }; }`;
  assert.equal((await load(text)).summary, "1");
});

Deno.test("loadPlugin: TypeScript that has to be transformed loads", async () => {
  assert.equal(
    (await load(`enum E { A = "probe" } export default { ...${BODY}, type: E.A };`)).type,
    "probe",
  );
});

Deno.test("loadPlugin: a changed file is a new module", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/probe.js`;
  const summaries: string[] = [];
  for (const [at, summary] of ["one", "two"].entries()) {
    await Deno.writeTextFile(path, `export default { ...${BODY}, summary: "${summary}" };`);
    await Deno.utime(path, 1000 + at, 1000 + at);
    await Deno.chmod(path, 0o600);
    summaries.push((await loadPlugin(await checkPluginFile(path), pluginApi)).summary);
  }
  await Deno.remove(folder, { recursive: true });
  assert.deepEqual(summaries, ["one", "two"]);
});

Deno.test("loadPlugin: paths with spaces, ?, # and % load", async () => {
  assert.equal((await load(`export default ${BODY};`, { name: "a b?c#d%41é.ts" })).type, "probe");
});

Deno.test("loadPlugin: what is no vport type is refused with the reason", async () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ["export const x = 1;", /no default export/],
    ["export default 7;", /is a number/],
    [`export default { ...${BODY}, apiVersion: 2 };`, /apiVersion is 2, this denovs has 1/],
    [`export default { ...${BODY}, type: "Big" };`, /type is "Big"/],
    [`export default { ...${BODY}, headroom: 4096 };`, /headroom is 4096 \(allowed: 0 to 192/],
    [`export default { ...${BODY}, create: undefined };`, /no function create/],
    [`export default () => { throw new Error("no licence"); };`, /threw Error: no licence/],
    ["export default function ( {", /SyntaxError|expected|Expected/i],
    [`throw new Error("top level");`, /top level/],
  ];
  for (const [text, wanted] of cases) {
    const message = await refusal(text);
    assert.match(message, wanted);
    assert.match(message, /^Cannot load plug-in \/.*probe\.ts: /);
    assert.doesNotMatch(message, /\?v=|TypeError: SyntaxError/);
  }
});

Deno.test("checkPluginFile: files that others may write, folders and other names are refused", async () => {
  assert.match(await refusal("", { mode: 0o664 }), /its mode is 0664: others may write it/);
  assert.match(await refusal("", { mode: 0o602 }), /its mode is 0602/);
  assert.match(await refusal("", { name: "probe.txt" }), /must end in one of \.ts/);
  await assert.rejects(
    checkPluginFile("/nowhere/x.ts"),
    /\/nowhere\/x\.ts: there is no such file$/,
  );
  await assert.rejects(checkPluginFile("/tmp"), /not a regular file/);
});

Deno.test({
  name: `checkPluginFile: another user's file is refused${Deno.uid() === 0 ? "" : " [needs root]"}`,
  ignore: Deno.uid() !== 0,
  fn: async () => {
    const path = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.chown(path, 1234, null);
    await assert.rejects(
      checkPluginFile(path),
      /belongs to uid 1234 \(must belong to root or to uid 0/,
    );
    await Deno.remove(path);
  },
});

Deno.test("examples/plugins/udp.ts: options round trip, and bad ones are refused by name", async () => {
  // A clone made under umask 002 is group-writable: the copy is not.
  const copy = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.copyFile(EXAMPLE, copy);
  await Deno.chmod(copy, 0o644);
  const ops = await loadPlugin(await checkPluginFile(copy), pluginApi);
  await Deno.remove(copy);
  const roundTrip = (raw: Record<string, string>): Record<string, string> =>
    Object.fromEntries(ops.formatOptions(ops.parseOptions(new Map(Object.entries(raw)))));
  const full = { remote: "[2001:db8::1]:5001", local: "[::1]:5002", segment: "0" };
  assert.deepEqual(roundTrip(full), full);
  assert.deepEqual(roundTrip({ remote: "192.0.2.1:7" }), { remote: "192.0.2.1:7" });
  assert.deepEqual(roundTrip({ remote: "192.0.2.1:7", local: "0.0.0.0:5000" }), {
    remote: "192.0.2.1:7",
  });
  for (
    const [raw, wanted] of [
      [{}, /remote is missing/],
      [{ remote: "x" }, /remote must be an address and a port.*it is "x"/],
      [{ remote: "1.2.3.4:70000" }, /remote must be/],
      [
        { remote: "1.2.3.4:1", segment: "x" },
        /segment must be a whole number from 0 to 4294967295: it is "x"/,
      ],
      [{ remote: "1.2.3.4:1", local: "[::1]:1" }, /local must have an address of the same family/],
      [
        { remote: "1.2.3.4:1", color: "red" },
        /Unknown option color=red \(options of this type: remote,/,
      ],
    ] as readonly [Record<string, string>, RegExp][]
  ) {
    assert.throws(() => ops.parseOptions(new Map(Object.entries(raw))), wanted);
  }
});
