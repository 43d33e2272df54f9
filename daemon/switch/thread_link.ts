/** The control isolate's end of one packet thread: starts the Worker, posts requests, waits for answers, stops it. */
import { markAsleep } from "../../datapath/flow_table/grace.ts";
import { markGone } from "../../datapath/spin_lock.ts";
import { EventFd } from "../../netdev/poller.ts";
import { makeHoldings, takeOver } from "../../netdev/descriptors.ts";
import { type LockHolder, newLockHolder } from "./lock_holders.ts";
import {
  ABANDONED,
  ACTIVITY,
  ENTERED,
  type FromThread,
  HEARTBEAT,
  HELLO,
  INSIDE_DATAPATH,
  INSIDE_PORT,
  POSTED,
  RUNNING,
  STOP,
  THREAD_WORDS,
  ThreadError,
  ThreadGoneError,
  ThreadLateError,
  type ThreadOp,
  type ThreadRequests,
  type ThreadStart,
} from "./messages.ts";

/** How long a new Worker may take until it answers; modules are loaded in it. */
const START_TIMEOUT_MS = 20_000;
/** How long an answer may take before the caller gets an error. */
const ANSWER_TIMEOUT_MS = 10_000;
/** How long a thread may take to leave its loop. */
const STOP_TIMEOUT_MS = 3_000;

export type TracedPacket = Extract<FromThread, { kind: "traced" }>;
export type PortFailure = Extract<FromThread, { kind: "port-failed" }>;

export interface LinkOptions {
  /** Module that the Worker runs. */
  readonly threadUrl: string;
  readonly thread: number;
  readonly threads: number;
  readonly grace: SharedArrayBuffer;
  readonly clock: SharedArrayBuffer;
  /** A port's callback threw on the thread. */
  onPortFailed(failure: PortFailure): void;
  /** An observer of the thread has traced a packet. */
  onTraced(traced: TracedPacket): void;
  /** The thread is gone, without having been told to. */
  onDied(reason: string): void;
  /** How long an answer may take before the caller gets an error; default 10 s. */
  readonly answerTimeoutMs?: number | undefined;
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
  /** The caller has been told that the answer is late; resolves ThreadLateError.over. */
  late: (() => void) | undefined;
  readonly timer: ReturnType<typeof setTimeout>;
}

export class ThreadLink {
  readonly thread: number;
  readonly #options: LinkOptions;
  readonly #words: Int32Array = new Int32Array(new SharedArrayBuffer(THREAD_WORDS * 4));
  readonly #holdings: SharedArrayBuffer = makeHoldings();
  readonly #lockHolder: LockHolder = newLockHolder();
  readonly #wake: EventFd = new EventFd();
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #waiting: Map<number, Waiting> = new Map();
  readonly #ready: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  readonly #ended: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  #nextId = 1;
  #dead: string | undefined;

