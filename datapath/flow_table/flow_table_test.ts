/** The table against a linear scan, under random changes, with readers of every kind. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { RuleError } from "../errors.ts";
import { KEY_WORDS } from "../key.ts";
import { makeGrace, ThreadGrace } from "./grace.ts";
import { type Buckets, makeFlowTableBuffers } from "./layout.ts";
import { FlowTableReader } from "./reader.ts";
import { FlowTableWriter } from "./writer.ts";
import { cases } from "../testing/cases.ts";

const SEED = new Uint8Array(16).map((_, at) => at * 29 + 3);
/**
 * Words that keys of these tests use: hot ones, both kinds of cold ones, wide ones of each section
 * that signatures may leave out, and the words that decide it (10, 15 and 72); the first and the last.
 */
const WORDS = [0, 2, 3, 4, 10, 13, 15, 16, 31, 32, 46, 50, 60, 72, 136, KEY_WORDS - 1];

interface Flow {
  ufid: string;
  key: Int32Array;
  mask: Int32Array;
  actions: number[];
}

function makeKey(values: readonly number[]): Int32Array {
  const key = new Int32Array(KEY_WORDS);
  WORDS.forEach((word, at) => key[word] = values[at]!);
  return key;
}

/** Few values, so that keys often match; the sign bit and all bytes are used. */
const word = fc.constantFrom(0, 0, 8, 0x01000000, -1, 0x7f0000ff);
const key = fc.array(word, { minLength: WORDS.length, maxLength: WORDS.length }).map(makeKey);
const maskWord = fc.constantFrom(0, 0, 0, 0, 0, -1, 0x01000000, 0xff);
const mask = fc.array(maskWord, { minLength: WORDS.length, maxLength: WORDS.length }).map(makeKey);
const pick = fc.nat(1 << 20);
const actions = fc.array(fc.integer({ min: 1, max: 1 << 30 }), { maxLength: 40 });

type Step =
  | { do: "insert"; key: Int32Array; mask: Int32Array; actions: number[] }
  | { do: "setActions"; pick: number; actions: number[] }
  | { do: "remove"; pick: number }
  | { do: "commit" | "rollback" | "rebalance" | "quiesce" | "sleep" }
  | { do: "look"; keys: Int32Array[] };

function steps(masks: Int32Array[]): fc.Arbitrary<Step[]> {
  const insert = fc.record({
    do: fc.constant("insert" as const),
    key,
    mask: fc.constantFrom(...masks),
    actions,
  });
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 8, arbitrary: insert },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("setActions" as const), pick, actions }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("remove" as const), pick }) },
    { weight: 3, arbitrary: fc.constant({ do: "commit" as const }) },
    { weight: 1, arbitrary: fc.constant({ do: "rollback" as const }) },
    { weight: 1, arbitrary: fc.constant({ do: "rebalance" as const }) },
    { weight: 3, arbitrary: fc.constant({ do: "quiesce" as const }) },
    { weight: 1, arbitrary: fc.constant({ do: "sleep" as const }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("look" as const),
        keys: fc.array(key, { minLength: 1, maxLength: 40 }),
      }),
    },
  );
  return fc.array(step, { maxLength: 300, size: "max" });
}

const run = fc.array(mask, { minLength: 1, maxLength: 12 }).chain((masks) => steps(masks));

function matches(flow: Flow, key: Int32Array): boolean {
  for (const word of WORDS) {
    if (((flow.key[word]! ^ key[word]!) & flow.mask[word]!) !== 0) return false;
  }
  return true;
}

/** The flow found is one that matches, told by its actions, which no other has; or none does. */
function checkAnswer(
  flows: readonly Flow[],
  key: Int32Array,
  index: number,
  word: (n: number) => number,
): void {
  const right = flows.filter((flow) => matches(flow, key));
  if (index < 0) return assert.equal(right.length, 0, "a flow matches and none was found");
  const found = right.some(({ actions }) => actions.every((action, n) => action === word(n)));
  assert.ok(found, "the flow found is not one that matches");
}

