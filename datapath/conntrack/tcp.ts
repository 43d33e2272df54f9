/**
 * The TCP tracker: takes a segment of a connection, moves its state and says whether the segment
 * belongs to it. See tcp_states.ts for the states and tcp_window.ts for the windows; what to do when
 * tracker and endpoints disagree is the kernel's experience (nf_conntrack_proto_tcp.c) and RFC 5961.
 */
import {
  ASSURED,
  CONFIRMED,
  EXPIRES,
  LAST_ACK,
  LAST_END,
  LAST_SEQ,
  LAST_WIN,
  PROGRESS,
  SEEN,
  SEEN_END,
  SEEN_MAXACK,
  SEEN_MAXEND,
  SEEN_MAXWIN,
  SEEN_REPLY,
  SEEN_WORDS,
  SIDES,
  STATUS,
} from "./layout.ts";
import { ctInvalid } from "./reasons.ts";
import {
  areFlagsValid,
  KIND_ACK,
  KIND_FIN,
  KIND_NONE,
  KIND_RST,
  KIND_SYN,
  KIND_SYNACK,
  kindOf,
  nextState,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT,
  TCP_IGNORE,
  TCP_INVALID,
  TCP_LAST_ACK,
  TCP_NONE,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TCP_SYN_SENT2,
  TCP_TIME_WAIT,
} from "./tcp_states.ts";
import {
  addSideFlag,
  before,
  beginConnection,
  checkWindow,
  readSynOptions,
  segmentEnd,
  setSide,
  SIDE_CHALLENGE_ACK,
  SIDE_CLOSE_INIT,
  SIDE_LIBERAL,
  SIDE_MAXACK_SET,
  SIDE_SIMULTANEOUS,
  SIDE_UNACKNOWLEDGED,
  sideFlags,
  WINDOW_GOOD,
  WINDOW_IGNORE,
  WINDOW_SEQ_OVER,
} from "./tcp_window.ts";
import { TIMEOUT_RETRANSMIT, TIMEOUT_UNACK } from "./timeouts.ts";

/** What {@link TcpTracker.track} says besides an invalid reason (positive) and TRACKED. */
export const TRACKED = 0;
/** The connection is over and this SYN opens another: remove the record and look again. */
export const REOPENED = -1;
/** The segment is the connection's and ends it at once: remove the record behind it. */
export const TRACKED_LAST = -2;
/** Let through without counting or prolonging. */
export const TRACKED_IGNORED = -3;

const FLAGS = ctInvalid("tcp-flags");
const HEADER = ctInvalid("header");
const NEW = ctInvalid("tcp-new");
const STATE = ctInvalid("tcp-state");
const OLD_RST = ctInvalid("tcp-rst");
const SEQ_OVER = ctInvalid("tcp-seq-over");
const ACK_OVER = ctInvalid("tcp-ack-over");

/** A reset or FIN out of the window shortens a timeout of at least this much. */
const SHORTEN_FROM_MS = 120_000;

/** How strict to be; the names of the kernel's sysctls. */
export interface TcpOptions {
  /** Out-of-window segments are valid (nf_conntrack_tcp_be_liberal). Default false. */
  readonly tcpLiberal?: boolean | undefined;
  /** Segments in the middle of a connection may open one (nf_conntrack_tcp_loose). Default true. */
  readonly tcpLoose?: boolean | undefined;
  /** Identical acknowledgments after which a connection's timeout is cut. Default 3. */
  readonly tcpMaxRetrans?: number | undefined;
  /** Resets older than the last acknowledgment are valid (nf_conntrack_tcp_ignore_invalid_rst). Default false. */
  readonly tcpIgnoreInvalidRst?: boolean | undefined;
}

/** State of a TCP connection. */
export function tcpStateOf(records: Int32Array, at: number): number {
  return records[at + PROGRESS]! & 0x0f;
}

/** Whether a TCP connection stands, and both sides have agreed on it (nf_conntrack_tcp_established). */
export function isEstablishedTcp(records: Int32Array, at: number): boolean {
  return tcpStateOf(records, at) === TCP_ESTABLISHED && (records[at + STATUS]! & ASSURED) !== 0;
}

function lastKind(progress: number): number {
  return (progress >>> 4) & 0x0f;
}

