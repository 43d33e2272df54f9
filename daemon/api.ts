/**
 * The commands of a switch as data: what goes over the control socket and what an offline edit runs.
 * One entry of {@link Methods} per verb: parameters in, result out, both plain JSON. Text output is
 * rendered from the results (daemon/render/); the command line and the dpctl aliases make parameters.
 */
import type { PacketTrace } from "../datapath/trace/schema.ts";
import type { ConntrackMethods } from "./conntrack_api.ts";
import type { DatapathCounters, LookupCounters, PortCounters } from "./counters.ts";
import type { UpcallHandlerInfo } from "./upcalls/upcall_info.ts";

export type { ConnectionParams, ConnectionStats, ConntrackStatus } from "./conntrack_api.ts";
export type { PacketTrace } from "../datapath/trace/schema.ts";
export type { DatapathCounters, LookupCounters, PortCounters } from "./counters.ts";
export type { UpcallHandlerInfo, UpcallInfo } from "./upcalls/upcall_info.ts";

/** What happens to packets that match no flow. */
export type MissPolicy = "drop" | "flood" | "learn";
/** Datapath type: `netdev` (real devices) or `dummy` (frames injected and recorded, no privileges). */
export type DatapathType = "netdev" | "dummy";
/** `system`: the kernel's openvswitch module, driven by the client itself (daemon/system/). */
export type AnyDatapathType = DatapathType | "system";

/** `dp` in every request: `name` or `type@name`; absent: the only datapath. */
export interface DpParams {
  /** `name` or `type@name`. */
  readonly dp?: string | undefined;
}

/** What dp-add takes. */
export interface DpAddParams {
  /** `name` or `type@name`; the type is netdev if not given. */
  readonly dp: string;
  /** What happens to a packet that matches no flow; default drop. */
  readonly miss?: MissPolicy | undefined;
  /** Most flows the datapath can hold; default 2^20. */
  readonly flowsMax?: number | undefined;
  /** Not an error if the datapath exists. */
  readonly mayExist?: boolean | undefined;
}

/** What port-add takes. */
export interface PortAddParams extends DpParams {
  /** Name of the port and mostly of its device, 1 … 15 bytes. */
  readonly port: string;
  /** Default: `internal` for nothing but port 0; `netdev` otherwise. `system` means `netdev`. */
  readonly type?: string | undefined;
  /** 1 … 65534; absent: the lowest free one. */
  readonly portNo?: number | undefined;
  /** Options of the type. */
  readonly options?: Readonly<Record<string, string>> | undefined;
  /** Not an error if the same port exists. */
  readonly mayExist?: boolean | undefined;
}

/** A flow of a datapath, as text. */
export interface FlowParams extends DpParams {
  /** In the syntax of ovs-dpctl, or `ufid:UUID`. */
  readonly flow: string;
}

/** One flow as dumped. Numbers are exact up to 2^53. */
export interface FlowInfo {
  /** 8-4-4-4-12 hex digits. */
  readonly ufid: string;
  /** It is the user's, not the hash of key and mask. Only when asked for. */
  readonly givenUfid?: boolean;
  /** Canonical text, fields in the order of OVS 3.2 and later. */
  readonly flow: string;
  /** The same with wildcarded fields too (dump-flows -m). Only when asked for. */
  readonly flowVerbose?: string;
  /** In the syntax of ovs-dpctl. */
  readonly actions: string;
  /** The flow is temporary, and not saved: a handler has installed it, or it has a timeout. Absent: it stays. */
  readonly temporary?: FlowTimeouts;
  /** Packets that matched. */
  readonly packets: number;
  /** Their bytes, link-layer header included. */
  readonly bytes: number;
  /** Milliseconds since the last packet; null: never. */
  readonly usedMs: number | null;
  /** OR of the TCP flags seen. */
  readonly tcpFlags: number;
}

/** When a temporary flow goes. */
export interface FlowTimeouts {
  /** Seconds without a packet; 0: never for that. */
  readonly idleTimeout: number;
  /** Seconds since it was added; 0: never for that. */
  readonly hardTimeout: number;
}

