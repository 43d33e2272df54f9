/**
 * What `trace` and `trace-live` tell about a packet, as JSON. Names of fields are added, never changed.
 * Texts of flows and actions are those of the flow language.
 */

/** A field of the key that an action has changed. */
export interface FieldChange {
  /** `ipv4.ttl`. */
  readonly field: string;
  /** Null: the packet had no such field. */
  readonly from: string | null;
  /** Null: it has none any more. */
  readonly to: string | null;
}

/** A run of bytes that an action has changed, inserted or removed. */
export interface ByteChange {
  /** Where it begins, from the packet's first byte on. */
  readonly at: number;
  /** Hexadecimal; empty: bytes were inserted. */
  readonly from: string;
  /** Hexadecimal; empty: bytes were removed. */
  readonly to: string;
}

/** A field in which a packet is not what a flow wants. */
export interface FieldDifference {
  /** As in {@link FieldChange}. */
  readonly field: string;
  /** The flow's value, with its mask if it has one. */
  readonly wanted: string;
  /** The packet's, under the same mask; null: it has no such field. */
  readonly got: string | null;
}

/** A flow. */
export interface TracedFlow {
  /** 8-4-4-4-12 hex digits. */
  readonly ufid: string;
  /** Its text. */
  readonly flow: string;
  /** Their text. */
  readonly actions: string;
}

/** A mask that was tried. */
export interface TriedMask {
  /** Fields that it looks at, a partial one with its mask: `in_port`, `ipv4.dst/255.255.255.0`. */
  readonly fields: readonly string[];
  /** Whether a flow with this mask matched. */
  readonly matched: boolean;
  /** Flows that have this mask, as far as they were looked at. */
  readonly flows: number;
  /** If it has not matched: the flow with the fewest differences, and these. */
  readonly closest?: {
    readonly ufid: string;
    readonly flow: string;
    readonly differences: readonly FieldDifference[];
  };
}

/** A packet that a port was given. */
export interface TracedOutput {
  /** 0 … 65534. */
  readonly portNo: number;
  /** Its name, where there is one. */
  readonly port?: string;
  /** Bytes that it was given. */
  readonly size: number;
  /** Hexadecimal. */
  readonly packet: string;
  /** Tunnel that it is to be sent through. */
  readonly tunnel?: string;
  /** Of a tunnel port: what the packet is sent in. */
  readonly outer?: TracedOuter;
  /** Of a patch port: the way through the other end's datapath. Not in {@link PacketTrace.outputs}. */
  readonly next?: PacketTrace;
}

/** The outer header that a tunnel port would send a packet in. */
export interface TracedOuter {
  /** The near end's address. Null: the host knows no way to the far end. */
  readonly from: string | null;
  /** The far end's address. */
  readonly to: string;
  /** What carries it. */
  readonly protocol: "udp" | "gre";
  /** UDP destination port. */
  readonly port?: number;
  /** VNI, or GRE's key. */
  readonly key?: number;
  /** Type of service. */
  readonly tos: number;
  /** Time to live. */
  readonly ttl: number;
  /** `df`: it must not be fragmented; `csum`: with a checksum. */
  readonly flags: readonly string[];
  /** skb_mark of the outer packet, if not 0. */
  readonly mark?: number;
  /** The tunnel's own header, hexadecimal. */
  readonly header: string;
  /** Bytes of the outer packet, IP header included. */
  readonly size: number;
}

/** A packet's end without a port. */
export interface TracedDrop {
  /** Name of the drop reason. */
  readonly reason: string;
  /** What that means. */
  readonly meaning: string;
  /** Port that it is counted for; 65535: none. */
  readonly portNo: number;
}

/** What an action made of the packet. */
export interface TracedStep {
  /** Its text. */
  readonly action: string;
  /** Bytes before and after, if the action changed how many there are. */
  readonly size?: { readonly from: number; readonly to: number };
  /** Runs of bytes that it has changed. */
  readonly bytes: readonly ByteChange[];
  /** Fields of the key that it has changed. */
  readonly fields: readonly FieldChange[];
  /** Tunnel that set(tunnel(...)) has said. */
  readonly tunnel?: string;
  /** What the action decided. */
  readonly note?: string;
  /** Its nested list that was run. */
  readonly steps?: readonly TracedStep[];
  /** Where a recirculated packet went. */
  readonly pass?: TracedPass;
  /** Ports that it gave the packet to. */
  readonly outputs: readonly TracedOutput[];
  /** Packets that it ended. */
  readonly drops: readonly TracedDrop[];
}

/** One way through the flow table: as received, or after a recirculation. */
export interface TracedPass {
  /** 0: as received. */
  readonly recircId: number;
  /** Bytes of the packet. */
  readonly size: number;
  /** Hexadecimal. */
  readonly packet: string;
  /** A flow that matches exactly this packet. */
  readonly key: string;
  /** The masks in the order in which they were tried, the one that matched last. Not in live traces. */
  readonly masks?: readonly TriedMask[];
  /** Null: none matched. */
  readonly flow: TracedFlow | null;
  /** If none matched, or the one that did has gone: what that means. */
  readonly note?: string;
  /** One for each action that ran. */
  readonly steps: readonly TracedStep[];
  /** What came of a packet without flow, and of one whose actions say nothing. */
  readonly outputs: readonly TracedOutput[];
  /** Where the packet ended, likewise. */
  readonly drops: readonly TracedDrop[];
}

/** A packet's way through a datapath. */
export interface PacketTrace {
  /** Name of the datapath; of a packet that came through a patch port. */
  readonly dp?: string;
  /** 65535: none. */
  readonly inPort: number;
  /** Its name, where there is one. */
  readonly port?: string;
  /** Seconds since 1970; of a live trace and of a capture. */
  readonly time?: number;
  /** It has no Ethernet header. */
  readonly l3?: true;
  /** As received; and those that had to wait until the actions around were done. */
  readonly passes: readonly TracedPass[];
  /** All ports reached, in order. */
  readonly outputs: readonly TracedOutput[];
  /** All drops. */
  readonly drops: readonly TracedDrop[];
  /** Upcalls that were queued. */
  readonly upcalls: number;
  /** The packet took more steps, or ways through other datapaths, than are told. */
  readonly cut?: true;
}
