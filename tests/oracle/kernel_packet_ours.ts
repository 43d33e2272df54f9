/** Our side of the comparison of packets: a pipeline with the ports of kernel_packet_shape.ts. */
import assert from "node:assert/strict";
import { encodeActions } from "../../datapath/actions/action_program.ts";
import type { Action } from "../../datapath/actions/actions.ts";
import {
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  makePortBlocks,
  sumDatapath,
} from "../../datapath/counters.ts";
import type { DropReason, DropReasonName } from "../../datapath/drop_reasons.ts";
import { makeFlowTableBuffers } from "../../datapath/flow_table/layout.ts";
import { FlowTableReader } from "../../datapath/flow_table/reader.ts";
import { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import { MacTable, makeMacTable } from "../../datapath/mac_table.ts";
import { makeMeterMemory, MeterReader, MeterTable } from "../../datapath/meters.ts";
import type { OutputPort } from "../../datapath/output.ts";
import { clearMetadata, type Packet } from "../../datapath/packet/packet.ts";
import { CheckedPipeline } from "../../datapath/testing/balance.ts";
import { TestHost } from "../../datapath/testing/ports.ts";
import { makeUpcallRing, UpcallConsumer } from "../../datapath/upcall_ring.ts";
import { toUpcall, type Upcall } from "../../daemon/upcalls/packet.ts";
import { readVnetHeader, writeVnetHeader } from "../../netdev/vnet_header.ts";
import {
  METER_RATE,
  type PacketInput,
  PI_SIZE,
  PORTS,
  type PortShape,
  VNET_SIZE,
} from "./kernel_packet_shape.ts";

const ETH_P_TEB = 0x6558;
const FLOWS_MAX = 64;
const SLOTS = 128;
const NOW_MS = 1000;

/** A flow as we have it. */
export interface OurFlow {
  readonly key: Int32Array<ArrayBuffer>;
  readonly mask: Int32Array<ArrayBuffer>;
  readonly actions: readonly Action[];
}

/** What we do with the frames of a case. */
export interface OurOutput {
  /** As in PacketOutput. */
  readonly sent: readonly (readonly string[])[];
  readonly upcalls: readonly Upcall[];
  readonly drops: Partial<Record<DropReasonName, number>>;
}

/** Keeps what it is sent as its device would show it. */
class DevicePort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly takesL3Packets: boolean;
  readonly mtu: number;
  sent: string[] = [];

  constructor({ portNo, isL3, takes, mtu }: PortShape) {
    this.portNo = portNo;
    this.takesPartialChecksums = takes !== "nothing";
    this.takesSegmentTrains = takes === "trains";
    this.takesL3Packets = isL3;
    this.mtu = mtu;
  }

  send(packet: Packet): DropReason {
    const head = (this.takesL3Packets ? PI_SIZE : 0) + VNET_SIZE;
    const bytes = new Uint8Array(head + packet.size);
    const view = new DataView(bytes.buffer);
    if (this.takesL3Packets) view.setUint16(2, packet.isL3 ? packet.ethType : ETH_P_TEB);
    writeVnetHeader(view, head - VNET_SIZE, packet);
    bytes.set(packet.bytes.subarray(packet.start, packet.end), head);
    this.sent.push(bytes.toHex());
    return 0;
  }
}

/** One datapath on one thread; every case begins with an empty flow table. */
export class OurSwitch {
  readonly #host: TestHost = new TestHost(SLOTS);
  readonly #counters: BigUint64Array = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly #table: FlowTableWriter;
  readonly #pipeline: CheckedPipeline;
  readonly #ports: readonly DevicePort[] = PORTS.map((port) => new DevicePort(port));
  readonly #upcalls: UpcallConsumer;
  readonly #meters: MeterTable;

  constructor() {
    const options = { flowsMax: FLOWS_MAX, threads: 1, seed: new Uint8Array(16) };
    const buffers = makeFlowTableBuffers(options);
    this.#table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    const ring = makeUpcallRing();
    const meters = makeMeterMemory();
    this.#meters = new MeterTable(meters);
    this.#upcalls = new UpcallConsumer(ring);
    this.#pipeline = new CheckedPipeline({
      table: new FlowTableReader(buffers, 0, this.#table.buckets),
      counters: this.#counters,
      portCounters: new BigUint64Array(makePortBlocks()),
      macTable: new MacTable(makeMacTable()),
      host: this.#host,
      upcalls: ring,
      meters: new MeterReader(meters),
      random: () => 1,
    });
    for (const port of this.#ports) this.#pipeline.setPort(port.portNo, port);
    this.#pipeline.setUpcalls("handle");
  }

  /** Flows in, frames (in the form of PacketInput) through them one after the other, flows out. */
  run(
    flows: readonly OurFlow[],
    { inPort, frames, meters = [] }: Omit<PacketInput, "flows">,
  ): OurOutput {
    for (const { id, unit, burst } of meters) {
      this.#meters.set({ id, unit, bands: [{ rate: METER_RATE, burst }] }, NOW_MS);
    }
    const indexes = flows.map(({ key, mask, actions }, at) => {
      const masked = key.map((word, index) => word & mask[index]!);
      const ufid = (at + 1).toString(16).padStart(32, "0");
      return this.#table.insert({ ufid, key: masked, mask, actions: encodeActions(actions) });
    });
    this.#table.commit();
    this.#counters.fill(0n);
    for (const port of this.#ports) port.sent = [];
    const upcalls: Upcall[] = [];
    for (const frame of frames) {
      this.#receive(inPort, frame);
      for (let raw = this.#upcalls.take(); raw !== undefined; raw = this.#upcalls.take()) {
        upcalls.push(toUpcall(raw));
      }
    }
    for (const index of indexes) this.#table.remove(index);
    this.#table.commit();
    for (const { id } of meters) this.#meters.delete(id);
    const drops = dropsByName(sumDatapath([this.#counters]), DROPS);
    return { sent: this.#ports.map(({ sent }) => sent), upcalls, drops };
  }

  #receive(inPort: number, frame: string): void {
    const packet = this.#host.allocate();
    assert(packet !== undefined, "a free packet");
    clearMetadata(packet);
    const bytes = Uint8Array.fromHex(frame);
    const view = new DataView(bytes.buffer);
    const { isL3 } = PORTS.find(({ portNo }) => portNo === inPort)!;
    const head = (isL3 ? PI_SIZE : 0) + VNET_SIZE;
    readVnetHeader(view, head - VNET_SIZE, packet);
    packet.bytes.set(bytes.subarray(head), packet.start);
    packet.end = packet.start + bytes.length - head;
    if (isL3 && view.getUint16(2) !== ETH_P_TEB) {
      packet.isL3 = true;
      packet.ethType = view.getUint16(2);
    }
    this.#pipeline.begin(NOW_MS);
    this.#pipeline.receive(inPort, packet);
    this.#pipeline.finish(NOW_MS);
    this.#host.flush();
    assert.equal(this.#host.pool.freeCount, this.#host.slots, "pool packets come back");
  }
}
