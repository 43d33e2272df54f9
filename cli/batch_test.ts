import assert from "node:assert/strict";
import { CommandError } from "../daemon/api.ts";
import { parseBatch, splitLine } from "./batch.ts";
import { runCli } from "./testing.ts";

/** The error that `text` is refused with. */
async function refusal(text: string): Promise<CommandError> {
  try {
    await parseBatch(text);
  } catch (error) {
    assert.ok(error instanceof CommandError);
    return error;
  }
  throw new Error("not refused");
}

Deno.test("splitLine follows the shell's quotes and leaves parentheses alone", () => {
  assert.deepEqual(splitLine(` flow-add  br0 in_port(1),eth() 2 # x`, 1), [
    ...["flow-add", "br0", "in_port(1),eth()", "2"],
  ]);
  assert.deepEqual(splitLine(`a 'b c' "d \\" e" f\\ g ''`, 1), ["a", "b c", 'd " e', "f g", ""]);
  assert.deepEqual(splitLine("# all comment", 1), []);
  assert.deepEqual(splitLine("\t\r", 1), []);
  assert.deepEqual(splitLine("a#b", 1), ["a#b"]);
  assert.throws(() => splitLine("a 'b", 7), {
    message: "the quotation mark ' is not closed",
    line: 7,
  });
});

Deno.test("parseBatch makes requests with their line numbers", async () => {
  const text = `# a network
dp-add br0 --miss learn

add-if br0 eth1 eth2,port_no=7   # both on this line
flow-add br0 in_port(1), eth_type(0x0800) push_vlan(vid=5,pcp=0), 2
"flow-del" 'in_port(1)' --if-exists
flow-flush br0
`;
  assert.deepEqual(JSON.parse(JSON.stringify(await parseBatch(text))), [
    { line: 2, method: "dp-add", params: { dp: "br0", miss: "learn" } },
    { line: 4, method: "port-add", params: { dp: "br0", port: "eth1", options: {} } },
    { line: 4, method: "port-add", params: { dp: "br0", port: "eth2", portNo: 7, options: {} } },
    {
      line: 5,
      method: "flow-add",
      params: {
        dp: "br0",
        flow: "in_port(1),eth_type(0x0800)",
        actions: "push_vlan(vid=5,pcp=0),2",
      },
    },
    { line: 6, method: "flow-del", params: { flow: "in_port(1)", ifExists: true } },
    { line: 7, method: "flow-flush", params: { dp: "br0" } },
  ]);
});

Deno.test("parseBatch takes settings of connection tracking, and meters", async () => {
  const text = "ct-limit-set br0 zone=5,limit=1\nct-maxconns br0 9\nct-set tcp-seq-chk=off\n" +
    "ct-timeout-set br0 quick icmp=5\nct-timeout-del br0 quick\nmeter-del br0 1\n";
  assert.deepEqual((await parseBatch(text)).map(({ method }) => method), [
    ...["ct-limit-set", "ct-maxconns-set", "ct-set", "ct-timeout-set", "ct-timeout-del"],
    "meter-del",
  ]);
  for (const line of ["ct-dump br0", "ct-flush br0", "ct-show", "ct-get-nconns"]) {
    await assert.rejects(parseBatch(line), /cannot stand in a batch/);
  }
});

Deno.test("parseBatch names the first faulty line", async () => {
  const cases: [string, number, RegExp][] = [
    ["dp-add br0\n\ndp-ad br1\nxyzzy\n", 3, /^unknown command "dp-ad"/],
    ["flow-add br0\n", 1, /^flow-add: a FLOW is missing/],
    ["dp-add br0 --flows-max x\n", 1, /"x" is not a number of flows/],
    ["dp-add --miss=\n", 1, /^dp-add: --miss needs a value$/],
    ["dp-list\n", 1, /^dp-list: cannot stand in a batch/],
    ["run\n", 1, /^run: cannot stand in a batch/],
    ["batch x\n", 1, /^batch: cannot stand in a batch/],
    ["stop\n", 1, /^stop: cannot stand in a batch/],
    ["version\n", 1, /^version: cannot stand in a batch/],
    ["flow-load br0 x\n", 1, /^flow-load: cannot stand in a batch/],
    ["dp-add --help\n", 1, /^help cannot stand in a batch/],
    ["dp-add br0 --socket /x\n", 1, /--socket cannot stand in a line/],
    ["dp-add 'br0\n", 1, /quotation mark/],
  ];
  for (const [text, line, message] of cases) {
    const error = await refusal(text);
    assert.equal(error.line, line, text);
    assert.match(error.message, message);
  }
});

Deno.test("batch sends one request, and tells the line that the daemon refuses", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, "dp-add br0\nport-add br0 eth1\n");
    const outcome = await runCli(["batch", path]);
    assert.equal(outcome.status, 0, outcome.noted);
    assert.equal(outcome.asked.length, 1);
    assert.equal(outcome.asked[0]!.method, "batch");
    const error = new CommandError("ENODEV", 'there is no device "eth1"', { line: 2 });
    const refused = await runCli(["batch", path], { "batch": error });
    assert.equal(refused.status, 1);
    assert.equal(refused.noted, 'denovs: batch: line 2: there is no device "eth1"\n');
    await Deno.writeTextFile(path, "dp-add br0\nport-ad br0 eth1\n");
    const broken = await runCli(["batch", path]);
    assert.equal(
      broken.noted,
      'denovs: batch: line 2: unknown command "port-ad": did you mean port-add?\n',
    );
    assert.deepEqual(broken.asked, []);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("parseBatch takes 10,000 lines in seconds", async () => {
  const lines = Array.from(
    { length: 10_000 },
    (_, at) => `flow-add br0 in_port(${at % 100}),eth(src=00:00:00:00:00:01) ${at % 50}`,
  );
  const before = performance.now();
  assert.equal((await parseBatch(lines.join("\n"))).length, 10_000);
  assert.ok(performance.now() - before < 20_000);
});
