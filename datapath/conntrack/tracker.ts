/**
 * The ct action: what a packet thread calls. One {@link Tracker} per thread over the shared buffers; see
 * layout.ts for how threads share connections.
 *
 * `execute` follows openvswitch.ko (net/openvswitch/conntrack.c): find the packet's connection and let
 * the protocol's tracker judge it, translate it, run helpers, and with commit put a new connection into
 * the table and set its mark and labels. Nothing here throws for what packets contain; invalid packets go
 * on with +trk+inv.
 *
 * Known differences from the kernel's connection tracking (those that its packets show are in
 * tests/oracle/kernel_ct_differences.ts):
 * - A connection that is not committed is forgotten with the packet's ct action; a later commit of the
 *   same packet tracks it again, with the same outcome. The kernel keeps it with the packet.
 * - Two packets that open the same connection at once join one, whatever the protocol; the kernel
 *   drops the loser's packet for all but UDP, UDP-Lite and GRE.
 * - A connection whose translation can't be made unique is dropped; the kernel gives the packet to
 *   the other connection, if that is not translated and its protocol not TCP.
 * - When a master has ended, ct_tuple of the connections it expected is their own.
 * - SCTP and DCCP are followed by addresses, ports and answers, not by their chunks and types.
 * - A zone's limit counts all of its connections, not only those since the limit was set.
 */
import { GSO_NONE, type Packet } from "../packet/packet.ts";
import { clearRecord, meetExpectation } from "./begin.ts";
import { describeConnection, keepDescription } from "./describe.ts";
import { evict } from "./eviction.ts";
import { Expectation, Expectations } from "./expectations.ts";
import { Helpers } from "./helpers.ts";
import { findErrorConnection, ICMP_ERROR, icmpKind } from "./icmp_error.ts";
import {
  CONFIRMED,
  CONNECTIONS_LIMIT,
  type ConntrackBuffers,
  COUNT,
  EXPECTED,
  EXPIRES,
  EXTENSION_HIGH,
  HELPER,
  ID,
  LABELS,
  LOCK,
  MARK,
  NAT_MASK,
  POLICY,
  RECORD_DOUBLES,
  RECORD_WORDS,
  SEEN,
  SEEN_REPLY,
  STARTED,
  STAT_STRIDE,
  STATUS,
  ZONE_LIMIT_DEFAULT,
} from "./layout.ts";
import {
  CT_ESTABLISHED,
  CT_INVALID,
  CT_NAT_MASK,
  CT_NEW,
  CT_RELATED,
  CT_REPLY,
  CT_TRACKED,
  type CtMetadata,
} from "./metadata.ts";
import { INFO_ESTABLISHED, INFO_NEW, INFO_RELATED, Nat } from "./nat.ts";
import type { Random } from "./nat_range.ts";
import {
  PLAN_COMMIT,
  PLAN_FLAGS,
  PLAN_FORCE,
  PLAN_HAS_LABEL,
  PLAN_HELPER,
  PLAN_LABEL,
  PLAN_MARK,
  PLAN_NAT,
  PLAN_POLICY,
  PLAN_ZONE,
} from "./plan.ts";
import { PacketTracker } from "./protocols.ts";
import { allocateRecord, extendRecord, freeRecord } from "./record_allocator.ts";
import { ctDrop, ctInvalid } from "./reasons.ts";
import { lock, unlock } from "../spin_lock.ts";
import {
  STAT_EARLY_DROP,
  STAT_EXPECTED,
  STAT_FOUND,
  STAT_INSERT,
  STAT_INSERT_FAILED,
  STAT_INVALID,
  STAT_INVALID_REASONS,
  STAT_NEW,
  STAT_RELATED,
} from "./stats.ts";
import { LINKED, Table } from "./table.ts";
import { REOPENED, type TcpOptions, TRACKED_LAST } from "./tcp.ts";
import { findTransport, invertTuple, isIcmp, makeTuple, readTuple } from "./tuple.ts";
import { isChecksumRight } from "./verify.ts";

