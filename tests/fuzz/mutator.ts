/**
 * Makes hostile frames of harmless ones. Most damage is done where it tells (frame_walk.ts): a length
 * or a kind gets a value next to a limit, a header is cut off, layers are put in between, the frame
 * goes into a tunnel, comes in fragments, or back from the other side. Some of it is anywhere.
 *
 * Draws all its choices from one generator of random numbers: the same seed makes the same frames.
 */
import type { Random } from "../../datapath/testing/flow_values.ts";
import { type Draft, FrameWalk } from "./frame_walk.ts";

/** Longest frame that is made: above what packet buffers hold. */
export const DRAFT_SIZE_MAX = 66_000;
/** Frames longer than this come rarely: they cost as much as a hundred others. */
const LONG_SIZE = 4000;
const LONG_CHANCE = 1000;

/** Values next to limits that headers have. */
const BYTES: readonly number[] = [
  ...[0, 1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 63, 64, 0x40, 0x44],
  ...[0x45, 0x46, 0x4f, 0x50, 0x5f, 0x60, 0x6f, 0x7f, 0x80, 0xf0, 0xff, 132, 133, 135, 136],
];
const WORDS: readonly number[] = [
  ...[0, 1, 4, 7, 8, 9, 12, 19, 20, 21, 39, 40, 41, 0x2000, 0x2001, 0x3fff, 0x4000, 0x7fff],
  ...[0x8000, 0xfff0, 0xfff8, 0xffff, 0x0600, 0x05ff, 0x0800, 0x0806, 0x8035, 0x86dd, 0x8100],
  ...[0x88a8, 0x8847, 0x8848, 0x894f, 0x6558, 0x880b, 4789, 6081, 2123, 53, 67],
];
const EXTENSIONS: readonly number[] = [0, 43, 44, 51, 60, 59, 135, 139];
const NSH = Uint8Array.fromHex(
  "2fc60103123456ff11111111222222223333333344444444",
);
const VXLAN = Uint8Array.fromHex("0800000000002a00");
const GENEVE = Uint8Array.fromHex("0200655800002a000102030109090909");
const GRE = Uint8Array.fromHex("20006558000000ff");

export class Mutator {
  /** The frame that was made last. */
  readonly draft: Draft;
  readonly #random: Random;
  readonly #short: readonly Uint8Array[];
  readonly #long: readonly Uint8Array[];
  readonly #walk: FrameWalk;
  readonly #scratch = new Uint8Array(DRAFT_SIZE_MAX);
  /** A datagram that is being sent in fragments, in #whole. */
  readonly #whole = new Uint8Array(LONG_SIZE);
  #wholeSize = 0;
  #piecesLeft = 0;

  constructor(random: Random, corpus: readonly Uint8Array[]) {
    const bytes = new Uint8Array(DRAFT_SIZE_MAX);
    this.draft = { bytes, view: new DataView(bytes.buffer), size: 0 };
    this.#walk = new FrameWalk(this.draft);
    this.#random = random;
    this.#short = corpus.filter(({ length }) => length <= LONG_SIZE);
    this.#long = corpus.filter(({ length }) => length > LONG_SIZE);
  }

  /** Makes the next frame. */
  next(): Draft {
    const random = this.#random;
    if (this.#piecesLeft > 0) {
      this.#piece();
      if (random(8) === 0) this.#mutate();
      return this.draft;
    }
    const isLong = this.#long.length > 0 && random(LONG_CHANCE) === 0;
    this.#load(pick(random, isLong ? this.#long : this.#short));
    for (let count = random(4); count > 0; count--) this.#mutate();
    if (random(32) === 0) this.#beginPieces();
    return this.draft;
  }

