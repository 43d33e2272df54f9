import assert from "node:assert/strict";
import * as key from "../key.ts";
import type { Packet } from "../packet/packet.ts";
import { extracted } from "../testing/extracted.ts";
import {
  ethernetFrame,
  labelStack,
  makeFrame,
  NSH_TYPE_1,
  packetOf,
  ROOM,
} from "../testing/frames.ts";

const BOTTOM = 0x100;

function labelsOf(view: DataView): number[] {
  return [0, 4, 8].map((offset) => view.getUint32(key.MPLS_AT + offset));
}

Deno.test("extractKey: MPLS labels to the bottom of the stack", () => {
  const payload = [0x45, 0, 0, 0];
  for (const type of [0x8847, 0x8848]) {
    for (const stack of [[], [0x0001113f], [0x00011e3f, 0x0002203e]]) {
      const entries = [...stack, 0xfffff13d];
      const packet = packetOf(ethernetFrame(type, [...labelStack(entries), ...payload]));
      const view = extracted(packet);
      assert.equal(view.getUint16(key.ETH_TYPE_AT), type);
      assert.equal(packet.l3At, ROOM + 14);
      assert.equal(packet.l4At, 0);
      // One of the stacks ends with its first entry.
      const bottom = entries.findIndex((entry) => (entry & BOTTOM) !== 0);
      const wanted = [0, 1, 2].map((at) => at <= bottom ? entries[at]! : 0);
      assert.deepEqual(labelsOf(view), wanted);
      assert.equal(view.getUint32(key.IP_PROTO_AT), 0);
    }
  }
});

Deno.test("extractKey: of a deep MPLS stack three labels, of one cut off those that are whole", () => {
  const entries = [0x11111040, 0x22222040, 0x33333040, 0x44444140];
  const deep = extracted(packetOf(ethernetFrame(0x8847, labelStack(entries))));
  assert.deepEqual(labelsOf(deep), entries.slice(0, 3));
  for (let size = 0; size < 12; size++) {
    const frame = ethernetFrame(0x8847, labelStack(entries).subarray(0, size), [0x81000005]);
    const whole = Math.floor(size / 4);
    const wanted = entries.slice(0, 3).map((entry, at) => at < whole ? entry : 0);
    assert.deepEqual(labelsOf(extracted(packetOf(frame))), wanted, `${size}`);
  }
});

Deno.test("extractKey: as many labels count as there are to the bottom, three at most; none without a bottom", () => {
  const bits = (count: number, hasBottom: boolean, size = 4 * count): number => {
    const entries = Array.from(
      { length: count },
      (_, at) => hasBottom && at === count - 1 ? 0x1140 : 0x1040,
    );
    const frame = ethernetFrame(0x8847, labelStack(entries).subarray(0, size));
    return extracted(packetOf(frame)).getUint8(key.MPLS_COUNT_AT);
  };
  assert.deepEqual([1, 2, 3, 4, 300].map((count) => bits(count, true)), [1, 3, 7, 7, 7]);
  assert.deepEqual([0, 1, 2, 3, 4, 300].map((count) => bits(count, false)), [0, 0, 0, 0, 0, 0]);
  assert.equal(bits(4, true, 15), 0);
});

function nshOf(header: Iterable<number>): string {
  const view = extracted(packetOf(ethernetFrame(0x894f, header)));
  assert.equal(view.getUint16(key.ETH_TYPE_AT), 0x894f);
  return new Uint8Array(view.buffer, key.NSH_FLAGS_AT, 24).toHex();
}

const NOTHING = "00".repeat(24);

/** NSH_TYPE_1 with some bytes changed, as [index, value]. */
function changed(...changes: [number, number][]): Uint8Array {
  const header = NSH_TYPE_1.slice();
  for (const [index, value] of changes) header[index] = value;
  return header;
}

Deno.test("extractKey: NSH with metadata type 1: flags, TTL, path and context", () => {
  const context = "11111111222222223333333344444444";
  assert.equal(nshOf(NSH_TYPE_1), `023f0101123456ff${context}`);
  assert.equal(nshOf([...NSH_TYPE_1, 0x45, 0]), `023f0101123456ff${context}`);
  assert.equal(nshOf(changed([0, 0x1f], [1, 0xc6], [3, 3])), `013f0103123456ff${context}`);
});

Deno.test("extractKey: NSH of other metadata types has no context", () => {
  assert.equal(nshOf(changed([2, 2])), `023f0201123456ff${"00".repeat(16)}`);
  assert.equal(
    nshOf(changed([2, 2], [1, 0xc2]).subarray(0, 8)),
    `023f0201123456ff${"00".repeat(16)}`,
  );
});

Deno.test("extractKey: NSH that is malformed or cut off has no fields", () => {
  assert.equal(nshOf(changed([0, 0x6f])), NOTHING, "version 1");
  assert.equal(nshOf(changed([1, 0xc5])), NOTHING, "20 bytes with type 1");
  assert.equal(nshOf([...changed([1, 0xc7]), 0, 0, 0, 0]), NOTHING, "28 bytes with type 1");
  assert.equal(nshOf(changed([2, 2], [1, 0xc1])), NOTHING, "shorter than its base");
  assert.equal(nshOf(changed([2, 2], [1, 0xc7])), NOTHING, "longer than the frame");
  for (const size of [0, 7, 8, 23]) assert.equal(nshOf(NSH_TYPE_1.subarray(0, size)), NOTHING);
});

/** A packet without its Ethernet header. */
function l3Packet(frame: Uint8Array, l3: number, ethType: number): Packet {
  return packetOf(frame.subarray(l3), { isL3: true, ethType, inPort: 4 });
}

Deno.test("extractKey: an L3 packet has no addresses, its type is metadata, the bit says so", () => {
  for (const [isIpv6, type] of [[false, 0x0800], [true, 0x86dd]] as const) {
    const frame = makeFrame({ isIpv6, tcpFlags: 0x012 });
    const packet = l3Packet(frame.bytes, frame.l3, type);
    const view = extracted(packet);
    assert.equal(packet.l3At, ROOM);
    assert.equal(packet.l4At, ROOM + frame.l4 - frame.l3);
    const whole = extracted(packetOf(frame.bytes, { inPort: 4 }));
    for (let at = key.ETH_DST_AT; at < key.ETH_TYPE_AT; at += 4) whole.setUint32(at, 0);
    whole.setUint16(key.TCP_FLAGS_AT, key.L3_PACKET | 0x012);
    assert.deepEqual(view, whole);
  }
});

Deno.test("extractKey: L3 packets of other types, of no size and with a tag's type", () => {
  const labels = extracted(l3Packet(labelStack([0x0001113f]), 0, 0x8847));
  assert.deepEqual(labelsOf(labels), [0x0001113f, 0, 0]);
  assert.equal(labels.getUint16(key.TCP_FLAGS_AT), key.L3_PACKET);
  const empty = extracted(l3Packet(new Uint8Array(0), 0, 0x0800));
  assert.equal(empty.getUint16(key.ETH_TYPE_AT), 0x0800);
  assert.equal(empty.getUint32(key.IPV4_SRC_AT), 0);
  const tagged = extracted(l3Packet(makeFrame({ tags: [0x81000005] }).bytes, 14, 0x8100));
  assert.equal(tagged.getUint16(key.ETH_TYPE_AT), 0x8100);
  assert.equal(tagged.getUint32(key.VLAN_TCI_AT), 0);
});
