/**
 * The connection tracker: how connections lie in shared memory. Read this first.
 *
 * The problem. A packet belongs to a connection if its tuple (zone, protocol, addresses, ports) is
 * one of the connection's two: the original direction's, or the one that replies come with, which
 * after address translation is not the mirror image of the first. Several packet threads see packets
 * of one connection (a fan-out by flow hash sends the two directions to different threads, the more so
 * with translation), so the state must be common to them. A million connections must be neither a
 * pause nor a burden, and a flood of new ones must not stop those that exist.
 *
 * The simplest design that could work is one hash table of both tuples under one lock. Refinements:
 *
 * 1. *Nothing moves, nothing is rebuilt.* Records and buckets are reserved at their maximum; pages that
 *    no connection uses are never touched and cost nothing. A connection is an index. Buckets grow by
 *    linear hashing (Litwin, 1980): an insertion that makes the table denser than one entry a bucket
 *    splits one bucket. The table grows in steps of a few dozen instructions, and stays dense when small.
 * 2. *Three cache lines for a packet.* Line 0 of a record has the lock, both chain links with their
 *    hashes, and all that an IPv4 lookup compares; line 1 the protocol's state; line 2 counters and
 *    labels. IPv6 addresses lie in an array of their own, touched by IPv6 alone. 192 bytes a
 *    connection, 64 more with IPv6, 4 with source translation, 8 for buckets.
 * 3. *One lock a packet.* Chains are walked without a lock: at worst a walk loses its way while an
 *    entry moves or is recycled and ends without a find. What it does find by its hash it locks (a
 *    word in the record), and only then compares in full; a record is changed, killed and reused only
 *    under that lock, so what was compared stays true until the unlock. A walk that finds nothing is
 *    repeated under the lock of its bucket stripe, which nobody inserts or unlinks without: only then
 *    is the packet's connection new. An established packet takes 2 atomic operations (2 × 18 ns).
 * 4. *Order of locks*: stripes in ascending order, then one record (and from an expected connection's
 *    its master's), then expectations or a chain of sources (source_index.ts). Nobody who
 *    holds a record waits for a stripe: who wants to remove a record marks it dying under its lock, lets
 *    go, and unlinks it under the stripes of its two buckets. Whoever set the mark does the rest.
 * 5. *New connections cost nothing until they are committed.* Each thread owns one spare record. A
 *    packet that opens a connection is tracked in it; committing links the spare and takes another.
 * 6. *Time* is the low 32 bits of a millisecond clock; differences are signed. An expired record is
 *    no longer found; whoever meets it removes it, and the sweep visits a bounded number a call.
 *
 * The hash is a sum of products with secret constants (flow_table/hash.ts): who does not know the seed
 * can't aim at a bucket. A full table makes room as the kernel's does: it drops a connection near the
 * wanted bucket that never saw both sides agree (not assured), or else refuses the new one.
 *
 * The words follow `struct nf_conn` in spirit (include/net/netfilter/nf_conntrack.h); status bits and
 * TCP flags have the kernel's numbers (uapi/linux/netfilter/nf_conntrack_common.h, nf_conntrack_tcp.h).
 *
 * This file has the offsets and makes the buffers; it interprets nothing.
 */
import { makeConstants } from "../flow_table/hash.ts";

/** Words of a record: three cache lines. Record n begins at n × RECORD_WORDS; record 0 is none. */
export const RECORD_WORDS = 48;

/** 0: free, else who has it (spin_lock.ts). */
export const LOCK = 0;
/** IPS_* bits. */
export const STATUS = 1;
/** Hash of the original direction's tuple; + 2 for the reply's. */
export const HASH = 2;
/** Next node (record × 2 + direction) of the chain; + 2 for the reply's. 0: the last. */
export const NEXT = 3;
/** Zone << 16 | protocol << 8 | IP version. */
export const META = 6;
/** When it ends, ms; before it is committed: how long it will live. */
export const EXPIRES = 7;
/** Lowest word of source and destination and the ports of the original tuple; + TUPLE_STRIDE for the reply's. */
export const TUPLE_SRC = 8;
export const TUPLE_DST = 9;
/** Source << 16 | destination; ICMP: identifier << 16 | type << 8 | code. */
export const TUPLE_PORTS = 10;
export const TUPLE_STRIDE = 3;
export const MARK = 14;
/** Differs between connections that had the same record. */
export const ID = 15;

