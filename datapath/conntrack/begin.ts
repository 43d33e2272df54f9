/** The first steps of a new connection, in a thread's own record. Allocates nothing. */
import type { Expectation, Expectations } from "./expectations.ts";
import { followMaster } from "./helpers.ts";
import {
  COUNTERS,
  EXPECTED,
  EXPIRES,
  LABELS,
  LAST_WIN,
  MARK,
  MASTER,
  MASTER_ID,
  POLICY,
  RECORD_DOUBLES,
  RECORD_WORDS,
  SEEN,
  STATUS,
} from "./layout.ts";
import type { Table } from "./table.ts";

/** Clears all but ID, hashes and tuples. */
export function clearRecord(table: Table, record: number, policy: number): void {
  const { records, doubles } = table;
  const at = record * RECORD_WORDS;
  records[at + STATUS] = 0;
  records[at + EXPIRES] = 0;
  records[at + MARK] = 0;
  for (let word = SEEN; word <= LAST_WIN; word++) records[at + word] = 0;
  records[at + MASTER] = 0;
  records[at + MASTER_ID] = 0;
  records[at + POLICY] = policy;
  for (let word = 0; word < 4; word++) records[at + LABELS + word] = 0;
  for (let index = 0; index < 4; index++) doubles[record * RECORD_DOUBLES + COUNTERS + index] = 0;
}

/**
 * If a connection with this tuple is expected, makes the record its master's child, with the master's
 * mark, label and helper. `scratch` is overwritten.
 */
export function meetExpectation(
  table: Table,
  expectations: Expectations,
  scratch: Expectation,
  record: number,
  tuple: Int32Array,
): void {
  if (!expectations.find(tuple, table.now, scratch)) return;
  if (!table.lockRecord(scratch.master, scratch.masterId)) return;
  const { records } = table;
  const at = record * RECORD_WORDS;
  const master = scratch.master * RECORD_WORDS;
  records[at + MARK] = records[master + MARK]!;
  for (let word = 0; word < 4; word++) {
    records[at + LABELS + word] = records[master + LABELS + word]!;
  }
  // It has its master's helper by name (init_conntrack); announcements are not looked for in it.
  records[at + POLICY] = records[at + POLICY]! & 0xffff | records[master + POLICY]! & ~0xffff;
  if (scratch.followsNat) followMaster(table, record, scratch);
  table.unlockRecord(scratch.master);
  records[at + STATUS] = records[at + STATUS]! | EXPECTED;
  records[at + MASTER] = scratch.master;
  records[at + MASTER_ID] = scratch.masterId;
}
