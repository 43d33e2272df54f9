/**
 * The nat part of a ct action: which end of a packet is translated, when, and what ct_state says of it,
 * as openvswitch.ko does it (net/netfilter/nf_nat_ovs.c, nf_nat_core.c): a new connection is given its
 * translation when it is committed, later packets follow it, replies backwards.
 */
import type { Packet } from "../packet/packet.ts";
import {
  CONFIRMED,
  DST_NAT,
  DST_NAT_DONE,
  NAT_MASK,
  RECORD_WORDS,
  SRC_NAT,
  SRC_NAT_DONE,
  STATUS,
} from "./layout.ts";
import { CT_DST_NAT, CT_SRC_NAT } from "./metadata.ts";
import { NatRange, type Random } from "./nat_range.ts";
import { PLAN_FLAGS, PLAN_HAS_ADDRESS, PLAN_IPV6, PLAN_NAT_DST, PLAN_NAT_SRC } from "./plan.ts";
import type { Table } from "./table.ts";
import { MANIP_DST, MANIP_SRC, translateError, translatePacket } from "./translate.ts";
import { invertTuple, makeTuple, sameTuple, T_META } from "./tuple.ts";

/** How a packet stands to its connection. */
export const INFO_NEW = 0;
export const INFO_ESTABLISHED = 1;
export const INFO_RELATED = 2;

/** Translates packets and sets translations up. One per thread. */
export class Nat {
  readonly #table: Table;
  readonly #range: NatRange;
  readonly #original = makeTuple();
  readonly #current = makeTuple();
  readonly #target = makeTuple();
  readonly #outer = makeTuple();
  /** CT_SRC_NAT and CT_DST_NAT: what {@link apply} did. */
  done = 0;

  constructor(table: Table, random: Random) {
    this.#table = table;
    this.#range = new NatRange(table, random);
  }

  /** Gives a record that is about to be committed its translation. */
  prepare(record: number, info: number, words: Int32Array, at: number): void {
    const manip = this.#manipOf(record, 0, info, true, words[at + PLAN_FLAGS]!);
    if (manip < 0) return;
    this.#setUp(record, manip, words, at);
    const status = this.#table.records[record * RECORD_WORDS + STATUS]!;
    if ((status & DST_NAT) === 0) return;
    if ((status & SRC_NAT) !== 0) this.#setUp(record, 1 - manip, words, at);
    else this.#setUp(record, MANIP_SRC, words, -1);
  }

  /** Takes back what {@link prepare} did, after somebody else took the tuple. */
  undo(record: number): void {
    const { records } = this.#table;
    const at = record * RECORD_WORDS + STATUS;
    records[at] = records[at]! & ~(NAT_MASK | SRC_NAT_DONE | DST_NAT_DONE);
    this.#table.getTuple(record << 1, this.#original);
    invertTuple(this.#original, this.#target);
    this.#table.setTuple(record << 1 | 1, this.#target);
  }

  /**
   * Translates a packet of a committed connection. `side` 0: original direction. `isError`: an ICMP
   * error about the connection, whose L4 header is at l4At. False: it can't be translated.
   */
  apply(
    packet: Packet,
    end: number,
    l4At: number,
    isError: boolean,
    record: number,
    side: number,
    info: number,
    isCommit: boolean,
    words: Int32Array,
    at: number,
  ): boolean {
    this.done = 0;
    const manip = this.#manipOf(record, side, info, isCommit, words[at + PLAN_FLAGS]!);
    if (manip < 0) return true;
    if (!this.#manipulate(packet, end, l4At, isError, record, side, manip)) return false;
    const status = this.#table.records[record * RECORD_WORDS + STATUS]!;
    if ((status & DST_NAT) === 0) return true;
    if ((status & SRC_NAT) !== 0) {
      return this.#manipulate(packet, end, l4At, isError, record, side, 1 - manip);
    }
    if (side !== 0) return true;
    return this.#manipulate(packet, end, l4At, isError, record, side, MANIP_SRC);
  }

  /** Which end is translated first, −1: none. */
  #manipOf(
    record: number,
    side: number,
    info: number,
    isCommit: boolean,
    flags: number,
  ): number {
    const status = this.#table.records[record * RECORD_WORDS + STATUS]!;
    const isNew = info === INFO_NEW && side === 0;
    const isRelatedForward = info === INFO_RELATED && side === 0;
    if (!isNew && (status & NAT_MASK) !== 0 && (!isRelatedForward || isCommit)) {
      return ((status & SRC_NAT) !== 0) === (side === 0) ? MANIP_SRC : MANIP_DST;
    }
    if ((flags & PLAN_NAT_SRC) !== 0) return MANIP_SRC;
    return (flags & PLAN_NAT_DST) !== 0 ? MANIP_DST : -1;
  }

  #manipulate(
    packet: Packet,
    end: number,
    l4At: number,
    isError: boolean,
    record: number,
    side: number,
    manip: number,
  ): boolean {
    const status = this.#table.records[record * RECORD_WORDS + STATUS]!;
    // In the reply direction the ends have changed places.
    const bit = (manip === MANIP_SRC) === (side === 0) ? SRC_NAT : DST_NAT;
    this.done |= manip === MANIP_SRC ? CT_SRC_NAT : CT_DST_NAT;
    if ((status & bit) === 0) return true;
    // What the packet is to look like: the answer to what the other direction looks like.
    this.#table.getTuple(record << 1 | (1 - side), this.#current);
    if (!invertTuple(this.#current, this.#target)) return false;
    if (isError) {
      // Inside is a packet of the other direction, as it was when it went out.
      this.#outer.set(this.#target);
      return translateError(packet, l4At, end, this.#current, this.#outer, manip);
    }
    return translatePacket(packet, packet.l3At, end, this.#target, manip, false);
  }

  /** words[at]: the plan; at < 0: a translation that changes nothing but a source port in use. */
  #setUp(record: number, manip: number, words: Int32Array, at: number): void {
    const table = this.#table;
    const { records } = table;
    const place = record * RECORD_WORDS + STATUS;
    const done = manip === MANIP_SRC ? SRC_NAT_DONE : DST_NAT_DONE;
    if ((records[place]! & (done | CONFIRMED)) !== 0) return;
    table.getTuple(record << 1, this.#original);
    table.getTuple(record << 1 | 1, this.#target);
    if (!invertTuple(this.#target, this.#current)) return;
    const flags = at < 0 ? 0 : words[at + PLAN_FLAGS]!;
    const isIpv6 = (this.#original[T_META]! & 0xff) === 6;
    const hasRange = (flags & PLAN_HAS_ADDRESS) !== 0 && ((flags & PLAN_IPV6) !== 0) === isIpv6;
    this.#range.choose(this.#original, this.#current, manip, words, hasRange ? at : -1);
    const { chosen } = this.#range;
    if (!sameTuple(chosen, this.#current)) {
      invertTuple(chosen, this.#target);
      table.setTuple(record << 1 | 1, this.#target);
      records[place] = records[place]! | (manip === MANIP_SRC ? SRC_NAT : DST_NAT);
    }
    records[place] = records[place]! | done;
  }
}
