/**
 * What carries the configuration out: the running switch (live_backend.ts), or nothing but the saved
 * state (offline_backend.ts). configuration.ts is written against this, so that both answer alike.
 */
import type { DatapathCounters, PortCounters } from "./api.ts";
import type { MissPolicy } from "./api.ts";
import type { DatapathRecord } from "./model.ts";
import type { LooseDevice, StoreChange } from "./store.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
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

export interface DatapathBackend {
  /** The flow table. Offline it is filled on first use. */
  table(): FlowTableWriter | Promise<FlowTableWriter>;
  setMiss(policy: MissPolicy): Promise<void>;
  /** Throws; then nothing of the port is left. */
  addPort(port: PortSpec): Promise<{ readonly mac?: string | undefined }>;
  /** Does nothing for a port that is not attached. */
  removePort(portNo: number, how: CloseMode): Promise<void>;
  /** Why an attached port has become unusable. */
  checkPort(portNo: number): string | undefined;
  counters(): DatapathCounters;
  portCounters(portNo: number): PortCounters;
  /** A command of the port type's own. */
  command(portNo: number, name: string, data: unknown): Promise<unknown>;
  close(how: CloseMode): Promise<void>;
}

export interface Backend {
  readonly offline: boolean;
  readonly types: VportRegistry;
  /** The clock of flow statistics, in milliseconds. */
  nowMs(): number;
  /** Makes a datapath without ports and flows. */
  addDatapath(datapath: DatapathRecord): Promise<DatapathBackend>;
  /** One transaction; resolves when it is on the disk. Throws CommandError, with nothing saved. */
  save(changes: readonly StoreChange[]): Promise<void>;
  /** Sees to it that there is no device `name` that is marked as datapath `dp`'s (an id); false: it could not. */
  removeLoose(device: LooseDevice): Promise<boolean>;
  /** Lets others run between two steps of long work, where there are others. */
  rest(): Promise<void> | undefined;
}
