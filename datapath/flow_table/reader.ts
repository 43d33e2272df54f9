/**
 * A packet thread's view of the flow table: looks up bursts, counts, and finds the actions.
 *
 * A burst goes through in phases, each a loop of its own over all packets, with loads that only bring
 * lines into the cache: at a million flows nearly all time is waiting for memory, and waiting for 32
 * lines at once takes little longer than for one. It allocates nothing and takes no lock.
 */
import { KEY_WORDS } from "../key.ts";
import {
  ACTIONS,
  type Buckets,
  COUNTER_CACHE_HIT,
  COUNTER_MASK_HIT,
  COUNTER_STRIDE,
  type FlowTableBuffers,
  HOT_SHIFT,
  makeViews,
  STATE,
  STATS_BYTES,
  STATS_FLAGS,
  STATS_PACKETS,
  STATS_TAG,
  STATS_USED,
} from "./layout.ts";
import { nextWord } from "./bucket_chains.ts";
import { MaskPlan } from "./mask_plan.ts";
import { BURST_MAX, fence, makeMatcherMemory } from "./matcher.ts";
import { SignatureCache } from "./signature_cache.ts";

/** For tests and measurements. */
export interface ReaderOptions {
  /** Keys tried under a mask before code is generated for it: 0 at once, Infinity never. */
  readonly compileAfter?: number | undefined;
  /** false: every lookup tries the masks. */
  readonly cache?: boolean | undefined;
}

export class FlowTableReader {
  /** Action lists of all flows; see {@link actionsAt}. */
  readonly actionWords: Int32Array<SharedArrayBuffer>;

  readonly #hot: Int32Array<SharedArrayBuffer>;
  readonly #masks: Int32Array<SharedArrayBuffer>;
  readonly #plan: MaskPlan;
  readonly #cache: SignatureCache;
  #cacheUsed: boolean;
  readonly #counters: Float64Array<SharedArrayBuffer>;
  readonly #maskUsage: Int32Array<SharedArrayBuffer>;
  readonly #statsLongs: BigUint64Array<SharedArrayBuffer>;
  readonly #statsDoubles: Float64Array<SharedArrayBuffer>;
  readonly #statsInts: Int32Array<SharedArrayBuffer>;
  readonly #hashes = new Int32Array(BURST_MAX);
  readonly #candidates = new Int32Array(BURST_MAX);
  readonly #states = new Int32Array(BURST_MAX);
  readonly #pending = new Int32Array(BURST_MAX);
  readonly #missed = new Int32Array(BURST_MAX);
  readonly #keys = new Int32Array(BURST_MAX * KEY_WORDS);
  readonly #found = new Int32Array(BURST_MAX);
  readonly #sink = new Int32Array(2);
  #heads: Int32Array;
  #next: number;

  /** `thread`: which statistics are this thread's. `buckets`: the writer's `buckets` of now. */
  constructor(
    buffers: FlowTableBuffers,
    thread: number,
    buckets: Buckets,
    options: ReaderOptions = {},
  ) {
    const views = makeViews(buffers);
    const stats = buffers.stats[thread];
    const usage = buffers.maskUsage[thread];
    if (stats === undefined || usage === undefined) {
      throw new RangeError(
        `Cannot read a flow table as thread ${thread}: it has ${buffers.threads}`,
      );
    }
    this.actionWords = views.actionWords;
    this.#hot = views.hot;
    this.#masks = views.masks;
    this.#plan = new MaskPlan(makeMatcherMemory(views), options.compileAfter);
    this.#cache = new SignatureCache(buffers.recordsMax);
    this.#cacheUsed = options.cache ?? true;
    this.#counters = new Float64Array(buffers.counters, thread * COUNTER_STRIDE * 8, 2);
    this.#maskUsage = new Int32Array(usage);
    this.#statsLongs = new BigUint64Array(stats);
    this.#statsDoubles = new Float64Array(stats);
    this.#statsInts = new Int32Array(stats);
    this.#heads = new Int32Array(buckets.heads);
    this.#next = nextWord(buckets);
  }

  /** Goes over to a new bucket array. Between bursts; acknowledge to the writer afterwards. */
  setBuckets(buckets: Buckets): void {
    this.#heads = new Int32Array(buckets.heads);
    this.#next = nextWord(buckets);
  }

  /** The signature cache has at most so many entries (a power of 2) from now on; 0: every lookup tries the masks. */
  setCacheSize(entries: number): void {
    this.#cacheUsed = entries > 0;
    if (entries > 0) this.#cache.limit(entries);
  }

  /**
   * Finds the flow of each of `count` keys (key n in words n · KEY_WORDS … of `keys`): flows[n] is its
   * index, or −1. What is found may be used until the thread's next quiescent point. More than
   * BURST_MAX keys at a time are copied; fewer are not, and nothing is allocated.
   */
  lookupBurst(keys: Int32Array, count: number, flows: Int32Array): void {
    this.#plan.refresh();
    if (count <= BURST_MAX) {
      this.#burst(keys, count, flows);
      return;
    }
    for (let from = 0; from < count; from += BURST_MAX) {
      const end = Math.min(from + BURST_MAX, count);
      this.#keys.set(keys.subarray(from * KEY_WORDS, end * KEY_WORDS));
      this.#burst(this.#keys, end - from, this.#found);
      for (let at = from; at < end; at++) flows[at] = this.#found[at - from]!;
    }
  }

