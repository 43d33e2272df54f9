/**
 * Frames that are random, cut off or damaged, with random offload state, go through extraction, random
 * action programs and outputs of every kind: nothing throws, nothing is read or written outside of the
 * frame, the accounts balance, every buffer comes back.
 *
 * Reads are caught because a frame fills its memory to the last byte: a DataView throws beyond it.
 */
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
} from "../../datapath/actions/action_program.ts";
import { extractKey } from "../../datapath/extract/extract.ts";
import { composeFrame } from "../../datapath/compose/compose.ts";
import { RuleError } from "../../datapath/errors.ts";
import { KEY_WORDS, TUN_OPTIONS_GENEVE } from "../../datapath/key.ts";
import { Packet } from "../../datapath/packet/packet.ts";
import {
  CANARY,
  ethernetFrame,
  labelStack,
  makeFrame,
  makeTunnelFrame,
  NSH_TYPE_1,
} from "../../datapath/testing/frames.ts";
import {
  drop,
  output,
  popVlan,
  program,
  pushVlan,
  RecordingPort,
  set,
  TestOutputs,
} from "../../datapath/testing/ports.ts";
import { specimens } from "./corpus.ts";

const RUNS = 3000;

const tag = fc.constantFrom(0x81000005 | 0, 0x88a81fff | 0, 0x81000000 | 0);

const extension = fc.tuple(
  fc.constantFrom(0, 43, 44, 51, 60),
  fc.array(fc.nat(255), { minLength: 7, maxLength: 7 }),
);

const plainFrame = fc.record({
  isIpv6: fc.boolean(),
  protocol: fc.constantFrom("tcp", "udp", "sctp", "icmp"),
  tags: fc.array(tag, { maxLength: 3 }),
  payloadSize: fc.nat(200),
  tcpOptionsSize: fc.constantFrom(0, 12, 40),
  ipOptionsSize: fc.constantFrom(0, 4, 40),
  fragment: fc.constantFrom(0, 0x4000, 0x2000, 0x2005, 7),
  extensions: fc.array(extension, { maxLength: 3 }),
  checksum: fc.constantFrom("full", "partial", "none"),
}).map((options) => makeFrame(options as Parameters<typeof makeFrame>[0]).bytes);

const tunnelFrame = fc.record({
  inner: plainFrame,
  kind: fc.constantFrom("vxlan", "geneve", "gre", "ipip"),
  isIpv6: fc.boolean(),
  hasChecksum: fc.boolean(),
  isTrain: fc.boolean(),
}).map(({ inner, kind, ...options }) =>
  makeTunnelFrame(inner, { kind: kind as "vxlan", ...options }).bytes
);

/** MPLS stacks and NSH of all lengths, with and without something inside. */
const labelledFrame = fc.record({
  type: fc.constantFrom(0x8847, 0x8848, 0x894f),
  tags: fc.array(tag, { maxLength: 3 }),
  entries: fc.array(fc.constantFrom(0x0001103f, -1, 0x00000100, 0), { maxLength: 6 }),
  nsh: fc.uint8Array({ maxLength: 40 }),
  isWhole: fc.boolean(),
  inner: plainFrame,
}).map(({ type, tags, entries, nsh, isWhole, inner }) => {
  const header = type !== 0x894f ? labelStack(entries) : isWhole ? NSH_TYPE_1 : nsh;
  return ethernetFrame(type, [...header, ...inner.subarray(14)], tags);
});

/** ARP, LLC, and neighbour discovery come out of mutations of these beginnings. */
const otherFrame = fc.tuple(
  fc.constantFrom("0806" + "0001080006040001", "8035" + "0001080006040003", "0020aaaa030000000800"),
  fc.uint8Array({ maxLength: 60 }),
).map(([header, rest]) => Uint8Array.from([...new Uint8Array(12), ...fromHex(header), ...rest]));

function fromHex(text: string): Uint8Array {
  return Uint8Array.fromHex(text);
}

const damage = fc.record({
  bytes: fc.array(fc.tuple(fc.nat(100), fc.nat(255)), { maxLength: 6 }),
  cut: fc.option(fc.nat(120), { nil: undefined }),
});

const damagedFrame = fc.tuple(
  fc.oneof(plainFrame, tunnelFrame, labelledFrame, otherFrame),
  damage,
).map(
  ([frame, { bytes, cut }]) => {
    const copy = frame.slice(0, cut ?? frame.length);
    for (const [at, value] of bytes) if (at < copy.length) copy[at] = value;
    return copy;
  },
);

