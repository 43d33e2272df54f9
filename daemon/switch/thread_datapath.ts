/** A datapath on one packet thread: its pipeline, its reader of the flow table, its ports. */
import { CaptureTap } from "../../datapath/capture/capture_tap.ts";
import { ObserverSet } from "../../datapath/observer_set.ts";
import { Pipeline, type UpcallMode } from "../../datapath/pipeline.ts";
import { FlowTableReader } from "../../datapath/flow_table/reader.ts";
import type { Buckets } from "../../datapath/flow_table/layout.ts";
import { MacTable } from "../../datapath/mac_table.ts";
import { MeterReader } from "../../datapath/meters.ts";
import { type RawTrace, TraceRecorder } from "../../datapath/trace/recorder.ts";
import { findVportFault, PluginError } from "../../vports/shape.ts";
import type { Vport, VportOps } from "../../vports/vport.ts";
import type { MissPolicy } from "../api.ts";
import type { SwitchClock } from "./clock.ts";
import {
  type AddDatapath,
  type AddPort,
  type ExecutePacket,
  INSIDE_DATAPATH,
  INSIDE_PORT,
  type ObserverSpec,
} from "./messages.ts";
import { closeVport, type PacketLoop } from "./packet_loop.ts";
import { type SharedThings, ThreadHost } from "./thread_host.ts";
import { ThreadPort } from "./thread_port.ts";

/** What a thread's datapaths have in common. */
export interface ThreadCommon {
  readonly loop: PacketLoop;
  readonly shared: SharedThings;
  readonly clock: SwitchClock;
  readonly thread: number;
}

export class ThreadDatapath {
  readonly #number: number;
  readonly #common: ThreadCommon;
  readonly #reader: FlowTableReader;
  readonly #pipeline: Pipeline;
  readonly #host: ThreadHost;
  readonly #ports: Map<number, ThreadPort> = new Map();
  readonly #observers: ObserverSet = new ObserverSet();

