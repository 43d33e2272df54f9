/**
 * The part of extraction (extract.ts) that looks at no header: metadata goes from the packet into its
 * key, and what a former packet left in a key slot is cleared. Word numbers are those of key.ts / 4.
 */
import { TUN_OPTIONS_MAX } from "../key.ts";
import { type Packet, WIDE_METADATA_FROM } from "../packet/packet.ts";

/** As a little-endian read gives it. */
const ETH_P_IP = 0x0008;
const CT_STATE_WORD = 15;
/** ct_mark, ct_label and the original tuple: [CT_WORD, CT_END). */
const CT_WORD = 32;
const CT_END = 47;
const ND_RESERVED_WORD = 47;
/** MPLS (count and entries) and NSH: [LABELS_WORD, LABELS_END). */
const LABELS_WORD = 48;
const LABELS_END = 58;
/** Tunnel without its options: [TUNNEL_WORD, OPTIONS_WORD). */
const TUNNEL_WORD = 58;
/** IP version, kind and size of the options. */
const FAMILY_WORD = 72;
const OPTIONS_WORD = 73;

/** Zeroes the words from 15 on that the slot's former key may have used. */
export function clearFormer(keys: Int32Array, at: number): void {
  if ((keys[at + 10]! & 0xffff) !== ETH_P_IP) {
    for (let word = at + 16; word < at + 32; word++) keys[word] = 0;
    for (let word = at + LABELS_WORD; word < at + LABELS_END; word++) keys[word] = 0;
    keys[at + CT_END - 1] = 0;
    keys[at + ND_RESERVED_WORD] = 0;
  }
  if (keys[at + CT_STATE_WORD] !== 0) {
    keys[at + CT_STATE_WORD] = 0;
    for (let word = at + CT_WORD; word < at + CT_END; word++) keys[word] = 0;
  }
  const family = keys[at + FAMILY_WORD]!;
  if (family !== 0) {
    const end = at + OPTIONS_WORD + optionWords(family);
    for (let word = at + TUNNEL_WORD; word < end; word++) keys[word] = 0;
  }
}

/** Writes all metadata but the port. The slot is cleared. */
export function writeMetadata(packet: Packet, keys: Int32Array, at: number): void {
  keys[at] = networkOrder(packet.priority);
  keys[at + 1] = networkOrder(packet.mark);
  keys[at + 2] = networkOrder(packet.dpHash);
  keys[at + 3] = networkOrder(packet.recircId);
  const wide = packet.wide;
  if (packet.ctState !== 0) {
    const zone = packet.ctZone;
    keys[at + 4]! |= (zone & 0xff) << 24 | (zone & 0xff00) << 8;
    keys[at + CT_STATE_WORD] = networkOrder(packet.ctState);
    if (wide !== undefined) copyWords(wide.words, CT_WORD, CT_END, keys, at);
  }
  if (packet.hasTunnel && wide !== undefined) {
    const family = wide.words[FAMILY_WORD - WIDE_METADATA_FROM]!;
    if (family === 0) return; // never begun
    copyWords(wide.words, TUNNEL_WORD, OPTIONS_WORD + optionWords(family), keys, at);
  }
}

function copyWords(
  words: Int32Array,
  from: number,
  end: number,
  keys: Int32Array,
  at: number,
): void {
  for (let word = from; word < end; word++) keys[at + word] = words[word - WIDE_METADATA_FROM]!;
}

/** Words of options, from the word that has their size in its upper half, network byte order. */
function optionWords(family: number): number {
  const size = (family >>> 16 & 0xff) << 8 | family >>> 24;
  return (Math.min(size, TUN_OPTIONS_MAX) + 3) >> 2;
}

/** A word whose four bytes, as they lie in memory, are the number in network byte order. */
function networkOrder(value: number): number {
  return (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}
