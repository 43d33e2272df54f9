/**
 * The control side of connection tracking: dump, flush, limits, statistics and the sweep, for commands
 * in the shapes of `ovs-dpctl dump-conntrack` and its kin. Works on the shared memory while packet
 * threads do; everything that visits the whole table does so in slices.
 */
import { Expectation, Expectations } from "./expectations.ts";
import { type FragmentStatus, fragmentStatus } from "./fragment_control.ts";
import {
  BUCKETS,
  CONFIRMED,
  CONNECTIONS_LIMIT,
  type ConntrackBuffers,
  COUNTERS,
  DYING,
  EXPECTATIONS_MAX,
  EXPIRES,
  HIGH_WATER,
  ID,
  LABELS,
  MARK,
  MASTER,
  MASTER_ID,
  META,
  NEXT,
  POLICY,
  RECORD_DOUBLES,
  RECORD_WORDS,
  recordsFor,
  STARTED,
  STAT_STRIDE,
  STATUS,
  SWEEP_CURSOR,
  TCP_UNCHECKED,
  ZONE_LIMIT_DEFAULT,
} from "./layout.ts";
import { HELPER_NAMES } from "./plan.ts";
import { CT_INVALIDS } from "./reasons.ts";
import { STAT_EXPIRED, STAT_INVALID_REASONS, STAT_NAMES } from "./stats.ts";
import { Table } from "./table.ts";
import { tcpStateOf } from "./tcp.ts";
import { TCP_STATE_NAMES } from "./tcp_states.ts";
import { sideFlags, sideScale } from "./tcp_window.ts";
import {
  areWordsMet,
  type ConnectionFilter,
  type ConnectionInfo,
  type ConnectionTuple,
  type ExpectedInfo,
  isLabelMet,
  type TupleFilter,
  tupleInfo,
} from "./connection_info.ts";
import { IPPROTO_TCP, makeTuple, T_META } from "./tuple.ts";

/** Connections by protocol number, and those of TCP by state's name. */
export interface ConnectionCounts {
  total: number;
  readonly byProtocol: Map<number, number>;
  readonly byTcpState: Map<string, number>;
}

/** Records visited at a time by what visits all of them: about a millisecond. */
export const SLICE = 2048;

/** One per control isolate. */
export class ConntrackControl {
  readonly #buffers: ConntrackBuffers;
  readonly table: Table;
  readonly #expectations: Expectations;
  readonly #stats: Float64Array;
  readonly #zoneLimits: Int32Array;
  readonly #zoneLimited: Uint8Array;
  readonly #tuple = makeTuple();

  constructor(buffers: ConntrackBuffers) {
    this.#buffers = buffers;
    this.table = new Table(buffers);
    this.#expectations = new Expectations(buffers);
    this.#stats = new Float64Array(buffers.stats);
    this.#zoneLimits = new Int32Array(buffers.zoneLimits);
    this.#zoneLimited = new Uint8Array(buffers.zoneLimited);
  }

  /** Connections in the table, expired ones that nobody met yet included. */
  get count(): number {
    return this.table.count;
  }

  /** What the table was made for. */
  get connectionsLimit(): number {
    return this.#buffers.recordsMax - recordsFor(0, this.#buffers.threads);
  }

  /** Most connections; new ones are refused beyond. Existing ones stay when it is lowered. */
  get connectionsMax(): number {
    return this.table.control[CONNECTIONS_LIMIT]!;
  }

  /** Throws RangeError beyond what the table was made for. */
  set connectionsMax(value: number) {
    const most = this.connectionsLimit;
    if (!Number.isInteger(value) || value < 0 || value > most) {
      throw new RangeError(
        `Cannot set maxconns: must be 0 … ${most}, not ${value}`,
      );
    }
    Atomics.store(this.table.control, CONNECTIONS_LIMIT, value);
  }

  /** Whether TCP segments are checked against the windows, and resets against what was acknowledged. */
  get tcpSequenceCheck(): boolean {
    return this.table.control[TCP_UNCHECKED] === 0;
  }

  set tcpSequenceCheck(isOn: boolean) {
    Atomics.store(this.table.control, TCP_UNCHECKED, isOn ? 0 : 1);
  }

  /** Limit of zones without their own; 0: none. Unsigned 32 bits. */
  get defaultLimit(): number {
    return this.table.control[ZONE_LIMIT_DEFAULT]! >>> 0;
  }

  set defaultLimit(limit: number) {
    this.table.control[ZONE_LIMIT_DEFAULT] = limit | 0;
  }

  /** A zone's limit, undefined: it has none of its own. */
  zoneLimit(zone: number): number | undefined {
    return this.#zoneLimited[zone] === 1 ? this.#zoneLimits[zone]! >>> 0 : undefined;
  }

  /** Undefined: the default counts again. 0: no limit. */
  setZoneLimit(zone: number, limit: number | undefined): void {
    this.#zoneLimits[zone] = (limit ?? 0) | 0;
    this.#zoneLimited[zone] = limit === undefined ? 0 : 1;
  }

  zoneCount(zone: number): number {
    return Atomics.load(this.table.zoneCounts, zone);
  }

