/** Requests that the daemon answers bit by bit: notifications first, then the answer. */
import { CommandError, type Methods } from "../daemon/api.ts";
import { chooseTarget } from "./executor.ts";
import type { CommonFlags } from "./flags.ts";
import type { Output } from "./output.ts";

/**
 * Asks the daemon that the flags name, and hands over what comes until the answer is there or SIGINT
 * ends it. Throws CommandError.
 */
export async function followStream<M extends "capture" | "trace-live", Item>(
  flags: CommonFlags,
  method: M,
  params: Methods[M]["params"],
  put: (batch: Item[]) => void,
): Promise<Methods[M]["result"]> {
  const { socket } = chooseTarget(flags, {
    socket: Deno.env.get("DENOVS_SOCKET") || undefined,
    state: Deno.env.get("DENOVS_STATE") || undefined,
  });
  const stream = await Stream.open(socket, method, params);
  const interrupt = (): void => void stream.end().catch(() => stream.close());
  Deno.addSignalListener("SIGINT", interrupt);
  try {
    const batches = stream.batches();
    let step = await batches.next();
    for (; step.done !== true; step = await batches.next()) put(step.value as Item[]);
    return step.value as Methods[M]["result"];
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    stream.close();
  }
}

/** What lies in one line from the daemon. */
interface Line {
  readonly method?: string;
  readonly params?: readonly unknown[];
  readonly result?: unknown;
  readonly error?: { readonly code?: unknown; readonly message?: unknown } | null;
}

/** One streamed request. */
export class Stream {
  readonly #connection: Deno.UnixConn;
  readonly #socket: string;

  private constructor(connection: Deno.UnixConn, socket: string) {
    this.#connection = connection;
    this.#socket = socket;
  }

  /** Asks the daemon. Throws CommandError ENOTCONN when none answers on `socket`. */
  static async open(socket: string, method: string, params: unknown): Promise<Stream> {
    let connection: Deno.UnixConn;
    try {
      connection = await Deno.connect({ transport: "unix", path: socket });
    } catch (cause) {
      const denied = cause instanceof Deno.errors.PermissionDenied;
      throw new CommandError(
        denied ? "EACCES" : "ENOTCONN",
        denied
          ? `may not use the control socket ${socket} (run as root?)`
          : `no daemon answers on ${socket} (start one: denovs run)`,
        { cause },
      );
    }
    const bytes = new TextEncoder().encode(JSON.stringify({ method, params: [params], id: 1 }));
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    return new Stream(connection, socket);
  }

  /** What comes, in batches as it comes; the answer is returned. Throws the CommandError of a refusal. */
  async *batches(): AsyncGenerator<readonly unknown[], unknown> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(256 << 10);
    let rest = "";
    for (;;) {
      const size = await this.#connection.read(buffer);
      if (size === null) {
        throw new CommandError("ECONNRESET", `the daemon at ${this.#socket} has ended`);
      }
      const lines = (rest + decoder.decode(buffer.subarray(0, size), { stream: true })).split("\n");
      rest = lines.pop()!;
      const values: unknown[] = [];
      for (const text of lines) {
        const line = JSON.parse(text) as Line;
        if (line.method !== undefined) {
          values.push(line.params?.[0]);
          continue;
        }
        if (values.length > 0) yield values;
        if (line.error === null || line.error === undefined) return line.result;
        throw new CommandError(String(line.error.code), String(line.error.message));
      }
      if (values.length > 0) yield values;
    }
  }

  /** Wants no more: the daemon answers at once. */
  async end(): Promise<void> {
    await this.#connection.closeWrite();
  }

  /** Never throws. */
  close(): void {
    try {
      this.#connection.close();
    } catch {
      // Closed already.
    }
  }
}

/** Shows what comes, a line each: as JSON, or as `render` writes it. */
export class LineSink<Item> {
  readonly #output: Output;
  readonly #render: (item: Item) => string;

  constructor(output: Output, isJson: boolean, render: (item: Item) => string) {
    this.#output = output;
    this.#render = isJson ? JSON.stringify : render;
  }

  begin(): void {}

  put(items: readonly Item[]): void {
    for (const item of items) this.#output.print(`${this.#render(item)}\n`);
    this.#output.flush();
  }

  end(): void {}
}
