/**
 * The control side of the flow table: the only writer.
 *
 * Changes are staged: they are in the table's structures at once, where this side's `find`, `lookup`
 * and copies see them, while packet threads see them from `commit` on: new flows lie in the chains
 * with a dead state word, removed ones still live. `commit` makes new flows and actions live first and
 * then takes removed flows out, so a flow that replaces another leaves no gap. `rollback` undoes all.
 * The work per change does not depend on the number of flows.
 */
import { RuleError } from "../errors.ts";
import { ActionArena } from "./action_arena.ts";
import { BucketChains } from "./bucket_chains.ts";
import { FlowOrder } from "./flow_order.ts";
import { maskedHash } from "./hash.ts";
import { IntList } from "./int_list.ts";
import {
  type Buckets,
  COUNTER_CACHE_HIT,
  COUNTER_MASK_HIT,
  type FlowTableBuffers,
  type FlowTableViews,
  makeViews,
} from "./layout.ts";
import { MaskPlan } from "./mask_plan.ts";
import { MaskTable } from "./mask_table.ts";
import { makeMatcherMemory } from "./matcher.ts";
import { Records } from "./records.ts";
import {
  Retired,
  RETIRED_ACTIONS,
  RETIRED_MASK,
  RETIRED_MASK_LIST,
  RETIRED_RECORD,
} from "./retired.ts";
import { type FlowStatistics, StatsSum } from "./stats_sum.ts";
import { UfidIndex } from "./ufid_index.ts";

/** What a packet thread must be told. */
export interface FlowTableHooks {
  /**
   * Give every packet thread this bucket array (`FlowTableReader.setBuckets`), and call
   * `bucketsAcknowledged` when all have taken it. Until then lookups with the one before stay right.
   */
  publishBuckets(buckets: Buckets): void;
}

/** A flow to install. */
export interface NewFlow {
  /** 32 hex digits, dashes allowed. */
  readonly ufid: string;
  /** KEY_WORDS words, masked or not. */
  readonly key: Int32Array;
  readonly mask: Int32Array;
  /** Encoded list (action_program.ts), END included. */
  readonly actions: Int32Array;
  /** The flow is temporary; undefined: it stays. */
  readonly lifetime?: FlowLifetime | undefined;
}

/** How long a temporary flow stays. Times are those of `FlowTableReader.count`. */
export interface FlowLifetime {
  /** Goes when no packet has come for so long; 0: never for that. */
  readonly idleMs: number;
  /** Goes at that age; 0: at none. */
  readonly hardMs: number;
  readonly addedMs: number;
}

// What a record is, to the writer.
const FREE = 0;
const STAGED = 1;
const LIVE = 2;
/** Staged for removal; still live to packet threads. */
const GOING = 3;
/** Inserted and removed within the open transaction. */
const UNDONE = 4;

// Entries of the transaction's log: [kind, flow, value].
const DID_INSERT = 0;
const DID_SET_ACTIONS = 1;
const DID_CLEAR = 2;
const DID_REMOVE = 3;
const LOG_WORDS = 3;

export class FlowTableWriter {
  readonly #buffers: FlowTableBuffers;
  readonly #views: FlowTableViews;
  readonly #records: Records;
  readonly #masks: MaskTable;
  readonly #chains: BucketChains;
  readonly #ufids: UfidIndex;
  readonly #order: FlowOrder;
  readonly #arena: ActionArena;
  readonly #retired: Retired;
  readonly #stats: StatsSum;
  readonly #plan: MaskPlan;
  /** FREE … UNDONE per record. */
  readonly #status: Uint8Array;
  /** 1: `find` and `lookup` see the record. */
  readonly #visible: Uint8Array;
  /** Where each record's actions begin, staged changes included. */
  readonly #actionsAt: Int32Array;
  /** Of temporary flows, by index. */
  readonly #lifetimes: Map<number, FlowLifetime> = new Map();
  readonly #freeRecords = new IntList();
  readonly #log = new IntList();
  readonly #pending = new Int32Array(1);
  readonly #found = new Int32Array(1);
  #unusedRecord = 0;
  #count = 0;

