/**
 * The role of an upcall handler's Worker: loads the handler, gives it upcalls, and passes on what it
 * asks for. That is parsed and checked here as well, so that a handler's mistake throws where it is made.
 */
import { parseFlow, type PortNames } from "../../datapath/text/flow_text.ts";
import { NO_DISPATCH } from "../../datapath/upcall_dispatch.ts";
import type { RawUpcall } from "../../datapath/upcall_ring.ts";
import { describe } from "../../vports/shape.ts";
import { checkFlowText, readActions } from "../flows.ts";
import { RateLimit } from "../log.ts";
import { SwitchClock } from "../switch/clock.ts";
import {
  type FromHandler,
  type HandlerAsk,
  type HandlerView,
  PROGRESS,
  REQUESTS_MAX,
  type ToHandler,
} from "./handler_messages.ts";
import { loadHandler } from "./loader.ts";
import { toUpcall, type Upcall } from "./packet.ts";
import type { HandlerFlow, UpcallHandler, UpcallHost, UpcallPacket } from "./upcall_handler.ts";

const PROGRESS_MS = 250;
/** A handler that takes so long for one upcall is named in the log. */
const SLOW_MS = 500;

interface WorkerScope {
  onmessage: ((event: MessageEvent<ToHandler>) => void) | null;
  postMessage(message: FromHandler): void;
  close(): void;
}

/** Runs the role. Returns at once. */
export function startHandlerWorker(
  scope: WorkerScope = globalThis as unknown as WorkerScope,
): void {
  let worker: HandlerWorker | undefined;
  scope.onmessage = ({ data }) => {
    if (data.op === "start") worker = new HandlerWorker(scope, data);
    else worker?.take(data);
  };
  scope.postMessage({ op: "hello" });
}

class HandlerWorker implements UpcallHost {
  readonly datapath: string;
  readonly #scope: WorkerScope;
  readonly #clock: SwitchClock;
  readonly #progress: Int32Array;
  readonly #limit = new RateLimit(10, 1000);
  /** Which upcall each packet that the handler may send on belongs to, and its thread. */
  readonly #origins: WeakMap<UpcallPacket, { upcall: Upcall; thread: number }> = new WeakMap();
  #view: HandlerView = { ports: [], dispatch: NO_DISPATCH };
  #names: PortNames = toNames([]);
  #handler: UpcallHandler | undefined;
  /** What the handler has asked for and nobody has been told. */
  #asks: HandlerAsk[] = [];
  /** Asked for and told, but not carried out. */
  #waiting = 0;
  /** The handler is in an upcall: what it asks for goes with the answer. */
  #isInside = false;

