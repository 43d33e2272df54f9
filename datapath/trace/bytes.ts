/** What differs between a packet's bytes before and after an action. */
import type { ByteChange } from "./schema.ts";

/** Bytes that are the same between two changed ones for which no new run is begun. */
const GAP_MAX = 1;

/**
 * Runs of changed bytes or, if the size is another, the one run that was replaced. Of packets that are
 * not kept whole, as much as can be told.
 */
export function changedBytes(
  before: { readonly bytes: Uint8Array; readonly size: number },
  after: { readonly bytes: Uint8Array; readonly size: number },
): ByteChange[] {
  if (before.bytes === after.bytes && before.size === after.size) return [];
  const from = before.bytes;
  const to = after.bytes;
  return before.size === after.size
    ? changedRuns(from, to)
    : replacedRun(from, to, after.size - before.size);
}

function changedRuns(from: Uint8Array, to: Uint8Array): ByteChange[] {
  const changes: ByteChange[] = [];
  const size = Math.min(from.length, to.length);
  for (let at = 0; at < size; at++) {
    if (from[at] === to[at]) continue;
    let end = at + 1;
    for (let next = end; next < size && next - end <= GAP_MAX; next++) {
      if (from[next] !== to[next]) end = next + 1;
    }
    changes.push({
      at,
      from: from.slice(at, end).toHex(),
      to: to.slice(at, end).toHex(),
    });
    at = end - 1;
  }
  return changes;
}

/** `growth`: bytes that the packet has more; below 0: fewer. */
function replacedRun(from: Uint8Array, to: Uint8Array, growth: number): ByteChange[] {
  let at = 0;
  while (at < from.length && at < to.length && from[at] === to[at]) at++;
  // Equal bytes at the end, each at its distance from the packet's end.
  let end = Math.min(from.length, to.length - growth);
  while (end > at && end + growth > at && from[end - 1] === to[end - 1 + growth]) end--;
  return [{ at, from: from.slice(at, end).toHex(), to: to.slice(at, end + growth).toHex() }];
}
