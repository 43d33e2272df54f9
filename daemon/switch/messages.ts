/**
 * What the control isolate and a packet thread say to each other.
 *
 * The thread sits in a blocking loop, so requests lie in a MessagePort that it empties with
 * `receiveMessageOnPort` when the shared word POSTED has moved; an eventfd wakes it from sleep.
 * Answers and events go the other way as ordinary messages. Every request is answered once, in order.
 */
import type { MissPolicy } from "../api.ts";
import type { ConntrackBuffers } from "../../datapath/conntrack/layout.ts";
import type { CaptureHooks } from "../../datapath/capture/capture_tap.ts";
import type { Buckets, FlowTableBuffers } from "../../datapath/flow_table/layout.ts";
import type { MeterMemory } from "../../datapath/meters.ts";
import type { UpcallMode } from "../../datapath/pipeline.ts";
import type { KeyFilter, RawTrace } from "../../datapath/trace/recorder.ts";
import type { InjectedPacket } from "../../datapath/upcall_ring.ts";
import type { LockHolder } from "./lock_holders.ts";

// Int32 words that a thread and the control isolate share, one buffer per thread.
/** Written by the control isolate: nonzero = leave the loop; {@link ABANDONED} = touch nothing any more. */
export const STOP = 0;
/** Written by the control isolate: requests posted so far. */
export const POSTED = 1;
/** Written by the thread: rounds begun. */
export const HEARTBEAT = 2;
/** Written by the thread: {@link RUNNING} … */
export const ACTIVITY = 3;
/** Written by the thread: datapath and port whose callback was entered last; -1: none. */
export const INSIDE_DATAPATH = 4;
export const INSIDE_PORT = 5;
/** Written by the thread: callbacks entered. */
export const ENTERED = 6;
/** Words in the buffer; a cache line. */
export const THREAD_WORDS = 16;

// STOP
/** The thread hangs, and another is taking its place: should it come back, it ends at once. */
export const ABANDONED = 2;

// ACTIVITY
export const RUNNING = 0;
/** Waits for its fds, or is in its event loop. */
export const SLEEPING = 1;
export const ENDED = 2;

/** First message to a thread, after its hello. */
export interface ThreadStart {
  readonly thread: number;
  readonly threads: number;
  readonly words: SharedArrayBuffer;
  readonly grace: SharedArrayBuffer;
  readonly clock: SharedArrayBuffer;
  /** Where the thread notes what it holds (netdev/descriptors.ts). */
  readonly holdings: SharedArrayBuffer;
  /** As whom it takes locks in shared memory. */
  readonly lockHolder: LockHolder;
  /** Readable when the thread is to look at its words. The thread doesn't close it. */
  readonly wakeFd: number;
  /** Transferred. */
  readonly port: MessagePort;
}

/** What a new Worker posts when it can take {@link ThreadStart}. */
export const HELLO = "denovs-packet-thread";

export interface PortRequest {
  /** Number of the datapath within the switch. */
  readonly datapath: number;
  readonly portNo: number;
}

export interface AddPort extends PortRequest {
  readonly datapathName: string;
  readonly datapathId: string;
  readonly name: string;
  readonly type: string;
  /** As the user gave them: each thread parses them itself. */
  readonly options: ReadonlyMap<string, string>;
  readonly mac: string | undefined;
  /** Undefined: not known. */
  readonly mtu: number | undefined;
  readonly data: unknown;
}

export interface AddDatapath {
  readonly datapath: number;
  readonly table: FlowTableBuffers;
  readonly buckets: Buckets;
  /** This thread's blocks (datapath/counters.ts). */
  readonly counters: { readonly datapath: SharedArrayBuffer; readonly ports: SharedArrayBuffer };
  /** The datapath's MAC table (datapath/mac_table.ts). */
  readonly macs: SharedArrayBuffer;
  /** The datapath's connection tracker. */
  readonly conntrack: ConntrackBuffers;
  /** The datapath's meters. */
  readonly meters: MeterMemory;
  readonly miss: MissPolicy;
  /** This thread's ring (datapath/upcall_ring.ts): it alone writes it. */
  readonly upcalls: SharedArrayBuffer;
  readonly upcallMode: UpcallMode;
  /** Ports whose misses are not handed over. */
  readonly quietPorts: readonly number[];
  /** Entries that the signature cache may have; 0: it is not used. */
  readonly cacheSize: number;
}

/** A packet for which the control isolate has actions. */
export interface ExecutePacket {
  readonly packet: InjectedPacket;
  /** Where its actions begin in the table's action words. */
  readonly actionsAt: number;
}

/** What a thread reports about itself. */
export interface ThreadReport {
  /** Bytes of the thread's heap in use. */
  readonly heapUsed: number;
  /** Packet slots not in use. */
  readonly slotsFree: number;
  readonly rounds: number;
  /** Packets handed over by receivers. */
  readonly packets: number;
}

