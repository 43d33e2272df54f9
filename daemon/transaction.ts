/**
 * One request that changes the configuration, from staging to the acknowledgement:
 *
 *   stage    a copy of the model and the staged half of the flow tables are changed; faults end here
 *   attach   new ports take their devices; can be undone
 *   save     one transaction of the store: the request is done when this has succeeded
 *   publish  flow tables commit, the copy becomes the model, what was deleted is taken down
 *
 * A failure up to `save` leaves the switch and the state as they were.
 */
import type { Backend, CloseMode } from "./backend.ts";
import { toCommandError } from "./command_errors.ts";
import { Datapath, type DatapathRecord, dispatchOf, type Model, type PortRecord } from "./model.ts";
import { toSavedDatapath, toSavedMeter } from "./model.ts";
import type { LooseDevice, StoreChange } from "./store.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import { type MeterText, toMeterConfig } from "../datapath/text/meter_text.ts";

/** A port on its way in or out. */
interface Move {
  readonly datapath: Datapath;
  readonly port: PortRecord;
  readonly how: CloseMode;
}

interface Plan {
  /** Detached first: their device or number is wanted again. */
  readonly early: readonly Move[];
  readonly adds: readonly Move[];
  /** Detached when the state is saved. */
  readonly late: readonly Move[];
  readonly made: readonly LooseDevice[];
  readonly gone: readonly LooseDevice[];
}

const NOTHING: Plan = { early: [], adds: [], late: [], made: [], gone: [] };

export class Transaction {
  readonly backend: Backend;
  /** Told what could not be taken down after the request was done. */
  readonly #onTrouble: (text: string) => void;
  readonly #before: Model;
  readonly #after: Map<string, Datapath>;
  /** Copies made here, which may be changed. */
  readonly #mine: Set<Datapath> = new Set();
  readonly #tables: Set<FlowTableWriter> = new Set();
  readonly #created: Set<Datapath> = new Set();
  /** What datapaths were made with here, by id: later requests may have changed it. */
  readonly #madeWith: Map<string, DatapathRecord> = new Map();
  readonly #changes: StoreChange[] = [];
  /** Datapaths whose handler is loaded again, also from the same file: it may have changed. */
  readonly #reloaded: Set<string> = new Set();
  /** Where in a batch a port was asked for. */
  readonly #lines: Map<PortRecord, number> = new Map();

  constructor(backend: Backend, model: Model, onTrouble: (text: string) => void) {
    this.backend = backend;
    this.#before = model;
    this.#after = new Map(model);
    this.#onTrouble = onTrouble;
  }

  /** The configuration as it will be. */
  get model(): Model {
    return this.#after;
  }

