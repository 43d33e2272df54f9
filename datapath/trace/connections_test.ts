import assert from "node:assert/strict";
import { Accounts } from "../accounting.ts";
import { encodeActions } from "../actions/action_program.ts";
import { makeConntrackBuffers } from "../conntrack/layout.ts";
import { Table } from "../conntrack/table.ts";
import { setDefaultTimeouts } from "../conntrack/timeouts.ts";
import { DATAPATH_BLOCK_LENGTH, makePortBlocks } from "../counters.ts";
import { CtActions } from "../actions/ct_actions.ts";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import { Outputs } from "../output.ts";
import type { Packet } from "../packet/packet.ts";
import { makeFrame, packetOf } from "../testing/frames.ts";
import { TestHost } from "../testing/ports.ts";
import { parseActions } from "../text/action_text.ts";
import { copyConnections, type makePrivateTracker, PrivateTracker } from "./connections.ts";

const NOW_MS = 1_700_000_000_000;
const PORT_BLOCKS = new BigUint64Array(makePortBlocks());

type Buffers = ReturnType<typeof makePrivateTracker>;

/** Runs one ct action; the packet as it is then. */
function track(buffers: Buffers, packet: Packet, action: string): Packet {
  const accounts = new Accounts(new BigUint64Array(DATAPATH_BLOCK_LENGTH), PORT_BLOCKS);
  const host = new Outputs(new TestHost(), accounts, () => 7);
  const ct = new CtActions({ buffers, thread: 0, wallOffsetMs: 0, random: () => 7, accounts });
  ct.setNow(NOW_MS);
  extractKey(packet, new Int32Array(KEY_WORDS), 0);
  const words = encodeActions(parseActions(action));
  const tracked = ct.run(host, packet, words, 0, false);
  assert.ok(tracked, `dropped: ${ct.reason}`);
  return tracked;
}

function live(): Buffers {
  const buffers = makeConntrackBuffers({ threads: 1, seed: new Uint8Array(16).fill(9) });
  setDefaultTimeouts(buffers);
  return buffers;
}

function copyOf(from: Buffers, nowMs = NOW_MS, tracker = new PrivateTracker()): Buffers {
  const to = tracker.empty();
  for (const _ of copyConnections(from, to, { nowMs, addresses: new Set() }));
  return to;
}

const COMMIT = "ct(commit,zone=5,mark=7/0xff)";
const EST = 0x02;
const REPLY = 0x08;

/** The same frame the other way. */
function reply(bytes: Uint8Array, isIpv6: boolean): Uint8Array {
  const turned = bytes.slice();
  const [at, size] = isIpv6 ? [22, 16] : [26, 4];
  turned.copyWithin(at, at + size, at + 2 * size);
  turned.set(bytes.subarray(at, at + size), at + size);
  const l4 = at + 2 * size;
  turned.set([...bytes.subarray(l4 + 2, l4 + 4), ...bytes.subarray(l4, l4 + 2)], l4);
  return turned;
}

for (const isIpv6 of [false, true]) {
  Deno.test(`copyConnections: an ${isIpv6 ? "IPv6" : "IPv4"} connection is known in the copy, which changes alone`, () => {
    const { bytes } = makeFrame({ isIpv6, protocol: "udp" });
    const from = live();
    track(from, packetOf(bytes), COMMIT);
    const tracker = new PrivateTracker();
    const to = copyOf(from, NOW_MS, tracker);
    const before = new Int32Array(from.records).slice(0, 4096);
    const answer = track(to, packetOf(reply(bytes, isIpv6)), "ct(zone=5)");
    assert.equal(answer.ctState & (EST | REPLY), EST | REPLY);
    assert.equal(answer.wide!.view.getUint32(0), 7, "the mark");
    const other = makeFrame({ isIpv6, protocol: "tcp", tcpFlags: 2 }).bytes;
    track(to, packetOf(other), COMMIT);
    assert.equal(new Table(to).count, 2);
    assert.equal(new Table(from).count, 1);
    assert.equal(new Table(tracker.empty()).count, 0);
    track(to, packetOf(other), COMMIT);
    assert.equal(new Table(to).count, 1);
    assert.deepEqual(new Int32Array(from.records).slice(0, 4096), before);
  });
}

Deno.test("copyConnections: what has expired is left out; limits and policies come along", () => {
  const from = live();
  track(from, packetOf(makeFrame({ protocol: "udp" }).bytes), COMMIT);
  new Int32Array(from.policies)[3] = 77;
  assert.equal(new Table(copyOf(from, NOW_MS + 10 * 86_400_000)).count, 0);
  assert.equal(new Int32Array(copyOf(from).policies)[3], 77);
});
