/**
 * The upcalls of one datapath in the control isolate: takes them from the packet threads' rings and
 * gives each to the handler and to all clients that look on.
 *
 * A loop per ring waits for the packet thread (`Atomics.waitAsync`), hands over a batch, has what the
 * handler asked for done, and only then takes more: what comes faster than that fills the ring, and
 * the packet thread counts what it loses. So nothing here grows, and a thread that hangs holds up
 * nobody else's upcalls. Slices keep commands answered meanwhile.
 */
import { UpcallConsumer, WAITING } from "../../datapath/upcall_ring.ts";
import { describe } from "../../vports/shape.ts";
import type { UpcallHandlerInfo } from "../api.ts";
import { prepareActions, prepareFlow, ufidOf } from "../flows.ts";
import { type Logger, RateLimit } from "../log.ts";
import type { Datapath, Model } from "../model.ts";
import { Slices } from "../slices.ts";
import type { LiveDatapath } from "../switch/live_datapath.ts";
import type { HangWatch } from "./hang_watch.ts";
import { type LoadedHandler, loadHandler } from "./loader.ts";
import { toUpcall, type Upcall } from "./packet.ts";
import { RequestQueue, type Turns } from "./requests.ts";
import type { UpcallHost, UpcallPacket } from "./upcall_handler.ts";

/** Upcalls that are handed over before what the handler asked for is done. */
const BATCH_MAX = 64;
/** How long a loop waits before it looks whether it is still wanted. */
const WAIT_MS = 1000;
/** A handler that keeps the control isolate for so long is named in the log. */
const SLOW_MS = 500;

export interface UpcallsOptions {
  readonly live: LiveDatapath;
  readonly turns: Turns & { readonly model: Model };
  readonly nowMs: () => number;
  readonly log: Logger;
  readonly watch: HangWatch;
}

/** Whoever looks on. Must not throw. */
export type UpcallListener = (upcall: Upcall) => void;

/** What the handler in place needs. */
interface Running {
  readonly loaded: LoadedHandler;
  readonly host: UpcallHost;
  /** One per packet thread, and one for what is asked for outside of upcalls. */
  readonly queues: readonly RequestQueue[];
}

export class DatapathUpcalls {
  readonly #options: UpcallsOptions;
  /** By packet thread. */
  readonly #rings: UpcallConsumer[];
  readonly #listeners: Set<UpcallListener> = new Set();
  readonly #limit = new RateLimit(10, 1000);
  /** Which upcall each packet that a handler may send on belongs to, and its thread. */
  readonly #origins: WeakMap<UpcallPacket, { upcall: Upcall; thread: number }> = new WeakMap();
  #running: Running | undefined;
  #failed: { readonly path: string; readonly reason: string } | undefined;
  /** The thread whose upcall the handler is in; the number of threads outside of upcalls. */
  #thread: number;
  #counts = { upcalls: 0, thrown: 0, refused: 0 };
  /** Loops that are handing over. */
  #busy = 0;
  /** Threads whose loop runs. */
  readonly #serving: Set<number> = new Set();
  #closed = false;
  readonly #end: PromiseWithResolvers<void> = Promise.withResolvers<void>();

  constructor(options: UpcallsOptions) {
    this.#options = options;
    this.#rings = options.live.upcallRings.map((ring) => new UpcallConsumer(ring));
    this.#thread = this.#rings.length;
  }

  /** Resolves when the datapath goes: nobody is told anything any more. */
  get closed(): Promise<void> {
    return this.#end.promise;
  }

  /** Nothing has to be handed over or done. */
  get isIdle(): boolean {
    if (this.#busy > 0 || this.#running?.queues.some((queue) => !queue.isIdle) === true) {
      return false;
    }
    return !this.#isWanted || this.#rings.every((ring) => ring.isEmpty);
  }

  /** Replaces the handler; null: there is none any more. Throws PluginError; then there is none. */
  async setHandler(path: string | null): Promise<void> {
    this.#endHandler();
    this.#failed = undefined;
    if (path !== null) {
      try {
        this.#start(await loadHandler(path));
      } catch (error) {
        this.#failed = { path, reason: error instanceof Error ? error.message : String(error) };
        throw error;
      } finally {
        await this.#update();
      }
    } else await this.#update();
  }

