/**
 * Makes an ordinary vport type of an asynchronous one: each port gets a Worker in which its code runs
 * (async_worker.ts), and the packet threads see a port that copies frames into and out of rings.
 *
 * The Worker's code can do no harm here: a full ring drops, an exception or an event loop that stands
 * still for {@link HANG_MS} takes the port down, and nothing ever waits for the Worker.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { EventFd } from "../netdev/poller.ts";
import {
  type AsyncShared,
  type AsyncStart,
  CLOSED,
  FAILED,
  HELLO,
  LOST,
  makeState,
  OPENING,
  PULSE,
  reasonOf,
  RX_COUNTED,
  RX_DROPPED,
  setEnd,
  SIGNAL,
  STATE,
  type StatusMessage,
  STOP,
  TX_COUNTED,
  TX_COUNTED_SIZE,
  TX_DROPPED,
  TX_DROPPED_SIZE,
} from "./async_link.ts";
import { FrameRing, makeRing } from "./async_ring.ts";
import type { PluginFile } from "./loader.ts";
import type {
  AsyncVportOps,
  Attachment,
  PortParams,
  Receiver,
  Sender,
  Vport,
  VportHost,
  VportOps,
  VportParams,
} from "./vport.ts";

/** Bytes that may wait in one direction: some 700 frames of 1500 bytes. */
const RING_SIZE = 1 << 20;
const LOOK_MS = 250;
/** An event loop that stands still for so long hangs. */
const HANG_MS = 2000;
/** A Worker may take so long to load our modules. */
const START_MS = 30_000;
/** A Worker may take so long to close the port. */
const CLOSE_MS = 5000;

const PORT_DOWN = dropReason("port-down");
const RING_FULL = dropReason("async-ring-full");

/** Thrown on a packet thread when the Worker of an asynchronous port has come to an end. The message is the whole reason. */
export class AsyncPortError extends Error {
  override readonly name = "AsyncPortError";
  /** The far end is gone: no fault of the port's code. */
  readonly isLost: boolean;

  constructor(reason: string, isLost: boolean) {
    super(reason);
    this.isLost = isLost;
  }
}

/** Ports that are being closed, by their type's file. */
const closing = new Set<{ readonly file: string; readonly done: Promise<void> }>();

const adapted = new WeakSet<VportOps>();

/** Whether ports of the type run in Workers of their own. */
export function isAsync(ops: VportOps): boolean {
  return adapted.has(ops);
}

