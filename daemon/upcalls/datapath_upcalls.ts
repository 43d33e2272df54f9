/**
 * The upcalls of one datapath in the control isolate: takes them from the packet threads' rings and
 * gives each to the handler, which runs in a Worker of its own, and to all clients that look on.
 *
 * A loop per ring waits for the packet thread (`Atomics.waitAsync`), hands over a batch, has what the
 * handler asked for done, and only then takes more: what comes faster than that fills the ring, and
 * the packet thread counts what it loses. So nothing here grows, and a thread that hangs holds up
 * nobody else's upcalls. Slices keep commands answered meanwhile.
 */
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { type RawUpcall, UpcallConsumer, WAITING } from "../../datapath/upcall_ring.ts";
import { describe } from "../../vports/shape.ts";
import type { UpcallHandlerInfo } from "../api.ts";
import { prepareActions, prepareFlow, ufidOf } from "../flows.ts";
import { type Logger, RateLimit } from "../log.ts";
import { type Datapath, dispatchOf, type Model } from "../model.ts";
import { Slices } from "../slices.ts";
import type { SwitchClock } from "../switch/clock.ts";
import type { LiveDatapath } from "../switch/live_datapath.ts";
import { HandlerLink } from "./handler_link.ts";
import type { HandlerAsk } from "./handler_messages.ts";
import { toUpcall, type Upcall } from "./packet.ts";
import { type HandlerRequest, RequestQueue, type Turns } from "./requests.ts";

const NO_COUNTS = { upcalls: 0, thrown: 0, refused: 0, lost: 0, restarts: 0 };
/** Upcalls that are handed over before what the handler asked for is done. */
const BATCH_MAX = 64;
/** How long a loop waits before it looks whether it is still wanted. */
const WAIT_MS = 1000;

export interface UpcallsOptions {
  readonly live: LiveDatapath;
  readonly turns: Turns & { readonly model: Model };
  readonly clock: SwitchClock;
  readonly log: Logger;
  /** Module that handlers' Workers run; absent: handler_entry.ts. */
  readonly workerUrl?: string | undefined;
}

/** Whoever looks on. Must not throw. */
export type UpcallListener = (upcall: Upcall) => void;

/** What the handler in place needs. */
interface Running {
  readonly link: HandlerLink;
  /** One per packet thread, and one for what is asked for outside of upcalls. */
  readonly queues: readonly RequestQueue[];
  /** As the handler knows it. */
  datapath: Datapath | undefined;
  /** Flows and packets that could not be installed or sent. */
  refused: number;
}

export class DatapathUpcalls {
  readonly #options: UpcallsOptions;
  /** By packet thread. */
  readonly #rings: UpcallConsumer[];
  readonly #listeners: Set<UpcallListener> = new Set();
  readonly #limit = new RateLimit(10, 1000);
  #running: Running | undefined;
  #failed: { readonly path: string; readonly reason: string } | undefined;
  /** Loops that are handing over. */
  #busy = 0;
  /** Threads whose loop runs. */
  readonly #serving: Set<number> = new Set();
  #closed = false;
  readonly #end: PromiseWithResolvers<void> = Promise.withResolvers<void>();

  constructor(options: UpcallsOptions) {
    this.#options = options;
    this.#rings = options.live.upcallRings.map((ring) => new UpcallConsumer(ring));
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
    await this.#endHandler();
    this.#failed = undefined;
    if (path !== null) {
      try {
        await this.#start(path);
      } catch (error) {
        this.#failed = { path, reason: error instanceof Error ? error.message : String(error) };
        throw error;
      } finally {
        await this.#update();
      }
    } else await this.#update();
  }

  info(path: string): UpcallHandlerInfo {
    const running = this.#running;
    if (running === undefined) {
      const reason = this.#failed?.reason ?? "it is not loaded";
      return { path, state: "failed", reason, ...NO_COUNTS };
    }
    const { link, refused } = running;
    return { path, state: "running", reason: null, ...link.counts, refused };
  }

  async listen(listener: UpcallListener): Promise<void> {
    this.#listeners.add(listener);
    await this.#update();
  }

