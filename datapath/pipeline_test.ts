import assert from "node:assert/strict";
import { SET_ETH } from "./actions/action_program.ts";
import {
  CONSUMED,
  COPIED,
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  GENERATED,
  HIT,
  LOST,
  makePortBlocks,
  MISSED,
  PORT_DROPS,
  RECEIVED,
  RX_BYTES,
  RX_DROPPED,
  RX_PACKETS,
  SENT,
  sumDatapath,
  sumPort,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
} from "./counters.ts";
import { dropReason } from "./drop_reasons.ts";
import { extractKey } from "./extract/extract.ts";
import { makeFlowTableBuffers } from "./flow_table/layout.ts";
import { FlowTableReader } from "./flow_table/reader.ts";
import { FlowTableWriter } from "./flow_table/writer.ts";
import * as key from "./key.ts";
import { MacTable, makeMacTable } from "./mac_table.ts";
import { copyPacket, GSO_TCPV4, GSO_UDP, Packet } from "./packet/packet.ts";
import type { OutputPort } from "./pipeline.ts";
import { CheckedPipeline } from "./testing/balance.ts";
import {
  ethernetFrame,
  faults,
  type FrameOptions,
  labelStack,
  makeFrame,
  makeTunnelFrame,
  packetOf,
} from "./testing/frames.ts";
import { output, program, pushVlan, RecordingPort, set, TestHost } from "./testing/ports.ts";

/** A datapath on one thread: table, pipeline, ports 1 … 3. */
class Bench {
  readonly host: TestHost;
  readonly table: FlowTableWriter;
  readonly pipeline: CheckedPipeline;
  readonly counters: BigUint64Array = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly portCounters: BigUint64Array = new BigUint64Array(makePortBlocks());
  readonly ports: RecordingPort[];
  #flows = 0;
  #now = 1000;

  constructor(takes?: { partial?: boolean; trains?: boolean }, slots?: number) {
    this.host = new TestHost(slots);
    const buffers = makeFlowTableBuffers({ flowsMax: 64, threads: 1, seed: new Uint8Array(16) });
    this.table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    this.pipeline = new CheckedPipeline({
      table: new FlowTableReader(buffers, 0, this.table.buckets),
      counters: this.counters,
      portCounters: this.portCounters,
      macTable: new MacTable(makeMacTable()),
      host: this.host,
    });
    this.ports = [1, 2, 3].map((portNo) => new RecordingPort(portNo, takes));
    for (const port of this.ports) this.pipeline.setPort(port.portNo, port);
  }

