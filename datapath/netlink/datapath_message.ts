/**
 * Messages of the family ovs_datapath (linux/openvswitch.h: OVS_DP_CMD_*, OVS_DP_ATTR_*), both ways,
 * as the payload of a netlink message. A datapath is meant by dp_ifindex, or by name with 0 there.
 */
import {
  beginOvsMessage,
  type OvsFamily,
  type OvsHeader,
  readOvsMessage,
} from "./generic_message.ts";
import type { AttributeSet } from "./attributes.ts";
import { readCounters, writeCounters } from "./stats.ts";

/** Version 2: those who create a datapath say which features they know. */
export const OVS_DATAPATH_FAMILY: OvsFamily = { name: "ovs_datapath", version: 2 };

export const OVS_DP_CMD_NEW = 1;
export const OVS_DP_CMD_DEL = 2;
export const OVS_DP_CMD_GET = 3;
export const OVS_DP_CMD_SET = 4;

/** Bits of `userFeatures`. */
export const OVS_DP_F_UNALIGNED = 1;
export const OVS_DP_F_VPORT_PIDS = 2;
export const OVS_DP_F_TC_RECIRC_SHARING = 4;
export const OVS_DP_F_DISPATCH_UPCALL_PER_CPU = 8;

const OVS_DP_ATTR_NAME = 1;
const OVS_DP_ATTR_UPCALL_PID = 2;
const OVS_DP_ATTR_STATS = 3;
const OVS_DP_ATTR_MEGAFLOW_STATS = 4;
const OVS_DP_ATTR_USER_FEATURES = 5;
const OVS_DP_ATTR_PAD = 6;
const OVS_DP_ATTR_MASKS_CACHE_SIZE = 7;
const OVS_DP_ATTR_PER_CPU_PIDS = 8;
const OVS_DP_ATTR_IFINDEX = 9;

/** struct ovs_dp_stats. */
export interface DatapathStats {
  readonly hits: bigint;
  readonly misses: bigint;
  /** Misses that didn't reach a handler. */
  readonly lost: bigint;
  readonly flows: bigint;
}

/** struct ovs_dp_megaflow_stats. */
export interface MegaflowStats {
  /** Masks tried, over all packets. */
  readonly maskHits: bigint;
  readonly masks: number;
  /** 0 in kernels before 5.10. */
  readonly cacheHits: bigint;
}

export interface DatapathMessage extends OvsHeader {
  /** Of the datapath and its LOCAL port. */
  readonly name?: string | undefined;
  /** Netlink port for the LOCAL port's misses; 0: none. */
  readonly upcallPid?: number | undefined;
  readonly stats?: DatapathStats | undefined;
  readonly megaflowStats?: MegaflowStats | undefined;
  /** OVS_DP_F_*. */
  readonly userFeatures?: number | undefined;
  readonly masksCacheSize?: number | undefined;
  /** Netlink ports by CPU, with OVS_DP_F_DISPATCH_UPCALL_PER_CPU. */
  readonly perCpuPids?: readonly number[] | undefined;
  /** Interface index that the LOCAL port shall have. */
  readonly ifindex?: number | undefined;
}

/** Writes a message. */
export function encodeDatapathMessage(message: DatapathMessage): Uint8Array<ArrayBuffer> {
  const writer = beginOvsMessage(message, OVS_DATAPATH_FAMILY.version);
  const { name, upcallPid, stats, megaflowStats, userFeatures, perCpuPids } = message;
  if (name !== undefined) writer.attributeText(OVS_DP_ATTR_NAME, name);
  if (upcallPid !== undefined) writer.attributeU32(OVS_DP_ATTR_UPCALL_PID, upcallPid);
  if (stats !== undefined) {
    const { hits, misses, lost, flows } = stats;
    writeCounters(writer, OVS_DP_ATTR_STATS, [hits, misses, lost, flows]);
  }
  if (megaflowStats !== undefined) {
    const { maskHits, masks, cacheHits } = megaflowStats;
    writeCounters(writer, OVS_DP_ATTR_MEGAFLOW_STATS, [maskHits, BigInt(masks), cacheHits, 0n]);
  }
  if (userFeatures !== undefined) writer.attributeU32(OVS_DP_ATTR_USER_FEATURES, userFeatures);
  if (message.masksCacheSize !== undefined) {
    writer.attributeU32(OVS_DP_ATTR_MASKS_CACHE_SIZE, message.masksCacheSize);
  }
  if (perCpuPids !== undefined) {
    const pids = new Uint8Array(new Uint32Array(perCpuPids).buffer);
    writer.attribute(OVS_DP_ATTR_PER_CPU_PIDS, pids);
  }
  if (message.ifindex !== undefined) writer.attributeU32(OVS_DP_ATTR_IFINDEX, message.ifindex);
  return writer.bytes();
}

/** Reads the payload of a message. Throws NetlinkCodecError. */
export function decodeDatapathMessage(payload: Uint8Array): DatapathMessage {
  const { header, attributes } = readOvsMessage(payload, "datapath", { pad: OVS_DP_ATTR_PAD });
  return {
    ...header,
    name: attributes.text(OVS_DP_ATTR_NAME),
    upcallPid: attributes.u32(OVS_DP_ATTR_UPCALL_PID),
    stats: readStats(attributes),
    megaflowStats: readMegaflowStats(attributes),
    userFeatures: attributes.u32(OVS_DP_ATTR_USER_FEATURES),
    masksCacheSize: attributes.u32(OVS_DP_ATTR_MASKS_CACHE_SIZE),
    perCpuPids: attributes.u32s(OVS_DP_ATTR_PER_CPU_PIDS),
    ifindex: attributes.u32(OVS_DP_ATTR_IFINDEX),
  };
}

function readStats(attributes: AttributeSet): DatapathStats | undefined {
  const counters = readCounters(attributes, OVS_DP_ATTR_STATS, 4);
  if (counters === undefined) return undefined;
  const [hits = 0n, misses = 0n, lost = 0n, flows = 0n] = counters;
  return { hits, misses, lost, flows };
}

function readMegaflowStats(attributes: AttributeSet): MegaflowStats | undefined {
  const counters = readCounters(attributes, OVS_DP_ATTR_MEGAFLOW_STATS, 4);
  if (counters === undefined) return undefined;
  // The second is a u32 and 4 bytes of padding.
  const [maskHits = 0n, masks = 0n, cacheHits = 0n] = counters;
  return { maskHits, masks: Number(masks & 0xffffffffn), cacheHits };
}
