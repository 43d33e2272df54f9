import assert from "node:assert/strict";
import { COMMAND_NAMES, DPCTL_ALIASES } from "../cli/commands.ts";
import { COMMAND_GROUPS, DPCTL_ONLY } from "../cli/help.ts";
import { renderCliReference } from "./docs.ts";

Deno.test("docs/cli.md is what deno task docs writes", async () => {
  const path = new URL("../docs/cli.md", import.meta.url);
  assert.equal(await Deno.readTextFile(path), await renderCliReference(), "run: deno task docs");
});

Deno.test("the overview and the reference have every command", () => {
  const shown = [...COMMAND_GROUPS.flatMap(([, names]) => names), ...DPCTL_ONLY, "__complete"];
  assert.deepEqual(shown.toSorted(), COMMAND_NAMES.toSorted());
  for (const ours of Object.values(DPCTL_ALIASES)) assert.ok(COMMAND_NAMES.includes(ours), ours);
});