/** Every request by its name: parameters in, result out. */
export interface ThreadRequests {
  /** Imports a checked plug-in. The thread goes to its event loop for it. */
  "load-plugin": { params: { path: string; url: string }; result: { type: string } };
  "unload-plugin": { params: { type: string }; result: void };
  "add-datapath": { params: AddDatapath; result: void };
  "remove-datapath": { params: { datapath: number }; result: void };
  "set-miss": { params: { datapath: number; miss: MissPolicy }; result: void };
  "set-upcalls": {
    params: { datapath: number; mode: UpcallMode; quietPorts: readonly number[] };
    result: void;
  };
  /** The observer looks on from now on; its identifier is the control isolate's. */
  "observe": { params: { datapath: number; id: number; observer: ObserverSpec }; result: void };
  /** It doesn't any more. Does nothing for one that the thread doesn't have. */
  "unobserve": { params: { datapath: number; id: number }; result: void };
  "set-cache": { params: { datapath: number; size: number }; result: void };
  /** Gives up packets whose fragments did not come in time. */
  "sweep-fragments": { params: { datapath: number }; result: void };
  /** Runs actions on packets; answered when all is flushed. */
  "execute": { params: { datapath: number; packets: readonly ExecutePacket[] }; result: void };
  /** Follow this bucket array from now on. */
  "set-buckets": { params: { datapath: number; buckets: Buckets }; result: void };
  "add-port": { params: AddPort; result: void };
  /** Answered when the thread holds nothing of the port any more; also when it had none. */
  "remove-port": { params: PortRequest; result: void };
  /** The port's device has another MTU now. */
  "set-mtu": { params: PortRequest & { mtu: number | undefined }; result: void };
  /** The port has failed on another thread: treat it as failed here. */
  "fail-port": { params: PortRequest; result: void };
  "command": { params: PortRequest & { name: string; data: unknown }; result: unknown };
  /** Answered when nothing waits at any receiver: all that came before is handled and flushed. */
  "report": { params: Record<string, never>; result: ThreadReport };
}

export type ThreadOp = keyof ThreadRequests;

/** A request as posted: one form per operation, told apart by `op`. */
export type Request = {
  [Op in ThreadOp]: {
    readonly id: number;
    readonly op: Op;
    readonly params: ThreadRequests[Op]["params"];
  };
}[ThreadOp];

/** An error as data. */
export interface Fault {
  readonly name: string;
  readonly message: string;
  /** Errno name; EIO for what has none. */
  readonly code: string;
}

/** Who is to look on at a thread's packets of one datapath. */
export type ObserverSpec =
  | {
    readonly kind: "capture";
    readonly hooks: CaptureHooks;
    /** This thread's (datapath/capture/capture_tap.ts). */
    readonly ring: SharedArrayBuffer;
    readonly lost: SharedArrayBuffer;
  }
  | {
    readonly kind: "trace";
    readonly filter: KeyFilter | undefined;
    /** Most packets. */
    readonly count: number;
    /** Most bytes kept of a packet at one moment. */
    readonly keep: number;
  };

export type FromThread =
  /** An observer of kind `trace` has followed a packet to its end. */
  | {
    readonly kind: "traced";
    readonly datapath: number;
    readonly id: number;
    readonly trace: RawTrace;
    readonly wallUs: number;
  }
  | { readonly kind: "ready" }
  | { readonly kind: "answer"; readonly id: number; readonly result: unknown }
  | { readonly kind: "fault"; readonly id: number; readonly fault: Fault }
  | {
    readonly kind: "port-failed";
    readonly datapath: number;
    readonly portNo: number;
    readonly reason: string;
    /** A system call failed, so the device is to blame; else the type's code is. */
    readonly isDevice: boolean;
  }
  | { readonly kind: "ended" }
  | { readonly kind: "died"; readonly reason: string };

/** A request that failed on a packet thread. */
export class ThreadError extends Error {
  override readonly name: string = "ThreadError";
  readonly code: string;

  constructor(fault: Fault) {
    super(fault.message);
    this.code = fault.code;
  }
}

/** What ends a thread that comes back after it was {@link ABANDONED}. */
export class AbandonedError extends Error {
  override readonly name = "AbandonedError";

  constructor() {
    super("another thread has taken over");
  }
}

/** A request to a thread that is no more. */
export class ThreadGoneError extends ThreadError {}

/** A request that is not answered in time: the thread may still carry it out. */
export class ThreadLateError extends ThreadError {
  /** Resolves when it is over after all: answered, refused, or the thread is gone. */
  readonly over: Promise<void>;

  constructor(fault: Fault, over: Promise<void>) {
    super(fault);
    this.over = over;
  }
}

/** Anything thrown, as data. */
export function toFault(thrown: unknown): Fault {
  if (!(thrown instanceof Error)) return { name: "Error", message: String(thrown), code: "EIO" };
  const code = "code" in thrown && typeof thrown.code === "string" ? thrown.code : "EIO";
  return { name: thrown.name, message: thrown.message, code };
}
