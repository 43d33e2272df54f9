/**
 * Who carries out a command: the daemon, if one answers on the control socket, else an edit of the
 * saved state. A socket named by the user must answer, unless a state file is named too. What names
 * a datapath `system@…` goes straight to the kernel (daemon/system/), whoever else is there.
 */
import {
  type OpenExecutor as ReachedExecutor,
  reach,
  type ReachOptions,
} from "../daemon/client.ts";
import { CommandError, type MethodName, type Methods } from "../daemon/api.ts";
import type { LockedError, LockHolder } from "../daemon/lock.ts";
import { defaultSocket, defaultState } from "../daemon/paths.ts";
import type { CommonFlags } from "./flags.ts";
import type { SessionExecutor } from "./session.ts";

export interface Choice extends ReachOptions {
  /** Whether to try the state file before the socket. */
  readonly stateFirst: boolean;
}

/**
 * The rules of who is asked. A name given by an option or by the environment counts as given by the
 * user. With only a state named, the state decides: the default socket may be another switch's.
 */
export function chooseTarget(
  flags: CommonFlags,
  environment: { readonly socket: string | undefined; readonly state: string | undefined },
): Choice {
  const socket = flags.socket ?? environment.socket;
  const state = flags.state ?? environment.state;
  return {
    socket: socket ?? defaultSocket(),
    state: socket !== undefined && state === undefined ? undefined : state ?? defaultState(),
    stateFirst: socket === undefined && state !== undefined,
  };
}

/** Opens what the flags and the environment ask for, when it is first needed. */
export function openExecutor(flags: CommonFlags): Promise<SessionExecutor> {
  return Promise.resolve(new RoutedExecutor(() => openSwitch(flags), openSystem));
}

/** The kernel's openvswitch module: FFI, netlink and the flow language come with it. */
async function openSystem(): Promise<SessionExecutor> {
  const { SystemExecutor }: typeof import("../daemon/system/executor.ts") = await import(
    "../daemon/system/executor.ts" as string
  );
  return new SystemExecutor();
}

function openSwitch(flags: CommonFlags): SessionExecutor {
  const choice = chooseTarget(flags, {
    socket: Deno.env.get("DENOVS_SOCKET") || undefined,
    state: Deno.env.get("DENOVS_STATE") || undefined,
  });
  const reached = reach(choice);
  return choice.stateFirst ? new StateFirst(choice.state!, reached) : reached;
}

const SYSTEM_PREFIX = "system@";
/** There while the module is loaded, or built in. */
const MODULE = "/sys/module/openvswitch";

/** Sends each request to the switch or, if it names a system datapath, to the kernel. */
export class RoutedExecutor implements SessionExecutor {
  readonly #openSwitch: () => SessionExecutor;
  readonly #openSystem: () => Promise<SessionExecutor>;
  readonly #hasModule: () => boolean;
  #switch: SessionExecutor | undefined;
  #system: SessionExecutor | undefined;

  constructor(
    openSwitch: () => SessionExecutor,
    openSystem: () => Promise<SessionExecutor>,
    hasModule: () => boolean = isModuleThere,
  ) {
    this.#openSwitch = openSwitch;
    this.#openSystem = openSystem;
    this.#hasModule = hasModule;
  }

  get savedOffline(): boolean {
    return this.#switch?.savedOffline ?? false;
  }

  execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    const both: Both<M> | undefined = this.#both[method];
    return both === undefined ? this.#route(method, params) : both(params);
  }

  close(): void {
    this.#switch?.close();
    this.#system?.close();
  }

  /** Questions about all datapaths have answers of both. */
  readonly #both: { readonly [M in MethodName]?: Both<M> } = {
    "dp-list": async (params) => {
      const ours = await this.#toSwitch().execute("dp-list", params);
      const kernels = await this.#ifThere((system) => system.execute("dp-list", params));
      return { datapaths: [...ours.datapaths, ...kernels?.datapaths ?? []] };
    },
    "dp-show": async (params) => {
      const show = (executor: SessionExecutor, dps: readonly string[]): Promise<Shown> =>
        executor.execute("dp-show", { ...params, dps });
      const { dps } = params;
      if (dps.length === 0) {
        const ours = await show(this.#toSwitch(), []);
        const kernels = await this.#ifThere((system) => show(system, []));
        return { datapaths: [...ours.datapaths, ...kernels?.datapaths ?? []] };
      }
      const shown: Shown["datapaths"][number][] = [];
      for (const dp of dps) {
        const executor = isSystem(dp) ? await this.#toSystem() : this.#toSwitch();
        shown.push(...(await show(executor, [dp])).datapaths);
      }
      return { datapaths: shown };
    },
  };

  async #route<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    const executor = concernsSystem(params) ? await this.#toSystem() : this.#toSwitch();
    return await executor.execute(method, params);
  }

  #toSwitch(): SessionExecutor {
    return this.#switch ??= this.#openSwitch();
  }

  async #toSystem(): Promise<SessionExecutor> {
    return this.#system ??= await this.#openSystem();
  }

  /** Whatever keeps us from asking the kernel unasked, it has no datapaths for us. */
  async #ifThere<T>(ask: (system: SessionExecutor) => Promise<T>): Promise<T | undefined> {
    if (!this.#hasModule()) return undefined;
    try {
      return await ask(await this.#toSystem());
    } catch {
      return undefined;
    }
  }
}

type Shown = Methods["dp-show"]["result"];
type Both<M extends MethodName> = (params: Methods[M]["params"]) => Promise<Methods[M]["result"]>;

function isSystem(dp: unknown): boolean {
  return typeof dp === "string" && dp.startsWith(SYSTEM_PREFIX);
}

/** Throws CommandError for a batch that concerns both: it could not be all or nothing. */
function concernsSystem(params: Methods[MethodName]["params"]): boolean {
  if (!("requests" in params)) return "dp" in params && isSystem(params.dp);
  const [first, ...others] = params.requests;
  const system = first !== undefined && isSystem(first.params.dp);
  const other = others.find((request) => isSystem(request.params.dp) !== system);
  if (other === undefined) return system;
  throw new CommandError(
    "EINVAL",
    "one batch can't change both system datapaths and others: it could not be undone as one",
    { line: other.line },
  );
}

function isModuleThere(): boolean {
  try {
    Deno.statSync(MODULE);
    return true;
  } catch {
    return false;
  }
}

/**
 * Edits the state; when a daemon holds its lock, asks that daemon, on the socket that it wrote into
 * the lock. Another client is waited for: the default socket may be another switch's.
 */
class StateFirst implements SessionExecutor {
  readonly #state: string;
  #current: SessionExecutor | undefined;
  readonly #reached: ReachedExecutor;

  constructor(state: string, reached: ReachedExecutor) {
    this.#state = state;
    this.#reached = reached;
  }

  get savedOffline(): boolean {
    return this.#current?.savedOffline ?? false;
  }

  execute: SessionExecutor["execute"] = async (method, params) => {
    const { openOffline }: typeof import("../daemon/offline.ts") = await import(
      "../daemon/offline.ts" as string
    );
    try {
      this.#current ??= await openOffline(this.#state);
      return await this.#current.execute(method, params);
    } catch (error) {
      const holder = lockHolder(error);
      if (holder?.role !== "daemon") throw error;
      this.#current?.close();
      const { socket } = holder;
      this.#current = socket === undefined ? this.#reached : reach({ socket, state: this.#state });
      return await this.#current.execute(method, params);
    }
  };

  close(): void {
    this.#current?.close();
    this.#reached.close();
  }
}

/** Who holds the state's lock, when that is what went wrong. */
function lockHolder(error: unknown): LockHolder | undefined {
  if (!(error instanceof CommandError) || error.code !== "ELOCKED") return undefined;
  return (error.cause as LockedError | undefined)?.holder;
}