/** The table, its readers, and the flows it should hold. */
class Fixture {
  readonly #buffers = makeFlowTableBuffers({ flowsMax: 60, threads: 4, seed: SEED });
  readonly #grace = makeGrace(4);
  readonly #threads = [0, 1, 2, 3].map((thread) => new ThreadGrace(this.#grace, thread));
  readonly table: FlowTableWriter;
  readonly #readers: FlowTableReader[];
  #published: Buckets | undefined;
  #committed: Flow[] = [];
  #staged: Flow[] = [];
  #unique = 0;

  constructor() {
    this.table = new FlowTableWriter(this.#buffers, this.#grace, {
      publishBuckets: (buckets) => this.#published = buckets,
    });
    const kinds = [
      { compileAfter: 0 },
      { compileAfter: Infinity },
      { compileAfter: 0, cache: false },
      { compileAfter: Infinity, cache: false },
    ];
    this.#readers = kinds.map((kind, thread) =>
      new FlowTableReader(this.#buffers, thread, this.table.buckets, kind)
    );
    this.#threads.forEach((thread) => thread.wake());
  }

  apply(step: Step): void {
    const table = this.table;
    switch (step.do) {
      case "insert":
        return this.#insert(step);
      case "setActions":
      case "remove": {
        if (this.#staged.length === 0) return;
        const at = step.pick % this.#staged.length;
        const flow = this.#staged[at]!;
        const index = table.find(flow.ufid);
        if (step.do === "remove") {
          table.remove(index);
          this.#staged.splice(at, 1);
        } else {
          const actions = [this.#unique++, ...step.actions];
          table.setActions(index, Int32Array.from(actions));
          this.#staged[at] = { ...flow, actions };
        }
        return;
      }
      case "commit":
        table.commit();
        this.#committed = this.#staged.slice();
        return;
      case "rollback":
        table.rollback();
        this.#staged = this.#committed.slice();
        return;
      case "rebalance":
        return table.rebalance();
      case "quiesce":
        this.#threads.forEach((thread) => thread.quiescent());
        return this.#acknowledge();
      case "sleep":
        this.#threads.forEach((thread) => thread.sleep());
        table.reclaim();
        return this.#threads.forEach((thread) => thread.wake());
      case "look":
        return this.look(step.keys);
    }
  }

  #insert(step: Step & { do: "insert" }): void {
    const ufid = ufidOf(this.#unique);
    const actions = [this.#unique++, ...step.actions];
    const flow: Flow = { ufid, key: step.key, mask: step.mask, actions };
    try {
      this.table.insert({ ...flow, actions: Int32Array.from(actions) });
    } catch (error) {
      assert.ok(error instanceof RuleError && error.code === "ENOSPC", String(error));
      return;
    }
    this.#staged.push(flow);
    assert.ok(this.#staged.length <= 60);
  }

  #acknowledge(): void {
    const buckets = this.#published;
    if (buckets === undefined) return;
    this.#readers.forEach((reader) => reader.setBuckets(buckets));
    this.table.bucketsAcknowledged(buckets.version);
    this.#published = undefined;
  }

  /** Every reader answers as the scan of the committed flows, the writer as that of the staged. */
  look(keys: readonly Int32Array[]): void {
    const burst = new Int32Array(keys.length * KEY_WORDS);
    keys.forEach((key, at) => burst.set(key, at * KEY_WORDS));
    const found = new Int32Array(keys.length);
    for (const reader of this.#readers) {
      reader.lookupBurst(burst, keys.length, found);
      keys.forEach((key, at) => {
        const index = found[at]!;
        const from = index < 0 ? 0 : reader.actionsAt(index);
        checkAnswer(this.#committed, key, index, (n) => reader.actionWords[from + n]!);
      });
    }
    for (const key of keys) {
      const index = this.table.lookup(key);
      const actions = index < 0 ? [] : this.table.actions(index);
      checkAnswer(this.#staged, key, index, (n) => actions[n]!);
    }
  }

  check(): void {
    const table = this.table;
    assert.equal(table.count, this.#staged.length);
    assert.deepEqual(
      [...table.indexes()].map((index) => table.ufid(index)),
      this.#staged.map((f) => f.ufid),
    );
    for (const flow of this.#staged) {
      const index = table.find(flow.ufid);
      assert.deepEqual(table.mask(index), flow.mask);
      assert.deepEqual(table.key(index), flow.key.map((word, at) => word & flow.mask[at]!));
      assert.deepEqual([...table.actions(index)], flow.actions);
    }
  }
}

Deno.test("FlowTable answers as a linear scan under random changes, compiled and interpreted", () => {
  fc.assert(
    fc.property(run, (steps) => {
      const fixture = new Fixture();
      const looked: Int32Array[] = [];
      for (const step of steps) {
        fixture.apply(step);
        if (step.do === "look" && looked.length < 8) looked.push(...step.keys.slice(0, 2));
        else if (looked.length > 0) fixture.look(looked);
      }
      fixture.check();
      fixture.apply({ do: "rollback" });
      fixture.check();
      fixture.look(looked);
    }),
    { numRuns: cases(100) },
  );
});

/** A key with one number in it. */
function numbered(n: number): Int32Array {
  const key = new Int32Array(KEY_WORDS);
  key[4] = 1;
  key[13] = Math.imul(n, 0x9e3779b1);
  return key;
}

const EXACT = new Int32Array(KEY_WORDS);
EXACT[4] = -1;
EXACT[13] = -1;

function ufidOf(n: number): string {
  return n.toString(16).padStart(32, "0");
}

function insertNumbered(table: FlowTableWriter, n: number): number {
  return table.insert({
    ufid: ufidOf(n),
    key: numbered(n),
    mask: EXACT,
    actions: Int32Array.of(n, 0),
  });
}

function lookupOne(reader: FlowTableReader, key: Int32Array): number {
  const found = new Int32Array(1);
  reader.lookupBurst(key, 1, found);
  return found[0]!;
}

Deno.test("FlowTable grows while readers keep the old buckets, and finds everything all the time", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 20_000, threads: 1, seed: SEED });
  const grace = makeGrace(1);
  const published: Buckets[] = [];
  const table = new FlowTableWriter(buffers, grace, { publishBuckets: (b) => published.push(b) });
  const reader = new FlowTableReader(buffers, 0, table.buckets, { cache: false });
  for (let n = 0; n < 20_000; n++) {
    insertNumbered(table, n);
    if (n % 7 === 0) {
      const former = table.find(ufidOf(n >> 1));
      table.remove(former >= 0 ? former : table.find(ufidOf(n)));
    }
    table.commit();
    if (n % 500 !== 499) continue;
    for (let looked = 0; looked <= n; looked += 61) {
      const index = lookupOne(reader, numbered(looked));
      assert.equal(index, table.find(ufidOf(looked)), `flow ${looked} after ${n}`);
    }
    // Arrays are taken late: when the table would have grown twice already.
    const taken = published.at(-1);
    if (n % 6000 === 5999 && taken !== undefined) {
      reader.setBuckets(taken);
      table.bucketsAcknowledged(taken.version);
      published.length = 0;
    }
  }
  assert.equal(table.buckets.version, 3);
  assert.ok(table.buckets.heads.byteLength / 4 >= table.count / 2);
});

Deno.test("FlowTable reuses records only after a grace period, and the cache notices", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 1, threads: 1, seed: SEED });
  const grace = makeGrace(1);
  const thread = new ThreadGrace(grace, 0);
  const table = new FlowTableWriter(buffers, grace, { publishBuckets: () => {} });
  const reader = new FlowTableReader(buffers, 0, table.buckets);
  thread.wake();
  const seen = new Set<number>();
  for (let n = 0; n < 100; n++) {
    const index = insertNumbered(table, n);
    table.commit();
    seen.add(index);
    assert.equal(lookupOne(reader, numbered(n)), index);
    assert.equal(lookupOne(reader, numbered(n)), index);
    assert.equal(reader.actionWords[reader.actionsAt(index)], n);
    assert.throws(() => insertNumbered(table, n + 1), { code: "ENOSPC" });
    table.remove(index);
    table.commit();
    assert.equal(lookupOne(reader, numbered(n)), -1);
    if (n % 2 === 1) {
      // Two records are all there are: both wait for the thread.
      assert.throws(() => insertNumbered(table, n + 1), { code: "ENOSPC" });
      thread.quiescent();
      table.reclaim();
      assert.throws(() => insertNumbered(table, n + 1), { code: "ENOSPC" });
      for (let round = 0; round < 4; round++) {
        thread.quiescent();
        table.reclaim();
      }
    }
  }
  assert.equal(seen.size, 2);
});