  constructor(params: AddDatapath, common: ThreadCommon) {
    this.#number = params.datapath;
    this.#common = common;
    this.#reader = new FlowTableReader(params.table, common.thread, params.buckets);
    this.#pipeline = new Pipeline({
      table: this.#reader,
      counters: new BigUint64Array(params.counters.datapath),
      portCounters: new BigUint64Array(params.counters.ports),
      macTable: new MacTable(params.macs),
      meters: new MeterReader(params.meters),
      host: common.loop,
      conntrack: {
        buffers: params.conntrack,
        thread: common.thread,
        wallOffsetMs: common.clock.wallOffsetMs,
      },
      upcalls: params.upcalls,
    });
    this.#reader.setCacheSize(params.cacheSize);
    this.#pipeline.setMiss(params.miss);
    this.#pipeline.setUpcalls(params.upcallMode, params.quietPorts);
    const { loop, shared, clock } = common;
    this.#host = new ThreadHost({ loop, pipeline: this.#pipeline, shared, clock });
    loop.addPipeline(this.#pipeline);
  }

  setMiss(policy: MissPolicy): void {
    this.#pipeline.setMiss(policy);
  }

  setUpcalls(mode: UpcallMode, quietPorts: readonly number[]): void {
    this.#pipeline.setUpcalls(mode, quietPorts);
  }

  /** The observer looks on from the next packet on. */
  observe(id: number, spec: ObserverSpec, traced: (trace: RawTrace) => void): void {
    const { clock } = this.#common;
    this.#observers.add(
      id,
      spec.kind === "capture"
        ? new CaptureTap({ ...spec, wallUs: () => clock.wallUs() })
        : new TraceRecorder({
          ...spec,
          generation: (flow) => this.#reader.generation(flow),
          traced,
        }),
    );
    this.#pipeline.observe(this.#observers);
  }

  unobserve(id: number): void {
    this.#observers.delete(id);
    if (this.#observers.isEmpty) this.#pipeline.observe(undefined);
  }

  setCacheSize(size: number): void {
    this.#reader.setCacheSize(size);
  }

  /** Gives up packets whose fragments did not come in time. */
  sweepFragments(): void {
    this.#pipeline.sweepFragments(this.#common.clock.nowMs());
  }

  /** Runs actions on packets of the control isolate. The caller ends the round. */
  execute(packets: readonly ExecutePacket[]): void {
    this.#pipeline.begin(this.#common.clock.nowMs());
    for (const { packet, actionsAt } of packets) this.#pipeline.inject(packet, actionsAt);
  }

  setBuckets(buckets: Buckets): void {
    this.#reader.setBuckets(buckets);
  }

  /** Opens this thread's queue of a port. Throws what the type's `create` throws; then nothing is left. */
  addPort(ops: VportOps, params: AddPort, place: { thread: number; threads: number }): void {
    const { portNo } = params;
    const { loop } = this.#common;
    // As ThreadPort.enter does, for a create that does not come back.
    loop.words[INSIDE_DATAPATH] = this.#number;
    loop.words[INSIDE_PORT] = portNo;
    const vport: Vport = ops.create({
      datapath: params.datapathName,
      datapathId: params.datapathId,
      name: params.name,
      portNo,
      options: ops.parseOptions(params.options),
      mac: params.mac,
      threads: place.threads,
      thread: place.thread,
      data: params.data,
      host: this.#host,
    });
    const fault = findVportFault(vport);
    if (fault !== undefined) {
      closeRefused(vport);
      throw new PluginError(`Vport type "${ops.type}" has made no port: ${fault}`);
    }
    const { headroom } = ops;
    const port = new ThreadPort({ datapath: this.#number, portNo, headroom }, vport, loop);
    port.mtu = params.mtu;
    try {
      loop.attach(port);
    } catch (error) {
      loop.detach(port);
      closeVport(port);
      throw error;
    }
    this.#ports.set(portNo, port);
    this.#pipeline.setPort(portNo, port);
  }

  /** Does nothing for a port that it doesn't have. */
  setMtu(portNo: number, mtu: number | undefined): void {
    const port = this.#ports.get(portNo);
    if (port === undefined) return;
    port.mtu = mtu;
    // Whoever stands in front of it has a copy.
    this.#pipeline.setPort(portNo, port);
  }

  /** After this the thread holds nothing of the port. Does nothing for one that it doesn't have. */
  removePort(portNo: number): void {
    const port = this.#ports.get(portNo);
    if (port === undefined) return;
    this.#pipeline.setPort(portNo, undefined);
    this.#ports.delete(portNo);
    if (port.closed) return;
    this.#common.loop.detach(port);
    closeVport(port);
  }

  /** The port failed on another thread: packets to it are dropped here too. */
  failPort(portNo: number): void {
    const port = this.#ports.get(portNo);
    if (port === undefined || port.closed) return;
    port.markFailed();
    this.#common.loop.detach(port);
    closeVport(port);
  }

  /** Runs a command of the port's type. Throws what it throws. */
  command(portNo: number, name: string, data: unknown): unknown {
    const port = this.#ports.get(portNo);
    if (port === undefined) throw new Error(`Packet thread has no port ${portNo}`);
    if (port.failed) throw new Error(`Port ${portNo} has failed`);
    if (port.vport.command === undefined) {
      throw new Error(`Port ${portNo} is of a type that takes no commands`);
    }
    port.enter();
    return port.vport.command(name, data);
  }

  /** Closes all ports and leaves the loop. */
  close(): void {
    for (const portNo of [...this.#ports.keys()]) this.removePort(portNo);
    this.#common.loop.removePipeline(this.#pipeline);
  }
}

/** What is no port may still hold something, and know how to let go of it. */
function closeRefused(vport: unknown): void {
  try {
    (vport as Partial<Vport> | null | undefined)?.close?.();
  } catch {
    // It was no port, and now it is not even that.
  }
}
