/** Fills what a packet learns of its connection: mark, label, original tuple. Allocates nothing. */
import {
  CONFIRMED,
  ID,
  LABELS,
  MARK,
  MASTER,
  MASTER_ID,
  META,
  RECORD_WORDS,
  STATUS,
  TUPLE_DST,
  TUPLE_PORTS,
  TUPLE_SRC,
  WIDE_WORDS,
} from "./layout.ts";
import type { CtMetadata } from "./metadata.ts";
import type { Table } from "./table.ts";
import { isIcmp } from "./tuple.ts";

/**
 * Fills everything but state and zone from a record, which is locked or the thread's own. An expected connection's tuple is its
 * master's, or when that has gone its own.
 */
export function describeConnection(
  ct: CtMetadata,
  table: Table,
  record: number,
): void {
  const { records } = table;
  const at = record * RECORD_WORDS;
  ct.invalidReason = 0;
  ct.mark = records[at + MARK]! >>> 0;
  ct.label[0] = records[at + LABELS]!;
  ct.label[1] = records[at + LABELS + 1]!;
  ct.label[2] = records[at + LABELS + 2]!;
  ct.label[3] = records[at + LABELS + 3]!;
  const isConfirmed = (records[at + STATUS]! & CONFIRMED) !== 0;
  ct.record = isConfirmed ? record : 0;
  ct.id = isConfirmed ? records[at + ID]! : 0;
  const master = records[at + MASTER]!;
  if (master !== 0 && table.lockRecord(master, records[at + MASTER_ID]!)) {
    describeTuple(ct, table, master);
    table.unlockRecord(master);
  } else {
    describeTuple(ct, table, record);
  }
}

/**
 * For a packet that was tracked before: notes the record alone, and what was committed just now. What
 * else the packet knows stays as it is (ovs_ct_update_key is not called for it).
 */
export function keepDescription(
  ct: CtMetadata,
  table: Table,
  record: number,
  hasMark: boolean,
  hasLabel: boolean,
): void {
  const { records } = table;
  const at = record * RECORD_WORDS;
  ct.record = record;
  ct.id = records[at + ID]!;
  ct.hasMark = hasMark;
  ct.hasLabel = hasLabel;
  if (hasMark) ct.mark = records[at + MARK]! >>> 0;
  for (let word = 0; hasLabel && word < 4; word++) ct.label[word] = records[at + LABELS + word]!;
}

/** Fills the original tuple of a record. */
function describeTuple(ct: CtMetadata, table: Table, record: number): void {
  const { records, wide } = table;
  const at = record * RECORD_WORDS;
  const family = records[at + META]! & 0xff;
  const protocol = (records[at + META]! >>> 8) & 0xff;
  const ports = records[at + TUPLE_PORTS]!;
  const isQuery = isIcmp(protocol, family);
  ct.protocol = protocol;
  ct.sourcePort = isQuery ? (ports >>> 8) & 0xff : ports >>> 16;
  ct.destinationPort = isQuery ? ports & 0xff : ports & 0xffff;
  const { source, destination } = ct;
  if (family === 4) {
    source[0] = records[at + TUPLE_SRC]!;
    destination[0] = records[at + TUPLE_DST]!;
    for (let word = 1; word < 4; word++) {
      source[word] = 0;
      destination[word] = 0;
    }
    return;
  }
  const from = record * WIDE_WORDS;
  for (let word = 0; word < 4; word++) {
    source[word] = wide[from + word]!;
    destination[word] = wide[from + 4 + word]!;
  }
}
