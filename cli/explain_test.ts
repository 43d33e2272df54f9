import assert from "node:assert/strict";
import { DROP_REASONS } from "../datapath/drop_reasons.ts";
import { runCli } from "./testing.ts";

Deno.test("explain lists all reasons, explains one, and asks nobody", async () => {
  const all = await runCli(["explain"]);
  assert.equal(all.printed.trimEnd().split("\n").length, DROP_REASONS.length - 1);
  const one = await runCli(["explain", "over-mtu"]);
  assert.match(
    one.printed,
    /^over-mtu: larger than .*\n\nLikely causes\n {2}A.*\n\nWhat to do\n {2}G/s,
  );
  assert.ok(one.printed.split("\n").every((line) => line.length <= 80));
  assert.deepEqual([...all.asked, ...one.asked], []);
  const { reasons } = JSON.parse((await runCli(["explain", "meter", "--json"])).printed);
  assert.deepEqual(Object.keys(reasons[0]), ["reason", "meaning", "causes", "advice"]);
});

Deno.test("explain says which reason may have been meant", async () => {
  const { status, noted } = await runCli(["explain", "overmtu"]);
  assert.equal(status, 1);
  assert.equal(
    noted,
    'denovs: explain: unknown drop reason "overmtu": did you mean over-mtu?\n',
  );
});

Deno.test("dp-show --drops asks for the ports' counters", async () => {
  const { asked } = await runCli(["dp-show", "br0", "--drops"]);
  assert.deepEqual(asked, [{ method: "dp-show", params: { dps: ["br0"], statistics: true } }]);
});

Deno.test("explain proposes the reasons", async () => {
  const { printed } = await runCli(["__complete", "explain", "over"]);
  assert.match(printed, /^over-mtu/m);
});
