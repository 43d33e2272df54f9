import assert from "node:assert/strict";
import { executableForm, oldDeno, selfCommand } from "./version.ts";

Deno.test("oldDeno: names the version wanted from 2.8.1 down", () => {
  for (const version of ["2.8.1", "2.4.2", "1.46.3", "2.7.14+abc"]) {
    assert.equal(
      oldDeno(version),
      `needs Deno 2.8.2 or newer: this is ${version} (npm install -g deno)`,
    );
  }
  for (const version of ["2.8.2", "2.9.6", "2.10.0", "3.0.0-rc.1", "2.8.2+abc"]) {
    assert.equal(oldDeno(version), undefined);
  }
});

Deno.test("selfCommand: from the sources it is deno run main.ts", () => {
  assert.equal(executableForm(), "source");
  assert.deepEqual(selfCommand("file:///x/main.ts"), [
    ...[Deno.execPath(), "run", "-A", "file:///x/main.ts"],
  ]);
});
