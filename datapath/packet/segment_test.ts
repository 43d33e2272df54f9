import assert from "node:assert/strict";
import fc from "fast-check";
import { dropReason } from "../drop_reasons.ts";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import { GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, type Packet } from "./packet.ts";
import { PacketPool, SLOT_SIZE } from "./packet_pool.ts";
import { segment, type SegmentSink } from "./segment.ts";
import {
  faults,
  type Frame,
  frameOf,
  makeFrame,
  makeTunnelFrame,
  packetOf,
  type TunnelOptions,
} from "../testing/frames.ts";

const GSO_INVALID = dropReason("tx-gso-invalid");

class Collector implements SegmentSink {
  readonly frames: Uint8Array<ArrayBuffer>[] = [];
  readonly packets: Packet[] = [];
  readonly #pool: PacketPool;

  constructor(slots = 2) {
    this.#pool = new PacketPool(new ArrayBuffer(slots * SLOT_SIZE), 0, slots);
  }

  allocate(): Packet | undefined {
    return this.#pool.allocate();
  }

  emit(packet: Packet): void {
    this.frames.push(frameOf(packet));
    assert.equal(packet.needsCsum, false);
    assert.equal(packet.gsoType, 0);
    this.#pool.free(packet);
  }

  recycle(packet: Packet): void {
    this.#pool.free(packet);
  }
}

function segments(train: Packet): Uint8Array<ArrayBuffer>[] {
  extractKey(train, new Int32Array(KEY_WORDS), 0);
  const before = frameOf(train);
  const sink = new Collector();
  assert.equal(segment(train, sink), 0);
  assert.deepEqual(frameOf(train), before, "the train is not changed");
  return sink.frames;
}

Deno.test("segment: the checksum covers the last destination of a routing header, as the partial one says", () => {
  // Segments left: 1. The pseudo-header's sum is that of another address than the header's.
  const extensions = [[43, [2, 0, 1, 0, 0, 0, 0, ...new Array<number>(16).fill(0x11)]]] as const;
  const options = { isIpv6: true, checksum: "partial", extensions, payloadSize: 2000 } as const;
  const { bytes, l3, l4 } = makeFrame(options);
  const offload = { needsCsum: true, csumStart: l4, csumOffset: 16 };
  bytes[l3 + 39]! += 5;
  const found = segments(packetOf(bytes, { ...offload, gsoType: GSO_TCPV6, gsoSize: 1500 }));
  assert.equal(found.length, 2);
  for (const frame of found) {
    frame[l3 + 39]! -= 5;
    assert.deepEqual(faults(frame), []);
  }
});

function refuses(train: Packet): void {
  extractKey(train, new Int32Array(KEY_WORDS), 0);
  const sink = new Collector();
  assert.equal(segment(train, sink), GSO_INVALID);
  assert.equal(sink.frames.length, 0);
}

/** A train whose partial checksum begins at the frame's L4 header. */
function trainOf(frame: Frame, gsoType: number, gsoSize: number): Packet {
  const isTcp = (gsoType & 0x7f) !== GSO_UDP_L4;
  return packetOf(frame.bytes, {
    needsCsum: true,
    csumStart: frame.l4,
    csumOffset: isTcp ? 16 : 6,
    gsoType,
    gsoSize,
    inPort: 4,
    mark: 5,
  });
}

function u16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

function u32(bytes: Uint8Array, at: number): number {
  return (u16(bytes, at) << 16 | u16(bytes, at + 2)) >>> 0;
}

Deno.test("segment: TCP over IPv4 and IPv6, with options and tags: payload whole, checksums right", () => {
  for (const isIpv6 of [false, true]) {
    for (const tags of [[], [0x81000005], [0x88a80001, 0x81000002]]) {
      const frame = makeFrame({
        isIpv6,
        tags,
        payloadSize: 64000,
        checksum: "partial",
        tcpOptionsSize: 12,
        ipOptionsSize: 4,
      });
      const train = trainOf(frame, isIpv6 ? GSO_TCPV6 : GSO_TCPV4, 1448);
      const frames = segments(train);
      assert.equal(frames.length, Math.ceil(64000 / 1448));
      frames.forEach((bytes, at) => {
        assert.deepEqual(faults(bytes), []);
        assert.equal(u32(bytes, frame.l4 + 4), (0xfffffff0 + at * 1448) % 2 ** 32);
        if (!isIpv6) assert.equal(u16(bytes, frame.l3 + 4), 0x1234 + at);
        assert.deepEqual(bytes.slice(0, frame.l3), frame.bytes.slice(0, frame.l3));
      });
      const payload = frames.flatMap((bytes) => [...bytes.subarray(frame.payload)]);
      assert.deepEqual(Uint8Array.from(payload), frame.bytes.slice(frame.payload));
    }
  }
});

