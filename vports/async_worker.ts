/** The role of an asynchronous port's Worker: loads the type, opens the port, and carries frames between it and the rings. */
import { FRAME_SIZE_MAX } from "../datapath/packet/packet.ts";
import { EventFd } from "../netdev/poller.ts";
import {
  type AsyncStart,
  CLOSED,
  FAILED,
  HELLO,
  LOST,
  OPEN,
  PULSE,
  RX_DROPPED,
  setEnd,
  SIGNAL,
  STATE,
  STATUS_LENGTH_MAX,
  type StatusMessage,
  STOP,
  TX_DROPPED,
  TX_DROPPED_SIZE,
} from "./async_link.ts";
import { FrameRing } from "./async_ring.ts";
import { loadAnyPlugin } from "./loader.ts";
import { pluginApi } from "./plugin_api.ts";
import { describe } from "./shape.ts";
import type { AsyncVport, AsyncVportHost, AsyncVportOps } from "./vport.ts";

/** Shortest frame: an Ethernet header. */
const FRAME_SIZE_MIN = 14;
const PULSE_MS = 250;
/** Frames after which the event loop gets its turn. */
const BURST = 64;

interface WorkerScope {
  onmessage: ((event: MessageEvent<AsyncStart>) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** Runs the role. Returns at once. */
export function startVportWorker(scope: WorkerScope = globalThis as unknown as WorkerScope): void {
  scope.onmessage = async ({ data }) => {
    scope.onmessage = null;
    const tell = (status: string): void => scope.postMessage({ status } satisfies StatusMessage);
    await new PortWorker(data, tell).run();
    scope.postMessage(CLOSED);
    scope.close();
  };
  scope.postMessage(HELLO);
}

class PortWorker implements AsyncVportHost {
  readonly #start: AsyncStart;
  readonly #state: Int32Array<SharedArrayBuffer>;
  readonly #rings: readonly FrameRing[];
  readonly #toThread: FrameRing;
  readonly #wake: EventFd;
  readonly #tell: (status: string) => void;
  #status = "";

  /** `tell` takes the port's status to the control isolate. */
  constructor(start: AsyncStart, tell: (status: string) => void) {
    this.#start = start;
    this.#tell = tell;
    const { shared } = start;
    this.#state = new Int32Array(shared.state, 0, 16);
    this.#rings = shared.toWorker.map((ring) => new FrameRing(ring));
    this.#toThread = new FrameRing(shared.toThread);
    this.#wake = new EventFd(shared.wakeFd);
  }

  /** Resolves when the port is closed. Never rejects. */
  async run(): Promise<void> {
    globalThis.addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      this.failed(event.reason);
    });
    globalThis.addEventListener("error", (event) => {
      event.preventDefault();
      this.failed(event.error);
    });
    Atomics.add(this.#state, PULSE, 1); // from now on it may be missed
    const pulse = setInterval(() => Atomics.add(this.#state, PULSE, 1), PULSE_MS);
    let port: AsyncVport | undefined;
    try {
      port = await this.#open();
      Atomics.compareExchange(this.#state, STATE, 0, OPEN);
      await this.#carry(port);
    } catch (thrown) {
      this.#ended(thrown);
    }
    await this.#untilStopped();
    try {
      await port?.close();
    } catch {
      // The port is gone either way.
    }
    clearInterval(pulse);
  }

  receive(frame: Uint8Array): boolean {
    const { length } = frame;
    const isFrame = length >= FRAME_SIZE_MIN && length <= FRAME_SIZE_MAX;
    if (!isFrame || !this.#toThread.push(frame, 0, length)) {
      Atomics.add(this.#state, RX_DROPPED, 1);
      return false;
    }
    if (this.#toThread.wasEmptyBefore(length)) this.#wake.ring();
    return true;
  }

  status(text: string): void {
    const line = String(text).replaceAll(/\s+/g, " ").slice(0, STATUS_LENGTH_MAX);
    if (line === this.#status) return;
    this.#status = line;
    this.#tell(line);
  }

  lost(reason: string): void {
    setEnd(this.#start.shared.state, LOST, reason);
    this.#wake.ring();
  }

  failed(thrown: unknown): void {
    setEnd(this.#start.shared.state, FAILED, describe(thrown));
    this.#wake.ring();
  }

  async #open(): Promise<AsyncVport> {
    const { file, datapath, name, portNo, options } = this.#start;
    const ops = await loadAnyPlugin(file, pluginApi) as AsyncVportOps;
    const parsed = ops.parseOptions(options);
    const port = await ops.open({ datapath, name, portNo, options: parsed, host: this });
    for (const method of ["send", "close"] as const) {
      if (typeof port?.[method] === "function") continue;
      throw new TypeError(`open returned what has no function ${method}`);
    }
    return port;
  }

  /** Frames from the packet threads to the port, until it is to stop. */
  async #carry(port: AsyncVport): Promise<void> {
    while (Atomics.load(this.#state, STOP) === 0) {
      const seen = Atomics.load(this.#state, SIGNAL);
      let count = 0;
      for (const ring of this.#rings) {
        for (let burst = 0; burst < BURST; burst++) {
          const size = ring.nextSize();
          if (size < 0) break;
          const frame = new Uint8Array(size);
          ring.take(frame, 0, size);
          count++;
          const sent = port.send(frame);
          const isSent = typeof sent === "object" ? await sent : sent;
          if (isSent === false) this.#countDrop(size);
        }
      }
      if (count > 0) await new Promise((resolve) => setTimeout(resolve, 0));
      else await this.#signalled(seen);
    }
  }

  #countDrop(size: number): void {
    Atomics.add(this.#state, TX_DROPPED_SIZE, size);
    Atomics.add(this.#state, TX_DROPPED, 1);
    this.#wake.ring();
  }

  /** Waits for a signal after the `seen`-th. */
  async #signalled(seen: number): Promise<void> {
    const waiting = Atomics.waitAsync(this.#state, SIGNAL, seen);
    if (waiting.async) await waiting.value;
  }

  async #untilStopped(): Promise<void> {
    while (Atomics.load(this.#state, STOP) === 0) {
      await this.#signalled(Atomics.load(this.#state, SIGNAL));
    }
  }

  /** Errors with a code are the world's, others the code's own. */
  #ended(thrown: unknown): void {
    const hasCode = thrown instanceof Error && "code" in thrown && typeof thrown.code === "string";
    if (hasCode) this.lost(thrown.message);
    else this.failed(thrown);
  }
}
