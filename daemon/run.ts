/**
 * `denovs run`: the daemon. Takes the state's lock before anything else, so that from then on every
 * client comes to the control socket; listens before it has loaded, so that none has to come twice;
 * answers when the saved state is real.
 */
import { CommandError, type Executor } from "./api.ts";
import { Configuration } from "./configuration.ts";
import { toCommandError } from "./command_errors.ts";
import { ControlSocket, type StreamClient } from "./control_socket.ts";
import { isDetachedChild, reportReady, startDetached } from "./detach.ts";
import { LinkWatch } from "./link_watch.ts";
import { LiveBackend } from "./live_backend.ts";
import { type Lock, LockedError, makeDirectory, takeStateLock } from "./lock.ts";
import { Log, type Logger } from "./log.ts";
import { directoryOf } from "./paths.ts";
import { probePlugin } from "./plugin_child.ts";
import { loadPluginFolder } from "./plugin_folder.ts";
import { PortKeeper } from "./port_keeper.ts";
import { detachStandardStreams, notifySupervisor, peerUid } from "./process.ts";
import { restore } from "./restore.ts";
import { StoreClient } from "./store_client.ts";
import { SwitchClock } from "./switch/clock.ts";
import { Switch } from "./switch/switch.ts";
import { type Answer, Unixctl } from "./unixctl.ts";
import { FlowExpiry } from "./upcalls/expiry.ts";
import { UpcallService } from "./upcalls/service.ts";
import { VERSION } from "./version.ts";
import { WatchService } from "./watching.ts";

export interface RunOptions {
  readonly socket: string;
  readonly state: string;
  /** Packet threads; undefined: {@link defaultThreads}. */
  readonly threads?: number | undefined;
  /** Files of third-party port types. */
  readonly plugins: readonly string[];
  /** Folder of such files; undefined: /etc/denovs/plugins, if it is there. */
  readonly pluginDir?: string | undefined;
  /** Go on in the background; the parent returns when the daemon is ready. */
  readonly detach: boolean;
  readonly pidfile?: string | undefined;
  /** Undefined: stderr, or nothing when detached. */
  readonly logFile?: string | undefined;
  /** Log settings, `LEVEL` or `MODULE:LEVEL`. */
  readonly verbose: readonly string[];
  /** URL of the module that runs the Workers' roles; undefined: the program's main module. */
  readonly mainUrl?: string | undefined;
}

/** How long `run` waits for a client that edits the state. */
const LOCK_WAIT_MS = 5000;
/** Log modules, so that levels can be set before each has said something. */
const LOG_MODULES = ["daemon", "configuration", "control", "ports", "switch", "upcalls"];

/**
 * Runs the daemon until `stop`, SIGTERM or SIGINT ends it. Returns the exit status: 0, or 1
 * when a packet thread died.
 * @throws CommandError when it can't start; then nothing is left behind.
 */
export async function runDaemon(options: RunOptions): Promise<number> {
  const mainUrl = options.mainUrl ?? Deno.mainModule;
  if (options.detach && !isDetachedChild()) return await startDetached(mainUrl, Deno.args);
  const log = openLog(options);
  const daemon = new Daemon({ ...options, mainUrl }, log);
  try {
    await daemon.start();
    if (options.detach) {
      reportReady();
      detachStandardStreams();
    }
    notifySupervisor("READY=1");
    await daemon.ended;
    return daemon.failure === undefined ? 0 : 1;
  } catch (error) {
    throw toCommandError(error, { doing: "cannot run the switch" });
  } finally {
    notifySupervisor("STOPPING=1");
    await daemon.stop();
    log.close();
  }
}

/** Packet threads unless told otherwise: one on up to two cores, else cores − 1 up to 4. */
export function defaultThreads(cores: number = navigator.hardwareConcurrency): number {
  return Math.max(1, Math.min(4, cores - 1));
}

