import assert from "node:assert/strict";
import { CommandError, type Executor, type FlowInfo } from "./api.ts";
import { runDpctl } from "./dpctl_methods.ts";

const FLOW: FlowInfo = {
  ufid: "8a6e0b5c-0000-4b5e-9d7b-0123456789ab",
  flow: "in_port(1),eth()",
  actions: "2",
  packets: 0,
  bytes: 0,
  usedMs: null,
  tcpFlags: 0,
};

const ANSWERS: Readonly<Record<string, unknown>> = {
  "dp-list": { datapaths: [{ name: "dp0", type: "dummy" }] },
  "flow-dump": { flows: [FLOW] },
  "flow-get": { flow: FLOW },
  "flow-mod": { ufid: "", created: false, stats: FLOW },
  "flow-del": { deleted: true, stats: FLOW },
};

async function run(
  command: string,
  ...args: string[]
): Promise<{ text: string; asked: [string, unknown][] }> {
  const asked: [string, unknown][] = [];
  const executor: Executor = {
    execute: (method, params) => {
      asked.push([method, JSON.parse(JSON.stringify(params))]);
      return Promise.resolve((ANSWERS[method] ?? {}) as never);
    },
  };
  const files: Record<string, string> = { "/flows": "in_port(1) 2\n" };
  const text = await runDpctl(command, args, executor, (path) => {
    const content = files[path];
    return content === undefined
      ? Promise.reject(new CommandError("EIO", `cannot read ${path}`))
      : Promise.resolve(content);
  });
  return { text, asked };
}

Deno.test("dpctl/add-if adds several ports as one", async () => {
  const { asked } = await run("add-if", "dp0", "p1", "p2,port_no=4");
  assert.deepEqual(asked, [["batch", {
    requests: [
      { line: 1, method: "port-add", params: { dp: "dp0", port: "p1", options: {} } },
      { line: 2, method: "port-add", params: { dp: "dp0", port: "p2", portNo: 4, options: {} } },
    ],
  }]]);
});

Deno.test("dpctl/dump-dps and dump-flows print as ovs-vswitchd", async () => {
  assert.equal((await run("dump-dps")).text, "dummy@dp0\n");
  assert.equal(
    (await run("dump-flows", "dp0")).text,
    "in_port(1),eth(), packets:0, bytes:0, used:never, actions:2\n",
  );
  const { text, asked } = await run("dump-flows", "-m", "filter=tcp");
  assert.match(text, /^ufid:8a6e/);
  assert.deepEqual(asked, [["flow-dump", { filter: "tcp", names: true, verbose: true }]]);
  assert.equal((await run("dump-flows", "type=tc")).text, "");
});

Deno.test("dpctl flow commands map their options", async () => {
  assert.deepEqual((await run("add-flow", "in_port(1)", "2")).asked, [
    ["flow-add", { flow: "in_port(1)", actions: "2" }],
  ]);
  const mod = await run("mod-flow", "--may-create", "-s", "dp0", "in_port(1)", "2");
  assert.deepEqual(mod.asked, [
    ["flow-mod", { dp: "dp0", flow: "in_port(1)", actions: "2", mayCreate: true, clear: false }],
  ]);
  assert.equal(mod.text, "packets:0, bytes:0, used:never\n");
  assert.equal((await run("del-flow", "dp0", "in_port(1)")).text, "");
  assert.match((await run("get-flow", "dp0", "ufid:1")).text, /^in_port\(1\)/);
});

Deno.test("dpctl/del-flows flushes, or deletes what a file names", async () => {
  assert.deepEqual((await run("del-flows")).asked, [["flow-flush", {}]]);
  assert.deepEqual((await run("del-flows", "dp0")).asked.at(-1), ["flow-flush", { dp: "dp0" }]);
  assert.deepEqual((await run("del-flows", "/flows")).asked.at(-1), [
    "flow-load",
    { text: "delete in_port(1) 2\n" },
  ]);
  assert.deepEqual((await run("mod-flows", "dp0", "/flows")).asked.at(-1), [
    "flow-load",
    { dp: "dp0", text: "modify in_port(1) 2\n" },
  ]);
});

Deno.test("dpctl refuses wrong words as OVS does", async () => {
  await assert.rejects(run("xyzzy"), /unknown command 'dpctl\/xyzzy'/);
  await assert.rejects(run("del-dp"), /'del-dp' command requires at least 1 arguments/);
  await assert.rejects(run("del-dp", "a", "b"), /'del-dp' command takes at most 1 arguments/);
  await assert.rejects(run("show", "--bogus"), /unknown option '--bogus'/);
  await assert.rejects(run("set-if", "dp0", "p1,type=tap"), /type= of a port can't be changed/);
  await assert.rejects(run("add-flows", "-"), /standard input/);
});
