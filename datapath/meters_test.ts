import assert from "node:assert/strict";
import { RuleError } from "./errors.ts";
import {
  makeMeterMemory,
  METER_BANDS_MAX,
  type MeterConfig,
  MeterReader,
  METERS_MAX,
  MeterTable,
} from "./meters.ts";
import { seededRandom } from "./testing/flows.ts";

function make(...configs: MeterConfig[]): { table: MeterTable; reader: MeterReader } {
  const memory = makeMeterMemory();
  const table = new MeterTable(memory);
  for (const config of configs) table.set(config, 1000);
  return { table, reader: new MeterReader(memory) };
}

const pps = (id: number, rate: number, burst: number): MeterConfig => ({
  id,
  unit: "pps",
  bands: [{ rate, burst }],
});
const kbps = (id: number, rate: number, burst: number): MeterConfig => ({
  ...pps(id, rate, burst),
  unit: "kbps",
});

/** How many of `count` packets pass at once. */
function passing(
  reader: MeterReader,
  id: number,
  count: number,
  size: number,
  nowMs: number,
): number {
  let passed = 0;
  for (let n = 0; n < count; n++) if (!reader.check(id, size, nowMs)) passed++;
  return passed;
}

Deno.test("MeterReader: a meter that is not there lets all pass", () => {
  const { table, reader } = make(pps(1, 1, 0));
  assert.equal(reader.check(2, 100, 1000), false);
  assert.equal(reader.check(1, 100, 1000), true);
  table.delete(1);
  assert.equal(reader.check(1, 100, 1000), false);
  assert.equal(table.stats(1), undefined);
  assert.equal(table.delete(1), undefined);
});

Deno.test("MeterReader: pps: a full bucket at first, then the rate, by the millisecond", () => {
  const { reader } = make(pps(7, 100, 5));
  assert.equal(passing(reader, 7, 20, 1500, 1000), 5);
  assert.equal(passing(reader, 7, 20, 1500, 1009.9), 0);
  assert.equal(passing(reader, 7, 20, 1500, 1010), 1);
  assert.equal(passing(reader, 7, 20, 1500, 1040), 3);
  assert.equal(passing(reader, 7, 20, 1500, 9999), 5);
});

Deno.test("MeterReader: kbps: bits, so that small packets pass more often", () => {
  const { reader } = make(kbps(7, 1000, 10));
  assert.equal(passing(reader, 7, 100, 125, 1000), 10);
  assert.equal(reader.check(7, 126, 1001), true);
  assert.equal(reader.check(7, 125, 1001), false);
});

Deno.test("MeterReader: a thread whose time lags behind another's fills nothing, nor does the other again", () => {
  const { reader } = make(pps(7, 1000, 2));
  assert.equal(passing(reader, 7, 9, 100, 1000), 2);
  assert.equal(reader.check(7, 100, 999), true);
  assert.equal(reader.check(7, 100, 1000), true);
  assert.equal(passing(reader, 7, 2, 100, 1001), 1);
  for (let round = 0; round < 9; round++) {
    assert.equal(passing(reader, 7, 2, 100, 1000), 0);
    assert.equal(passing(reader, 7, 2, 100, 1001), 0);
  }
});

Deno.test("MeterReader: the largest rates and bursts don't overflow", () => {
  const most = 0xffff_ffff;
  const { reader } = make(kbps(1, most, most), kbps(most, 1, most));
  for (const id of [1, most]) {
    assert.equal(reader.check(id, 65535, 1000), false);
    assert.equal(reader.check(id, 65535, Number.MAX_SAFE_INTEGER / 2), false);
  }
});

Deno.test("MeterTable: of several bands that a packet exceeds, the one with the highest rate counts it", () => {
  const bands = [{ rate: 1, burst: 4 }, { rate: 3, burst: 2 }, { rate: 2, burst: 1 }];
  const { table, reader } = make({ id: 5, unit: "pps", bands });
  assert.deepEqual([1, 2, 3, 4].map(() => reader.check(5, 10, 1000)), [false, true, true, true]);
  const counts = table.stats(5)!;
  assert.deepEqual(counts, {
    packets: 4,
    bytes: 40,
    bands: [{ packets: 0, bytes: 0 }, { packets: 2, bytes: 20 }, { packets: 1, bytes: 10 }],
    sinceMs: 1000,
  });
});

