/**
 * Choosing what a new connection is translated to: an address of the range, and a port that makes the
 * reply tuple unique (RFC 3022 §2.2, RFC 4787 §4, RFC 5382 §7). The original port is kept when it is
 * free and in the range; a source that is translated already keeps its translation for other
 * destinations; otherwise a bounded number of ports is tried from a random one on.
 */
import { finalise, product } from "../flow_table/hash.ts";
import {
  PLAN_ADDRESS,
  PLAN_FLAGS,
  PLAN_HAS_ADDRESS,
  PLAN_HAS_PORTS,
  PLAN_PERSISTENT,
  PLAN_PORTS,
  PLAN_RANDOM,
} from "./plan.ts";
import type { Table } from "./table.ts";
import { MANIP_SRC } from "./translate.ts";
import {
  hasPorts,
  invertTuple,
  isIcmp,
  makeTuple,
  sameTuple,
  T_DST,
  T_META,
  T_PORTS,
  T_SRC,
} from "./tuple.ts";

/** Ports tried in the first round; each further one tries half as many from another random port on. */
const ATTEMPTS_MAX = 128;
const ATTEMPTS_MIN = 16;
/** Addresses tried when all tried ports of one are taken. */
const ADDRESSES_MAX = 4;

/** Mappings of one source that are tried for another connection. */
const MAPPINGS_MAX = 8;

/** Gives 32 random bits. */
export type Random = () => number;

/** Chooses translations. One per thread: it has scratch tuples. */
export class NatRange {
  readonly #table: Table;
  readonly #random: Random;
  readonly #reply = makeTuple();
  readonly #other = makeTuple();
  readonly #current = makeTuple();
  /** What {@link choose} chose. */
  readonly chosen: Int32Array = makeTuple();

  constructor(table: Table, random: Random) {
    this.#table = table;
    this.#random = random;
  }

