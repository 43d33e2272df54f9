/**
 * The role of a packet thread (a Worker): carries out the control isolate's requests between the
 * rounds of its {@link PacketLoop}. main.ts calls {@link startPacketThread} in a Worker whose name
 * begins with `packet-`.
 */
import { receiveMessageOnPort } from "node:worker_threads";
import { holdLocksAs } from "../../datapath/spin_lock.ts";
import { ThreadGrace } from "../../datapath/flow_table/grace.ts";
import { PacketPool, SLOT_SIZE } from "../../datapath/packet/packet_pool.ts";
import { noteHoldings } from "../../netdev/descriptors.ts";
import { allocatePacketMemory } from "../../netdev/memory.ts";
import { openNap } from "../../netdev/nap.ts";
import { EventFd, Poller } from "../../netdev/poller.ts";
import { SystemError } from "../../netdev/system_error.ts";
import { AsyncPortError } from "../../vports/async_port.ts";
import { BUILTIN_TYPES } from "../../vports/builtin.ts";
import { loadPlugin } from "../../vports/loader.ts";
import { pluginApi } from "../../vports/plugin_api.ts";
import { describe } from "../../vports/shape.ts";
import { BUILT_IN, VportRegistry } from "../../vports/registry.ts";
import { SwitchClock } from "./clock.ts";
import {
  AbandonedError,
  ACTIVITY,
  type AddDatapath,
  type AddPort,
  ENDED,
  type FromThread,
  HEARTBEAT,
  HELLO,
  type Request,
  SLEEPING,
  type ThreadReport,
  type ThreadRequests,
  type ThreadStart,
  toFault,
} from "./messages.ts";
import { PacketLoop } from "./packet_loop.ts";
import { ThreadDatapath } from "./thread_datapath.ts";
import { SharedThings } from "./thread_host.ts";
import type { ThreadPort } from "./thread_port.ts";

/** Packet buffers of a thread: 34 MiB of address space, of which only used pages cost memory. */
const POOL_SLOTS = 512;

/** The part of a Worker's global scope that this role uses. */
interface WorkerScope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** Takes the Worker's role: says hello, waits for {@link ThreadStart}, and runs until the stop word is set. */
export function startPacketThread(scope: WorkerScope = globalThis as unknown as WorkerScope): void {
  scope.onmessage = (event: MessageEvent): void => {
    scope.onmessage = null;
    runThread(event.data as ThreadStart).finally(() => scope.close());
  };
  scope.postMessage(HELLO);
}

async function runThread(start: ThreadStart): Promise<void> {
  const tell = (message: FromThread): void => start.port.postMessage(message);
  try {
    const thread = new PacketThread(start);
    tell({ kind: "ready" });
    while (thread.run() === "event-loop") await thread.runAsync();
    thread.close();
    tell({ kind: "ended" });
  } catch (thrown) {
    // A bug, or no descriptors or memory at start: ports' own faults don't come here.
    tell({ kind: "died", reason: thrown instanceof Error ? thrown.stack ?? "" : String(thrown) });
  }
}

type LoadPlugin = Extract<Request, { op: "load-plugin" }>;

class PacketThread {
  readonly #start: ThreadStart;
  readonly #words: Int32Array;
  readonly #clock: SwitchClock;
  readonly #registry: VportRegistry = new VportRegistry();
  readonly #wake: EventFd;
  readonly #poller: Poller;
  readonly #pool: PacketPool;
  readonly #grace: ThreadGrace;
  readonly #loop: PacketLoop;
  readonly #shared: SharedThings = new SharedThings();
  readonly #datapaths: Map<number, ThreadDatapath> = new Map();
  /** The request that waits for the event loop. */
  #pending: LoadPlugin | undefined;

