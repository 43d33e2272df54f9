import assert from "node:assert/strict";
import fc from "fast-check";
import {
  SET_ETH,
  SET_IPV4,
  SET_IPV6,
  SET_MARK,
  SET_PRIORITY,
  SET_SCTP,
  SET_TCP,
  SET_UDP,
} from "./action_program.ts";
import { COPIED, PORT_DROPS, SENT, TX_DROPPED, TX_PACKETS } from "../counters.ts";
import { dropReason } from "../drop_reasons.ts";
import { extractKey } from "../extract/extract.ts";
import * as key from "../key.ts";
import { completeChecksum } from "../packet/offload.ts";
import { GSO_NONE, GSO_TCPV4, type Packet } from "../packet/packet.ts";
import {
  faults,
  type FrameOptions,
  makeFrame,
  makeTunnelFrame,
  naiveSum,
  packetOf,
  ROOM,
} from "../testing/frames.ts";
import {
  drop,
  output,
  popVlan,
  program,
  pushVlan,
  RecordingPort,
  type Sent,
  set,
  TestOutputs,
} from "../testing/ports.ts";

interface Run {
  readonly test: TestOutputs;
  readonly port1: RecordingPort;
  readonly port2: RecordingPort;
}

/** Extracts the packet's key and runs a program with ports 1 and 2. */
function run(packet: Packet, words: Int32Array, slots?: number): Run {
  const port1 = new RecordingPort(1);
  const port2 = new RecordingPort(2);
  const test = new TestOutputs([port1, port2], slots);
  packet.inPort = 9;
  test.accounts.received(9, packet.size);
  extractKey(packet, new Int32Array(key.KEY_WORDS), 0);
  test.execute(packet, words);
  port1.assertIntact(test.host.round);
  port2.assertIntact(test.host.round);
  test.host.flush();
  assert.equal(test.host.pool.freeCount, test.host.slots, "packets are recycled");
  return { test, port1, port2 };
}

/** What port 1 is sent when a program and an output run on a frame. */
function runOn(frame: Uint8Array, ...actions: number[][]): Sent {
  const { port1, test } = run(packetOf(frame), program(...actions, output(1)));
  assert.equal(port1.sent.length, 1, JSON.stringify(test.drops()));
  return port1.sent[0]!;
}

function dropsOf(frame: Uint8Array, ...actions: number[][]): unknown {
  const { test, port1 } = run(packetOf(frame), program(...actions, output(1)));
  assert.equal(port1.sent.length, 0);
  return test.drops();
}

Deno.test("execute: an empty list and a list without output drop as explicit", () => {
  const { bytes } = makeFrame();
  for (const words of [program(), program(pushVlan(0x81001005))]) {
    const { test } = run(packetOf(bytes), words);
    assert.deepEqual(test.drops(), { explicit: 1 });
    assert.equal(test.portCount(9, PORT_DROPS + dropReason("explicit")), 1);
  }
});

Deno.test("execute: drop ends the list, as explicit or explicit-with-error", () => {
  const { bytes } = makeFrame();
  const first = run(packetOf(bytes), program(drop(7), output(1)));
  assert.deepEqual(first.test.drops(), { "explicit-with-error": 1 });
  assert.equal(first.port1.sent.length, 0);
  const second = run(packetOf(bytes), program(output(1), drop()));
  assert.deepEqual(second.test.drops(), { explicit: 1 });
  assert.equal(second.test.count(COPIED), 1);
});

Deno.test("execute: each output but the last counts as a copy, and nothing is copied", () => {
  const packet = packetOf(makeFrame().bytes);
  const { test, port1, port2 } = run(packet, program(output(1), output(2), output(1)));
  assert.equal(test.count(COPIED), 2);
  assert.equal(test.count(SENT), 3);
  assert.equal(test.portCount(1, TX_PACKETS), 2);
  assert.equal(port1.sent[0]!.packet, packet);
  assert.equal(port2.sent[0]!.packet, packet);
});