Deno.test("MeterTable: without bands a meter counts only", () => {
  const { table, reader } = make({ id: 5, unit: "pps", bands: [] });
  assert.equal(passing(reader, 5, 3, 10, 1000), 3);
  assert.deepEqual(table.stats(5), { packets: 3, bytes: 30, bands: [], sinceMs: 1000 });
});

Deno.test("MeterTable.set: again: full buckets, nothing counted, and what was", () => {
  const { table, reader } = make(pps(7, 1, 1));
  passing(reader, 7, 3, 10, 1000);
  const former = table.set(pps(7, 1, 2), 1001);
  const bands = [{ packets: 2, bytes: 20 }];
  assert.deepEqual(former, { packets: 3, bytes: 30, bands, sinceMs: 1000 });
  assert.equal(table.stats(7)!.packets, 0);
  assert.equal(table.stats(7)!.sinceMs, 1001);
  assert.equal(passing(reader, 7, 3, 10, 1000), 2);
  assert.deepEqual(table.get(7), pps(7, 1, 2));
});

Deno.test("MeterTable.set: refuses what can't be", () => {
  const { table } = make();
  const band = { rate: 1, burst: 1 };
  for (
    const config of [
      pps(-1, 1, 1),
      pps(2 ** 32, 1, 1),
      pps(1, 0, 1),
      pps(1, 1.5, 1),
      pps(1, 1, 2 ** 32),
      { ...pps(1, 1, 1), bands: new Array(METER_BANDS_MAX + 1).fill(band) },
    ]
  ) {
    assert.throws(() => table.set(config, 0), RuleError);
  }
  assert.deepEqual(table.ids(), []);
});

Deno.test("MeterTable: as many as there may be, and one more is refused", () => {
  const { table, reader } = make();
  for (let n = 0; n < METERS_MAX; n++) table.set(pps(Math.imul(n, 0x10001) >>> 0, 1, 0), 0);
  assert.throws(() => table.set(pps(0xfffffffe, 1, 0), 0), { code: "ENOSPC" });
  assert.equal(table.ids().length, METERS_MAX);
  for (let n = 0; n < METERS_MAX; n += 97) {
    assert.equal(reader.check(Math.imul(n, 0x10001) >>> 0, 1, 0), true);
  }
});

Deno.test("MeterTable: is found or not as a map would have it, whatever is set and deleted", () => {
  const { table, reader } = make();
  const random = seededRandom(1);
  const wanted = new Set<number>();
  for (let step = 0; step < 50_000; step++) {
    const id = Math.imul(random(64), 0x8001) + random(4) * 2 ** 30 >>> 0;
    if (random(2) === 0) {
      table.set(pps(id, 1, 0), 0);
      wanted.add(id);
    } else {
      table.delete(id);
      wanted.delete(id);
    }
    const asked = Math.imul(random(64), 0x8001) + random(4) * 2 ** 30 >>> 0;
    assert.equal(reader.check(asked, 1, 0), wanted.has(asked));
  }
  assert.deepEqual(table.ids(), [...wanted].sort((one, other) => one - other));
});

Deno.test("MeterReader: matches a bucket kept in exact integers", () => {
  const random = seededRandom(2);
  for (let run = 0; run < 100; run++) {
    const isKbps = random(2) === 0;
    const rate = 1 + random(random(2) === 0 ? 100 : 1_000_000);
    const burst = random(random(2) === 0 ? 50 : 1_000_000);
    const { reader } = make({ ...pps(1, rate, burst), unit: isKbps ? "kbps" : "pps" });
    let bucket = BigInt(burst) * 1000n;
    let used = 1000;
    for (let packet = 0; packet < 200; packet++) {
      const now = used + random(random(3) === 0 ? 10_000 : 3);
      const size = 14 + random(1500);
      bucket += BigInt(now - used) * BigInt(rate);
      if (bucket > BigInt(burst) * 1000n) bucket = BigInt(burst) * 1000n;
      used = now;
      const cost = isKbps ? BigInt(size) * 8n : 1000n;
      assert.equal(reader.check(1, size, now), bucket < cost);
      if (bucket >= cost) bucket -= cost;
    }
  }
});