  /** A flow for all packets that came in on a port. Returns its index. */
  flow(inPort: number, actions: Int32Array): number {
    const words = new Int32Array(key.KEY_WORDS);
    const mask = new Int32Array(key.KEY_WORDS);
    new DataView(words.buffer).setUint16(key.IN_PORT_AT, inPort);
    new DataView(mask.buffer).setUint16(key.IN_PORT_AT, 0xffff);
    const ufid = (++this.#flows).toString(16).padStart(32, "0");
    const index = this.table.insert({ ufid, key: words, mask, actions });
    this.table.commit();
    return index;
  }

  /** One round in which a port receives packets. */
  round(portNo: number, ...packets: Packet[]): void {
    this.pipeline.begin(this.#now);
    for (const packet of packets) this.pipeline.receive(portNo, packet);
    this.pipeline.finish(this.#now);
    for (const port of this.ports) port.assertIntact(this.host.round);
    this.host.flush();
    assert.equal(this.host.pool.freeCount, this.host.slots, "pool packets come back");
  }

  /** A received packet in a pool slot. */
  pooled(frame: Uint8Array): Packet {
    const packet = this.host.allocate()!;
    packet.bytes.set(frame, packet.start);
    packet.end += frame.length;
    return packet;
  }

  warp(ms: number): void {
    this.#now += ms;
  }

  count(index: number): number {
    return sumDatapath([this.counters])[index]!;
  }

  portCount(portNo: number, index: number): number {
    return sumPort([this.portCounters], portNo)[index]!;
  }

  drops(): unknown {
    return dropsByName(sumDatapath([this.counters]), DROPS);
  }

  sentCounts(): number[] {
    return this.ports.map(({ sent }) => sent.length);
  }
}

function received(options?: FrameOptions): Packet {
  return packetOf(makeFrame(options).bytes);
}

Deno.test("Pipeline: a hit is counted, executed and accounted", () => {
  const bench = new Bench();
  const flow = bench.flow(1, program(output(2)));
  const packets = [received({ tcpFlags: 2 }), received({ tcpFlags: 0x118 }), received()];
  const size = packets[0]!.size;
  bench.round(1, ...packets);
  assert.deepEqual(bench.sentCounts(), [0, 3, 0]);
  assert.equal(bench.count(HIT), 3);
  assert.equal(bench.count(RECEIVED), 3);
  assert.equal(bench.count(SENT), 3);
  assert.equal(bench.portCount(1, RX_PACKETS), 3);
  assert.equal(bench.portCount(1, RX_BYTES), 3 * size);
  assert.equal(bench.portCount(2, TX_PACKETS), 3);
  assert.equal(bench.portCount(2, TX_BYTES), 3 * size);
  const stats = bench.table.stats(flow);
  assert.deepEqual({ ...stats }, { packets: 3, bytes: 3 * size, usedMs: 1000, tcpFlags: 0x11a });
});

Deno.test("Pipeline: more packets than a burst, from several ports, keep their order per port", () => {
  const bench = new Bench();
  bench.flow(1, program(output(3)));
  bench.flow(2, program(output(3)));
  bench.pipeline.begin(1);
  for (let number = 0; number < 100; number++) {
    bench.pipeline.receive(1 + (number & 1), received({ identification: number }));
  }
  bench.pipeline.finish(1);
  const order = bench.ports[2]!.sent.map(({ frame }) => frame[18]! << 8 | frame[19]!);
  assert.deepEqual(order, Array.from({ length: 100 }, (_, number) => number));
  assert.equal(bench.portCount(1, RX_PACKETS), 50);
  assert.equal(bench.portCount(2, RX_PACKETS), 50);
});

Deno.test("Pipeline: a pool packet comes back after the flush when it was sent, at once when not", () => {
  const bench = new Bench({}, 4);
  bench.flow(1, program(output(2)));
  const { bytes } = makeFrame();
  bench.pipeline.receive(1, bench.pooled(bytes));
  bench.pipeline.receive(2, bench.pooled(bytes));
  bench.pipeline.finish(1);
  assert.equal(bench.host.pool.freeCount, 3);
  bench.host.flush();
  assert.equal(bench.host.pool.freeCount, 4);
});

Deno.test("Pipeline: frames shorter than an Ethernet header or longer than a buffer are drops of the port", () => {
  const bench = new Bench();
  const runt = bench.pooled(new Uint8Array(13));
  bench.round(1, runt, packetOf(new Uint8Array(65536 + 23)));
  assert.deepEqual(bench.drops(), { "frame-too-short": 1, "frame-too-long": 1 });
  assert.equal(bench.portCount(1, RX_DROPPED), 2);
  assert.equal(bench.portCount(1, RX_PACKETS), 0);
  assert.equal(bench.count(RECEIVED), 2);
});

Deno.test("Pipeline.receive: a frame that leaves its buffer is refused, and the next one goes on", () => {
  const bench = new Bench();
  bench.flow(1, program(output(2)));
  const careless = received();
  careless.end = careless.tailLimit + 1;
  bench.round(1, careless, received());
  assert.deepEqual(bench.drops(), { "frame-too-long": 1 });
  assert.deepEqual(bench.sentCounts(), [0, 1, 0]);
});

Deno.test("Pipeline: miss drop counts missed, lost and no-upcall-handler", () => {
  const bench = new Bench();
  bench.round(1, received());
  assert.equal(bench.count(MISSED), 1);
  assert.equal(bench.count(LOST), 1);
  assert.deepEqual(bench.drops(), { "no-upcall-handler": 1 });
  assert.equal(bench.portCount(1, PORT_DROPS + dropReason("no-upcall-handler")), 1);
});

Deno.test("Pipeline: miss flood sends to every other port, and drops when there is none", () => {
  const bench = new Bench();
  bench.pipeline.setMiss("flood");
  bench.round(2, received());
  assert.deepEqual(bench.sentCounts(), [1, 0, 1]);
  assert.equal(bench.count(COPIED), 1);
  assert.equal(bench.count(MISSED), 1);
  assert.equal(bench.count(LOST), 0);
  bench.pipeline.setPort(1, undefined);
  bench.pipeline.setPort(3, undefined);
  bench.round(2, received());
  assert.deepEqual(bench.drops(), { "flood-no-port": 1 });
});

/** A frame from station `from` to station `to`, 255: broadcast. */
function between(from: number, to: number, options: FrameOptions = {}): Packet {
  const { bytes } = makeFrame(options);
  if (to === 255) bytes.fill(255, 0, 6);
  else bytes[5] = to;
  bytes[11] = from;
  return packetOf(bytes);
}

Deno.test("Pipeline: miss learn floods what it does not know and sends where stations are", () => {
  const bench = new Bench();
  bench.pipeline.setMiss("learn");
  bench.round(1, between(11, 22));
  assert.deepEqual(bench.sentCounts(), [0, 1, 1]);
  bench.round(2, between(22, 11));
  assert.deepEqual(bench.sentCounts(), [1, 1, 1]);
  bench.round(1, between(11, 22), between(11, 255));
  assert.deepEqual(bench.sentCounts(), [1, 3, 2]);
  // In another VLAN nobody is known.
  bench.round(1, between(11, 22, { tags: [0x81000005] }));
  assert.deepEqual(bench.sentCounts(), [1, 4, 3]);
  // A station behind the same port.
  bench.round(1, between(12, 11));
  assert.deepEqual(bench.sentCounts(), [1, 4, 3]);
  assert.deepEqual(bench.drops(), { "learned-same-port": 1 });
  bench.warp(301_000);
  bench.round(3, between(33, 22));
  assert.deepEqual(bench.sentCounts(), [2, 5, 3]);
});

Deno.test("Pipeline: miss learn follows a station that moves, and does not forward link-local groups", () => {
  const bench = new Bench();
  bench.pipeline.setMiss("learn");
  bench.round(1, between(11, 255));
  bench.round(2, between(11, 255));
  bench.round(3, between(33, 11));
  assert.equal(bench.ports[1]!.sent.length, 2);
  assert.equal(bench.ports[0]!.sent.length, 1);
  const bpdu = packetOf(makeFrame().bytes);
  bpdu.bytes.set([0x01, 0x80, 0xc2, 0, 0, 0x0e], bpdu.start);
  bench.round(1, bpdu);
  assert.deepEqual(bench.drops(), { "reserved-multicast": 1 });
});

Deno.test("Pipeline: copy on write keeps lent bytes whole within a round, not beyond it", () => {
  const bench = new Bench();
  bench.flow(1, program(output(2), set(SET_ETH, [key.ETH_DST_AT, [6]]), output(3)));
  const packet = received();
  bench.round(1, packet);
  assert.equal(bench.ports[1]!.sent[0]!.frame[0], 2);
  assert.equal(bench.ports[2]!.sent[0]!.frame[0], 6);
  assert.notEqual(bench.ports[2]!.sent[0]!.packet, packet);
  assert.equal(packet.bytes[packet.start], 2);
});

function train(payloadSize: number, gsoType = GSO_TCPV4): Packet {
  const { bytes, l4 } = makeFrame({ payloadSize, checksum: "partial" });
  return packetOf(bytes, {
    needsCsum: true,
    csumStart: l4,
    csumOffset: 16,
    gsoType,
    gsoSize: 1000,
  });
}

Deno.test("Pipeline: a port that takes trains gets them whole", () => {
  const bench = new Bench();
  bench.flow(1, program(pushVlan(0x81001005), output(2)));
  bench.round(1, train(60000));
  const [sent] = bench.ports[1]!.sent;
  assert.equal(sent!.frame.length, 60000 + 58);
  assert.equal(sent!.gsoType, GSO_TCPV4);
  assert.equal(sent!.csumStart, 38);
});

Deno.test("Pipeline: a port that takes no trains gets segments; consumed 1, generated n", () => {
  const bench = new Bench({ trains: false }, 8);
  bench.flow(1, program(pushVlan(0x81001005), output(2)));
  bench.round(1, train(60000));
  const { sent } = bench.ports[1]!;
  assert.equal(sent.length, 60);
  for (const { frame, needsCsum } of sent) {
    assert.equal(needsCsum, false);
    assert.deepEqual(faults(frame), []);
  }
  assert.equal(bench.count(CONSUMED), 1);
  assert.equal(bench.count(GENERATED), 60);
  assert.equal(bench.count(SENT), 60);
  assert(bench.host.round > 1, "the pool of 8 ran dry: flushed in between");
});

Deno.test("Pipeline: an encapsulated train is segmented for every port", () => {
  const bench = new Bench();
  bench.flow(1, program(output(2)));
  const inner = makeFrame({ payloadSize: 5000, checksum: "partial" });
  const outer = makeTunnelFrame(inner.bytes, { kind: "vxlan" });
  const csumStart = outer.payload + 8 + inner.l4;
  bench.round(
    1,
    packetOf(outer.bytes, {
      needsCsum: true,
      csumStart,
      csumOffset: 16,
      gsoType: GSO_TCPV4,
      gsoSize: 1000,
    }),
  );
  assert.equal(bench.ports[1]!.sent.length, 5);
  for (const { frame } of bench.ports[1]!.sent) assert.deepEqual(faults(frame), []);
});

Deno.test("Pipeline: a train that can't be segmented is a drop of the outgoing port", () => {
  const bench = new Bench({ trains: false });
  bench.flow(1, program(output(2)));
  bench.round(1, train(5000, GSO_UDP));
  assert.deepEqual(bench.drops(), { "tx-gso-invalid": 1 });
  assert.equal(bench.portCount(2, TX_DROPPED), 1);
  assert.equal(bench.count(CONSUMED), 0);
});

Deno.test("Pipeline: a partial checksum is completed for a port that takes none, in a copy when lent", () => {
  const bench = new Bench();
  const strict = new RecordingPort(2, { partial: false, trains: false });
  bench.pipeline.setPort(2, strict);
  bench.flow(1, program(output(3), output(2), output(3)));
  const frame = makeFrame({ payloadSize: 99, checksum: "partial" });
  const offload = { needsCsum: true, csumStart: frame.l4, csumOffset: 16 };
  bench.round(1, packetOf(frame.bytes, offload));
  assert.deepEqual(strict.sent[0]!.frame, makeFrame({ payloadSize: 99 }).bytes);
  assert.equal(bench.ports[2]!.sent[0]!.needsCsum, true);
  assert.deepEqual(bench.ports[2]!.sent[1]!.frame, frame.bytes);
  bench.round(1, packetOf(frame.bytes, { ...offload, csumStart: 5000 }));
  assert.deepEqual(bench.drops(), { "tx-gso-invalid": 1 });
});

Deno.test("Pipeline: SCTP's partial checksum is completed for every port", () => {
  const bench = new Bench();
  bench.flow(1, program(output(2)));
  const frame = makeFrame({ protocol: "sctp", checksum: "partial" });
  bench.round(1, packetOf(frame.bytes, { needsCsum: true, csumStart: frame.l4, csumOffset: 8 }));
  assert.deepEqual(bench.ports[1]!.sent[0]!.frame, makeFrame({ protocol: "sctp" }).bytes);
});

Deno.test("Pipeline: drops at reception and refusals after send keep the accounts balanced", () => {
  const bench = new Bench();
  bench.flow(1, program(output(2)));
  const packet = received();
  bench.pipeline.receive(1, packet);
  bench.pipeline.finish(1);
  bench.pipeline.countTxDrop(2, dropReason("tx-error"), packet.size);
  bench.pipeline.countRxDrop(1, dropReason("rx-truncated"));
  bench.pipeline.countRxDrop(key.PORT_NONE, dropReason("rx-not-a-port"));
  bench.round(1);
  assert.deepEqual(bench.drops(), { "tx-error": 1, "rx-truncated": 1, "rx-not-a-port": 1 });
  assert.equal(bench.portCount(2, TX_PACKETS), 0);
  assert.equal(bench.portCount(2, TX_BYTES), 0);
  assert.equal(bench.portCount(2, TX_DROPPED), 1);
  assert.equal(bench.portCount(1, RX_DROPPED), 1);
  assert.equal(bench.count(SENT), 0);
  bench.pipeline.clearPort(2);
  assert.equal(bench.portCount(2, TX_DROPPED), 0);
});

/** A port that hands what it is sent, in a packet of its own, back to the datapath as received on a peer. */
class LoopPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums = true;
  readonly takesSegmentTrains = true;
  readonly #deliver: (packet: Packet) => void;

  constructor(portNo: number, deliver: (packet: Packet) => void) {
    this.portNo = portNo;
    this.#deliver = deliver;
  }

  send(packet: Packet): number {
    this.#deliver(packetOf(packet.bytes.slice(packet.start, packet.end)));
    return 0;
  }
}

Deno.test("Pipeline: a port that loops packets back while it is sent to", () => {
  const bench = new Bench();
  bench.pipeline.setPort(4, new LoopPort(4, (packet) => bench.pipeline.receive(5, packet)));
  bench.flow(1, program(output(4)));
  bench.flow(5, program(output(2)));
  bench.round(1, ...Array.from({ length: 70 }, () => received()));
  assert.equal(bench.ports[1]!.sent.length, 70);
  assert.equal(bench.count(RECEIVED), 140);
});

Deno.test("Pipeline: ports that hand packets back to each other for ever end", () => {
  const bench = new Bench();
  bench.pipeline.setPort(4, new LoopPort(4, (packet) => bench.pipeline.receive(5, packet)));
  bench.flow(1, program(output(4)));
  bench.flow(5, program(output(4), output(2)));
  bench.round(1, received());
  const looped = bench.ports[1]!.sent.length;
  assert(looped > 4 && looped < 100, `${looped} times around`);
  assert.deepEqual(bench.drops(), { "tx-queue-full": 1 });
});

/** A port that writes a header in front of the frame, as a tunnel does, and sends both at the end of the round. */
class PrependingPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums = false;
  readonly takesSegmentTrains = false;
  readonly headroom = 8;
  readonly sent: { bytes: Uint8Array; at: number }[] = [];

  constructor(portNo: number) {
    this.portNo = portNo;
  }

  send(packet: Packet): number {
    const at = packet.start - this.headroom;
    assert(at >= packet.headLimit, "there is room for the header");
    packet.bytes.fill(this.portNo, at, packet.start);
    this.sent.push({ bytes: packet.bytes, at });
    return 0;
  }
}

Deno.test("Pipeline: headers that ports write in front of a frame do not meet", () => {
  const bench = new Bench();
  const tunnels = [4, 5].map((portNo) => new PrependingPort(portNo));
  for (const port of tunnels) bench.pipeline.setPort(port.portNo, port);
  bench.flow(1, program(output(2), output(4), output(5), pushVlan(1), output(3)));
  const packet = bench.pooled(makeFrame().bytes);
  bench.round(1, packet);
  for (const { portNo, sent } of tunnels) {
    const { bytes, at } = sent[0]!;
    assert.deepEqual([...bytes.slice(at, at + 8)], new Array(8).fill(portNo));
  }
  const places = [...tunnels.map((port) => port.sent[0]!.at + 8), bench.ports[1]!.sent[0]!.start];
  assert.equal(new Set(places).size, 3, "the headroom of a queued frame is left alone");
});

Deno.test("Pipeline: a port that writes its own header in front gets a frame with room for it", () => {
  const bench = new Bench();
  const tunnel = new PrependingPort(4);
  bench.pipeline.setPort(4, tunnel);
  bench.flow(1, program(output(4), output(2)));
  const packet = bench.pooled(makeFrame().bytes);
  packet.headLimit = packet.start - 4;
  bench.round(1, packet);
  bench.round(1, bench.pooled(makeFrame().bytes));
  // Nobody behind it may use the header's place, not even for a virtio-net header.
  const { packet: queued } = bench.ports[1]!.sent[1]!;
  assert.equal(queued.headLimit, queued.start);
});

/**
 * Bytes per packet by which the heap grows once V8 has compiled all that is on the way, which it does
 * when something has run often enough: measured again and again until it is little. 16 bytes per burst
 * of 32 are a number somewhere.
 */
function heapGrowth(bench: Bench, packets: readonly Packet[]): number {
  bench.pipeline.checks = false;
  let growth = Infinity;
  for (let attempt = 0; attempt < 60 && growth > 1; attempt++) {
    runPackets(bench, packets, 20_000);
    const before = Deno.memoryUsage().heapUsed;
    runPackets(bench, packets, 10_000);
    const bytes = Deno.memoryUsage().heapUsed - before;
    // Below zero: the collector came in between.
    if (bytes >= 0) growth = bytes / 10_000;
  }
  return growth;
}

function runPackets(bench: Bench, packets: readonly Packet[], count: number): void {
  for (let done = 0; done < count; done += packets.length) {
    bench.pipeline.begin(1);
    for (let at = 0; at < packets.length; at++) bench.pipeline.receive(1, packets[at]!);
    bench.pipeline.finish(1);
    bench.host.flush();
  }
}

/** Takes everything and keeps nothing. */
class NullPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;

