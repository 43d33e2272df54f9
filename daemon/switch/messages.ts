/**
 * What the control isolate and a packet thread say to each other.
 *
 * The thread sits in a blocking loop, so requests lie in a MessagePort that it empties with
 * `receiveMessageOnPort` when the shared word POSTED has moved; an eventfd wakes it from sleep.
 * Answers and events go the other way as ordinary messages. Every request is answered once, in order.
 */
import type { MissPolicy } from "../api.ts";
import type { Buckets, FlowTableBuffers } from "../../datapath/flow_table/layout.ts";

// Int32 words that a thread and the control isolate share, one buffer per thread.
/** Written by the control isolate: nonzero = leave the loop. */
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
/** Words in the buffer; a cache line. */
export const THREAD_WORDS = 16;

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
  readonly miss: MissPolicy;
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
  "add-datapath": { params: AddDatapath; result: void };
  "remove-datapath": { params: { datapath: number }; result: void };
  "set-miss": { params: { datapath: number; miss: MissPolicy }; result: void };
  /** Follow this bucket array from now on. */
  "set-buckets": { params: { datapath: number; buckets: Buckets }; result: void };
  "add-port": { params: AddPort; result: void };
  /** Answered when the thread holds nothing of the port any more; also when it had none. */
  "remove-port": { params: PortRequest; result: void };
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

export type FromThread =
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
  override readonly name = "ThreadError";
  readonly code: string;

  constructor(fault: Fault) {
    super(fault.message);
    this.code = fault.code;
  }
}

/** Anything thrown, as data. */
export function toFault(thrown: unknown): Fault {
  if (!(thrown instanceof Error)) return { name: "Error", message: String(thrown), code: "EIO" };
  const code = "code" in thrown && typeof thrown.code === "string" ? thrown.code : "EIO";
  return { name: thrown.name, message: thrown.message, code };
}
