/**
 * TCP window tracking from the middle: is a segment one that its receiver can accept (RFC 9293 §3.10.7.4,
 * window scaling RFC 7323 §2, selective acknowledgments RFC 2018)? The boundaries are those of Guido van
 * Rooij's "Real Stateful TCP Packet Filtering in IP Filter" as the kernel's tracker refined them.
 *
 * For each side the record keeps END (how far it has sent), MAXEND (how far the other side lets it
 * send), MAXWIN (the largest window it has offered). A segment with sequence numbers [seq, end) that
 * acknowledges `sack` is good if
 *
 *   seq ≤ sender.MAXEND, end ≥ sender.END − receiver.MAXWIN,
 *   sack ≤ receiver.END, sack ≥ receiver.END − max(66000, sender.MAXWIN).
 *
 * Sequence numbers are compared modulo 2^32. Allocates nothing.
 */
import {
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
  SEEN_WORDS,
  SIDES,
} from "./layout.ts";
import { KIND_ACK, TCP_SYN_RECV, TCP_SYN_SENT } from "./tcp_states.ts";

// Flags of a side, IP_CT_TCP_FLAG_*.
export const SIDE_WINDOW_SCALE = 0x01;
export const SIDE_SACK = 0x02;
export const SIDE_CLOSE_INIT = 0x04;
export const SIDE_LIBERAL = 0x08;
export const SIDE_UNACKNOWLEDGED = 0x10;
export const SIDE_MAXACK_SET = 0x20;
/** Only in the last packet's flags. */
export const SIDE_CHALLENGE_ACK = 0x40;
/** Only in the last packet's flags. */
export const SIDE_SIMULTANEOUS = 0x80;

/** What {@link checkWindow} says. */
export const WINDOW_GOOD = 0;
/** Out of the window, but to be let through without changing anything. */
export const WINDOW_IGNORE = 1;
export const WINDOW_SEQ_OVER = 2;
export const WINDOW_ACK_OVER = 3;

const SCALE_MAX = 14;
const ACK_WINDOW_MIN = 66000;

const FIN = 0x01;
const SYN = 0x02;
const RST = 0x04;
const ACK = 0x10;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_SCALE = 3;
const OPTION_SACK_PERMITTED = 4;
const OPTION_SACK = 5;

/** Whether a lies before b, modulo 2^32. */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

export function sideFlags(records: Int32Array, at: number, side: number): number {
  return (records[at + SIDES]! >>> (side << 4)) & 0xff;
}

export function sideScale(records: Int32Array, at: number, side: number): number {
  return (records[at + SIDES]! >>> ((side << 4) + 8)) & 0x0f;
}

export function setSide(
  records: Int32Array,
  at: number,
  side: number,
  flags: number,
  scale: number,
): void {
  const shift = side << 4;
  records[at + SIDES] = (records[at + SIDES]! & ~(0xffff << shift)) | (flags | scale << 8) << shift;
}

export function addSideFlag(records: Int32Array, at: number, side: number, flag: number): void {
  records[at + SIDES] = records[at + SIDES]! | flag << (side << 4);
}

function clearSideFlag(records: Int32Array, at: number, side: number, flag: number): void {
  records[at + SIDES] = records[at + SIDES]! & ~(flag << (side << 4));
}

/** Window scale and SACK-permitted of a SYN's options: flags | scale << 8, or −1 without any options. */
export function readSynOptions(view: DataView, l4At: number): number {
  let at = l4At + 20;
  const end = l4At + ((view.getUint8(l4At + 12) & 0xf0) >>> 2);
  if (at === end) return -1;
  let flags = 0;
  let scale = 0;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) break;
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    if (at + 2 > end) break;
    const size = view.getUint8(at + 1);
    if (size < 2 || at + size > end) break;
    if (kind === OPTION_SACK_PERMITTED && size === 2) {
      flags |= SIDE_SACK;
    } else if (kind === OPTION_SCALE && size === 3) {
      flags |= SIDE_WINDOW_SCALE;
      scale = Math.min(view.getUint8(at + 2), SCALE_MAX);
    }
    at += size;
  }
  return flags | scale << 8;
}