Deno.test("execute: an output to no port drops that copy only", () => {
  const { test, port1 } = run(packetOf(makeFrame().bytes), program(output(7), output(1)));
  assert.equal(port1.sent.length, 1);
  assert.deepEqual(test.drops(), { "no-such-port": 1 });
});

Deno.test("execute: a port that does not take a packet counts the drop with its reason", () => {
  const port = new RecordingPort(1);
  port.answer = dropReason("tx-queue-full");
  const test = new TestOutputs([port]);
  const packet = packetOf(makeFrame().bytes);
  test.accounts.received(3, packet.size);
  test.execute(packet, program(output(1)));
  assert.deepEqual(test.drops(), { "tx-queue-full": 1 });
  assert.equal(test.portCount(1, TX_DROPPED), 1);
  assert.equal(test.portCount(1, TX_PACKETS), 0);
});

Deno.test("execute: what a port has borrowed is copied before a later action changes it", () => {
  const { bytes } = makeFrame();
  const words = program(
    output(1),
    pushVlan(0x81001005),
    output(2),
    set(SET_IPV4, [key.IP_TTL_AT, [9]]),
    output(2),
    popVlan(),
    output(1),
  );
  const { port1, port2 } = run(packetOf(bytes), words);
  assert.deepEqual(port1.sent[0]!.frame, bytes);
  assert.equal(port2.sent[0]!.frame[21 + 5], 64);
  assert.equal(port2.sent[1]!.frame[21 + 5], 9);
  assert.equal(port1.sent[1]!.frame.length, bytes.length);
  for (const { frame } of [...port1.sent, ...port2.sent]) assert.deepEqual(faults(frame), []);
});

Deno.test("execute: with no buffer free, the senders are flushed and bytes change in place", () => {
  const port1 = new RecordingPort(1);
  const test = new TestOutputs([port1], 0);
  const packet = packetOf(makeFrame().bytes);
  test.accounts.received(1, packet.size);
  const words = program(output(1), set(SET_ETH, [key.ETH_DST_AT, [4]]), output(1));
  extractKey(packet, new Int32Array(key.KEY_WORDS), 0);
  test.execute(packet, words);
  assert.equal(test.host.round, 1);
  assert.equal(port1.sent[1]!.frame[0], 4);
});

Deno.test("execute: with no buffer free and no headroom, a push drops as pool-exhausted", () => {
  const packet = packetOf(makeFrame().bytes, { headLimit: ROOM });
  const { test } = run(packet, program(pushVlan(0x81001005), output(1)), 0);
  assert.deepEqual(test.drops(), { "pool-exhausted": 1 });
});

Deno.test("push_vlan without headroom goes into a copy", () => {
  const { bytes } = makeFrame();
  const packet = packetOf(bytes, { headLimit: ROOM + 0 });
  const { port1 } = run(packet, program(pushVlan(0x88a81005), output(1)));
  assert.notEqual(port1.sent[0]!.packet, packet);
  assert.deepEqual(port1.sent[0]!.frame.slice(12, 18), Uint8Array.from([0x88, 0xa8, 0, 5, 8, 0]));
});

Deno.test("push_vlan and pop_vlan: inverse, outermost first, the CFI bit does not go on the wire", () => {
  const { bytes } = makeFrame({ tags: [0x8100b005] });
  const pushed = runOn(bytes, pushVlan(0x88a83abc | 0)).frame;
  assert.equal(pushed.slice(0, 22).toHex(), "020000000002020000000001" + "88a82abc8100b0050800");
  assert.deepEqual(faults(pushed), []);
  assert.deepEqual(runOn(bytes, pushVlan(0x81001001), popVlan()).frame, bytes);
  assert.deepEqual(runOn(bytes, popVlan()).frame, makeFrame().bytes);
});