/** TCP: what was seen of the original side, SEEN_WORDS words; then of the replying side. */
export const SEEN = 16;
export const SEEN_WORDS = 4;
/** Highest sequence number sent, and 1. */
export const SEEN_END = 0;
/** Highest sequence number that the other side allowed. */
export const SEEN_MAXEND = 1;
/** Largest window offered; 0: nothing sent yet. */
export const SEEN_MAXWIN = 2;
/** Highest acknowledgment sent. */
export const SEEN_MAXACK = 3;
/** TCP: flags (8 bits) and window scale << 8 of the original side; << 16 of the replying side. */
export const SIDES = 24;
/** TCP: state, last packet's kind << 4, its direction << 8, scale << 12, flags << 16, repetitions << 24. */
export const PROGRESS = 25;
export const LAST_SEQ = 26;
export const LAST_ACK = 27;
export const LAST_END = 28;
export const LAST_WIN = 29;
/** UDP: ms from which it is a stream. Shares a word with SEEN. */
export const STREAM_AT = 16;
/** Record of the connection that this one was expected by, 0: none. */
export const MASTER = 30;
/** The master's ID: another one says that it has gone. */
export const MASTER_ID = 31;

/** Counters, units of 8 bytes from the record's begin: packets and bytes of each direction. */
export const COUNTERS = 16;
/** Units of 8 bytes: when the connection was committed, ms. */
export const STARTED = 20;
/** Units of 8 bytes in a record. */
export const RECORD_DOUBLES: number = RECORD_WORDS / 2;
/** 4 words. */
export const LABELS = 42;
/** Record of the helper's state, 0: none. */
export const EXTENSION = 46;
/** Timeout policy | helper << 16. */
export const POLICY = 47;

/** Words in the wide array: source and destination of the original tuple, 4 each; then of the reply's. */
export const WIDE_WORDS = 16;

/** Words of the state that a helper keeps, see sequence_adjust.ts and ftp.ts. */
export const EXTENSION_WORDS = 16;

// IPS_*: bits of STATUS.
export const EXPECTED = 0x1;
export const SEEN_REPLY = 0x2;
export const ASSURED = 0x4;
/** In the table. */
export const CONFIRMED = 0x8;
export const SRC_NAT = 0x10;
export const DST_NAT = 0x20;
export const SEQ_ADJUST = 0x40;
export const SRC_NAT_DONE = 0x80;
export const DST_NAT_DONE = 0x100;
/** Somebody removes it. */
export const DYING = 0x200;
export const HELPER = 0x2000;
export const NAT_MASK: number = SRC_NAT | DST_NAT;

/** Words of the control block. Those that change often lie in lines of their own. */
export const BUCKETS = 0;
export const CONNECTIONS_LIMIT = 1;
export const SPLIT_LOCK = 16;
export const COUNT = 32;
export const ALLOCATOR_LOCK = 48;
/** First free record, linked by NEXT. */
export const FREE_HEAD = 49;
/** Records ever used. */
export const HIGH_WATER = 50;
export const NEXT_ID = 51;
export const EXTENSION_HEAD = 52;
export const EXTENSION_HIGH = 53;
export const SWEEP_CURSOR = 64;
export const EXPECTATION_COUNT = 80;
export const EXPECTATION_LOCK = 81;
/** Limit of zones without one of their own; 0: none. */
export const ZONE_LIMIT_DEFAULT = 96;
/** 1: TCP segments are not checked against windows, nor resets against what was acknowledged. */
export const TCP_UNCHECKED = 97;
/** Fragments that are not put together: bit 0 IPv4's, bit 1 IPv6's. See fragment_control.ts. */
export const FRAGMENTS_OFF = 98;
/** Smallest fragment that is not the last, bytes from L3 on; + 1: of IPv6. */
export const FRAGMENT_SIZE_MIN = 99;
/** Most fragments that wait, 0: as many as there is memory for. */
export const FRAGMENTS_LIMIT = 101;
const CONTROL_WORDS = 128;

/** Locks of bucket stripes: bucket b belongs to stripe b % STRIPES. Also the fewest buckets. */
export const STRIPES = 1024;
/** Words between two locks: a cache line would be 16; neighbours are seldom wanted at once. */
export const STRIPE_SHIFT = 2;

/** Timeouts of one policy, see timeouts.ts. */
export const POLICY_SLOTS = 24;
export const POLICIES_MAX = 256;

export const EXPECTATIONS_MAX = 1024;
export const EXPECTATION_WORDS = 32;
/** Connections with a helper. */
export const EXTENSIONS_MAX = 65536;
export const ZONES = 65536;
/** Chains of translated sources, a power of two. */
const SOURCE_BUCKETS: number = 1 << 18;
const SOURCE_LOCKS = 256;

