import assert from "node:assert/strict";
import {
  formatFlowInfo,
  formatStats,
  formatTcpFlags,
  renderFlowFile,
  renderFlows,
} from "./flows.ts";

const FLOW = {
  ufid: "8a6e0b5c-0000-4b5e-9d7b-0123456789ab",
  flow: "in_port(1),eth(),eth_type(0x0800),ipv4(proto=6,frag=no)",
  flowVerbose: "in_port(1),eth(src=00:00:00:00:00:00/00:00:00:00:00:00),eth_type(0x0800)",
  actions: "push_vlan(vid=5,pcp=0),2",
  packets: 12,
  bytes: 3456,
  usedMs: 1234,
  tcpFlags: 0x1b,
};

Deno.test("formatTcpFlags: letters in the order of OVS", () => {
  assert.equal(formatTcpFlags(0), "none");
  assert.equal(formatTcpFlags(0x02), "S");
  assert.equal(formatTcpFlags(0x12), "S.");
  assert.equal(formatTcpFlags(0x1ff), "SFPRU.ECN");
  assert.equal(formatTcpFlags(0xe00), "[200][400][800]");
});

Deno.test("formatStats: never, milliseconds, flags", () => {
  const stats = { packets: 0, bytes: 0, usedMs: null, tcpFlags: 0 };
  assert.equal(formatStats(stats), "packets:0, bytes:0, used:never");
  assert.equal(formatStats({ ...stats, usedMs: 5 }), "packets:0, bytes:0, used:0.005s");
  assert.equal(formatStats(FLOW), "packets:12, bytes:3456, used:1.234s, flags:SFP.");
});

Deno.test("formatFlowInfo: the shape of dump-flows, and of -m", () => {
  assert.equal(
    formatFlowInfo(FLOW),
    "in_port(1),eth(),eth_type(0x0800),ipv4(proto=6,frag=no), packets:12, bytes:3456, " +
      "used:1.234s, flags:SFP., actions:push_vlan(vid=5,pcp=0),2",
  );
  assert.equal(
    formatFlowInfo(FLOW, { more: true }),
    "ufid:8a6e0b5c-0000-4b5e-9d7b-0123456789ab, " +
      "in_port(1),eth(src=00:00:00:00:00:00/00:00:00:00:00:00),eth_type(0x0800), packets:12, " +
      "bytes:3456, used:1.234s, flags:SFP., dp:ovs, actions:push_vlan(vid=5,pcp=0),2",
  );
});

Deno.test("renderFlows and renderFlowFile: a line for each flow", () => {
  assert.equal(renderFlows([]), "");
  assert.equal(renderFlows([FLOW, FLOW]).split("\n").length, 3);
  assert.equal(renderFlowFile("x", [FLOW]), `# x\nadd ${FLOW.flow} ${FLOW.actions}\n`);
  assert.equal(
    renderFlowFile("x", [{ ...FLOW, givenUfid: true }]),
    `# x\nadd ufid:${FLOW.ufid},${FLOW.flow} ${FLOW.actions}\n`,
  );
});
