/**
 * The masked flow table: how it lies in shared memory. Read this first.
 *
 * The problem. A flow is a key under a mask; a packet belongs to the flow whose masked key equals the
 * packet's key under the same mask. One thread (the control isolate) changes flows; packet threads
 * look up millions of packets a second and must never wait, see half a flow, or stop because the
 * table grows.
 *
 * The simplest design that works is the kernel's (net/openvswitch/flow_table.c): one hash table for
 * all masks, and for every mask in the list hash the masked packet key and walk one chain. First hit
 * wins. Everything below is a refinement of that:
 *
 * 1. *Nothing moves.* Records, action words and statistics are reserved at their maximum when the
 *    table is made; pages that no flow uses are never touched and cost nothing. A flow is an index.
 *    Only the bucket array is replaced when the table grows: each record has two chain words, so the
 *    new array can be filled while readers walk the old one (the kernel's `node[2]`).
 * 2. *Few cache lines.* A record's hot line (64 bytes) holds the state word, mask, actions offset and
 *    key words 3 … 15, which is all that an IPv4 flow usually looks at. Words 0 … 2 and 16 … 31 (IPv6,
 *    ARP) lie in a cold array, the words from 32 on (connections, MPLS, NSH, tunnels: 448 bytes) in a
 *    wide one: a row of either is written and read only for flows whose mask has a word in it, so
 *    that flows without tunnels cost no memory for them. Chains lie in an array of their own, 16 bytes
 *    a flow with the whole hash, so that a mask that does not match never touches a record.
 * 3. *State first.* The state word is `generation << 1 | live`. The writer fills a dead record, then
 *    stores the state; readers load the state, then the key, then the actions. A removed record is
 *    refilled only after a grace period (grace.ts), with the next generation. The order of a reader's
 *    loads is kept by one fence between the states and the keys of a whole burst (matcher.ts): an
 *    `Atomics.load` per record costs 20 ns, as much as all the rest of a lookup that hits the cache.
 * 4. *A signature cache per thread* (signature_cache.ts) answers most packets without trying masks.
 *    What outlives a burst carries the state word, so a cached flow that was removed or replaced is
 *    noticed by one comparison.
 * 5. *Statistics* are one 32-byte block per (thread, flow), written by its thread alone, tagged with
 *    the record's generation: the thread resets a block of another generation, the summing side
 *    ignores it. Clearing a flow's statistics is a new generation.
 * 6. *Generated code*: per mask one function with only its nonzero words, unrolled (matcher.ts).
 *
 * This file has the offsets and makes the buffers; it interprets nothing.
 */
import { KEY_WORDS } from "../key.ts";
import { makeConstants } from "./hash.ts";

/** Words of a record's hot line. */
export const HOT_WORDS = 16;
/** Shift from a flow's index to its hot line. */
export const HOT_SHIFT = 4;
/** Word of the hot line: generation << 1 | live. */
export const STATE = 0;
/** Word of the hot line: mask id. */
export const MASK = 1;
/** Word of the hot line: where the actions begin in the action words. */
export const ACTIONS = 2;
/** Key words [HOT_FROM, HOT_TO) lie in the hot line, at their own index. */
export const HOT_FROM = 3;
export const HOT_TO = 16;
/** Key words [WIDE_FROM, KEY_WORDS) lie in the wide array. */
export const WIDE_FROM = 32;
/** Words per flow in the cold array: key words [0, HOT_FROM) and [HOT_TO, WIDE_FROM). */
export const COLD_WORDS: number = HOT_FROM + WIDE_FROM - HOT_TO;
/** Words per flow in the wide array. Only flows whose mask goes beyond WIDE_FROM have anything there. */
export const WIDE_WORDS: number = KEY_WORDS - WIDE_FROM;

/** Words of a chain node; node n belongs to flow n − 1, node 0 to none. */
export const NODE_SHIFT = 2;
/** Word of a node: the hash of the masked key. */
export const NODE_HASH = 0;
/** Word of a node: the next node of the chain (0: none) in bucket arrays of even version; + 1 for odd. */
export const NODE_NEXT = 1;

