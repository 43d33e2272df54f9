/** The ring by itself, and the pipeline's upcalls. */
import assert from "node:assert/strict";
import { encodeActions } from "./actions/action_program.ts";
import type { Action } from "./actions/actions.ts";
import {
  CONSUMED,
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  GENERATED,
  LOST,
  makePortBlocks,
  sumDatapath,
  sumPort,
  UPCALL_ERRORS,
  UPCALL_PACKETS,
} from "./counters.ts";
import { extractKey } from "./extract/extract.ts";
import { makeFlowTableBuffers } from "./flow_table/layout.ts";
import { FlowTableReader } from "./flow_table/reader.ts";
import { FlowTableWriter } from "./flow_table/writer.ts";
import { IN_PORT_AT, KEY_WORDS } from "./key.ts";
import { MacTable, makeMacTable } from "./mac_table.ts";
import { FRAME_SIZE_MAX, GSO_TCPV4, type Packet } from "./packet/packet.ts";
import type { UpcallMode } from "./pipeline.ts";
import { CheckedPipeline } from "./testing/balance.ts";
import { ethernetFrame, makeFrame, packetOf } from "./testing/frames.ts";
import { RecordingPort, TestHost } from "./testing/ports.ts";
import {
  makeUpcallRing,
  RING_WORDS,
  UPCALL_ACTION,
  UPCALL_MISS,
  UpcallConsumer,
  UpcallProducer,
  WAITING,
} from "./upcall_ring.ts";

function keyOf(packet: Packet): Int32Array<ArrayBuffer> {
  const key = new Int32Array(KEY_WORDS);
  extractKey(packet, key, 0);
  return key;
}

function numbered(size: number, number: number): Uint8Array<ArrayBuffer> {
  const bytes = Uint8Array.from({ length: size }, (_, at) => at * 31 + number);
  return ethernetFrame(0x1234, bytes);
}

Deno.test("upcall ring: a packet comes out as it went in, with key and offload state", () => {
  const ring = makeUpcallRing();
  const producer = new UpcallProducer(ring);
  const consumer = new UpcallConsumer(ring);
  for (const size of [0, 1, 2, 3, 4, 57, 1500, FRAME_SIZE_MAX - 14]) {
    const frame = numbered(size, size);
    const packet = packetOf(frame, {
      inPort: 3,
      mark: 7,
      mru: 1400,
      needsCsum: true,
      csumStart: 34,
      csumOffset: 16,
      gsoType: GSO_TCPV4,
      gsoSize: 1448,
    });
    const key = keyOf(packet);
    assert(producer.push(packet, key, 0, FRAME_SIZE_MAX, undefined));
    const upcall = consumer.take()!;
    assert.equal(upcall.kind, UPCALL_MISS);
    assert.deepEqual(upcall.bytes, frame);
    assert.equal(upcall.fullSize, frame.length);
    assert.deepEqual(upcall.key, key);
    assert.equal(upcall.mru, 1400);
    assert.equal(upcall.l3EthType, undefined);
    assert.equal(upcall.instruction, undefined);
    assert.deepEqual(upcall.offload, {
      needsCsum: true,
      csumStart: 34,
      csumOffset: 16,
      gsoType: GSO_TCPV4,
      gsoSize: 1448,
    });
    assert.equal(consumer.take(), undefined);
  }
});

Deno.test("upcall ring: full, it takes nothing and loses nothing of what it has", () => {
  const ring = makeUpcallRing();
  const producer = new UpcallProducer(ring);
  const consumer = new UpcallConsumer(ring);
  let put = 0;
  let taken = 0;
  // Again and again, so that every place in the ring is the end of some entry.
  for (let time = 0; time < 40; time++) {
    for (;;) {
      const packet = packetOf(numbered(100 + put % 997, put));
      if (!producer.push(packet, keyOf(packet), 0, FRAME_SIZE_MAX, undefined)) break;
      put++;
    }
    for (let count = 0; count < 50 + time; count++) {
      const { bytes } = consumer.take()!;
      assert.deepEqual(bytes, numbered(100 + taken % 997, taken));
      taken++;
    }
  }
  while (taken < put) {
    assert.deepEqual(consumer.take()!.bytes, numbered(100 + taken % 997, taken));
    taken++;
  }
  assert(consumer.isEmpty);
  assert(put > RING_WORDS / 300);
});

