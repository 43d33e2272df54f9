/**
 * The client end of the control socket, and how a command finds whom to ask: the daemon if one
 * runs, else the saved state. Light: only {@link CommandError} is imported, because this is on the
 * start-up path of every command. The offline editor is loaded when no daemon answers.
 */
import { CommandError, type Executor, type MethodName, type Methods } from "./api.ts";

/** An executor that holds a connection or a lock. */
export interface OpenExecutor extends Executor {
  /** Whether the saved state is edited, with no daemon running. */
  readonly offline: boolean;
  /** Whether a request has changed the saved state while no daemon runs. */
  readonly savedOffline: boolean;
  /** A method with a slash (`dpctl/show`): strings in, text out. Refused with EOPNOTSUPP offline. */
  text(method: string, args: readonly string[]): Promise<string>;
  /** Gives the connection or the lock back. Never throws. */
  close(): void;
}

export interface ReachOptions {
  readonly socket: string;
  /** State file to edit when no daemon answers; undefined: only a daemon will do. */
  readonly state: string | undefined;
  /** How long to go on between a daemon that holds the lock but does not answer yet, and a lock held by another client. Default 10 s. */
  readonly waitMs?: number | undefined;
  /** Plug-in files whose port types an offline edit accepts. */
  readonly plugins?: readonly string[] | undefined;
}

/** What the daemon answers to a request that it had not begun when it was told to end: ask again. */
export const SHUTDOWN_CODE = "ESHUTDOWN";

/**
 * Connects to the daemon. Returns undefined when nobody listens on `socket`.
 * @throws CommandError EACCES when the socket may not be used.
 */
export async function connect(socket: string): Promise<OpenExecutor | undefined> {
  try {
    return new Connection(await Deno.connect({ transport: "unix", path: socket }), socket);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused) {
      return undefined;
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new CommandError("EACCES", `may not use the control socket ${socket} (run as root?)`);
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError("EIO", `cannot connect to ${socket}: ${reason}`, { cause: error });
  }
}

/**
 * Asks the daemon, or edits the saved state when none runs. Between the two (a daemon that is
 * starting or ending, another client's edit) it tries again, so that no command is lost.
 */
export function reach(options: ReachOptions): OpenExecutor {
  return new Reached(options);
}

/** One connection to the daemon. Requests go out one after another. */
class Connection implements OpenExecutor {
  readonly offline = false;
  readonly savedOffline = false;
  readonly #connection: Deno.UnixConn;
  readonly #socket: string;
  #nextId = 1;
  #last: Promise<unknown> = Promise.resolve();

  constructor(connection: Deno.UnixConn, socket: string) {
    this.#connection = connection;
    this.#socket = socket;
  }

  async execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    const result = await this.#request(method, [params]) as Methods[M]["result"];
    if (method === "stop") await this.#ended();
    return result;
  }

  text(method: string, args: readonly string[]): Promise<string> {
    return this.#request(method, args) as Promise<string>;
  }

  close(): void {
    try {
      this.#connection.close();
    } catch {
      // Closed already.
    }
  }

  #request(method: string, params: readonly unknown[]): Promise<unknown> {
    const answer = this.#last.then(() => this.#ask(method, params));
    this.#last = answer.catch(() => {});
    return answer;
  }

  async #ask(method: string, params: readonly unknown[]): Promise<unknown> {
    const id = this.#nextId++;
    let reply: { result?: unknown; error?: unknown; id?: unknown };
    try {
      await this.#write(new TextEncoder().encode(JSON.stringify({ method, params, id }) + "\n"));
      reply = JSON.parse(await this.#readLine());
    } catch (error) {
      throw this.#unanswered(error);
    }
    if (reply.error === null || reply.error === undefined) return reply.result;
    throw toCommandError(reply.error);
  }

  /** The daemon keeps the connection until it has given everything back. */
  async #ended(): Promise<void> {
    const buffer = new Uint8Array(64);
    try {
      while (await this.#connection.read(buffer) !== null);
    } catch {
      // Reset: it has ended, too.
    }
  }

  /**
   * A Unix socket is reset when its other end is closed before it has read all that was sent: then
   * the request has not been begun. At a mere end of stream it may have been.
   */
  #unanswered(error: unknown): CommandError {
    const reason = error instanceof Error ? error.message : String(error);
    if (
      error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe
    ) {
      const message = `the daemon at ${this.#socket} ended before it read the command (${reason})`;
      return new CommandError(SHUTDOWN_CODE, message, { cause: error });
    }
    return new CommandError(
      "ECONNRESET",
      `the daemon at ${this.#socket} ended before it answered (${reason}); ` +
        "whether it carried out the command is not known",
      { cause: error },
    );
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      at += await this.#connection.write(bytes.subarray(at));
    }
  }

  /** Replies end with a newline and have none inside. */
  async #readLine(): Promise<string> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(64 << 10);
    const parts: string[] = [];
    for (;;) {
      const size = await this.#connection.read(buffer);
      if (size === null) throw new Error("end of stream");
      parts.push(decoder.decode(buffer.subarray(0, size), { stream: true }));
      if (buffer[size - 1] === 0x0a) return parts.join("");
    }
  }
}

/** {@link reach}: finds the other side anew for every request that needs it. */
class Reached implements OpenExecutor {
  readonly #options: ReachOptions;
  #current: OpenExecutor | undefined;

  constructor(options: ReachOptions) {
    this.#options = options;
  }

  get offline(): boolean {
    return this.#current?.offline ?? false;
  }

  get savedOffline(): boolean {
    return this.#current?.savedOffline ?? false;
  }

  execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    return this.#perform((executor) => executor.execute(method, params));
  }

  text(method: string, args: readonly string[]): Promise<string> {
    return this.#perform((executor) => executor.text(method, args));
  }

  close(): void {
    this.#current?.close();
    this.#current = undefined;
  }

  async #perform<T>(run: (executor: OpenExecutor) => Promise<T>): Promise<T> {
    const deadline = performance.now() + (this.#options.waitMs ?? 10_000);
    for (;;) {
      try {
        this.#current ??= await this.#find();
        return await run(this.#current);
      } catch (error) {
        const code = error instanceof CommandError ? error.code : undefined;
        if (code !== SHUTDOWN_CODE && code !== "ELOCKED") throw error;
        if (performance.now() > deadline) throw error;
        this.close();
      }
      await new Promise((done) => setTimeout(done, 25));
    }
  }

  async #find(): Promise<OpenExecutor> {
    const { socket, state, plugins } = this.#options;
    const connection = await connect(socket);
    if (connection !== undefined) return connection;
    if (state === undefined) {
      throw new CommandError(
        "ENOTCONN",
        `no daemon answers on ${socket} (start one: denovs run)`,
      );
    }
    // Hidden from Deno's graph by the cast: see main.ts.
    const { openOffline }: typeof import("./offline.ts") = await import("./offline.ts" as string);
    return await openOffline(state, { waitMs: 0, plugins: plugins ?? [] });
  }
}

/** The error of a reply: an object from methods named like verbs, text from the others. */
function toCommandError(error: unknown): CommandError {
  if (typeof error === "object" && error !== null) {
    const { code, message, caret, line } = error as Record<string, unknown>;
    return new CommandError(String(code), String(message), {
      caret: typeof caret === "string" ? caret : undefined,
      line: typeof line === "number" ? line : undefined,
    });
  }
  return new CommandError("EIO", String(error).trimEnd());
}
