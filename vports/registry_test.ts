import assert from "node:assert/strict";
import { dummy } from "./dummy.ts";
import { DuplicateTypeError, VportRegistry } from "./registry.ts";
import type { VportOps } from "./vport.ts";

Deno.test("VportRegistry.register: a duplicate type is an error naming both origins", () => {
  const registry = new VportRegistry();
  registry.register(dummy as VportOps, "built-in");
  assert.throws(
    () => registry.register(dummy as VportOps, "/opt/dummy.ts"),
    (error: Error) =>
      error instanceof DuplicateTypeError && error.message.includes("built-in") &&
      error.message.includes("/opt/dummy.ts") && error.message.includes('"dummy"'),
  );
  assert.equal(registry.entry("dummy")?.origin, "built-in");
  registry.unregister("dummy");
  registry.register(dummy as VportOps, "/opt/dummy.ts", "file:///opt/dummy.ts?v=1");
  registry.register(dummy as VportOps, "/opt/dummy.ts", "file:///opt/dummy.ts?v=2");
  assert.equal(registry.entry("dummy")?.url, "file:///opt/dummy.ts?v=2");
  assert.throws(
    () => registry.register(dummy as VportOps, "/opt/other.ts", "file:///opt/other.ts?v=1"),
    /from \/opt\/other\.ts: \/opt\/dummy\.ts has registered it already/,
  );
});

Deno.test("VportRegistry.list: types come in order of registration", () => {
  const registry = new VportRegistry();
  registry.register({ ...dummy, type: "b" } as VportOps, "x");
  registry.register({ ...dummy, type: "a" } as VportOps, "y");
  assert.deepEqual(registry.names(), ["b", "a"]);
  assert.deepEqual(registry.list().map(({ origin }) => origin), ["x", "y"]);
  assert.equal(registry.get("c"), undefined);
});