Deno.test("upcall ring: a flood from one port leaves room for the others", () => {
  const ring = makeUpcallRing();
  const producer = new UpcallProducer(ring);
  const consumer = new UpcallConsumer(ring);
  const push = (inPort: number, size = 60): boolean => {
    const packet = packetOf(numbered(size, 1), { inPort });
    return producer.push(packet, keyOf(packet), 0, FRAME_SIZE_MAX, undefined);
  };
  for (let time = 0; time < 3; time++) {
    while (push(1));
    assert.equal(push(1), false);
    for (const port of [2, 3]) {
      for (let count = 0; count < 64; count++) assert(push(port), `port ${port}`);
      assert.equal(push(port), false, "its share is used up");
    }
    // Less than half of it is left: all may again.
    for (let count = 0; count < 1000; count++) consumer.take();
  }
});

Deno.test("upcall ring: a consumer that waits is told, one that does not is left alone", () => {
  const ring = makeUpcallRing();
  const producer = new UpcallProducer(ring);
  const consumer = new UpcallConsumer(ring);
  const packet = packetOf(numbered(60, 1));
  const push = (): boolean => producer.push(packet, keyOf(packet), 0, FRAME_SIZE_MAX, undefined);
  assert(consumer.prepareWait());
  assert.equal(consumer.control[WAITING], 1);
  push();
  assert.equal(consumer.control[WAITING], 0);
  assert.equal(consumer.prepareWait(), false, "there is something");
  consumer.clear();
  assert(consumer.isEmpty);
});

class Bench {
  readonly host = new TestHost(16);
  readonly counters = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly portCounters = new BigUint64Array(makePortBlocks());
  readonly table: FlowTableWriter;
  readonly pipeline: CheckedPipeline;
  readonly port = new RecordingPort(2);
  readonly consumer: UpcallConsumer;

  constructor(mode: UpcallMode) {
    const buffers = makeFlowTableBuffers({ flowsMax: 64, threads: 1, seed: new Uint8Array(16) });
    this.table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    const upcalls = makeUpcallRing();
    this.consumer = new UpcallConsumer(upcalls);
    this.pipeline = new CheckedPipeline({
      table: new FlowTableReader(buffers, 0, this.table.buckets),
      counters: this.counters,
      portCounters: this.portCounters,
      macTable: new MacTable(makeMacTable()),
      host: this.host,
      upcalls,
    });
    this.pipeline.setUpcalls(mode);
    this.pipeline.setPort(2, this.port);
  }

  flow(inPort: number, actions: readonly Action[]): void {
    const key = new Int32Array(KEY_WORDS);
    const mask = new Int32Array(KEY_WORDS);
    new DataView(key.buffer).setUint16(IN_PORT_AT, inPort);
    new DataView(mask.buffer).setUint16(IN_PORT_AT, 0xffff);
    const ufid = inPort.toString(16).padStart(32, "0");
    this.table.insert({ ufid, key, mask, actions: encodeActions(actions) });
    this.table.commit();
  }

  receive(inPort: number, packet: Packet): void {
    this.pipeline.begin(1);
    this.pipeline.receive(inPort, packet);
    this.finish();
  }

  finish(): void {
    this.pipeline.finish(1);
    this.host.flush();
    assert.equal(this.host.pool.freeCount, this.host.slots);
  }

  count(index: number): number {
    return sumDatapath([this.counters])[index]!;
  }

  drops(): unknown {
    return dropsByName(sumDatapath([this.counters]), DROPS);
  }

  /** [packets, errors] */
  upcalls(portNo: number): number[] {
    const sums = sumPort([this.portCounters], portNo);
    return [sums[UPCALL_PACKETS]!, sums[UPCALL_ERRORS]!];
  }
}

const FRAME = makeFrame().bytes;

