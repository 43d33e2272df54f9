/** Making room in a full table. */
import { ASSURED, BUCKETS, EXPIRES, META, NEXT, RECORD_WORDS, STATUS } from "./layout.ts";
import { bucketOf, type Table } from "./table.ts";
import { tcpStateOf } from "./tcp.ts";
import { TCP_CLOSE, TCP_FIN_WAIT } from "./tcp_states.ts";
import { hashTuple, IPPROTO_TCP } from "./tuple.ts";

/** Entries of one bucket that are looked at. */
const STEPS_MAX = 128;
/** Filled buckets that a full table searches for a connection to drop (the kernel's early drop). */
const EVICTION_BUCKETS = 8;
/** Buckets among which it looks for those. */
const EVICTION_REACH = 256;

/**
 * Drops one connection that can be spared from the buckets near the tuple's, to make room. False:
 * none was found.
 */
export function evict(table: Table, tuple: Int32Array): boolean {
  const { records, heads, control, constants } = table;
  const buckets = Atomics.load(control, BUCKETS);
  const first = bucketOf(hashTuple(constants, tuple), buckets);
  let filled = 0;
  for (let count = 0; count < EVICTION_REACH && filled < EVICTION_BUCKETS; count++) {
    let node = heads[(first + count) % buckets]!;
    if (node !== 0) filled++;
    for (let step = 0; node !== 0 && step < STEPS_MAX; step++) {
      const at = (node >>> 1) * RECORD_WORDS;
      const next = records[at + NEXT + ((node & 1) << 1)]!;
      if (canSpare(table, at) && table.lockLive(node >>> 1)) {
        if (!canSpare(table, at)) table.unlockRecord(node >>> 1);
        else if (table.kill(node >>> 1)) return true;
      }
      node = next;
    }
  }
  return false;
}

/** Whether a connection is over, or was never agreed on by both sides, or is closing (TCP). */
function canSpare(table: Table, at: number): boolean {
  const { records } = table;
  if ((records[at + STATUS]! & ASSURED) === 0) return true;
  if (((records[at + EXPIRES]! - table.now) | 0) <= 0) return true;
  const state = tcpStateOf(records, at);
  return ((records[at + META]! >>> 8) & 0xff) === IPPROTO_TCP && state >= TCP_FIN_WAIT &&
    state <= TCP_CLOSE;
}
