import assert from "node:assert/strict";
import { fragmentFrames } from "./testing/fragments.ts";
import {
  FRAGMENTS_DEFAULT,
  type FragmentSettings,
  fragmentStatus,
  setFragments,
} from "./fragment_control.ts";
import { SwitchBench } from "./testing/switch_bench.ts";

const FLOWS: readonly (readonly [string, string])[] = [
  ["in_port(1),recirc_id(0),eth(),eth_type(0x0800),ipv4()", "ct(zone=1),recirc(1)"],
  ["in_port(1),recirc_id(0),eth(),eth_type(0x86dd),ipv6()", "ct(zone=1),recirc(1)"],
  ["in_port(1),recirc_id(1),ct_state(+inv+trk),ct_zone(1)", "2"],
  ["in_port(1),recirc_id(1),ct_state(-inv+trk)", "3"],
];

/** Ports that each of a packet's fragments comes out of, and the bench. */
function send(
  version: 4 | 6,
  settings: Partial<FragmentSettings>,
  bench: SwitchBench = new SwitchBench(FLOWS),
): { ports: string; bench: SwitchBench } {
  setFragments(bench.conntrackBuffers, { ...FRAGMENTS_DEFAULT, ...settings });
  const out = fragmentFrames(version, [0, 800, 1600], 2000)
    .map((frame) => bench.receive(1, frame).map((text) => text.slice(0, 1)).join("") || "-");
  return { ports: out.join(" "), bench };
}

Deno.test("fragments: put together by default, and counted", () => {
  for (const version of [4, 6] as const) {
    const { ports, bench } = send(version, {});
    assert.equal(ports, "- - 333");
    const status = fragmentStatus(bench.conntrackBuffers);
    const counters = version === 4 ? status.countersIpv4 : status.countersIpv6;
    assert.deepEqual([counters.accepted, counters.completed, status.held], [3, 3, 0]);
    const others = version === 4 ? status.countersIpv6 : status.countersIpv4;
    assert.ok(Object.values(others).every((count) => count === 0));
  }
});

Deno.test("fragments: of a version that is off they go on as invalid, whole or not", () => {
  assert.equal(send(4, { ipv4: false }).ports, "2 2 2");
  assert.equal(send(4, { ipv6: false }).ports, "- - 333");
  const { ports, bench } = send(6, { ipv6: false });
  assert.equal(ports, "2 2 2");
  assert.equal(bench.conntrack.stats().invalid, 3);
});

Deno.test("fragments: too small ones are invalid, but the last may have any size", () => {
  const { ports, bench } = send(4, { sizeMinIpv4: 821 });
  assert.equal(ports, "2 2 -");
  const status = fragmentStatus(bench.conntrackBuffers);
  assert.deepEqual([status.countersIpv4.tooSmall, status.held], [2, 1]);
  assert.equal(send(4, { sizeMinIpv4: 820 }).ports, "- - 333");
  assert.equal(send(6, { sizeMinIpv4: 2000 }).ports, "- - 333");
});

Deno.test("fragments: beyond the limit they are invalid; those that expire make room", () => {
  const { ports, bench } = send(4, { countMax: 2 });
  assert.equal(ports, "- - 2");
  assert.equal(fragmentStatus(bench.conntrackBuffers).held, 2);
  bench.nowMs += 31_000;
  assert.equal(send(4, { countMax: 3 }, bench).ports, "- - 333");
  const status = fragmentStatus(bench.conntrackBuffers);
  assert.deepEqual([status.countersIpv4.expired, status.held], [2, 0]);
});