/** The highest right edge among the SACK blocks and `ack`. */
function highestSack(view: DataView, l4At: number, ack: number): number {
  let at = l4At + 20;
  const end = l4At + ((view.getUint8(l4At + 12) & 0xf0) >>> 2);
  // NOP NOP timestamps: what most segments of a stream have.
  if (end - at === 12 && view.getInt32(at) === 0x0101080a) return ack;
  let highest = ack;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) break;
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    if (at + 2 > end) break;
    const size = view.getUint8(at + 1);
    if (size < 2 || at + size > end) break;
    if (kind === OPTION_SACK && size >= 10 && (size - 2) % 8 === 0) {
      for (let block = at + 2; block < at + size; block += 8) {
        const right = view.getInt32(block + 4);
        if (before(highest, right)) highest = right;
      }
      break;
    }
    at += size;
  }
  return highest;
}

/** Sequence number behind the segment: SYN and FIN count as one each. */
export function segmentEnd(view: DataView, l4At: number, end: number): number {
  const flags = view.getUint8(l4At + 13);
  const payload = end - l4At - ((view.getUint8(l4At + 12) & 0xf0) >>> 2);
  return (view.getInt32(l4At + 4) + payload + ((flags >>> 1) & 1) + (flags & FIN)) | 0;
}

/** Sets what is known of a side that sends its first segment, a SYN or SYN-ACK; or sends it again. */
function beginSide(
  records: Int32Array,
  at: number,
  side: number,
  view: DataView,
  l4At: number,
  end: number,
): void {
  const seen = at + SEEN + side * SEEN_WORDS;
  records[seen + SEEN_END] = end;
  records[seen + SEEN_MAXEND] = end;
  records[seen + SEEN_MAXWIN] = view.getUint16(l4At + 14) || 1;
  const options = readSynOptions(view, l4At);
  if (options >= 0) {
    const liberal = sideFlags(records, at, side) & SIDE_LIBERAL;
    setSide(records, at, side, options & 0xff | liberal, options >>> 8);
  }
  // Scaling needs both sides' consent (RFC 7323 §2.2).
  const both = sideFlags(records, at, 0) & sideFlags(records, at, 1);
  if (side === 1 && (both & SIDE_WINDOW_SCALE) === 0) records[at + SIDES]! &= ~0x0f000f00;
}

/** Sets what the connection's first segment tells of the original side. */
export function beginConnection(
  records: Int32Array,
  at: number,
  view: DataView,
  l4At: number,
  end: number,
): void {
  for (let word = SEEN; word <= LAST_WIN; word++) records[at + word] = 0;
  const last = segmentEnd(view, l4At, end);
  const window = view.getUint16(l4At + 14) || 1;
  records[at + SEEN + SEEN_END] = last;
  records[at + SEEN + SEEN_MAXWIN] = window;
  if ((view.getUint8(l4At + 13) & (SYN | ACK)) === SYN) {
    records[at + SEEN + SEEN_MAXEND] = last;
    const options = readSynOptions(view, l4At);
    if (options >= 0) setSide(records, at, 0, options & 0xff, options >>> 8);
    return;
  }
  // Picked up in the middle: the scales are unknown, so the windows are not held against anybody.
  records[at + SEEN + SEEN_MAXEND] = (last + window) | 0;
  setSide(records, at, 0, SIDE_SACK | SIDE_LIBERAL, 0);
  setSide(records, at, 1, SIDE_SACK | SIDE_LIBERAL, 0);
}

/**
 * Checks a segment from `side` against the windows, and notes what it tells. `state` is the
 * connection's TCP state, `ackShift` what a helper's changes moved the acknowledgments by,
 * `isLiberal` lets everything pass. Returns WINDOW_*.
 */
