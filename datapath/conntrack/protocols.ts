/**
 * Protocol trackers: a packet of a known or beginning connection moves its state, prolongs it and is
 * counted. TCP is in tcp.ts; here are UDP, ICMP queries and all others, and what they have in common.
 */
import type { Packet } from "../packet/packet.ts";
import {
  ASSURED,
  CONFIRMED,
  type ConntrackBuffers,
  COUNTERS,
  EXPIRES,
  EXTENSION,
  META,
  POLICY,
  POLICY_SLOTS,
  RECORD_DOUBLES,
  RECORD_WORDS,
  SEEN_REPLY,
  SEQ_ADJUST,
  STATUS,
  STREAM_AT,
  TCP_UNCHECKED,
  TUPLE_PORTS,
} from "./layout.ts";
import { ctInvalid } from "./reasons.ts";
import { sequenceShift } from "./sequence_adjust.ts";
import type { Table } from "./table.ts";
import {
  isEstablishedTcp,
  REOPENED,
  type TcpOptions,
  TcpTracker,
  TRACKED,
  TRACKED_IGNORED,
} from "./tcp.ts";
import { addSideFlag, SIDE_LIBERAL } from "./tcp_window.ts";
import {
  TIMEOUT_GENERIC,
  TIMEOUT_GRE_FIRST,
  TIMEOUT_GRE_MULTIPLE,
  TIMEOUT_ICMP,
  TIMEOUT_ICMPV6,
  TIMEOUT_SCTP_ESTABLISHED,
  TIMEOUT_SCTP_FIRST,
  TIMEOUT_UDP_FIRST,
  TIMEOUT_UDP_MULTIPLE,
} from "./timeouts.ts";
import {
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from "./tuple.ts";

const HEADER = ctInvalid("header");
const ICMP_TYPE = ctInvalid("icmp-type");
const CHECKSUM = ctInvalid("checksum");

/** UDP is a stream, and lives longer, when it is answered after this time. */
const STREAM_AFTER_MS = 2000;

/** Tracks packets. One per thread. */
export class PacketTracker {
  readonly #table: Table;
  readonly #policies: Int32Array;
  readonly #tcp: TcpTracker;

  constructor(buffers: ConntrackBuffers, table: Table, options: TcpOptions) {
    this.#table = table;
    this.#policies = new Int32Array(buffers.policies);
    this.#tcp = new TcpTracker(table.records, options);
  }

  /** Returns TRACKED or a verdict of tcp.ts; positive: why the packet is invalid. The record is locked, or the thread's spare. */
  track(packet: Packet, l4At: number, end: number, record: number, side: number): number {
    const { records } = this.#table;
    const { view } = packet;
    const at = record * RECORD_WORDS;
    const policyAt = (records[at + POLICY]! & 0xffff) * POLICY_SLOTS;
    const protocol = (records[at + META]! >>> 8) & 0xff;
    if (protocol === IPPROTO_TCP) {
      const tcp = this.#tcp;
      tcp.isUnchecked = this.#table.control[TCP_UNCHECKED] !== 0;
      let shift = 0;
      if ((records[at + STATUS]! & SEQ_ADJUST) !== 0 && l4At + 20 <= end) {
        const { extensions } = this.#table;
        shift = sequenceShift(
          extensions,
          records[at + EXTENSION]!,
          1 - side,
          view.getInt32(l4At + 8) - 1,
        );
      }
      const verdict = tcp.track(
        at,
        side,
        view,
        l4At,
        end,
        this.#policies,
        policyAt,
        shift,
        this.#table.now,
      );
      if (verdict === TRACKED) this.#prolong(at, tcp.timeoutMs);
      else if (verdict === TRACKED_IGNORED) return TRACKED;
      else if (verdict > 0 || verdict === REOPENED) return verdict;
      this.#count(record, side, end - packet.l3At);
      return verdict;
    }
    const slot = this.#slot(at, protocol, side, view, l4At, end);
    if (slot < 0) return -slot;
    this.#prolong(at, this.#policies[policyAt + slot]!);
    this.#count(record, side, end - packet.l3At);
    return TRACKED;
  }

  /** The timeout of a packet that is not TCP; negative: why it is invalid. */
  #slot(
    at: number,
    protocol: number,
    side: number,
    view: DataView,
    l4At: number,
    end: number,
  ): number {
    const { records } = this.#table;
    const status = records[at + STATUS]!;
    const isAnswered = (status & SEEN_REPLY) !== 0;
    switch (protocol) {
      case IPPROTO_UDP: {
        if (l4At + 8 > end) return -HEADER;
        const size = view.getUint16(l4At + 4);
        if (size > end - l4At || size < 8) return -HEADER;
        if ((status & CONFIRMED) === 0) {
          records[at + STREAM_AT] = (this.#table.now + STREAM_AFTER_MS) | 0;
        }
        if (!isAnswered) return TIMEOUT_UDP_FIRST;
        // One answer may be to a probe: only what goes on is more important than others.
        if (((this.#table.now - records[at + STREAM_AT]!) | 0) <= 0) return TIMEOUT_UDP_FIRST;
        records[at + STATUS] = status | ASSURED;
        return TIMEOUT_UDP_MULTIPLE;
      }
      case IPPROTO_UDPLITE: {
        if (l4At + 8 > end) return -HEADER;
        // What the checksum covers; 0: all. There must be one (RFC 3828 §3.1).
        const covered = view.getUint16(l4At + 4);
        if (covered > end - l4At || covered < 8 && covered !== 0) return -HEADER;
        if (view.getUint16(l4At + 6) === 0) return -CHECKSUM;
        if (!isAnswered) return TIMEOUT_UDP_FIRST;
        records[at + STATUS] = status | ASSURED;
        return TIMEOUT_UDP_MULTIPLE;
      }
      case IPPROTO_ICMP:
      case IPPROTO_ICMPV6:
        return this.#queryBegins(at, protocol)
          ? (protocol === IPPROTO_ICMP ? TIMEOUT_ICMP : TIMEOUT_ICMPV6)
          : -ICMP_TYPE;
      case IPPROTO_SCTP:
        if (l4At + 12 > end) return -HEADER;
        if (isAnswered || side === 1) {
          if (isAnswered) records[at + STATUS] = status | ASSURED;
          return TIMEOUT_SCTP_ESTABLISHED;
        }
        return TIMEOUT_SCTP_FIRST;
      case IPPROTO_GRE:
        if (!isAnswered) return TIMEOUT_GRE_FIRST;
        records[at + STATUS] = status | ASSURED;
        return TIMEOUT_GRE_MULTIPLE;
      default:
        return TIMEOUT_GENERIC;
    }
  }

  /** Whether the connection's original tuple is a request: an answer alone opens nothing. */
  #queryBegins(at: number, protocol: number): boolean {
    const { records } = this.#table;
    const family = records[at + META]! & 0xff;
    const type = (records[at + TUPLE_PORTS]! >>> 8) & 0xff;
    if (protocol === IPPROTO_ICMP) {
      return family === 4 && (type === 8 || type === 13 || type === 15 || type === 17);
    }
    return family === 6 && (type === 128 || type === 139);
  }

  #prolong(at: number, timeoutMs: number): void {
    const { records } = this.#table;
    const isConfirmed = (records[at + STATUS]! & CONFIRMED) !== 0;
    records[at + EXPIRES] = isConfirmed ? (this.#table.now + timeoutMs) | 0 : timeoutMs;
  }

  #count(record: number, side: number, size: number): void {
    const { doubles } = this.#table;
    const at = record * RECORD_DOUBLES + COUNTERS + side * 2;
    doubles[at] = doubles[at]! + 1;
    doubles[at + 1] = doubles[at + 1]! + size;
  }

  /** Takes an established TCP connection out of window checking. */
  makeLiberal(at: number): void {
    const { records } = this.#table;
    if (((records[at + META]! >>> 8) & 0xff) !== IPPROTO_TCP) return;
    if (!isEstablishedTcp(records, at)) return;
    addSideFlag(records, at, 0, SIDE_LIBERAL);
    addSideFlag(records, at, 1, SIDE_LIBERAL);
  }
}