/** Waits until a port has opened, or can't be: `data` is what its `attach` handed out. */
export async function untilOpen(data: unknown): Promise<void> {
  const state = new Int32Array((data as AsyncShared).state, 0, 16);
  for (let waitedMs = 0; waitedMs < START_MS; waitedMs += 20) {
    if (Atomics.load(state, STATE) !== OPENING) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** `workerUrl`: module that runs {@link startVportWorker} in a Worker whose name begins with `vport-`. */
export function adaptAsync(ops: AsyncVportOps, file: PluginFile, workerUrl: string): VportOps {
  const made: VportOps = {
    apiVersion: ops.apiVersion,
    type: ops.type,
    summary: ops.summary,
    headroom: 0,
    parseOptions: (raw) => ops.parseOptions(raw),
    formatOptions: (options) => ops.formatOptions(options),
    attach: (params) => {
      const { datapath, name, portNo } = params;
      const options = ops.formatOptions(params.options);
      return new WorkerLink(params, { file, datapath, name, portNo, options }, workerUrl);
    },
    create: (params) => new AsyncPort(params),
  };
  adapted.add(made);
  return made;
}

/** Control isolate: the port's Worker. */
class WorkerLink implements Attachment {
  readonly data: AsyncShared;
  readonly #wake: EventFd = new EventFd();
  readonly #state: Int32Array;
  readonly #worker: Worker;
  readonly #timer: ReturnType<typeof setInterval>;
  #pulse = 0;
  #looks = 0;
  readonly #file: string;
  /** The Worker has been told of the port. */
  #started = false;
  #ended = false;
  #onClosed: () => void = () => {};
  #status: string | undefined;

  constructor(
    params: PortParams<unknown>,
    start: Omit<AsyncStart, "shared">,
    workerUrl: string,
  ) {
    this.data = {
      state: makeState(),
      toWorker: Array.from({ length: params.threads }, () => makeRing(RING_SIZE)),
      toThread: makeRing(RING_SIZE),
      receiver: params.portNo % params.threads,
      wakeFd: this.#wake.fd,
    };
    this.#state = new Int32Array(this.data.state, 0, 16);
    this.#worker = new Worker(workerUrl, { type: "module", name: `vport-${params.name}` });
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#end(event.message);
    };
    this.#worker.onmessage = ({ data }) => {
      if (data === HELLO) this.#open(start);
      else if (data === CLOSED) this.#close(true);
      else this.#status = (data as StatusMessage).status;
    };
    this.#file = start.file.path;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** Waits for earlier ports of the type to have closed: they may hold the address that this one wants. */
  async #open(start: Omit<AsyncStart, "shared">): Promise<void> {
    await Promise.all(
      [...closing].filter(({ file }) => file === this.#file).map(({ done }) => done),
    );
    if (this.#ended) return;
    this.#started = true;
    this.#worker.postMessage({ ...start, shared: this.data });
  }

  status(): string | undefined {
    return this.#status === "" ? undefined : this.#status;
  }

  detach(): void {
    clearInterval(this.#timer);
    if (!this.#started) return this.#close(true);
    const { promise, resolve } = Promise.withResolvers<void>();
    const entry = { file: this.#file, done: promise };
    closing.add(entry);
    this.#onClosed = () => {
      closing.delete(entry);
      resolve();
    };
    Atomics.store(this.#state, STOP, 1);
    Atomics.add(this.#state, SIGNAL, 1);
    Atomics.notify(this.#state, SIGNAL);
    const timer = setTimeout(() => this.#close(false), CLOSE_MS);
    Deno.unrefTimer(timer);
  }

  /** Counted in looks: a process that was stopped has had no time for anything. */
  #look(): void {
    const pulse = Atomics.load(this.#state, PULSE);
    if (pulse !== this.#pulse) this.#looks = 0;
    this.#pulse = pulse;
    const patience = pulse === 0 ? START_MS : HANG_MS;
    if (++this.#looks * LOOK_MS > patience) {
      this.#end(`its Worker has not come back for ${patience} ms`);
      this.#worker.terminate();
    }
  }

  #end(reason: string): void {
    clearInterval(this.#timer);
    setEnd(this.data.state, FAILED, reason);
    if (!this.#ended) this.#wake.ring();
  }

  /** A Worker that hangs may still ring the eventfd: its number is then not given back, or another's would be hit. */
  #close(byWorker: boolean): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#worker.terminate();
    if (byWorker) this.#wake.close();
    this.#onClosed();
  }
}

/** Packet thread: one queue of the port. */
class AsyncPort implements Vport {
  readonly takesPartialChecksums = false;
  readonly takesSegmentTrains = false;
  readonly receiver: Receiver | undefined;
  readonly sender: Sender;
  readonly #state: Int32Array;
  readonly #toWorker: FrameRing;
  #pushed = false;

  constructor(params: VportParams<unknown>) {
    const shared = params.data as AsyncShared;
    this.#state = new Int32Array(shared.state, 0, 16);
    this.#toWorker = new FrameRing(shared.toWorker[params.thread]!);
    this.sender = { flush: () => this.#flush() };
    const { host, portNo } = params;
    if (shared.receiver === params.thread) this.receiver = new RingReceiver(shared, host, portNo);
  }

  send(packet: Packet): DropReason {
    if (!this.#toWorker.push(packet.bytes, packet.start, packet.end)) return RING_FULL;
    this.#pushed = true;
    return 0;
  }

  #flush(): void {
    if (!this.#pushed) return;
    this.#pushed = false;
    Atomics.add(this.#state, SIGNAL, 1);
    Atomics.notify(this.#state, SIGNAL);
  }

  close(): void {}
}

class RingReceiver implements Receiver {
  readonly fd: number;
  readonly #shared: AsyncShared;
  readonly #state: Int32Array;
  readonly #ring: FrameRing;
  readonly #wake: EventFd;
  readonly #host: VportHost;
  readonly #portNo: number;

  constructor(shared: AsyncShared, host: VportHost, portNo: number) {
    this.fd = shared.wakeFd;
    this.#shared = shared;
    this.#state = new Int32Array(shared.state, 0, 16);
    this.#ring = new FrameRing(shared.toThread);
    this.#wake = new EventFd(shared.wakeFd);
    this.#host = host;
    this.#portNo = portNo;
  }

  receive(budget: number): number {
    this.#wake.clear(); // before the ring is looked at: what comes later rings again
    this.#checkState();
    const state = this.#state;
    while (state[RX_COUNTED] !== state[RX_DROPPED]) {
      state[RX_COUNTED] = state[RX_COUNTED]! + 1;
      this.#host.countRxDrop(this.#portNo, RING_FULL);
    }
    if (state[TX_COUNTED] !== state[TX_DROPPED]) this.#countTxDrops();
    for (let count = 0; count < budget; count++) {
      const size = this.#ring.nextSize();
      if (size < 0) return count;
      const packet = this.#host.allocate();
      if (packet === undefined) {
        this.#wake.ring(); // the rest waits until there are buffers again
        return count;
      }
      this.#ring.take(packet.bytes, packet.start, size);
      packet.end = packet.start + size;
      this.#host.receive(this.#portNo, packet);
    }
    return budget;
  }

  /** The Worker adds to the bytes first, so there may be some of the next frame's among them. */
  #countTxDrops(): void {
    const state = this.#state;
    const count = (Atomics.load(state, TX_DROPPED) - state[TX_COUNTED]!) | 0;
    const bytes = (Atomics.load(state, TX_DROPPED_SIZE) - state[TX_COUNTED_SIZE]!) >>> 0;
    state[TX_COUNTED] = state[TX_COUNTED]! + count;
    state[TX_COUNTED_SIZE] = state[TX_COUNTED_SIZE]! + bytes;
    let rest = bytes;
    for (let left = count; left > 0; left--) {
      const size = Math.floor(rest / left);
      this.#host.countTxDrop(this.#portNo, PORT_DOWN, size);
      rest -= size;
    }
  }

  #checkState(): void {
    const state = Atomics.load(this.#state, STATE);
    if (state < FAILED) return;
    throw new AsyncPortError(reasonOf(this.#shared.state), state === LOST);
  }
}