/** Everything that runs. Parts are made in order and given back in reverse. */
class Daemon {
  /** Resolves when the daemon has been told to end. */
  readonly ended: Promise<void>;
  /** Why it ended by itself: a fault. Undefined: it was asked to. */
  failure: string | undefined;
  readonly #options: RunOptions & { readonly mainUrl: string };
  readonly #log: Log;
  readonly #logger: Logger;
  readonly #end: () => void;
  /** Resolves to the methods of the control socket when the state is restored. */
  readonly #ready: PromiseWithResolvers<Unixctl> = Promise.withResolvers<Unixctl>();
  /** What stop() gives back, last first. */
  readonly #undo: (() => void | Promise<unknown>)[] = [];
  #keeper: PortKeeper | undefined;
  readonly #stopped: PromiseWithResolvers<void> = Promise.withResolvers<void>();

  constructor(options: RunOptions & { readonly mainUrl: string }, log: Log) {
    this.#options = options;
    this.#log = log;
    this.#logger = log.module("daemon");
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#end = resolve;
    this.#ready.promise.catch(() => {});
  }

  /** Throws with parts made, which stop() gives back. */
  async start(): Promise<void> {
    const { state, threads = defaultThreads(), plugins, mainUrl } = this.#options;
    this.#listenForSignals();
    const lock = await lockState(state, this.#options.socket);
    const control = await this.#openControl(lock);
    await this.#writePidfile();
    const store = await StoreClient.open(mainUrl, state);
    this.#undo.push(() => store.close());
    const clock = new SwitchClock();
    const live = await Switch.start({
      threadUrl: mainUrl,
      threads,
      plugins,
      workerUrl: mainUrl,
      probe: ({ path }) => probePlugin(path, { mainUrl }),
      log: this.#log.module("switch"),
      clock,
      onPortFailed: (datapath, portNo, reason) =>
        this.#keeper?.portFailed(datapath, portNo, reason),
      onThreadDied: (thread, reason) => {
        this.failure = `packet thread ${thread} died: ${reason}`;
        this.#logger.error(`${this.failure}; ending`);
        this.#end();
      },
    });
    this.#undo.push(async () => {
      if (!await live.stop()) this.#logger.error("a packet thread does not end");
    });
    const upcalls = new UpcallService({
      live,
      log: this.#log.module("upcalls"),
      workerUrl: mainUrl,
    });
    this.#undo.push(() => upcalls.close());
    await loadPluginFolder(live, this.#options.pluginDir, this.#logger);
    const backend = new LiveBackend(live, store, upcalls);
    const model = await restore(store, backend, this.#log.module("configuration"));
    const configuration = new Configuration(backend, model, {
      log: this.#log.module("configuration"),
      onStop: () => this.#end(),
    });
    this.#keepPorts(configuration, store);
    this.#undo.push(() => configuration.exclusive(() => Promise.resolve()), () => control.refuse());
    await upcalls.bind(configuration);
    const expiry = new FlowExpiry({
      turns: configuration,
      backend,
      onError: (error) => this.#logger.error(`flow expiry: ${error}`),
    });
    expiry.start();
    this.#undo.push(() => expiry.stop());
    const watching = new WatchService(live, () => configuration.model);
    this.#ready.resolve(
      new Unixctl({
        executor: this.#stopping(configuration),
        log: this.#log,
        clock,
        settle: async () => {
          await live.settle();
          await expiry.run();
        },
        streams: {
          "upcalls": (params, client) => upcalls.stream(params, client),
          "capture": (params, client) => watching.capture(params, client),
          "trace-live": (params, client) => watching.traceLive(params, client),
        },
      }),
    );
    this.#logger.info(`denovs ${VERSION} runs, pid ${Deno.pid}, ${threads} packet threads`);
  }

