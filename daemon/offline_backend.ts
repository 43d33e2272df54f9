/** A backend without a switch: the saved state alone, edited while no daemon runs. */
import type { DatapathCounters, MissPolicy, PortCounters, UpcallHandlerInfo } from "./api.ts";
import type { Backend, CloseMode, DatapathBackend, PortSpec } from "./backend.ts";
import type { ConntrackSettings, DatapathRecord } from "./model.ts";
import { insertSavedFlow } from "./restore.ts";
import type { LooseDevice, Store, StoreChange } from "./store.ts";
import { makeFlowTableBuffers } from "../datapath/flow_table/layout.ts";
import { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import type { MeterConfig } from "../datapath/meters.ts";
import type { UpcallDispatch } from "../datapath/upcall_dispatch.ts";
import type { VportRegistry } from "../vports/registry.ts";

const LOAD_COUNT = 1000;

export const NO_PORT_COUNTERS: PortCounters = {
  rxPackets: 0,
  rxBytes: 0,
  rxDropped: 0,
  txPackets: 0,
  txBytes: 0,
  txDropped: 0,
  upcalls: 0,
  upcallErrors: 0,
  drops: {},
};

export const NO_COUNTERS: DatapathCounters = {
  hit: 0,
  missed: 0,
  lost: 0,
  maskHit: 0,
  cacheHit: 0,
  received: 0,
  generated: 0,
  copied: 0,
  sent: 0,
  dropped: 0,
  consumed: 0,
  held: 0,
  drops: {},
};

export class OfflineBackend implements Backend {
  readonly offline = true;
  /** Something was written into the state. */
  saved = false;
  readonly types: VportRegistry;
  readonly #store: Store;

  constructor(store: Store, types: VportRegistry) {
    this.#store = store;
    this.types = types;
  }

  nowMs(): number {
    return 0;
  }

  addDatapath(datapath: DatapathRecord): Promise<DatapathBackend> {
    return Promise.resolve(new OfflineDatapath(this.#store, datapath));
  }

  /** Nothing of it is run: that is the daemon's business. */
  async checkHandler(path: string): Promise<string> {
    const { checkPluginFile } = await import("../vports/loader.ts");
    return (await checkPluginFile(path)).path;
  }

  save(changes: readonly StoreChange[]): Promise<void> {
    if (changes.length > 0) {
      this.#store.apply(changes);
      this.saved = true;
    }
    return Promise.resolve();
  }

  /** Calls the C library, which few commands need. */
  async removeLoose({ name, dp }: LooseDevice): Promise<boolean> {
    const { removeLooseDevice } = await import("./loose_devices.ts");
    return removeLooseDevice(name, dp);
  }

  rest(): undefined {
    return undefined;
  }
}

export class OfflineDatapath implements DatapathBackend {
  readonly #store: Store;
  readonly #record: DatapathRecord;
  #table: FlowTableWriter | undefined;

  constructor(store: Store, record: DatapathRecord) {
    this.#store = store;
    this.#record = record;
  }

  /** Read from the state when it is first needed: most commands don't look at flows. */
  table(): FlowTableWriter {
    this.#table ??= this.#loadTable();
    return this.#table;
  }

  setMiss(_policy: MissPolicy): Promise<void> {
    return Promise.resolve();
  }

  setCacheSize(_size: number): Promise<void> {
    return Promise.resolve();
  }

  setHandler(_path: string | null): Promise<void> {
    return Promise.resolve();
  }

  setMeter(_meter: MeterConfig): void {}

  deleteMeter(_id: number): void {}

  meterStats(_id: number): undefined {
    return undefined;
  }

  setConntrack(_settings: ConntrackSettings): void {}

  setDispatch(_dispatch: UpcallDispatch): Promise<void> {
    return Promise.resolve();
  }

  handlerInfo(path: string): UpcallHandlerInfo {
    return {
      path,
      state: "offline",
      reason: null,
      upcalls: 0,
      thrown: 0,
      refused: 0,
      lost: 0,
      restarts: 0,
    };
  }

  readonly maxHeadroom = 0;

  addPort(_port: PortSpec): Promise<{ mac?: string }> {
    return Promise.resolve({});
  }

  removePort(_portNo: number, _how: CloseMode): Promise<void> {
    return Promise.resolve();
  }

  checkPort(_portNo: number): undefined {
    return undefined;
  }

  counters(): DatapathCounters {
    return NO_COUNTERS;
  }

  portCounters(_portNo: number): PortCounters {
    return NO_PORT_COUNTERS;
  }

  command(_portNo: number, name: string, _data: unknown): Promise<unknown> {
    return Promise.reject(new Error(`no daemon is running to ${name}`));
  }

  close(_how: CloseMode): Promise<void> {
    return Promise.resolve();
  }

  #loadTable(): FlowTableWriter {
    const { id, flowsMax, ufidSeed } = this.#record;
    const buffers = makeFlowTableBuffers({ flowsMax, threads: 0, seed: ufidSeed });
    const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
    for (let from: number | undefined = 0; from !== undefined;) {
      const piece = this.#store.loadFlows(id, from, LOAD_COUNT);
      for (const flow of piece.flows) insertSavedFlow(table, flow);
      from = piece.next;
    }
    table.commit();
    return table;
  }
}
