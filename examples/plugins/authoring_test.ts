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

for (const block of MODULES) {
  const type = /type: "(\w+)"/.exec(block)?.[1] ?? "?";
  Deno.test({
    name: `plugin-authoring.md: the type ${type} type-checks and keeps the contract`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const folder = await Deno.makeTempDir();
      try {
        const file = `${folder}/${type}.ts`;
        await Deno.writeTextFile(file, block);
        const { compilerOptions } = JSON.parse(
          await Deno.readTextFile(new URL("deno.json", ROOT)),
        );
        const imports = {
          "denovs": new URL("mod.ts", ROOT).href,
          "ipaddr.js": "npm:ipaddr.js@2.5.0",
        };
        const config = `${folder}/deno.json`;
        await Deno.writeTextFile(config, JSON.stringify({ imports, compilerOptions }));
        const { code, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["check", "--quiet", "--no-lock", "--config", config, file],
          env: { NO_COLOR: "1" },
        }).output();
        assert.equal(code, 0, new TextDecoder().decode(stderr));
        const ops = await loadType(file);
        for await (const result of runConformance({ ops, name: "doc0" })) {
          assert.notEqual(result.status, "failed", `${result.name}: ${result.message}`);
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
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
