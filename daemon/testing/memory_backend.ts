/** A backend for tests: real flow tables, no devices, and faults where a test wants them. */
import type { DatapathCounters, PortCounters, UpcallHandlerInfo } from "../api.ts";
import type {
  Backend,
  CloseMode,
  ConntrackBackend,
  DatapathBackend,
  PortSpec,
} from "../backend.ts";
import { Configuration } from "../configuration.ts";
import type { ConntrackSettings, DatapathRecord } from "../model.ts";
import { OfflineDatapath } from "../offline_backend.ts";
import type { LooseDevice, StoreChange } from "../store.ts";
import { OptionError } from "../../datapath/errors.ts";
import { makeFlowTableBuffers } from "../../datapath/flow_table/layout.ts";
import { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import type { MeterConfig } from "../../datapath/meters.ts";
import type { UpcallDispatch } from "../../datapath/upcall_dispatch.ts";
import { VportRegistry } from "../../vports/registry.ts";
import type { VportOps } from "../../vports/vport.ts";

/** A type without devices that knows the option `host=share`. */
function makeType(type: string): VportOps<ReadonlyMap<string, string>> {
  return {
    apiVersion: 1,
    type,
    summary: "for tests",
    headroom: 0,
    parseOptions(raw): ReadonlyMap<string, string> {
      for (const [key, value] of raw) {
        if (key !== "host") throw new OptionError(key, `Unknown option ${key}=${value}`);
      }
      return raw;
    },
    formatOptions: (options) => options,
    create(): never {
      throw new Error("no packet threads here");
    },
  };
}

export class MemoryBackend implements Backend {
  readonly offline = false;
  readonly types: VportRegistry = new VportRegistry();
  /** What happened to ports and datapaths, and what was saved. */
  readonly events: string[] = [];
  readonly saved: StoreChange[] = [];
  /** Devices that can't be attached. */
  readonly missing: Set<string> = new Set();
  /** Why ports, `DATAPATH:NUMBER`, have become unusable. */
  readonly broken: Map<string, string> = new Map();
  saveFails = false;
  /** The connections of all datapaths; undefined: none runs that could have any. */
  conntrack: ConntrackBackend | undefined;
  /** Holds up what is saved. */
  onSave: () => Promise<void> = () => Promise.resolve();

  constructor() {
    for (const type of ["netdev", "internal", "dummy"]) {
      this.types.register(makeType(type) as VportOps, "built-in");
    }
  }

  nowMs(): number {
    return 0;
  }

  addDatapath(record: DatapathRecord): Promise<DatapathBackend> {
    this.events.push(`+${record.name}`);
    return Promise.resolve(new MemoryDatapath(record, this));
  }

  async save(changes: readonly StoreChange[]): Promise<void> {
    await this.onSave();
    if (this.saveFails) throw new Error("the disk is full");
    this.saved.push(...structuredClone(changes));
  }

  checkHandler(path: string): Promise<string> {
    return Promise.resolve(path);
  }

  removeLoose({ name }: LooseDevice): Promise<boolean> {
    this.events.push(`no ${name}`);
    return Promise.resolve(true);
  }

  rest(): undefined {
    return undefined;
  }

  /** Events since the last call. */
  takeEvents(): string[] {
    return this.events.splice(0);
  }
}

class MemoryDatapath implements DatapathBackend {
  readonly #record: DatapathRecord;
  readonly #owner: MemoryBackend;
  readonly #table: FlowTableWriter;

  constructor(record: DatapathRecord, owner: MemoryBackend) {
    this.#record = record;
    this.#owner = owner;
    const { flowsMax, ufidSeed } = record;
    const buffers = makeFlowTableBuffers({ flowsMax, threads: 0, seed: ufidSeed });
    this.#table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  }

  table(): FlowTableWriter {
    return this.#table;
  }

  get conntrack(): ConntrackBackend | undefined {
    return this.#owner.conntrack;
  }

  setMiss(policy: string): Promise<void> {
    this.#owner.events.push(`${this.#record.name} misses ${policy}`);
    return Promise.resolve();
  }

  setCacheSize(size: number): Promise<void> {
    this.#owner.events.push(`${this.#record.name} caches ${size}`);
    return Promise.resolve();
  }

  setHandler(path: string | null): Promise<void> {
    this.#owner.events.push(`${this.#record.name} asks ${path}`);
    return Promise.resolve();
  }

  setMeter({ id, unit, bands }: MeterConfig): void {
    const rates = bands.map(({ rate, burst }) => `${rate}/${burst}`).join(" ");
    this.#owner.events.push(`${this.#record.name} meter ${id} ${unit} ${rates}`);
  }

  deleteMeter(id: number): void {
    this.#owner.events.push(`${this.#record.name} no meter ${id}`);
  }

  meterStats(_id: number): undefined {
    return undefined;
  }

  setConntrack({ defaultLimit, zoneLimits }: ConntrackSettings): void {
    this.#owner.events.push(
      `${this.#record.name} limits ${defaultLimit} ${JSON.stringify(zoneLimits)}`,
    );
  }

  setDispatch({ ports, cpus }: UpcallDispatch): Promise<void> {
    this.#owner.events.push(`${this.#record.name} dispatches ${JSON.stringify({ ports, cpus })}`);
    return Promise.resolve();
  }

  handlerInfo(path: string): UpcallHandlerInfo {
    return {
      ...{ path, state: "running", reason: null },
      ...{ upcalls: 0, thrown: 0, refused: 0, lost: 0, restarts: 0 },
    };
  }

  readonly maxHeadroom = 0;

  addPort({ portNo, name, type }: PortSpec): Promise<{ mac?: string }> {
    const where = `${this.#record.name}:${portNo}=${name}`;
    if (this.#owner.missing.has(name)) {
      const error = Object.assign(new Error(`Cannot find device "${name}"`), { code: "ENODEV" });
      this.#owner.events.push(`!${where}`);
      return Promise.reject(error);
    }
    this.#owner.events.push(`+${where}`);
    return Promise.resolve(type === "netdev" ? { mac: "02:00:00:00:00:01" } : {});
  }

  removePort(portNo: number, how: CloseMode): Promise<void> {
    this.#owner.events.push(`-${this.#record.name}:${portNo} ${how}`);
    return Promise.resolve();
  }

  checkPort(portNo: number): string | undefined {
    return this.#owner.broken.get(`${this.#record.name}:${portNo}`);
  }

  counters(): DatapathCounters {
    return OfflineDatapath.prototype.counters.call(this);
  }

  portCounters(portNo: number): PortCounters {
    return OfflineDatapath.prototype.portCounters.call(this, portNo);
  }

  command(_portNo: number, name: string): Promise<unknown> {
    this.#owner.events.push(name);
    return Promise.resolve();
  }

  close(how: CloseMode): Promise<void> {
    this.#owner.events.push(`-${this.#record.name} ${how}`);
    return Promise.resolve();
  }
}

/** An empty configuration over such a backend. */
export function makeConfiguration(): { backend: MemoryBackend; configuration: Configuration } {
  const backend = new MemoryBackend();
  return { backend, configuration: new Configuration(backend, new Map()) };
}