const NO_IP = ctDrop("ct-no-ip");
const TABLE_FULL = ctDrop("ct-table-full");
const ZONE_LIMIT = ctDrop("ct-zone-limit");
const CLASH = ctDrop("ct-clash");
const NAT_FAILED = ctDrop("ct-nat-failed");
const NO_HELPER = ctDrop("ct-helper");

const HEADER = ctInvalid("header");
const CHECKSUM = ctInvalid("checksum");
const ICMP_TYPE = ctInvalid("icmp-type");

/** Other connections that may take a new one's tuples before it gives up. */
const CLASHES_MAX = 4;

/** How a thread's tracker behaves. */
export interface TrackerOptions extends TcpOptions {
  /** Whether L4 checksums are checked (nf_conntrack_checksum). Default true. */
  readonly checksum?: boolean | undefined;
  /**
   * Established TCP connections take segments out of their windows, as openvswitch.ko has it (it sets
   * be_liberal on them). Default false.
   */
  readonly tcpLiberalEstablished?: boolean | undefined;
}

/** Tracks the packets of one thread. */
export class Tracker {
  readonly table: Table;
  readonly expectations: Expectations;
  readonly #nat: Nat;
  readonly #protocols: PacketTracker;
  readonly #helpers: Helpers;
  readonly #zoneLimits: Int32Array;
  readonly #zoneLimited: Uint8Array;
  readonly #stats: Float64Array;
  readonly #statsAt: number;
  readonly #checksum: boolean;
  readonly #liberalEstablished: boolean;
  readonly #tuple = makeTuple();
  readonly #other = makeTuple();
  readonly #expectation = new Expectation();
  /** The record that new connections are tracked in; 0: none could be had. */
  #spare: number;
  #nowMs = 0;

  // The packet at hand.
  #end = 0;
  #l4At = 0;
  #protocol = 0;
  #isError = false;
  /** Its connection: locked, or the spare; 0: none. */
  #record = 0;
  #side = 0;
  #info = 0;
  /** The packet ends its connection. */
  #isLast = false;
  /** A connection that the last packet ended, 0: none; removed when another packet comes. */
  #ending = 0;
  #endingId = 0;

  /** `thread`: 0 … buffers.threads; the last one is the control isolate's. `random` gives 32 random bits. */
  constructor(
    buffers: ConntrackBuffers,
    thread: number,
    random: Random,
    options: TrackerOptions = {},
  ) {
    this.table = new Table(buffers);
    this.expectations = new Expectations(buffers);
    this.#nat = new Nat(this.table, random);
    this.#protocols = new PacketTracker(buffers, this.table, options);
    this.#helpers = new Helpers(this.table, this.expectations);
    this.#zoneLimits = new Int32Array(buffers.zoneLimits);
    this.#zoneLimited = new Uint8Array(buffers.zoneLimited);
    this.#stats = new Float64Array(buffers.stats);
    this.#statsAt = thread * STAT_STRIDE;
    this.#checksum = options.checksum ?? true;
    this.#liberalEstablished = options.tcpLiberalEstablished ?? false;
    this.#spare = allocateRecord(this.table);
  }

  /** Sets the clock, ms since 1970; once per burst. */
  setNow(nowMs: number): void {
    this.#nowMs = nowMs;
    this.table.now = nowMs | 0;
  }

