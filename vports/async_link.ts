/** What an asynchronous port's Worker, the packet threads and the control isolate share, and say to each other. */
import type { PluginFile } from "./loader.ts";

// Int32 words of the state.
/** {@link OPENING} … */
export const STATE = 0;
/** Counts what should wake the Worker: frames, or the end. */
export const SIGNAL = 1;
/** Counted up by the Worker while its event loop turns. */
export const PULSE = 2;
/** Nonzero: the Worker is to close the port and end. */
export const STOP = 3;
/** Frames that did not fit into the ring to the packet threads, or were none. */
export const RX_DROPPED = 4;
/** Frames that the port had taken and then could not send. */
export const TX_DROPPED = 5;
/** Their bytes. */
export const TX_DROPPED_SIZE = 6;
/** Size of the reason, bytes. */
const REASON_SIZE = 7;
/** Of the three drop counters, what the receiving packet thread has counted: a thread that takes its place goes on there. */
export const RX_COUNTED = 8;
export const TX_COUNTED = 9;
export const TX_COUNTED_SIZE = 10;
const WORDS = 16;
const REASON_SIZE_MAX = 1024;

// STATE
export const OPENING = 0;
export const OPEN = 1;
/** The port's code can't go on. */
export const FAILED = 2;
/** The far end is gone. */
export const LOST = 3;

/** Posted by the Worker when it can take {@link AsyncStart}. */
export const HELLO = "denovs-vport";
/** Posted by the Worker when the port is closed. */
export const CLOSED = "denovs-vport-closed";

/** Posted by the Worker when the port has something to say of itself. */
export interface StatusMessage {
  readonly status: string;
}

/** A status is cut to so many characters. */
export const STATUS_LENGTH_MAX = 200;

/** Shared memory and descriptor of one port: what `attach` hands to the threads. */
export interface AsyncShared {
  readonly state: SharedArrayBuffer;
  /** To the Worker, one per packet thread. */
  readonly toWorker: readonly SharedArrayBuffer[];
  /** To the packet thread `receiver`. */
  readonly toThread: SharedArrayBuffer;
  /** The packet thread that receives. */
  readonly receiver: number;
  /** eventfd: readable when there may be frames, or when the state has changed. */
  readonly wakeFd: number;
}

/** What the Worker is told. */
export interface AsyncStart {
  readonly file: PluginFile;
  readonly shared: AsyncShared;
  readonly datapath: string;
  readonly name: string;
  readonly portNo: number;
  readonly options: ReadonlyMap<string, string>;
}

export function makeState(): SharedArrayBuffer {
  return new SharedArrayBuffer(WORDS * 4 + REASON_SIZE_MAX);
}

/** The first end counts. */
export function setEnd(
  state: SharedArrayBuffer,
  kind: typeof FAILED | typeof LOST,
  reason: string,
): void {
  const words = new Int32Array(state, 0, WORDS);
  if (Atomics.load(words, STATE) >= FAILED) return;
  const text = new TextEncoder().encode(reason).subarray(0, REASON_SIZE_MAX);
  new Uint8Array(state, WORDS * 4).set(text);
  words[REASON_SIZE] = text.length;
  Atomics.store(words, STATE, kind);
}

export function reasonOf(state: SharedArrayBuffer): string {
  const size = new Int32Array(state, 0, WORDS)[REASON_SIZE]!;
  return new TextDecoder().decode(new Uint8Array(state, WORDS * 4, size).slice());
}
