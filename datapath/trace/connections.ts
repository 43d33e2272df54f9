/**
 * A connection tracker of a trace's own, with copies of a datapath's connections: what a traced packet
 * opens or changes stays in it. Helpers' states and expectations are left out, and zone counts are of
 * what was copied.
 */
import {
  BUCKETS,
  CONFIRMED,
  CONNECTIONS_LIMIT,
  type ConntrackBuffers,
  DYING,
  EXPIRES,
  EXTENSION,
  EXTENSION_HIGH,
  EXTENSION_WORDS,
  FRAGMENT_SIZE_MIN,
  FRAGMENTS_LIMIT,
  FRAGMENTS_OFF,
  HASH,
  HELPER,
  HIGH_WATER,
  LOCK,
  makeConntrackBuffers,
  MASTER,
  MASTER_ID,
  META,
  NEXT,
  RECORD_WORDS,
  SEQ_ADJUST,
  STATUS,
  TCP_UNCHECKED,
  TUPLE_DST,
  TUPLE_SRC,
  TUPLE_STRIDE,
  WIDE_WORDS,
  ZONE_LIMIT_DEFAULT,
} from "../conntrack/layout.ts";
import { allocateRecord } from "../conntrack/record_allocator.ts";
import { lock, unlock } from "../spin_lock.ts";
import { Table } from "../conntrack/table.ts";
import { setDefaultTimeouts } from "../conntrack/timeouts.ts";

/** Words of the control block that commands set. */
const SETTINGS: readonly number[] = [
  ...[ZONE_LIMIT_DEFAULT, TCP_UNCHECKED, FRAGMENTS_OFF, FRAGMENTS_LIMIT],
  ...[FRAGMENT_SIZE_MIN, FRAGMENT_SIZE_MIN + 1],
];

/** Connections up to which all are copied; of more, those that have an address in common with a packet. */
const COPIED_MAX = 65536;
/** Records looked at before others may run. */
const SLICE = 1024;

/** A tracker's memory that is used again and again. */
export class PrivateTracker {
  readonly #buffers: ConntrackBuffers = makeConntrackBuffers({
    connectionsMax: 2 * COPIED_MAX,
    threads: 1,
    seed: new Uint8Array(16),
  });
  /** The control block of a tracker that was just made. */
  readonly #control: Int32Array = new Int32Array(this.#buffers.control).slice();

  /** Without connections, as one that was just made. */
  empty(): ConntrackBuffers {
    const buffers = this.#buffers;
    const control = new Int32Array(buffers.control);
    const records = control[HIGH_WATER]!;
    new Int32Array(buffers.records).fill(0, 0, records * RECORD_WORDS);
    new Int32Array(buffers.wide).fill(0, 0, records * WIDE_WORDS);
    new Int32Array(buffers.sourceNext).fill(0, 0, records);
    new Int32Array(buffers.extensions).fill(0, 0, control[EXTENSION_HIGH]! * EXTENSION_WORDS);
    new Int32Array(buffers.heads).fill(0, 0, control[BUCKETS]);
    const others = ["locks", "expectations", "policies", "sourceHeads", "sourceLocks"] as const;
    const zones = ["zoneCounts", "zoneLimits", "zoneLimited", "stats"] as const;
    for (const name of [...others, ...zones]) new Uint8Array(buffers[name]).fill(0);
    control.set(this.#control);
    setDefaultTimeouts(buffers);
    return buffers;
  }
}

/** A tracker without connections, as one that was just made. */
export function makePrivateTracker(): ConntrackBuffers {
  return new PrivateTracker().empty();
}

/**
 * Copies settings and live connections into a fresh tracker of {@link makePrivateTracker}, a slice
 * between two yields. `addresses`: lowest words of the packets' addresses, as tuples have them.
 */
export function* copyConnections(
  from: ConntrackBuffers,
  to: ConntrackBuffers,
  { nowMs, addresses }: { readonly nowMs: number; readonly addresses: ReadonlySet<number> },
): Generator<void> {
  const source = new Table(from);
  const target = new Table(to);
  new Int32Array(to.policies).set(new Int32Array(from.policies));
  copyZoneLimits(from, to);
  for (const setting of SETTINGS) target.control[setting] = source.control[setting]!;
  target.now = nowMs | 0;
  const isAll = source.count <= COPIED_MAX;
  const end = Atomics.load(source.control, HIGH_WATER);
  for (let record = 1; record < end; record++) {
    if (record % SLICE === 0) yield;
    const at = record * RECORD_WORDS;
    if ((source.records[at + STATUS]! & (CONFIRMED | DYING)) !== CONFIRMED) continue;
    if (!isAll && !hasAddress(source.records, at, addresses)) continue;
    if (target.count >= COPIED_MAX) return;
    copyRecord(source, record, target, nowMs);
  }
  const limit = source.control[CONNECTIONS_LIMIT]!;
  // A full table refuses new connections: so does the copy.
  target.control[CONNECTIONS_LIMIT] = Math.min(
    target.control[CONNECTIONS_LIMIT]!,
    Math.max(target.count + limit - source.count, target.count),
  );
}

/** Of few zones: memory that is not written costs nothing. */
function copyZoneLimits(from: ConntrackBuffers, to: ConntrackBuffers): void {
  const limited = new Uint8Array(from.zoneLimited);
  const limits = new Int32Array(from.zoneLimits);
  for (let zone = limited.indexOf(1); zone >= 0; zone = limited.indexOf(1, zone + 1)) {
    new Uint8Array(to.zoneLimited)[zone] = 1;
    new Int32Array(to.zoneLimits)[zone] = limits[zone]!;
  }
}

function hasAddress(
  records: Int32Array,
  at: number,
  addresses: ReadonlySet<number>,
): boolean {
  return [TUPLE_SRC, TUPLE_DST, TUPLE_SRC + TUPLE_STRIDE, TUPLE_DST + TUPLE_STRIDE].some((word) =>
    addresses.has(records[at + word]!)
  );
}

function copyRecord(source: Table, record: number, target: Table, nowMs: number): void {
  const own = allocateRecord(target);
  if (own === 0) return;
  const at = record * RECORD_WORDS;
  const to = own * RECORD_WORDS;
  lock(source.records, at + LOCK);
  target.records.set(source.records.subarray(at, at + RECORD_WORDS), to);
  const wideAt = record * WIDE_WORDS;
  if ((source.records[at + META]! & 0xff) === 6) {
    target.wide.set(source.wide.subarray(wideAt, wideAt + WIDE_WORDS), own * WIDE_WORDS);
  }
  unlock(source.records, at + LOCK);
  const { records } = target;
  const status = records[to + STATUS]!;
  const isLive = (status & (CONFIRMED | DYING)) === CONFIRMED &&
    ((records[to + EXPIRES]! - nowMs) | 0) > 0;
  records[to + LOCK] = 0;
  records[to + STATUS] = status & ~(CONFIRMED | SEQ_ADJUST | HELPER);
  for (const word of [NEXT, NEXT + 2, HASH, HASH + 2, EXTENSION, MASTER, MASTER_ID]) {
    records[to + word] = 0;
  }
  if (isLive) target.link(own);
}