Deno.test("FlowTable can replace every flow in one transaction, and roll that back", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 50, threads: 0, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  for (let n = 0; n < 50; n++) insertNumbered(table, n);
  table.commit();
  const replaceAll = (from: number): void => {
    for (const index of table.indexes()) table.remove(index);
    assert.equal(table.count, 0);
    for (let n = 0; n < 50; n++) insertNumbered(table, from + n);
    assert.throws(() => insertNumbered(table, from + 50), { code: "ENOSPC" });
  };
  const ufids = (): string[] => [...table.indexes()].map((index) => table.ufid(index));
  replaceAll(0);
  table.commit();
  replaceAll(1000);
  table.rollback();
  assert.deepEqual(ufids(), Array.from({ length: 50 }, (_, n) => ufidOf(n)));
  assert.equal(table.find(ufidOf(1000)), -1);
  replaceAll(1000);
  table.commit();
  assert.deepEqual(ufids(), Array.from({ length: 50 }, (_, n) => ufidOf(1000 + n)));
  assert.equal(table.maskCount, 1);
});

Deno.test("FlowTable.insert refuses a UFID that is taken, and what is no UFID", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 50, threads: 0, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  insertNumbered(table, 1);
  assert.throws(() => insertNumbered(table, 1), { code: "EEXIST" });
  assert.equal(table.find("00000000-0000-0000-0000-000000000001"), table.find(ufidOf(1)));
  assert.throws(() => table.find("1234"), RangeError);
  assert.throws(() => table.find("g".repeat(32)), RangeError);
});

