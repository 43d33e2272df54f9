/**
 * An upcall handler's Worker, as the control isolate holds it: hands upcalls over in batches, of which
 * few are on their way, and takes what the handler asks for.
 *
 * A handler that does not come back is given up, and started anew in another Worker; what it had in hand
 * is lost, and counted. Its code goes on using a processor, since a Worker can't be ended from outside:
 * so after {@link RESTARTS_MAX} times it is left alone.
 */
import type { RawUpcall } from "../../datapath/upcall_ring.ts";
import { PluginError } from "../../vports/shape.ts";
import {
  type FromHandler,
  type HandlerAsk,
  type HandlerView,
  PROGRESS,
  PROGRESS_WORDS,
  type ToHandler,
} from "./handler_messages.ts";

/** A Worker whose event loop stands still for so long, in an upcall or elsewhere, hangs. */
export const HANG_MS = 2000;
const LOOK_MS = 250;
/** A Worker may take so long to load our modules and the handler. */
const START_MS = 30_000;
/** The handler's top level may take so long, once our modules are there. */
const LOAD_MS = 5000;
const CLOSE_MS = 1000;
const RESTARTS_MAX = 8;

/** From the sources; a bundle has no such file, and passes its main module. */
const WORKER_URL: string = new URL("./handler_entry.ts", import.meta.url).href;

export interface HandlerLinkOptions {
  /** Handler's file. */
  readonly path: string;
  readonly datapath: string;
  /** Of the switch's clock. */
  readonly clock: SharedArrayBuffer;
  /** Module that runs {@link startHandlerWorker} in a Worker whose name begins with `upcalls-`. */
  readonly workerUrl?: string | undefined;
  readonly log: (level: "info" | "warn" | "error", text: string) => void;
  /** What it asks for outside of upcalls. */
  readonly onAsked: (asks: readonly HandlerAsk[]) => void;
  /** It has hung too often, or can't be loaded again: it is gone. */
  readonly onFailed: (reason: string) => void;
  /** Other than {@link HANG_MS} and {@link RESTARTS_MAX}. */
  readonly hangMs?: number | undefined;
  readonly restartsMax?: number | undefined;
}

/** What a handler has done. */
export interface HandlerCounts {
  /** Upcalls that it was given. */
  upcalls: number;
  /** Upcalls, and callbacks of its own, that have thrown. */
  thrown: number;
  /** Upcalls that it had in hand when it hung. */
  lost: number;
  /** How often it was started anew. */
  restarts: number;
}

/** Undefined: the handler was given up before it answered. */
type Answer = readonly HandlerAsk[] | undefined;

export class HandlerLink {
  readonly counts: HandlerCounts = { upcalls: 0, thrown: 0, lost: 0, restarts: 0 };
  readonly #options: HandlerLinkOptions;
  #session: Session;
  #view: HandlerView | undefined;
  #closed = false;
  #name = "";
  #path: string;

  private constructor(options: HandlerLinkOptions) {
    this.#options = options;
    this.#path = options.path;
    this.#session = this.#begin();
  }

  /** Resolves when the handler is loaded. Throws PluginError. */
  static async start(options: HandlerLinkOptions): Promise<HandlerLink> {
    const link = new HandlerLink(options);
    try {
      await link.#session.loaded;
    } catch (error) {
      link.#closed = true;
      link.#session.giveUp();
      throw error;
    }
    return link;
  }

  /** As the handler calls itself. */
  get name(): string {
    return this.#name;
  }

  /** Links resolved. */
  get path(): string {
    return this.#path;
  }

  /** The datapath has changed. */
  setView(view: HandlerView): void {
    this.#view = view;
    this.#session.post({ op: "view", view });
  }