Deno.test("segment: FIN and PSH on the last segment only, CWR on the first only", () => {
  const frame = makeFrame({ payloadSize: 300, tcpFlags: 0x0d9, checksum: "partial" });
  const frames = segments(trainOf(frame, GSO_TCPV4 | GSO_ECN, 100));
  assert.deepEqual(frames.map((bytes) => bytes[frame.l4 + 13]), [0xd0, 0x50, 0x59]);
});

Deno.test("segment: a train of one segment and one without payload become one packet", () => {
  for (const payloadSize of [0, 50]) {
    const frame = makeFrame({ payloadSize, checksum: "partial" });
    const frames = segments(trainOf(frame, GSO_TCPV4, 1000));
    assert.deepEqual(frames, [makeFrame({ payloadSize }).bytes]);
  }
});

Deno.test("segment: UDP_L4: datagrams of their own", () => {
  for (const isIpv6 of [false, true]) {
    const frame = makeFrame({ isIpv6, protocol: "udp", payloadSize: 2500, checksum: "partial" });
    const frames = segments(trainOf(frame, GSO_UDP_L4, 1000));
    assert.deepEqual(frames.map((bytes) => u16(bytes, frame.l4 + 4)), [1008, 1008, 508]);
    for (const bytes of frames) {
      assert.deepEqual(faults(bytes), []);
      assert.notEqual(u16(bytes, frame.l4 + 6), 0);
    }
  }
});

Deno.test("segment: IPv4 identifications wrap", () => {
  const frame = makeFrame({ payloadSize: 200, identification: 0xffff, checksum: "partial" });
  const frames = segments(trainOf(frame, GSO_TCPV4, 100));
  assert.deepEqual(frames.map((bytes) => u16(bytes, frame.l3 + 4)), [0xffff, 0]);
});

Deno.test("segment: IPv6 extension headers stay in every segment", () => {
  const extensions = [[0, [0, 1, 4, 0, 0, 0, 0]], [60, [0, 1, 4, 0, 0, 0, 0]]] as const;
  const frame = makeFrame({ isIpv6: true, extensions, payloadSize: 900, checksum: "partial" });
  const frames = segments(trainOf(frame, GSO_TCPV6, 400));
  assert.equal(frames.length, 3);
  for (const bytes of frames) assert.deepEqual(faults(bytes), []);
});

/** A train inside a tunnel; its partial checksum is the inner one. */
function tunnelTrain(inner: Frame, options: TunnelOptions, gsoType: number): [Packet, Frame] {
  const outer = makeTunnelFrame(inner.bytes, { ...options, isTrain: true });
  const csumStart = outer.bytes.length - (inner.bytes.length - inner.l4);
  const packet = trainOf({ ...outer, l4: csumStart }, gsoType, 1398);
  return [packet, outer];
}

Deno.test("segment: encapsulated trains: outer and inner headers of every tunnel are right", () => {
  for (const kind of ["vxlan", "geneve", "gre", "ipip"] as const) {
    for (const outerIpv6 of [false, true]) {
      for (const innerIpv6 of [false, true]) {
        for (const hasChecksum of [false, true]) {
          const inner = makeFrame({
            isIpv6: innerIpv6,
            payloadSize: 10000,
            checksum: "partial",
            tcpOptionsSize: 12,
            identification: 100,
          });
          const [train, outer] = tunnelTrain(
            inner,
            { kind, isIpv6: outerIpv6, hasChecksum, tags: outerIpv6 ? [0x81000009] : [] },
            innerIpv6 ? GSO_TCPV6 : GSO_TCPV4,
          );
          const frames = segments(train);
          const name = `${kind} ${outerIpv6} ${innerIpv6} ${hasChecksum}`;
          assert.equal(frames.length, 8, name);
          const shift = outer.bytes.length - inner.bytes.length;
          frames.forEach((bytes, at) => {
            assert.deepEqual(faults(bytes), [], name);
            assert.equal(u32(bytes, shift + inner.l4 + 4), (0xfffffff0 + at * 1398) % 2 ** 32);
            if (!outerIpv6) assert.equal(u16(bytes, outer.l3 + 4), 0x1234 + at);
            if (!innerIpv6) assert.equal(u16(bytes, shift + inner.l3 + 4), 100 + at);
            if (kind === "vxlan" || kind === "geneve") {
              assert.equal(u16(bytes, outer.l4 + 6) !== 0, hasChecksum, name);
            }
          });
        }
      }
    }
  }
});

