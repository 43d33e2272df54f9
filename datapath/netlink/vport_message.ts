/**
 * Messages of the family ovs_vport (linux/openvswitch.h: OVS_VPORT_CMD_*, OVS_VPORT_ATTR_*), both
 * ways, as the payload of a netlink message. A port is meant by name, or by dp_ifindex and number.
 */
import type { AttributeSet, AttributeWriter } from "./attributes.ts";
import {
  beginOvsMessage,
  type OvsFamily,
  type OvsHeader,
  readOvsMessage,
} from "./generic_message.ts";
import { readCounters, writeCounters } from "./stats.ts";

export const OVS_VPORT_FAMILY: OvsFamily = { name: "ovs_vport", version: 1 };

export const OVS_VPORT_CMD_NEW = 1;
export const OVS_VPORT_CMD_DEL = 2;
export const OVS_VPORT_CMD_GET = 3;
export const OVS_VPORT_CMD_SET = 4;

export const OVS_VPORT_TYPE_NETDEV = 1;
export const OVS_VPORT_TYPE_INTERNAL = 2;
export const OVS_VPORT_TYPE_GRE = 3;
export const OVS_VPORT_TYPE_VXLAN = 4;
export const OVS_VPORT_TYPE_GENEVE = 5;

const OVS_VPORT_ATTR_PORT_NO = 1;
const OVS_VPORT_ATTR_TYPE = 2;
const OVS_VPORT_ATTR_NAME = 3;
const OVS_VPORT_ATTR_OPTIONS = 4;
const OVS_VPORT_ATTR_UPCALL_PID = 5;
const OVS_VPORT_ATTR_STATS = 6;
const OVS_VPORT_ATTR_PAD = 7;
const OVS_VPORT_ATTR_IFINDEX = 8;
const OVS_VPORT_ATTR_NETNSID = 9;
const OVS_VPORT_ATTR_UPCALL_STATS = 10;

/** These numbers begin at 0. */
const OVS_VPORT_UPCALL_ATTR_SUCCESS = 0;
const OVS_VPORT_UPCALL_ATTR_FAIL = 1;

const OVS_TUNNEL_ATTR_DST_PORT = 1;
const OVS_TUNNEL_ATTR_EXTENSION = 2;
const OVS_VXLAN_EXT_GBP = 1;

/** Options of a tunnel port. */
export interface VportOptions {
  /** UDP port of the tunnel. */
  readonly dstPort?: number | undefined;
  /** VXLAN with group policy. */
  readonly gbp?: boolean | undefined;
}

/** struct ovs_vport_stats. */
export interface VportStats {
  readonly rxPackets: bigint;
  readonly txPackets: bigint;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxErrors: bigint;
  readonly txErrors: bigint;
  readonly rxDropped: bigint;
  readonly txDropped: bigint;
}

/** Upcalls for the port's packets, since kernel 6.3. */
export interface VportUpcallStats {
  readonly succeeded: bigint;
  readonly failed: bigint;
}

export interface VportMessage extends OvsHeader {
  readonly portNo?: number | undefined;
  /** OVS_VPORT_TYPE_*. */
  readonly type?: number | undefined;
  readonly name?: string | undefined;
  readonly options?: VportOptions | undefined;
  /** Netlink ports among which misses are spread; [0]: none. */
  readonly upcallPids?: readonly number[] | undefined;
  readonly stats?: VportStats | undefined;
  readonly upcallStats?: VportUpcallStats | undefined;
  readonly ifindex?: number | undefined;
  /** Network namespace of the device, if it isn't the datapath's. */
  readonly netnsId?: number | undefined;
}

