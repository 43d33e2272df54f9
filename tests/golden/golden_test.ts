/**
 * Runs every text case of this folder. `deno test -A tests/golden/ -- --update` writes what the
 * commands print now into the cases; read the difference before you keep it.
 */
import assert from "node:assert/strict";
import { runCase, splitWords } from "./script.ts";

const FOLDER = new URL(".", import.meta.url).pathname;
const isUpdate = Deno.args.includes("--update");

for (const name of [...Deno.readDirSync(FOLDER)].map((entry) => entry.name).toSorted()) {
  if (!name.endsWith(".txt")) continue;
  Deno.test({
    name: `golden: ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn(): Promise<void> {
      const wanted = Deno.readTextFileSync(FOLDER + name);
      const got = await runCase(wanted);
      if (isUpdate) Deno.writeTextFileSync(FOLDER + name, got);
      else assert.equal(got, wanted);
    },
  });
}

Deno.test("splitWords: quotes as in a shell", () => {
  assert.deepEqual(splitWords(`a "b c" 'd "e"' f'g h'i`), ["a", "b c", 'd "e"', "fg hi"]);
});
