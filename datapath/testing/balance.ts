/**
 * The accounting identity of a datapath whose packet threads are quiescent, and a pipeline that holds
 * to it. Tests run packets through these (or through helpers that do), so that every test checks it.
 */
import assert from "node:assert/strict";
import {
  CONSUMED,
  COPIED,
  DROPPED,
  DROPS,
  dropsByName,
  GENERATED,
  HELD,
  RECEIVED,
  SENT,
  sumDatapath,
} from "../counters.ts";
import { Pipeline } from "../pipeline.ts";

/** What became of a datapath's packets, summed over its threads. */
export interface Totals {
  readonly received: number;
  readonly generated: number;
  readonly copied: number;
  readonly sent: number;
  readonly dropped: number;
  readonly consumed: number;
  readonly held: number;
  /** Dropped packets by the reason's name. */
  readonly drops: Readonly<Record<string, number>>;
}

/** What is wrong with the totals of a quiescent datapath; undefined: they balance. */
export function imbalance(totals: Totals): string | undefined {
  const { received, generated, copied, sent, dropped, consumed, held, drops } = totals;
  const counts = { received, generated, copied, sent, dropped, consumed, held };
  for (const [name, count] of Object.entries(counts)) {
    if (!Number.isSafeInteger(count) || count < 0) return `${name} is ${count}`;
  }
  const into = received + generated + copied;
  const out = sent + dropped + consumed + held;
  const all = (): string => JSON.stringify({ ...counts, drops });
  if (into !== out) {
    return `received + generated + copied = ${into}, but sent + dropped + consumed + held = ${out}: ${all()}`;
  }
  const named = Object.values(drops).reduce((sum, count) => sum + count, 0);
  if (named !== dropped) return `dropped = ${dropped}, but the reasons' sum is ${named}: ${all()}`;
  return undefined;
}

/** Fails unless received + generated + copied = sent + dropped + consumed + held, and each drop has a reason. */
export function assertBalanced(totals: Totals): void {
  const wrong = imbalance(totals);
  assert.ok(wrong === undefined, wrong);
}

/** The sums of the threads' datapath blocks (counters.ts), which have been settled. */
export function totalsOf(blocks: readonly BigUint64Array[]): Totals {
  const sums = sumDatapath(blocks);
  const at = (index: number): number => sums[index] ?? 0;
  return {
    received: at(RECEIVED),
    generated: at(GENERATED),
    copied: at(COPIED),
    sent: at(SENT),
    dropped: at(DROPPED),
    consumed: at(CONSUMED),
    held: at(HELD),
    drops: dropsByName(sums, DROPS) as Record<string, number>,
  };
}

type Options = ConstructorParameters<typeof Pipeline>[0];

/** A pipeline whose accounts are checked whenever it has finished with the packets that it was given. */
export class CheckedPipeline extends Pipeline {
  readonly #counters: BigUint64Array;
  /** Off: nothing is checked, and the checks allocate nothing. */
  checks = true;
  /** Packets are on their way. */
  #isBusy = false;

  constructor(options: Options) {
    super(options);
    this.#counters = options.counters;
  }

  override begin(nowMs: number): void {
    this.#isBusy = true;
    super.begin(nowMs);
  }

  override finish(nowMs: number): void {
    super.finish(nowMs);
    this.#isBusy = false;
    this.#check();
  }

  override sweepFragments(nowMs: number): void {
    super.sweepFragments(nowMs);
    this.#check();
  }

  /** By itself it upsets the accounts if the packet had not been counted as sent. */
  override countTxDrop(...args: Parameters<Pipeline["countTxDrop"]>): void {
    super.countTxDrop(...args);
    this.#check();
  }

  #check(): void {
    if (this.checks && !this.#isBusy) assertBalanced(totalsOf([this.#counters]));
  }
}
