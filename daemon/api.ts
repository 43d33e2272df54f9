/**
 * The commands of a switch as data: what goes over the control socket and what an offline edit runs.
 * One entry of {@link Methods} per verb: parameters in, result out, both plain JSON. Text output is
 * rendered from the results (daemon/render/); the command line and the dpctl aliases make parameters.
 */

export type MissPolicy = "drop" | "flood" | "learn";
/** Datapath type: `netdev` (real devices) or `dummy` (frames injected and recorded, no privileges). */
export type DatapathType = "netdev" | "dummy";

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
  /** Packets that matched. */
  readonly packets: number;
  /** Their bytes, link-layer header included. */
  readonly bytes: number;
  /** Milliseconds since the last packet; null: never. */
  readonly usedMs: number | null;
  /** OR of the TCP flags seen. */
  readonly tcpFlags: number;
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
  /** Only when statistics were asked for. */
  readonly counters?: PortCounters;
}

/** Packets and bytes of one port since it was attached. */
export interface PortCounters {
  /** Packets received. */
  readonly rxPackets: number;
  /** Bytes received. */
  readonly rxBytes: number;
  /** Packets that could not be received. */
  readonly rxDropped: number;
  /** Packets sent. */
  readonly txPackets: number;
  /** Bytes sent. */
  readonly txBytes: number;
  /** Packets that could not be sent. */
  readonly txDropped: number;
  /** Drop reason → packets, only nonzero ones. */
  readonly drops: Readonly<Record<string, number>>;
}

/** Packets of one datapath since the switch started. */
export interface DatapathCounters {
  /** Packets that matched a flow. */
  readonly hit: number;
  /** Packets that matched none. */
  readonly missed: number;
  /** Of those, the ones dropped for it. */
  readonly lost: number;
  /** Masks tried in all lookups together. */
  readonly maskHit: number;
  /** Lookups answered by the signature cache. */
  readonly cacheHit: number;
  /** received + generated + copied = sent + dropped + consumed + held when the threads are quiescent. */
  readonly received: number;
  /** Packets made by the switch, such as the segments of a train. */
  readonly generated: number;
  /** Copies made for further outputs. */
  readonly copied: number;
  /** Packets handed to ports. */
  readonly sent: number;
  /** Packets dropped, for whatever reason. */
  readonly dropped: number;
  /** Packets replaced by others, such as a train by its segments. */
  readonly consumed: number;
  /** Packets inside the switch now. */
  readonly held: number;
  /** Drop reason → packets, only nonzero ones. */
  readonly drops: Readonly<Record<string, number>>;
}

/** One datapath as shown. */
export interface DatapathInfo {
  /** Without its type. */
  readonly name: string;
  /** Its type. */
  readonly type: DatapathType;
  /** What happens to a packet that matches no flow. */
  readonly miss: MissPolicy;
  /** Most flows that it can hold. */
  readonly flowsMax: number;
  /** Flows now. */
  readonly flows: number;
  /** Different masks of these flows. */
  readonly masks: number;
  /** Since the switch started. */
  readonly counters: DatapathCounters;
  /** By number. */
  readonly ports: readonly PortInfo[];
}

/** Every method with its parameters and its result. */
export interface Methods {
  /** Adds a datapath. */
  "dp-add": { params: DpAddParams; result: { created: boolean } };
  /** Deletes a datapath with its ports and flows. */
  "dp-del": {
    params: { dp: string; ifExists?: boolean | undefined };
    result: { deleted: boolean };
  };
  /** Changes settings of a datapath; absent ones stay. */
  "dp-set": { params: DpParams & { miss?: MissPolicy | undefined }; result: Record<string, never> };
  /** Lists the datapaths. */
  "dp-list": {
    params: Record<string, never>;
    result: { datapaths: readonly { name: string; type: DatapathType }[] };
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
  /** Lists the ports of a datapath. */
  "port-list": {
    params: DpParams & { statistics?: boolean | undefined };
    result: { ports: readonly PortInfo[] };
  };
  /** Adds a flow. */
  "flow-add": {
    params: FlowParams & { actions: string; mayExist?: boolean | undefined };
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
  | "flow-add"
  | "flow-mod"
  | "flow-del"
  | "flow-flush";
/** Methods that change the saved state. */
export const SAVED_METHODS: ReadonlySet<MethodName> = new Set<MethodName>([
  ...["dp-add", "dp-del", "dp-set", "port-add", "port-del"] as const,
  ...["flow-add", "flow-mod", "flow-del", "flow-flush", "flow-load", "batch"] as const,
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