/** Statistics of a flow, as in {@link FlowInfo}. */
export interface FlowStats {
  /** Packets that matched. */
  readonly packets: number;
  /** Their bytes. */
  readonly bytes: number;
  /** Milliseconds since the last one; null: never. */
  readonly usedMs: number | null;
  /** OR of the TCP flags seen. */
  readonly tcpFlags: number;
}

/** One port as shown. */
export interface PortInfo {
  /** 0: the datapath's own. */
  readonly portNo: number;
  /** Name of the port. */
  readonly name: string;
  /** Type of the port. */
  readonly type: string;
  /** Options that differ from the type's defaults. */
  readonly options: Readonly<Record<string, string>>;
  /** MAC address of the device; null: not known. */
  readonly mac: string | null;
  /** `offline`: no daemon runs. */
  readonly state: "up" | "absent" | "failed" | "offline";
  /** Why it is absent or failed. */
  readonly reason: string | null;
  /** What it says of itself while it is up; most types say nothing. */
  readonly status?: string;
  /** Portids that its upcalls are for, if any are set; 0: it has no upcalls. */
  readonly portids?: readonly number[];
  /** Only when statistics were asked for. */
  readonly counters?: PortCounters;
}

/** One datapath as shown. */
export interface DatapathInfo {
  /** Without its type. */
  readonly name: string;
  /** Its type. */
  readonly type: AnyDatapathType;
  /** What happens to a packet that matches no flow; `upcall`: it goes to the handler, or to whoever listens. */
  readonly miss: MissPolicy | "upcall";
  /** Most flows that it can hold; null: no limit. */
  readonly flowsMax: number | null;
  /** Flows now. */
  readonly flows: number;
  /** Different masks of these flows. */
  readonly masks: number;
  /** Since the switch started. A system datapath counts lookups only. */
  readonly counters: DatapathCounters | LookupCounters;
  /**
   * Most entries of the masks cache on each thread or CPU, in ours of the signature cache; 0: off. Absent
   * if the kernel doesn't tell.
   */
  readonly masksCacheSize?: number;
  /** What its user may do (OVS_DP_F_*). */
  readonly features?: readonly string[];
  /** Portids that upcalls are for, one for each packet thread in turn, where upcall-per-cpu is on. */
  readonly portids?: readonly number[];
  /** Who decides about packets without a flow; absent: the miss policy alone does. */
  readonly upcallHandler?: UpcallHandlerInfo;
  /** Bytes in front of a frame that the port with the largest header wants; not of system datapaths. */
  readonly maxHeadroom?: number;
  /** By number. */
  readonly ports: readonly PortInfo[];
}

/** A band of a meter with what it has dropped. */
export interface MeterBandInfo {
  /** What happens to packets over the rate. */
  readonly type: "drop";
  /** Kilobits or packets per second; null: of a system datapath, it is not known. */
  readonly rate: number | null;
  /** Size of the bucket, kilobits or packets; absent: a second's worth of the rate. */
  readonly burstSize?: number;
  /** Packets dropped. */
  readonly packets: number;
  /** Their bytes. */
  readonly bytes: number;
}

/** One meter as shown. Its counters are 0 when no daemon runs. */
export interface MeterInfo {
  /** Its number, as in the action `meter(N)`. */
  readonly meter: number;
  /** What is counted: kilobits or packets, per second; null: of a system datapath, it is not known. */
  readonly unit: "kbps" | "pps" | null;
  /** The flag `burst`: the bands have a burstSize. */
  readonly burst: boolean;
  /** The flag `stats`. */
  readonly stats: boolean;
  /** Flows that name it. */
  readonly flows: number;
  /** Packets that came to it. */
  readonly packets: number;
  /** Their bytes. */
  readonly bytes: number;
  /** Milliseconds since it was set; null: no daemon runs. */
  readonly durationMs: number | null;
  /** In the order in which they were given. */
  readonly bands: readonly MeterBandInfo[];
}

/** A vport type that the switch knows. */
export interface PluginInfo {
  /** Name after `--type`. */
  readonly type: string;
  /** One line about it. */
  readonly summary: string;
  /** `async`: its ports run in Workers of their own. */
  readonly kind: "sync" | "async";
  /** `built-in`, or the path of the plug-in's file. */
  readonly origin: string;
  /** Saved ports of the type. */
  readonly ports: number;
}

