/**
 * Free records and extensions: taken by threads for their spares and by helpers, given back when
 * connections end. The last freed is used first, so that the memory in use stays what it was at its most.
 */
import {
  ALLOCATOR_LOCK,
  EXTENSION,
  EXTENSION_HEAD,
  EXTENSION_HIGH,
  EXTENSION_WORDS,
  EXTENSIONS_MAX,
  FREE_HEAD,
  HIGH_WATER,
  ID,
  NEXT,
  NEXT_ID,
  RECORD_WORDS,
  STATUS,
} from "./layout.ts";
import { lock, unlock } from "../spin_lock.ts";
import type { Table } from "./table.ts";

/** A record of one's own, all of whose words but ID may be anything; 0: there is none. */
export function allocateRecord(table: Table): number {
  const { control, records } = table;
  lock(control, ALLOCATOR_LOCK);
  let record = control[FREE_HEAD]!;
  if (record !== 0) {
    control[FREE_HEAD] = records[record * RECORD_WORDS + NEXT]!;
  } else if (control[HIGH_WATER]! < table.recordsMax) {
    record = control[HIGH_WATER]!;
    Atomics.store(control, HIGH_WATER, record + 1);
  }
  if (record !== 0) {
    const id = (control[NEXT_ID]! + 1) | 0;
    control[NEXT_ID] = id === 0 ? 1 : id;
    const at = record * RECORD_WORDS;
    records[at + ID] = control[NEXT_ID]!;
    records[at + STATUS] = 0;
    records[at + EXTENSION] = 0;
  }
  unlock(control, ALLOCATOR_LOCK);
  return record;
}

/** Gives a record back that is not in the table. */
export function freeRecord(table: Table, record: number): void {
  const { control, records, extensions } = table;
  const at = record * RECORD_WORDS;
  lock(control, ALLOCATOR_LOCK);
  records[at + STATUS] = 0;
  records[at + ID] = 0;
  const extension = records[at + EXTENSION]!;
  if (extension !== 0) {
    extensions[extension * EXTENSION_WORDS] = control[EXTENSION_HEAD]!;
    control[EXTENSION_HEAD] = extension;
    records[at + EXTENSION] = 0;
  }
  records[at + NEXT] = control[FREE_HEAD]!;
  control[FREE_HEAD] = record;
  unlock(control, ALLOCATOR_LOCK);
}

/** Gives a record a zeroed extension. False: there are too many. */
export function extendRecord(table: Table, record: number): boolean {
  const { control, extensions } = table;
  lock(control, ALLOCATOR_LOCK);
  let extension = control[EXTENSION_HEAD]!;
  if (extension !== 0) {
    control[EXTENSION_HEAD] = extensions[extension * EXTENSION_WORDS]!;
  } else if (control[EXTENSION_HIGH]! < EXTENSIONS_MAX) {
    extension = control[EXTENSION_HIGH]!;
    control[EXTENSION_HIGH] = extension + 1;
  }
  unlock(control, ALLOCATOR_LOCK);
  if (extension === 0) return false;
  const at = extension * EXTENSION_WORDS;
  for (let word = 0; word < EXTENSION_WORDS; word++) extensions[at + word] = 0;
  table.records[record * RECORD_WORDS + EXTENSION] = extension;
  return true;
}
