import assert from "node:assert/strict";
import { CAPTURE_EVENTS, type CaptureHooks, CaptureTap, readCaptured } from "./capture_tap.ts";
import { dropReason } from "../drop_reasons.ts";
import { ObserverSet } from "../observer_set.ts";
import { makeFrame, packetOf } from "../testing/frames.ts";
import { runActions } from "../testing/run_actions.ts";
import { parseActions } from "../text/action_text.ts";
import { parseFlow } from "../text/flow_text.ts";
import { makeUpcallRing, UpcallConsumer } from "../upcall_ring.ts";

const ALL: CaptureHooks = {
  events: CAPTURE_EVENTS,
  portNo: undefined,
  filter: undefined,
  keep: 65535,
};

function tapWith(hooks: Partial<CaptureHooks>): {
  tap: CaptureTap;
  ring: UpcallConsumer;
  lost: Int32Array;
} {
  const memory = makeUpcallRing();
  const lost = new SharedArrayBuffer(4);
  const wallUs = (): number => 1_700_000_000_123_456;
  const tap = new CaptureTap({ hooks: { ...ALL, ...hooks }, ring: memory, lost, wallUs });
  return { tap, ring: new UpcallConsumer(memory), lost: new Int32Array(lost) };
}

function taken(ring: UpcallConsumer): string[] {
  const events: string[] = [];
  for (let raw = ring.take(); raw !== undefined; raw = ring.take()) {
    const { event, portNo, reason } = readCaptured(raw);
    events.push(`${event} ${portNo} ${reason}`);
  }
  return events;
}

Deno.test("CaptureTap: each hook, with its port, reason, time and bytes", () => {
  const { tap, ring } = tapWith({});
  const { bytes } = makeFrame();
  const packet = packetOf(bytes, { inPort: 3 });
  assert.equal(tap.received(packet), false);
  const { wallUs, bytes: copy, fullSize, l3EthType } = readCaptured(ring.take()!);
  assert.deepEqual([wallUs, copy, fullSize, l3EthType], [
    1_700_000_000_123_456,
    new Uint8Array(bytes),
    bytes.length,
    undefined,
  ]);
  tap.sent(packet, 65534);
  tap.dropped(packet, dropReason("port-down"), 3);
  tap.dropped(undefined, dropReason("rx-truncated"), 3);
  tap.upcalled(packet);
  assert.deepEqual(taken(ring), ["out 65534 0", `drop 3 ${dropReason("port-down")}`, "upcall 3 0"]);
});

Deno.test("CaptureTap: hooks, port, filter and size", () => {
  const { bytes } = makeFrame();
  const packet = packetOf(bytes, { inPort: 3 });
  const only = tapWith({ events: ["in"], portNo: 3 });
  only.tap.received(packet);
  only.tap.sent(packet, 3);
  only.tap.received(packetOf(bytes, { inPort: 4 }));
  assert.deepEqual(taken(only.ring), ["in 3 0"]);
  const filtered = tapWith({ filter: parseFlow("in_port(4)"), keep: 20 });
  filtered.tap.received(packet);
  filtered.tap.received(packetOf(bytes, { inPort: 4 }));
  assert.equal(readCaptured(filtered.ring.take()!).bytes.length, 20);
  assert.equal(filtered.ring.take(), undefined);
});

Deno.test("CaptureTap: samples with group and cookie, cut where trunc says", () => {
  const { tap, ring } = tapWith({ events: ["sample"] });
  const list = "psample(group=7,cookie=0x00112233445566778899aabbccddeeff),trunc(20)," +
    "psample(group=4294967295),2";
  const packet = packetOf(makeFrame().bytes, { inPort: 3 });
  runActions(packet, parseActions(list), { observer: tap, inPort: 3 });
  const samples: unknown[] = [];
  for (let raw = ring.take(); raw !== undefined; raw = ring.take()) {
    const { event, portNo, sample, bytes, fullSize } = readCaptured(raw);
    samples.push([event, portNo, sample, bytes.length, fullSize]);
  }
  const size = makeFrame().bytes.length;
  assert.deepEqual(samples, [
    ["sample", 3, { group: 7, cookie: "00112233445566778899aabbccddeeff" }, size, size],
    ["sample", 3, { group: 0xffff_ffff, cookie: undefined }, 20, size],
  ]);
});

Deno.test("CaptureTap: what finds no room is counted, and the packet is left alone", () => {
  const { tap, ring, lost } = tapWith({});
  const packet = packetOf(makeFrame({ payloadSize: 60_000 }).bytes, { inPort: 1 });
  const before = packet.bytes.slice();
  for (let count = 0; count < 100; count++) tap.received(packet);
  assert.deepEqual(packet.bytes, before);
  assert.equal(taken(ring).length + lost[0]!, 100);
  assert.ok(lost[0]! > 0);
});

Deno.test("ObserverSet: all are told, until they are taken out", () => {
  const set = new ObserverSet();
  const one = tapWith({});
  const other = tapWith({});
  set.add(1, one.tap);
  set.add(2, other.tap);
  const packet = packetOf(makeFrame().bytes, { inPort: 1 });
  set.sent(packet, 2);
  set.delete(1);
  set.sent(packet, 3);
  assert.deepEqual(taken(one.ring), ["out 2 0"]);
  assert.deepEqual(taken(other.ring), ["out 2 0", "out 3 0"]);
  set.delete(2);
  assert.ok(set.isEmpty);
});