/** Words of a mask in the mask table: generation, first word, end of words, hash start, mask words. */
export const MASK_STRIDE: number = 4 + KEY_WORDS;
export const MASK_GENERATION = 0;
export const MASK_START = 1;
export const MASK_END = 2;
export const MASK_HASH = 3;
export const MASK_WORDS = 4;

/** Words of the control block: list epoch << 1 | which list is current. */
export const LIST_EPOCH = 0;
/** Word of the control block: entries in list 0; + 1 for list 1. */
export const LIST_COUNT = 1;
/** A list entry whose mask has gone. */
export const NO_MASK = -1;

/** Bytes of a statistics block: packets and bytes (u64), last use (f64 ms), tag, TCP flags (i32). */
export const STATS_SIZE = 32;
/** Offsets in a block in units of 8 bytes. */
export const STATS_PACKETS = 0;
export const STATS_BYTES = 1;
export const STATS_USED = 2;
/** Offsets in a block in units of 4 bytes. */
export const STATS_TAG = 6;
export const STATS_FLAGS = 7;

/** Per-thread counters (f64): masks tried in all lookups together. */
export const COUNTER_MASK_HIT = 0;
/** Per-thread counters (f64): lookups answered by the signature cache. */
export const COUNTER_CACHE_HIT = 1;
/** 8-byte units between the counters of two threads: a cache line each. */
export const COUNTER_STRIDE = 8;

/** Flows a table holds unless told otherwise. */
export const FLOWS_MAX_DEFAULT: number = 1 << 20;
/** Most flows a table can be made for. */
export const FLOWS_MAX_LIMIT: number = 1 << 22;
/** Most masks a table can hold. */
export const MASKS_MAX = 65536;
/** Words of one action list, END included (256 KiB: a 64 KiB netlink list in our encoding). */
export const ACTION_WORDS_MAX = 65535;

/** The shared memory of one table. Structured-clonable: goes to packet threads by postMessage. */
export interface FlowTableBuffers {
  /** Flows that may be installed at a time. */
  readonly flowsMax: number;
  /** Records: twice flowsMax, so that one transaction can replace every flow. */
  readonly recordsMax: number;
  readonly masksMax: number;
  readonly threads: number;
  /** LIST_EPOCH, LIST_COUNT. */
  readonly control: SharedArrayBuffer;
  /** Hash constants, from the seed (hash.ts). */
  readonly constants: SharedArrayBuffer;
  readonly hot: SharedArrayBuffer;
  readonly cold: SharedArrayBuffer;
  readonly wide: SharedArrayBuffer;
  readonly nodes: SharedArrayBuffer;
  readonly masks: SharedArrayBuffer;
  /** Two lists of mask ids, `2 × masksMax` entries each. */
  readonly maskLists: SharedArrayBuffer;
  readonly actionWords: SharedArrayBuffer;
  /** Statistics blocks, one buffer per thread. */
  readonly stats: readonly SharedArrayBuffer[];
  /** Hits by scanning, per mask, one buffer per thread. */
  readonly maskUsage: readonly SharedArrayBuffer[];
  /** COUNTER_*, COUNTER_STRIDE apart. */
  readonly counters: SharedArrayBuffer;
}

/** A bucket array: heads of chains, a power of two of them. Structured-clonable. */
export interface Buckets {
  /** Counts up; its lowest bit says which chain word of a node belongs to it. */
  readonly version: number;
  /** Int32 node numbers; 0: empty. */
  readonly heads: SharedArrayBuffer;
}

/** What to make a table for. */
export interface FlowTableOptions {
  /** 1 … FLOWS_MAX_LIMIT. Default FLOWS_MAX_DEFAULT. */
  readonly flowsMax?: number | undefined;
  /** Packet threads, each with statistics of its own. May be 0 (nobody reads). */
  readonly threads: number;
  /** Random bytes, at least 16: makes the hashes unpredictable. */
  readonly seed: Uint8Array;
}

/**
 * Reserves the memory of a table. Address space only: pages are allocated as flows are installed.
 * Throws RangeError when the system refuses.
 */
