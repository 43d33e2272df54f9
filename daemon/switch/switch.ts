/**
 * The running switch as the control isolate holds it: packet threads, vport types, datapaths.
 *
 * Nothing here blocks and nothing here knows the saved state: daemon/ decides what the switch should
 * look like and calls these methods.
 */
import { makeGrace } from "../../datapath/flow_table/grace.ts";
import { BUILTIN_TYPES } from "../../vports/builtin.ts";
import { checkPluginFile, loadPlugin } from "../../vports/loader.ts";
import { pluginApi } from "../../vports/plugin_api.ts";
import { VportRegistry } from "../../vports/registry.ts";
import type { SwitchClock } from "./clock.ts";
import { type DatapathSpec, LiveDatapath } from "./live_datapath.ts";
import type { ThreadReport } from "./messages.ts";
import { type PortFailure, ThreadLink } from "./thread_link.ts";

export { LiveDatapath } from "./live_datapath.ts";
export type { DatapathSpec, PortFacts, PortSpec } from "./live_datapath.ts";

/** What the switch has to say to the log; the module is `switch`. */
export interface SwitchLog {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

export interface SwitchOptions {
  /** URL of the module that the packet threads run: main.ts (it dispatches by `self.name`). */
  readonly threadUrl: string;
  /** Packet threads, 1 … THREADS_MAX. */
  readonly threads: number;
  /** Paths of plug-in files. */
  readonly plugins: readonly string[];
  readonly log: SwitchLog;
  readonly clock: SwitchClock;
  /** A bug has ended a packet thread: its share of the traffic is lost until a restart. */
  readonly onThreadDied?: (thread: number, reason: string) => void;
  /** The code of a port's type has thrown on a packet thread: the port is down (its `checkPort` says why). A lost device is no such failure: `checkPort` alone tells. */
  readonly onPortFailed?: (datapath: string, portNo: number, reason: string) => void;
}

export const THREADS_MAX = 16;
/** How often memory of removed flows is reclaimed and the threads' heartbeats are looked at. */
const TICK_MS = 100;
/** How often masks are sorted by usage, as the kernel does every 4 s. */
const REBALANCE_TICKS = 40;
/** A thread that is in one callback for so long is named in the log. */
const HANG_MS = 2000;

/** What is known of a thread's progress. */
interface Pulse {
  heartbeat: number;
  sinceMs: number;
  reported: boolean;
}

export class Switch {
  readonly types: VportRegistry = new VportRegistry();
  readonly clock: SwitchClock;
  readonly #options: SwitchOptions;
  readonly #grace: SharedArrayBuffer;
  readonly #links: ThreadLink[] = [];
  readonly #datapaths: Map<number, LiveDatapath> = new Map();
  readonly #pulses: Pulse[] = [];
  #nextNumber = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #ticks = 0;

  private constructor(options: SwitchOptions) {
    const { threads } = options;
    if (!Number.isInteger(threads) || threads < 1 || threads > THREADS_MAX) {
      throw new RangeError(
        `Packet threads must be 1 to ${THREADS_MAX}: current value is ${threads}`,
      );
    }
    this.#options = options;
    this.clock = options.clock;
    this.#grace = makeGrace(threads);
    for (const ops of BUILTIN_TYPES) this.types.register(ops, "built-in");
  }

  /** Starts the threads, then loads the plug-ins here and in every thread. Throws PluginError, DuplicateTypeError, SystemError, ThreadError; then nothing runs. */
  static async start(options: SwitchOptions): Promise<Switch> {
    const made = new Switch(options);
    try {
      await made.#startThreads();
      for (const path of options.plugins) await made.loadPlugin(path);
    } catch (error) {
      await made.stop();
      throw error;
    }
    made.#timer = setInterval(() => made.#tick(), TICK_MS);
    return made;
  }

  get threads(): number {
    return this.#links.length;
  }