/** A packet as `capture` gives it. */
export interface CapturedInfo {
  /** It was received, sent, dropped, went to whoever takes upcalls, or was sampled by psample. */
  readonly event: "in" | "out" | "drop" | "upcall" | "sample";
  /** Seconds since 1970. */
  readonly time: number;
  /** Where it came in, went out, or is counted as dropped; 65535: no port. */
  readonly portNo: number;
  /** Name of that port. */
  readonly port?: string;
  /** Name of the drop reason. */
  readonly reason?: string;
  /** What that means. */
  readonly meaning?: string;
  /** Of a sample: psample's group. */
  readonly group?: number;
  /** Of a sample: psample's cookie, hexadecimal. */
  readonly cookie?: string;
  /** Hexadecimal; less than `length` if it was cut. */
  readonly packet: string;
  /** Bytes that it had. */
  readonly length: number;
  /** It has no Ethernet header and is of this type. */
  readonly l3?: number;
  /** Packets that this client has not been given so far, because it was slow. */
  readonly lost: number;
}

/** A packet to be traced. */
export interface TracePacketParams {
  /** Hexadecimal. */
  readonly bytes: string;
  /** It has no Ethernet header and is of this type. */
  readonly l3?: number | undefined;
  /** Seconds since 1970. */
  readonly time?: number | undefined;
}

