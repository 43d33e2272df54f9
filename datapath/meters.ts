/**
 * Meters: token buckets as the kernel's (net/openvswitch/meter.c), in shared memory, so that all packet
 * threads of a datapath take from one bucket.
 *
 * A bucket is filled by the millisecond, counts bits (kbps) or thousandths of packets (pps) and starts
 * full. A packet that a band's bucket has no room for exceeds the band; of several such bands the one
 * with the highest rate counts it. All bands drop. One difference: the kernel rounds down the time that
 * fills a bucket, which it takes into account at most; a bucket smaller than a millisecond's worth then
 * never fills again. Here it is rounded up.
 *
 * In memory: a hash table of slots found by linear probing, and a record per slot. A slot's number
 * stays when its meter goes, so that readers never miss what lies behind it, and is used again. The
 * record is guarded by a lock of its own (spin_lock.ts), held for a few nanoseconds. Of a thread that
 * dies meanwhile, a packet is charged to some bands and not to others.
 */
import { RuleError } from "./errors.ts";
import { lock, unlock } from "./spin_lock.ts";

/** Most meters of a datapath. */
export const METERS_MAX = 65536;
/** Most bands of a meter; the kernel has 1, Open vSwitch's own datapath 8. */
export const METER_BANDS_MAX = 8;

/** A band drops what exceeds its rate. */
export interface MeterBand {
  /** 1 … 2^32 − 1, kilobits or packets per second. */
  readonly rate: number;
  /** Size of the bucket, 0 … 2^32 − 1, kilobits or packets. */
  readonly burst: number;
}

/** What a meter is set to. */
export interface MeterConfig {
  /** Unsigned, 32 bits. */
  readonly id: number;
  readonly unit: "kbps" | "pps";
  /** 0 … METER_BANDS_MAX. */
  readonly bands: readonly MeterBand[];
}

/** Packets and bytes, exact up to 2^53. */
export interface MeterCount {
  readonly packets: number;
  readonly bytes: number;
}

/** What has gone through a meter since it was set, and what each band has dropped of it. */
export interface MeterStats extends MeterCount {
  /** When it was set, by the clock that it was set with. */
  readonly sinceMs: number;
  readonly bands: readonly MeterCount[];
}

/** Slots: a power of two, twice as many as meters. */
const SLOTS = 2 * METERS_MAX;
/** Leaves as many bits of a hash as a slot's number has. */
const HASH_SHIFT = 15;

// Words of a slot.
const SLOT_WORDS = 4;
const ID = 0;
const STATE = 1;
const LOCK = 2;
const EMPTY = 0;
const LIVE = 1;
const GONE = 2;

// Doubles of a record: integers below 2^53.
const USED = 0;
const FULL_MS = 1;
const PACKETS = 2;
const BYTES = 3;
const IS_KBPS = 4;
const BAND_COUNT = 5;
const BANDS = 8;
const BAND_LENGTH = 8;
/** In a band: rate, bucket size, fill, packets and bytes dropped. */
const RATE = 0;
const BUCKET_SIZE = 1;
const FILL = 2;
const BAND_PACKETS = 3;
const BAND_BYTES = 4;
const RECORD_LENGTH = BANDS + METER_BANDS_MAX * BAND_LENGTH;

/** Memory of a datapath's meters. Structured-clonable; only meters that are used cost memory. */
export interface MeterMemory {
  readonly slots: SharedArrayBuffer;
  readonly records: SharedArrayBuffer;
}

/** Reserves it. */
export function makeMeterMemory(): MeterMemory {
  return {
    slots: new SharedArrayBuffer(SLOTS * SLOT_WORDS * 4),
    records: new SharedArrayBuffer(SLOTS * RECORD_LENGTH * 8),
  };
}

/** A packet thread's view. */
export class MeterReader {
  readonly #slots: Int32Array<SharedArrayBuffer>;
  readonly #records: Float64Array;

  constructor(memory: MeterMemory) {
    this.#slots = new Int32Array(memory.slots);
    this.#records = new Float64Array(memory.records);
  }