  constructor(portNo: number, takesOffloads: boolean) {
    this.portNo = portNo;
    this.takesPartialChecksums = takesOffloads;
    this.takesSegmentTrains = takesOffloads;
  }

  send(): number {
    return 0;
  }
}

Deno.test("Pipeline: 10,000 packets allocate nothing: hits, misses, rewrites, copies, segments", () => {
  const cases: [string, Int32Array | undefined, Packet, boolean][] = [
    ["output", program(output(2)), received(), true],
    ["IPv6 output", program(output(2)), received({ isIpv6: true }), true],
    [
      "rewrite and copies",
      program(output(2), set(SET_ETH, [key.ETH_DST_AT, [6]]), pushVlan(0x81001005), output(3)),
      received(),
      true,
    ],
    ["no-such-port", program(output(77)), received(), true],
    ["miss learn", undefined, received(), true],
    ["segments", program(output(2)), train(3000), false],
    ["connection and tunnel", program(output(2)), tunnelled(), true],
    [
      "MPLS",
      program(output(2)),
      packetOf(ethernetFrame(0x8847, labelStack([0x1003f, 0x1113f]))),
      true,
    ],
  ];
  for (const [name, actions, packet, takesOffloads] of cases) {
    const bench = new Bench({}, 128);
    for (const portNo of [1, 2, 3]) {
      bench.pipeline.setPort(portNo, new NullPort(portNo, takesOffloads));
    }
    bench.pipeline.setMiss("learn");
    if (actions !== undefined) bench.flow(1, actions);
    const packets = Array.from({ length: 32 }, () => resident(bench, packet));
    const growth = heapGrowth(bench, packets);
    assert(growth <= 1, `${name}: the heap grows by ${growth} bytes per packet`);
  }
});

