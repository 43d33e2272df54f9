import assert from "node:assert/strict";
import { OptionError } from "../errors.ts";
import { EXPIRES, POLICIES_MAX, RECORD_WORDS } from "./layout.ts";
import { ACK, Lab, makePacket, plan } from "./testing/packets.ts";
import {
  allTimeouts,
  isPolicyName,
  parseTimeouts,
  setTimeoutPolicy,
  TIMEOUT_MAX,
  TimeoutPolicies,
} from "./timeouts.ts";

const UDP = { src: "10.0.0.1", dst: "10.0.0.2", protocol: 17 };
/** The plans of the laboratory give every named policy the number 1. */
const SHORT = plan({ commit: true, timeout: "short" });

Deno.test("timeouts: a named policy counts for its connections", () => {
  const lab = new Lab();
  setTimeoutPolicy(lab.buffers, 1, { udp_first: 5 });
  lab.run(makePacket(UDP), SHORT);
  lab.run(makePacket({ ...UDP, sport: 2 }), plan({ commit: true }));
  lab.pass(6000);
  assert.equal(lab.state(makePacket(UDP), plan()), "new+trk");
  lab.run(makePacket({ ...UDP, sport: 2, flags: ACK }), plan());
  assert.equal(lab.ct.record !== 0, true);
  assert.throws(() => setTimeoutPolicy(lab.buffers, 1, { udp_first: 0 }), RangeError);
});

/** Milliseconds that a connection opened now lives. */
function lifetime(lab: Lab, words: Int32Array, sport: number): number {
  lab.run(makePacket({ ...UDP, sport }), words);
  const { record } = lab.ct;
  assert.notEqual(record, 0);
  const from = lab.nowMs;
  while (lab.tracker.table.lockLive(record)) {
    const isOver =
      ((lab.tracker.table.records[record * RECORD_WORDS + EXPIRES]! - lab.nowMs) | 0) <= 0;
    lab.tracker.table.unlockRecord(record);
    if (isOver) break;
    lab.pass(500);
  }
  return lab.nowMs - from;
}

Deno.test("TimeoutPolicies: a policy may be named before it is there, and after", () => {
  const lab = new Lab();
  const policies = new TimeoutPolicies(lab.buffers);
  policies.set({});
  assert.equal(policies.numberOf("default"), 0);
  assert.equal(policies.numberOf("short"), 1);
  assert.equal(policies.numberOf("other"), 2);
  assert.equal(policies.numberOf("short"), 1);
  assert.equal(lifetime(lab, SHORT, 1), 30_000);
  policies.set({ short: { udp_first: 5 }, default: { udp_first: 20 } });
  assert.equal(lifetime(lab, SHORT, 2), 5000);
  assert.equal(lifetime(lab, plan({ commit: true }), 3), 20_000);
  // What it doesn't say, it has of the default.
  policies.set({ short: { icmp: 5 }, default: { udp_first: 20 } });
  assert.equal(lifetime(lab, SHORT, 4), 20_000);
  policies.set({});
  assert.equal(lifetime(lab, SHORT, 5), 30_000);
  assert.throws(() => policies.set({ short: { icmp: TIMEOUT_MAX + 1 } }), RangeError);
});

Deno.test("TimeoutPolicies: names beyond the last number are the default", () => {
  const lab = new Lab();
  const policies = new TimeoutPolicies(lab.buffers);
  const numbers = Array.from({ length: POLICIES_MAX + 1 }, (_, at) => policies.numberOf(`p${at}`));
  assert.deepEqual(numbers.slice(0, 2), [1, 2]);
  assert.deepEqual(numbers.slice(-3), [POLICIES_MAX - 1, 0, 0]);
});

Deno.test("parseTimeouts: names of ours and of Open vSwitch, whole seconds", () => {
  assert.deepEqual(parseTimeouts({ tcp_close: 3, udp_single: 4, icmp_first: 5, icmp_reply: 6 }), {
    tcp_close: 3,
    udp_first: 4,
    icmp: 5,
    icmpv6: 5,
  });
  assert.throws(
    () => parseTimeouts({ tcp_open: 1 }),
    /unknown timeout "tcp_open" \(known: tcp_syn/,
  );
  for (const value of [0, -1, 1.5, NaN, TIMEOUT_MAX + 1]) {
    assert.throws(() => parseTimeouts({ icmp: value }), OptionError);
  }
});

Deno.test("allTimeouts, isPolicyName", () => {
  const all = allTimeouts({ icmp: 1 }, { icmp: 2, generic: 3 });
  assert.deepEqual([all.icmp, all.generic, all.tcp_established], [1, 3, 432_000]);
  assert.deepEqual(["a", "ovs_tp_0", "a".repeat(31)].map(isPolicyName), [true, true, true]);
  assert.deepEqual(["", "a b", "a,b", "a(b)", "a=b", "x@y", "a".repeat(32)].map(isPolicyName), [
    ...Array.from({ length: 7 }, () => false),
  ]);
});