  /** Zones that have a limit of their own, ascending. */
  limitedZones(): number[] {
    const zones: number[] = [];
    for (let zone = 0; zone < this.#zoneLimited.length; zone++) {
      if (this.#zoneLimited[zone] === 1) zones.push(zone);
    }
    return zones;
  }

  /** Counters over all threads by name (stats.ts). */
  stats(): Record<typeof STAT_NAMES[number], number> {
    const total = STAT_NAMES.map((_, stat) => {
      let sum = 0;
      for (let at = stat; at < this.#stats.length; at += STAT_STRIDE) sum += this.#stats[at]!;
      return sum;
    });
    return Object.fromEntries(STAT_NAMES.map((name, at) => [name, total[at]])) as Record<
      typeof STAT_NAMES[number],
      number
    >;
  }

  /** Invalid packets over all threads by reason's name (reasons.ts), those that there were. */
  invalidCounts(): Map<string, number> {
    const counts = new Map<string, number>();
    CT_INVALIDS.forEach(([name], reason) => {
      let sum = 0;
      for (let at = STAT_INVALID_REASONS + reason; at < this.#stats.length; at += STAT_STRIDE) {
        sum += this.#stats[at]!;
      }
      if (sum > 0) counts.set(name, sum);
    });
    return counts;
  }

  /** Removes expired connections among the next `budget` records. Returns how many there were. */
  sweep(nowMs: number, budget: number): number {
    const { table } = this;
    table.now = nowMs | 0;
    const high = Atomics.load(table.control, HIGH_WATER);
    let from = Atomics.add(table.control, SWEEP_CURSOR, budget);
    if (from >= high) {
      Atomics.store(table.control, SWEEP_CURSOR, 1 + budget);
      from = 1;
      this.#expectations.sweep(table.now);
    }
    const end = Math.min(high, from + budget);
    let removed = 0;
    for (let record = from; record < end; record++) {
      const at = record * RECORD_WORDS;
      if ((table.records[at + STATUS]! & (CONFIRMED | DYING)) !== CONFIRMED) continue;
      if (((table.records[at + EXPIRES]! - table.now) | 0) > 0 || !table.lockLive(record)) continue;
      if (((table.records[at + EXPIRES]! - table.now) | 0) > 0) table.unlockRecord(record);
      else if (table.kill(record)) removed++;
    }
    const block = this.#buffers.threads * STAT_STRIDE;
    this.#stats[block + STAT_EXPIRED] = this.#stats[block + STAT_EXPIRED]! + removed;
    return removed;
  }

  /**
   * Visits a slice of the table from record `cursor` on (1: the begin) and removes what meets the
   * filter. Returns where the next slice begins, 0: that was all.
   */
  flush(nowMs: number, filter: ConnectionFilter, cursor: number): number {
    return this.#visit(nowMs, cursor, (record) => {
      if (this.#meets(record, filter)) this.table.kill(record);
      else this.table.unlockRecord(record);
    });
  }

  /** As {@link flush}, but gives what meets the filter to `found`. */
  dump(
    nowMs: number,
    filter: ConnectionFilter,
    cursor: number,
    found: (connection: ConnectionInfo) => void,
  ): number {
    return this.#visit(nowMs, cursor, (record) => {
      const info = this.#meets(record, filter) ? this.#read(record) : undefined;
      const at = record * RECORD_WORDS;
      const master = this.table.records[at + MASTER]!;
      const masterId = this.table.records[at + MASTER_ID]!;
      this.table.unlockRecord(record);
      if (info === undefined) return;
      found(master === 0 ? info : { ...info, parent: this.#readOriginal(master, masterId) });
    });
  }

  /** As {@link flush}, but adds to `counts`. */
  tally(nowMs: number, zone: number | undefined, cursor: number, counts: ConnectionCounts): number {
    const { records } = this.table;
    const add = <K>(map: Map<K, number>, key: K): void => {
      map.set(key, (map.get(key) ?? 0) + 1);
    };
    return this.#visit(nowMs, cursor, (record) => {
      const at = record * RECORD_WORDS;
      const meta = records[at + META]!;
      const state = tcpStateOf(records, at);
      this.table.unlockRecord(record);
      if (zone !== undefined && meta >>> 16 !== zone) return;
      const protocol = (meta >>> 8) & 0xff;
      counts.total++;
      add(counts.byProtocol, protocol);
      if (protocol === IPPROTO_TCP) add(counts.byTcpState, TCP_STATE_NAMES[state] ?? "NONE");
    });
  }

  /** Calls `visit` with each live connection of a slice, locked; it must unlock. */
  #visit(nowMs: number, cursor: number, visit: (record: number) => void): number {
    const { table } = this;
    table.now = nowMs | 0;
    const high = Atomics.load(table.control, HIGH_WATER);
    const end = Math.min(high, cursor + SLICE);
    for (let record = Math.max(1, cursor); record < end; record++) {
      if (!table.lockLive(record)) continue;
      const expires = table.records[record * RECORD_WORDS + EXPIRES]!;
      if (((expires - table.now) | 0) <= 0) table.kill(record);
      else visit(record);
    }
    return end < high ? end : 0;
  }

  /** Expected connections whose time is not over. */
  expected(nowMs: number): ExpectedInfo[] {
    this.table.now = nowMs | 0;
    const found: ExpectedInfo[] = [];
    const one = new Expectation();
    for (let at = 0; at < EXPECTATIONS_MAX; at++) {
      if (!this.#expectations.read(at, one)) continue;
      // What is read is when it ends.
      const leftMs = (one.timeoutMs - this.table.now) | 0;
      if (leftMs <= 0) continue;
      found.push({
        zone: one.tuple[T_META]! >>> 16,
        tuple: tupleInfo(one.tuple),
        timeoutSeconds: Math.floor(leftMs / 1000),
        helper: this.#helperOf(one.master, one.masterId),
        parent: this.#readOriginal(one.master, one.masterId),
      });
    }
    return found;
  }

  /** Packet threads. */
  get threads(): number {
    return this.#buffers.threads;
  }

  /** Settings and counters of the reassembly of fragments. */
  fragmentStatus(): FragmentStatus {
    return fragmentStatus(this.#buffers);
  }

  /** Buckets, and how many entries a run of them has. For `ct-bkts`. */
  buckets(): { readonly count: number; readonly fill: (from: number, count: number) => number[] } {
    const { control, heads, records } = this.table;
    const fill = (from: number, count: number): number[] => {
      const fills: number[] = [];
      for (let bucket = from; bucket < from + count; bucket++) {
        let entries = 0;
        let node = heads[bucket] ?? 0;
        while (node !== 0 && entries < 1000) {
          entries++;
          node = records[(node >>> 1) * RECORD_WORDS + NEXT + ((node & 1) << 1)]!;
        }
        fills.push(entries);
      }
      return fills;
    };
    return { count: Atomics.load(control, BUCKETS), fill };
  }

  #meets(record: number, filter: ConnectionFilter): boolean {
    const { records } = this.table;
    const at = record * RECORD_WORDS;
    const { zone, mark, labels, original, reply } = filter;
    if (zone !== undefined && records[at + META]! >>> 16 !== zone) return false;
    if (mark !== undefined && ((records[at + MARK]! ^ mark.value) & mark.mask) !== 0) return false;
    if (labels !== undefined && !isLabelMet(this.#labels(at), labels.value, labels.mask)) {
      return false;
    }
    if (original !== undefined && !this.#isNodeMet(record << 1, original)) return false;
    return reply === undefined || this.#isNodeMet(record << 1 | 1, reply);
  }

  #isNodeMet(node: number, filter: TupleFilter): boolean {
    this.table.getTuple(node, this.#tuple);
    return areWordsMet(this.#tuple, filter);
  }

  #read(record: number): ConnectionInfo {
    const { records, doubles } = this.table;
    const at = record * RECORD_WORDS;
    const counters = record * RECORD_DOUBLES + COUNTERS;
    const original = this.#readTuple(record << 1);
    return {
      id: records[at + ID]! >>> 0,
      zone: records[at + META]! >>> 16,
      original,
      reply: this.#readTuple(record << 1 | 1),
      countersOriginal: { packets: doubles[counters]!, bytes: doubles[counters + 1]! },
      countersReply: { packets: doubles[counters + 2]!, bytes: doubles[counters + 3]! },
      startMs: doubles[record * RECORD_DOUBLES + STARTED]!,
      timeoutSeconds: Math.floor(((records[at + EXPIRES]! - this.table.now) | 0) / 1000),
      status: records[at + STATUS]!,
      mark: records[at + MARK]! >>> 0,
      labels: this.#labels(at),
      tcp: original.protocol !== IPPROTO_TCP ? undefined : {
        state: TCP_STATE_NAMES[tcpStateOf(records, at)] ?? "NONE",
        scaleOriginal: sideScale(records, at, 0),
        scaleReply: sideScale(records, at, 1),
        flagsOriginal: sideFlags(records, at, 0),
        flagsReply: sideFlags(records, at, 1),
      },
      helper: HELPER_NAMES[records[at + POLICY]! >>> 16] ?? "",
      parent: undefined,
    };
  }

  #labels(at: number): string {
    const bytes = new Uint8Array(16);
    for (let byte = 0; byte < 16; byte++) {
      bytes[byte] = this.table.records[at + LABELS + (byte >> 2)]! >>> ((byte & 3) * 8);
    }
    return bytes.toHex();
  }

  #readTuple(node: number): ConnectionTuple {
    this.table.getTuple(node, this.#tuple);
    return tupleInfo(this.#tuple);
  }

  /** Empty: it has gone. */
  #helperOf(record: number, id: number): string {
    if (!this.table.lockRecord(record, id)) return "";
    const helper = this.table.records[record * RECORD_WORDS + POLICY]! >>> 16;
    this.table.unlockRecord(record);
    return HELPER_NAMES[helper] ?? "";
  }

  #readOriginal(record: number, id: number): ConnectionTuple | undefined {
    if (!this.table.lockRecord(record, id)) return undefined;
    const tuple = this.#readTuple(record << 1);
    this.table.unlockRecord(record);
    return tuple;
  }
}
