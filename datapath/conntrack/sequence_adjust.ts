/**
 * TCP sequence numbers after a helper has changed the length of a payload: each direction has a point
 * in the sender's numbers from which on they are shifted, and what they were shifted by before and
 * are after it. Kept in a connection's extension.
 */
import { partialAt } from "../packet/offload.ts";
import type { Packet } from "../packet/packet.ts";
import { difference32, update } from "../packet/checksum.ts";
import { EXTENSION_WORDS } from "./layout.ts";
import { before } from "./tcp_window.ts";

// Words of the extension, 3 for each direction.
const FROM = 0;
const BEFORE = 1;
const AFTER = 2;
const DIRECTION_WORDS = 3;
/** First word that a helper has for itself. */
export const HELPER_WORDS = 6;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_SACK = 5;

/** What the numbers of a direction are shifted by at `sequence` (the sender's number). 0 without extension. */
export function sequenceShift(
  extensions: Int32Array,
  extension: number,
  side: number,
  sequence: number,
): number {
  if (extension === 0) return 0;
  const at = extension * EXTENSION_WORDS + side * DIRECTION_WORDS;
  return before(extensions[at + FROM]!, sequence)
    ? extensions[at + AFTER]!
    : extensions[at + BEFORE]!;
}

/** Notes that a payload that begins at `sequence` has grown by `growth` bytes; not for one that is sent again. */
export function noteGrowth(
  extensions: Int32Array,
  extension: number,
  side: number,
  sequence: number,
  growth: number,
): void {
  if (extension === 0 || growth === 0) return;
  const at = extension * EXTENSION_WORDS + side * DIRECTION_WORDS;
  const isFirst = extensions[at + BEFORE] === extensions[at + AFTER];
  if (!isFirst && !before(extensions[at + FROM]!, sequence)) return;
  extensions[at + FROM] = sequence;
  extensions[at + BEFORE] = extensions[at + AFTER]!;
  extensions[at + AFTER] = (extensions[at + AFTER]! + growth) | 0;
}

/** Shifts the sequence number, acknowledgment and SACK blocks of a segment from `side`. The header fits. */
export function adjustSequence(
  packet: Packet,
  l4At: number,
  extensions: Int32Array,
  extension: number,
  side: number,
): void {
  const { view } = packet;
  const sequence = view.getInt32(l4At + 4);
  const own = sequenceShift(extensions, extension, side, sequence);
  if (own !== 0) writeWord(packet, l4At, l4At + 4, (sequence + own) | 0);
  if ((view.getUint8(l4At + 13) & 0x10) === 0) return;
  // The other side acknowledges shifted numbers; its peer knows the numbers that it has sent.
  shiftAcknowledgment(packet, l4At, l4At + 8, extensions, extension, 1 - side);
  let at = l4At + 20;
  const end = l4At + ((view.getUint8(l4At + 12) & 0xf0) >>> 2);
  while (at + 2 <= end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) return;
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    const size = view.getUint8(at + 1);
    if (size < 2 || at + size > end) return;
    if (kind === OPTION_SACK && (size - 2) % 8 === 0) {
      for (let edge = at + 2; edge < at + size; edge += 4) {
        shiftAcknowledgment(packet, l4At, edge, extensions, extension, 1 - side);
      }
    }
    at += size;
  }
}

function shiftAcknowledgment(
  packet: Packet,
  l4At: number,
  at: number,
  extensions: Int32Array,
  extension: number,
  side: number,
): void {
  const value = packet.view.getInt32(at);
  const words = extension * EXTENSION_WORDS + side * DIRECTION_WORDS;
  const from = extensions[words + FROM]!;
  const earlier = extensions[words + BEFORE]!;
  // Compare as the peer counts: behind the point, the numbers are those after the shift.
  const shift = before(from, (value - earlier) | 0) ? extensions[words + AFTER]! : earlier;
  if (shift !== 0) writeWord(packet, l4At, at, (value - shift) | 0);
}

/** Writes a word of the TCP header, at an even or odd place, and its checksum. */
function writeWord(packet: Packet, l4At: number, at: number, value: number): void {
  const { view } = packet;
  const old = view.getInt32(at, true);
  view.setInt32(at, value);
  if (packet.needsCsum && partialAt(packet) === l4At) return;
  let difference = difference32(old, view.getInt32(at, true));
  if (((at - l4At) & 1) !== 0) difference = swapSum(difference);
  view.setUint16(l4At + 16, update(view.getUint16(l4At + 16, true), difference), true);
}

/** A sum of units that lie one byte off: its bytes change places. */
function swapSum(sum: number): number {
  const folded = (sum & 0xffff) + (sum >>> 16);
  const once = (folded & 0xffff) + (folded >>> 16);
  return (once & 0xff) << 8 | once >>> 8;
}