  /**
   * Chooses what a connection with original tuple `original`, which looks like `current` from behind
   * earlier translation, is to look like. words[at]: the plan; at < 0: keep the address, and
   * change the source port only if it must be. The result is in `chosen`; if every try was in vain it
   * is not unique, and linking will tell.
   */
  choose(
    original: Int32Array,
    current: Int32Array,
    manip: number,
    words: Int32Array,
    at: number,
  ): void {
    const flags = at < 0 ? 0 : words[at + PLAN_FLAGS]!;
    const isRandom = (flags & PLAN_RANDOM) !== 0;
    const { chosen } = this;
    this.#current.set(current);
    chosen.set(current);
    if (manip === MANIP_SRC && !isRandom) {
      if (this.#isIn(manip, flags, words, at)) {
        if (!this.#isUsed(original)) return;
      } else if (this.#chooseAsBefore(original, flags, words, at)) {
        return;
      }
    }
    for (let attempt = 0; attempt < ADDRESSES_MAX; attempt++) {
      chosen.set(this.#current);
      this.#chooseAddress(manip, flags, words, at, attempt);
      if (!isRandom && this.#isPortIn(manip, flags, words, at)) {
        const ports = at < 0 ? 0 : words[at + PLAN_PORTS]!;
        const isOne = (flags & PLAN_HAS_PORTS) !== 0 && (ports & 0xffff) === ports >>> 16;
        if (isOne || !this.#isUsed(original)) return;
      }
      if (this.#choosePort(original, manip, flags, words, at)) return;
      if ((flags & (PLAN_HAS_ADDRESS | PLAN_PERSISTENT)) !== PLAN_HAS_ADDRESS) return;
    }
  }

  /** Takes the translation that another connection of the same source has, if it fits here too. */
  #chooseAsBefore(original: Int32Array, flags: number, words: Int32Array, at: number): boolean {
    const { chosen } = this;
    for (let skip = 0; this.#table.sources.find(this.#current, skip, this.#other); skip++) {
      if (skip === MAPPINGS_MAX || !invertTuple(this.#other, this.#reply)) return false;
      chosen.set(this.#current);
      for (let word = 0; word < 4; word++) chosen[T_SRC + word] = this.#reply[T_SRC + word]!;
      chosen[T_PORTS] = (chosen[T_PORTS]! & 0xffff) | (this.#reply[T_PORTS]! & ~0xffff);
      if (this.#isIn(MANIP_SRC, flags, words, at) && !this.#isUsed(original)) return true;
    }
    return false;
  }

  #chooseAddress(
    manip: number,
    flags: number,
    words: Int32Array,
    at: number,
    attempt: number,
  ): void {
    if ((flags & PLAN_HAS_ADDRESS) === 0) return;
    const { chosen } = this;
    let spread = this.#spread((flags & PLAN_PERSISTENT) !== 0, attempt);
    const place = manip === MANIP_SRC ? T_SRC : T_DST;
    const min = at + PLAN_ADDRESS;
    let isLowest = true;
    let isHighest = true;
    for (let word = 0; word < 4; word++) {
      const low: number = isLowest ? words[min + word]! >>> 0 : 0;
      const high: number = isHighest ? words[min + 4 + word]! >>> 0 : 0xffffffff;
      const span = Math.max(1, high - low + 1);
      const value: number = low + Math.floor((spread >>> 0) / 0x1_0000_0000 * span);
      chosen[place + word] = value | 0;
      isLowest = isLowest && value === low;
      isHighest = isHighest && value === high;
      if (span > 1) spread = finalise(spread + word + 1 | 0);
    }
  }

  /** A hash of the source, and unless persistent of the destination: the same for the same pair. */
  #spread(isPersistent: boolean, attempt: number): number {
    const { constants } = this.#table;
    const current = this.#current;
    let total = attempt;
    for (let word = 0; word < 4; word++) {
      total = total + product(current[T_SRC + word]!, constants[T_SRC + word]!) | 0;
      if (isPersistent) continue;
      total = total + product(current[T_DST + word]!, constants[T_DST + word]!) | 0;
    }
    return finalise(isPersistent ? total : total + (current[T_META]! >>> 16) | 0);
  }

  /** Tries ports until the tuple is unique. False: in vain. */
  #choosePort(
    original: Int32Array,
    manip: number,
    flags: number,
    words: Int32Array,
    at: number,
  ): boolean {
    const { chosen } = this;
    const meta = chosen[T_META]!;
    const protocol = (meta >>> 8) & 0xff;
    const icmp = isIcmp(protocol, meta & 0xff);
    if (!icmp && !hasPorts(protocol)) return !this.#isUsed(original);
    // An identifier lies where the source port does, whichever end is translated.
    const isUpper = icmp || manip === MANIP_SRC;
    let min = 0;
    let span = 65536;
    if ((flags & PLAN_HAS_PORTS) !== 0) {
      const ports = words[at + PLAN_PORTS]!;
      min = ports & 0xffff;
      span = (ports >>> 16) - min + 1;
    } else if (!icmp) {
      if (manip !== MANIP_SRC) return !this.#isUsed(original);
      // Well-known ports stay well-known (RFC 4787 REQ-3, RFC 5382 REQ-7): some are credentials.
      const old = chosen[T_PORTS]! >>> 16;
      min = old < 512 ? 1 : old < 1024 ? 600 : 1024;
      span = (old < 512 ? 511 : old < 1024 ? 1023 : 65535) - min + 1;
    }
    let attempts = Math.min(span, ATTEMPTS_MAX);
    for (;;) {
      let offset = this.#random() & 0xffff;
      for (let attempt = 0; attempt < attempts; attempt++, offset++) {
        const port = min + offset % span;
        chosen[T_PORTS] = isUpper
          ? (chosen[T_PORTS]! & 0xffff) | port << 16
          : (chosen[T_PORTS]! & ~0xffff) | port;
        if (!this.#isUsed(original)) return true;
      }
      if (attempts >= span || attempts < ATTEMPTS_MIN) return false;
      attempts >>>= 1;
    }
  }

  /** Whether `chosen` lies in the range. */
  #isIn(manip: number, flags: number, words: Int32Array, at: number): boolean {
    return this.#isAddressIn(flags, words, at) && this.#isPortIn(manip, flags, words, at);
  }

  #isAddressIn(flags: number, words: Int32Array, at: number): boolean {
    if ((flags & PLAN_HAS_ADDRESS) === 0) return true;
    const min = at + PLAN_ADDRESS;
    return compareAddress(this.chosen, T_SRC, words, min) >= 0 &&
      compareAddress(this.chosen, T_SRC, words, min + 4) <= 0;
  }

  #isPortIn(manip: number, flags: number, words: Int32Array, at: number): boolean {
    if ((flags & PLAN_HAS_PORTS) === 0) return true;
    const meta = this.chosen[T_META]!;
    const protocol = (meta >>> 8) & 0xff;
    const icmp = isIcmp(protocol, meta & 0xff);
    if (!icmp && !hasPorts(protocol)) return true;
    const ports = this.chosen[T_PORTS]!;
    const port = icmp || manip === MANIP_SRC ? ports >>> 16 : ports & 0xffff;
    const range = words[at + PLAN_PORTS]!;
    return port >= (range & 0xffff) && port <= range >>> 16;
  }

  /** Whether somebody else's packets are answered with the tuple that answers `chosen`. */
  #isUsed(original: Int32Array): boolean {
    if (!invertTuple(this.chosen, this.#reply)) return false;
    const node = this.#table.find(this.#reply);
    if (node === 0) return false;
    this.#table.getTuple(node & ~1, this.#other);
    this.#table.unlockRecord(node >>> 1);
    return !sameTuple(this.#other, original);
  }
}

/** −1, 0 or 1: an address (4 words) in one array against one in another, unsigned. */
function compareAddress(a: Int32Array, aAt: number, b: Int32Array, bAt: number): number {
  for (let word = 0; word < 4; word++) {
    const left = a[aAt + word]! >>> 0;
    const right = b[bAt + word]! >>> 0;
    if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}
