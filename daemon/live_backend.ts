/** A backend over the running switch. */
import type { DatapathCounters, MissPolicy, PortCounters } from "./api.ts";
import type { Backend, CloseMode, DatapathBackend, PortSpec } from "./backend.ts";
import { removeLooseDevice } from "./loose_devices.ts";
import type { DatapathRecord } from "./model.ts";
import { Slices } from "./slices.ts";
import type { LooseDevice, StoreChange } from "./store.ts";
import type { StoreClient } from "./store_client.ts";
import type { LiveDatapath, Switch } from "./switch/switch.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import type { VportRegistry } from "../vports/registry.ts";

export class LiveBackend implements Backend {
  readonly offline = false;
  readonly types: VportRegistry;
  readonly #switch: Switch;
  readonly #store: StoreClient;
  readonly #slices: Slices = new Slices();

  constructor(live: Switch, store: StoreClient) {
    this.#switch = live;
    this.#store = store;
    this.types = live.types;
  }

  nowMs(): number {
    return this.#switch.clock.nowMs();
  }

  async addDatapath(record: DatapathRecord): Promise<DatapathBackend> {
    return new LiveDatapathBackend(await this.#switch.addDatapath(record), this.#switch);
  }

  save(changes: readonly StoreChange[]): Promise<void> {
    return this.#store.apply(changes);
  }

  removeLoose({ name, dp }: LooseDevice): Promise<boolean> {
    return Promise.resolve(removeLooseDevice(name, dp));
  }

  rest(): Promise<void> | undefined {
    return this.#slices.due ? this.#slices.rest() : undefined;
  }
}

class LiveDatapathBackend implements DatapathBackend {
  readonly #live: LiveDatapath;
  readonly #switch: Switch;

  constructor(live: LiveDatapath, owner: Switch) {
    this.#live = live;
    this.#switch = owner;
  }

  table(): FlowTableWriter {
    return this.#live.table;
  }

  setMiss(policy: MissPolicy): Promise<void> {
    return this.#live.setMiss(policy);
  }

  addPort(port: PortSpec): Promise<{ readonly mac?: string | undefined }> {
    return this.#live.addPort(port);
  }

  removePort(portNo: number, how: CloseMode): Promise<void> {
    return this.#live.removePort(portNo, how);
  }

  checkPort(portNo: number): string | undefined {
    return this.#live.checkPort(portNo);
  }

  counters(): DatapathCounters {
    return this.#live.counters();
  }

  portCounters(portNo: number): PortCounters {
    return this.#live.portCounters(portNo);
  }

  /** Returns when the switch has done what follows from it. */
  async command(portNo: number, name: string, data: unknown): Promise<unknown> {
    const result = await this.#live.command(portNo, name, data);
    await this.#switch.settle();
    return result;
  }

  close(how: CloseMode): Promise<void> {
    return this.#live.close(how);
  }
}
