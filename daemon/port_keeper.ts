/**
 * Keeps ports and devices together: notices that a port's device has gone, attaches a saved port
 * when its device appears, and keeps the saved address of the switch's own devices true.
 *
 * Runs about once a second, and at once when {@link PortKeeper.poke} says that devices have changed.
 */
import type { Configuration } from "./configuration.ts";
import type { Logger } from "./log.ts";
import { type Datapath, type Model, type PortRecord, toSavedPort } from "./model.ts";
import type { StoreChange } from "./store.ts";
import { attach } from "./transaction.ts";

const INTERVAL_MS = 1000;
/** Devices come in groups of events: look once after the last. */
const POKE_DELAY_MS = 20;

export interface PortKeeperOptions {
  readonly configuration: Configuration;
  readonly log: Logger;
  readonly save: (changes: readonly StoreChange[]) => Promise<void>;
  /** Address that a device has now; undefined: not known. */
  readonly macOf: (device: string) => string | undefined;
}

export class PortKeeper {
  readonly #options: PortKeeperOptions;
  /** Ports whose plug-in has thrown: only the user brings them back. */
  readonly #broken: WeakSet<PortRecord> = new WeakSet();
  /** What each port has last said of itself. */
  readonly #statuses: WeakMap<PortRecord, string> = new WeakMap();
  #interval: ReturnType<typeof setInterval> | undefined;
  #poke: ReturnType<typeof setTimeout> | undefined;
  #busy = false;

  constructor(options: PortKeeperOptions) {
    this.#options = options;
    this.#interval = setInterval(() => this.#start(), INTERVAL_MS);
  }

  /** Something has happened to some device. */
  poke(): void {
    if (this.#interval === undefined) return;
    this.#poke ??= setTimeout(() => {
      this.#poke = undefined;
      this.#start();
    }, POKE_DELAY_MS);
  }

  /** A port's own code has failed; it stays down. */
  portFailed(datapath: string, portNo: number, reason: string): void {
    const port = this.#options.configuration.model.get(datapath)?.port(portNo);
    if (port === undefined) return;
    this.#broken.add(port);
    port.state = "failed";
    port.reason = reason;
  }

  stop(): void {
    clearInterval(this.#interval);
    clearTimeout(this.#poke);
    this.#interval = undefined;
  }

  #start(): void {
    if (this.#busy) return;
    this.#busy = true;
    const { configuration, log } = this.#options;
    configuration.exclusive((model) => this.#look(model))
      .catch((error: Error) => log.error(`looking after ports failed: ${error.message}`))
      .finally(() => this.#busy = false);
  }

  async #look(model: Model): Promise<void> {
    const changes: StoreChange[] = [];
    for (const datapath of model.values()) {
      for (const port of datapath.ports()) {
        if (this.#interval === undefined) return;
        if (this.#broken.has(port)) continue;
        const mac = port.mac;
        if (port.state === "up") await this.#check(datapath, port);
        else await attachSaved(datapath, port, this.#options.log);
        if (port.state === "up" && port.type === "internal") this.#noteMac(port);
        if (port.mac !== mac) {
          changes.push({ op: "port-put", dp: datapath.record.id, port: toSavedPort(port) });
        }
      }
    }
    if (changes.length > 0) await this.#options.save(changes);
  }

  async #check(datapath: Datapath, port: PortRecord): Promise<void> {
    const reason = datapath.backend.checkPort(port.portNo);
    if (reason === undefined) return this.#noteStatus(datapath, port);
    port.state = "absent";
    port.reason = reason;
    this.#options.log.warn(`port ${port.name} of ${datapath.record.name} is down: ${reason}`);
    await datapath.backend.removePort(port.portNo, "close");
  }

  /** At most one line a second for each port. */
  #noteStatus(datapath: Datapath, port: PortRecord): void {
    const status = datapath.backend.portStatus?.(port.portNo);
    if (status === undefined || status === this.#statuses.get(port)) return;
    this.#statuses.set(port, status);
    this.#options.log.info(`port ${port.name} of ${datapath.record.name}: ${status}`);
  }

  #noteMac(port: PortRecord): void {
    const mac = this.#options.macOf(port.name);
    if (mac !== undefined) port.mac = mac;
  }
}

/** Tries to attach a saved port; what keeps it from it is noted and, when new, logged. */
export async function attachSaved(
  datapath: Datapath,
  port: PortRecord,
  log: Logger,
): Promise<void> {
  const before = port.reason;
  const where = `port ${port.name} of ${datapath.record.name}`;
  try {
    await attach({ datapath, port });
    log.info(`${where} attached with number ${port.portNo}`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    port.state = code === "ENODEV" || code === "ENOENT" || code === "ENXIO" ? "absent" : "failed";
    port.reason = reason;
    if (reason !== before) log.warn(`${where} is ${port.state}: ${reason}`);
  }
}