Deno.test("FlowTable.insert takes nothing when the actions do not fit", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 50, threads: 0, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const big = { ufid: ufidOf(1), key: numbered(1), mask: EXACT, actions: new Int32Array(70_000) };
  assert.throws(() => table.insert(big), { code: "EFBIG" });
  const longest = { ...big, actions: new Int32Array(65_535).fill(7) };
  const index = table.insert(longest);
  assert.deepEqual(table.actions(index), longest.actions);
  // Until the memory is full; then everything fits again once it was given back.
  let stored = 1;
  assert.throws(() => {
    for (;; stored++) {
      table.insert({ ...longest, ufid: ufidOf(stored + 1), key: numbered(stored + 1) });
    }
  }, { code: "ENOSPC" });
  assert.equal(table.count, stored);
  for (let round = 0; round < 20; round++) {
    table.rollback();
    assert.equal(table.maskCount, 0);
    for (let n = 0; n < stored; n++) {
      table.insert({ ...longest, ufid: ufidOf(n), key: numbered(n) });
    }
  }
});

Deno.test("FlowTable statistics are summed over threads, cleared, and never inherited", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 4, threads: 2, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const readers = [0, 1].map((thread) => new FlowTableReader(buffers, thread, table.buckets));
  const none = { packets: 0, bytes: 0, usedMs: 0, tcpFlags: 0 };
  const first = insertNumbered(table, 1);
  assert.deepEqual(table.stats(first), none);
  table.commit();
  readers[0]!.count(first, 100, 5, 2);
  readers[0]!.count(first, 65_536, 9, 0x10);
  readers[1]!.count(first, 60, 7, 1);
  assert.deepEqual(table.stats(first), { packets: 3, bytes: 65_696, usedMs: 9, tcpFlags: 0x13 });
  table.clearStats(first);
  table.rollback();
  assert.equal(table.stats(first).packets, 3);
  table.clearStats(first);
  table.commit();
  assert.deepEqual(table.stats(first), none);
  readers[1]!.count(first, 60, 11, 0);
  assert.deepEqual(table.stats(first), { packets: 1, bytes: 60, usedMs: 11, tcpFlags: 0 });
  table.setActions(first, Int32Array.of(9, 0));
  table.commit();
  assert.equal(table.stats(first).packets, 1);
  table.remove(first);
  table.commit();
  const second = insertNumbered(table, 2);
  table.commit();
  assert.equal(second, first);
  assert.deepEqual(table.stats(second), none);
});

