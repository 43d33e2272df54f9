import assert from "node:assert/strict";
import type { PacketTrace } from "../daemon/api.ts";
import { renderCaptured } from "./capture.ts";
import { runCli } from "./testing.ts";
import { toDot } from "./trace/graph.ts";
import { toSvg } from "./trace/picture.ts";

const TRACE: PacketTrace = {
  inPort: 1,
  port: "p1",
  passes: [{
    recircId: 0,
    size: 14,
    packet: "00".repeat(14),
    key: "in_port(1)",
    flow: { ufid: "0-0", flow: 'in_port(1),eth(),"', actions: "2" },
    steps: [{
      action: "2",
      bytes: [],
      fields: [],
      outputs: [{ portNo: 2, port: "p2", size: 14, packet: "00".repeat(14) }],
      drops: [],
    }],
    outputs: [],
    drops: [],
  }],
  outputs: [{ portNo: 2, port: "p2", size: 14, packet: "00".repeat(14) }],
  drops: [],
  upcalls: 0,
};
const ANSWER = { trace: { traces: [TRACE] } };

Deno.test("trace: words become a request", async () => {
  const cases: [string[], Record<string, unknown>][] = [
    [["br0", "in_port(1)"], { dp: "br0", flow: "in_port(1)" }],
    [["in_port(1)", "--len", "90"], { flow: "in_port(1)", size: 90 }],
    [["br0", "--packet", "00:11", "--in-port", "p1"], {
      dp: "br0",
      packets: [{ bytes: "0011" }],
      inPort: "p1",
    }],
    [["in_port(3),skb_mark(1)", "--packet", "0011", "--samples", "taken", "--names"], {
      flow: "in_port(3),skb_mark(1)",
      packets: [{ bytes: "0011" }],
      samples: "taken",
      names: true,
    }],
  ];
  for (const [words, params] of cases) {
    const { asked, status, noted } = await runCli(["trace", ...words], ANSWER);
    assert.equal(status, 0, noted);
    assert.deepEqual(asked, [{ method: "trace", params }]);
  }
});

Deno.test("trace: text, JSON and graph", async () => {
  const text = (await runCli(["trace", "in_port(1)"], ANSWER)).printed;
  assert.match(text, /^packet from port 1 \(p1\)\n/);
  assert.match(
    text,
    /\n {2}-> 2\n {7}to port 2 \(p2\): 14 bytes\nreached: port 2 \(p2\): 14 bytes\n$/,
  );
  const json = (await runCli(["trace", "in_port(1)", "--json"], ANSWER)).printed;
  assert.deepEqual(JSON.parse(json), ANSWER.trace);
  const dot = (await runCli(["trace", "in_port(1)", "--dot"], ANSWER)).printed;
  assert.equal(dot, toDot([TRACE]));
  assert.match(dot, /label="flow\\nin_port\(1\),eth\(\),\\""/);
});

Deno.test("trace: what lies behind a port is told in text and graph", async () => {
  const output = { portNo: 2, port: "p2", size: 14, packet: "00".repeat(14) };
  const outer = {
    from: null,
    to: "192.0.2.2",
    protocol: "udp" as const,
    port: 4789,
    key: 7,
    tos: 0x20,
    ttl: 64,
    flags: ["df"],
    mark: 9,
    header: "0800000000000700",
    size: 50,
  };
  const { passes: [pass] } = TRACE;
  const last = { ...pass!, steps: [], outputs: [{ ...output, outer }] };
  const next = { ...TRACE, dp: "br1", passes: [last] };
  const first = { ...pass!, steps: [], outputs: [{ ...output, next }] };
  const answer = { trace: { traces: [{ ...TRACE, passes: [first] }] } };
  const { printed } = await runCli(["trace", "in_port(1)"], answer);
  assert.match(
    printed,
    /\n {4}to port 2 \(p2\): 14 bytes\n {6}packet from port 1 \(p1\) of datapath br1\n/,
  );
  const sent =
    "sent as (no route) -> 192.0.2.2, udp port 4789, key 7, ttl 64, tos 0x20, mark 9, df, " +
    "header 0800000000000700, 50 bytes";
  assert(printed.includes(sent), printed);
  const dot = toDot(answer.trace.traces);
  assert.match(dot, /of datapath br1/);
  assert.match(dot, /\(no route\) -> 192\.0\.2\.2, key 7/);
});

Deno.test("toSvg: a picture of a graph", async () => {
  const svg = await toSvg(toDot([TRACE]));
  assert.match(svg, /<svg [\s\S]*port 2 \(p2\)[\s\S]*<\/svg>/);
});

Deno.test("trace, trace-live, capture: what is no command line", async () => {
  const cases: [string[], RegExp][] = [
    [["trace"], /a FLOW, --packet or --pcap is wanted/],
    [["trace", "br0"], /a FLOW, --packet or --pcap is wanted/],
    [["trace", "br0", "in_port(1)", "x"], /unexpected "x"/],
    [["trace", "--packet", "00", "--pcap", "x"], /either --packet or --pcap/],
    [["trace", "in_port(1)", "--json", "--dot"], /only one of --json, --dot and --svg/],
    [["trace", "--packet", "00", "--len", "5"], /--len is for a packet made of FLOW/],
    [["trace", "in_port(1)", "--len", "x"], /"x" is not a number of bytes/],
    [["trace-live", "br0", "tcp", "x"], /unexpected "x"/],
    [["trace-live", "-n", "0"], /"0" is not a number of packets/],
    [["capture"], /a DP and a PORT/],
    [["capture", "br0"], /a DP and a PORT/],
    [["capture", "br0", "--drops", "--direction", "in"], /--direction is for a PORT/],
    [["capture", "br0", "p1", "tcp", "x"], /unexpected "x"/],
  ];
  for (const [words, wanted] of cases) {
    const { noted, status, asked } = await runCli(words, ANSWER);
    assert.match(noted, wanted);
    assert.equal(status, 2, words.join(" "));
    assert.deepEqual(asked, []);
  }
});

Deno.test("capture: a line for each packet", () => {
  const captured = {
    event: "drop" as const,
    time: 1_700_000_000.5,
    portNo: 3,
    port: "p3",
    reason: "port-down",
    meaning: "",
    packet: "0200000000020200000000010806",
    length: 60,
    lost: 0,
  };
  const line = renderCaptured(captured);
  assert.match(
    line,
    /^22:13:20\.500 drop port 3 \(p3\) port-down length:60 recirc_id\(0\),in_port\(3\)/,
  );
  const { reason: _reason, meaning: _meaning, ...others } = captured;
  const sample = renderCaptured({ ...others, event: "sample", group: 7, cookie: "beef" });
  assert.match(sample, /^22:13:20\.500 sample port 3 \(p3\) group:7 cookie:0xbeef length:60 /);
});
