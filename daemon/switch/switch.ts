/**
 * The running switch as the control isolate holds it: packet threads, vport types, datapaths.
 *
 * Nothing here blocks and nothing here knows the saved state: daemon/ decides what the switch should
 * look like and calls these methods.
 */
import { makeGrace } from "../../datapath/flow_table/grace.ts";
import { BUILTIN_TYPES } from "../../vports/builtin.ts";
import type { PluginFile } from "../../vports/loader.ts";
import { describe } from "../../vports/shape.ts";
import { BUILT_IN, VportRegistry } from "../../vports/registry.ts";
import type { SwitchClock } from "./clock.ts";
import { type DatapathSpec, LiveDatapath } from "./live_datapath.ts";
import type { ThreadReport } from "./messages.ts";
import { type LoadedPlugin, Plugins } from "./plugins.ts";
import { type LinkOptions, type PortFailure, ThreadLink } from "./thread_link.ts";
import { HANG_MS, LOOK_MS, Watchdog } from "./watchdog.ts";

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
  /** Module that runs asynchronous ports' Workers; undefined: vports/async_entry.ts. */
  readonly workerUrl?: string | undefined;
  /** See {@link PluginsOptions.probe}. */
  readonly probe?: ((file: PluginFile) => Promise<void>) | undefined;
  readonly log: SwitchLog;
  readonly clock: SwitchClock;
  /** How long a packet thread may take to answer a request; default 10 s. */
  readonly answerTimeoutMs?: number | undefined;
  /** A bug has ended a packet thread: its share of the traffic is lost until a restart. */
  readonly onThreadDied?: (thread: number, reason: string) => void;
  /** The code of a port's type has thrown on a packet thread: the port is down (its `checkPort` says why). A lost device is no such failure: `checkPort` alone tells. */
  readonly onPortFailed?: (datapath: string, portNo: number, reason: string) => void;
}

export const THREADS_MAX = 16;
/** How often memory of removed flows is reclaimed and the threads' heartbeats are looked at. */
const TICK_MS = LOOK_MS;
/** How often masks are sorted by usage, as the kernel does every 4 s. */
const REBALANCE_TICKS = 40;
/** How often packets whose fragments did not come are given up. */
const FRAGMENTS_TICKS = 10;
/** Threads that are replaced at most: each leaves its memory behind, and perhaps a busy processor. */
const REPLACEMENTS_MAX = 8;

export class Switch {
  readonly types: VportRegistry = new VportRegistry();
  readonly clock: SwitchClock;
  readonly plugins: Plugins;
  readonly #options: SwitchOptions;
  readonly #grace: SharedArrayBuffer;
  readonly #links: ThreadLink[] = [];
  readonly #datapaths: Map<number, LiveDatapath> = new Map();
  readonly #watchdog: Watchdog = new Watchdog();
  /** Threads that hang: at the next look another takes over. */
  readonly #abandoned: Set<ThreadLink> = new Set();
  #replacements = 0;
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
    for (const ops of BUILTIN_TYPES) this.types.register(ops, BUILT_IN);
    this.plugins = new Plugins({
      types: this.types,
      links: this.#links,
      probe: options.probe,
      workerUrl: options.workerUrl,
      portsOf: (type) => this.datapaths().flatMap((datapath) => datapath.portsOf(type)),
    });
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