  info(path: string): UpcallHandlerInfo {
    const state = this.#running === undefined ? "failed" : "running";
    const reason = state === "running" ? null : this.#failed?.reason ?? "it is not loaded";
    return { path, state, reason, ...this.#counts };
  }

  async listen(listener: UpcallListener): Promise<void> {
    this.#listeners.add(listener);
    await this.#update();
  }

  async unlisten(listener: UpcallListener): Promise<void> {
    this.#listeners.delete(listener);
    if (!this.#closed) await this.#update();
  }

  /** The datapath goes: no packet thread is told anything. */
  close(): void {
    this.#closed = true;
    this.#end.resolve();
    this.#endHandler();
    this.#wake();
  }

  get #isWanted(): boolean {
    return !this.#closed && (this.#running !== undefined || this.#listeners.size > 0);
  }

  /** Tells the packet threads who wants upcalls, and runs the loops while somebody does. */
  async #update(): Promise<void> {
    if (this.#isWanted) {
      this.#rings.forEach((_, thread) => {
        if (!this.#serving.has(thread)) void this.#serve(thread);
      });
    }
    const { live } = this.#options;
    await live.setUpcalls(
      this.#running !== undefined ? "handle" : this.#listeners.size > 0 ? "watch" : "off",
    );
    if (!this.#isWanted) this.#wake();
  }