  #load(frame: Uint8Array): void {
    this.draft.bytes.set(frame);
    this.draft.size = frame.length;
  }

  #mutate(): void {
    const { draft } = this;
    const random = this.#random;
    if (draft.size === 0) return;
    this.#walk.walk();
    switch (random(16)) {
      case 0:
        return this.#cut();
      case 1:
        draft.bytes[random(draft.size)] = random(256);
        return;
      case 2:
      case 3:
      case 4:
      case 5:
        return this.#damageField();
      case 6:
        return this.#addTags();
      case 7:
        return this.#addLabels();
      case 8:
        return this.#addExtensions();
      case 9:
        return this.#addOptions();
      case 10:
        return this.#wrap();
      case 11:
        return this.#turn();
      case 12:
        return this.#splice();
      case 13:
        return this.#becomeFragment();
      case 14:
        return this.#vary();
      default:
        return random(8) === 0 ? this.#scramble() : this.#addNsh();
    }
  }

  /** Cuts off anywhere, or next to where a header begins. */
  #cut(): void {
    const { draft } = this;
    const { headers, headerCount } = this.#walk;
    const random = this.#random;
    const at = random(3) === 0 || headerCount === 0
      ? random(draft.size + 1)
      : headers[random(headerCount)]! + random(5) - 2;
    draft.size = Math.max(0, Math.min(draft.size, at));
  }

  /** A field of a length or kind: a value near a limit, near what it was, or any. */
  #damageField(): void {
    const { fields, fieldCount } = this.#walk;
    const random = this.#random;
    if (fieldCount === 0) return;
    const field = fields[random(fieldCount)]!;
    const at = field >> 2;
    const { view } = this.draft;
    if ((field & 3) === 1) {
      const value = view.getUint8(at);
      view.setUint8(
        at,
        random(3) === 0
          ? value + random(3) - 1
          : random(4) === 0
          ? random(256)
          : pick(random, BYTES),
      );
      return;
    }
    const value = view.getUint16(at);
    const kind = random(6);
    view.setUint16(
      at,
      kind === 0
        ? value + random(3) - 1
        : kind === 1
        ? this.draft.size - at + random(40)
        : kind === 2
        ? random(0x10000)
        : pick(random, WORDS),
    );
  }

  /** Makes room for `size` bytes. Returns whether there was any. */
  #insert(at: number, size: number): boolean {
    const { draft } = this;
    if (at > draft.size || draft.size + size > DRAFT_SIZE_MAX) return false;
    draft.bytes.copyWithin(at + size, at, draft.size);
    draft.size += size;
    return true;
  }

  /** Up to six tags; often the stack ends in one. */
  #addTags(): void {
    const random = this.#random;
    const count = 1 + random(random(4) === 0 ? 6 : 2);
    if (this.draft.size < 12 || !this.#insert(12, 4 * count)) return;
    for (let at = 12; at < 12 + 4 * count; at += 4) {
      this.draft.view.setUint16(at, pick(random, [0x8100, 0x88a8, 0x88a8, 0x9100]));
      this.draft.view.setUint16(at + 2, random(3) === 0 ? 0x1000 : random(0x10000));
    }
    if (random(6) === 0) this.draft.size = 12 + random(4 * count + 3);
  }

  /** A label stack in front of L3; sometimes without a bottom. */
  #addLabels(): void {
    const random = this.#random;
    const at = this.#l3();
    const count = 1 + random(random(4) === 0 ? 20 : 3);
    if (at < 14 || !this.#insert(at, 4 * count)) return;
    const { view } = this.draft;
    view.setUint16(at - 2, pick(random, [0x8847, 0x8848]));
    const isEndless = random(4) === 0;
    for (let entry = 0; entry < count; entry++) {
      const isBottom = entry === count - 1 && !isEndless ? 0x100 : 0;
      view.setInt32(at + 4 * entry, random(0x100000) << 12 | isBottom | random(256));
    }
  }

  #addNsh(): void {
    const random = this.#random;
    const at = this.#l3();
    if (at < 14 || !this.#insert(at, NSH.length)) return;
    const { bytes, view } = this.draft;
    const type = view.getUint16(at - 2);
    bytes.set(NSH, at);
    bytes[at + 3] = type === 0x0800 ? 1 : type === 0x86dd ? 2 : random(8);
    if (random(3) === 0) bytes[at + 1] = random(256);
    view.setUint16(at - 2, 0x894f);
  }

  /** Extension headers behind an IPv6 header, right or wrong. */
  #addExtensions(): void {
    const random = this.#random;
    const at = this.#anyIp(6);
    if (at < 0) return;
    const { bytes, view } = this.draft;
    for (let count = 1 + random(random(4) === 0 ? 12 : 3); count > 0; count--) {
      const next = bytes[at + 6]!;
      const words = random(3);
      const size = 8 * (words + 1);
      if (!this.#insert(at + 40, size)) return;
      bytes.fill(random(2), at + 40, at + 40 + size);
      bytes[at + 40] = next;
      bytes[at + 41] = random(8) === 0 ? random(256) : words;
      bytes[at + 6] = pick(random, EXTENSIONS);
      if (bytes[at + 6] === 44) {
        bytes[at + 41] = 0;
        view.setUint16(at + 42, pick(random, [0, 1, 8, 9, 0xfff8, random(0x10000)]));
      }
      view.setUint16(at + 4, view.getUint16(at + 4) + size);
    }
  }

  /** IPv4 options, right or wrong. */
  #addOptions(): void {
    const random = this.#random;
    const at = this.#anyIp(4);
    if (at < 0) return;
    const words = 1 + random(10);
    const { bytes, view } = this.draft;
    if ((bytes[at]! & 15) + words > 15 || !this.#insert(at + 20, 4 * words)) return;
    for (let byte = at + 20; byte < at + 20 + 4 * words; byte++) {
      bytes[byte] = pick(random, [0, 1, 7, 68, 131, 148, 3, 4, 255]);
    }
    bytes[at] = bytes[at]! + words;
    view.setUint16(at + 2, view.getUint16(at + 2) + 4 * words);
  }

  /** The whole frame into a tunnel. */
  #wrap(): void {
    const random = this.#random;
    const kind = random(4);
    const header = kind === 0 ? VXLAN : kind === 1 ? GENEVE : kind === 2 ? GRE : undefined;
    if (header === undefined) this.draft.bytes.copyWithin(0, 14, this.draft.size);
    const inner = header === undefined ? Math.max(0, this.draft.size - 14) : this.draft.size;
    this.draft.size = inner;
    const isIpv6 = random(3) === 0;
    const l4 = 14 + (isIpv6 ? 40 : 20);
    const udp = kind < 2 ? 8 : 0;
    const front = l4 + udp + (header?.length ?? 0);
    if (!this.#insert(0, front)) return;
    const { bytes, view } = this.draft;
    bytes.fill(0, 0, front);
    bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], 0);
    view.setUint16(12, isIpv6 ? 0x86dd : 0x0800);
    const protocol = kind < 2 ? 17 : kind === 2 ? 47 : (bytes[front]! >>> 4) === 6 ? 41 : 4;
    if (isIpv6) {
      bytes[14] = 0x60;
      view.setUint16(18, this.draft.size - 54);
      bytes.set([protocol, 64], 20);
      bytes.fill(0xfd, 22, 54);
    } else {
      bytes[14] = 0x45;
      view.setUint16(16, this.draft.size - 14);
      bytes.set([64, protocol], 22);
      bytes.set([10, 0, 0, 1, 10, 0, 0, 2], 26);
    }
    if (udp > 0) {
      view.setUint16(l4, 40000 + random(4));
      view.setUint16(l4 + 2, kind === 0 ? 4789 : 6081);
      view.setUint16(l4 + 4, this.draft.size - l4);
      if (random(2) === 0) view.setUint16(l4 + 6, random(0x10000));
    }
    if (header !== undefined) bytes.set(header, l4 + udp);
  }

  /** The same the other way: an answer, as connection tracking sees it. */
  #turn(): void {
    const { bytes, view, size } = this.draft;
    const at = this.#walk.ipCount > 0 ? this.#walk.ips[0]! : -1;
    if (at < 0) return;
    const isIpv6 = bytes[at]! >>> 4 === 6;
    const from = isIpv6 ? at + 8 : at + 12;
    const length = isIpv6 ? 16 : 4;
    const l4 = isIpv6 ? at + 40 : at + 4 * (bytes[at]! & 15);
    if (l4 + 8 > size) return;
    const address = this.#scratch;
    address.set(bytes.subarray(from, from + length));
    bytes.copyWithin(from, from + length, from + 2 * length);
    bytes.set(address.subarray(0, length), from + length);
    const port = view.getUint16(l4);
    view.setUint16(l4, view.getUint16(l4 + 2));
    view.setUint16(l4 + 2, port);
  }

  /** The beginning of this one and the end of another. */
  #splice(): void {
    const { draft } = this;
    const random = this.#random;
    const other = pick(random, this.#short);
    const at = random(Math.min(draft.size, 200) + 1);
    const from = random(other.length);
    draft.bytes.set(other.subarray(from), at);
    draft.size = at + other.length - from;
  }

  /** A fragment of its own, of one of few datagrams: sometimes they fit together. */
  #becomeFragment(): void {
    const random = this.#random;
    const at = this.#anyIp(4);
    if (at < 0) return;
    const { view } = this.draft;
    view.setUint16(at + 4, random(4));
    const offset = pick(random, [0, 0, 1, 2, 3, 185, 0x1fff, random(0x2000)]);
    view.setUint16(at + 6, random(2) * 0x2000 | offset);
  }

  /** Another connection: addresses and ports among a few hundred, and any flags and sequence numbers. */
  #vary(): void {
    const random = this.#random;
    const { bytes, size } = this.draft;
    const at = this.#walk.ipCount > 0 ? this.#walk.ips[0]! : -1;
    if (at < 0 || at + 60 > size) return;
    const isIpv6 = bytes[at]! >>> 4 === 6;
    bytes[at + (isIpv6 ? 23 : 15)] = random(16);
    const l4 = at + (isIpv6 ? 40 : 20);
    bytes[l4 + 1] = random(16);
    if (bytes[at + (isIpv6 ? 6 : 9)] !== 6) return;
    bytes[l4 + 13] = random(2) === 0 ? pick(random, [2, 0x12, 0x10, 0x11, 4, 0x18]) : random(256);
    if (random(2) === 0) {
      for (let byte = l4 + 4; byte < l4 + 12; byte++) bytes[byte] = random(256);
    }
  }

  /** Bytes that mean nothing. */
  #scramble(): void {
    const random = this.#random;
    this.draft.size = random(200);
    for (let at = 0; at < this.draft.size; at++) this.draft.bytes[at] = random(256);
    // Often with a type, so that more than the Ethernet header is looked at.
    if (random(2) === 0 && this.draft.size >= 14) {
      this.draft.view.setUint16(12, pick(random, WORDS));
    }
  }

  /** From now on pieces of this frame come, in any order, perhaps one twice and one never. */
  #beginPieces(): void {
    const { bytes, size } = this.draft;
    this.#walk.walk();
    const at = this.#walk.ipCount > 0 ? this.#walk.ips[0]! : -1;
    const version = bytes[at]! >>> 4;
    if (at !== 14 || (version !== 4 && version !== 6) || size < 62 || size > LONG_SIZE) return;
    this.#whole.set(bytes.subarray(0, size));
    this.#wholeSize = size;
    this.#piecesLeft = 2 + this.#random(6);
    this.#piece();
  }

  /** One of four pieces of #whole. */
  #piece(): void {
    const random = this.#random;
    const { bytes, view } = this.draft;
    this.#piecesLeft--;
    const isIpv6 = this.#whole[14]! >>> 4 === 6;
    const header = isIpv6 ? 54 : 14 + 4 * Math.max(5, this.#whole[14]! & 15);
    const step = Math.max(8, Math.ceil((this.#wholeSize - header) / 32) * 8);
    const index = random(4);
    const from = Math.min(this.#wholeSize, header + index * step);
    const to = Math.min(this.#wholeSize, from + step + (random(24) === 0 ? 8 : 0));
    const payload = isIpv6 ? header + 8 : header;
    const hasMore = to < this.#wholeSize;
    bytes.set(this.#whole.subarray(0, header));
    bytes.set(this.#whole.subarray(from, to), payload);
    this.draft.size = payload + to - from;
    if (!isIpv6) {
      view.setUint16(16, this.draft.size - 14);
      view.setUint16(20, (hasMore ? 0x2000 : 0) | (from - header) >> 3);
      return;
    }
    view.setUint16(18, this.draft.size - header);
    bytes.fill(0, header, payload);
    bytes[header] = bytes[20]!;
    bytes[20] = 44;
    view.setUint16(header + 2, (from - header & 0xfff8) | (hasMore ? 1 : 0));
  }

  /** Where L3 begins behind the outermost Ethernet header; 0: nowhere. */
  #l3(): number {
    return this.#walk.headerCount > 1 ? Math.min(this.#walk.headers[1]!, this.draft.size) : 0;
  }

  /** An IP header of that version, whole; −1: there is none. */
  #anyIp(version: 4 | 6): number {
    const { ips, ipCount } = this.#walk;
    if (ipCount === 0) return -1;
    const at = ips[this.#random(ipCount)]!;
    const size = version === 4 ? 20 : 40;
    return at + size <= this.draft.size && this.draft.bytes[at]! >>> 4 === version ? at : -1;
  }
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)]!;
}