Deno.test("push_vlan and pop_vlan move the beginning of a partial checksum", () => {
  const frame = makeFrame({ tags: [0x81000001], checksum: "partial" });
  const partial = { needsCsum: true, csumStart: frame.l4, csumOffset: 16 };
  const port = (actions: number[][]): Sent =>
    run(packetOf(frame.bytes, partial), program(...actions, output(1))).port1.sent[0]!;
  assert.equal(port([pushVlan(0x81001002)]).csumStart, frame.l4 + 4);
  assert.equal(port([popVlan()]).csumStart, frame.l4 - 4);
  assert.equal(port([popVlan(), pushVlan(0x81001002)]).csumStart, frame.l4);
});

Deno.test("pop_vlan without a tag does nothing; with one that is cut off it drops", () => {
  const { bytes } = makeFrame();
  assert.deepEqual(runOn(bytes, popVlan()).frame, bytes);
  const cut = makeFrame({ tags: [0x81000005] }).bytes.subarray(0, 17);
  assert.deepEqual(dropsOf(cut, popVlan()), { "set-header-missing": 1 });
  const whole = makeFrame({ tags: [0x81000005] }).bytes.subarray(0, 18);
  assert.equal(runOn(whole, popVlan()).frame.length, 14);
});

Deno.test("set eth: masked bits only", () => {
  const { bytes } = makeFrame();
  const { frame } = runOn(
    bytes,
    set(SET_ETH, [key.ETH_DST_AT, [0, 0, 0, 0, 0, 0x70], [0, 0, 0, 0, 0, 0xf0]], [
      key.ETH_SRC_AT,
      [6, 7, 8, 9, 10, 11],
    ]),
  );
  assert.equal(frame.slice(0, 12).toHex(), "020000000072" + "060708090a0b");
  assert.deepEqual(frame.slice(12), bytes.slice(12));
});

Deno.test("set skb_priority and skb_mark change the descriptor, masked, without a copy", () => {
  const packet = packetOf(makeFrame().bytes, { priority: 0xf0000001, mark: 1 });
  const words = program(
    output(1),
    set(SET_PRIORITY, [key.SKB_PRIORITY_AT, [0x80, 0, 0, 2], [0xff, 0, 0, 0xff]]),
    set(SET_MARK, [key.SKB_MARK_AT, [0xff, 0, 0, 1]]),
    output(2),
  );
  const { port1, port2 } = run(packet, words, 0);
  assert.equal(port1.sent[0]!.mark, 1);
  assert.equal(port2.sent[0]!.packet, packet);
  assert.equal(port2.sent[0]!.priority, 0x80000002);
  assert.equal(port2.sent[0]!.mark, 0xff000001);
});

const rewriteIpv4 = set(
  SET_IPV4,
  [key.IPV4_SRC_AT, [192, 168, 7, 9]],
  [key.IPV4_DST_AT, [0, 0, 200, 0], [0, 0, 255, 0]],
  [key.IP_TOS_AT, [0xb8], [0xfc]],
  [key.IP_TTL_AT, [1]],
);
const rewriteIpv6 = set(
  SET_IPV6,
  [key.IPV6_SRC_AT, [0x20, 1, 0x0d, 0xb8]],
  [key.IPV6_DST_AT + 14, [1, 2]],
  [key.IPV6_LABEL_AT + 1, [0x0a, 0xbc], [0x0f, 0xff]],
  [key.IP_TOS_AT, [0xb8]],
  [key.IP_TTL_AT, [3]],
);
const PORTS = [[key.TP_SRC_AT, [0x12, 0x34]], [key.TP_DST_AT, [0x56], [0xff]]] as const;
const rewritePorts = {
  tcp: set(SET_TCP, ...PORTS),
  udp: set(SET_UDP, ...PORTS),
  sctp: set(SET_SCTP, ...PORTS),
};