export function checkWindow(
  records: Int32Array,
  at: number,
  side: number,
  view: DataView,
  l4At: number,
  packetEnd: number,
  kind: number,
  state: number,
  ackShift: number,
  isLiberal: boolean,
): number {
  const sender = at + SEEN + side * SEEN_WORDS;
  const receiver = at + SEEN + (1 - side) * SEEN_WORDS;
  const flags = view.getUint8(l4At + 13);
  let seq = view.getInt32(l4At + 4);
  let ack = view.getInt32(l4At + 8);
  let sack = ack;
  const rawWindow = view.getUint16(l4At + 14);
  let window = rawWindow;
  let end = segmentEnd(view, l4At, packetEnd);

  if ((sideFlags(records, at, 1 - side) & SIDE_SACK) !== 0 && view.getUint8(l4At + 12) > 0x5f) {
    sack = highestSack(view, l4At, ack);
  }
  ack = (ack - ackShift) | 0;
  sack = (sack - ackShift) | 0;

  if (records[sender + SEEN_MAXWIN] === 0) {
    if ((flags & SYN) !== 0) {
      beginSide(records, at, side, view, l4At, end);
      if ((flags & ACK) === 0) return WINDOW_GOOD; // simultaneous open
    } else {
      joinLate(records, at, side, end, sack, window);
    }
  } else if (
    (flags & SYN) !== 0 && before(records[sender + SEEN_END]!, end) &&
    (state === TCP_SYN_SENT || state === TCP_SYN_RECV)
  ) {
    // The side begins anew, perhaps with other numbers and options.
    beginSide(records, at, side, view, l4At, end);
    if (side === 1 && (flags & ACK) === 0) return WINDOW_GOOD;
  }

  const receiverEnd = records[receiver + SEEN_END]!;
  // No acknowledgment, or the zero that broken stacks send with a reset: take it as up to date.
  if ((flags & ACK) === 0 || ((flags & RST) !== 0 && ack === 0)) {
    ack = receiverEnd;
    sack = receiverEnd;
  }
  if ((flags & RST) !== 0 && seq === 0 && state === TCP_SYN_SENT) {
    seq = records[sender + SEEN_END]!; // a reset that answers a SYN has no number of its own
    end = seq;
  }

  const senderEnd = records[sender + SEEN_END]!;
  const senderMaxEnd = records[sender + SEEN_MAXEND]!;
  const receiverWindow = records[receiver + SEEN_MAXWIN]!;
  const liberal = isLiberal || (sideFlags(records, at, side) & SIDE_LIBERAL) !== 0;
  const ackFloor = (receiverEnd -
    Math.max(records[sender + SEEN_MAXWIN]!, ACK_WINDOW_MIN) - 1) | 0;
  const isEndRecent = before((senderEnd - receiverWindow - 1) | 0, end);
  const isAckKnown = before(sack, (receiverEnd + 1) | 0);

  if (!before(seq, (senderMaxEnd + 1) | 0)) {
    const overshot = (end - senderMaxEnd + 1) >>> 0;
    if (
      receiverWindow !== 0 && isEndRecent && before(ackFloor, sack) && overshot <= receiverWindow &&
      isAckKnown
    ) {
      // A little more than allowed. If the receiver takes it, its acknowledgment must be known.
      records[sender + SEEN_END] = end;
      addSideFlag(records, at, side, SIDE_UNACKNOWLEDGED);
      return liberal ? WINDOW_GOOD : WINDOW_IGNORE;
    }
    return liberal ? WINDOW_GOOD : WINDOW_SEQ_OVER;
  }
  if (!isAckKnown) return liberal ? WINDOW_GOOD : WINDOW_ACK_OVER;
  if (receiverWindow !== 0 && !isEndRecent) return liberal ? WINDOW_GOOD : WINDOW_IGNORE;
  if (!before(ackFloor, sack)) return liberal ? WINDOW_GOOD : WINDOW_IGNORE;

  if ((flags & SYN) === 0) window <<= sideScale(records, at, side);
  note(records, at, side, flags, end, ack, sack, window);
  if (kind === KIND_ACK) noteRepetition(records, at, side, seq, ack, end, rawWindow);
  return WINDOW_GOOD;
}