  /** Loads a third party's vport type, or its changed file again. Throws PluginError, DuplicateTypeError, ThreadError; then nothing has changed. */
  async loadPlugin(path: string): Promise<LoadedPlugin> {
    const loaded = await this.plugins.load(path);
    const { type, file, change } = loaded;
    if (change !== "unchanged") {
      const verb = change === "added" ? "loaded" : "reloaded";
      this.#options.log.info(`${verb} vport type ${type} from ${file}`);
    }
    return loaded;
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
    const { threads } = this.#options;
    const starts = Array.from(
      { length: threads },
      (_, thread) => ThreadLink.start(this.#linkOptions(thread)),
    );
    const results = await Promise.allSettled(starts);
    for (const result of results) {
      if (result.status === "fulfilled") this.#links.push(result.value);
    }
    for (const result of results) {
      if (result.status === "rejected") throw result.reason;
    }
  }

  #linkOptions(thread: number): LinkOptions {
    const { threadUrl, threads, clock, answerTimeoutMs } = this.#options;
    return {
      threadUrl,
      thread,
      threads,
      answerTimeoutMs,
      grace: this.#grace,
      clock: clock.shared,
      onPortFailed: (failure) => this.#portFailed(failure),
      onTraced: (traced) => this.#datapaths.get(traced.datapath)?.observers.traced(traced),
      onDied: (reason) => this.#threadDied(thread, reason),
    };
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
    const isTimeToSweep = this.#ticks % FRAGMENTS_TICKS === 0;
    const nowMs = this.clock.nowMs() + this.clock.wallOffsetMs;
    for (const datapath of this.#datapaths.values()) {
      if (isTimeToSort) datapath.table.rebalance();
      else datapath.table.reclaim();
      datapath.sweepConnections(nowMs);
      if (isTimeToSweep) {
        datapath.sweepFragments().catch((error: Error) => this.#options.log.warn(error.message));
      }
    }
    for (const link of this.#abandoned) this.#replace(link);
    for (const link of this.#links) if (this.#watchdog.look(link)) this.#hangs(link);
  }

  /** A thread does not come back from a port's code: names the port, takes it down and gives the thread up. */
  #hangs(link: ThreadLink): void {
    const { log, onPortFailed } = this.#options;
    const inside = link.inside();
    const datapath = this.#datapaths.get(inside.datapath);
    const what = `packet thread ${link.thread} has not come back for ${HANG_MS} ms`;
    if (datapath === undefined || inside.portNo < 0) {
      log.error(`${what}, and is in no port's code`);
      return;
    }
    const where = `port ${datapath.portName(inside.portNo)} of datapath ${datapath.spec.name}`;
    if (this.#replacements >= REPLACEMENTS_MAX) {
      log.error(
        `${what} from ${where}; ${REPLACEMENTS_MAX} threads were replaced already: restart`,
      );
      return;
    }
    log.error(`${what} from ${where}: the port is down, another thread takes over without it`);
    const reason = `its code has not come back for ${HANG_MS} ms (packet thread ${link.thread})`;
    link.abandon();
    this.#abandoned.add(link);
    if (datapath.markFailed(inside.portNo, reason) === undefined) return;
    onPortFailed?.(datapath.spec.name, inside.portNo, reason);
  }

  /** Puts a new thread in the place of an abandoned one, which has had a tick to notice if it was about to come back. */
  #replace(link: ThreadLink): void {
    const { log } = this.#options;
    this.#abandoned.delete(link);
    const at = this.#links.indexOf(link);
    if (at < 0) return;
    this.#replacements++;
    try {
      link.takeOver("it was replaced because it hangs");
    } catch (error) {
      log.error(`what packet thread ${link.thread} held is lost: ${describe(error)}`);
    }
    const successor = ThreadLink.begin(this.#linkOptions(link.thread));
    this.#links[at] = successor;
    // All in one go: what is asked from now on comes behind.
    const loaded = this.plugins.reloadIn(successor);
    const rejoined = this.datapaths().map((datapath) =>
      datapath.rejoin(at, (portNo, error) =>
        this.#portFailed({
          kind: "port-failed",
          datapath: datapath.number,
          portNo,
          reason: error.message,
          isDevice: true,
        }))
    );
    Promise.all([successor.started(), loaded, ...rejoined]).then(
      () => log.info(`packet thread ${link.thread} has been replaced`),
      (error) => this.#threadDied(link.thread, `its successor failed: ${describe(error)}`),
    );
  }
}