Deno.test("set: lengths and checksums of every transport over IPv4 and IPv6 stay right", () => {
  for (const isIpv6 of [false, true]) {
    for (const protocol of ["tcp", "udp", "sctp", "icmp"] as const) {
      for (const tags of [[], [0x81000005], [0x88a80001, 0x81000002]]) {
        const frame = makeFrame({ isIpv6, protocol, tags, payloadSize: 33, ipOptionsSize: 4 });
        const actions = [isIpv6 ? rewriteIpv6 : rewriteIpv4];
        if (protocol !== "icmp") actions.push(rewritePorts[protocol]);
        const sent = runOn(frame.bytes, ...actions).frame;
        assert.deepEqual(faults(sent), [], `${isIpv6} ${protocol} ${tags.length}`);
        const expected = extractedWith(frame.bytes, (view) => {
          view.setUint8(key.IP_TTL_AT, isIpv6 ? 3 : 1);
          view.setUint8(key.IP_TOS_AT, isIpv6 ? 0xb8 : 0xb8 | 0x10 & 3);
          if (isIpv6) {
            view.setUint32(key.IPV6_SRC_AT, 0x20010db8);
            view.setUint16(key.IPV6_DST_AT + 14, 0x0102);
            view.setUint16(key.IPV6_LABEL_AT + 1, 0x0abc);
          } else {
            view.setUint32(key.IPV4_SRC_AT, 0xc0a80709);
            view.setUint8(key.IPV4_DST_AT + 2, 200);
          }
          if (protocol === "icmp") return;
          view.setUint16(key.TP_SRC_AT, 0x1234);
          view.setUint8(key.TP_DST_AT, 0x56);
        });
        assert.deepEqual(extractedWith(sent, () => {}), expected);
      }
    }
  }
});

function extractedWith(frame: Uint8Array, change: (view: DataView) => void): Int32Array {
  const keys = new Int32Array(key.KEY_WORDS);
  extractKey(packetOf(frame), keys, 0);
  change(new DataView(keys.buffer));
  return keys;
}

Deno.test("set: a partial checksum stays one that completes to the right checksum", () => {
  for (const isIpv6 of [false, true]) {
    for (const protocol of ["tcp", "udp", "sctp", "icmp"] as const) {
      if (protocol === "icmp" && !isIpv6) continue;
      const frame = makeFrame({ isIpv6, protocol, checksum: "partial", payloadSize: 701 });
      const csumOffset = { tcp: 16, udp: 6, sctp: 8, icmp: 2 }[protocol];
      const packet = packetOf(frame.bytes, {
        needsCsum: true,
        csumStart: frame.l4,
        csumOffset,
      });
      const actions = [pushVlan(0x81001005), isIpv6 ? rewriteIpv6 : rewriteIpv4];
      if (protocol !== "icmp") actions.push(rewritePorts[protocol]);
      extractKey(packet, new Int32Array(key.KEY_WORDS), 0);
      const port = new RecordingPort(1, { partial: false });
      const test = new TestOutputs([port]);
      test.accounts.received(9, packet.size);
      test.execute(packet, program(...actions, output(1)));
      const sent = port.sent[0]!;
      assert.equal(sent.needsCsum, false);
      assert.deepEqual(faults(sent.frame), [], `${isIpv6} ${protocol}`);
    }
  }
});

Deno.test("set: a 64 KiB train keeps the sum of its pseudo-header", () => {
  const frame = makeFrame({ checksum: "partial", payloadSize: 65000 });
  const packet = packetOf(frame.bytes, {
    needsCsum: true,
    csumStart: frame.l4,
    csumOffset: 16,
    gsoType: GSO_TCPV4,
    gsoSize: 1448,
  });
  const words = program(rewriteIpv4, rewritePorts.tcp, pushVlan(0x81001007), output(1));
  const sent = run(packet, words).port1.sent[0]!;
  assert.equal(sent.gsoType, GSO_TCPV4);
  assert.equal(sent.csumStart, frame.l4 + 4);
  const completed = packetOf(sent.frame, {
    needsCsum: true,
    csumStart: sent.csumStart,
    csumOffset: 16,
    gsoType: GSO_NONE,
  });
  assert.equal(completeChecksum(completed), true);
  assert.deepEqual(faults(completed.bytes.subarray(completed.start, completed.end)), []);
});

