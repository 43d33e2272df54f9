import assert from "node:assert/strict";
import {
  CONSUMED,
  COPIED,
  DATAPATH_BLOCK_LENGTH,
  DROPPED,
  DROPS,
  GENERATED,
  HELD,
  makePortBlocks,
  RECEIVED,
  SENT,
} from "../counters.ts";
import { makeFlowTableBuffers } from "../flow_table/layout.ts";
import { FlowTableReader } from "../flow_table/reader.ts";
import { FlowTableWriter } from "../flow_table/writer.ts";
import { MacTable, makeMacTable } from "../mac_table.ts";
import { CheckedPipeline, imbalance, totalsOf } from "./balance.ts";
import { makeFrame, packetOf } from "./frames.ts";
import { output, program, RecordingPort, TestHost, TestOutputs } from "./ports.ts";

const COUNTERS = { RECEIVED, GENERATED, COPIED, SENT, DROPPED, CONSUMED, HELD };
const PORT_COUNTERS = new BigUint64Array(makePortBlocks());

/** Flooded to two ports, so that there are copies. */
function makePipeline(): { pipeline: CheckedPipeline; counters: BigUint64Array } {
  const counters = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  const buffers = makeFlowTableBuffers({ flowsMax: 64, threads: 1, seed: new Uint8Array(16) });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const pipeline = new CheckedPipeline({
    table: new FlowTableReader(buffers, 0, table.buckets),
    counters,
    portCounters: PORT_COUNTERS,
    macTable: new MacTable(makeMacTable()),
    host: new TestHost(),
  });
  pipeline.setMiss("flood");
  for (const portNo of [1, 2, 3]) pipeline.setPort(portNo, new RecordingPort(portNo));
  return { pipeline, counters };
}

function receive(pipeline: CheckedPipeline): void {
  pipeline.begin(1);
  pipeline.receive(1, packetOf(makeFrame().bytes));
  pipeline.finish(1);
}

for (const [name, index] of Object.entries(COUNTERS)) {
  for (const step of [1n, -1n]) {
    Deno.test(`CheckedPipeline: ${name} that is off by ${step} fails the next round`, () => {
      const { pipeline, counters } = makePipeline();
      receive(pipeline);
      counters[index]! += step;
      assert.throws(() => receive(pipeline), /received|dropped|held|generated|consumed/);
      counters[index]! -= step;
      receive(pipeline);
    });
  }
}

Deno.test("CheckedPipeline: a drop without a reason, and a packet taken back that was never sent, fail", () => {
  const { pipeline, counters } = makePipeline();
  counters[DROPPED]! += 1n;
  counters[RECEIVED]! += 1n;
  assert.throws(() => receive(pipeline), /the reasons' sum is 0/);
  counters[DROPS + 1]! += 1n;
  receive(pipeline);
  for (let sent = Number(counters[SENT]!); sent > 0; sent--) pipeline.countTxDrop(2, 1, 60);
  assert.throws(() => pipeline.countTxDrop(2, 1, 60), /sent is/);
});

Deno.test("TestOutputs: a packet that was not received fails the list that it runs through", () => {
  const test = new TestOutputs([new RecordingPort(1)], 4, {}, PORT_COUNTERS);
  const packet = packetOf(makeFrame().bytes);
  test.accounts.received(1, packet.size);
  test.execute(packet, program(output(1)));
  assert.throws(() => test.execute(packet, program(output(1))), /received \+ generated/);
});

Deno.test("imbalance: threads' blocks are summed, one may lend to another", () => {
  const [one, other] = [0, 1].map(() => new BigUint64Array(DATAPATH_BLOCK_LENGTH)) as [
    BigUint64Array,
    BigUint64Array,
  ];
  one[RECEIVED] = 3n;
  one[SENT] = 4n;
  other[SENT] = BigInt.asUintN(64, -1n);
  assert.equal(imbalance(totalsOf([one, other])), undefined);
  assert.match(imbalance(totalsOf([one]))!, /sent \+ dropped/);
});