  constructor(start: ThreadStart) {
    this.#start = start;
    this.#words = new Int32Array(start.words);
    this.#clock = new SwitchClock(start.clock);
    noteHoldings(start.holdings);
    holdLocksAs(start.lockHolder.number, start.lockHolder.holders);
    for (const ops of BUILTIN_TYPES) this.#registry.register(ops, BUILT_IN);
    this.#wake = new EventFd(start.wakeFd);
    this.#poller = new Poller();
    const memory = allocatePacketMemory(POOL_SLOTS * SLOT_SIZE);
    this.#pool = new PacketPool(memory.bytes.buffer, memory.address, POOL_SLOTS);
    this.#grace = new ThreadGrace(start.grace, start.thread);
    this.#loop = new PacketLoop({
      words: this.#words,
      grace: this.#grace,
      clock: this.#clock,
      poller: this.#poller,
      pool: this.#pool,
      nap: openNap(),
      wakeFd: start.wakeFd,
      drainWake: () => this.#wake.clear(),
      runCommands: () => this.#runCommands(),
      reportFailure: (port, reason) => this.#reportFailure(port, reason),
    });
  }

  run(): "stop" | "event-loop" {
    return this.#loop.run();
  }

  /** The one thing that needs the event loop. The thread counts as quiescent meanwhile. */
  async runAsync(): Promise<void> {
    const request = this.#pending;
    this.#pending = undefined;
    if (request === undefined) return;
    this.#words[ACTIVITY] = SLEEPING;
    this.#grace.sleep();
    try {
      const ops = await loadPlugin(request.params, pluginApi);
      const { path, url } = request.params;
      this.#registry.register(ops, path, url);
      this.#answer(request.id, { type: ops.type });
    } catch (thrown) {
      this.#post({ kind: "fault", id: request.id, fault: toFault(thrown) });
    }
    this.#grace.wake();
  }

  /** Closes everything that is left. Only after `run` returned "stop". */
  close(): void {
    for (const datapath of this.#datapaths.values()) datapath.close();
    this.#datapaths.clear();
    this.#poller.close();
    this.#grace.sleep();
    this.#words[ACTIVITY] = ENDED;
  }

  /** Empties the queue of requests. False: one needs the event loop now. */
  #runCommands(): boolean {
    for (;;) {
      // Deno's MessagePort is Node's here; only the type declarations differ.
      const received = receiveMessageOnPort(this.#start.port as never);
      if (received === undefined) return true;
      const request = received.message as Request;
      if (request.op === "load-plugin") {
        this.#pending = request;
        return false;
      }
      try {
        this.#answer(request.id, this.#carryOut(request));
      } catch (thrown) {
        if (thrown instanceof AbandonedError) throw thrown;
        this.#post({ kind: "fault", id: request.id, fault: toFault(thrown) });
      }
    }
  }

  #carryOut(request: Exclude<Request, LoadPlugin>): unknown {
    switch (request.op) {
      case "unload-plugin":
        return this.#registry.unregister(request.params.type);
      case "add-datapath":
        return this.#addDatapath(request.params);
      case "remove-datapath":
        this.#datapaths.get(request.params.datapath)?.close();
        this.#datapaths.delete(request.params.datapath);
        return;
      case "set-miss":
        return this.#datapath(request.params.datapath).setMiss(request.params.miss);
      case "set-upcalls": {
        const { datapath, mode, quietPorts } = request.params;
        return this.#datapath(datapath).setUpcalls(mode, quietPorts);
      }
      case "observe":
        return this.#observe(request.params);
      case "unobserve":
        return this.#datapaths.get(request.params.datapath)?.unobserve(request.params.id);
      case "set-cache":
        return this.#datapath(request.params.datapath).setCacheSize(request.params.size);
      case "sweep-fragments":
        return this.#datapath(request.params.datapath).sweepFragments();
      case "execute":
        this.#datapath(request.params.datapath).execute(request.params.packets);
        return this.#loop.endRound();
      case "set-buckets":
        return this.#datapath(request.params.datapath).setBuckets(request.params.buckets);
      case "add-port":
        return this.#addPort(request.params);
      case "remove-port":
        return this.#datapath(request.params.datapath).removePort(request.params.portNo);
      case "set-mtu": {
        const { datapath, portNo, mtu } = request.params;
        return this.#datapath(datapath).setMtu(portNo, mtu);
      }
      case "fail-port":
        return this.#datapath(request.params.datapath).failPort(request.params.portNo);
      case "command": {
        const { datapath, portNo, name, data } = request.params;
        try {
          return this.#datapath(datapath).command(portNo, name, data);
        } finally {
          // What was handed over before a throw is in flight too.
          this.#loop.endRound();
        }
      }
      case "report":
        this.#loop.settle();
        return this.#report();
    }
  }

  #addPort(params: AddPort): void {
    const ops = this.#registry.get(params.type);
    if (ops === undefined) throw new Error(`Packet thread has no port type "${params.type}"`);
    const { thread, threads } = this.#start;
    this.#datapath(params.datapath).addPort(ops, params, { thread, threads });
  }

  #observe({ datapath, id, observer }: ThreadRequests["observe"]["params"]): void {
    this.#datapath(datapath).observe(id, observer, (trace) => {
      this.#post({ kind: "traced", datapath, id, trace, wallUs: this.#clock.wallUs() });
    });
  }

  #addDatapath(params: AddDatapath): void {
    const { thread } = this.#start;
    const common = { loop: this.#loop, shared: this.#shared, clock: this.#clock, thread };
    this.#datapaths.set(params.datapath, new ThreadDatapath(params, common));
  }

  #datapath(number: number): ThreadDatapath {
    const datapath = this.#datapaths.get(number);
    if (datapath === undefined) throw new Error(`Packet thread has no datapath ${number}`);
    return datapath;
  }

  #report(): ThreadReport {
    return {
      heapUsed: Deno.memoryUsage().heapUsed,
      slotsFree: this.#pool.freeCount,
      rounds: this.#words[HEARTBEAT]!,
      packets: this.#loop.packets,
    };
  }

  #reportFailure(port: ThreadPort, thrown: unknown): void {
    const { datapath, portNo } = port;
    const isAsync = thrown instanceof AsyncPortError;
    const isDevice = thrown instanceof SystemError || (isAsync && thrown.isLost);
    const reason = isDevice || isAsync ? thrown.message : describe(thrown);
    this.#post({ kind: "port-failed", datapath, portNo, reason, isDevice });
  }

  #answer(id: number, result: unknown): void {
    this.#post({ kind: "answer", id, result });
  }

  #post(message: FromThread): void {
    this.#start.port.postMessage(message);
  }
}
