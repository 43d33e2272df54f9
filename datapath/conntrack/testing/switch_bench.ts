/** A datapath of one thread with a connection tracker, flows given as text, and ports that keep what they are sent. */
import assert from "node:assert/strict";
import { encodeActions } from "../../actions/action_program.ts";
import {
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  makePortBlocks,
  sumDatapath,
} from "../../counters.ts";
import { makeFlowTableBuffers } from "../../flow_table/layout.ts";
import { FlowTableReader } from "../../flow_table/reader.ts";
import { FlowTableWriter } from "../../flow_table/writer.ts";
import { MacTable, makeMacTable } from "../../mac_table.ts";
import type { Packet } from "../../packet/packet.ts";
import { CheckedPipeline } from "../../testing/balance.ts";
import { packetOf } from "../../testing/frames.ts";
import { RecordingPort, TestHost } from "../../testing/ports.ts";
import { parseActions } from "../../text/action_text.ts";
import { parseFlow } from "../../text/flow_text.ts";
import { makeUpcallRing, type RawUpcall, UpcallConsumer } from "../../upcall_ring.ts";
import { ConntrackControl } from "../control.ts";
import { type ConntrackBuffers, makeConntrackBuffers } from "../layout.ts";
import { setDefaultTimeouts } from "../timeouts.ts";

export interface BenchOptions {
  /** Default 1 … 3. */
  readonly ports?: readonly RecordingPort[];
  /** Default 64. */
  readonly slots?: number;
  /** Whether `userspace` actions are taken; default false. */
  readonly takesUpcalls?: boolean;
  /** 32 random bits; default always 1. */
  readonly random?: () => number;
}

export class SwitchBench {
  readonly host: TestHost;
  readonly counters: BigUint64Array = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly ports: readonly RecordingPort[];
  readonly pipeline: CheckedPipeline;
  readonly conntrack: ConntrackControl;
  readonly conntrackBuffers: ConntrackBuffers;
  nowMs = 1000;
  readonly #table: FlowTableWriter;
  readonly #upcalls: UpcallConsumer | undefined;
  readonly #flows: number[] = [];

  constructor(
    flows: readonly (readonly [flow: string, actions: string])[],
    options: BenchOptions = {},
  ) {
    this.host = new TestHost(options.slots ?? 64);
    this.ports = options.ports ?? [1, 2, 3].map((portNo) => new RecordingPort(portNo));
    const seed = Uint8Array.from({ length: 16 }, (_, at) => at * 7 + 1);
    const tableBuffers = makeFlowTableBuffers({ flowsMax: 256, threads: 1, seed });
    const table = this.#table = new FlowTableWriter(tableBuffers, undefined, {
      publishBuckets: () => {},
    });
    const buffers = makeConntrackBuffers({ connectionsMax: 1000, threads: 1, seed });
    setDefaultTimeouts(buffers);
    this.conntrackBuffers = buffers;
    this.conntrack = new ConntrackControl(buffers);
    const upcalls = options.takesUpcalls === true ? makeUpcallRing() : undefined;
    this.#upcalls = upcalls && new UpcallConsumer(upcalls);
    this.pipeline = new CheckedPipeline({
      table: new FlowTableReader(tableBuffers, 0, table.buckets),
      counters: this.counters,
      portCounters: new BigUint64Array(makePortBlocks()),
      macTable: new MacTable(makeMacTable()),
      host: this.host,
      conntrack: { buffers, thread: 0, wallOffsetMs: 0 },
      random: options.random ?? (() => 1),
      upcalls,
    });
    if (upcalls !== undefined) this.pipeline.setUpcalls("handle");
    for (const port of this.ports) this.pipeline.setPort(port.portNo, port);
    this.setFlows(flows);
  }

  /** Other flows in place of those that there are. */
  setFlows(flows: readonly (readonly [flow: string, actions: string])[]): void {
    for (const index of this.#flows.splice(0)) this.#table.remove(index);
    flows.forEach(([flow, actions], at) => {
      const { key, mask } = parseFlow(flow);
      const ufid = at.toString(16).padStart(32, "0");
      const encoded = encodeActions(parseActions(actions));
      this.#flows.push(this.#table.insert({ ufid, key, mask, actions: encoded }));
    });
    this.#table.commit();
  }

  /** What `userspace` actions have handed over since the last call. */
  upcalls(): RawUpcall[] {
    const taken: RawUpcall[] = [];
    for (let one = this.#upcalls?.take(); one !== undefined; one = this.#upcalls?.take()) {
      taken.push(one);
    }
    return taken;
  }

  /** One round in which a port receives packets; what the ports are sent: `PORT: hex` each. The accounts are checked. */
  receive(portNo: number, ...packets: readonly (Packet | Uint8Array)[]): string[] {
    this.pipeline.begin(this.nowMs);
    for (const each of packets) {
      this.pipeline.receive(portNo, each instanceof Uint8Array ? packetOf(each) : each);
    }
    this.pipeline.finish(this.nowMs);
    for (const port of this.ports) port.assertIntact(this.host.round);
    this.host.flush();
    assert.equal(this.host.pool.freeCount, this.host.slots, "pool packets come back");
    return this.ports.flatMap(({ portNo: to, sent }) =>
      sent.splice(0).map(({ frame }) => `${to}: ${frame.toHex()}`)
    );
  }

  count(index: number): number {
    return sumDatapath([this.counters])[index]!;
  }

  drops(): unknown {
    return dropsByName(sumDatapath([this.counters]), DROPS);
  }
}
