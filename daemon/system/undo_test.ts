import assert from "node:assert/strict";
import { CommandError } from "../api.ts";
import { Undo } from "./undo.ts";

Deno.test("Undo.rollback: takes back what was done, last first, and keeps the error", () => {
  const undo = new Undo();
  const seen: string[] = [];
  undo.done(() => seen.push("first"));
  undo.done(() => seen.push("second"));
  const error = new CommandError("EEXIST", "it exists", { line: 3 });
  assert.equal(undo.rollback(error), error);
  assert.deepEqual(seen, ["second", "first"]);
  undo.rollback(error);
  assert.equal(seen.length, 2);
});

Deno.test("Undo.rollback: says what could not be taken back, and goes on", () => {
  const undo = new Undo();
  let first = false;
  undo.done(() => first = true);
  undo.done(() => {
    throw new Error("the device is busy");
  });
  const error = undo.rollback(new CommandError("EINVAL", "no such thing", { line: 7 }));
  assert.deepEqual([error.code, error.line, first], ["EINVAL", 7, true]);
  assert.equal(
    error.message,
    "no such thing; 1 earlier change(s) could not be taken back: the device is busy",
  );
});