/** Every method with its parameters and its result. */
export interface Methods extends ConntrackMethods {
  /** Adds a datapath. */
  "dp-add": { params: DpAddParams; result: { created: boolean } };
  /** Deletes a datapath with its ports and flows. */
  "dp-del": {
    params: { dp: string; ifExists?: boolean | undefined };
    result: { deleted: boolean };
  };
  /** Changes settings of a datapath; absent ones stay. */
  "dp-set": {
    params: DpParams & {
      miss?: MissPolicy | undefined;
      /** A power of 2, or 0: off. */
      masksCacheSize?: number | undefined;
      /** All that are on from now on: unaligned, vport-pids, upcall-per-cpu. */
      features?: readonly string[] | undefined;
      /** Absolute path of the upcall handler's file; empty: none. */
      upcallHandler?: string | undefined;
      /** Portids of upcalls, one for each packet thread in turn, where upcall-per-cpu is on; empty: none. */
      portids?: readonly number[] | undefined;
    };
    result: Record<string, never>;
  };
  /** Lists the datapaths. */
  "dp-list": {
    params: Record<string, never>;
    result: { datapaths: readonly { name: string; type: AnyDatapathType }[] };
  };
  /** All datapaths when `dps` is empty. */
  "dp-show": {
    params: { dps: readonly string[]; statistics?: boolean | undefined };
    result: { datapaths: readonly DatapathInfo[] };
  };
  /** Adds a port. */
  "port-add": { params: PortAddParams; result: { created: boolean; portNo: number } };
  /** Deletes a port, given by name or number. */
  "port-del": {
    params: DpParams & { port: string; ifExists?: boolean | undefined };
    result: { deleted: boolean };
  };
  /** Changes options of a port, given by name or number; those not named stay. */
  "port-set": {
    params: DpParams & {
      port: string;
      /** Options of the type; an empty one goes back to its default. */
      options?: Readonly<Record<string, string>> | undefined;
      /** Portids that its upcalls are for; 0 alone: it has none; empty: none are set. */
      portids?: readonly number[] | undefined;
    };
    result: { changed: boolean };
  };
  /** Lists the ports of a datapath. */
  "port-list": {
    params: DpParams & { statistics?: boolean | undefined };
    result: { ports: readonly PortInfo[] };
  };
  /** Adds a flow. */
  "flow-add": {
    params: FlowParams & {
      actions: string;
      mayExist?: boolean | undefined;
      /** Seconds without a packet after which the flow goes. A flow with a timeout is not saved. */
      idleTimeout?: number | undefined;
      /** Seconds after which the flow goes. */
      hardTimeout?: number | undefined;
    };
    result: { ufid: string; created: boolean };
  };
  /** Absent actions: unchanged. `clear` zeroes the statistics. The result has the statistics before. */
  "flow-mod": {
    params: FlowParams & {
      actions?: string | undefined;
      mayCreate?: boolean | undefined;
      clear?: boolean | undefined;
    };
    result: { ufid: string; created: boolean; stats: FlowStats };
  };
  /** `flow` may be `ufid:UUID` alone. */
  "flow-del": {
    params: FlowParams & { ifExists?: boolean | undefined };
    result: { deleted: boolean; stats: FlowStats | null };
  };
  /** Gives one flow. */
  "flow-get": { params: FlowParams & { names?: boolean | undefined }; result: { flow: FlowInfo } };
  /** Gives all flows, or those that a filter leaves. */
  "flow-dump": {
    params: DpParams & {
      /** OpenFlow match, as dpctl's `filter=`. */
      filter?: string | undefined;
      names?: boolean | undefined;
      verbose?: boolean | undefined;
      /** Say which flows have a UFID of the user's own. */
      givenUfids?: boolean | undefined;
    };
    result: { flows: readonly FlowInfo[] };
  };
  /** Deletes all flows of a datapath. */
  "flow-flush": { params: DpParams; result: { deleted: number } };
  /** Adds a meter, in the syntax of ovs-ofctl: `meter=1,kbps,burst,bands=type=drop,rate=1000,burst_size=2000`. */
  "meter-add": {
    params: DpParams & { meter: string; mayExist?: boolean | undefined };
    result: { meter: number; created: boolean };
  };
  /** Sets a meter anew: its buckets are full and its counters 0 afterwards. */
  "meter-mod": { params: DpParams & { meter: string }; result: { meter: number } };
  /** Deletes one meter, or all. Flows that name it let packets pass from then on. */
  "meter-del": {
    params: DpParams & { meter?: number | undefined; ifExists?: boolean | undefined };
    result: { deleted: number };
  };
  /** Shows one meter, or all, and what meters can be. */
  "meter-show": {
    params: DpParams & { meter?: number | undefined };
    result: {
      features: {
        /** Most meters of a datapath. */
        readonly metersMax: number;
        /** Most bands of a meter. */
        readonly bandsMax: number;
        readonly bandTypes: readonly string[];
        readonly capabilities: readonly string[];
      };
      meters: readonly MeterInfo[];
    };
  };
  /** Lines `[add|modify|delete] FLOW [ACTIONS]`, `#` comments; all or nothing. `replace`: the table is what the text says afterwards. */
  "flow-load": {
    params: DpParams & { text: string; replace?: boolean | undefined };
    result: { added: number; modified: number; deleted: number };
  };
  /** Configuration requests, all or nothing; an error carries the `line` of the first that fails. */
  "batch": {
    params: { requests: readonly BatchRequest[] };
    result: { done: number };
  };
  /** Loads a port type from a file, or a changed file again. Lasts until the daemon ends. */
  "plugin-add": {
    params: {
      /** Absolute path, on the daemon's host. */
      file: string;
    };
    result: { type: string; file: string; change: "added" | "reloaded" | "unchanged" };
  };
  /** Forgets a plug-in's port type, of which there is no port. */
  "plugin-del": {
    params: { type: string; ifExists?: boolean | undefined };
    result: { deleted: boolean };
  };
  /** Lists the port types, and the files of the plug-in folder that could not be used. */
  "plugin-list": {
    params: Record<string, never>;
    result: {
      types: readonly PluginInfo[];
      refused: readonly { file: string; reason: string }[];
    };
  };
  /**
   * Gives the upcalls of a datapath as they come, as `{"method":"upcall","params":[UpcallInfo],"id":null}`
   * in front of the answer, until `count` are given or the client goes. Only over a connection.
   */
  "upcalls": {
    params: DpParams & {
      count?: number | undefined;
      /** Only those for these portids. */
      portids?: readonly number[] | undefined;
    };
    result: { upcalls: number; lost: number };
  };
  /** Lets packets go through a datapath without sending, counting or learning anything, and tells their way. */
  "trace": {
    params: DpParams & {
      /** Packet to make; with `packets` their metadata. */
      flow?: string | undefined;
      packets?: readonly TracePacketParams[] | undefined;
      /** Port that they come from, by name or number; default that of `flow`, else none. */
      inPort?: string | undefined;
      /** Bytes of the packet that is made. */
      size?: number | undefined;
      /** Names of ports in flow texts. */
      names?: boolean | undefined;
      /** What sample actions do: `taken` or `skipped`; default as chance has it. */
      samples?: string | undefined;
    };
    result: { traces: readonly PacketTrace[] };
  };
  /**
   * Gives copies of packets as they come, as `{"method":"captured","params":[CapturedInfo],"id":null}` in
   * front of the answer, until `count` are given or the client goes. Only over a connection.
   */
  "capture": {
    params: DpParams & {
      /** Name or number; absent: all ports. */
      port?: string | undefined;
      /** `in`, `out`, `drop`, `upcall`, `sample`. */
      events: readonly string[];
      /** Flow, or OpenFlow match: packets that are so when it happens. */
      filter?: string | undefined;
      count?: number | undefined;
      /** Most bytes of each. */
      size?: number | undefined;
    };
    result: { packets: number; lost: number };
  };
  /**
   * Gives the ways of the next `count` packets, as `{"method":"traced","params":[PacketTrace],"id":null}` in
   * front of the answer. Only over a connection.
   */
  "trace-live": {
    params: DpParams & {
      /** As in `capture`, of received packets. */
      filter?: string | undefined;
      /** Default 1. */
      count?: number | undefined;
      /** Names of ports in flow texts. */
      names?: boolean | undefined;
    };
    result: { traces: number; lost: number };
  };
  /** Ends the daemon. */
  "stop": { params: Record<string, never>; result: Record<string, never> };
  /** Says which version runs. */
  "version": { params: Record<string, never>; result: { version: string } };
  /** The dummy class. `frames`: hex, or flow text from which a packet is composed. Returns after the switch has handled them. */
  "netdev-dummy/receive": {
    params: { port: string; frames: readonly string[]; size?: number | undefined };
    result: Record<string, never>;
  };
}

