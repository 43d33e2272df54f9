import assert from "node:assert/strict";
import { CommandError, type FlowInfo } from "../daemon/api.ts";
import { normalize } from "./main.ts";
import { runCli } from "./testing.ts";

/** What `words` asks of the daemon, when it is one request. */
async function request(...words: string[]): Promise<unknown> {
  const outcome = await runCli(words);
  assert.equal(outcome.status, 0, outcome.noted);
  assert.equal(outcome.asked.length, 1);
  return outcome.asked[0];
}

const FLOW: FlowInfo = {
  ufid: "8a6e0b5c-0000-4b5e-9d7b-0123456789ab",
  flow: "in_port(1),eth()",
  flowVerbose: "skb_mark(0/0),in_port(1),eth()",
  actions: "2",
  packets: 3,
  bytes: 294,
  usedMs: 120,
  tcpFlags: 0,
};

Deno.test("dp-add maps its options", async () => {
  assert.deepEqual(await request("dp-add", "br0"), { method: "dp-add", params: { dp: "br0" } });
  assert.deepEqual(
    await request("dp-add", "netdev@br0", "--miss", "learn", "--flows-max=500", "--may-exist"),
    {
      method: "dp-add",
      params: { dp: "netdev@br0", miss: "learn", flowsMax: 500, mayExist: true },
    },
  );
});

Deno.test("dp-add --type is another spelling of TYPE@", async () => {
  for (const words of [["system@k0"], ["--type", "system", "k0"], ["system@k0", "--type=system"]]) {
    const wanted = { method: "dp-add", params: { dp: "system@k0" } };
    assert.deepEqual(await request("dp-add", ...words), wanted);
  }
  const { status, noted } = await runCli(["dp-add", "dummy@k0", "--type", "system"]);
  assert.equal(status, 2);
  assert.match(noted, /dummy@k0 and --type system contradict each other/);
});

Deno.test("dp-set --masks-cache takes a number", async () => {
  assert.deepEqual(await request("dp-set", "system@k0", "--masks-cache", "512"), {
    method: "dp-set",
    params: { dp: "system@k0", masksCacheSize: 512 },
  });
  const { status, noted } = await runCli(["dp-set", "system@k0", "--masks-cache", "many"]);
  assert.equal(status, 2);
  assert.match(noted, /"many" is not a size of a cache/);
});

Deno.test("flow-save takes a system datapath for one without looking", async () => {
  const { asked } = await runCli(["flow-save", "system@k0"]);
  assert.deepEqual(asked.map(({ method }) => method), ["flow-dump"]);
});

Deno.test("add-dp with interfaces is one batch", async () => {
  assert.deepEqual(await request("add-dp", "br0", "eth1", "v0,type=internal,port_no=5"), {
    method: "batch",
    params: {
      requests: [
        { line: 1, method: "dp-add", params: { dp: "br0" } },
        { line: 2, method: "port-add", params: { dp: "br0", port: "eth1", options: {} } },
        {
          line: 3,
          method: "port-add",
          params: { dp: "br0", port: "v0", type: "internal", portNo: 5, options: {} },
        },
      ],
    },
  });
});

Deno.test("port-add takes all spellings of options", async () => {
  const wanted = {
    method: "port-add",
    params: { dp: "br0", port: "v0", type: "internal", portNo: 5, options: { a: "1", b: "x=y" } },
  };
  for (
    const words of [
      ["port-add", "br0", "v0", "--type", "internal", "--port-no", "5", "a=1", "b=x=y"],
      ["port-add", "br0", "v0", "type=internal", "port_no=5", "a=1", "b=x=y"],
      ["add-if", "br0", "v0,type=internal,port_no=0x5,a=1,b=x=y"],
      ["port-add", "--type=internal", "--port-no=5", "br0", "v0,a=1", "b=x=y"],
    ]
  ) assert.deepEqual(await request(...words), wanted);
});

Deno.test("port-add without a datapath names one port", async () => {
  assert.deepEqual(await request("port-add", "eth1"), {
    method: "port-add",
    params: { port: "eth1", options: {} },
  });
  assert.deepEqual(await request("port-add", "eth1", "host=share", "--may-exist"), {
    method: "port-add",
    params: { port: "eth1", options: { host: "share" }, mayExist: true },
  });
});