Deno.test("FlowTable counts masks tried and cache hits, and rebalances by usage", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 100, threads: 1, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const masks = [3, 4, 13].map((word) => {
    const mask = new Int32Array(KEY_WORDS);
    mask[word] = -1;
    return mask;
  });
  masks.forEach((mask, n) => {
    const key = new Int32Array(KEY_WORDS).fill(n + 1);
    table.insert({ ufid: ufidOf(n), key, mask, actions: Int32Array.of(n) });
  });
  table.commit();
  const reader = new FlowTableReader(buffers, 0, table.buckets);
  const key = new Int32Array(KEY_WORDS).fill(3);
  lookupOne(reader, key);
  assert.deepEqual(table.lookupCounters(), { maskHit: 3, cacheHit: 0 });
  lookupOne(reader, key);
  assert.deepEqual(table.lookupCounters(), { maskHit: 4, cacheHit: 1 });
  const uncached = new FlowTableReader(buffers, 0, table.buckets, { cache: false });
  table.rebalance(); // the masks are new: counting begins
  lookupOne(uncached, key);
  assert.equal(table.lookupCounters().maskHit, 7);
  table.rebalance();
  lookupOne(uncached, key);
  assert.equal(table.lookupCounters().maskHit, 8);
  // The mask that is tried first goes: the two others are tried in vain.
  table.remove(table.find(ufidOf(2)));
  table.commit();
  lookupOne(uncached, key);
  assert.equal(table.lookupCounters().maskHit, 10);
});

Deno.test("FlowTable.indexes may be interrupted by changes", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 100, threads: 0, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  for (let n = 0; n < 40; n++) insertNumbered(table, n);
  table.commit();
  const seen: string[] = [];
  for (const index of table.indexes()) {
    const ufid = table.ufid(index);
    seen.push(ufid);
    const n = parseInt(ufid, 16);
    if (n >= 40) continue;
    // The one just seen goes, another takes its record; so does one that is still to come.
    table.remove(index);
    if (n % 5 === 0) table.remove(table.find(ufidOf(n + 3)));
    table.commit();
    if (n % 10 === 0) insertNumbered(table, 100 + n);
    table.commit();
  }
  const old = Array.from({ length: 40 }, (_, n) => n).filter((n) => n % 5 !== 3);
  assert.deepEqual(seen, [...old, 100, 110, 120, 130].map(ufidOf));
});

Deno.test("FlowTable works with more masks than are compiled", () => {
  const buffers = makeFlowTableBuffers({ flowsMax: 2000, threads: 1, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const reader = new FlowTableReader(buffers, 0, table.buckets, { compileAfter: 0 });
  const flow = (n: number): { key: Int32Array; mask: Int32Array } => {
    const mask = new Int32Array(KEY_WORDS);
    mask[4] = -1;
    mask[13] = n | 1;
    mask[20] = n;
    return { key: numbered(0).fill(n, 4, 5), mask };
  };
  for (let n = 0; n < 600; n++) {
    table.insert({ ufid: ufidOf(n), ...flow(n), actions: Int32Array.of(n) });
    table.commit();
    for (const looked of [0, n >> 1, n]) {
      assert.equal(lookupOne(reader, flow(looked).key), table.find(ufidOf(looked)));
    }
  }
  assert.equal(table.maskCount, 600);
  for (let n = 0; n < 600; n += 2) table.remove(table.find(ufidOf(n)));
  table.commit();
  for (let n = 0; n < 600; n++) {
    assert.equal(lookupOne(reader, flow(n).key), n % 2 === 0 ? -1 : table.find(ufidOf(n)));
  }
  assert.equal(table.maskCount, 300);
});
