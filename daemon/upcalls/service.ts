/** The upcalls of all datapaths: handlers by datapath, and the clients of `denovs upcalls`. */
import type { Methods, UpcallHandlerInfo } from "../api.ts";
import { refuse } from "../command_errors.ts";
import type { StreamClient } from "../control_socket.ts";
import type { Logger } from "../log.ts";
import type { Model } from "../model.ts";
import { findDatapath } from "../names.ts";
import type { LiveDatapath, Switch } from "../switch/switch.ts";
import { DatapathUpcalls, type UpcallListener } from "./datapath_upcalls.ts";
import { HandlerLink } from "./handler_link.ts";
import { toUpcallInfo, type Upcall } from "./packet.ts";
import type { Turns } from "./requests.ts";

/** How long {@link UpcallService.settle} waits at most. */
const SETTLE_MS = 2000;

export interface ServiceOptions {
  readonly live: Switch;
  readonly log: Logger;
  /** Module that handlers' Workers run: main.ts. */
  readonly workerUrl: string;
}

export class UpcallService {
  readonly #options: ServiceOptions;
  readonly #datapaths: Map<LiveDatapath, DatapathUpcalls> = new Map();
  /** Handlers that were set before there were turns. */
  readonly #early: Map<LiveDatapath, string> = new Map();
  #turns: (Turns & { readonly model: Model }) | undefined;

  constructor(options: ServiceOptions) {
    this.#options = options;
  }

  /** From now on there is a configuration: handlers that were set before are loaded. A failure is logged. */
  async bind(turns: Turns & { readonly model: Model }): Promise<void> {
    this.#turns = turns;
    for (const [live, path] of this.#early) {
      try {
        await this.#of(live).setHandler(path);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#options.log.error(`${live.spec.name} has no upcall handler: ${reason}`);
      }
    }
    this.#early.clear();
  }

  /** Loads a handler in a Worker, and closes it. Returns its path with links resolved. Throws PluginError. */
  async check(path: string): Promise<string> {
    const { live: { clock }, workerUrl } = this.#options;
    const silent = (): void => {};
    const link = await HandlerLink.start({
      ...{ path, workerUrl, datapath: "check", clock: clock.shared },
      ...{ log: silent, onAsked: silent, onFailed: silent },
    });
    await link.close();
    return link.path;
  }

  /** Throws PluginError; then there is none. */
  async setHandler(live: LiveDatapath, path: string | null): Promise<void> {
    if (this.#turns !== undefined) await this.#of(live).setHandler(path);
    else if (path !== null) this.#early.set(live, path);
  }

  info(live: LiveDatapath, path: string): UpcallHandlerInfo {
    return this.#of(live).info(path);
  }

  /** The datapath goes. Resolves when its handler has closed. */
  async remove(live: LiveDatapath): Promise<void> {
    const upcalls = this.#datapaths.get(live);
    this.#datapaths.delete(live);
    await upcalls?.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#datapaths.keys()].map((live) => this.remove(live)));
  }

  /** Waits until a datapath's upcalls are handed over and what follows from them is done, for a bounded time. False: there was nothing to wait for. */
  async settle(live: LiveDatapath): Promise<boolean> {
    const upcalls = this.#datapaths.get(live);
    if (upcalls === undefined || upcalls.isIdle) return false;
    const deadline = performance.now() + SETTLE_MS;
    while (!upcalls.isIdle && performance.now() < deadline) {
      await new Promise((done) => setTimeout(done, 1));
    }
    return true;
  }

  /** `upcalls`: gives a client what comes until it has had enough or goes. */
  async stream(
    { dp, count, portids }: Methods["upcalls"]["params"],
    client: StreamClient,
  ): Promise<Methods["upcalls"]["result"]> {
    if (count !== undefined && !(Number.isInteger(count) && count > 0)) {
      refuse("EINVAL", `"${count}" is not a number of upcalls (1 or more)`);
    }
    const { record } = findDatapath(this.#turns!.model, dp);
    const live = this.#options.live.datapaths().find(({ spec }) => spec.id === record.id);
    if (live === undefined) refuse("ENODEV", `datapath ${record.name} does not run`);
    const upcalls = this.#of(live);
    const enough = Promise.withResolvers<void>();
    const { clock } = this.#options.live;
    let given = 0;
    let lost = 0;
    const listener: UpcallListener = (upcall: Upcall) => {
      if (given === count || !isFor(upcall, portids)) return;
      // Not made text for a client that can't take it.
      const isTaken = client.canTake &&
        client.send("upcall", toUpcallInfo(upcall, { time: clock.wallUs() / 1e6, lost }));
      if (!isTaken) lost++;
      else if (++given === count) enough.resolve();
    };
    await upcalls.listen(listener);
    try {
      await Promise.race([enough.promise, client.gone, upcalls.closed]);
    } finally {
      await upcalls.unlisten(listener);
    }
    return { upcalls: given, lost };
  }

  #of(live: LiveDatapath): DatapathUpcalls {
    let upcalls = this.#datapaths.get(live);
    if (upcalls === undefined) {
      const { live: { clock }, log, workerUrl } = this.#options;
      upcalls = new DatapathUpcalls({ live, turns: this.#turns!, clock, log, workerUrl });
      this.#datapaths.set(live, upcalls);
    }
    return upcalls;
  }
}

/** Whether one who listens for some portids is meant. */
function isFor({ packet }: Upcall, portids: readonly number[] | undefined): boolean {
  return portids === undefined ||
    (packet.portid !== undefined && portids.includes(packet.portid));
}