  /** The copy of a datapath that this transaction may change. */
  edit(datapath: Datapath): Datapath {
    if (this.#mine.has(datapath)) return datapath;
    const copy = datapath.copy();
    this.#replace(copy);
    return copy;
  }

  /** A new datapath exists at once in the switch, without ports, so that flows can be staged in it. */
  async addDatapath(record: DatapathRecord): Promise<Datapath> {
    const datapath = new Datapath(record, await this.backend.addDatapath(record));
    this.#created.add(datapath);
    this.#madeWith.set(record.id, record);
    this.#replace(datapath);
    this.save({ op: "dp-put", datapath: toSavedDatapath(record) });
    return datapath;
  }

  setDatapath(datapath: Datapath, changes: Partial<DatapathRecord>): void {
    if (changes.upcallHandler !== undefined) this.#reloaded.add(datapath.record.id);
    const copy = datapath.copy(changes);
    this.#replace(copy);
    this.save({ op: "dp-put", datapath: toSavedDatapath(copy.record) });
  }

  deleteDatapath(datapath: Datapath): void {
    this.#after.delete(datapath.record.name);
    this.save({ op: "dp-del", dp: datapath.record.id });
  }

  /** One that has the number and name of another takes its place, and its device over. */
  addPort(datapath: Datapath, port: PortRecord, line: number | undefined): void {
    const copy = this.edit(datapath);
    copy.addPort(port);
    if (line !== undefined) this.#lines.set(port, line);
    // The record itself: its MAC may become known only when the port is attached.
    this.save({ op: "port-put", dp: copy.record.id, port });
  }

  deletePort(datapath: Datapath, port: PortRecord): void {
    const copy = this.edit(datapath);
    copy.deletePort(port);
    this.save({ op: "port-del", dp: copy.record.id, portNo: port.portNo });
  }

  /** Makes a meter, or makes one anew also if it is the same. */
  putMeter(datapath: Datapath, meter: MeterText): void {
    const copy = this.edit(datapath);
    copy.putMeter(meter);
    this.save({ op: "meter-put", dp: copy.record.id, meter: toSavedMeter(meter) });
  }

  deleteMeter(datapath: Datapath, id: number): void {
    const copy = this.edit(datapath);
    copy.deleteMeter(id);
    this.save({ op: "meter-del", dp: copy.record.id, id });
  }

  /** The flow table of a datapath, for staging. */
  async table(datapath: Datapath): Promise<FlowTableWriter> {
    const table = await datapath.backend.table();
    this.#tables.add(table);
    return table;
  }

  save(change: StoreChange): void {
    this.#changes.push(change);
  }

  /** Everything staged is forgotten. */
  async rollback(): Promise<void> {
    for (const table of this.#tables) table.rollback();
    for (const { record, backend } of this.#created) {
      await this.#quietly(`close ${record.name}`, backend.close("delete"));
    }
  }

  /** Carries it out and returns the new model; throws CommandError when nothing of it is done. */
  async commit(): Promise<Model> {
    const plan = this.#plan();
    const undo: (() => Promise<unknown>)[] = [];
    try {
      await this.#announce(plan);
      for (const move of plan.early) {
        await move.datapath.backend.removePort(move.port.portNo, move.how);
        if (move.port.state === "up") undo.push(() => attach(move));
      }
      for (const move of plan.adds) {
        await this.#attach(move);
        undo.push(() => detach(move));
      }
      if (this.#changes.length > 0) await this.backend.save(this.#changes);
    } catch (error) {
      for (const step of undo.reverse()) await this.#quietly("undo a failed request", step());
      await this.rollback();
      await this.#forget(plan.made);
      throw error;
    }
    await this.#publish(plan.late);
    await this.#forget(plan.gone);
    return this.#after;
  }

  /** Devices of our own are written down as loose before they are made, and with what deletes them. */
  async #announce({ made, gone }: Plan): Promise<void> {
    if (made.length > 0) {
      await this.backend.save(made.map((device) => ({ op: "loose-put", device })));
    }
    for (const device of made) this.save({ op: "loose-del", device });
    for (const device of gone) this.save({ op: "loose-put", device });
  }

  /** Devices that have no port now are seen to be gone. */
  async #forget(devices: readonly LooseDevice[]): Promise<void> {
    const changes: StoreChange[] = [];
    for (const device of devices) {
      if (await this.backend.removeLoose(device)) changes.push({ op: "loose-del", device });
    }
    if (changes.length === 0) return;
    await this.#quietly("note that devices are gone", this.backend.save(changes));
  }

  async #publish(late: readonly Move[]): Promise<void> {
    // Before the flows that name them.
    for (const datapath of this.#mine) this.#publishMeters(datapath);
    for (const table of this.#tables) table.commit();
    for (const datapath of this.#after.values()) {
      const { id } = datapath.record;
      const old = this.#find(id, this.#before)?.record ?? this.#madeWith.get(id);
      if (old !== undefined && old !== datapath.record) await this.#publishSettings(datapath, old);
    }
    for (const move of late) await this.#quietly(`detach ${move.port.name}`, detach(move));
    for (const datapath of [...this.#before.values(), ...this.#created]) {
      if (this.#find(datapath.record.id, this.#after) !== undefined) continue;
      await this.#quietly(`close ${datapath.record.name}`, datapath.backend.close("delete"));
    }
  }

  /** A meter that was put is another object. */
  #publishMeters(datapath: Datapath): void {
    const { backend, record } = datapath;
    if (this.#after.get(record.name) !== datapath) return;
    const old = this.#find(record.id, this.#before);
    for (const meter of datapath.meters()) {
      if (old?.meter(meter.id) !== meter) backend.setMeter(toMeterConfig(meter));
    }
    for (const { id } of old?.meters() ?? []) {
      if (datapath.meter(id) === undefined) backend.deleteMeter(id);
    }
  }

  async #publishSettings({ record, backend }: Datapath, old: DatapathRecord): Promise<void> {
    const { name, miss, masksCache, upcallHandler, conntrack } = record;
    if (record.portids !== old.portids || record.features !== old.features) {
      await this.#quietly(`set portids of ${name}`, backend.setDispatch(dispatchOf(record)));
    }
    if (conntrack !== old.conntrack) backend.setConntrack(conntrack);
    if (miss !== old.miss) await this.#quietly(`set miss of ${name}`, backend.setMiss(miss));
    if (masksCache !== old.masksCache) {
      await this.#quietly(`set masks-cache of ${name}`, backend.setCacheSize(masksCache));
    }
    if (upcallHandler !== old.upcallHandler || this.#reloaded.has(record.id)) {
      await this.#quietly(`set the upcall handler of ${name}`, backend.setHandler(upcallHandler));
    }
  }

  /**
   * What to attach, and what to detach before (its device or number is wanted again) or after the
   * state is saved. Ports of deleted datapaths are detached with them, unless wanted again.
   */
  #plan(): Plan {
    // Flows alone: most requests.
    if (this.#mine.size === 0 && this.#after.size === this.#before.size) return NOTHING;
    const adds: Move[] = [];
    const names = new Map<string, Move>();
    for (const datapath of this.#after.values()) {
      const old = this.#find(datapath.record.id, this.#before);
      for (const port of datapath.ports()) {
        if (old?.port(port.portNo) === port) continue;
        const move: Move = { datapath, port, how: "delete" };
        adds.push(move);
        names.set(port.name, move);
      }
    }
    const early: Move[] = [];
    const late: Move[] = [];
    for (const datapath of this.#before.values()) {
      const now = this.#find(datapath.record.id, this.#after);
      for (const port of datapath.ports()) {
        if (now?.port(port.portNo) === port) continue;
        const next = names.get(port.name);
        const numberTaken = now?.port(port.portNo) !== undefined;
        // The same internal device in the same datapath is handed over, with its addresses.
        const kept = next !== undefined && next.datapath === now && next.port.type === port.type;
        const move: Move = { datapath, port, how: kept ? "close" : "delete" };
        if (next !== undefined || numberTaken) early.push(move);
        else if (now !== undefined) late.push(move);
        if (kept) adds[adds.indexOf(next)] = { ...next, how: "close" };
      }
    }
    return { early, adds, late, ...this.#ownDevices() };
  }

  /** Devices of our own that are made and that go. Offline none is made. */
  #ownDevices(): Pick<Plan, "made" | "gone"> {
    const before = ownDevices(this.#before);
    const after = ownDevices(this.#after);
    const without = (
      devices: ReadonlyMap<string, LooseDevice>,
      others: ReadonlyMap<string, LooseDevice>,
    ): LooseDevice[] => [...devices].filter(([key]) => !others.has(key)).map(([, one]) => one);
    return {
      made: this.backend.offline ? [] : without(after, before),
      gone: without(before, after),
    };
  }

  async #attach(move: Move): Promise<void> {
    try {
      await attach(move);
    } catch (error) {
      const { record } = move.datapath;
      const isKept = this.#find(record.id, this.#before)?.portNamed(move.port.name) !== undefined;
      const doing = isKept
        ? `cannot open port "${move.port.name}" of ${record.name} anew`
        : `cannot add port "${move.port.name}" to ${record.name}`;
      throw toCommandError(error, { doing, line: this.#lines.get(move.port) });
    }
  }

  async #quietly(doing: string, work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#onTrouble(`cannot ${doing}: ${error instanceof Error ? error.message : error}`);
    }
  }

  #replace(datapath: Datapath): void {
    const old = this.#after.get(datapath.record.name);
    if (old !== undefined && this.#created.delete(old)) this.#created.add(datapath);
    this.#mine.add(datapath);
    this.#after.set(datapath.record.name, datapath);
  }

  #find(id: string, model: Model): Datapath | undefined {
    for (const datapath of model.values()) if (datapath.record.id === id) return datapath;
    return undefined;
  }
}

/** Devices that internal ports are. */
function ownDevices(model: Model): Map<string, LooseDevice> {
  const devices = new Map<string, LooseDevice>();
  for (const { record, internalPorts } of model.values()) {
    for (const { name } of internalPorts) {
      devices.set(`${name} ${record.id}`, { name, dp: record.id });
    }
  }
  return devices;
}

/** Attaches a port to its backend and notes what became of it. */
export async function attach({ datapath, port }: Pick<Move, "datapath" | "port">): Promise<void> {
  const { portNo, name, type, options } = port;
  const { mac } = await datapath.backend.addPort({
    portNo,
    name,
    type,
    options: new Map(Object.entries(options)),
    mac: port.mac ?? undefined,
  });
  if (mac !== undefined) port.mac = mac;
  if (port.state !== "offline") port.state = "up";
  port.reason = null;
}

async function detach({ datapath, port, how }: Move): Promise<void> {
  await datapath.backend.removePort(port.portNo, how);
}