  /** Loads a third party's vport type: first here, so that one which hangs or throws is refused here. Returns its name. Throws PluginError, DuplicateTypeError, ThreadError. */
  async loadPlugin(path: string): Promise<string> {
    const file = await checkPluginFile(path);
    const ops = await loadPlugin(file, pluginApi);
    this.types.register(ops, file.path);
    await Promise.all(this.#links.map((link) => link.request("load-plugin", file)));
    this.#options.log.info(`loaded vport type ${ops.type} from ${file.path}`);
    return ops.type;
  }

  /** By name; names are unique over all types. */
  datapath(name: string): LiveDatapath | undefined {
    return this.datapaths().find((datapath) => datapath.spec.name === name);
  }

  datapaths(): readonly LiveDatapath[] {
    return [...this.#datapaths.values()];
  }

  /** Throws ThreadError, RangeError (no memory). */
  async addDatapath(spec: DatapathSpec): Promise<LiveDatapath> {
    const number = this.#nextNumber++;
    const datapath = await LiveDatapath.make(spec, {
      number,
      types: this.types,
      links: this.#links,
      grace: this.#grace,
      warn: (text) => this.#options.log.warn(text),
      onClosed: () => this.#datapaths.delete(number),
    });
    this.#datapaths.set(number, datapath);
    return datapath;
  }

  /** Resolves when everything handed to the threads before is handled and flushed. */
  async settle(): Promise<void> {
    await this.reports();
  }

  /** One report per thread, taken between two rounds. */
  reports(): Promise<ThreadReport[]> {
    return Promise.all(this.#links.map((link) => link.request("report", {})));
  }

  /** Ends the threads (they close their queues), then lets go of all devices; internal ones stay. Returns false if a thread hangs: only Deno.exit ends that one. */
  async stop(): Promise<boolean> {
    clearInterval(this.#timer);
    const joined = await Promise.all(this.#links.map((link) => link.stop()));
    for (const datapath of this.#datapaths.values()) datapath.detachAll("close");
    this.#datapaths.clear();
    return joined.every((each) => each);
  }

  async #startThreads(): Promise<void> {
    const { threadUrl, threads, clock } = this.#options;
    const starts = Array.from({ length: threads }, (_, thread) =>
      ThreadLink.start({
        threadUrl,
        thread,
        threads,
        grace: this.#grace,
        clock: clock.shared,
        onPortFailed: (failure) => this.#portFailed(failure),
        onDied: (reason) => this.#threadDied(thread, reason),
      }));
    const results = await Promise.allSettled(starts);
    for (const result of results) {
      if (result.status === "fulfilled") this.#links.push(result.value);
    }
    for (const result of results) {
      if (result.status === "rejected") throw result.reason;
    }
  }

  #threadDied(thread: number, reason: string): void {
    this.#options.log.error(`packet thread ${thread} died: ${reason}`);
    this.#options.onThreadDied?.(thread, reason);
  }

  /** A device that is lost may come back, which whoever asks `checkPort` sees to; broken code stays broken. */
  #portFailed(failure: PortFailure): void {
    const { portNo, reason, isDevice } = failure;
    const datapath = this.#datapaths.get(failure.datapath);
    const name = datapath?.markFailed(portNo, reason);
    if (datapath === undefined || name === undefined) return;
    const where = `port ${name} of datapath ${datapath.spec.name}`;
    if (isDevice) {
      this.#options.log.warn(`${where} is down: ${reason}`);
    } else {
      this.#options.log.error(`${where} has failed and is down: ${reason}`);
      this.#options.onPortFailed?.(datapath.spec.name, portNo, reason);
    }
  }

  #tick(): void {
    const isTimeToSort = ++this.#ticks % REBALANCE_TICKS === 0;
    for (const { table } of this.#datapaths.values()) {
      if (isTimeToSort) table.rebalance();
      else table.reclaim();
    }
    this.#links.forEach((link, at) => this.#feelPulse(link, at));
  }

  /** Names the port whose callback a thread does not come back from. */
  #feelPulse(link: ThreadLink, at: number): void {
    const now = performance.now();
    const { heartbeat } = link;
    const pulse = this.#pulses[at];
    if (pulse === undefined || pulse.heartbeat !== heartbeat || !link.running) {
      this.#pulses[at] = { heartbeat, sinceMs: now, reported: false };
      return;
    }
    if (pulse.reported || now - pulse.sinceMs < HANG_MS) return;
    pulse.reported = true;
    const inside = link.inside();
    const datapath = this.#datapaths.get(inside.datapath);
    const where = datapath === undefined
      ? "no port"
      : `port ${datapath.portName(inside.portNo)} of datapath ${datapath.spec.name}`;
    this.#options.log.error(
      `packet thread ${link.thread} has not come back for ${HANG_MS} ms; ` +
        `the last code it entered is that of ${where}`,
    );
  }
}