  /** Gives everything back; safe to call at any stage. */
  async stop(): Promise<void> {
    this.#ready.reject(new CommandError("ESHUTDOWN", "the daemon has not started"));
    for (const step of this.#undo.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#logger.error(`while ending: ${reason}`);
      }
    }
  }

  /** `stop` is answered when everything but the control socket has been given back. */
  #stopping(configuration: Configuration): Executor {
    return {
      execute: async (method, params) => {
        const result = await configuration.execute(method, params);
        if (method === "stop") await this.#stopped.promise;
        return result;
      },
    };
  }

  async #openControl(lock: Lock): Promise<ControlSocket> {
    let control: ControlSocket;
    try {
      control = await ControlSocket.open({
        path: this.#options.socket,
        log: this.#log.module("control"),
        call: (method, params, client) => this.#call(method, params, client),
        peerUid,
      });
    } catch (error) {
      lock.release();
      throw error;
    }
    // In this order at the end: the lock, answers to `stop`, the socket, the last connections.
    this.#undo.push(() => control.disconnect());
    this.#undo.push(() => control.close());
    this.#undo.push(() => {
      lock.release();
      this.#stopped.resolve();
    });
    return control;
  }

  async #call(
    method: string,
    params: readonly unknown[],
    client: StreamClient,
  ): Promise<Answer> {
    try {
      return await (await this.#ready.promise).call(method, params, client);
    } catch (error) {
      const { code, message } = toCommandError(error);
      return { result: null, error: { code, message } };
    }
  }

  #keepPorts(configuration: Configuration, store: StoreClient): void {
    const log = this.#log.module("ports");
    const links = new LinkWatch(log, () => keeper.poke());
    const keeper = new PortKeeper({
      configuration,
      log,
      save: (changes) => store.apply(changes),
      macOf: (device) => links.macOf(device),
    });
    this.#keeper = keeper;
    this.#undo.push(() => links.close(), () => keeper.stop());
  }

  #listenForSignals(): void {
    const end = (): void => this.#end();
    const reopen = (): void => this.#log.reopen();
    Deno.addSignalListener("SIGTERM", end);
    Deno.addSignalListener("SIGINT", end);
    Deno.addSignalListener("SIGHUP", reopen);
    this.#undo.push(() => {
      Deno.removeSignalListener("SIGTERM", end);
      Deno.removeSignalListener("SIGINT", end);
      Deno.removeSignalListener("SIGHUP", reopen);
    });
  }

  async #writePidfile(): Promise<void> {
    const { pidfile } = this.#options;
    if (pidfile === undefined) return;
    const draft = `${pidfile}.${Deno.pid}`;
    try {
      makeDirectory(directoryOf(pidfile));
      await Deno.writeTextFile(draft, `${Deno.pid}\n`);
      await Deno.rename(draft, pidfile);
    } catch (error) {
      throw toCommandError(error, { doing: `cannot write the pid file ${pidfile}` });
    }
    this.#undo.push(() => Deno.remove(pidfile));
  }

  #every(ms: number, work: () => void): void {
    const timer = setInterval(work, ms);
    this.#undo.push(() => clearInterval(timer));
  }
}

function openLog({ detach, logFile, verbose }: RunOptions): Log {
  if (logFile !== undefined) {
    try {
      makeDirectory(directoryOf(logFile));
    } catch (error) {
      throw toCommandError(error, { doing: `cannot open log file ${logFile}` });
    }
  }
  const log = logFile === undefined && detach ? new Log(undefined, () => {}) : new Log(logFile);
  for (const name of LOG_MODULES) log.module(name);
  for (const setting of verbose) log.set(setting);
  return log;
}

async function lockState(state: string, socket: string): Promise<Lock> {
  try {
    return await takeStateLock(state, { role: "daemon", waitMs: LOCK_WAIT_MS, socket });
  } catch (error) {
    if (!(error instanceof LockedError)) {
      throw toCommandError(error, { doing: `cannot use the state ${state}` });
    }
    const { holder } = error;
    if (holder?.role === "daemon") {
      throw new CommandError("EBUSY", `another daemon (pid ${holder.pid}) runs on ${state}`);
    }
    const who = holder === undefined ? "another process" : `a command (pid ${holder.pid})`;
    throw new CommandError("EBUSY", `${who} has held the state ${state} for ${LOCK_WAIT_MS} ms`);
  }
}