  /**
   * Counts a packet of `size` bytes. True: it exceeds a band and is to be dropped. A meter that is not
   * there lets all pass. `nowMs`: monotonic; what lies behind another thread's time is its now.
   */
  check(id: number, size: number, nowMs: number): boolean {
    const slots = this.#slots;
    const slot = findSlot(slots, id | 0);
    if (slot < 0) return false;
    const at = slot * SLOT_WORDS;
    lock(slots, at + LOCK);
    // The slot may have become another meter's.
    const isOver = slots[at + STATE] === LIVE && slots[at + ID] === (id | 0) &&
      charge(this.#records, slot * RECORD_LENGTH, size, Math.floor(nowMs));
    unlock(slots, at + LOCK);
    return isOver;
  }
}

/** A view for traces: tells what {@link MeterReader} would say, and counts nothing. */
export class MeterPeeker {
  readonly #slots: Int32Array<SharedArrayBuffer>;
  readonly #records: Float64Array;

  constructor(memory: MeterMemory) {
    this.#slots = new Int32Array(memory.slots);
    this.#records = new Float64Array(memory.records);
  }

  /** Whether a packet of `size` bytes would exceed a band now. */
  check(id: number, size: number, nowMs: number): boolean {
    const slot = findSlot(this.#slots, id | 0);
    if (slot < 0) return false;
    const lockAt = slot * SLOT_WORDS + LOCK;
    lock(this.#slots, lockAt);
    const record = this.#records.slice(slot * RECORD_LENGTH, (slot + 1) * RECORD_LENGTH);
    unlock(this.#slots, lockAt);
    return charge(record, 0, size, Math.floor(nowMs));
  }
}

/** The control side: the one that sets and deletes. */
export class MeterTable {
  readonly #slots: Int32Array<SharedArrayBuffer>;
  readonly #records: Float64Array;
  /** Slot of each meter. */
  readonly #meters = new Map<number, { slot: number; config: MeterConfig; sinceMs: number }>();

  constructor(memory: MeterMemory) {
    this.#slots = new Int32Array(memory.slots);
    this.#records = new Float64Array(memory.records);
  }

  /**
   * Makes a meter, or makes one anew with full buckets and nothing counted, as the kernel's
   * OVS_METER_CMD_SET does. Returns what the former one has counted. RuleError EINVAL: it is not one
   * that can be; ENOSPC: there are METERS_MAX. Nothing is changed then.
   */
  set(config: MeterConfig, nowMs: number): MeterStats | undefined {
    checkConfig(config);
    const former = this.#meters.get(config.id);
    if (former === undefined && this.#meters.size === METERS_MAX) {
      throw new RuleError("ENOSPC", `there can't be more than ${METERS_MAX} meters`);
    }
    const stats = this.stats(config.id);
    const slot = former?.slot ?? freeSlot(this.#slots, config.id | 0);
    const at = slot * SLOT_WORDS;
    lock(this.#slots, at + LOCK);
    writeRecord(this.#records, slot * RECORD_LENGTH, config, Math.floor(nowMs));
    this.#slots[at + ID] = config.id | 0;
    Atomics.store(this.#slots, at + STATE, LIVE);
    unlock(this.#slots, at + LOCK);
    this.#meters.set(config.id, { slot, config, sinceMs: nowMs });
    return stats;
  }

  /** Removes a meter: packets pass from then on. Returns what it has counted; undefined: it is not there. */
  delete(id: number): MeterStats | undefined {
    const meter = this.#meters.get(id);
    if (meter === undefined) return undefined;
    const stats = this.stats(id);
    const at = meter.slot * SLOT_WORDS;
    lock(this.#slots, at + LOCK);
    Atomics.store(this.#slots, at + STATE, GONE);
    unlock(this.#slots, at + LOCK);
    clearEnd(this.#slots, meter.slot);
    this.#meters.delete(id);
    return stats;
  }

  /** What a meter is set to. */
  get(id: number): MeterConfig | undefined {
    return this.#meters.get(id)?.config;
  }

  /** Numbers of all meters, ascending. */
  ids(): number[] {
    return [...this.#meters.keys()].sort((one, other) => one - other);
  }

  /** What a meter has counted. */
  stats(id: number): MeterStats | undefined {
    const meter = this.#meters.get(id);
    if (meter === undefined) return undefined;
    const { slot, config, sinceMs } = meter;
    const records = this.#records;
    const at = slot * RECORD_LENGTH;
    lock(this.#slots, slot * SLOT_WORDS + LOCK);
    const bands = config.bands.map((_, index) => {
      const band = at + BANDS + index * BAND_LENGTH;
      return { packets: records[band + BAND_PACKETS]!, bytes: records[band + BAND_BYTES]! };
    });
    const stats = { packets: records[at + PACKETS]!, bytes: records[at + BYTES]!, bands, sinceMs };
    unlock(this.#slots, slot * SLOT_WORDS + LOCK);
    return stats;
  }
}

function checkConfig(config: MeterConfig): void {
  const isWord = (value: number): boolean =>
    Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
  const refuse = (problem: string): never => {
    throw new RuleError("EINVAL", `meter ${config.id}: ${problem}`);
  };
  if (!isWord(config.id)) refuse("the number must have 32 bits");
  if (config.bands.length > METER_BANDS_MAX) refuse(`at most ${METER_BANDS_MAX} bands`);
  for (const { rate, burst } of config.bands) {
    if (!isWord(rate) || rate === 0) refuse("a band's rate must be 1 … 4294967295");
    if (!isWord(burst)) refuse("a band's burst must be 0 … 4294967295");
  }
}

function writeRecord(records: Float64Array, at: number, config: MeterConfig, nowMs: number): void {
  records.fill(0, at, at + RECORD_LENGTH);
  records[at + USED] = nowMs;
  records[at + IS_KBPS] = config.unit === "kbps" ? 1 : 0;
  records[at + BAND_COUNT] = config.bands.length;
  config.bands.forEach(({ rate, burst }, index) => {
    const band = at + BANDS + index * BAND_LENGTH;
    const size = burst * 1000;
    records[band + RATE] = rate;
    records[band + BUCKET_SIZE] = size;
    records[band + FILL] = size;
    records[at + FULL_MS] = Math.max(records[at + FULL_MS]!, Math.ceil(size / rate));
  });
}

/** Takes a packet's cost from the buckets. Returns whether it exceeds a band. */
function charge(records: Float64Array, at: number, size: number, nowMs: number): boolean {
  const used = records[at + USED]!;
  // More time than fills every bucket counts as that much.
  const elapsedMs = Math.min(Math.max(nowMs - used, 0), records[at + FULL_MS]!);
  // Threads look at the clock once a round: if the time went back, the next one would fill up twice.
  records[at + USED] = Math.max(used, nowMs);
  records[at + PACKETS]! += 1;
  records[at + BYTES]! += size;
  const cost = records[at + IS_KBPS] === 1 ? size * 8 : 1000;
  const end = at + BANDS + records[at + BAND_COUNT]! * BAND_LENGTH;
  let exceeded = -1;
  let exceededRate = 0;
  for (let band = at + BANDS; band < end; band += BAND_LENGTH) {
    const rate = records[band + RATE]!;
    const fill = Math.min(records[band + FILL]! + elapsedMs * rate, records[band + BUCKET_SIZE]!);
    if (fill >= cost) {
      records[band + FILL] = fill - cost;
      continue;
    }
    records[band + FILL] = fill;
    if (rate > exceededRate) {
      exceeded = band;
      exceededRate = rate;
    }
  }
  if (exceeded < 0) return false;
  records[exceeded + BAND_PACKETS]! += 1;
  records[exceeded + BAND_BYTES]! += size;
  return true;
}

function firstSlot(id: number): number {
  return Math.imul(id, 0x9e3779b1 | 0) >>> HASH_SHIFT;
}

/** The meter's slot, −1: none has been set. */
function findSlot(slots: Int32Array<SharedArrayBuffer>, id: number): number {
  let slot = firstSlot(id);
  for (let probes = 0; probes < SLOTS; probes++) {
    const at = slot * SLOT_WORDS;
    const state = Atomics.load(slots, at + STATE);
    if (state === EMPTY) return -1;
    if (state === LIVE && slots[at + ID] === id) return slot;
    slot = (slot + 1) & (SLOTS - 1);
  }
  return -1;
}

/** The first slot for a new meter that has none: there is one, as there are more slots than meters. */
function freeSlot(slots: Int32Array<SharedArrayBuffer>, id: number): number {
  let slot = firstSlot(id);
  while (slots[slot * SLOT_WORDS + STATE] === LIVE) slot = (slot + 1) & (SLOTS - 1);
  return slot;
}

/** A gone slot that nothing lies behind is empty again, and those before it likewise: searches stay short. */
function clearEnd(slots: Int32Array<SharedArrayBuffer>, slot: number): void {
  const next = (slot + 1) & (SLOTS - 1);
  if (slots[next * SLOT_WORDS + STATE] !== EMPTY) return;
  while (slots[slot * SLOT_WORDS + STATE] === GONE) {
    Atomics.store(slots, slot * SLOT_WORDS + STATE, EMPTY);
    slot = (slot - 1) & (SLOTS - 1);
  }
}
