/** A backend over the running switch. */
import type { DatapathCounters, MissPolicy, PortCounters, UpcallHandlerInfo } from "./api.ts";
import type {
  Backend,
  CloseMode,
  ConntrackBackend,
  DatapathBackend,
  PluginBackend,
  PortSpec,
  TraceFacts,
} from "./backend.ts";
import { removeLooseDevice } from "./loose_devices.ts";
import type { ConntrackSettings, DatapathRecord } from "./model.ts";
import { Slices } from "./slices.ts";
import type { LooseDevice, StoreChange } from "./store.ts";
import type { StoreClient } from "./store_client.ts";
import type { LiveDatapath, Switch } from "./switch/switch.ts";
import type { UpcallService } from "./upcalls/service.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import type { MeterConfig, MeterStats } from "../datapath/meters.ts";
import type { UpcallDispatch } from "../datapath/upcall_dispatch.ts";
import type { VportRegistry } from "../vports/registry.ts";

export class LiveBackend implements Backend {
  readonly offline = false;
  readonly types: VportRegistry;
  readonly plugins: PluginBackend;
  readonly #switch: Switch;
  readonly #store: StoreClient;
  readonly #upcalls: UpcallService;
  readonly #slices: Slices = new Slices();

  constructor(live: Switch, store: StoreClient, upcalls: UpcallService) {
    this.#upcalls = upcalls;
    this.#switch = live;
    this.#store = store;
    this.types = live.types;
    this.plugins = {
      load: (path) => live.loadPlugin(path),
      unload: (type) => live.plugins.unload(type),
      get refused() {
        return live.plugins.refused;
      },
    };
  }

  nowMs(): number {
    return this.#switch.clock.nowMs();
  }

  async addDatapath(record: DatapathRecord): Promise<DatapathBackend> {
    const live = await this.#switch.addDatapath(record);
    await this.#upcalls.setHandler(live, record.upcallHandler);
    return new LiveDatapathBackend(live, this.#switch, this.#upcalls);
  }

  /** Loaded, and forgotten: what it does when it is run is found out when it is set. */
  async checkHandler(path: string): Promise<string> {
    return await this.#upcalls.check(path);
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

/** How often a command waits for upcalls that follow from upcalls. */
const SETTLE_PASSES = 8;

class LiveDatapathBackend implements DatapathBackend {
  readonly #live: LiveDatapath;
  readonly #switch: Switch;
  readonly #upcalls: UpcallService;

  constructor(live: LiveDatapath, owner: Switch, upcalls: UpcallService) {
    this.#live = live;
    this.#upcalls = upcalls;
    this.#switch = owner;
  }

  table(): FlowTableWriter {
    return this.#live.table;
  }

  setMiss(policy: MissPolicy): Promise<void> {
    return this.#live.setMiss(policy);
  }

  setCacheSize(size: number): Promise<void> {
    return this.#live.setCacheSize(size);
  }

  setHandler(path: string | null): Promise<void> {
    return this.#upcalls.setHandler(this.#live, path);
  }

  setDispatch(dispatch: UpcallDispatch): Promise<void> {
    return this.#live.setDispatch(dispatch);
  }

  handlerInfo(path: string): UpcallHandlerInfo {
    return this.#upcalls.info(this.#live, path);
  }

  setConntrack(settings: ConntrackSettings): void {
    this.#live.setConntrack(settings);
  }

  timeoutPolicy(name: string): number {
    return this.#live.timeoutPolicies.numberOf(name);
  }

  get conntrack(): ConntrackBackend {
    const { clock } = this.#switch;
    return { control: this.#live.conntrack, nowMs: () => clock.nowMs() + clock.wallOffsetMs };
  }

  get maxHeadroom(): number {
    return this.#live.maxHeadroom;
  }

  setMeter(meter: MeterConfig): void {
    this.#live.meters.set(meter, this.#switch.clock.nowMs());
  }

  deleteMeter(id: number): void {
    this.#live.meters.delete(id);
  }

  meterStats(id: number): MeterStats | undefined {
    return this.#live.meters.stats(id);
  }

  traceFacts(): TraceFacts {
    const { wallOffsetMs } = this.#switch.clock;
    const { conntrack, ...facts } = this.#live.traceFacts;
    return { ...facts, conntrack: { buffers: conntrack, wallOffsetMs } };
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

  portStatus(portNo: number): string | undefined {
    return this.#live.portStatus(portNo);
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
    // What a handler sends may come back as further upcalls.
    for (let pass = 0; pass < SETTLE_PASSES && await this.#upcalls.settle(this.#live); pass++) {
      await this.#switch.settle();
    }
    return result;
  }

  async close(how: CloseMode): Promise<void> {
    await this.#upcalls.remove(this.#live);
    await this.#live.close(how);
  }
}
