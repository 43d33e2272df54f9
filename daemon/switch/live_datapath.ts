/**
 * A datapath as the control isolate holds it: the writer of its flow table, its ports' attachments,
 * and its counters, summed over the packet threads.
 */
import { ConntrackControl } from "../../datapath/conntrack/control.ts";
import {
  CONNECTIONS_MAX_DEFAULT,
  type ConntrackBuffers,
  makeConntrackBuffers,
} from "../../datapath/conntrack/layout.ts";
import {
  type FragmentSettings,
  loseFragments,
  setFragments,
} from "../../datapath/conntrack/fragment_control.ts";
import { TimeoutPolicies, type TimeoutSeconds } from "../../datapath/conntrack/timeouts.ts";
import { RuleError } from "../../datapath/errors.ts";
import {
  type Buckets,
  type FlowTableBuffers,
  makeFlowTableBuffers,
} from "../../datapath/flow_table/layout.ts";
import { CACHE_ENTRIES_MAX } from "../../datapath/flow_table/signature_cache.ts";
import { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import { MacTable, makeMacTable } from "../../datapath/mac_table.ts";
import { makeMeterMemory, type MeterMemory, MeterTable } from "../../datapath/meters.ts";
import type { UpcallMode } from "../../datapath/pipeline.ts";
import { NO_DISPATCH, quietPorts, type UpcallDispatch } from "../../datapath/upcall_dispatch.ts";
import { type InjectedPacket, makeUpcallRing } from "../../datapath/upcall_ring.ts";
import type { VportRegistry } from "../../vports/registry.ts";
import type { Attachment, VportOps } from "../../vports/vport.ts";
import type { DatapathCounters, DatapathType, MissPolicy, PortCounters } from "../api.ts";
import { type AddPort, ThreadGoneError, ThreadLateError } from "./messages.ts";
import { Observers } from "./observers.ts";
import { LiveCounters } from "./live_counters.ts";
import type { ThreadLink } from "./thread_link.ts";

export interface DatapathSpec {
  /** 32 hex digits, from the state. */
  readonly id: string;
  readonly name: string;
  readonly type: DatapathType;
  readonly miss: MissPolicy;
  readonly flowsMax: number;
  /** Entries that a thread's signature cache may have; 0: it is off. Default: as many as are of use. */
  readonly masksCache?: number | undefined;
  /** Settings of connection tracking; default: as the kernel's, no limit but the table's size. */
  readonly conntrack?: ConntrackSettings | undefined;
  /** Whom upcalls are for; default: anybody. */
  readonly dispatch?: UpcallDispatch | undefined;
  /** 16 bytes. */
  readonly ufidSeed: Uint8Array;
}

/** Settings of connection tracking. */
export interface ConntrackSettings {
  /** Most connections; null: as many as the table is made for by default. */
  readonly connectionsMax: number | null;
  /** Most connections of a zone without a limit of its own; 0: no limit. */
  readonly defaultLimit: number;
  /** Zone → most connections; 0: no limit. */
  readonly zoneLimits: Readonly<Record<string, number>>;
  /** Timeouts (s) by policy, `default` among them, that are not as they are by default. */
  readonly timeouts: Readonly<Record<string, TimeoutSeconds>>;
  /** TCP segments are checked against the windows. */
  readonly tcpSequenceCheck: boolean;
  readonly fragments: FragmentSettings;
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
  /** What the threads are told. */
  readonly params: Omit<AddPort, "datapath">;
  /** Why it is down: a callback threw. */
  failed: string | undefined;
  /** As the threads know it. */
  mtu: number | undefined;
}

/** Records of connections that one sweep visits: a million in 6 s, less than 0.2 ms at a time. */
const SWEEP_RECORDS = 16_384;
/** Types that a dummy datapath has dummies for. */
const REAL_DEVICES: readonly string[] = ["netdev", "internal"];

export class LiveDatapath {
  readonly spec: DatapathSpec;
  readonly table: FlowTableWriter;
  readonly #context: DatapathContext;
  readonly #ports: Map<number, LivePort> = new Map();
  /** Ports that were closed but not deleted, until another has the number. */
  readonly #closed: Map<number, LivePort> = new Map();
  /** Numbers of ports that are being added. */
  readonly #adding: Set<number> = new Set();
  readonly #counters: LiveCounters;
  readonly #tableBuffers: FlowTableBuffers;
  readonly #macs: SharedArrayBuffer = makeMacTable();
  readonly #conntrackBuffers: ConntrackBuffers;
  /** Its connections. */
  readonly conntrack: ConntrackControl;
  /** What its flows' ct actions may name. */
  readonly timeoutPolicies: TimeoutPolicies;
  #isSweeping = false;
  readonly #meterMemory: MeterMemory = makeMeterMemory();
  /** All threads' packets go through them. */
  readonly meters: MeterTable = new MeterTable(this.#meterMemory);
  /** Rings of upcalls, one per thread; a thread that takes the place of another gets a new one. */
  readonly upcallRings: SharedArrayBuffer[];

  /** As the threads have them, or are being told. */
  /** Who looks on at the packet threads. */
  readonly observers: Observers;
  #dispatch: UpcallDispatch;
  readonly #settings: { miss: MissPolicy; upcallMode: UpcallMode; cacheSize: number };

  private constructor(spec: DatapathSpec, context: DatapathContext) {
    this.spec = spec;
    this.#settings = {
      miss: spec.miss,
      upcallMode: "off",
      cacheSize: spec.masksCache ?? CACHE_ENTRIES_MAX,
    };
    this.#dispatch = spec.dispatch ?? NO_DISPATCH;
    this.#context = context;
    this.observers = new Observers(context.number, context.links);
    const { links } = context;
    this.#counters = new LiveCounters(links.length);
    this.upcallRings = links.map(() => makeUpcallRing());
    // A seed of its own in every run: who has seen the flows' identifiers knows nothing of the hashes.
    const seed = crypto.getRandomValues(new Uint8Array(16));
    const { flowsMax } = spec;
    this.#conntrackBuffers = makeConntrackBuffers({
      connectionsMax: Math.max(CONNECTIONS_MAX_DEFAULT, spec.conntrack?.connectionsMax ?? 0),
      threads: links.length,
      seed: crypto.getRandomValues(new Uint8Array(16)),
    });
    this.timeoutPolicies = new TimeoutPolicies(this.#conntrackBuffers);
    this.timeoutPolicies.set({});
    this.conntrack = new ConntrackControl(this.#conntrackBuffers);
    if (spec.conntrack !== undefined) this.setConntrack(spec.conntrack);
    this.#tableBuffers = makeFlowTableBuffers({ flowsMax, threads: links.length, seed });
    this.table = new FlowTableWriter(this.#tableBuffers, context.grace, {
      publishBuckets: (buckets) => this.#publishBuckets(buckets),
    });
  }

  /** Makes the datapath's shared memory and tells the threads. Throws ThreadError, RangeError (no memory). */
  static async make(spec: DatapathSpec, context: DatapathContext): Promise<LiveDatapath> {
    const made = new LiveDatapath(spec, context);
    const { links } = context;
    await Promise.all(links.map((link, at) => made.#join(link, at)));
    return made;
  }

  /**
   * A new thread has the place `at` of one that was abandoned. Posts all that it needs at once, so
   * that whatever is asked later finds it complete; resolves when it has answered. `failed` hears of
   * the ports that could not be opened again.
   */
  async rejoin(at: number, failed: (portNo: number, error: Error) => void): Promise<void> {
    const link = this.#context.links[at]!;
    this.#counters.writeOff(at);
    loseFragments(this.#conntrackBuffers, at);
    // The old one may still write its own.
    this.upcallRings[at] = makeUpcallRing();
    const joined = this.#join(link, at);
    const ports = [...this.#ports].filter(([, port]) => port.failed === undefined);
    const opened = ports.map(([portNo, { params, mtu }]) =>
      link.request("add-port", { ...params, mtu, datapath: this.#context.number })
        .catch((error: Error) => {
          if (!(error instanceof ThreadGoneError)) failed(portNo, error);
        })
    );
    await joined;
    await Promise.all(opened);
  }

  /** What misses do from now on. */
  async setMiss(policy: MissPolicy): Promise<void> {
    this.#settings.miss = policy;
    await this.#everyThread((link, datapath) =>
      link.request("set-miss", { datapath, miss: policy })
    );
  }

  /** What a trace must know (backend.ts). */
  get traceFacts(): {
    readonly upcallMode: UpcallMode;
    readonly quietPorts: readonly number[];
    readonly macs: SharedArrayBuffer;
    readonly meters: MeterMemory;
    readonly conntrack: ConntrackBuffers;
    readonly mtus: ReadonlyMap<number, number>;
  } {
    const { upcallMode } = this.#settings;
    const conntrack = this.#conntrackBuffers;
    const mtus = new Map<number, number>();
    for (const [portNo, { mtu }] of this.#ports) if (mtu !== undefined) mtus.set(portNo, mtu);
    return {
      mtus,
      upcallMode,
      quietPorts: quietPorts(this.#dispatch),
      macs: this.#macs,
      meters: this.#meterMemory,
      conntrack,
    };
  }

  /** Who wants upcalls from now on. */
  async setUpcalls(mode: UpcallMode): Promise<void> {
    this.#settings.upcallMode = mode;
    await this.#tellUpcalls();
  }

  /** Whom upcalls are for. */
  get dispatch(): UpcallDispatch {
    return this.#dispatch;
  }

  /** Whom upcalls are for from now on. */
  async setDispatch(dispatch: UpcallDispatch): Promise<void> {
    this.#dispatch = dispatch;
    await this.#tellUpcalls();
  }

  async #tellUpcalls(): Promise<void> {
    const { upcallMode: mode } = this.#settings;
    const quiet = quietPorts(this.#dispatch);
    await this.#everyThread((link, datapath) =>
      link.request("set-upcalls", { datapath, mode, quietPorts: quiet })
    );
  }

  /** Settings of connection tracking from now on. Throws RangeError: more connections than the table was made for. */
  setConntrack(settings: ConntrackSettings): void {
    const { conntrack } = this;
    conntrack.connectionsMax = settings.connectionsMax ?? CONNECTIONS_MAX_DEFAULT;
    conntrack.defaultLimit = settings.defaultLimit;
    const limits = new Map(Object.entries(settings.zoneLimits));
    for (const zone of conntrack.limitedZones()) {
      if (!limits.has(`${zone}`)) conntrack.setZoneLimit(zone, undefined);
    }
    for (const [zone, limit] of limits) conntrack.setZoneLimit(Number(zone), limit);
    conntrack.tcpSequenceCheck = settings.tcpSequenceCheck;
    setFragments(this.#conntrackBuffers, settings.fragments);
    this.timeoutPolicies.set(settings.timeouts);
  }

  /** Removes connections whose time is up, a bounded number of records at a time. */
  sweepConnections(nowMs: number): void {
    this.conntrack.sweep(nowMs, SWEEP_RECORDS);
  }

  /** Has the threads give up packets whose fragments did not come in time, if any wait. */
  async sweepFragments(): Promise<void> {
    if (!this.#counters.holdsPackets || this.#isSweeping) return;
    this.#isSweeping = true;
    try {
      await this.#everyThread((link, datapath) => link.request("sweep-fragments", { datapath }));
    } finally {
      this.#isSweeping = false;
    }
  }

  /** How many entries the threads' signature caches may have (a power of 2); 0: none are used. */
  async setCacheSize(size: number): Promise<void> {
    this.#settings.cacheSize = size;
    await this.#everyThread((link, datapath) => link.request("set-cache", { datapath, size }));
  }

  /**
   * Runs an action list on a packet on the packet thread `thread`, for each pair; resolves when all is
   * sent. Throws RuleError (no memory for the actions; nothing is done), ThreadError. The memory comes
   * back in any case, at the latest when a thread that is late has answered or is gone.
   */
  async executePackets(
    thread: number,
    packets: readonly { readonly packet: InjectedPacket; readonly actions: Int32Array }[],
  ): Promise<void> {
    const link = this.#context.links[thread];
    if (link === undefined) throw new RangeError(`No packet thread ${thread}`);
    const lent: number[] = [];
    const giveBack = (): void => {
      for (const at of lent) this.table.returnActions(at);
    };
    try {
      for (const { actions } of packets) lent.push(this.table.lendActions(actions));
      await link.request("execute", {
        datapath: this.#context.number,
        packets: packets.map(({ packet }, at) => ({ packet, actionsAt: lent[at]! })),
      });
    } catch (error) {
      if (!(error instanceof ThreadLateError)) giveBack();
      // The thread may still get to them.
      else error.over.then(giveBack);
      throw error;
    }
    giveBack();
  }

  /** Bytes in front of a frame that the port with the largest header wants. */
  get maxHeadroom(): number {
    return Math.max(0, ...[...this.#ports.values()].map(({ ops }) => ops.headroom));
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
    if (how === "close") this.#closed.set(portNo, port);
    await this.#forgetPort(portNo);
    port.attachment?.detach(how);
  }

  /** The same port, closed and opened again with other options, goes on counting. */
  #takeBaseline({ portNo, name, type }: PortSpec): readonly number[] | undefined {
    const former = this.#closed.get(portNo);
    this.#closed.delete(portNo);
    return former?.spec.name === name && former.spec.type === type ? former.baseline : undefined;
  }

  hasPort(portNo: number): boolean {
    return this.#ports.has(portNo);
  }

  /** Why the port is unusable (device gone, plug-in failed), or undefined. */
  checkPort(portNo: number): string | undefined {
    const port = this.#ports.get(portNo);
    if (port === undefined) return "there is no such port";
    const reason = port.failed ?? port.attachment?.check?.();
    if (reason === undefined) this.#followMtu(portNo, port);
    return reason;
  }

  /** What a port that is up says of itself. */
  portStatus(portNo: number): string | undefined {
    return this.#ports.get(portNo)?.attachment?.status?.();
  }

  /** The threads are told when the last look at the device has shown another MTU. */
  #followMtu(portNo: number, port: LivePort): void {
    const mtu = port.attachment?.mtu;
    if (mtu === port.mtu) return;
    port.mtu = mtu;
    this.#everyThread((link, datapath) => link.request("set-mtu", { datapath, portNo, mtu }))
      .catch((error: Error) => this.#context.warn(error.message));
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
    return this.#counters.datapath(this.table.lookupCounters());
  }

  /** Since the port was added. Zeros for one that doesn't exist. */
  portCounters(portNo: number): PortCounters {
    return this.#counters.port(portNo, this.#ports.get(portNo)?.baseline);
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

  /** Within the switch. */
  get number(): number {
    return this.#context.number;
  }

  portName(portNo: number): string {
    return this.#ports.get(portNo)?.spec.name ?? `port ${portNo}`;
  }

  /** `NAME of datapath NAME` of each port whose real type is `type`. */
  portsOf(type: string): readonly string[] {
    const ports = [...this.#ports.values()].filter(({ ops }) => ops.type === type);
    return ports.map(({ spec }) => `${spec.name} of datapath ${this.spec.name}`);
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
    const baseline = this.#takeBaseline(spec) ?? this.#counters.portSums(portNo);
    const params: Omit<AddPort, "datapath"> = {
      datapathName: this.spec.name,
      datapathId: this.spec.id,
      name,
      portNo,
      type: ops.type,
      options,
      mac: attachment?.mac ?? mac,
      mtu: attachment?.mtu,
      data: attachment?.data,
    };
    // Before the threads have it: a failure may be reported before the last of them has answered.
    this.#ports.set(portNo, {
      spec,
      ops,
      attachment,
      baseline,
      params,
      failed: undefined,
      mtu: params.mtu,
    });
    try {
      const { links, number } = this.#context;
      const opened = await Promise.allSettled(
        links.map((link) => link.request("add-port", { ...params, datapath: number })),
      );
      for (const answer of opened) if (answer.status === "rejected") throw answer.reason;
    } catch (error) {
      const { failed } = this.#ports.get(portNo)!;
      this.#ports.delete(portNo);
      await this.#forgetPort(portNo);
      attachment?.detach(attachment.isNew === true ? "delete" : "close");
      // The thread is gone because of this very port: who adds it wants to know that.
      if (failed === undefined || !(error instanceof ThreadGoneError)) throw error;
      throw new ThreadGoneError({ name: error.name, code: error.code, message: failed });
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

  /** Asks all threads and waits for all; throws the first error when every one has answered. A thread that was abandoned meanwhile has a successor that knows. */
  async #everyThread(ask: (link: ThreadLink, datapath: number) => Promise<unknown>): Promise<void> {
    const { links, number } = this.#context;
    const answers = await Promise.allSettled(links.map((link) => ask(link, number)));
    for (const answer of answers) {
      if (answer.status === "fulfilled" || answer.reason instanceof ThreadGoneError) continue;
      throw answer.reason;
    }
  }

  /** A thread's part of the datapath, without its ports. */
  async #join(link: ThreadLink, at: number): Promise<void> {
    const { miss, upcallMode, cacheSize } = this.#settings;
    // All in one go: what is asked from now on comes behind.
    const joined = link.request("add-datapath", {
      datapath: this.#context.number,
      table: this.#tableBuffers,
      buckets: this.table.buckets,
      counters: this.#counters.blocks(at),
      macs: this.#macs,
      conntrack: this.#conntrackBuffers,
      miss,
      meters: this.#meterMemory,
      upcalls: this.upcallRings[at]!,
      upcallMode,
      quietPorts: quietPorts(this.#dispatch),
      cacheSize,
    });
    await Promise.all([joined, this.observers.join(link, at)]);
  }

  #publishBuckets(buckets: Buckets): void {
    this.#everyThread((link, datapath) => link.request("set-buckets", { datapath, buckets }))
      .then(() => this.table.bucketsAcknowledged(buckets.version))
      .catch((error: Error) => this.#context.warn(error.message));
  }
}