Deno.test("set ipv4: UDP without checksum keeps none", () => {
  const { bytes, l4 } = makeFrame({ protocol: "udp", checksum: "none" });
  const { frame } = runOn(bytes, rewriteIpv4, rewritePorts.udp);
  assert.equal(frame[l4 + 6]! | frame[l4 + 7]!, 0);
  assert.deepEqual(faults(frame), []);
});

Deno.test("set: a UDP checksum that becomes zero is written as 0xffff", () => {
  fc.assert(
    fc.property(fc.nat(0xffff), fc.boolean(), (port, changesAddress) => {
      // A payload that makes the checksum come out as zero once the port or address is set.
      const options: FrameOptions = { protocol: "udp", payload: Uint8Array.from([0, 0]) };
      const after = changesAddress
        ? makeFrame({ ...options, source: 0x0a000000 | port, checksum: "none" })
        : makeFrame({ ...options, sourcePort: port, checksum: "none" });
      const { bytes, l3, l4, payload } = after;
      const pseudo = naiveSum(bytes, l3 + 12, l3 + 20) + 17 + bytes.length - l4;
      const rest = ~naiveSum(bytes, l4, bytes.length, pseudo) & 0xffff;
      const wanted = Uint8Array.from([rest >> 8, rest & 255]);
      const before = makeFrame({ ...options, payload: wanted });
      const high = port >> 8;
      const low = port & 255;
      const action = changesAddress
        ? set(SET_IPV4, [key.IPV4_SRC_AT, [10, 0, high, low]])
        : set(SET_UDP, [key.TP_SRC_AT, [high, low]]);
      const { frame } = runOn(before.bytes, action);
      assert.equal(frame[payload], wanted[0]);
      assert.equal(frame[l4 + 6]! << 8 | frame[l4 + 7]!, 0xffff);
      assert.deepEqual(faults(frame), []);
    }),
    { numRuns: 50 },
  );
});

Deno.test("set: later fragments have no L4 header: addresses change, payload and ports don't", () => {
  for (const protocol of ["tcp", "udp", "sctp"] as const) {
    const frame = makeFrame({ protocol, fragment: 0x2010 });
    const sent = runOn(frame.bytes, rewriteIpv4, rewritePorts[protocol]).frame;
    assert.deepEqual(sent.slice(frame.l4), frame.bytes.slice(frame.l4));
    assert.deepEqual(faults(sent), []);
    const fragment = [44, [0, 0, 0x10, 0, 0, 0, 1]] as const;
    const frame6 = makeFrame({ protocol, isIpv6: true, extensions: [fragment] });
    const sent6 = runOn(frame6.bytes, rewriteIpv6, rewritePorts[protocol]).frame;
    assert.deepEqual(sent6.slice(frame6.l4), frame6.bytes.slice(frame6.l4));
  }
});

Deno.test("set ipv6: behind a routing header with segments left, the destination is not in the checksum", () => {
  const routing = (left: number) => [43, [0, 0, left, 0, 0, 0, 0]] as const;
  const change = set(SET_IPV6, [key.IPV6_DST_AT, [0x20, 1]]);
  for (const left of [0, 1]) {
    const frame = makeFrame({ isIpv6: true, extensions: [routing(left)] });
    const checksum = (bytes: Uint8Array): number =>
      bytes[frame.l4 + 16]! << 8 | bytes[frame.l4 + 17]!;
    const sent = runOn(frame.bytes, change).frame;
    assert.equal(checksum(sent) === checksum(frame.bytes), left === 1);
    assert.deepEqual(faults(sent).length, left);
  }
});