/** A packet with every kind of metadata. */
function tunnelled(): Packet {
  const packet = Object.assign(received(), { dpHash: 1, ctState: 0x21, ctZone: 3 });
  packet.beginTunnel(4).vxlanPolicy = 5;
  return packet;
}

Deno.test("Pipeline: an L3 packet may be shorter than an Ethernet header, and is not learned from", () => {
  const bench = new Bench();
  bench.pipeline.setMiss("learn");
  const l3 = { isL3: true, ethType: 0x0800 };
  for (const size of [0, 1, 13]) bench.round(1, packetOf(new Uint8Array(size), l3));
  bench.round(1, packetOf(new Uint8Array(13)));
  assert.equal(bench.portCount(1, RX_PACKETS), 2);
});

/** A packet like another in the pool's memory that nobody recycles: long copies to it need no view. */
function resident(bench: Bench, packet: Packet): Packet {
  const slot = bench.host.allocate()!;
  const copy = new Packet(slot.buffer);
  const { start, headLimit, tailLimit } = slot;
  Object.assign(copy, { start, headLimit, tailLimit });
  assert(copyPacket(packet, copy));
  return copy;
}

Deno.test("Pipeline: the key that flows are matched with is the packet's", () => {
  const bench = new Bench();
  const words = new Int32Array(key.KEY_WORDS);
  const packet = received({ tags: [0x81000005], destinationPort: 443 });
  packet.inPort = 1;
  extractKey(packet, words, 0);
  bench.table.insert({
    ufid: "f".repeat(32),
    key: words,
    mask: new Int32Array(key.KEY_WORDS).fill(-1),
    actions: program(output(3)),
  });
  bench.table.commit();
  bench.round(1, packet, received({ tags: [0x81000005], destinationPort: 444 }));
  assert.deepEqual(bench.sentCounts(), [0, 0, 1]);
  assert.equal(bench.count(MISSED), 1);
});