/** Writes a message. */
export function encodeVportMessage(message: VportMessage): Uint8Array<ArrayBuffer> {
  const writer = beginOvsMessage(message, OVS_VPORT_FAMILY.version);
  const { portNo, type, name, options, upcallPids, stats, upcallStats } = message;
  if (portNo !== undefined) writer.attributeU32(OVS_VPORT_ATTR_PORT_NO, portNo);
  if (type !== undefined) writer.attributeU32(OVS_VPORT_ATTR_TYPE, type);
  if (name !== undefined) writer.attributeText(OVS_VPORT_ATTR_NAME, name);
  if (upcallPids !== undefined) {
    const pids = new Uint8Array(new Uint32Array(upcallPids).buffer);
    writer.attribute(OVS_VPORT_ATTR_UPCALL_PID, pids);
  }
  if (message.ifindex !== undefined) writer.attributeU32(OVS_VPORT_ATTR_IFINDEX, message.ifindex);
  if (message.netnsId !== undefined) {
    writer.attributeU32(OVS_VPORT_ATTR_NETNSID, message.netnsId >>> 0);
  }
  if (stats !== undefined) writeStats(writer, stats);
  if (upcallStats !== undefined) {
    writer.nested(OVS_VPORT_ATTR_UPCALL_STATS, () => {
      writer.attributeU64(OVS_VPORT_UPCALL_ATTR_SUCCESS, upcallStats.succeeded)
        .attributeU64(OVS_VPORT_UPCALL_ATTR_FAIL, upcallStats.failed);
    });
  }
  if (options !== undefined) writeOptions(writer, options);
  return writer.bytes();
}

function writeOptions(writer: AttributeWriter, options: VportOptions): void {
  writer.nested(OVS_VPORT_ATTR_OPTIONS, () => {
    if (options.dstPort !== undefined) {
      writer.attributeU16(OVS_TUNNEL_ATTR_DST_PORT, options.dstPort);
    }
    if (options.gbp !== true) return;
    writer.nested(OVS_TUNNEL_ATTR_EXTENSION, () => writer.attributeFlag(OVS_VXLAN_EXT_GBP));
  });
}

/** Reads the payload of a message. Throws NetlinkCodecError. */
export function decodeVportMessage(payload: Uint8Array): VportMessage {
  const { header, attributes } = readOvsMessage(payload, "vport", { pad: OVS_VPORT_ATTR_PAD });
  return {
    ...header,
    portNo: attributes.u32(OVS_VPORT_ATTR_PORT_NO),
    type: attributes.u32(OVS_VPORT_ATTR_TYPE),
    name: attributes.text(OVS_VPORT_ATTR_NAME),
    options: readOptions(attributes),
    upcallPids: attributes.u32s(OVS_VPORT_ATTR_UPCALL_PID),
    stats: readStats(attributes),
    upcallStats: readUpcallStats(attributes),
    ifindex: attributes.u32(OVS_VPORT_ATTR_IFINDEX),
    netnsId: attributes.s32(OVS_VPORT_ATTR_NETNSID),
  };
}

function readOptions(attributes: AttributeSet): VportOptions | undefined {
  const options = attributes.nested(OVS_VPORT_ATTR_OPTIONS, "options");
  if (options === undefined) return undefined;
  const extension = options.nested(OVS_TUNNEL_ATTR_EXTENSION, "extension");
  return {
    dstPort: options.u16(OVS_TUNNEL_ATTR_DST_PORT),
    gbp: extension?.has(OVS_VXLAN_EXT_GBP) ?? false,
  };
}

const STATS = [
  "rxPackets",
  "txPackets",
  "rxBytes",
  "txBytes",
  "rxErrors",
  "txErrors",
  "rxDropped",
  "txDropped",
] as const;

function writeStats(writer: AttributeWriter, stats: VportStats): void {
  writeCounters(writer, OVS_VPORT_ATTR_STATS, STATS.map((name) => stats[name]));
}

function readStats(attributes: AttributeSet): VportStats | undefined {
  const counters = readCounters(attributes, OVS_VPORT_ATTR_STATS, STATS.length);
  if (counters === undefined) return undefined;
  const [rxPackets = 0n, txPackets = 0n, rxBytes = 0n, txBytes = 0n] = counters;
  const [rxErrors = 0n, txErrors = 0n, rxDropped = 0n, txDropped = 0n] = counters.slice(4);
  return { rxPackets, txPackets, rxBytes, txBytes, rxErrors, txErrors, rxDropped, txDropped };
}

function readUpcallStats(attributes: AttributeSet): VportUpcallStats | undefined {
  const pad = { pad: OVS_VPORT_ATTR_PAD };
  const inner = attributes.nested(OVS_VPORT_ATTR_UPCALL_STATS, "upcall_stats", pad);
  if (inner === undefined) return undefined;
  return {
    succeeded: inner.u64(OVS_VPORT_UPCALL_ATTR_SUCCESS) ?? 0n,
    failed: inner.u64(OVS_VPORT_UPCALL_ATTR_FAIL) ?? 0n,
  };
}