  /** Counts a packet of a flow just found. `nowMs`: monotonic, above 0; `tcpFlags`: 0 if not TCP. */
  count(flow: number, size: number, nowMs: number, tcpFlags: number): void {
    const longs = this.#statsLongs;
    const ints = this.#statsInts;
    const at = flow << 2;
    const tag = this.#hot[(flow << HOT_SHIFT) + STATE]! | 1;
    if (ints[(flow << 3) + STATS_TAG] !== tag) this.#clear(flow, tag);
    longs[at + STATS_PACKETS]! += 1n;
    // `| 0` tells V8 that the number is an integer: without, each conversion allocates a BigInt.
    longs[at + STATS_BYTES]! += BigInt(size | 0);
    this.#statsDoubles[at + STATS_USED] = nowMs;
    ints[(flow << 3) + STATS_FLAGS]! |= tcpFlags;
  }

  /** Tells a flow just found from others that have its index before or after (FlowTableWriter.generation). */
  generation(flow: number): number {
    return this.#hot[(flow << HOT_SHIFT) + STATE]! >> 1;
  }

  /** The masks, KEY_WORDS words each, in the order in which lookups try them now. */
  masks(): { readonly id: number; readonly words: Int32Array }[] {
    this.#plan.refresh();
    return this.#plan.matchers.map(({ id, range }) => {
      const words = new Int32Array(KEY_WORDS);
      for (let word = range.start; word < range.end; word++) {
        words[word] = this.#masks[range.at + word]!;
      }
      return { id, words };
    });
  }

  /** Index in {@link actionWords} of the actions of a flow just found. */
  actionsAt(flow: number): number {
    // A plain load is enough: what is read next has its address from it.
    return this.#hot[(flow << HOT_SHIFT) + ACTIONS]!;
  }

  #clear(flow: number, tag: number): void {
    const at = flow << 2;
    this.#statsLongs[at + STATS_PACKETS] = 0n;
    this.#statsLongs[at + STATS_BYTES] = 0n;
    this.#statsDoubles[at + STATS_USED] = 0;
    this.#statsInts[(flow << 3) + STATS_FLAGS] = 0;
    Atomics.store(this.#statsInts, (flow << 3) + STATS_TAG, tag);
  }

  #burst(keys: Int32Array, count: number, flows: Int32Array): void {
    const pending = this.#pending;
    if (!this.#cacheUsed) {
      for (let i = 0; i < count; i++) pending[i] = i;
      this.#scan(keys, count, flows);
      this.#touch(count, flows);
      return;
    }
    const plan = this.#plan;
    plan.signatures(keys, 0, count, this.#hashes);
    plan.signed(count);
    const touched = this.#cache.find(this.#hashes, count, this.#candidates, this.#states);
    const missed = this.#verify(keys, count, flows, touched);
    this.#counters[COUNTER_CACHE_HIT]! += count - missed;
    this.#counters[COUNTER_MASK_HIT]! += count - missed;
    if (missed > 0) {
      for (let i = 0; i < missed; i++) this.#missed[i] = pending[i]!;
      this.#scan(keys, missed, flows);
      for (let i = 0; i < missed; i++) {
        const key = this.#missed[i]!;
        const flow = flows[key]!;
        if (flow < 0) continue;
        const state = Atomics.load(this.#hot, (flow << HOT_SHIFT) + STATE);
        // Removed since: a dead state word in the cache would equal the record's.
        if ((state & 1) !== 0) this.#cache.add(this.#hashes[key]!, flow, state);
      }
    }
    this.#touch(count, flows);
  }

  /** Compares the cache's candidates; the keys without a flow go to #pending. Returns how many. */
  #verify(keys: Int32Array, count: number, flows: Int32Array, touched: number): number {
    const hot = this.#hot;
    const candidates = this.#candidates;
    const states = this.#states;
    for (let i = 0; i < count; i++) {
      const flow = candidates[i]!;
      if (flow < 0) continue;
      if (hot[(flow << HOT_SHIFT) + STATE] !== states[i]) candidates[i] = -1;
    }
    this.#sink[0] = touched;
    // The states first, then the keys.
    fence(this.#sink);
    return this.#plan.verify(keys, count, candidates, flows, this.#pending);
  }

  /** Tries the masks in turn for the `left` keys in #pending. */
  #scan(keys: Int32Array, left: number, flows: Int32Array): void {
    const matchers = this.#plan.matchers;
    const pending = this.#pending;
    let tried = 0;
    for (let i = 0; i < left; i++) flows[pending[i]!] = -1;
    for (let at = 0; at < matchers.length && left > 0; at++) {
      const matcher = matchers[at]!;
      const after = matcher.scan(keys, pending, left, this.#heads, this.#next, flows);
      tried += left;
      matcher.untilCompiled -= left;
      if (after < left) this.#maskUsage[matcher.id]! += left - after;
      if (matcher.untilCompiled < 0) this.#plan.compile(matcher);
      left = after;
    }
    this.#counters[COUNTER_MASK_HIT]! += tried;
  }

  /** Brings statistics and actions of the flows found into the cache, for what comes next. */
  #touch(count: number, flows: Int32Array): void {
    const hot = this.#hot;
    const ints = this.#statsInts;
    const words = this.actionWords;
    let touched = 0;
    for (let i = 0; i < count; i++) {
      const flow = flows[i]!;
      if (flow < 0) continue;
      touched ^= ints[(flow << 3) + STATS_TAG]! ^ words[hot[(flow << HOT_SHIFT) + ACTIONS]!]!;
    }
    this.#sink[0] = touched;
  }
}