/** Connections a table can hold unless told otherwise. */
export const CONNECTIONS_MAX_DEFAULT: number = 1 << 20;
export const CONNECTIONS_MAX_LIMIT: number = 1 << 22;

/** Units of 8 bytes between the counters of two threads: whole cache lines. */
export const STAT_STRIDE = 64;

/** The shared memory of one tracker. Structured-clonable: goes to packet threads by postMessage. */
export interface ConntrackBuffers {
  /** Records, spares of the threads included. */
  readonly recordsMax: number;
  readonly threads: number;
  readonly control: SharedArrayBuffer;
  readonly constants: SharedArrayBuffer;
  readonly locks: SharedArrayBuffer;
  readonly heads: SharedArrayBuffer;
  readonly records: SharedArrayBuffer;
  readonly wide: SharedArrayBuffer;
  readonly extensions: SharedArrayBuffer;
  readonly expectations: SharedArrayBuffer;
  readonly policies: SharedArrayBuffer;
  /** Translated sources, see source_index.ts. */
  readonly sourceHeads: SharedArrayBuffer;
  readonly sourceNext: SharedArrayBuffer;
  readonly sourceLocks: SharedArrayBuffer;
  /** Connections of each zone. */
  readonly zoneCounts: SharedArrayBuffer;
  /** Limit of each zone, unsigned; it counts where zoneLimited is 1. */
  readonly zoneLimits: SharedArrayBuffer;
  readonly zoneLimited: SharedArrayBuffer;
  /** STAT_* counters of each thread, f64; the last block is the control isolate's. */
  readonly stats: SharedArrayBuffer;
}

/**
 * Records for so many connections: record 0; for each thread and the control isolate a spare, and a
 * connection that it links while another links the last one allowed.
 */
export function recordsFor(connectionsMax: number, threads: number): number {
  return 1 + connectionsMax + 2 * (threads + 1);
}

/** What to make a tracker for. */
export interface ConntrackOptions {
  /** Connections at a time, 1 … CONNECTIONS_MAX_LIMIT; the limit in force can be set lower. Default CONNECTIONS_MAX_DEFAULT. */
  readonly connectionsMax?: number | undefined;
  /** Packet threads. */
  readonly threads: number;
  /** Random bytes, at least 16: makes the hashes unpredictable. */
  readonly seed: Uint8Array;
}

/**
 * Reserves the memory of a tracker: address space, pages come as connections do. Timeouts are zero
 * until {@link import("./timeouts.ts").setDefaultTimeouts}. Throws RangeError when the system refuses.
 */
export function makeConntrackBuffers(options: ConntrackOptions): ConntrackBuffers {
  const connectionsMax = options.connectionsMax ?? CONNECTIONS_MAX_DEFAULT;
  if (
    !Number.isInteger(connectionsMax) || connectionsMax < 1 ||
    connectionsMax > CONNECTIONS_MAX_LIMIT
  ) {
    throw new RangeError(
      `Cannot make a connection table: connectionsMax must be 1 … ${CONNECTIONS_MAX_LIMIT}: current value is ${connectionsMax}`,
    );
  }
  const recordsMax = recordsFor(connectionsMax, options.threads);
  const bucketsMax = Math.max(STRIPES, 2 << (32 - Math.clz32(connectionsMax - 1)));
  const words = (count: number): SharedArrayBuffer => new SharedArrayBuffer(count * 4);
  const control = new Int32Array(words(CONTROL_WORDS));
  control[BUCKETS] = STRIPES;
  control[CONNECTIONS_LIMIT] = connectionsMax;
  control[HIGH_WATER] = 1;
  control[EXTENSION_HIGH] = 1;
  control[SWEEP_CURSOR] = 1;
  return {
    recordsMax,
    threads: options.threads,
    control: control.buffer,
    constants: makeConstants(options.seed),
    locks: words(STRIPES << STRIPE_SHIFT),
    heads: words(bucketsMax),
    records: words(recordsMax * RECORD_WORDS),
    wide: words(recordsMax * WIDE_WORDS),
    extensions: words(EXTENSIONS_MAX * EXTENSION_WORDS),
    expectations: words(EXPECTATIONS_MAX * EXPECTATION_WORDS),
    policies: words(POLICIES_MAX * POLICY_SLOTS),
    sourceHeads: words(SOURCE_BUCKETS),
    sourceNext: words(recordsMax),
    sourceLocks: words(SOURCE_LOCKS),
    zoneCounts: words(ZONES),
    zoneLimits: words(ZONES),
    zoneLimited: new SharedArrayBuffer(ZONES),
    stats: new SharedArrayBuffer((options.threads + 1) * STAT_STRIDE * 8),
  };
}