/** Name of a method. */
export type MethodName = keyof Methods;
/** Verbs that change the saved configuration and may stand in a batch. */
export type ConfigMethod =
  | "dp-add"
  | "dp-del"
  | "dp-set"
  | "port-add"
  | "port-del"
  | "port-set"
  | "flow-add"
  | "flow-mod"
  | "flow-del"
  | "flow-flush"
  | "meter-add"
  | "meter-mod"
  | "meter-del"
  | "ct-limit-set"
  | "ct-limit-del"
  | "ct-maxconns-set"
  | "ct-timeout-set"
  | "ct-timeout-del"
  | "ct-set";
/** Methods that change the saved state. */
export const SAVED_METHODS: ReadonlySet<MethodName> = new Set<MethodName>([
  ...["dp-add", "dp-del", "dp-set", "port-add", "port-del", "port-set"] as const,
  ...["flow-add", "flow-mod", "flow-del", "flow-flush", "flow-load", "batch"] as const,
  ...["meter-add", "meter-mod", "meter-del"] as const,
  ...["ct-limit-set", "ct-limit-del", "ct-maxconns-set"] as const,
  ...["ct-timeout-set", "ct-timeout-del", "ct-set"] as const,
]);
/** One request of a batch. */
export interface BatchRequest {
  /** Line in the file, 1 = first. */
  readonly line: number;
  /** What to do. */
  readonly method: ConfigMethod;
  /** The method's parameters. */
  readonly params: Methods[ConfigMethod]["params"];
}

/** Whoever carries out requests: the daemon, the client end of its socket, or an offline edit. */
export interface Executor {
  /** Carries out one request. Throws {@link CommandError}; then nothing of it has been done. */
  execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]>;
}

/** A request that was refused or failed; nothing of it has been done. */
export class CommandError extends Error {
  /** Tells it from other errors. */
  override readonly name = "CommandError";
  /** Errno name, or ESYNTAX. */
  readonly code: string;
  /** The text with a caret under the fault, for syntax errors. */
  readonly caret: string | undefined;
  /** Line of a batch or a flow file, 1 = first. */
  readonly line: number | undefined;

  /** `message` is for the user; `extra.line` counts from 1. */
  constructor(
    code: string,
    message: string,
    extra: { caret?: string | undefined; line?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: extra.cause });
    this.code = code;
    this.caret = extra.caret;
    this.line = extra.line;
  }
}