function lastSide(progress: number): number {
  return (progress >>> 8) & 1;
}

/** Tracks segments. One per thread: it has scratch fields. */
export class TcpTracker {
  readonly #records: Int32Array;
  readonly #liberal: boolean;
  readonly #loose: boolean;
  readonly #maxRetrans: number;
  readonly #ignoreInvalidRst: boolean;
  /** As if both tcpLiberal and tcpIgnoreInvalidRst were set. */
  isUnchecked = false;
  #state = 0;
  #skipsWindow = false;
  /** The timeout slot that the last tracked segment chose, and its ms; written by {@link track}. */
  timeoutMs = 0;

  constructor(records: Int32Array, options: TcpOptions) {
    this.#records = records;
    this.#liberal = options.tcpLiberal ?? false;
    this.#loose = options.tcpLoose ?? true;
    this.#maxRetrans = options.tcpMaxRetrans ?? 3;
    this.#ignoreInvalidRst = options.tcpIgnoreInvalidRst ?? false;
  }

  /**
   * A segment in [l4At, end) of the connection at word `at`, from `side` (0 original, 1 reply). The
   * timeouts lie at policies[policyAt]; `now` is for judging how long the connection has left.
   */
  track(
    at: number,
    side: number,
    view: DataView,
    l4At: number,
    end: number,
    policies: Int32Array,
    policyAt: number,
    ackShift: number,
    now: number,
  ): number {
    const records = this.#records;
    if (l4At + 20 > end) return HEADER;
    const headerSize = (view.getUint8(l4At + 12) & 0xf0) >>> 2;
    if (headerSize < 20 || l4At + headerSize > end) return HEADER;
    const flags = view.getUint8(l4At + 13);
    if (!areFlagsValid(flags)) return FLAGS;
    const kind = kindOf(flags);
    if ((records[at + STATUS]! & CONFIRMED) === 0) {
      const first = nextState(0, kind, TCP_NONE);
      if (first === TCP_INVALID || (first !== TCP_SYN_SENT && !this.#loose)) return NEW;
      beginConnection(records, at, view, l4At, end);
      records[at + PROGRESS] = KIND_NONE << 4;
    }
    const old = tcpStateOf(records, at);
    this.#state = nextState(side, kind, old);
    this.#skipsWindow = false;
    const early = this.#judge(at, side, kind, old, view, l4At, end);
    if (early !== TRACKED) return early;
    if (!this.#skipsWindow) {
      const window = checkWindow(
        records,
        at,
        side,
        view,
        l4At,
        end,
        kind,
        old,
        ackShift,
        this.#liberal || this.isUnchecked,
      );
      if (window === WINDOW_IGNORE) return TRACKED_IGNORED;
      if (window !== WINDOW_GOOD) {
        this.#shorten(at, side, kind, policies[policyAt + TIMEOUT_UNACK]!, now);
        return window === WINDOW_SEQ_OVER ? SEQ_OVER : ACK_OVER;
      }
    }
    return this.#accept(at, side, kind, policies, policyAt);
  }

  /** What the transition table alone can't tell. Sets #state and #skipsWindow, or returns a verdict. */
  #judge(
    at: number,
    side: number,
    kind: number,
    old: number,
    view: DataView,
    l4At: number,
    end: number,
  ): number {
    const records = this.#records;
    const progress = records[at + PROGRESS]!;
    switch (this.#state) {
      case TCP_SYN_SENT:
        if (old < TCP_TIME_WAIT) return TRACKED;
        if (
          ((records[at + SIDES]! | records[at + SIDES]! >>> 16) & SIDE_CLOSE_INIT) !== 0 ||
          (lastSide(progress) === side && lastKind(progress) === KIND_RST)
        ) return REOPENED;
        return this.#ignore(at, side, kind, old, view, l4At, end);
      case TCP_IGNORE:
        return this.#ignore(at, side, kind, old, view, l4At, end);
      case TCP_INVALID:
        return STATE;
      case TCP_TIME_WAIT:
        // An ACK that answers an ignored SYN (RFC 5961 §4) is no acknowledgment of the last FIN.
        if (
          old === TCP_LAST_ACK && kind === KIND_ACK && lastSide(progress) !== side &&
          lastKind(progress) === KIND_SYN && (progress & SIDE_CHALLENGE_ACK << 16) !== 0
        ) {
          records[at + PROGRESS] = progress & ~(SIDE_CHALLENGE_ACK << 16);
          return TRACKED_IGNORED;
        }
        return TRACKED;
      case TCP_SYN_SENT2:
        records[at + PROGRESS] = progress | SIDE_SIMULTANEOUS << 16;
        return TRACKED;
      case TCP_SYN_RECV:
        if (side === 1 && kind === KIND_ACK && (progress & SIDE_SIMULTANEOUS << 16) !== 0) {
          this.#state = TCP_ESTABLISHED;
        }
        return TRACKED;
      case TCP_CLOSE:
        return kind === KIND_RST ? this.#judgeReset(at, side, old, view, l4At) : TRACKED;
      default:
        return TRACKED;
    }
  }

  /** The record may be out of step with the endpoints: note the segment and wait for its answer. */
  #ignore(
    at: number,
    side: number,
    kind: number,
    old: number,
    view: DataView,
    l4At: number,
    end: number,
  ): number {
    const records = this.#records;
    const progress = records[at + PROGRESS]!;
    const sender = lastSide(progress);
    if (
      kind === KIND_SYNACK && lastKind(progress) === KIND_SYN && sender !== side &&
      view.getInt32(l4At + 8) === records[at + LAST_END]
    ) {
      // The SYN that was ignored is being accepted: both ends agree, so the record follows them.
      const seen = at + SEEN + sender * SEEN_WORDS;
      records[seen + SEEN_END] = records[at + LAST_END]!;
      records[seen + SEEN_MAXEND] = records[at + LAST_END]!;
      records[seen + SEEN_MAXWIN] = records[at + LAST_WIN]! || 1;
      const flags = (progress >>> 16) & 0xff & ~SIDE_CHALLENGE_ACK;
      setSide(records, at, sender, flags, (progress >>> 12) & 0x0f);
      const other = at + SEEN + side * SEEN_WORDS;
      for (let word = 0; word < SEEN_WORDS; word++) records[other + word] = 0;
      setSide(records, at, side, sideFlags(records, at, side) & SIDE_LIBERAL, 0);
      records[at + PROGRESS] = (progress & ~(0x0f | SIDE_CHALLENGE_ACK << 16)) | TCP_SYN_SENT;
      this.#state = TCP_SYN_RECV;
      return TRACKED;
    }
    let next = (progress & ~0x1f0) | kind << 4 | side << 8;
    records[at + LAST_SEQ] = view.getInt32(l4At + 4);
    records[at + LAST_END] = segmentEnd(view, l4At, end);
    records[at + LAST_WIN] = view.getUint16(l4At + 14);
    if (kind === KIND_SYN && side === 0) {
      const options = Math.max(0, readSynOptions(view, l4At));
      const challenge = old === TCP_LAST_ACK ? SIDE_CHALLENGE_ACK : 0;
      next = (next & ~0x00fff000) | (options >>> 8) << 12 | (options & 0xff | challenge) << 16;
    }
    if (old === TCP_SYN_SENT && kind === KIND_ACK && side === 1) {
      records[at + LAST_ACK] = view.getInt32(l4At + 8);
    }
    records[at + PROGRESS] = next;
    return TRACKED_IGNORED;
  }

