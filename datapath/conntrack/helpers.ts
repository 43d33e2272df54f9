/**
 * Helpers: read the payload of a connection that announces others, expect those, and where addresses
 * are translated put the right ones into the payload. Called for packets of connections that were
 * committed with a helper, which are few; unlike the rest of the data path they may allocate.
 */
import type { Packet } from "../packet/packet.ts";
import { Expectation, type Expectations } from "./expectations.ts";
import { readFtp } from "./ftp.ts";
import {
  DST_NAT,
  DST_NAT_DONE,
  EXTENSION,
  META,
  POLICY,
  RECORD_WORDS,
  SEQ_ADJUST,
  SRC_NAT,
  SRC_NAT_DONE,
  STATUS,
} from "./layout.ts";
import { HELPER_FTP, HELPER_TFTP } from "./plan.ts";
import { adjustSequence } from "./sequence_adjust.ts";
import type { Table } from "./table.ts";
import { readTftp } from "./tftp.ts";
import { invertTuple, IPPROTO_TCP, makeTuple, T_DST, T_PORTS, T_SRC } from "./tuple.ts";

/** What a helper works with; the record is locked. */
export interface HelperContext {
  readonly table: Table;
  readonly expectations: Expectations;
  /** Scratch, for the one to be added. */
  readonly expectation: Expectation;
  /** Scratch: tuples of the packet's direction and of the other. */
  readonly tuple: Int32Array;
  readonly other: Int32Array;
}

/** The packet is unchanged and goes on. */
export const HELPED = 0;
/** The packet's bytes were changed. Positive values are drop verdicts. */
export const HELPED_CHANGED = -1;

/** Runs the helper of a connection. One per thread. */
export class Helpers {
  readonly #context: HelperContext;

  constructor(table: Table, expectations: Expectations) {
    this.#context = {
      table,
      expectations,
      expectation: new Expectation(),
      tuple: makeTuple(),
      other: makeTuple(),
    };
  }

  /** `info` is INFO_* of nat.ts. Returns HELPED, HELPED_CHANGED, or a drop verdict. */
  run(packet: Packet, l4At: number, record: number, side: number, info: number): number {
    const { table, tuple, other } = this.#context;
    const { records } = table;
    const at = record * RECORD_WORDS;
    const helper = records[at + POLICY]! >>> 16;
    table.getTuple(record << 1 | side, tuple);
    table.getTuple(record << 1 | (1 - side), other);
    let result = HELPED;
    if (helper === HELPER_FTP) result = readFtp(this.#context, packet, l4At, record, side, info);
    else if (helper === HELPER_TFTP) readTftp(this.#context, packet, l4At, record, side);
    if (result > 0) return result;
    const isTcp = ((records[at + META]! >>> 8) & 0xff) === IPPROTO_TCP;
    if (isTcp && (records[at + STATUS]! & SEQ_ADJUST) !== 0) {
      adjustSequence(packet, l4At, table.extensions, records[at + EXTENSION]!, side);
      return HELPED_CHANGED;
    }
    return result;
  }
}

const masterTuple = makeTuple();
const childTuple = makeTuple();
const childReply = makeTuple();

/**
 * Translates an expected connection as its master is: it comes from whom the master's packets go to,
 * and goes to whom they come from, at the port that was announced. The master is locked, the child is
 * the thread's own.
 */
export function followMaster(table: Table, record: number, expectation: Expectation): void {
  table.getTuple(expectation.master << 1 | expectation.side, masterTuple);
  table.getTuple(record << 1, childTuple);
  let bits = SRC_NAT_DONE | DST_NAT_DONE;
  for (let word = 0; word < 4; word++) {
    const source = masterTuple[T_DST + word]!;
    const destination = masterTuple[T_SRC + word]!;
    if (childTuple[T_SRC + word] !== source) bits |= SRC_NAT;
    if (childTuple[T_DST + word] !== destination) bits |= DST_NAT;
    childTuple[T_SRC + word] = source;
    childTuple[T_DST + word] = destination;
  }
  const ports = childTuple[T_PORTS]!;
  if ((ports & 0xffff) !== expectation.savedPort) bits |= DST_NAT;
  childTuple[T_PORTS] = (ports & ~0xffff) | expectation.savedPort;
  if (!invertTuple(childTuple, childReply)) return;
  table.setTuple(record << 1 | 1, childReply);
  const at = record * RECORD_WORDS + STATUS;
  table.records[at] = table.records[at]! | bits;
}
