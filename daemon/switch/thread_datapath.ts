/** A datapath on one packet thread: its pipeline, its reader of the flow table, its ports. */
import { Pipeline } from "../../datapath/pipeline.ts";
import { FlowTableReader } from "../../datapath/flow_table/reader.ts";
import type { Buckets } from "../../datapath/flow_table/layout.ts";
import { MacTable } from "../../datapath/mac_table.ts";
import type { VportOps } from "../../vports/vport.ts";
import type { MissPolicy } from "../api.ts";
import type { SwitchClock } from "./clock.ts";
import type { AddDatapath, AddPort } from "./messages.ts";
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

  constructor(params: AddDatapath, common: ThreadCommon) {
    this.#number = params.datapath;
    this.#common = common;
    this.#reader = new FlowTableReader(params.table, common.thread, params.buckets);
    this.#pipeline = new Pipeline({
      table: this.#reader,
      counters: new BigUint64Array(params.counters.datapath),
      portCounters: new BigUint64Array(params.counters.ports),
      macTable: new MacTable(params.macs),
      host: common.loop,
    });
    this.#pipeline.setMiss(params.miss);
    const { loop, shared, clock } = common;
    this.#host = new ThreadHost({ loop, pipeline: this.#pipeline, shared, clock });
    loop.addPipeline(this.#pipeline);
  }

  setMiss(policy: MissPolicy): void {
    this.#pipeline.setMiss(policy);
  }

  setBuckets(buckets: Buckets): void {
    this.#reader.setBuckets(buckets);
  }

  /** Opens this thread's queue of a port. Throws what the type's `create` throws; then nothing is left. */
  addPort(ops: VportOps, params: AddPort, place: { thread: number; threads: number }): void {
    const { portNo } = params;
    const vport = ops.create({
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
    const { loop } = this.#common;
    const { headroom } = ops;
    const port = new ThreadPort({ datapath: this.#number, portNo, headroom }, vport, loop);
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