const anyFrame = fc.oneof(
  { weight: 5, arbitrary: damagedFrame },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
);

/** Values and masks of key bytes [from, from + length). */
function keyBytes(from: number, length: number): fc.Arbitrary<[number, number[], number[]]> {
  const bytes = fc.array(fc.nat(255), { minLength: length, maxLength: length });
  return fc.tuple(bytes, bytes).map(([value, mask]) => {
    mask[0]! |= 1;
    return [from, value, mask];
  });
}

const action = fc.oneof(
  fc.constantFrom(1, 2, 3, 4, 9).map(output),
  tag.map(pushVlan),
  fc.constant(popVlan()),
  fc.constant(drop()),
  keyBytes(0, 4).map((bytes) => set(SET_PRIORITY, bytes)),
  keyBytes(4, 4).map((bytes) => set(SET_MARK, bytes)),
  keyBytes(20, 12).map((bytes) => set(SET_ETH, bytes)),
  keyBytes(45, 11).map((bytes) => set(SET_IPV4, bytes)),
  keyBytes(64, 36).map((bytes) => set(SET_IPV6, bytes)),
  keyBytes(56, 4).map((bytes) => set(SET_TCP, bytes)),
  keyBytes(56, 4).map((bytes) => set(SET_UDP, bytes)),
  keyBytes(56, 4).map((bytes) => set(SET_SCTP, bytes)),
);

const anyOffload = fc.oneof(
  fc.constant({}),
  fc.record({
    needsCsum: fc.boolean(),
    csumStart: fc.oneof(fc.nat(120), fc.constantFrom(34, 38, 42, 54, 65535)),
    csumOffset: fc.oneof(fc.constantFrom(16, 6, 8, 2), fc.nat(65535)),
    gsoType: fc.constantFrom(0, 0, 1, 3, 4, 5, 0x81, 77),
    gsoSize: fc.constantFrom(0, 1, 8, 50, 1448, 65535),
  }),
);

/** Metadata that few packets have: what it leaves in a key slot must not be seen by the next packet. */
const metadata = fc.record({
  dpHash: fc.constantFrom(0, 0, -1 >>> 0),
  ctState: fc.constantFrom(0, 0, 0x21),
  ctZone: fc.nat(65535),
  ethType: fc.constantFrom(0, 0x0800, 0x86dd, 0x0806, 0x8847, 0x894f, 0x8100, 0xffff),
  isL3: fc.constantFrom(false, false, true),
  family: fc.constantFrom(0, 0, 4, 6),
  words: fc.constantFrom(0, -1, 0x12345678),
  optionsSize: fc.nat(256),
});

function setMetadata(packet: Packet, values: Metadata): void {
  const { family, words, optionsSize, ...fields } = values;
  Object.assign(packet, fields);
  packet.metadata().words.fill(words, 0, 15);
  if (family === 0) return;
  const tunnel = packet.beginTunnel(family as 4 | 6);
  tunnel.idLow = words;
  const options = new DataView(new Uint8Array(256).fill(words).buffer);
  tunnel.setOptions(TUN_OPTIONS_GENEVE, options, 0, optionsSize);
}

interface Metadata {
  readonly dpHash: number;
  readonly ctState: number;
  readonly ctZone: number;
  readonly ethType: number;
  readonly isL3: boolean;
  readonly family: number;
  readonly words: number;
  readonly optionsSize: number;
}

/** A packet whose frame ends with its memory, and begins with it unless there is headroom. */
function tightPacket(frame: Uint8Array, headroom: number): Packet {
  const bytes = new Uint8Array(headroom + frame.length).fill(CANARY);
  bytes.set(frame, headroom);
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.start = headroom;
  packet.end = bytes.length;
  packet.tailLimit = bytes.length;
  return packet;
}