Deno.test("segment: encapsulated UDP_L4 and inner tags", () => {
  const inner = makeFrame({
    protocol: "udp",
    payloadSize: 5000,
    checksum: "partial",
    tags: [0x81000003],
  });
  const [train] = tunnelTrain(inner, { kind: "vxlan", hasChecksum: true }, GSO_UDP_L4);
  const frames = segments(train);
  assert.equal(frames.length, 4);
  for (const bytes of frames) assert.deepEqual(faults(bytes), []);
});

Deno.test("segment: headers that make no sense are refused", () => {
  const frame = makeFrame({ payloadSize: 500, checksum: "partial" });
  const good = (): Packet => trainOf({ ...frame, bytes: frame.bytes.slice() }, GSO_TCPV4, 100);
  const bad = (change: (packet: Packet) => void): void => {
    const packet = good();
    change(packet);
    refuses(packet);
  };
  bad((packet) => packet.gsoSize = 0);
  bad((packet) => packet.gsoType = GSO_UDP);
  bad((packet) => packet.gsoType = GSO_TCPV6);
  bad((packet) => packet.gsoType = GSO_UDP_L4);
  bad((packet) => packet.gsoType = 77);
  bad((packet) => packet.csumStart = 5);
  bad((packet) => packet.csumStart = 60000);
  bad((packet) => packet.csumStart += 2);
  bad((packet) => packet.view.setUint8(packet.start + frame.l4 + 12, 0x40));
  bad((packet) => packet.end = packet.start + frame.l4 + 19);
  bad((packet) => packet.view.setUint8(packet.start + frame.l3, 0x65));
  // A later fragment has no L4 header.
  bad((packet) => packet.view.setUint16(packet.start + frame.l3 + 6, 5));
});

Deno.test("segment: an encapsulated train without an inner IP header that fits is refused", () => {
  const inner = makeFrame({ payloadSize: 3000, checksum: "partial" });
  const [train, outer] = tunnelTrain(inner, { kind: "vxlan" }, GSO_TCPV4);
  const innerL3 = train.start + outer.bytes.length - inner.bytes.length + inner.l3;
  train.view.setUint8(innerL3 + 8, 3);
  refuses(train);
});

Deno.test("segment: when the pool is dry it says so, the first segments are out", () => {
  const frame = makeFrame({ payloadSize: 500, checksum: "partial" });
  const train = trainOf(frame, GSO_TCPV4, 100);
  extractKey(train, new Int32Array(KEY_WORDS), 0);
  const pool = new PacketPool(new ArrayBuffer(2 * SLOT_SIZE), 0, 2);
  let count = 0;
  const sink: SegmentSink = {
    allocate: () => pool.allocate(),
    emit: () => count++,
    recycle: (packet) => pool.free(packet),
  };
  assert.equal(segment(train, sink), dropReason("pool-exhausted"));
  assert.equal(count, 2);
});

Deno.test("segment: any sizes: payload whole, every segment right", () => {
  fc.assert(
    fc.property(
      fc.record({
        payloadSize: fc.nat(4000),
        gsoSize: fc.integer({ min: 8, max: 2000 }),
        isIpv6: fc.boolean(),
        isTcp: fc.boolean(),
        tcpOptionsSize: fc.constantFrom(0, 4, 40),
        tunnel: fc.constantFrom(undefined, "vxlan", "geneve", "gre"),
        hasChecksum: fc.boolean(),
      }),
      ({ payloadSize, gsoSize, isIpv6, isTcp, tcpOptionsSize, tunnel, hasChecksum }) => {
        const protocol = isTcp ? "tcp" : "udp";
        const inner = makeFrame({
          payloadSize,
          isIpv6,
          protocol,
          tcpOptionsSize,
          checksum: "partial",
        });
        const gsoType = !isTcp ? GSO_UDP_L4 : isIpv6 ? GSO_TCPV6 : GSO_TCPV4;
        const [train] = tunnel === undefined
          ? [trainOf(inner, gsoType, gsoSize)]
          : tunnelTrain(inner, { kind: tunnel as "vxlan", hasChecksum }, gsoType);
        train.gsoSize = gsoSize;
        const headers = train.size - payloadSize;
        const frames = segments(train);
        for (const bytes of frames) assert.deepEqual(faults(bytes), []);
        const payload = frames.flatMap((bytes) => [...bytes.subarray(headers)]);
        assert.deepEqual(Uint8Array.from(payload), inner.bytes.slice(inner.payload));
      },
    ),
    { numRuns: 60 },
  );
});