Deno.test("port-del takes names and numbers", async () => {
  assert.deepEqual(await request("port-del", "eth1", "--if-exists"), {
    method: "port-del",
    params: { port: "eth1", ifExists: true },
  });
  assert.deepEqual(await request("del-if", "br0", "5"), {
    method: "port-del",
    params: { dp: "br0", port: "5" },
  });
});

Deno.test("flow-add takes quoted and unquoted flows", async () => {
  const flow = "in_port(1),eth_type(0x0800),ipv4()";
  const wanted = { method: "flow-add", params: { dp: "br0", flow, actions: "set(x),2" } };
  assert.deepEqual(await request("flow-add", "br0", flow, "set(x),2"), wanted);
  assert.deepEqual(
    await request("flow-add", "br0", "in_port(1)", "eth_type(0x0800)", "ipv4()", "set(x)", "2"),
    wanted,
  );
  assert.deepEqual(await request("add-flow", "in_port(1)", "drop"), {
    method: "flow-add",
    params: { flow: "in_port(1)", actions: "drop" },
  });
});

Deno.test("flow-mod and flow-del print statistics with -s", async () => {
  const mod = await runCli(["mod-flow", "in_port(1)", "3", "--may-create", "--clear", "-s"]);
  assert.deepEqual(mod.asked[0]!.params, {
    flow: "in_port(1)",
    actions: "3",
    mayCreate: true,
    clear: true,
  });
  assert.equal(mod.printed, "packets:3, bytes:294, used:1.500s, flags:S.\n");
  const del = await runCli(["del-flow", "br0", "ufid:12", "-s"]);
  assert.deepEqual(del.asked[0]!.params, { dp: "br0", flow: "ufid:12" });
  assert.equal(del.printed, "packets:3, bytes:294, used:1.500s, flags:S.\n");
  assert.equal((await runCli(["flow-del", "in_port(1)"])).printed, "");
});

Deno.test("flow-dump passes filter and names, and leaves out other types", async () => {
  const answers = { "flow-dump": { flows: [FLOW] } };
  const plain = await runCli(["flow-dump"], answers);
  assert.deepEqual(plain.asked[0]!.params, { names: false, verbose: false });
  assert.equal(
    plain.printed,
    "in_port(1),eth(), packets:3, bytes:294, used:0.120s, actions:2\n",
  );
  const more = await runCli(["dump-flows", "-m", "br0", "filter=tcp"], answers);
  assert.deepEqual(more.asked[0]!.params, { dp: "br0", filter: "tcp", names: true, verbose: true });
  assert.equal(
    more.printed,
    "ufid:8a6e0b5c-0000-4b5e-9d7b-0123456789ab, skb_mark(0/0),in_port(1),eth(), packets:3, " +
      "bytes:294, used:0.120s, dp:ovs, actions:2\n",
  );
  const leading = await runCli(["-m", "--no-names", "dump-flows", "type=offloaded"], answers);
  assert.deepEqual(leading.asked[0]!.params, { names: false, verbose: true });
  assert.equal(leading.printed, "");
});

Deno.test("--json prints the result itself", async () => {
  const outcome = await runCli(["flow-dump", "--json"], { "flow-dump": { flows: [FLOW] } });
  assert.deepEqual(JSON.parse(outcome.printed), { flows: [FLOW] });
});

Deno.test("edits without a daemon say so", async () => {
  const edit = await runCli(["dp-add", "br0"], {}, true);
  assert.equal(edit.noted, "denovs: saved; no daemon is running\n");
  assert.equal(edit.status, 0);
  assert.equal((await runCli(["dp-add", "br0", "--may-exist"])).noted, "");
});

