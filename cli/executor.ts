/**
 * Who carries out a command: the daemon, if one answers on the control socket, else an edit of the
 * saved state. A socket named by the user must answer, unless a state file is named too.
 */
import {
  type OpenExecutor as ReachedExecutor,
  reach,
  type ReachOptions,
} from "../daemon/client.ts";
import { CommandError } from "../daemon/api.ts";
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

/** Opens what the flags and the environment ask for. */
export function openExecutor(flags: CommonFlags): Promise<SessionExecutor> {
  const choice = chooseTarget(flags, {
    socket: Deno.env.get("DENOVS_SOCKET") || undefined,
    state: Deno.env.get("DENOVS_STATE") || undefined,
  });
  const reached = reach(choice);
  return Promise.resolve(choice.stateFirst ? new StateFirst(choice.state!, reached) : reached);
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
