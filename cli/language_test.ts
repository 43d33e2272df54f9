import assert from "node:assert/strict";
import { runCli } from "./testing.ts";

const FLOW = "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/8,proto=6),tcp(dst=80)";
const CANONICAL =
  "in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0,proto=6),tcp(dst=80)";

Deno.test("flow-parse prints canonical text, JSON and netlink attributes", async () => {
  const { printed, status } = await runCli(["flow-parse", FLOW, "2,3"]);
  assert.equal(status, 0);
  const lines = printed.trimEnd().split("\n");
  assert.deepEqual(lines.slice(0, 2), [`flow: ${CANONICAL}`, "actions: 2,3"]);
  assert.equal(
    lines[2],
    'json: {"in_port":1,"eth_type":2048,"ipv4":{"dst":{"value":"10.0.0.0",' +
      '"mask":"255.0.0.0"},"proto":6},"tcp":{"dst":80}}',
  );
  assert.equal(lines[3], 'json actions: [{"type":"output","port":2},{"type":"output","port":3}]');
  assert.match(lines[4]!, /^netlink \(kernel\) key: [0-9a-f]+$/);
  // Two OVS_ACTION_ATTR_OUTPUT (1), 8 bytes each, host order.
  assert.equal(
    lines.at(-1),
    "netlink (kernel) actions: 08000100020000000800010003000000",
  );
});

Deno.test("flow-parse reads its own JSON and netlink attributes back", async () => {
  const first = JSON.parse((await runCli(["flow-parse", FLOW, "2", "--json"])).printed);
  const json = await runCli([
    "flow-parse",
    JSON.stringify(first.key),
    JSON.stringify(first.actionList),
    "--json",
  ]);
  assert.deepEqual(JSON.parse(json.printed), first);
  const { key, mask, actions } = first.netlink;
  const netlink = await runCli(["flow-parse", `nl:${key}/${mask}`, `nl:${actions}`, "--json"]);
  assert.deepEqual(JSON.parse(netlink.printed), first);
});

Deno.test("flow-parse --explain says every field and action in words", async () => {
  const { printed } = await runCli([
    "flow-parse",
    "--explain",
    FLOW,
    "push_vlan(vid=5,pcp=0),clone(2,drop)",
  ]);
  assert.match(printed, /^ {2}in_port 1 +port that the packet came from$/m);
  assert.match(printed, /^ {2}ipv4 dst 10\.0\.0\.0\/255\.0\.0\.0 +destination address, as far as/m);
  assert.match(printed, /^push_vlan\(vid=5,pcp=0\): /m);
  assert.match(printed, /^clone: .*\n {2}actions:\n {4}2: .*\n {4}drop: /m);
});

Deno.test("flow-parse takes names of ports from a datapath", async () => {
  const port = { name: "eth1", portNo: 4, type: "netdev", options: {}, mac: null, reason: null };
  const answers = { "port-list": { ports: [{ ...port, state: "up" }] } } as const;
  const { printed, asked } = await runCli(
    ["flow-parse", "in_port(eth1)", "eth1", "--dp", "br0", "--json"],
    answers,
  );
  assert.deepEqual(asked[0], { method: "port-list", params: { dp: "br0" } });
  const { flow, actions, key } = JSON.parse(printed);
  assert.deepEqual([flow, actions, key.in_port], ["in_port(eth1),eth()", "eth1", 4]);
});

Deno.test("flow-parse shows where a flow is wrong", async () => {
  const { status, noted } = await runCli(["flow-parse", "in_port(1),tcp(dst=80)"]);
  assert.equal(status, 1);
  assert.match(noted, /tcp\(\) needs eth_type\(0x0800\),ipv4\(proto=6\)/);
  assert.match(noted, /\n {2}in_port\(1\),tcp\(dst=80\)\n {13}\^/);
  const actions = await runCli(["flow-parse", "in_port(1)", "nonsense"]);
  assert.equal(actions.status, 1);
  assert.match(actions.noted, /unknown action "nonsense"/);
  const json = await runCli(["flow-parse", '{"in_port":', "1"]);
  assert.match(json.noted, /the flow is no JSON/);
  assert.equal((await runCli(["flow-parse", "nl:0"])).status, 1);
});

Deno.test("packet-make makes what packet-parse shows", async () => {
  const flow = "in_port(3),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
    "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=53)";
  const made = await runCli(["packet-make", flow, "--len", "100"]);
  assert.equal(made.status, 0);
  assert.equal(made.printed.length, 201);
  const parsed = await runCli(["packet-parse", made.printed.trim(), "--in-port", "3", "--json"]);
  const { packets } = JSON.parse(parsed.printed);
  assert.equal(packets.length, 1);
  assert.deepEqual(packets[0].size, 100);
  assert.equal(packets[0].flow, `recirc_id(0),${flow}`);
  assert.equal(packets[0].key.udp.dst, 53);
});

Deno.test("packet-parse takes blanks, colons and several frames; refuses what is no hexadecimal", async () => {
  const { printed } = await runCli([
    "packet-parse",
    "ff:ff:ff:ff:ff:ff 02:00:00:00:00:01 0806",
    "0x020000000002 020000000001 88cc 00",
  ]);
  const lines = printed.trimEnd().split("\n");
  assert.equal(lines.length, 2);
  assert.match(lines[1]!, /eth_type\(0x88cc\)$/);
  const odd = await runCli(["packet-parse", "fff"]);
  assert.equal(odd.status, 1);
  assert.match(odd.noted, /it has 3 digits/);
  assert.match((await runCli(["packet-parse", "zz"])).noted, /"z" is no hexadecimal digit/);
  assert.equal((await runCli(["packet-parse"])).status, 2);
});

Deno.test("packet-make --pcap and packet-parse --pcap", async () => {
  const path = await Deno.makeTempFile();
  try {
    await runCli(["packet-make", "eth_type(0x0806),arp(op=1,tip=10.0.0.9)", "--pcap", path]);
    const { printed } = await runCli(["packet-parse", "--pcap", path]);
    assert.match(printed, /eth_type\(0x0806\),arp\(.*tip=10\.0\.0\.9,op=1/);
    await Deno.writeTextFile(path, "no capture");
    const bad = await runCli(["packet-parse", "--pcap", path]);
    assert.equal(bad.status, 1);
    assert.match(bad.noted, /pcap/);
  } finally {
    await Deno.remove(path);
  }
});
