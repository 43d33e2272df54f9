/**
 * docs/plugin-authoring.md: every TypeScript block that is a module type-checks, loads and keeps the
 * contract; every other one stands in an example, word for word.
 */
import assert from "node:assert/strict";
import { runConformance } from "../../vports/conformance.ts";
import { loadType } from "../../vports/loader.ts";

const ROOT = new URL("../../", import.meta.url);
const FOLDER = new URL("./", import.meta.url);

function blocks(): string[] {
  const text = Deno.readTextFileSync(new URL("docs/plugin-authoring.md", ROOT));
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => match[1]!);
}

const MODULES = blocks().filter((block) => block.includes("export default"));
const QUOTES = blocks().filter((block) => !block.includes("export default"));

Deno.test("plugin-authoring.md: there are modules and quotations to look at", () => {
  assert(MODULES.length >= 3 && QUOTES.length >= 2);
});

/** Writes the modules into a folder with the configuration that plugin-new writes, by their types. */
async function withModules(
  work: (files: ReadonlyMap<string, string>) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const files = new Map<string, string>();
    for (const block of MODULES) {
      const type = typeOf(block);
      files.set(type, `${folder}/${type}.ts`);
      await Deno.writeTextFile(`${folder}/${type}.ts`, block);
    }
    const { compilerOptions } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
    const imports = {
      "denovs": new URL("mod.ts", ROOT).href,
      "ipaddr.js": "npm:ipaddr.js@2.5.0",
    };
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ imports, compilerOptions }));
    await work(files);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function typeOf(block: string): string {
  return /type: "(\w+)"/.exec(block)?.[1] ?? "?";
}

Deno.test("plugin-authoring.md: its modules type-check", () =>
  withModules(async (files) => {
    const [first] = files.values();
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["check", "--quiet", "--no-lock"],
        ...["--config", first!.replace(/[^/]*$/, "deno.json"), ...files.values()],
      ],
      env: { NO_COLOR: "1" },
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
  }));

for (const block of MODULES) {
  const type = typeOf(block);
  Deno.test({
    name: `plugin-authoring.md: the type ${type} keeps the contract`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () =>
      withModules(async (files) => {
        const ops = await loadType(files.get(type)!);
        const options: Record<string, string> = block.includes("remote: api.options.form.end()")
          ? { remote: "127.0.0.1:15011" }
          : {};
        for await (const result of runConformance({ ops, name: "doc0", options })) {
          assert.notEqual(result.status, "failed", `${result.name}: ${result.message}`);
        }
      }),
  });
}

Deno.test("plugin-authoring.md: what it quotes from the examples stands there", () => {
  const sources = [...Deno.readDirSync(FOLDER)].filter(({ name }) => name.endsWith(".ts"))
    .map(({ name }) => squeeze(Deno.readTextFileSync(new URL(name, FOLDER))));
  for (const quote of QUOTES) {
    assert(sources.some((source) => source.includes(squeeze(quote))), quote);
  }
});

function squeeze(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}
