/**
 * What a command runs in: it hands over requests and says how their results read. The live session
 * carries them out and prints; the recording one (cli/batch.ts) only keeps them.
 */
import {
  type BatchRequest,
  CommandError,
  type ConfigMethod,
  type Executor,
  type MethodName,
  type Methods,
} from "../daemon/api.ts";
import type { CommonFlags } from "./flags.ts";
import type { Output } from "./output.ts";

/** Requests that change the saved configuration. */
export type ConfigRequest = {
  [M in ConfigMethod]: { readonly method: M; readonly params: Methods[M]["params"] };
}[ConfigMethod];

/** An executor that holds a connection or a lock, and knows whether a daemon is behind it. */
export interface SessionExecutor extends Executor {
  /** Whether a request has changed the saved state while no daemon runs. */
  readonly savedOffline: boolean;
  close(): void;
}

/** What finds the executor that the flags ask for. */
export type OpenExecutor = (flags: CommonFlags) => Promise<SessionExecutor>;

export interface Session {
  readonly output: Output;
  /** URL of main.ts, for `run --detach`. */
  readonly mainUrl: string;
  /** The command being run, for error messages. */
  verb: string;
  /** Carries out one request and prints its result: as JSON with --json, else as `render` makes it. */
  submit<M extends MethodName>(
    flags: CommonFlags,
    request: { readonly method: M; readonly params: Methods[M]["params"] },
    render?: (result: Methods[M]["result"]) => string,
  ): Promise<void>;
  /** Carries out several configuration requests as one: all or nothing. */
  submitAll(flags: CommonFlags, requests: readonly ConfigRequest[]): Promise<void>;
  /** Asks for something that a command needs to know. */
  query<M extends MethodName>(
    flags: CommonFlags,
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]>;
  /** Commands that can't stand in a batch call this first. */
  live(): void;
  /** Words typed so far when completions are asked for. */
  readonly typed?: readonly string[];
}

/** Carries out requests at once. */
export class LiveSession implements Session {
  readonly output: Output;
  readonly mainUrl: string;
  readonly typed: readonly string[];
  verb = "";
  readonly #open: OpenExecutor;

  constructor(
    output: Output,
    open: OpenExecutor,
    extra: { mainUrl?: string; typed?: readonly string[] } = {},
  ) {
    this.output = output;
    this.mainUrl = extra.mainUrl ?? "";
    this.typed = extra.typed ?? [];
    this.#open = open;
  }

  async submit<M extends MethodName>(
    flags: CommonFlags,
    request: { readonly method: M; readonly params: Methods[M]["params"] },
    render?: (result: Methods[M]["result"]) => string,
  ): Promise<void> {
    const executor = await this.#open(flags);
    try {
      const result = await executor.execute(request.method, request.params);
      if (flags.json === true) this.output.print(`${JSON.stringify(result, null, 2)}\n`);
      else if (render !== undefined) this.output.print(render(result));
      if (executor.savedOffline) {
        this.output.note("denovs: saved; no daemon is running\n");
      }
    } finally {
      executor.close();
    }
  }

  async submitAll(flags: CommonFlags, requests: readonly ConfigRequest[]): Promise<void> {
    const only = requests[0];
    if (requests.length === 1 && only !== undefined) return await this.submit(flags, only);
    try {
      await this.submit(flags, { method: "batch", params: { requests: number(requests) } });
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      // The lines are ours: no user wrote them.
      throw new CommandError(error.code, error.message, { caret: error.caret, cause: error });
    }
  }

  async query<M extends MethodName>(
    flags: CommonFlags,
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    const executor = await this.#open(flags);
    try {
      return await executor.execute(method, params);
    } finally {
      executor.close();
    }
  }

  live(): void {}
}

function number(requests: readonly ConfigRequest[]): BatchRequest[] {
  return requests.map(({ method, params }, at) => ({ line: at + 1, method, params }));
}