  #judgeReset(at: number, side: number, old: number, view: DataView, l4At: number): number {
    const records = this.#records;
    const progress = records[at + PROGRESS]!;
    if (
      old === TCP_FIN_WAIT || old === TCP_LAST_ACK || old === TCP_TIME_WAIT || old === TCP_CLOSE ||
      old === TCP_CLOSE_WAIT
    ) {
      this.#skipsWindow = true; // it was closing anyway, and perhaps the ports are in use again
      return TRACKED;
    }
    const seq = view.getInt32(l4At + 4);
    const isEstablished = isEstablishedTcp(records, at);
    if (
      (sideFlags(records, at, 1 - side) & SIDE_MAXACK_SET) !== 0 && lastKind(progress) !== KIND_SYN
    ) {
      if (seq === 0 && !isEstablished) return TRACKED;
      const acknowledged = records[at + SEEN + (1 - side) * SEEN_WORDS + SEEN_MAXACK]!;
      if (before(seq, acknowledged) && !this.#ignoreInvalidRst && !this.isUnchecked) {
        return OLD_RST;
      }
      if (!isEstablished || seq === acknowledged) return TRACKED;
      if (
        lastKind(progress) === KIND_ACK && lastSide(progress) === side &&
        seq === records[at + LAST_END]
      ) return TRACKED; // right behind the sender's last data
      // In the window but not exact (RFC 5961 §3): the receiver will challenge it, so stay open.
      this.#state = old;
    }
    const status = records[at + STATUS]!;
    const answersIgnored = (status & SEEN_REPLY) !== 0 && lastKind(progress) === KIND_SYN &&
        lastSide(progress) !== side ||
      (status & ASSURED) === 0 && lastKind(progress) === KIND_ACK;
    if (answersIgnored && view.getInt32(l4At + 8) === records[at + LAST_END]) {
      this.#skipsWindow = true;
    } else if (
      old === TCP_SYN_SENT && lastKind(progress) === KIND_ACK && lastSide(progress) === 1 &&
      seq === records[at + LAST_ACK]
    ) {
      this.#skipsWindow = true; // it answers a challenge that was let through
    }
    return TRACKED;
  }

  /** The second reset or FIN out of the window: the record is out of step, let it not live for days. */
  #shorten(at: number, side: number, kind: number, unackMs: number, now: number): void {
    const records = this.#records;
    if ((records[at + STATUS]! & ASSURED) === 0 || (kind !== KIND_RST && kind !== KIND_FIN)) return;
    const progress = records[at + PROGRESS]!;
    const last = lastKind(progress);
    if (lastSide(progress) !== side && (last === KIND_FIN || last === KIND_RST)) {
      const left = (records[at + EXPIRES]! - now) | 0;
      if (left >= SHORTEN_FROM_MS && left > unackMs) records[at + EXPIRES] = (now + unackMs) | 0;
      return;
    }
    records[at + PROGRESS] = (progress & ~0x1f0) | kind << 4 | side << 8;
  }

  /** A good segment: the state moves on, and the timeout follows. */
  #accept(
    at: number,
    side: number,
    kind: number,
    policies: Int32Array,
    policyAt: number,
  ): number {
    const records = this.#records;
    const state = this.#state;
    const progress = records[at + PROGRESS]!;
    // A connection brought back in step has SYN_SENT as its old state.
    const old = progress & 0x0f;
    records[at + PROGRESS] = (progress & ~0x1ff) | state | kind << 4 | side << 8;
    if (old !== state && state === TCP_FIN_WAIT) addSideFlag(records, at, side, SIDE_CLOSE_INIT);

    const own = policies[policyAt + state]!;
    const unack = policies[policyAt + TIMEOUT_UNACK]!;
    const retransmit = policies[policyAt + TIMEOUT_RETRANSMIT]!;
    const sides = records[at + SIDES]! | records[at + SIDES]! >>> 16;
    let timeout = own;
    if (progress >>> 24 >= this.#maxRetrans && own > retransmit) timeout = retransmit;
    else if (kind === KIND_RST) timeout = policies[policyAt + TCP_CLOSE]!;
    else if ((sides & SIDE_UNACKNOWLEDGED) !== 0 && own > unack) timeout = unack;
    else if (records[at + LAST_WIN] === 0 && own > retransmit) timeout = retransmit;

    const status = records[at + STATUS]!;
    if ((status & SEEN_REPLY) === 0) {
      if (kind === KIND_RST) return TRACKED_LAST;
      // A repeated SYN does not prolong: else a client could hold a mapping forever.
      if (kind === KIND_SYN && old === TCP_SYN_SENT && (status & CONFIRMED) !== 0) {
        return TRACKED_IGNORED;
      }
      if (state === TCP_ESTABLISHED && timeout > unack) timeout = unack;
    } else if (
      (status & ASSURED) === 0 && state === TCP_ESTABLISHED &&
      (old === TCP_SYN_RECV || old === TCP_ESTABLISHED)
    ) {
      records[at + STATUS] = status | ASSURED;
    }
    this.timeoutMs = timeout;
    return TRACKED;
  }
}
