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

Deno.test("flow-parse keeps attributes that it does not know, in every form", async () => {
  const netlink = "0600c80001020000080003000100000010000400000000000000000000000000";
  const mask = "0600c8000102000008000300ffffffff10000400000000000000000000000000";
  const first = JSON.parse(
    (await runCli(["flow-parse", `nl:${netlink}/${mask}`, "--json"])).printed,
  );
  assert.equal(first.flow, "in_port(1),eth(),key200(01 02/01 02)");
  assert.match(first.netlink.key, /0600c80001020000/);
  assert.match(first.netlink.mask, /0600c80001020000/);
  for (const again of [first.flow, JSON.stringify(first.key)]) {
    const { printed } = await runCli(["flow-parse", again, "--json"]);
    assert.deepEqual(JSON.parse(printed), first);
  }
});

Deno.test("flow-parse reads the netlink attributes that only userspace has, without --dialect", async () => {
  for (
    const [flow, actions] of [
      ["packet_type(ns=1,id=0x800)", "lb_output(1)"],
      ["tunnel(tun_id=1,dst=192.0.2.1,gtpu(flags=1)),in_port(1)", "1"],
    ] as const
  ) {
    const first = JSON.parse((await runCli(["flow-parse", flow, actions, "--json"])).printed);
    assert.equal(first.netlink.dialect, "userspace");
    const { key, mask, actions: list } = first.netlink;
    const again = await runCli(["flow-parse", `nl:${key}/${mask}`, `nl:${list}`, "--json"]);
    assert.deepEqual(JSON.parse(again.printed), first);
  }
});

Deno.test("flow-parse --explain knows packet_type", async () => {
  const { printed } = await runCli(["flow-parse", "--explain", "packet_type(ns=1,id=0x800)"]);
  assert.match(printed, /^ {2}packet_type ns 1 +packets without an Ethernet header$/m);
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

Deno.test("packet-make takes what a frame does not say, and flows that leave NSH's type open", async () => {
  const flow = "tunnel(tun_id=1),ct_mark(5),in_port(3),eth_type(0x894f),nsh(c2=0x7)";
  const { printed } = await runCli(["packet-make", flow]);
  const parsed = await runCli(["packet-parse", printed.trim()]);
  assert.match(parsed.printed, /nsh\(.*mdtype=1,.*c2=0x7,/);
});

Deno.test("packet-make picks a protocol where IPv6 leaves it open", async () => {
  const inner = ["ipv6(frag=later)", "ipv6(frag=first)", "ipv6_exthdrs(0)", "ipv6_exthdrs(nonext)"];
  for (const flow of inner) {
    const { status, noted } = await runCli(["packet-make", `eth_type(0x86dd),${flow}`]);
    assert.equal(status, 0, `${flow}: ${noted}`);
  }
});

Deno.test("packet-make refuses what no packet has", async () => {
  for (const flow of ["ipv6(proto=44)", "ipv6(proto=6,frag=later)"]) {
    const { status, noted } = await runCli(["packet-make", `eth_type(0x86dd),${flow}`]);
    assert.equal(status, 1, flow);
    assert.match(noted, /no packet has this key: one with these headers is .*ipv6\(/);
  }
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