Deno.test("set sctp: an error in the checksum stays in it", () => {
  const { bytes, l4 } = makeFrame({ protocol: "sctp" });
  bytes[l4 + 8]! ^= 0x55;
  const { frame } = runOn(bytes, rewritePorts.sctp);
  assert.deepEqual(faults(frame), ["SCTP checksum"]);
  frame[l4 + 8]! ^= 0x55;
  assert.deepEqual(faults(frame), []);
});

Deno.test("set sctp: Ethernet padding is not in the checksum", () => {
  const { bytes } = makeFrame({ protocol: "sctp", payloadSize: 4 });
  const padded = new Uint8Array(60);
  padded.set(bytes);
  padded.fill(7, bytes.length);
  assert.deepEqual(faults(runOn(padded, rewritePorts.sctp).frame), []);
});

Deno.test("set: a header that is missing or cut off drops the packet", () => {
  const ipv4 = makeFrame();
  const ipv6 = makeFrame({ isIpv6: true });
  const missing = { "set-header-missing": 1 };
  assert.deepEqual(dropsOf(ipv4.bytes.subarray(0, ipv4.l3 + 19), rewriteIpv4), missing);
  assert.deepEqual(dropsOf(ipv6.bytes.subarray(0, ipv6.l3 + 39), rewriteIpv6), missing);
  assert.deepEqual(dropsOf(ipv4.bytes.subarray(0, ipv4.l4 + 19), rewritePorts.tcp), missing);
  assert.deepEqual(dropsOf(ipv4.bytes, rewritePorts.udp), missing);
  const udp = makeFrame({ protocol: "udp" });
  assert.deepEqual(dropsOf(udp.bytes.subarray(0, udp.l4 + 7), rewritePorts.udp), missing);
  const sctp = makeFrame({ protocol: "sctp" });
  assert.deepEqual(dropsOf(sctp.bytes.subarray(0, sctp.l4 + 11), rewritePorts.sctp), missing);
});

Deno.test("set ipv4: with a malformed header size the fixed part is rewritten, as the kernel does", () => {
  const { bytes, l3 } = makeFrame();
  bytes[l3] = 0x44;
  const { frame } = runOn(bytes, set(SET_IPV4, [key.IP_TTL_AT, [9]]));
  assert.equal(frame[l3 + 8], 9);
});

Deno.test("set ipv4: on a tunnel's outer header, single packets and trains", () => {
  const inner = makeFrame({ checksum: "partial", payloadSize: 900 });
  for (const hasChecksum of [false, true]) {
    for (const isTrain of [false, true]) {
      // A single packet's outer checksum is right once the inner one has been completed.
      const whole = isTrain ? inner : makeFrame({ payloadSize: 900 });
      const frame = makeTunnelFrame(whole.bytes, { kind: "vxlan", hasChecksum, isTrain });
      frame.bytes.set(inner.bytes, frame.payload + 8);
      const packet = packetOf(frame.bytes, {
        needsCsum: true,
        csumStart: frame.payload + 8 + inner.l4,
        csumOffset: 16,
        gsoType: isTrain ? GSO_TCPV4 : GSO_NONE,
        gsoSize: isTrain ? 400 : 0,
      });
      const port = new RecordingPort(1, { partial: false, trains: false });
      const test = new TestOutputs([port]);
      extractKey(packet, new Int32Array(key.KEY_WORDS), 0);
      const words = program(rewriteIpv4, rewritePorts.udp, output(1));
      // The rewritten port is no VXLAN's any more: put it back for the check.
      words[words.length - 5] = 0x0000_3412;
      words[words.length - 4] = 0x0000_ffff;
      test.accounts.received(9, packet.size);
      test.execute(packet, words);
      assert.equal(port.sent.length, isTrain ? 3 : 1);
      for (const { frame } of port.sent) assert.deepEqual(faults(frame), [], `${isTrain}`);
    }
  }
});