  /** Gives the handler upcalls of one packet thread; resolves with what it asks for, in order. Never rejects. */
  async handle(thread: number, upcalls: readonly RawUpcall[]): Promise<readonly HandlerAsk[]> {
    if (this.#closed) return [];
    this.counts.upcalls += upcalls.length;
    const asks = await this.#session.handle(thread, upcalls);
    if (asks === undefined) this.counts.lost += upcalls.length;
    return asks ?? [];
  }

  /** So many of the handler's requests have been carried out. */
  done(count: number): void {
    if (count > 0) this.#session.post({ op: "done", count });
  }

  /** The handler's close has run, or has had its time. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#session.close();
  }

  #begin(): Session {
    const session = new Session(this.#options, {
      onThrown: (text) => {
        this.counts.thrown++;
        if (text !== "") this.#log("warn", `threw ${text}; the upcall is dropped`);
      },
      onLog: (level, text) => this.#log(level, text),
      onHang: () => this.#restart(),
    });
    session.loaded.then(({ name, path }) => {
      this.#name = name;
      this.#path = path;
    }, () => {});
    return session;
  }

  #log(level: "info" | "warn", text: string): void {
    this.#options.log(level, level === "info" ? text : `handler ${this.#name} ${text}`);
  }

  #restart(): void {
    if (this.#closed) return;
    const { log, onFailed, hangMs = HANG_MS, restartsMax = RESTARTS_MAX } = this.#options;
    const what = `upcall handler ${this.#path} has not come back for ${hangMs} ms`;
    const fail = (reason: string): void => {
      this.#closed = true;
      onFailed(reason);
    };
    this.#session.giveUp();
    if (this.counts.restarts === restartsMax) {
      log("error", `${what}, and has hung ${restartsMax} times before: it is not started again`);
      return fail(`it has hung ${restartsMax + 1} times`);
    }
    this.counts.restarts++;
    log("error", `${what}: it is started anew; packets that match flows go on`);
    this.#session = this.#begin();
    if (this.#view !== undefined) this.#session.post({ op: "view", view: this.#view });
    const session = this.#session;
    session.loaded.catch((error: Error) => {
      session.giveUp();
      if (!this.#closed) fail(error.message);
    });
  }
}

interface SessionEvents {
  readonly onThrown: (text: string) => void;
  readonly onLog: (level: "info" | "warn", text: string) => void;
  readonly onHang: () => void;
}

/** One Worker, from its start to its end. */
class Session {
  readonly loaded: Promise<{ readonly name: string; readonly path: string }>;
  isGivenUp = false;
  readonly #options: HandlerLinkOptions;
  readonly #events: SessionEvents;
  readonly #worker: Worker;
  readonly #progress: Int32Array<SharedArrayBuffer>;
  readonly #load = Promise.withResolvers<{ readonly name: string; readonly path: string }>();
  readonly #end: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  /** Until it listens. */
  #early: ToHandler[] | undefined = [];
  #isLoaded = false;
  /** Upcalls that were posted and not answered, oldest first. */
  readonly #batches: ((answer: Answer) => void)[] = [];
  readonly #timer: ReturnType<typeof setInterval>;
  #seen = 0;
  #looks = 0;

  constructor(options: HandlerLinkOptions, events: SessionEvents) {
    this.#options = options;
    this.#events = events;
    this.#progress = new Int32Array(new SharedArrayBuffer(PROGRESS_WORDS * 4));
    this.loaded = this.#load.promise;
    const { path, datapath, clock, workerUrl = WORKER_URL } = options;
    this.#worker = new Worker(workerUrl, { type: "module", name: `upcalls-${datapath}` });
    this.#worker.onmessage = ({ data }) => this.#take(data as FromHandler);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#load.reject(new PluginError(`Cannot load upcall handler ${path}: ${event.message}`));
    };
    this.post({ op: "start", path, datapath, clock, progress: this.#progress.buffer });
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    Deno.unrefTimer(this.#timer);
  }

  post(message: ToHandler): void {
    if (this.isGivenUp) return;
    if (this.#early !== undefined) this.#early.push(message);
    else this.#worker.postMessage(message);
  }

  handle(thread: number, upcalls: readonly RawUpcall[]): Promise<Answer> {
    if (this.isGivenUp) return Promise.resolve(undefined);
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#batches.push(resolve);
    // What comes while it loads waits for that: nothing can be answered before.
    if (this.#isLoaded) this.post({ op: "upcalls", thread, upcalls });
    else this.loaded.then(() => this.post({ op: "upcalls", thread, upcalls }), () => {});
    return promise;
  }

  async close(): Promise<void> {
    this.post({ op: "close" });
    const timer = setTimeout(() => this.#end.resolve(), CLOSE_MS);
    await this.#end.promise;
    clearTimeout(timer);
    this.giveUp();
  }

  /** Nothing of it is heard any more. */
  giveUp(): void {
    if (this.isGivenUp) return;
    this.isGivenUp = true;
    clearInterval(this.#timer);
    this.#worker.onmessage = null;
    this.#worker.terminate();
    for (const answer of this.#batches.splice(0)) answer(undefined);
    this.#end.resolve();
  }

  #take(message: FromHandler): void {
    const { onThrown, onLog } = this.#events;
    switch (message.op) {
      case "hello":
        for (const early of this.#early ?? []) this.#worker.postMessage(early);
        this.#early = undefined;
        return;
      case "loaded":
        this.#isLoaded = true;
        this.#looks = 0;
        return this.#load.resolve(message);
      case "refused":
        return this.#load.reject(new PluginError(message.message));
      case "answered":
        return this.#batches.shift()?.(message.asks);
      case "asked":
        return this.#options.onAsked(message.asks);
      case "thrown":
        return onThrown(message.text);
      case "log":
        return onLog(message.level, message.text);
      case "closed":
        return this.#end.resolve();
    }
  }

  /** Counted in looks: a process that was stopped has had no time for anything. */
  #look(): void {
    const seen = Atomics.load(this.#progress, PROGRESS);
    if (seen !== this.#seen) this.#looks = 0;
    this.#seen = seen;
    const { path, hangMs = HANG_MS } = this.#options;
    const patience = this.#isLoaded ? hangMs : seen === 0 ? START_MS : LOAD_MS;
    if (++this.#looks * LOOK_MS <= patience) return;
    this.#looks = 0;
    if (this.#isLoaded) return this.#events.onHang();
    const why = `its top level has not finished after ${patience} ms`;
    this.#load.reject(new PluginError(`Cannot load upcall handler ${path}: ${why}`));
  }
}
