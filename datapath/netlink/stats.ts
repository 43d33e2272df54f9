/** Structs of counters, u64 one after another, that several families have. */
import type { AttributeSet, AttributeWriter } from "./attributes.ts";

/** struct ovs_flow_stats. */
export interface PacketStats {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** Writes a struct of u64. */
export function writeCounters(
  writer: AttributeWriter,
  type: number,
  counters: readonly bigint[],
): void {
  const payload = new BigUint64Array(counters);
  writer.attribute(type, new Uint8Array(payload.buffer));
}

/** Reads `count` u64; undefined: there is no such attribute. A newer kernel may have more. */
export function readCounters(
  attributes: AttributeSet,
  type: number,
  count: number,
): bigint[] | undefined {
  const view = attributes.struct(type, 8 * count);
  if (view === undefined) return undefined;
  return Array.from({ length: count }, (_, index) => view.getBigUint64(8 * index, true));
}

export function writePacketStats(writer: AttributeWriter, type: number, stats: PacketStats): void {
  writeCounters(writer, type, [stats.packets, stats.bytes]);
}

export function readPacketStats(attributes: AttributeSet, type: number): PacketStats | undefined {
  const counters = readCounters(attributes, type, 2);
  return counters === undefined ? undefined : { packets: counters[0]!, bytes: counters[1]! };
}