  async unlisten(listener: UpcallListener): Promise<void> {
    this.#listeners.delete(listener);
    if (!this.#closed) await this.#update();
  }

  /** The datapath goes: no packet thread is told anything. Resolves when the handler has closed, or has had its time. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#end.resolve();
    this.#wake();
    await this.#endHandler();
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
      this.#tellView();
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
    while (this.#isWanted) {
      const upcalls: RawUpcall[] = [];
      while (upcalls.length < BATCH_MAX) {
        const raw = ring.take();
        if (raw === undefined) break;
        upcalls.push(raw);
        this.#show(raw, thread);
        if (slices.due) break;
      }
      if (upcalls.length === 0) break;
      await last;
      last = this.#handle(upcalls, thread);
      await slices.rest();
    }
    await last;
  }

  /** To clients that look on. */
  #show(raw: RawUpcall, thread: number): void {
    if (this.#listeners.size === 0) return;
    const upcall = toUpcall(raw, this.#options.live.dispatch, thread);
    for (const listener of this.#listeners) listener(upcall);
  }

  /** Resolves when the handler has seen them and what it asked for is done. */
  async #handle(upcalls: readonly RawUpcall[], thread: number): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#tellView();
    const asks = await running.link.handle(thread, upcalls);
    await this.#carryOut(running, asks, thread);
  }

  /** Of a handler that is gone meanwhile nothing is done. */
  async #carryOut(running: Running, asks: readonly HandlerAsk[], thread: number): Promise<void> {
    if (asks.length === 0 || this.#running !== running) return;
    const queue = running.queues[thread]!;
    for (const ask of asks) {
      try {
        queue.add(this.#toRequest(ask));
      } catch (error) {
        running.refused++;
        this.#warn(`cannot ${ask.op} for handler ${running.link.name}: ${describe(error)}`);
      }
    }
    await queue.flush();
    running.link.done(asks.length);
  }

  /** Throws what is wrong with the text; the handler's Worker has not found it, so the datapath has changed. */
  #toRequest(ask: HandlerAsk): HandlerRequest {
    const datapath = this.#datapath();
    if (ask.op === "add") {
      const { flow, actions, idleTimeout, hardTimeout } = ask.flow;
      const timeouts = { idleTimeout: idleTimeout ?? 0, hardTimeout: hardTimeout ?? 0 };
      return { op: "add", flow: prepareFlow(datapath, flow, actions), timeouts };
    }
    if (ask.op === "delete") return { op: "delete", ufid: ufidOf(datapath, ask.flow) };
    const { packet, thread } = ask;
    const match = { key: packet.key, mask: exactMask(packet.key) };
    return { op: "execute", thread, packet, actions: prepareActions(datapath, ask.actions, match) };
  }

  #warn(text: string): void {
    const { live, log } = this.#options;
    log.warn(`${live.spec.name}: ${text}`, this.#limit);
  }

  /** Throws PluginError. */
  async #start(path: string): Promise<void> {
    const { live, turns, clock, log, workerUrl } = this.#options;
    const { name } = live.spec;
    const link = await HandlerLink.start({
      path,
      datapath: name,
      clock: clock.shared,
      workerUrl,
      log: (level, text) => log[level](`${name}: ${text}`, this.#limit),
      onAsked: (asks) => void this.#carryOut(running, asks, this.#rings.length),
      onFailed: (reason) => this.#handlerFailed(running, reason),
    });
    const onRefused = (): void => void running.refused++;
    const nowMs = (): number => clock.nowMs();
    const options = { live, turns, nowMs, log, limit: this.#limit, name: link.name, onRefused };
    const queues = Array.from({ length: this.#rings.length + 1 }, () => new RequestQueue(options));
    const running: Running = { link, queues, datapath: undefined, refused: 0 };
    if (this.#closed) return void link.close();
    this.#running = running;
    this.#tellView();
    log.info(`${name}: upcalls go to ${link.name}, ${link.path}`);
  }

  /** The miss policy holds from now on. */
  #handlerFailed(running: Running, reason: string): void {
    if (this.#running !== running) return;
    this.#running = undefined;
    this.#failed = { path: running.link.path, reason };
    this.#update().catch((error: Error) => this.#warn(error.message));
  }

  async #endHandler(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.link.close();
  }

  /** Every change of a configuration makes another object of its datapath. */
  #tellView(): void {
    const { live, turns } = this.#options;
    const running = this.#running;
    const datapath = turns.model.get(live.spec.name);
    if (running === undefined || datapath === undefined || running.datapath === datapath) return;
    running.datapath = datapath;
    const ports = datapath.ports().map(({ portNo, name, type }) => ({ portNo, name, type }));
    running.link.setView({ ports, dispatch: dispatchOf(datapath.record) });
  }

  /** Throws when the datapath is gone: a handler of another time. */
  #datapath(): Datapath {
    const { live, turns } = this.#options;
    const datapath = turns.model.get(live.spec.name);
    if (datapath?.record.id === live.spec.id) return datapath;
    throw new Error(`there is no datapath ${live.spec.name} any more`);
  }

  #wake(): void {
    for (const { control } of this.#rings) {
      Atomics.store(control, WAITING, 0);
      Atomics.notify(control, WAITING);
    }
  }
}
