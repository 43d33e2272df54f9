/**
 * The configuration as the control isolate holds it: datapaths and their ports. Flows lie in the
 * flow tables. What a request changes is made on a copy (transaction.ts) that takes the place of the
 * old one when everything has succeeded, so readers never see half a request.
 */
import type { DatapathType, MissPolicy, PortInfo } from "./api.ts";
import type { DatapathBackend } from "./backend.ts";
import type { ConntrackSettings } from "./switch/live_datapath.ts";
import type { SavedDatapath, SavedMeter, SavedPort } from "./store.ts";
import { FRAGMENTS_DEFAULT } from "../datapath/conntrack/fragment_control.ts";
import { CACHE_ENTRIES_MAX } from "../datapath/flow_table/signature_cache.ts";
import type { PortNames } from "../datapath/text/flow_text.ts";
import { formatMeter, type MeterText, parseMeter } from "../datapath/text/meter_text.ts";
import type { UpcallDispatch } from "../datapath/upcall_dispatch.ts";

export const LOCAL_PORT = 0;

export interface DatapathRecord {
  /** 32 hex digits. */
  readonly id: string;
  readonly name: string;
  readonly type: DatapathType;
  readonly miss: MissPolicy;
  readonly flowsMax: number;
  /** 16 bytes. */
  readonly ufidSeed: Uint8Array;
  /** Entries that a thread's signature cache may have; 0: it is off. */
  readonly masksCache: number;
  /** Of {@link FEATURES}. */
  readonly features: readonly string[];
  /** Path of the upcall handler; null: there is none. */
  readonly upcallHandler: string | null;
  /** Whom upcalls are for. */
  readonly portids: Portids;
  readonly conntrack: ConntrackSettings;
}

/** Portids (datapath/upcall_dispatch.ts) by port number, and for each packet thread in turn. */
export type Portids = Pick<UpcallDispatch, "ports" | "cpus">;

export const NO_PORTIDS: Portids = { ports: {}, cpus: [] };

/** Who an upcall of the datapath is for. */
export function dispatchOf(
  { portids, features }: Pick<DatapathRecord, "portids" | "features">,
): UpcallDispatch {
  return { ...portids, isPerCpu: features.includes(PER_CPU) };
}

export type { ConntrackSettings } from "./switch/live_datapath.ts";

/** Connection tracking as it is unless set otherwise. */
export const CONNTRACK_DEFAULTS: ConntrackSettings = {
  connectionsMax: null,
  defaultLimit: 0,
  zoneLimits: {},
  timeouts: {},
  tcpSequenceCheck: true,
  fragments: FRAGMENTS_DEFAULT,
};

/** OVS_DP_F_DISPATCH_UPCALL_PER_CPU: portids are chosen by packet thread. */
export const PER_CPU = "upcall-per-cpu";
/** OVS_DP_F_*: how a user of the kernel's datapath wants its upcalls. The first two are only kept and shown. */
export const FEATURES: readonly string[] = ["unaligned", "vport-pids", PER_CPU];

/** A port. The last three change in place, as its device does. */
export interface PortRecord {
  readonly portNo: number;
  readonly name: string;
  readonly type: string;
  readonly options: Readonly<Record<string, string>>;
  mac: string | null;
  state: PortInfo["state"];
  /** Why it is absent or failed. */
  reason: string | null;
}

/** A datapath with its ports and meters, which are changed only through its methods. */
export class Datapath implements PortNames {
  readonly record: DatapathRecord;
  readonly backend: DatapathBackend;
  readonly #byNo: Map<number, PortRecord>;
  readonly #byName: Map<string, PortRecord>;
  readonly #meters: Map<number, MeterText>;
  /** No number below this one is free. */
  #lowestFree: number;

  constructor(record: DatapathRecord, backend: DatapathBackend, from?: Datapath) {
    this.record = record;
    this.backend = backend;
    this.#byNo = new Map(from === undefined ? [] : from.#byNo);
    this.#byName = new Map(from === undefined ? [] : from.#byName);
    this.#meters = new Map(from === undefined ? [] : from.#meters);
    this.#lowestFree = from === undefined ? 1 : from.#lowestFree;
  }

  /** A copy that can be changed; records are shared. */
  copy(changes: Partial<DatapathRecord> = {}): Datapath {
    return new Datapath({ ...this.record, ...changes }, this.backend, this);
  }