Deno.test("Pipeline: a miss goes to the handler and nowhere else", () => {
  const bench = new Bench("handle");
  bench.receive(1, packetOf(FRAME));
  assert.deepEqual(bench.consumer.take()!.bytes, FRAME);
  assert.equal(bench.count(CONSUMED), 1);
  assert.equal(bench.count(LOST), 0);
  assert.deepEqual(bench.upcalls(1), [1, 0]);
});

Deno.test("Pipeline: who looks on changes nothing", () => {
  const bench = new Bench("watch");
  bench.receive(1, packetOf(FRAME));
  assert.deepEqual(bench.consumer.take()!.bytes, FRAME);
  assert.deepEqual(bench.drops(), { "no-upcall-handler": 1 });
  assert.equal(bench.count(LOST), 1);
  bench.pipeline.setMiss("flood");
  bench.receive(1, packetOf(FRAME));
  assert.equal(bench.port.sent.length, 1);
  assert.deepEqual(bench.consumer.take()!.bytes, FRAME);
});

Deno.test("Pipeline: what the ring does not take is lost, with its reason and port", () => {
  const bench = new Bench("handle");
  const frame = numbered(60_000, 1);
  for (let count = 0; count < 30; count++) bench.receive(1, packetOf(frame));
  const [packets, errors] = bench.upcalls(1);
  assert.equal(packets! + errors!, 30);
  assert(packets! >= 15 && errors! > 0);
  assert.equal(bench.count(LOST), errors);
  assert.deepEqual(bench.drops(), { "upcall-queue-full": errors });
});

const USERSPACE: Action = {
  type: "userspace",
  pid: 5,
  userdata: "0102030405",
  actions: true,
  tunnelOutPort: undefined,
};

Deno.test("Pipeline: a userspace action hands over the packet, cut and with what it said, and goes on", () => {
  const bench = new Bench("handle");
  const list: Action[] = [{ type: "trunc", sizeMax: 20 }, USERSPACE, { type: "output", port: 2 }];
  bench.flow(1, list);
  bench.receive(1, packetOf(FRAME));
  const upcall = bench.consumer.take()!;
  assert.equal(upcall.kind, UPCALL_ACTION);
  assert.deepEqual(upcall.bytes, FRAME.slice(0, 20));
  assert.equal(upcall.fullSize, FRAME.length);
  assert.deepEqual(upcall.actions, encodeActions(list));
  assert.deepEqual(upcall.instruction!, encodeActions([USERSPACE]).with(-1, 0));
  assert.deepEqual(bench.port.sent[0]!.frame, FRAME);
  assert.equal(bench.count(CONSUMED), 1);
  bench.pipeline.setUpcalls("off");
  bench.receive(1, packetOf(FRAME));
  assert.deepEqual(bench.drops(), { "no-upcall-handler": 1 });
  assert.deepEqual(bench.upcalls(1), [1, 1]);
  assert.equal(bench.port.sent.length, 2);
});

Deno.test("Pipeline.inject: actions run on a packet of the control plane, with its metadata", () => {
  const bench = new Bench("handle");
  bench.flow(1, [USERSPACE]);
  const at = bench.table.lendActions(
    encodeActions([{ type: "recirc", id: 0 }, { type: "output", port: 2 }]),
  );
  const packet = packetOf(FRAME, { inPort: 1, mark: 77 });
  bench.pipeline.begin(1);
  bench.pipeline.inject({
    bytes: FRAME,
    inPort: 1,
    l3EthType: undefined,
    key: keyOf(packet),
    mru: 0,
    offload: { needsCsum: false, csumStart: 0, csumOffset: 0, gsoType: 0, gsoSize: 0 },
  }, at);
  bench.finish();
  bench.table.returnActions(at);
  assert.equal(bench.count(GENERATED), 1);
  assert.deepEqual(bench.port.sent.map(({ frame }) => frame), [FRAME]);
  // It came back by its flow's userspace action, as the packet that it was.
  assert.deepEqual(bench.consumer.take()!.key, keyOf(packet));
});
