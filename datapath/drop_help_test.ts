import assert from "node:assert/strict";
import { DROP_HELP } from "./drop_help.ts";
import { DROP_REASONS } from "./drop_reasons.ts";

Deno.test("DROP_HELP has every reason, and no other", () => {
  const names = DROP_REASONS.map(([name]) => name).filter((name) => name !== "none");
  assert.deepEqual(Object.keys(DROP_HELP).sort(), names.sort());
});

Deno.test("DROP_HELP is written in whole sentences", () => {
  for (const [name, { causes, advice }] of Object.entries(DROP_HELP)) {
    for (const text of [causes, advice]) assert.match(text, /^[A-Z`].*[.)]$/, name);
  }
});
