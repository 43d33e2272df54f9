/**
 * What carries the configuration out: the running switch (live_backend.ts), or nothing but the saved
 * state (offline_backend.ts). configuration.ts is written against this, so that both answer alike.
 */
import type { DatapathCounters, Methods, PortCounters } from "./api.ts";
import type { MissPolicy, UpcallHandlerInfo } from "./api.ts";
import type { ConntrackSettings, DatapathRecord } from "./model.ts";
import type { LooseDevice, StoreChange } from "./store.ts";
import type { SetAttributes } from "../datapath/actions/action_program.ts";
import type { ConntrackControl } from "../datapath/conntrack/control.ts";
import { FIELDS } from "../datapath/fields/field_table.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import type { ConntrackBuffers } from "../datapath/conntrack/layout.ts";
import type { MeterConfig, MeterMemory, MeterStats } from "../datapath/meters.ts";
import type { UpcallMode } from "../datapath/pipeline.ts";
import type { UpcallDispatch } from "../datapath/upcall_dispatch.ts";
import type { VportRegistry } from "../vports/registry.ts";

export interface PortSpec {
  readonly portNo: number;
  readonly name: string;
  readonly type: string;
  readonly options: ReadonlyMap<string, string>;
  readonly mac?: string | undefined;
}

/** "close": devices that outlive the switch stay. "delete": they go. */
export type CloseMode = "close" | "delete";

/** A running datapath as traces see it; nothing of it is changed by them. */
export interface TraceFacts {
  readonly upcallMode: UpcallMode;
  readonly quietPorts: readonly number[];
  readonly macs: SharedArrayBuffer;
  readonly meters: MeterMemory;
  readonly conntrack: { readonly buffers: ConntrackBuffers; readonly wallOffsetMs: number };
  /** MTUs of ports' devices, by port number, as far as they are known. */
  readonly mtus: ReadonlyMap<number, number>;
}

/** The connections of a running datapath. */
export interface ConntrackBackend {
  readonly control: ConntrackControl;
  /** The clock of connections, ms since 1970. */
  nowMs(): number;
}

/** What compiling actions for a datapath needs of it. */
export function programContext(backend: Pick<DatapathBackend, "timeoutPolicy">): SetAttributes {
  const { attributes } = FIELDS;
  return { attributes, policyOf: (name) => backend.timeoutPolicy?.(name) ?? 0 };
}

export interface DatapathBackend {
  /** The flow table. Offline it is filled on first use. */
  table(): FlowTableWriter | Promise<FlowTableWriter>;
  setMiss(policy: MissPolicy): Promise<void>;
  /** Entries that a thread's signature cache may have (a power of 2); 0: it is off. */
  setCacheSize(size: number): Promise<void>;
  /** Loads the handler that packets without a flow go to; null: none any more. Throws; then there is none. */
  setHandler(path: string | null): Promise<void>;
  /** Makes a meter, or makes one anew: full buckets, nothing counted. */
  setMeter(meter: MeterConfig): void;
  /** Packets pass from then on. Does nothing for one that is not there. */
  deleteMeter(id: number): void;
  /** What a meter has counted; undefined: nothing runs that could. */
  meterStats(id: number): MeterStats | undefined;
  /** Settings of connection tracking. */
  setConntrack(settings: ConntrackSettings): void;
  /** Number of a timeout policy in action programs; absent: nothing runs that would need it. */
  timeoutPolicy?(name: string): number;
  /** Undefined: nothing runs that could have connections. */
  readonly conntrack?: ConntrackBackend | undefined;
  /** Whom upcalls are for. */
  setDispatch(dispatch: UpcallDispatch): Promise<void>;
  /** How the handler of this path does. */
  handlerInfo(path: string): UpcallHandlerInfo;
  readonly maxHeadroom: number;
  /** Throws; then nothing of the port is left. */
  addPort(port: PortSpec): Promise<{ readonly mac?: string | undefined }>;
  /** Does nothing for a port that is not attached. */
  removePort(portNo: number, how: CloseMode): Promise<void>;
  /** Why an attached port has become unusable. */
  checkPort(portNo: number): string | undefined;
  /** What an attached port says of itself; absent: nothing runs. */
  portStatus?(portNo: number): string | undefined;
  counters(): DatapathCounters;
  portCounters(portNo: number): PortCounters;
  /** What a trace must know of what runs; absent: nothing does. */
  traceFacts?(): TraceFacts;
  /** A command of the port type's own. */
  command(portNo: number, name: string, data: unknown): Promise<unknown>;
  close(how: CloseMode): Promise<void>;
}

/** See daemon/switch/plugins.ts for what they throw. */
export interface PluginBackend {
  load(path: string): Promise<Methods["plugin-add"]["result"]>;
  unload(type: string): Promise<void>;
  readonly refused: Methods["plugin-list"]["result"]["refused"];
}

export interface Backend {
  readonly offline: boolean;
  readonly types: VportRegistry;
  /** The clock of flow statistics, in milliseconds. */
  nowMs(): number;
  /** Third parties' types, which can be loaded and unloaded; undefined offline. */
  readonly plugins?: PluginBackend | undefined;
  /** Makes a datapath without ports and flows. */
  addDatapath(datapath: DatapathRecord): Promise<DatapathBackend>;
  /** Whether the file may be an upcall handler, as far as can be told here. Returns its path, links resolved. Throws. */
  checkHandler(path: string): Promise<string>;
  /** One transaction; resolves when it is on the disk. Throws CommandError, with nothing saved. */
  save(changes: readonly StoreChange[]): Promise<void>;
  /** Sees to it that there is no device `name` that is marked as datapath `dp`'s (an id); false: it could not. */
  removeLoose(device: LooseDevice): Promise<boolean>;
  /** Lets others run between two steps of long work, where there are others. */
  rest(): Promise<void> | undefined;
}