Deno.test("flow-save writes what flow-load reads", async () => {
  const path = await Deno.makeTempFile();
  try {
    await runCli(["flow-save", "br0", path], { "flow-dump": { flows: [FLOW] } });
    const load = await runCli(["flow-load", "br0", path, "--replace"]);
    assert.deepEqual(load.asked[0]!.params, {
      dp: "br0",
      text: "# Flows of br0, saved by denovs flow-save\nadd in_port(1),eth() 2\n",
      replace: true,
    });
    const mod = await runCli(["mod-flows", path]);
    assert.match(JSON.stringify(mod.asked[0]!.params), /\\nadd in_port/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("flow-save and del-flows take one word for the datapath if there is one", async () => {
  const save = await runCli(["flow-save", "br0"], { "flow-dump": { flows: [FLOW] } });
  assert.deepEqual(save.asked.at(-1)!.params, { dp: "br0", givenUfids: true });
  assert.match(save.printed, /^add in_port\(1\),eth\(\) 2$/m);
  const flush = await runCli(["del-flows", "netdev@br0"]);
  assert.deepEqual(flush.asked.at(-1), {
    method: "flow-flush",
    params: { dp: "netdev@br0" },
  });
  const missing = await runCli(["del-flows", "no-such-file"]);
  assert.equal(
    missing.noted,
    "denovs: del-flows: cannot read no-such-file: there is no such file\n",
  );
});

Deno.test("refusals are one line and status 1", async () => {
  const error = new CommandError("EEXIST", 'there is a datapath "br0" already');
  const outcome = await runCli(["dp-add", "br0"], { "dp-add": error });
  assert.equal(outcome.status, 1);
  assert.equal(outcome.noted, 'denovs: dp-add: there is a datapath "br0" already\n');
});

Deno.test("syntax errors show the place with a caret", async () => {
  const error = new CommandError("ESYNTAX", "column 4: unknown field", {
    caret: "in_prt(1)\n   ^",
    line: 7,
  });
  const outcome = await runCli(["flow-add", "in_prt(1)", "2"], { "flow-add": error });
  assert.equal(
    outcome.noted,
    "denovs: flow-add: line 7: column 4: unknown field\n  in_prt(1)\n     ^\n",
  );
});

Deno.test("what was written at length is not repeated at length", async () => {
  const long = "x".repeat(100_000);
  const error = new CommandError("ESYNTAX", `no port is named "${long}"`, { caret: `${long}\n^` });
  const { noted } = await runCli(["flow-add", "in_port(x)", "2"], { "flow-add": error });
  assert.ok(noted.length < 3000);
  assert.match(noted, /x… \(100019 characters\)\n$/);
});

Deno.test("usage errors have status 2 and name what is allowed", async () => {
  const cases: [string[], RegExp][] = [
    [["dp-ad"], /^denovs: unknown command "dp-ad": did you mean dp-add\?\n$/],
    [["dump-flow"], /did you mean dump-flows\?/],
    [["xyzzy"], /^denovs: unknown command "xyzzy" \(denovs help lists them all\)\n$/],
    [["dp-add", "br0", "--miss", "x"], /--miss: "x" is not allowed \(drop, flood, learn\)/],
    [["dp-list", "--jsn"], /unknown option --jsn: did you mean --json\?/],
    [["dp-list", "extra"], /unexpected "extra"/],
    [["flow-add", "br0"], /^denovs: flow-add: a FLOW is missing/],
    [["flow-add", "in_port(1)"], /^denovs: flow-add: ACTIONS are missing/],
    [
      ["port-add", "br0", "eth0", "--port-no", "70000"],
      /"70000" is not allowed \(1 … 65534; 0: the lowest free one\)/,
    ],
    [["port-add", "br0", "eth0,port_no=x"], /"x" is not allowed \(1 … 65534; 0: /],
    [["port-add", "br0", "a", "b", "--port-no", "3"], /--port-no is for one port/],
    [["dp-set", "br0"], /nothing to set/],
    [["flow-dump", "type=hw"], /unknown flow type "hw" \(all, ovs/],
    [["run", "--threads", "0"], /"0" is not a number of threads \(1 … 16\)/],
    [["--json"], /a command is missing/],
    [["dp-add", "--foo="], /^denovs: dp-add: --foo needs a value \(see/],
    [["dp-list", "--state", ""], /--state: the path is empty/],
  ];
  for (const [words, wanted] of cases) {
    const outcome = await runCli(words);
    assert.match(outcome.noted, wanted);
    assert.equal(outcome.status, 2, words.join(" "));
    assert.deepEqual(outcome.asked, []);
    assert.equal(outcome.noted.trimEnd().split("\n").length, 1);
  }
});

Deno.test("port-set: options, portids, several ports; set-if is the same", async () => {
  const port = { dp: "br0", port: "eth1" };
  const cases: [string[], unknown][] = [
    [["port-set", "br0", "eth1", "a=1", "b="], { ...port, options: { a: "1", b: "" } }],
    [["port-set", "eth1", "upcall=1:2"], { port: "eth1", portids: [1, 2] }],
    [["port-set", "br0", "eth1", "upcall="], { ...port, portids: [] }],
    [["set-if", "br0", "eth1,a=1,upcall=0"], { ...port, options: { a: "1" }, portids: [0] }],
  ];
  for (const [words, params] of cases) {
    assert.deepEqual((await runCli(words)).asked, [{ method: "port-set", params }]);
  }
  const both = await runCli(["port-set", "br0", "eth1", "a=1", "eth2", "upcall=7"]);
  assert.deepEqual(both.asked.map(({ method }) => method), ["batch"]);
  const faults: [string[], RegExp][] = [
    [["port-set", "br0", "eth1"], /nothing to set of port "eth1"/],
    [["port-set", "br0", "eth1", "type=tap"], /type= of a port can't be changed/],
    [["port-set", "br0", "eth1", "port_no=3"], /port_no= of a port can't be changed/],
    [["port-set", "br0", "eth1", "upcall=x"], /"x" is not a portid/],
  ];
  for (const [words, wanted] of faults) {
    const outcome = await runCli(words);
    assert.match(outcome.noted, wanted);
    assert.equal(outcome.status, 2);
    assert.deepEqual(outcome.asked, []);
  }
});

Deno.test("help: overview, one command, and the words around it", async () => {
  assert.equal(normalize([]), undefined);
  assert.equal(normalize(["--help"]), undefined);
  assert.deepEqual(normalize(["help", "dp-add"]), ["dp-add", "--help"]);
  assert.deepEqual(normalize(["--socket", "/s", "-m", "flow-dump", "br0"]), [
    ...["flow-dump", "--socket", "/s", "-m", "br0"],
  ]);
  assert.deepEqual(normalize(["--version"]), ["version"]);
  const outcome = await runCli(["help", "flow-add"]);
  assert.equal(outcome.status, 0);
  assert.match(outcome.printed, /EXAMPLES\n {2}denovs flow-add br0/);
  assert.match((await runCli([])).printed, /^denovs: a software switch/);
});

Deno.test("version says which form of executable runs", async () => {
  const outcome = await runCli(["version", "--json"]);
  assert.equal(JSON.parse(outcome.printed).form, "source");
  assert.deepEqual(outcome.asked, []);
});

Deno.test("completions propose commands, options and live names", async () => {
  const lines = async (...words: string[]): Promise<string[]> => {
    const { printed } = await runCli(["__complete", "--", ...words], {
      "port-list": {
        ports: [{
          portNo: 1,
          name: "eth1",
          type: "netdev",
          options: {},
          mac: null,
          state: "up",
          reason: null,
        }],
      },
    });
    return printed.split("\n").filter((line) => line !== "").map((line) => line.split("\t")[0]!);
  };
  assert.deepEqual(await lines("dp-"), ["dp-add", "dp-del", "dp-list", "dp-show", "dp-set"]);
  assert.deepEqual(await lines("add-f"), ["add-flow"]);
  assert.deepEqual(await lines("flow-flush", ""), ["br0", "dp1"]);
  assert.deepEqual(await lines("flow-flush", "--s"), ["--socket", "--state"]);
  assert.deepEqual(await lines("flow-dump", "-m", "--socket", "/s", ""), ["br0", "dp1"]);
  assert.deepEqual(await lines("port-del", "br0", "e"), ["eth1"]);
  assert.deepEqual(await lines("dp-add", "br0", "--miss", ""), ["drop", "flood", "learn"]);
  assert.ok(!(await lines("")).includes("add-dp"));
});