export function makeFlowTableBuffers(options: FlowTableOptions): FlowTableBuffers {
  const flowsMax = options.flowsMax ?? FLOWS_MAX_DEFAULT;
  if (!Number.isInteger(flowsMax) || flowsMax < 1 || flowsMax > FLOWS_MAX_LIMIT) {
    throw new RangeError(
      `Cannot make a flow table: flowsMax must be 1 … ${FLOWS_MAX_LIMIT}: current value is ${flowsMax}`,
    );
  }
  const recordsMax = 2 * flowsMax;
  const masksMax = Math.min(MASKS_MAX, recordsMax);
  const threads = options.threads;
  const perThread = (size: number): SharedArrayBuffer[] =>
    Array.from({ length: threads }, () => new SharedArrayBuffer(size));
  return {
    flowsMax,
    recordsMax,
    masksMax,
    threads,
    control: new SharedArrayBuffer(64),
    constants: makeConstants(options.seed),
    hot: new SharedArrayBuffer(recordsMax * HOT_WORDS * 4),
    cold: new SharedArrayBuffer(recordsMax * COLD_WORDS * 4),
    wide: new SharedArrayBuffer(recordsMax * WIDE_WORDS * 4),
    nodes: new SharedArrayBuffer((recordsMax + 1) << (NODE_SHIFT + 2)),
    masks: new SharedArrayBuffer(masksMax * MASK_STRIDE * 4),
    maskLists: new SharedArrayBuffer(2 * 2 * masksMax * 4),
    actionWords: new SharedArrayBuffer((flowsMax * 32 + (1 << 20)) * 4),
    stats: perThread(recordsMax * STATS_SIZE),
    maskUsage: perThread(masksMax * 4),
    counters: new SharedArrayBuffer(Math.max(1, threads) * COUNTER_STRIDE * 8),
  };
}

/** Views over the shared memory that both sides use. Made once per isolate and table. */
export interface FlowTableViews {
  readonly control: Int32Array<SharedArrayBuffer>;
  readonly constants: Int32Array<SharedArrayBuffer>;
  readonly hot: Int32Array<SharedArrayBuffer>;
  readonly cold: Int32Array<SharedArrayBuffer>;
  readonly wide: Int32Array<SharedArrayBuffer>;
  readonly nodes: Int32Array<SharedArrayBuffer>;
  readonly masks: Int32Array<SharedArrayBuffer>;
  readonly maskLists: Int32Array<SharedArrayBuffer>;
  readonly actionWords: Int32Array<SharedArrayBuffer>;
}

/** Makes the views. */
export function makeViews(buffers: FlowTableBuffers): FlowTableViews {
  return {
    control: new Int32Array(buffers.control),
    constants: new Int32Array(buffers.constants),
    hot: new Int32Array(buffers.hot),
    cold: new Int32Array(buffers.cold),
    wide: new Int32Array(buffers.wide),
    nodes: new Int32Array(buffers.nodes),
    masks: new Int32Array(buffers.masks),
    maskLists: new Int32Array(buffers.maskLists),
    actionWords: new Int32Array(buffers.actionWords),
  };
}

/** Whether a key word lies in the hot line. */
export function isHot(word: number): boolean {
  return word >= HOT_FROM && word < HOT_TO;
}

/** Whether a key word lies in the wide array. */
export function isWide(word: number): boolean {
  return word >= WIDE_FROM;
}

/** Where a key word that is neither hot nor wide lies within a flow's cold words. */
export function coldAt(word: number): number {
  return word < HOT_FROM ? word : word - (HOT_TO - HOT_FROM);
}

/** A key word of a flow. Its mask must look at it, or, for a wide word, at some wide word behind it. */
export function keyWord(views: FlowTableViews, flow: number, word: number): number {
  if (isHot(word)) return views.hot[(flow << HOT_SHIFT) + word]!;
  if (isWide(word)) return views.wide[flow * WIDE_WORDS + word - WIDE_FROM]!;
  return views.cold[flow * COLD_WORDS + coldAt(word)]!;
}