  /** In order of number. */
  ports(): readonly PortRecord[] {
    return [...this.#byNo.values()].sort((a, b) => a.portNo - b.portNo);
  }

  /** Ports that are devices of our own. */
  get internalPorts(): readonly PortRecord[] {
    return [...this.#byNo.values()].filter(({ type }) => type === "internal");
  }

  port(portNo: number): PortRecord | undefined {
    return this.#byNo.get(portNo);
  }

  portNamed(name: string): PortRecord | undefined {
    return this.#byName.get(name);
  }

  byName(name: string): number | undefined {
    return this.#byName.get(name)?.portNo;
  }

  byNo(portNo: number): string | undefined {
    return this.#byNo.get(portNo)?.name;
  }

  /** The lowest number from 1 that is neither taken nor in `avoid`. May be past the last allowed one. */
  freePortNo(avoid: ReadonlySet<number>): number {
    while (this.#byNo.has(this.#lowestFree)) this.#lowestFree++;
    let portNo = this.#lowestFree;
    while (this.#byNo.has(portNo) || avoid.has(portNo)) portNo++;
    return portNo;
  }

  addPort(port: PortRecord): void {
    this.#byNo.set(port.portNo, port);
    this.#byName.set(port.name, port);
  }

  deletePort(port: PortRecord): void {
    this.#byNo.delete(port.portNo);
    this.#byName.delete(port.name);
    if (port.portNo > LOCAL_PORT) this.#lowestFree = Math.min(this.#lowestFree, port.portNo);
  }

  get meterCount(): number {
    return this.#meters.size;
  }

  /** In order of number. */
  meters(): readonly MeterText[] {
    return [...this.#meters.values()].sort((one, other) => one.id - other.id);
  }

  meter(id: number): MeterText | undefined {
    return this.#meters.get(id);
  }

  putMeter(meter: MeterText): void {
    this.#meters.set(meter.id, meter);
  }

  deleteMeter(id: number): void {
    this.#meters.delete(id);
  }
}

/** All datapaths, by name, in order of creation. */
export type Model = ReadonlyMap<string, Datapath>;

export function toSavedDatapath(record: DatapathRecord): SavedDatapath {
  const { id, name, type, miss, flowsMax, masksCache, features, upcallHandler } = record;
  const isSet = JSON.stringify(record.conntrack) !== JSON.stringify(CONNTRACK_DEFAULTS);
  const settings: SavedDatapath["settings"] = {
    ...(masksCache === CACHE_ENTRIES_MAX ? {} : { masksCache }),
    ...(features.length === 0 ? {} : { features }),
    ...(upcallHandler === null ? {} : { upcallHandler }),
    ...(hasPortids(record.portids) ? { portids: record.portids } : {}),
    ...(isSet ? { conntrack: record.conntrack } : {}),
  };
  return { id, name, type, miss, flowsMax, ufidSeed: record.ufidSeed.toHex(), settings };
}

export function fromSavedDatapath(saved: SavedDatapath): DatapathRecord {
  const { id, name, type, miss, flowsMax, ufidSeed, settings } = saved;
  const {
    masksCache = CACHE_ENTRIES_MAX,
    features = [],
    upcallHandler = null,
    portids = NO_PORTIDS,
    conntrack,
  } = settings;
  const seed = Uint8Array.fromHex(ufidSeed);
  return {
    id,
    name,
    type,
    miss,
    flowsMax,
    ufidSeed: seed,
    masksCache,
    features,
    upcallHandler,
    portids,
    // What an older version saved has no more than limits.
    conntrack: { ...CONNTRACK_DEFAULTS, ...conntrack },
  };
}

function hasPortids({ ports, cpus }: Portids): boolean {
  return cpus.length > 0 || Object.keys(ports).length > 0;
}

export function toSavedPort(port: PortRecord): SavedPort {
  const { portNo, name, type, options, mac } = port;
  return { portNo, name, type, options, mac };
}

export function toSavedMeter(meter: MeterText): SavedMeter {
  return { id: meter.id, meter: formatMeter(meter) };
}

export function fromSavedMeter(saved: SavedMeter): MeterText {
  return parseMeter(saved.meter);
}

/** Random bytes from the system, as an identifier or a seed. */
export function randomBytes(size: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(size));
}

/** A random unicast address of the locally administered kind, as the kernel gives to new devices. */
export function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = (bytes[0]! & 0xfc) | 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}