  constructor(scope: WorkerScope, start: Extract<ToHandler, { op: "start" }>) {
    this.#scope = scope;
    this.datapath = start.datapath;
    this.#clock = new SwitchClock(start.clock);
    this.#progress = new Int32Array(start.progress);
    this.#moved(); // from now on it may be missed
    setInterval(() => this.#moved(), PROGRESS_MS);
    globalThis.addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      this.#threw(event.reason);
    });
    globalThis.addEventListener("error", (event) => {
      event.preventDefault();
      this.#threw(event.error);
    });
    this.#load(start.path);
  }

  take(message: Exclude<ToHandler, { op: "start" }>): void {
    if (message.op === "view") {
      this.#view = message.view;
      this.#names = toNames(message.view.ports);
    } else if (message.op === "upcalls") {
      for (const raw of message.upcalls) this.#handle(raw, message.thread);
      this.#scope.postMessage({ op: "answered", asks: this.#takeAsks() });
    } else if (message.op === "done") {
      this.#waiting -= message.count;
    } else {
      this.#close();
    }
  }

  ports(): HandlerView["ports"] {
    return this.#view.ports;
  }

  addFlow({ flow, actions, idleTimeout = 0, hardTimeout = 0 }: HandlerFlow): void {
    for (const seconds of [idleTimeout, hardTimeout]) {
      if (!(seconds >= 0)) throw new RangeError(`${seconds} is not a timeout in seconds`);
    }
    checkFlowText(this.#names, flow, actions);
    this.#ask({ op: "add", flow: { flow, actions, idleTimeout, hardTimeout } });
  }

  deleteFlow(flow: string): void {
    parseFlow(flow, { names: this.#names });
    this.#ask({ op: "delete", flow });
  }

  execute(packet: UpcallPacket, actions: string): void {
    const origin = this.#origins.get(packet);
    if (origin === undefined) return;
    const { key, injected } = origin.upcall;
    readActions(this.#names, actions, { key: key.words, mask: key.mask });
    this.#ask({ op: "execute", thread: origin.thread, packet: injected, actions });
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  log(text: string): void {
    this.#log("info", text);
  }

  async #load(path: string): Promise<void> {
    try {
      const loaded = await loadHandler(path);
      this.#handler = loaded.handler;
      this.#scope.postMessage({ op: "loaded", name: loaded.handler.name, path: loaded.path });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#scope.postMessage({ op: "refused", message });
    }
  }

  /** What the handler throws takes what it asked for in that call with it. */
  #handle(raw: RawUpcall, thread: number): void {
    this.#moved();
    const upcall = toUpcall(raw, this.#view.dispatch, thread);
    this.#origins.set(upcall.packet, { upcall, thread });
    const before = this.#asks.length;
    const sinceMs = performance.now();
    this.#isInside = true;
    try {
      const result = this.#handler?.upcall(upcall.packet, upcall.key, this);
      if (result instanceof Promise) result.catch((thrown) => this.#threw(thrown));
    } catch (thrown) {
      this.#asks.length = before;
      this.#threw(thrown);
    } finally {
      this.#isInside = false;
    }
    const tookMs = performance.now() - sinceMs;
    if (tookMs > SLOW_MS) this.#log("warn", `took ${Math.round(tookMs)} ms for one upcall`);
  }

  #ask(ask: HandlerAsk): void {
    if (this.#waiting + this.#asks.length >= REQUESTS_MAX) {
      throw new RangeError(`Cannot ask for more: ${REQUESTS_MAX} requests wait already`);
    }
    this.#asks.push(ask);
    if (this.#isInside || this.#asks.length > 1) return;
    queueMicrotask(() => {
      const asks = this.#takeAsks();
      if (asks.length > 0) this.#scope.postMessage({ op: "asked", asks });
    });
  }

  #takeAsks(): readonly HandlerAsk[] {
    const asks = this.#asks;
    this.#asks = [];
    this.#waiting += asks.length;
    return asks;
  }

  #threw(thrown: unknown): void {
    this.#scope.postMessage({ op: "thrown", text: this.#limited(describe(thrown)) });
  }

  #log(level: "info" | "warn", text: string): void {
    const line = this.#limited(text);
    if (line !== "") this.#scope.postMessage({ op: "log", level, text: line });
  }

  /** Lines that are too many are empty: nothing of them crosses to the control isolate, where they would pile up. */
  #limited(text: string): string {
    const suppressed = this.#limit.take();
    if (suppressed < 0) return "";
    return suppressed === 0 ? text : `${text} (${suppressed} more lines before it)`;
  }

  #moved(): void {
    Atomics.add(this.#progress, PROGRESS, 1);
  }

  #close(): void {
    try {
      this.#handler?.close?.();
    } catch (thrown) {
      this.#threw(thrown);
    }
    this.#scope.postMessage({ op: "closed" });
    this.#scope.close();
  }
}

function toNames(ports: HandlerView["ports"]): PortNames {
  const byNo = new Map(ports.map(({ portNo, name }) => [portNo, name]));
  const byName = new Map(ports.map(({ portNo, name }) => [name, portNo]));
  return { byName: (name) => byName.get(name), byNo: (portNo) => byNo.get(portNo) };
}