  private constructor(options: LinkOptions) {
    this.thread = options.thread;
    this.#options = options;
    const channel = new MessageChannel();
    this.#port = channel.port1;
    this.#port.onmessage = (event: MessageEvent): void => this.#receive(event.data as FromThread);
    this.#words[INSIDE_DATAPATH] = -1;
    this.#words[INSIDE_PORT] = -1;
    this.#ready.promise.catch(() => {}); // start() reports it
    this.#worker = new Worker(options.threadUrl, {
      type: "module",
      name: `packet-${options.thread}`,
    });
    this.#worker.onerror = (event: ErrorEvent): void => {
      event.preventDefault();
      this.#die(event.message);
    };
    this.#worker.onmessage = (event: MessageEvent): void => {
      if (event.data !== HELLO) return;
      const start: ThreadStart = {
        thread: options.thread,
        threads: options.threads,
        words: this.#words.buffer as SharedArrayBuffer,
        grace: options.grace,
        clock: options.clock,
        holdings: this.#holdings,
        lockHolder: this.#lockHolder,
        wakeFd: this.#wake.fd,
        port: channel.port2,
      };
      this.#worker.postMessage(start, [channel.port2]);
    };
  }

  /** Resolves when the thread is in its loop. Throws ThreadError when it does not come up. */
  static async start(options: LinkOptions): Promise<ThreadLink> {
    const link = new ThreadLink(options);
    try {
      await link.started();
    } catch (error) {
      await link.stop();
      throw error;
    }
    return link;
  }

  /** Begins to start a thread, which carries out what is posted when it is up: see {@link started}. */
  static begin(options: LinkOptions): ThreadLink {
    return new ThreadLink(options);
  }

  /** Resolves when the thread is in its loop. Throws ThreadError when it does not come up in time. */
  started(): Promise<void> {
    const what = `packet thread ${this.thread} has not started`;
    return within(this.#ready.promise, START_TIMEOUT_MS, what);
  }

  /**
   * Posts a request; resolves with its answer. Throws ThreadError with the code of what went wrong
   * there, ThreadLateError (it may yet be carried out), ThreadGoneError.
   */
  request<Op extends ThreadOp>(
    op: Op,
    params: ThreadRequests[Op]["params"],
  ): Promise<ThreadRequests[Op]["result"]> {
    const { promise, resolve, reject } = Promise.withResolvers<ThreadRequests[Op]["result"]>();
    if (this.#dead !== undefined) {
      return Promise.reject(this.#gone(this.#dead));
    }
    const id = this.#nextId++;
    const timer = setTimeout(() => {
      const over = Promise.withResolvers<void>();
      waiting.late = over.resolve;
      const message = `packet thread ${this.thread} does not answer to ${op}`;
      reject(
        new ThreadLateError({ name: "ThreadLateError", code: "EIO", message }, over.promise),
      );
    }, this.#options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS);
    const waiting: Waiting = {
      resolve: (result) => resolve(result as typeof result & void),
      reject,
      late: undefined,
      timer,
    };
    this.#waiting.set(id, waiting);
    this.#port.postMessage({ id, op, params });
    Atomics.add(this.#words, POSTED, 1);
    this.#wake.ring();
    return promise;
  }

  /** Rounds begun and callbacks entered; changes unless the thread sleeps or hangs. */
  get heartbeat(): number {
    return this.#words[HEARTBEAT]! + this.#words[ENTERED]!;
  }

  /** As whom it takes locks in shared memory. */
  get lockHolder(): number {
    return this.#lockHolder.number;
  }

  get running(): boolean {
    return this.#dead === undefined && Atomics.load(this.#words, ACTIVITY) === RUNNING;
  }

  /** Whose callback the thread entered last. */
  inside(): { datapath: number; portNo: number } {
    return { datapath: this.#words[INSIDE_DATAPATH]!, portNo: this.#words[INSIDE_PORT]! };
  }

  /** Ends the thread and waits for it, for a bounded time. Returns false if it hangs: only Deno.exit ends it then. */
  async stop(): Promise<boolean> {
    Atomics.store(this.#words, STOP, 1);
    this.#wake.ring();
    let joined = true;
    if (this.#dead === undefined) {
      try {
        await within(this.#ended.promise, STOP_TIMEOUT_MS, "");
      } catch {
        joined = false;
      }
    }
    this.#die("stopped");
    // A thread that hangs may still read it: descriptors are reused.
    if (joined) this.#wake.close();
    return joined;
  }

  /** The thread hangs: should it come back, it is to end at once. */
  abandon(): void {
    Atomics.store(this.#words, STOP, ABANDONED);
  }

  /** After {@link abandon}, when the thread has had time to notice: takes away all that it holds. Requests that wait are refused with ThreadGoneError. */
  takeOver(reason: string): void {
    this.#die(reason);
    takeOver(this.#holdings);
  }

  #gone(reason: string): ThreadGoneError {
    const message = `packet thread ${this.thread} is gone: ${reason}`;
    return new ThreadGoneError({ name: "ThreadGoneError", code: "EOWNERDEAD", message });
  }

  #receive(message: FromThread): void {
    switch (message.kind) {
      case "ready":
        return this.#ready.resolve();
      case "ended":
        return this.#ended.resolve();
      case "died":
        return this.#die(message.reason);
      case "port-failed":
        return this.#options.onPortFailed(message);
      case "traced":
        return this.#options.onTraced(message);
      case "answer":
        return this.#take(message.id)?.resolve(message.result);
      case "fault":
        return this.#take(message.id)?.reject(new ThreadError(message.fault));
    }
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    waiting.late?.();
    return waiting;
  }

  /** The thread is no more: nobody waits for it any longer. */
  #die(reason: string): void {
    if (this.#dead !== undefined) return;
    this.#dead = reason;
    markAsleep(this.#options.grace, this.thread);
    markGone(this.#lockHolder.number, this.#lockHolder.holders);
    for (const id of [...this.#waiting.keys()]) {
      this.#take(id)?.reject(this.#gone(reason));
    }
    this.#ready.reject(fault(`Cannot start packet thread ${this.thread}: ${reason}`));
    this.#ended.resolve();
    this.#port.close();
    this.#worker.terminate();
    if (Atomics.load(this.#words, STOP) === 0) this.#options.onDied(reason);
  }
}

function fault(message: string): ThreadError {
  return new ThreadError({ name: "ThreadError", code: "EIO", message });
}

async function within<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(fault(`${what} after ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
