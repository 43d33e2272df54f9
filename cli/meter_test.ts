import assert from "node:assert/strict";
import { runCli } from "./testing.ts";

async function request(...words: string[]): Promise<unknown> {
  const { status, noted, asked } = await runCli(words);
  assert.equal(status, 0, noted);
  return asked[0];
}

Deno.test("meter-add and meter-mod take a meter in one word or in many, with a datapath or without", async () => {
  const text = "meter=1,pps,bands=type=drop,rate=5";
  for (const verb of ["meter-add", "meter-mod"]) {
    for (const dp of [undefined, "br0"]) {
      const words = dp === undefined ? [verb] : [verb, dp];
      const params = dp === undefined ? {} : { dp };
      assert.deepEqual(await request(...words, text), {
        method: verb,
        params: { ...params, meter: text },
      });
      assert.deepEqual(await request(...words, ...text.split(",")), {
        method: verb,
        params: { ...params, meter: text.replaceAll(",", " ") },
      });
    }
  }
  assert.deepEqual(await request("meter-add", "br0", text, "--may-exist"), {
    method: "meter-add",
    params: { dp: "br0", meter: text, mayExist: true },
  });
  const { status, noted } = await runCli(["meter-add", "br0"]);
  assert.equal(status, 2);
  assert.match(noted, /the meter is missing/);
});

Deno.test("meter-del and meter-show take a number, meter=N or all", async () => {
  const features = { metersMax: 1, bandsMax: 1, bandTypes: [], capabilities: [] };
  const cases: readonly (readonly [string[], object])[] = [
    [["meter-del", "1"], { meter: 1 }],
    [["meter-del", "br0", "meter=0x10"], { dp: "br0", meter: 16 }],
    [["meter-del", "br0", "all"], { dp: "br0" }],
    [["meter-del", "br0", "1", "--if-exists"], { dp: "br0", meter: 1, ifExists: true }],
    [["meter-show"], {}],
    [["meter-show", "br0"], { dp: "br0" }],
    [["meter-show", "7"], { meter: 7 }],
    [["meter-show", "br0", "7"], { dp: "br0", meter: 7 }],
    [["meter-show", "br0", "all"], { dp: "br0" }],
  ];
  for (const [words, params] of cases) {
    const { asked } = await runCli([...words, "--json"], {
      "meter-show": { features, meters: [] },
    });
    assert.deepEqual(asked[0], { method: words[0], params }, words.join(" "));
  }
  const { status, noted } = await runCli(["meter-del", "br0", "-5"]);
  assert.notEqual(status, 0, noted);
  assert.match((await runCli(["meter-del", "br0", "one"])).noted, /"one" is no meter/);
});
