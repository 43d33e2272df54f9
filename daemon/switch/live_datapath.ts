/**
 * A datapath as the control isolate holds it: the writer of its flow table, its ports' attachments,
 * and its counters, summed over the packet threads.
 */
import {
  CONSUMED,
  COPIED,
  DROPPED,
  DROPS,
  dropsByName,
  GENERATED,
  HELD,
  HIT,
  LOST,
  makeDatapathBlock,
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
} from "../../datapath/counters.ts";
import { RuleError } from "../../datapath/errors.ts";
import {
  type Buckets,
  type FlowTableBuffers,
  makeFlowTableBuffers,
} from "../../datapath/flow_table/layout.ts";
import { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import { MacTable, makeMacTable } from "../../datapath/mac_table.ts";
import type { VportRegistry } from "../../vports/registry.ts";
import type { Attachment, VportOps } from "../../vports/vport.ts";
import type { DatapathCounters, DatapathType, MissPolicy, PortCounters } from "../api.ts";
import type { AddPort } from "./messages.ts";
import type { ThreadLink } from "./thread_link.ts";

export interface DatapathSpec {
  /** 32 hex digits, from the state. */
  readonly id: string;
  readonly name: string;
  readonly type: DatapathType;
  readonly miss: MissPolicy;
  readonly flowsMax: number;
  /** 16 bytes. */
  readonly ufidSeed: Uint8Array;
}

export interface PortSpec {
  readonly portNo: number;
  readonly name: string;
  readonly type: string;
  readonly options: ReadonlyMap<string, string>;
  readonly mac?: string | undefined;
}

/** What is known of a port's device. */
export interface PortFacts {
  readonly mac: string | undefined;
  readonly mtu: number | undefined;
  readonly ifindex: number | undefined;
}

/** What the Switch gives to its datapaths. */
export interface DatapathContext {
  readonly number: number;
  readonly types: VportRegistry;
  readonly links: readonly ThreadLink[];
  readonly grace: SharedArrayBuffer;
  readonly warn: (text: string) => void;
  /** Takes it out of the switch's list. */
  readonly onClosed: () => void;
}

interface LivePort {
  readonly spec: PortSpec;
  readonly ops: VportOps;
  readonly attachment: Attachment | undefined;
  /** Counters of earlier ports of this number. */
  readonly baseline: readonly number[];
  /** Why it is down: a callback threw. */
  failed: string | undefined;
}

/** Types that a dummy datapath has dummies for. */
const REAL_DEVICES: readonly string[] = ["netdev", "internal"];

export class LiveDatapath {
  readonly spec: DatapathSpec;
  readonly table: FlowTableWriter;
  readonly #context: DatapathContext;
  readonly #ports: Map<number, LivePort> = new Map();
  /** Numbers of ports that are being added. */
  readonly #adding: Set<number> = new Set();
  readonly #datapathBlocks: readonly BigUint64Array<SharedArrayBuffer>[];
  readonly #portBlocks: readonly BigUint64Array<SharedArrayBuffer>[];
  readonly #tableBuffers: FlowTableBuffers;
  readonly #macs: SharedArrayBuffer = makeMacTable();

  private constructor(spec: DatapathSpec, context: DatapathContext) {
    this.spec = spec;
    this.#context = context;
    const { links } = context;
    this.#datapathBlocks = links.map(() => new BigUint64Array(makeDatapathBlock()));
    this.#portBlocks = links.map(() => new BigUint64Array(makePortBlocks()));
    const { flowsMax, ufidSeed } = spec;
    this.#tableBuffers = makeFlowTableBuffers({ flowsMax, threads: links.length, seed: ufidSeed });
    this.table = new FlowTableWriter(this.#tableBuffers, context.grace, {
      publishBuckets: (buckets) => this.#publishBuckets(buckets),
    });
  }

  /** Makes the datapath's shared memory and tells the threads. Throws ThreadError, RangeError (no memory). */
  static async make(spec: DatapathSpec, context: DatapathContext): Promise<LiveDatapath> {
    const made = new LiveDatapath(spec, context);
    const { number, links } = context;
    await Promise.all(links.map((link, at) =>
      link.request("add-datapath", {
        datapath: number,
        table: made.#tableBuffers,
        buckets: made.table.buckets,
        counters: {
          datapath: made.#datapathBlocks[at]!.buffer,
          ports: made.#portBlocks[at]!.buffer,
        },
        macs: made.#macs,
        miss: spec.miss,
      })
    ));
    return made;
  }

  /** What misses do from now on. */
  async setMiss(policy: MissPolicy): Promise<void> {
    await this.#everyThread((link, datapath) =>
      link.request("set-miss", { datapath, miss: policy })
    );
  }

  /** The type that a port of this datapath really has: `system` is `netdev`, and a dummy datapath makes dummies of both real types. */
  realType(type: string): string {
    const plain = type === "system" ? "netdev" : type;
    return this.spec.type === "dummy" && REAL_DEVICES.includes(plain) ? "dummy" : plain;
  }

  /** Throws OptionError, SystemError, RuleError (EBUSY, EINVAL) or ThreadError; then nothing of the port is left. */
  async addPort(spec: PortSpec): Promise<PortFacts> {
    const { portNo } = spec;
    const ops = this.#opsFor(spec);
    if (this.#ports.has(portNo) || this.#adding.has(portNo)) {
      const holder = this.#ports.get(portNo)?.spec.name ?? "a port being added";
      throw new RuleError("EBUSY", `Port number ${portNo} is taken by "${holder}"`);
    }
    this.#adding.add(portNo);
    try {
      return await this.#addPort(spec, ops);
    } finally {
      this.#adding.delete(portNo);
    }
  }

  /** "close": devices that outlive the switch stay; "delete": they go. Does nothing for a port that doesn't exist. */
  async removePort(portNo: number, how: "close" | "delete"): Promise<void> {
    const port = this.#ports.get(portNo);
    if (port === undefined) return;
    this.#ports.delete(portNo);
    await this.#forgetPort(portNo);
    port.attachment?.detach(how);
  }

  hasPort(portNo: number): boolean {
    return this.#ports.has(portNo);
  }

  /** Why the port is unusable (device gone, plug-in failed), or undefined. */
  checkPort(portNo: number): string | undefined {
    const port = this.#ports.get(portNo);
    if (port === undefined) return "there is no such port";
    return port.failed ?? port.attachment?.check?.();
  }

  /** A command of the port type's own, e.g. dummy "inject" {frames: Uint8Array[]}. Throws RuleError, ThreadError. */
  async command(portNo: number, name: string, data: unknown): Promise<unknown> {
    const port = this.#ports.get(portNo);
    if (port === undefined) throw new RuleError("ENODEV", `There is no port ${portNo}`);
    const datapath = this.#context.number;
    const toThread = (thread: number, verb: string, value: unknown): Promise<unknown> => {
      const link = this.#context.links[thread];
      if (link === undefined) return Promise.reject(new RangeError(`No packet thread ${thread}`));
      return link.request("command", { datapath, portNo, name: verb, data: value });
    };
    const { attachment } = port;
    if (attachment?.command !== undefined) return await attachment.command(name, data, toThread);
    return await toThread(0, name, data);
  }

  /** Sums over the threads; consistent when they are quiescent. */
  counters(): DatapathCounters {
    const sums = sumDatapath(this.#datapathBlocks);
    const at = (index: number): number => sums[index] ?? 0;
    return {
      hit: at(HIT),
      missed: at(MISSED),
      lost: at(LOST),
      ...this.table.lookupCounters(),
      received: at(RECEIVED),
      generated: at(GENERATED),
      copied: at(COPIED),
      sent: at(SENT),
      dropped: at(DROPPED),
      consumed: at(CONSUMED),
      held: at(HELD),
      drops: dropsByName(sums, DROPS) as Record<string, number>,
    };
  }

  /** Since the port was added. Zeros for one that doesn't exist. */
  portCounters(portNo: number): PortCounters {
    const baseline = this.#ports.get(portNo)?.baseline ?? sumPort(this.#portBlocks, portNo);
    const sums = sumPort(this.#portBlocks, portNo, baseline);
    const at = (index: number): number => sums[index] ?? 0;
    return {
      rxPackets: at(RX_PACKETS),
      rxBytes: at(RX_BYTES),
      rxDropped: at(RX_DROPPED),
      txPackets: at(TX_PACKETS),
      txBytes: at(TX_BYTES),
      txDropped: at(TX_DROPPED),
      drops: dropsByName(sums, PORT_DROPS) as Record<string, number>,
    };
  }

  /**
   * Removes all ports, then the datapath from the threads. Its table must not be used any more.
   * The devices are given back also when a thread hangs, which is only logged.
   */
  async close(how: "close" | "delete"): Promise<void> {
    try {
      await this.#everyThread((link, datapath) => link.request("remove-datapath", { datapath }));
    } catch (error) {
      this.#context.warn(error instanceof Error ? error.message : String(error));
    }
    this.detachAll(how);
    this.#context.onClosed();
  }

  /** The control side of {@link close}, when the threads have ended. */
  detachAll(how: "close" | "delete"): void {
    for (const port of this.#ports.values()) port.attachment?.detach(how);
    this.#ports.clear();
  }

  /** A callback of the port threw on a thread. Returns the port's name if that is news. */
  markFailed(portNo: number, reason: string): string | undefined {
    const port = this.#ports.get(portNo);
    if (port === undefined || port.failed !== undefined) return undefined;
    port.failed = reason;
    this.#everyThread((link, datapath) => link.request("fail-port", { datapath, portNo }))
      .catch((error: Error) => this.#context.warn(error.message));
    return port.spec.name;
  }

  portName(portNo: number): string {
    return this.#ports.get(portNo)?.spec.name ?? `port ${portNo}`;
  }

  #opsFor(spec: PortSpec): VportOps {
    const { types } = this.#context;
    const ops = types.get(this.realType(spec.type));
    if (ops !== undefined) return ops;
    const known = types.names().join(", ");
    throw new RuleError("EINVAL", `Unknown port type "${spec.type}" (known types: ${known})`);
  }

  async #addPort(spec: PortSpec, ops: VportOps): Promise<PortFacts> {
    const { portNo, name, options, mac } = spec;
    const common = { datapath: this.spec.name, datapathId: this.spec.id, name, portNo, mac };
    const threads = this.#context.links.length;
    const attachment = ops.attach?.({ ...common, options: ops.parseOptions(options), threads });
    if (attachment === undefined) ops.parseOptions(options);
    const baseline = sumPort(this.#portBlocks, portNo);
    // Before the threads have it: a failure may be reported before the last of them has answered.
    this.#ports.set(portNo, { spec, ops, attachment, baseline, failed: undefined });
    const params: Omit<AddPort, "datapath"> = {
      datapathName: this.spec.name,
      datapathId: this.spec.id,
      name,
      portNo,
      type: ops.type,
      options,
      mac: attachment?.mac ?? mac,
      data: attachment?.data,
    };
    try {
      await this.#everyThread((link, datapath) =>
        link.request("add-port", { ...params, datapath })
      );
    } catch (error) {
      this.#ports.delete(portNo);
      await this.#forgetPort(portNo);
      attachment?.detach(attachment.isNew === true ? "delete" : "close");
      throw error;
    }
    return { mac: attachment?.mac, mtu: attachment?.mtu, ifindex: attachment?.ifindex };
  }

  /** No thread and no station is at the port afterwards; a thread that hangs is only logged. */
  async #forgetPort(portNo: number): Promise<void> {
    try {
      await this.#everyThread((link, datapath) =>
        link.request("remove-port", { datapath, portNo })
      );
    } catch (error) {
      this.#context.warn(error instanceof Error ? error.message : String(error));
    }
    new MacTable(this.#macs).forget(portNo);
  }

  /** Asks all threads and waits for all; throws the first error when every one has answered. */
  async #everyThread(ask: (link: ThreadLink, datapath: number) => Promise<unknown>): Promise<void> {
    const { links, number } = this.#context;
    const answers = await Promise.allSettled(links.map((link) => ask(link, number)));
    for (const answer of answers) {
      if (answer.status === "rejected") throw answer.reason;
    }
  }

  #publishBuckets(buckets: Buckets): void {
    this.#everyThread((link, datapath) => link.request("set-buckets", { datapath, buckets }))
      .then(() => this.table.bucketsAcknowledged(buckets.version))
      .catch((error: Error) => this.#context.warn(error.message));
  }
}
