/**
 * Edits of the saved state while no daemon runs, by the same code that serves the daemon's clients.
 * Loaded by client.ts only when nobody answers: SQLite and the flow language come with it.
 */
import { CommandError, type MethodName, type Methods, SAVED_METHODS } from "./api.ts";
import type { OpenExecutor } from "./client.ts";
import { Configuration } from "./configuration.ts";
import { type Lock, LockedError, takeStateLock } from "./lock.ts";
import { Datapath, fromSavedDatapath, fromSavedMeter, type Model } from "./model.ts";
import { OfflineBackend, OfflineDatapath } from "./offline_backend.ts";
import { Store } from "./store.ts";
import { BUILTIN_TYPES } from "../vports/builtin.ts";
import { checkPluginFile, loadPlugin } from "../vports/loader.ts";
import { pluginApi } from "../vports/plugin_api.ts";
import { VportRegistry } from "../vports/registry.ts";

export interface OfflineOptions {
  /** How long to wait for another client's lock; default 5 s. A daemon is never waited for. */
  readonly waitMs?: number | undefined;
  /** Files of third-party port types to accept. */
  readonly plugins?: readonly string[] | undefined;
}

const WAIT_MS = 5000;
/** SQLite's name for a database without a file. */
const IN_MEMORY = ":memory:";

/**
 * Takes the state's lock, held until `close`, and reads the state. A state that has not been made is
 * made, and locked, by the first change; until then it reads as an empty one.
 * @throws CommandError: ELOCKED when a daemon or, for too long, another client holds the lock.
 */
export async function openOffline(
  state: string,
  options: OfflineOptions = {},
): Promise<OpenExecutor> {
  return isMissing(state) ? new MissingState(state, options) : await openEditor(state, options);
}

async function openEditor(
  state: string,
  { waitMs = WAIT_MS, plugins = [] }: OfflineOptions,
): Promise<OpenExecutor> {
  const lock = await lockState(state, waitMs);
  let store: Store | undefined;
  try {
    const types = await loadTypes(plugins);
    store = new Store(state);
    return new OfflineEditor(lock, store, types);
  } catch (error) {
    store?.close();
    lock.release();
    throw error;
  }
}

/** A state that has not been made: questions leave it so. */
class MissingState implements OpenExecutor {
  readonly offline = true;
  readonly #state: string;
  readonly #options: OfflineOptions;
  #editor: OpenExecutor | undefined;

  constructor(state: string, options: OfflineOptions) {
    this.#state = state;
    this.#options = options;
  }

  async execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    if (this.#editor === undefined && !SAVED_METHODS.has(method)) {
      const empty = new OfflineEditor(undefined, new Store(IN_MEMORY), await loadTypes([]));
      try {
        return await empty.execute(method, params);
      } finally {
        empty.close();
      }
    }
    this.#editor ??= await openEditor(this.#state, this.#options);
    return await this.#editor.execute(method, params);
  }

  get savedOffline(): boolean {
    return this.#editor?.savedOffline ?? false;
  }

  text(method: string): Promise<string> {
    return refuseText(method);
  }

  close(): void {
    this.#editor?.close();
    this.#editor = undefined;
  }
}

class OfflineEditor implements OpenExecutor {
  readonly offline = true;
  readonly #lock: Lock | undefined;
  readonly #store: Store;
  readonly #configuration: Configuration;
  readonly #backend: OfflineBackend;

  constructor(lock: Lock | undefined, store: Store, types: VportRegistry) {
    this.#lock = lock;
    this.#store = store;
    this.#backend = new OfflineBackend(store, types);
    this.#configuration = new Configuration(this.#backend, loadModel(store));
  }

  get savedOffline(): boolean {
    return this.#backend.saved;
  }

  execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    return this.#configuration.execute(method, params);
  }

  text(method: string): Promise<string> {
    return refuseText(method);
  }

  close(): void {
    this.#store.close();
    this.#lock?.release();
  }
}

function refuseText(method: string): Promise<never> {
  const error = new CommandError("ENOTCONN", `no daemon is running to carry out ${method}`);
  return Promise.reject(error);
}

function isMissing(path: string): boolean {
  try {
    Deno.statSync(path);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

async function lockState(state: string, waitMs: number): Promise<Lock> {
  try {
    return await takeStateLock(state, { role: "client", waitMs });
  } catch (error) {
    if (error instanceof LockedError) {
      const { holder } = error;
      const who = holder === undefined
        ? "another process"
        : holder.role === "daemon"
        ? `the daemon with pid ${holder.pid}${serving(holder.socket)}`
        : `another command with pid ${holder.pid}`;
      throw new CommandError("ELOCKED", `the state ${state} is in use by ${who}`, { cause: error });
    }
    if (error instanceof CommandError) throw error;
    const denied = error instanceof Deno.errors.PermissionDenied;
    const reason = denied
      ? "permission denied (run as root, or choose another with --state)"
      : error instanceof Error
      ? error.message
      : String(error);
    throw new CommandError(denied ? "EACCES" : "EIO", `cannot use the state ${state}: ${reason}`, {
      cause: error,
    });
  }
}

function serving(socket: string | undefined): string {
  return socket === undefined ? "" : ` (its socket: ${socket})`;
}

function loadModel(store: Store): Model {
  const model = new Map<string, Datapath>();
  for (const saved of store.load().datapaths) {
    const record = fromSavedDatapath(saved);
    const datapath = new Datapath(record, new OfflineDatapath(store, record));
    for (const port of saved.ports) datapath.addPort({ ...port, state: "offline", reason: null });
    for (const meter of saved.meters) datapath.putMeter(fromSavedMeter(meter));
    model.set(record.name, datapath);
  }
  return model;
}

async function loadTypes(plugins: readonly string[]): Promise<VportRegistry> {
  const types = new VportRegistry();
  for (const ops of BUILTIN_TYPES) types.register(ops, "built-in");
  for (const path of plugins) {
    const file = await checkPluginFile(path);
    types.register(await loadPlugin(file, pluginApi), file.path, file.url);
  }
  return types;
}