/** A side that was not seen opening sends its first segment. */
function joinLate(
  records: Int32Array,
  at: number,
  side: number,
  end: number,
  sack: number,
  window: number,
): void {
  const sender = at + SEEN + side * SEEN_WORDS;
  const receiver = at + SEEN + (1 - side) * SEEN_WORDS;
  const maxWindow = window << sideScale(records, at, side) || 1;
  records[sender + SEEN_END] = end;
  records[sender + SEEN_MAXWIN] = maxWindow;
  records[sender + SEEN_MAXEND] = (end + maxWindow) | 0;
  if (records[receiver + SEEN_MAXWIN] === 0) {
    records[receiver + SEEN_END] = sack;
    records[receiver + SEEN_MAXEND] = sack;
  } else if (sack === ((records[receiver + SEEN_END]! + 1) | 0)) {
    records[receiver + SEEN_END] = sack; // the answer to a keep-alive
  }
}

/** Notes what a good segment tells of both sides. */
function note(
  records: Int32Array,
  at: number,
  side: number,
  flags: number,
  end: number,
  ack: number,
  sack: number,
  window: number,
): void {
  const sender = at + SEEN + side * SEEN_WORDS;
  const receiver = at + SEEN + (1 - side) * SEEN_WORDS;
  const offered = (window + ((sack - ack) | 0)) >>> 0;
  if (records[sender + SEEN_MAXWIN]! < offered && offered < 0x7fffffff) {
    records[sender + SEEN_MAXWIN] = offered;
  }
  if (before(records[sender + SEEN_END]!, end)) {
    records[sender + SEEN_END] = end;
    addSideFlag(records, at, side, SIDE_UNACKNOWLEDGED);
  }
  if ((flags & ACK) !== 0) {
    if ((sideFlags(records, at, side) & SIDE_MAXACK_SET) === 0) {
      records[sender + SEEN_MAXACK] = ack;
      addSideFlag(records, at, side, SIDE_MAXACK_SET);
    } else if (before(records[sender + SEEN_MAXACK]!, ack)) {
      records[sender + SEEN_MAXACK] = ack;
    }
  }
  const excess = (end - records[sender + SEEN_MAXEND]!) | 0;
  if (records[receiver + SEEN_MAXWIN] !== 0 && excess > 0) {
    records[receiver + SEEN_MAXWIN] = Math.min(records[receiver + SEEN_MAXWIN]! + excess, 1 << 30);
  }
  const edge = (sack + window) | 0;
  if (!before(edge, records[receiver + SEEN_MAXEND]!)) {
    records[receiver + SEEN_MAXEND] = window === 0 ? (edge + 1) | 0 : edge;
  }
  if (ack === records[receiver + SEEN_END]) {
    clearSideFlag(records, at, 1 - side, SIDE_UNACKNOWLEDGED);
  }
}

/** Counts identical acknowledgments, and remembers this one. */
function noteRepetition(
  records: Int32Array,
  at: number,
  side: number,
  seq: number,
  ack: number,
  end: number,
  window: number,
): void {
  const progress = records[at + PROGRESS]!;
  if (
    ((progress >>> 8) & 1) === side && records[at + LAST_SEQ] === seq &&
    records[at + LAST_ACK] === ack && records[at + LAST_END] === end &&
    records[at + LAST_WIN] === window
  ) {
    if (progress >>> 24 < 255) records[at + PROGRESS] = progress + 0x1000000;
    return;
  }
  records[at + PROGRESS] = (progress & 0x00fffeff) | side << 8;
  records[at + LAST_SEQ] = seq;
  records[at + LAST_ACK] = ack;
  records[at + LAST_END] = end;
  records[at + LAST_WIN] = window;
}