Deno.test("extractKey and execute hold for any frame, offload state and program", () => {
  const ports = [
    new RecordingPort(1),
    new RecordingPort(2, { partial: false, trains: false }),
    new RecordingPort(3, { partial: true, trains: false }),
    new RecordingPort(4),
  ];
  const test = new TestOutputs(ports, 6);
  ports[3]!.answer = 5;
  const keys = new Int32Array(KEY_WORDS);
  const scenario = fc.record({
    frame: anyFrame,
    actions: fc.array(action, { maxLength: 8 }),
    offload: anyOffload,
    headroom: fc.constantFrom(0, 3, 64),
  });
  fc.assert(
    fc.property(scenario, ({ frame, actions, offload, headroom }) => {
      const packet = tightPacket(frame, headroom);
      Object.assign(packet, offload, { inPort: 1 });
      const fresh = new Int32Array(KEY_WORDS);
      extractKey(packet, keys, 0);
      extractKey(packet, fresh, 0);
      assert.deepEqual(keys, fresh, "what was in the key before does not matter");
      if (frame.length < 14) return;
      test.accounts.received(1, packet.size);
      test.execute(packet, program(...actions));
      for (const port of ports) {
        port.assertIntact(test.host.round);
        port.sent.length = 0;
      }
      test.host.flush();
      assert.equal(test.host.pool.freeCount, test.host.slots);
      const outside = packet.bytes.subarray(0, Math.min(packet.start, headroom));
      const touched = outside.findIndex((byte) => byte !== CANARY);
      assert(
        touched < 0 || touched >= headroom - 4 * actions.length,
        "wrote in front of the frame",
      );
    }),
    { numRuns: RUNS },
  );
});

Deno.test("extractKey holds for any metadata and L3 packet; composeFrame for what it extracts", () => {
  const keys = new Int32Array(KEY_WORDS);
  const scenario = fc.record({ frame: anyFrame, values: metadata, cutFront: fc.nat(40) });
  fc.assert(
    fc.property(scenario, ({ frame, values, cutFront }) => {
      const packet = tightPacket(frame.subarray(Math.min(cutFront, values.isL3 ? 40 : 0)), 0);
      setMetadata(packet, values);
      const fresh = new Int32Array(KEY_WORDS);
      extractKey(packet, keys, 0);
      extractKey(packet, fresh, 0);
      assert.deepEqual(keys, fresh, "what was in the key before does not matter");
      let composed: Uint8Array<ArrayBuffer>;
      try {
        composed = composeFrame(fresh);
      } catch (error) {
        assert(error instanceof RuleError, String(error));
        return;
      }
      const again = tightPacket(composed, 0);
      setMetadata(again, values);
      extractKey(again, fresh, 0);
    }),
    { numRuns: RUNS },
  );
});

const ALL = (from: number, length: number): [number, number[]] => [
  from,
  new Array(length).fill(0x5a),
];

const PROGRAMS = [
  program(output(1), output(2), output(3)),
  program(popVlan(), popVlan(), popVlan(), set(SET_IPV4, ALL(45, 11)), output(2)),
  program(set(SET_IPV4, ALL(45, 11)), output(2)),
  program(set(SET_IPV6, ALL(64, 36)), output(2)),
  program(set(SET_TCP, ALL(56, 4)), pushVlan(0x81001001), output(2)),
  program(set(SET_UDP, ALL(56, 4)), output(2)),
  program(set(SET_SCTP, ALL(56, 4)), output(2)),
];

Deno.test("extractKey and execute hold for every header cut off at every byte", () => {
  const ports = [
    new RecordingPort(1),
    new RecordingPort(2, { partial: false, trains: false }),
    new RecordingPort(3, { partial: true, trains: false }),
  ];
  const test = new TestOutputs(ports, 6);
  const keys = new Int32Array(KEY_WORDS);
  const offloads = (l4: number): Partial<Packet>[] => [
    {},
    { needsCsum: true, csumStart: l4, csumOffset: 16 },
    { needsCsum: true, csumStart: l4, csumOffset: 8 },
    { needsCsum: true, csumStart: l4, csumOffset: 16, gsoType: 1, gsoSize: 8 },
    { needsCsum: true, csumStart: l4, csumOffset: 16, gsoType: 4, gsoSize: 8 },
    { needsCsum: true, csumStart: l4, csumOffset: 6, gsoType: 5, gsoSize: 8 },
  ];
  for (const [frame, l4] of specimens()) {
    for (let size = 0; size <= frame.length; size++) {
      for (const offload of offloads(l4)) {
        for (const words of PROGRAMS) {
          const packet = tightPacket(frame.subarray(0, size), 0);
          Object.assign(packet, offload, { inPort: 1 });
          extractKey(packet, keys, 0);
          if (size < 14) continue;
          test.accounts.received(1, size);
          test.execute(packet, words);
          test.host.flush();
          for (const port of ports) port.sent.length = 0;
        }
      }
    }
  }
  assert.equal(test.host.pool.freeCount, test.host.slots);
});
