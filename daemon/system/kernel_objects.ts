/** Datapaths and ports as the kernel shows them, in the numbers of daemon/api.ts. */
import type { LookupCounters, PortCounters } from "../api.ts";
import type { DatapathMessage } from "../../datapath/netlink/datapath_message.ts";
import type { VportMessage } from "../../datapath/netlink/vport_message.ts";

/** A datapath. */
export interface KernelDatapath {
  readonly name: string;
  /** Of its port 0: what the other families know the datapath by. */
  readonly ifindex: number;
  readonly flows: number;
  readonly masks: number;
  readonly counters: LookupCounters;
  /** OVS_DP_F_*. */
  readonly features: number;
  /** Undefined: the kernel doesn't tell. */
  readonly masksCacheSize: number | undefined;
}

/** Options of a tunnel port. */
export interface TunnelOptions {
  /** Undefined where the type has no UDP port. */
  readonly dstPort: number | undefined;
  /** VXLAN's group policy extension. */
  readonly gbp: boolean;
}

/** A port. */
export interface KernelPort {
  readonly portNo: number;
  readonly name: string;
  /** OVS_VPORT_TYPE_*. */
  readonly type: number;
  readonly options: TunnelOptions;
  /** Netlink ports of those who take its upcalls; 0 alone: nobody. */
  readonly upcallPids: readonly number[];
  readonly counters: PortCounters;
}

/** A port to add. */
export interface PortSpec {
  readonly name: string;
  /** OVS_VPORT_TYPE_*. */
  readonly type: number;
  /** Undefined: the lowest free one. */
  readonly portNo: number | undefined;
  readonly options: TunnelOptions;
}

export function readDatapath(message: DatapathMessage): KernelDatapath {
  const { name = "", dpIfindex, stats, megaflowStats, userFeatures = 0 } = message;
  return {
    name,
    ifindex: dpIfindex,
    flows: Number(stats?.flows ?? 0n),
    masks: megaflowStats?.masks ?? 0,
    counters: {
      hit: Number(stats?.hits ?? 0n),
      missed: Number(stats?.misses ?? 0n),
      lost: Number(stats?.lost ?? 0n),
      maskHit: Number(megaflowStats?.maskHits ?? 0n),
      cacheHit: Number(megaflowStats?.cacheHits ?? 0n),
    },
    features: userFeatures,
    masksCacheSize: message.masksCacheSize,
  };
}

export function readPort(message: VportMessage): KernelPort {
  const { portNo = 0, name = "", type = 0, options, stats, upcallStats } = message;
  return {
    portNo,
    name,
    type,
    options: { dstPort: options?.dstPort, gbp: options?.gbp ?? false },
    upcallPids: message.upcallPids ?? [],
    counters: {
      rxPackets: Number(stats?.rxPackets ?? 0n),
      rxBytes: Number(stats?.rxBytes ?? 0n),
      rxDropped: Number(stats?.rxDropped ?? 0n),
      rxErrors: Number(stats?.rxErrors ?? 0n),
      txPackets: Number(stats?.txPackets ?? 0n),
      txBytes: Number(stats?.txBytes ?? 0n),
      txDropped: Number(stats?.txDropped ?? 0n),
      txErrors: Number(stats?.txErrors ?? 0n),
      ...(upcallStats === undefined ? {} : {
        upcalls: Number(upcallStats.succeeded),
        upcallErrors: Number(upcallStats.failed),
      }),
      drops: {},
    },
  };
}