  /**
   * `buffers` must be fresh. `grace` (grace.ts) undefined: nobody reads the table, whatever is taken
   * out may be used again at once and bucket arrays need no acknowledgement.
   */
  constructor(
    buffers: FlowTableBuffers,
    grace: SharedArrayBuffer | undefined,
    hooks: FlowTableHooks,
  ) {
    const views = makeViews(buffers);
    this.#buffers = buffers;
    this.#views = views;
    this.#records = new Records(views);
    this.#retired = new Retired(grace, (kind, value) => this.#free(kind, value));
    this.#masks = new MaskTable(buffers, views, () => this.#retired.add(RETIRED_MASK_LIST, 0));
    this.#chains = new BucketChains(views.nodes, (buckets) => {
      hooks.publishBuckets(buckets);
      if (grace === undefined) this.#chains.acknowledged(buckets.version);
    });
    this.#ufids = new UfidIndex(buffers.recordsMax, views.constants);
    this.#order = new FlowOrder(buffers.recordsMax);
    this.#arena = new ActionArena(views.actionWords);
    this.#stats = new StatsSum(buffers);
    this.#status = new Uint8Array(buffers.recordsMax);
    this.#visible = new Uint8Array(buffers.recordsMax);
    this.#actionsAt = new Int32Array(buffers.recordsMax);
    this.#plan = new MaskPlan(makeMatcherMemory(views, this.#visible));
  }

  /** Flows, staged changes included. */
  get count(): number {
    return this.#count;
  }

  /** Masks of all flows, those staged for removal included. */
  get maskCount(): number {
    return this.#masks.count;
  }

  /** The newest bucket array, for a reader that begins now. */
  get buckets(): Buckets {
    return this.#chains.buckets;
  }

  /** The shared memory, for one more reader within this isolate (trace/tracer.ts). */
  get buffers(): FlowTableBuffers {
    return this.#buffers;
  }

  /** Every packet thread has taken the bucket array with this version. */
  bucketsAcknowledged(version: number): void {
    this.#chains.acknowledged(version);
  }

  /** The flow with a UFID, or −1. RangeError if it is not 32 hex digits. */
  find(ufid: string): number {
    return this.#ufids.find(ufid, this.#visible);
  }

  /** The flow that a packet with this key would hit, or −1. */
  lookup(key: Int32Array): number {
    const plan = this.#plan;
    plan.refresh();
    this.#pending[0] = 0;
    const heads = this.#chains.heads;
    const next = this.#chains.nextWord;
    for (const matcher of plan.matchers) {
      const left = matcher.scan(key, this.#pending, 1, heads, next, this.#found);
      if (--matcher.untilCompiled < 0) plan.compile(matcher);
      if (left === 0) return this.#found[0]!;
    }
    return -1;
  }

  /**
   * Stages a new flow and returns its index. RuleError: ENOSPC when the table, the masks or the
   * actions' memory is full, EEXIST when the UFID is taken, EFBIG when the list is too long.
   */
  insert(flow: NewFlow): number {
    if (this.#count >= this.#buffers.flowsMax) {
      throw new RuleError(
        "ENOSPC",
        `the datapath holds as many flows as it can (${this.#buffers.flowsMax})`,
      );
    }
    if (this.find(flow.ufid) >= 0) {
      throw new RuleError("EEXIST", `a flow with the UFID ${flow.ufid} exists`);
    }
    const index = this.#takeRecord();
    let actionsAt = 0;
    let mask = -1;
    try {
      actionsAt = this.#storeActions(flow.actions);
      mask = this.#masks.acquire(flow.mask);
    } finally {
      if (mask < 0) {
        if (actionsAt > 0) this.#arena.free(actionsAt);
        this.#freeRecords.push(index);
      }
    }
    const range = this.#masks.range(mask);
    this.#records.fill(index, flow.key, mask, range);
    this.#actionsAt[index] = actionsAt;
    const { constants, masks } = this.#views;
    this.#chains.link(index, maskedHash(constants, masks, range, flow.key, 0));
    this.#ufids.add(index);
    this.#order.append(index);
    this.#status[index] = STAGED;
    this.#visible[index] = 1;
    this.#count++;
    if (flow.lifetime !== undefined) this.#lifetimes.set(index, flow.lifetime);
    this.#append(DID_INSERT, index, 0);
    return index;
  }

  /** Stages other actions for a flow. RuleError ENOSPC or EFBIG as {@link insert}. */
  setActions(index: number, actions: Int32Array): void {
    this.#check(index);
    const at = this.#storeActions(actions);
    this.#append(DID_SET_ACTIONS, index, this.#actionsAt[index]!);
    this.#actionsAt[index] = at;
  }

  /** Stages that a flow's statistics begin anew. */
  clearStats(index: number): void {
    this.#check(index);
    this.#append(DID_CLEAR, index, 0);
  }

  /** Stages the removal of a flow. Its statistics can be read until the commit. */
  remove(index: number): void {
    this.#check(index);
    this.#status[index] = this.#status[index] === STAGED ? UNDONE : GOING;
    this.#visible[index] = 0;
    this.#count--;
    this.#append(DID_REMOVE, index, 0);
  }

  /** Publishes all that was staged. */
  commit(): void {
    const log = this.#log;
    for (let at = 0; at < log.length; at += LOG_WORDS) {
      const index = log.at(at + 1);
      const kind = log.at(at);
      if (kind === DID_INSERT && this.#status[index] === STAGED) {
        this.#records.publish(index, this.#actionsAt[index]!);
        this.#status[index] = LIVE;
      } else if (kind === DID_SET_ACTIONS) {
        this.#records.publishActions(index, this.#actionsAt[index]!);
        this.#retired.add(RETIRED_ACTIONS, log.at(at + 2));
      } else if (kind === DID_CLEAR && this.#status[index] === LIVE) {
        this.#records.advance(index);
      }
    }
    for (let at = 0; at < log.length; at += LOG_WORDS) {
      if (log.at(at) === DID_REMOVE) this.#takeOut(log.at(at + 1));
    }
    log.clear();
    this.#retired.reclaim();
  }

  /** Forgets all that was staged. */
  rollback(): void {
    const log = this.#log;
    for (let at = log.length - LOG_WORDS; at >= 0; at -= LOG_WORDS) {
      const index = log.at(at + 1);
      const kind = log.at(at);
      if (kind === DID_REMOVE) {
        this.#status[index] = this.#status[index] === UNDONE ? STAGED : LIVE;
        this.#visible[index] = 1;
        this.#count++;
      } else if (kind === DID_SET_ACTIONS) {
        this.#arena.free(this.#actionsAt[index]!);
        this.#actionsAt[index] = log.at(at + 2);
      } else if (kind === DID_INSERT) {
        this.#count--;
        this.#takeOut(index);
      }
    }
    log.clear();
    this.#retired.reclaim();
  }

  /** The UFID, 32 hex digits. */
  ufid(index: number): string {
    this.#checkReadable(index);
    return this.#ufids.text(index);
  }

  /** Copy of the masked key. */
  key(index: number): Int32Array {
    this.#checkReadable(index);
    return this.#records.key(index);
  }

  /** Number of the mask; see FlowTableReader.masks. */
  maskId(index: number): number {
    this.#checkReadable(index);
    return this.#records.mask(index);
  }

  /** Copy of the mask. */
  mask(index: number): Int32Array {
    this.#checkReadable(index);
    return this.#masks.words(this.#records.mask(index));
  }

  /** Copy of the actions, staged ones if there are. */
  actions(index: number): Int32Array {
    this.#check(index);
    return this.#arena.read(this.#actionsAt[index]!);
  }

  /** Copy of the actions that packet threads see, or will see of a flow that is staged. */
  publishedActions(index: number): Int32Array {
    if (this.#status[index] === STAGED) return this.actions(index);
    this.#checkReadable(index);
    return this.#arena.read(this.#records.actionsAt(index));
  }

  /** A number that differs between all flows that had this index: tells whether it is still the same. */
  generation(index: number): number {
    return this.#records.generation(index);
  }

  /**
   * The flows in the order of their insertion, staged changes included. May be interrupted: flows
   * that are there all the time come exactly once, whatever is changed and committed in between.
   */
  *indexes(): IterableIterator<number> {
    const cursor = this.#order.open();
    try {
      for (let index = cursor.next(); index >= 0; index = cursor.next()) {
        if (this.#visible[index] === 1) yield index;
      }
    } finally {
      cursor.close();
    }
  }

  /** The same flows as packet threads see them, without what is staged. */
  *publishedIndexes(): IterableIterator<number> {
    const cursor = this.#order.open();
    try {
      for (let index = cursor.next(); index >= 0; index = cursor.next()) {
        const status = this.#status[index];
        if (status === LIVE || status === GOING) yield index;
      }
    } finally {
      cursor.close();
    }
  }

  /** How long a flow stays; undefined: it is not temporary. */
  lifetime(index: number): FlowLifetime | undefined {
    return this.#lifetimes.get(index);
  }

  /** The temporary flows, with staged ones. May be interrupted as {@link indexes}. */
  temporaryFlows(): IterableIterator<number> {
    return this.#lifetimes.keys();
  }

  /** Whether packet threads see the flow and its removal is not staged. */
  isLive(index: number): boolean {
    return this.#status[index] === LIVE;
  }

  /** Stores an action list that belongs to no flow and returns its index in the action words. RuleError ENOSPC or EFBIG as {@link insert}. */
  lendActions(actions: Int32Array): number {
    return this.#storeActions(actions);
  }

  /** Gives back what {@link lendActions} stored: no packet thread reads it any more. */
  returnActions(at: number): void {
    this.#arena.free(at);
  }

  /** Statistics of a flow, summed over the packet threads. */
  stats(index: number): FlowStatistics {
    this.#checkReadable(index);
    return this.#stats.flow(index, this.#records.tag(index));
  }

  /** Masks tried, and lookups answered by the signature caches, in all lookups of all threads. */
  lookupCounters(): { maskHit: number; cacheHit: number } {
    return {
      maskHit: this.#stats.counter(COUNTER_MASK_HIT),
      cacheHit: this.#stats.counter(COUNTER_CACHE_HIT),
    };
  }

  /** Frees what has passed its grace period. Call now and then, as well when nothing changes. */
  reclaim(): void {
    this.#retired.reclaim();
  }

  /** Sorts the masks by usage since the last call: every 4 seconds, as the kernel. */
  rebalance(): void {
    this.#retired.reclaim();
    this.#masks.rebalance();
  }

  #append(kind: number, index: number, value: number): void {
    this.#log.push(kind);
    this.#log.push(index);
    this.#log.push(value);
  }

  #check(index: number): void {
    if (this.#visible[index] !== 1) throw new RangeError(`bug: there is no flow ${index}`);
  }

  /** A flow staged for removal can still be read. */
  #checkReadable(index: number): void {
    if (this.#status[index] !== GOING) this.#check(index);
  }

  #takeRecord(): number {
    if (this.#freeRecords.length > 0) return this.#freeRecords.pop();
    if (this.#unusedRecord < this.#buffers.recordsMax) return this.#unusedRecord++;
    this.#retired.reclaim();
    if (this.#freeRecords.length > 0) return this.#freeRecords.pop();
    throw new RuleError(
      "ENOSPC",
      "packet threads still use the flows that were deleted: try again",
    );
  }

  #storeActions(actions: Int32Array): number {
    try {
      return this.#arena.store(actions);
    } catch (error) {
      if (!(error instanceof RuleError) || error.code !== "ENOSPC" || !this.#retired.reclaim()) {
        throw error;
      }
      return this.#arena.store(actions);
    }
  }

  /** Takes a flow out of everything; what readers may hold retires. */
  #takeOut(index: number): void {
    const mask = this.#records.mask(index);
    this.#records.kill(index);
    this.#status[index] = FREE;
    this.#lifetimes.delete(index);
    this.#visible[index] = 0;
    this.#chains.unlink(index);
    this.#ufids.remove(index);
    this.#order.remove(index);
    if (this.#masks.release(mask)) this.#retired.add(RETIRED_MASK, mask);
    this.#retired.add(RETIRED_ACTIONS, this.#actionsAt[index]!);
    this.#retired.add(RETIRED_RECORD, index);
  }

  #free(kind: number, value: number): void {
    if (kind === RETIRED_RECORD) this.#freeRecords.push(value);
    else if (kind === RETIRED_ACTIONS) this.#arena.free(value);
    else if (kind === RETIRED_MASK) this.#masks.free(value);
    else this.#masks.listFreed();
  }
}