  /** Gives the spare record back: the thread ends. */
  close(): void {
    this.#dismiss();
    if (this.#spare !== 0) freeRecord(this.table, this.#spare);
    this.#spare = 0;
  }

  /**
   * Runs the ct action of words[at …] (plan.ts) on a packet with l3At set, whole (reassembled), whose
   * bytes may be changed if {@link mayWrite}. Trims padding behind the IP packet. `ct` is what is
   * known of the packet, and is updated. Returns 0, or why the packet is to be dropped (CT_DROPS).
   * When ct.changed, addresses, ports or payload may have changed: keys are to be extracted again.
   */
  execute(packet: Packet, ct: CtMetadata, words: Int32Array, at: number): number {
    ct.changed = false;
    ct.isKept = false;
    if (this.#ending !== 0 && (ct.state === 0 || ct.record !== this.#ending)) this.#dismiss();
    const zone = words[at + PLAN_ZONE]!;
    const flags = words[at + PLAN_FLAGS]!;
    if (!this.#open(packet)) return NO_IP;
    const found = findTransport(packet.view, packet.l3At, this.#end);
    this.#l4At = packet.l3At + (found >>> 8);
    this.#protocol = found & 0xff;
    this.#isError = false;
    this.#isLast = false;
    this.#record = 0;

    let isCached = found >= 0 && this.#recall(packet, ct, zone, words, at);
    if (isCached && (flags & PLAN_FORCE) !== 0 && this.#side === 1) {
      this.table.kill(this.#record); // its direction is to be the packet's
      this.#record = 0;
      isCached = false;
    }
    for (let clash = 0;; clash++) {
      if (!isCached) {
        const invalid = found < 0 ? HEADER : this.#track(packet, zone, words, at);
        ct.state = CT_TRACKED;
        ct.zone = zone;
        if (invalid !== 0) return this.#refuse(ct, invalid);
        ct.state |= this.#stateBits();
      }
      ct.isKept = isCached;
      if (this.#isConfirmed()) return this.#finish(packet, ct, words, at, !isCached);
      if ((flags & PLAN_COMMIT) === 0) {
        describeConnection(ct, this.table, this.#record);
        return 0;
      }
      const verdict = this.#commit(words, at, zone);
      if (verdict === LINKED) return this.#finish(packet, ct, words, at, true);
      if (verdict < 0) return -verdict;
      if (clash === CLASHES_MAX) return this.#failed(CLASH);
      // Somebody else was quicker with one of the tuples: perhaps the packet is theirs now.
    }
  }

  /**
   * Brings the packet's bucket into the cache, if called for all packets of a burst before the first
   * `execute`: the loads then overlap. Returns what {@link touchRecord} wants, to be called for all
   * packets behind that. Optional; changes nothing.
   */
  touch(packet: Packet, zone: number): number {
    const { view, l3At, end } = packet;
    const found = findTransport(view, l3At, end);
    if (found < 0) return 0;
    const l4At = l3At + (found >>> 8);
    if (!readTuple(this.#tuple, view, l3At, l4At, end, found & 0xff, zone)) return 0;
    return this.table.touch(this.#tuple);
  }

  /** Brings the lines of a connection into the cache. Returns a number that means nothing. */
  touchRecord(node: number): number {
    const at = (node >>> 1) * RECORD_WORDS;
    const { records } = this.table;
    return records[at]! ^ records[at + SEEN]! ^ records[at + LABELS]!;
  }

  /** Whether the action of words[at …] may change bytes of packets, which must then be the caller's to change. */
  mayWrite(words: Int32Array, at: number): boolean {
    return (words[at + PLAN_FLAGS]! & PLAN_NAT) !== 0 || words[at + PLAN_HELPER] !== 0 ||
      this.table.control[EXTENSION_HIGH]! > 1;
  }

  /** Finds the frame's IP packet and trims padding. False: there is none. */
  #open(packet: Packet): boolean {
    const { view, l3At } = packet;
    if (l3At === 0 && packet.start !== 0 || l3At + 20 > packet.end) return false;
    const version = view.getUint8(l3At) >>> 4;
    if (version === 6 && l3At + 40 > packet.end || version !== 4 && version !== 6) return false;
    let end = l3At +
      (version === 4 ? view.getUint16(l3At + 2) : 40 + view.getUint16(l3At + 4));
    // A big segment train says 0: the frame is all there is to go by.
    const least = version === 4 ? 20 : packet.gsoType === GSO_NONE ? 40 : 41;
    if (end < l3At + least || end > packet.end) end = packet.end;
    packet.end = end;
    this.#end = end;
    return true;
  }

  /**
   * A packet that was tracked in this zone before keeps its connection: it is not tracked twice. True:
   * #record is that connection, locked.
   */
  #recall(
    packet: Packet,
    ct: CtMetadata,
    zone: number,
    words: Int32Array,
    at: number,
  ): boolean {
    const { table } = this;
    const isForced = ct.state === 0 && (words[at + PLAN_FLAGS]! & PLAN_FORCE) !== 0;
    const wasTracked = (ct.state & CT_TRACKED) !== 0 && (ct.state & CT_INVALID) === 0 &&
      ct.zone === zone;
    if (!wasTracked && !isForced) return false;
    if (ct.record !== 0 && wasTracked && table.lockRecord(ct.record, ct.id)) {
      this.#record = ct.record;
      this.#side = (ct.state & CT_REPLY) !== 0 ? 1 : 0;
      this.#isError = (ct.state & (CT_RELATED | CT_NEW)) === CT_RELATED &&
        isIcmp(this.#protocol, packet.view.getUint8(packet.l3At) >>> 4);
    } else {
      const { view, l3At } = packet;
      if (!readTuple(this.#tuple, view, l3At, this.#l4At, this.#end, this.#protocol, zone)) {
        return false;
      }
      let node = 0;
      if ((ct.state & CT_NAT_MASK) === 0) {
        node = table.find(this.#tuple);
      } else if (invertTuple(this.#tuple, this.#other)) {
        node = table.find(this.#other);
        if (node !== 0) node ^= 1;
      }
      if (node === 0) return false;
      this.#record = node >>> 1;
      this.#side = node & 1;
    }
    if (!wasTracked && this.#side === 0) {
      table.unlockRecord(this.#record); // force, and the direction is right: track it as usual
      this.#record = 0;
      return false;
    }
    const policy = table.records[this.#record * RECORD_WORDS + POLICY]!;
    const helper = words[at + PLAN_HELPER]!;
    if (helper !== 0 && policy >>> 16 !== 0 && policy >>> 16 !== helper) {
      table.unlockRecord(this.#record);
      this.#record = 0;
      return false;
    }
    this.#info = this.#infoOf();
    return true;
  }

  #infoOf(): number {
    if (this.#isError) return INFO_RELATED;
    if (this.#side === 1) return INFO_ESTABLISHED;
    const status = this.table.records[this.#record * RECORD_WORDS + STATUS]!;
    if ((status & SEEN_REPLY) !== 0) return INFO_ESTABLISHED;
    return (status & EXPECTED) !== 0 ? INFO_RELATED : INFO_NEW;
  }

  /** Finds the packet's connection and lets it judge the packet. Sets #record. Returns why it is invalid, 0: it is not. */
  #track(packet: Packet, zone: number, words: Int32Array, at: number): number {
    const { view, l3At } = packet;
    const family = view.getUint8(l3At) >>> 4;
    const protocol = this.#protocol;
    const end = this.#end;
    this.#record = 0;
    if (
      this.#checksum && !isChecksumRight(packet, this.#l4At, end, protocol)
    ) {
      return CHECKSUM;
    }
    if (isIcmp(protocol, family)) {
      const verdict = this.#trackIcmp(packet, zone);
      if (verdict !== 0 || this.#record !== 0) return verdict;
    }
    for (let tries = 0;; tries++) {
      if (!readTuple(this.#tuple, view, l3At, this.#l4At, end, protocol, zone)) return HEADER;
      const node = this.table.find(this.#tuple);
      if (node === 0) {
        if (!this.#begin(words, at)) return ICMP_TYPE;
      } else {
        this.#record = node >>> 1;
        this.#side = node & 1;
      }
      this.#info = this.#infoOf();
      const verdict = this.#protocols.track(packet, this.#l4At, end, this.#record, this.#side);
      if (verdict === REOPENED && tries === 0) {
        this.table.kill(this.#record);
        this.#record = 0;
        continue;
      }
      this.#isLast = verdict === TRACKED_LAST;
      if (verdict > 0 || verdict === REOPENED) {
        if (node !== 0) this.table.unlockRecord(this.#record);
        this.#record = 0;
        return Math.max(verdict, HEADER);
      }
      const status = this.#record * RECORD_WORDS + STATUS;
      if (this.#side === 1) this.table.records[status] = this.table.records[status]! | SEEN_REPLY;
      this.#count(node === 0 ? STAT_NEW : STAT_FOUND);
      return 0;
    }
  }

  /** ICMP messages that are no queries. Sets #record if the message is an error about a connection. */
  #trackIcmp(packet: Packet, zone: number): number {
    const kind = icmpKind(packet, this.#l4At, this.#end);
    if (kind !== ICMP_ERROR) return kind;
    const node = findErrorConnection(
      this.table,
      packet,
      this.#l4At,
      this.#end,
      zone,
      this.#tuple,
      this.#other,
    );
    if (node < 0) return -node;
    this.#record = node >>> 1;
    this.#side = node & 1;
    this.#isError = true;
    this.#info = INFO_RELATED;
    this.#count(STAT_RELATED);
    return 0;
  }

  /** Begins a new connection in the spare record, with the tuple in #tuple. False: the packet opens none. */
  #begin(words: Int32Array, plan: number): boolean {
    const { table } = this;
    const record = this.#spare;
    if (record === 0 || !invertTuple(this.#tuple, this.#other)) return false;
    clearRecord(table, record, words[plan + PLAN_POLICY]!);
    table.setTuple(record << 1, this.#tuple);
    table.setTuple(record << 1 | 1, this.#other);
    this.#record = record;
    this.#side = 0;
    if (!this.expectations.isEmpty) {
      meetExpectation(table, this.expectations, this.#expectation, record, this.#tuple);
    }
    return true;
  }

  /**
   * Puts the connection in the spare record into the table. Returns LINKED, with the record locked;
   * TAKEN_* if another connection was quicker; or a drop verdict, negative.
   */
  #commit(words: Int32Array, plan: number, zone: number): number {
    const { table } = this;
    const { records, control } = table;
    const record = this.#record;
    const at = record * RECORD_WORDS;
    const limit = this.#zoneLimited[zone] === 1
      ? this.#zoneLimits[zone]! >>> 0
      : control[ZONE_LIMIT_DEFAULT]! >>> 0;
    if (limit !== 0 && Atomics.load(table.zoneCounts, zone) >= limit) {
      return -this.#failed(ZONE_LIMIT);
    }
    if (Atomics.load(control, COUNT) >= control[CONNECTIONS_LIMIT]! >>> 0) {
      if (!evict(table, this.#tuple)) return -this.#failed(TABLE_FULL);
      this.#count(STAT_EARLY_DROP);
    }
    if ((words[plan + PLAN_FLAGS]! & PLAN_NAT) !== 0) {
      this.#nat.prepare(record, this.#info, words, plan);
    }
    const helper = words[plan + PLAN_HELPER]!;
    if (helper !== 0 && records[at + POLICY]! >>> 16 === 0) {
      if (!extendRecord(table, record)) return -this.#failed(NO_HELPER);
      records[at + POLICY] = words[plan + PLAN_POLICY]! | helper << 16;
      records[at + STATUS] = records[at + STATUS]! | HELPER;
    }
    lock(records, at + LOCK);
    records[at + EXPIRES] = (records[at + EXPIRES]! + table.now) | 0;
    table.doubles[record * RECORD_DOUBLES + STARTED] = this.#nowMs;
    const verdict = table.link(record);
    if (verdict !== LINKED) {
      unlock(records, at + LOCK);
      freeRecord(table, record);
      this.#spare = allocateRecord(table);
      return verdict;
    }
    if ((records[at + STATUS]! & EXPECTED) !== 0) {
      this.expectations.remove(this.#tuple, table.now);
      this.#count(STAT_EXPECTED);
    }
    this.#count(STAT_INSERT);
    this.#spare = allocateRecord(table);
    return LINKED;
  }

  /** The packet of a committed, locked connection: translation, helper, mark and labels. Unlocks. */
  #finish(
    packet: Packet,
    ct: CtMetadata,
    words: Int32Array,
    plan: number,
    isTracked: boolean,
  ): number {
    const { table } = this;
    const { records } = table;
    const record = this.#record;
    const at = record * RECORD_WORDS;
    const flags = words[plan + PLAN_FLAGS]!;
    const isCommit = (flags & PLAN_COMMIT) !== 0;
    let verdict = 0;
    if ((flags & PLAN_NAT) !== 0 && (ct.state & CT_NAT_MASK) === 0) {
      const nat = this.#nat;
      if (
        nat.apply(
          packet,
          this.#end,
          this.#l4At,
          this.#isError,
          record,
          this.#side,
          this.#info,
          isCommit,
          words,
          plan,
        )
      ) {
        ct.state |= nat.done;
        ct.changed = (records[at + STATUS]! & NAT_MASK) !== 0;
      } else {
        verdict = NAT_FAILED;
      }
    }
    if ((records[at + STATUS]! & HELPER) !== 0 && isTracked && !this.#isError && verdict === 0) {
      const helped = this.#helpers.run(packet, this.#l4At, record, this.#side, this.#info);
      if (helped > 0) verdict = helped;
      else if (helped < 0) ct.changed = true;
    }
    if (isCommit) {
      const mask = words[plan + PLAN_MARK + 1]!;
      if (mask !== 0) {
        records[at + MARK] = (records[at + MARK]! & ~mask) | words[plan + PLAN_MARK]!;
      }
      if ((flags & PLAN_HAS_LABEL) !== 0) this.#setLabels(at, words, plan + PLAN_LABEL);
    }
    if (this.#liberalEstablished) this.#protocols.makeLiberal(at);
    if (ct.isKept) {
      const mark = isCommit && words[plan + PLAN_MARK + 1] !== 0;
      keepDescription(ct, table, record, mark, isCommit && (flags & PLAN_HAS_LABEL) !== 0);
    } else {
      describeConnection(ct, table, record);
    }
    if (this.#isLast) {
      // Nobody else finds it any more; the packet's own next ct action does.
      records[at + EXPIRES] = table.now;
      this.#ending = record;
      this.#endingId = records[at + ID]!;
    }
    table.unlockRecord(record);
    return verdict;
  }

  /** Removes the connection that the last packet ended. */
  #dismiss(): void {
    const record = this.#ending;
    this.#ending = 0;
    if (record !== 0 && this.table.lockRecord(record, this.#endingId)) this.table.kill(record);
  }

  #setLabels(at: number, words: Int32Array, from: number): void {
    const { records } = this.table;
    for (let word = 0; word < 4; word++) {
      const mask = words[from + 4 + word]!;
      const old = records[at + LABELS + word]!;
      records[at + LABELS + word] = (old & ~mask) | (words[from + word]! & mask);
    }
  }

  #isConfirmed(): boolean {
    return (this.table.records[this.#record * RECORD_WORDS + STATUS]! & CONFIRMED) !== 0;
  }

  #stateBits(): number {
    const status = this.table.records[this.#record * RECORD_WORDS + STATUS]!;
    let bits = this.#side === 1 ? CT_REPLY : 0;
    if (this.#info === INFO_NEW) bits |= CT_NEW;
    else if (this.#info === INFO_ESTABLISHED) bits |= CT_ESTABLISHED;
    else bits |= CT_RELATED;
    if ((status & CONFIRMED) === 0) bits |= CT_NEW;
    if ((status & EXPECTED) !== 0) bits |= CT_RELATED;
    return bits;
  }

  /** Makes a packet invalid that is not looked at, as {@link execute} does others. */
  refuse(ct: CtMetadata, zone: number): void {
    ct.isKept = false;
    ct.zone = zone;
    this.#refuse(ct, HEADER);
  }

  /** The packet goes on as invalid. */
  #refuse(ct: CtMetadata, reason: number): number {
    ct.forget();
    ct.state = CT_TRACKED | CT_INVALID;
    ct.invalidReason = reason;
    this.#count(STAT_INVALID);
    this.#count(STAT_INVALID_REASONS + reason);
    return 0;
  }

  #failed(verdict: number): number {
    this.#count(STAT_INSERT_FAILED);
    return verdict;
  }

  #count(stat: number): void {
    const at = this.#statsAt + stat;
    this.#stats[at] = this.#stats[at]! + 1;
  }
}