  async #serve(thread: number): Promise<void> {
    this.#serving.add(thread);
    while (this.#isWanted) {
      const ring = this.#ring(thread);
      if (ring.prepareWait()) {
        const wait = Atomics.waitAsync(ring.control, WAITING, 1, WAIT_MS);
        if (wait.async) await wait.value;
        continue;
      }
      this.#busy++;
      try {
        await this.#handOver(ring, thread);
      } catch (error) {
        // A bug; the loop must go on.
        this.#options.log.error(`upcalls: ${describe(error)}`, this.#limit);
      } finally {
        this.#busy--;
      }
    }
    // What is left nobody waits for.
    this.#ring(thread).clear();
    this.#serving.delete(thread);
  }

  /** A thread that hung has a successor, with a ring of its own. */
  #ring(thread: number): UpcallConsumer {
    const shared = this.#options.live.upcallRings[thread]!;
    if (this.#rings[thread]!.control.buffer !== shared) {
      this.#rings[thread] = new UpcallConsumer(shared);
    }
    return this.#rings[thread]!;
  }

  async #handOver(ring: UpcallConsumer, thread: number): Promise<void> {
    const slices = new Slices();
    // What the last batch asked for is done while the next one is handed over.
    let last: Promise<void> | undefined;
    for (let count = 0; this.#isWanted; count++) {
      const raw = ring.take();
      if (raw === undefined) break;
      this.#dispatch(toUpcall(raw, this.#options.live.dispatch, thread), thread);
      if (count % BATCH_MAX !== BATCH_MAX - 1 && !slices.due) continue;
      await last;
      last = this.#running?.queues[thread]?.flush();
      await slices.rest();
    }
    await this.#running?.queues[thread]?.flush();
  }

  #dispatch(upcall: Upcall, thread: number): void {
    for (const listener of this.#listeners) listener(upcall);
    const running = this.#running;
    if (running === undefined) return;
    const { handler } = running.loaded;
    const queue = running.queues[thread]!;
    const before = queue.length;
    this.#counts.upcalls++;
    this.#origins.set(upcall.packet, { upcall, thread });
    this.#thread = thread;
    const { watch } = this.#options;
    const sinceMs = performance.now();
    watch.enter(running.loaded.path);
    try {
      const result = handler.upcall(upcall.packet, upcall.key, running.host);
      if (result instanceof Promise) result.catch((thrown) => this.#threw(handler.name, thrown));
    } catch (thrown) {
      queue.cut(before);
      this.#threw(handler.name, thrown);
    } finally {
      watch.leave();
      this.#thread = this.#rings.length;
    }
    const tookMs = performance.now() - sinceMs;
    if (tookMs > SLOW_MS) {
      this.#warn(`handler ${handler.name} took ${Math.round(tookMs)} ms for one upcall`);
    }
  }

  #threw(name: string, thrown: unknown): void {
    this.#counts.thrown++;
    this.#warn(`handler ${name} threw ${describe(thrown)}; the upcall is dropped`);
  }

  #warn(text: string): void {
    const { live, log } = this.#options;
    log.warn(`${live.spec.name}: ${text}`, this.#limit);
  }

  #start(loaded: LoadedHandler): void {
    const { live, turns, nowMs, log } = this.#options;
    this.#counts = { upcalls: 0, thrown: 0, refused: 0 };
    const { name } = loaded.handler;
    const counts = this.#counts;
    const onRefused = (): void => void counts.refused++;
    const options = { live, turns, nowMs, log, limit: this.#limit, name, onRefused };
    const queues = Array.from({ length: this.#rings.length + 1 }, () => new RequestQueue(options));
    this.#running = {
      loaded,
      queues,
      host: this.#makeHost(() => this.#running?.loaded === loaded),
    };
    log.info(`${live.spec.name}: upcalls go to ${name}, ${loaded.path}`);
  }

  #endHandler(): void {
    const running = this.#running;
    this.#running = undefined;
    try {
      running?.loaded.handler.close?.();
    } catch (thrown) {
      this.#threw(running!.loaded.handler.name, thrown);
    }
  }

  /** Asks for something in the name of the upcall that the handler is in. */
  #ask(add: (queue: RequestQueue) => void): void {
    const queue = this.#running!.queues[this.#thread]!;
    add(queue);
    // In an upcall the loop does it; else it is done when the handler is out of its callback.
    if (this.#thread === this.#rings.length) queueMicrotask(() => void queue.flush());
  }

  /** Throws when the datapath is gone: a handler of another time. */
  #datapath(): Datapath {
    const { live, turns } = this.#options;
    const datapath = turns.model.get(live.spec.name);
    if (datapath?.record.id === live.spec.id) return datapath;
    throw new Error(`there is no datapath ${live.spec.name} any more`);
  }

  #makeHost(isCurrent: () => boolean): UpcallHost {
    const { live, nowMs, log } = this.#options;
    return {
      datapath: live.spec.name,
      ports: () =>
        this.#datapath().ports().map(({ portNo, name, type }) => ({ portNo, name, type })),
      addFlow: ({ flow, actions, idleTimeout = 0, hardTimeout = 0 }) => {
        if (!isCurrent()) return;
        for (const seconds of [idleTimeout, hardTimeout]) {
          if (!(seconds >= 0)) throw new RangeError(`${seconds} is not a timeout in seconds`);
        }
        const prepared = prepareFlow(this.#datapath(), flow, actions);
        const timeouts = { idleTimeout, hardTimeout };
        this.#ask((queue) => queue.add({ op: "add", flow: prepared, timeouts }));
      },
      deleteFlow: (flow) => {
        if (!isCurrent()) return;
        const ufid = ufidOf(this.#datapath(), flow);
        this.#ask((queue) => queue.add({ op: "delete", ufid }));
      },
      execute: (packet, actions) => {
        const origin = this.#origins.get(packet);
        if (!isCurrent() || origin === undefined) return;
        const { key, injected } = origin.upcall;
        const words = prepareActions(this.#datapath(), actions, { key: key.words, mask: key.mask });
        const { thread } = origin;
        this.#ask((queue) =>
          queue.add({ op: "execute", thread, packet: injected, actions: words })
        );
      },
      nowMs,
      log: (text) => log.info(`${live.spec.name}: ${text}`, this.#limit),
    };
  }

  #wake(): void {
    for (const { control } of this.#rings) {
      Atomics.store(control, WAITING, 0);
      Atomics.notify(control, WAITING);
    }
  }
}
