/**
 * The control socket: JSON-RPC 1.0 over a Unix stream socket, as Open vSwitch's unixctl has it.
 *
 * Requests of one connection are carried out in order, one at a time; while one is carried out or
 * its answer is not taken yet, nothing more is read from that connection. So a client can hold up
 * only itself, and the memory it can make us use is one request and one answer.
 */
import { chmodSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { CommandError } from "./api.ts";
import { SHUTDOWN_CODE } from "./client.ts";
import { FrameError, JsonFrames } from "./json_frames.ts";
import { type Lock, LockedError, makeDirectory, takeLock } from "./lock.ts";
import { type Logger, RateLimit } from "./log.ts";
import { directoryOf } from "./paths.ts";
import { Slices } from "./slices.ts";
import type { Answer } from "./unixctl.ts";

/** A flow file of a million flows fits. */
export const REQUEST_SIZE_MAX: number = 256 << 20;
/** A client that takes nothing of its answer for so long is cut off. */
const WRITE_TIMEOUT_MS = 60_000;
/** Bytes of notifications that may wait for a client. */
const STREAM_SIZE_MAX = 1 << 20;
/** Entries of a long list that are made text at once. */
const LIST_PIECE = 200;
/** How long answers may take to be sent when the daemon ends. */
const END_TIMEOUT_MS = 2000;
const LINGER_MS = 20;
const LISTEN_BACKLOG = 128;
/** sun_path of struct sockaddr_un, without the zero byte at its end. */
const PATH_SIZE_MAX = 107;

/** The client of a request that is answered bit by bit: what is sent to it goes in front of the answer. */
export interface StreamClient {
  /** False: it is slow, and what is sent now would be lost. */
  readonly canTake: boolean;
  /** Sends a notification `{"method","params":[value],"id":null}`. False: it is slow or gone, and nothing was sent. */
  send(method: string, value: unknown): boolean;
  /** Resolves when the client has gone, or is to be let go. */
  readonly gone: Promise<void>;
}

export interface ControlSocketOptions {
  readonly path: string;
  readonly log: Logger;
  /** Carries out a request; never throws. */
  readonly call: (
    method: string,
    params: readonly unknown[],
    client: StreamClient,
  ) => Promise<Answer>;
  /** User id of the process at the other end of a connection, if it can be told. */
  readonly peerUid: (fd: number) => number | undefined;
}

export class ControlSocket {
  readonly #options: ControlSocketOptions;
  readonly #server: Server;
  readonly #lock: Lock;
  readonly #connections: Set<ServerConnection> = new Set();
  readonly #limit = new RateLimit(10, 1000);
  #ending = false;

  private constructor(options: ControlSocketOptions, lock: Lock) {
    this.#options = options;
    this.#lock = lock;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /**
   * Listens on `path`, mode 0600; its directory is made with mode 0700 when missing, a socket that
   * nobody answers on any more is replaced.
   * @throws CommandError EADDRINUSE when another daemon has the path.
   */
  static async open(options: ControlSocketOptions): Promise<ControlSocket> {
    const { path } = options;
    const lock = await lockSocket(path);
    try {
      await removeStale(path);
      const socket = new ControlSocket(options, lock);
      await socket.#listen();
      return socket;
    } catch (error) {
      lock.release();
      throw asSocketError(error, path);
    }
  }

  /** From now on every request is told that the daemon ends, and to ask again. */
  refuse(): void {
    this.#ending = true;
  }

  /** Unlinks the socket and waits until all that has been asked is answered. Connections stay open. */
  async close(): Promise<void> {
    this.#ending = true;
    try {
      Deno.removeSync(this.#options.path);
    } catch {
      // Somebody was quicker.
    }
    this.#server.close();
    for (const connection of this.#connections) connection.endStream();
    const answered = Promise.all([...this.#connections].map((connection) => connection.idle()));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise((done) => timer = setTimeout(done, END_TIMEOUT_MS));
    await Promise.race([answered, timeout]);
    clearTimeout(timer);
    // Who connected just before has time to ask, and to be told that we end.
    if (this.#connections.size > 0) await new Promise((done) => setTimeout(done, LINGER_MS));
    this.#lock.release();
  }

  /** Cuts off all clients: whoever waits for the end of the daemon (`stop`) sees it by this. */
  disconnect(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  async #listen(): Promise<void> {
    const { path } = this.#options;
    const umask = Deno.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once("error", reject);
        this.#server.listen({ path, backlog: LISTEN_BACKLOG }, () => resolve());
      });
    } finally {
      Deno.umask(umask);
    }
    chmodSync(path, 0o600);
    this.#server.on(
      "error",
      (error) => this.#options.log.error(`control socket: ${error.message}`),
    );
  }

  #accept(socket: Socket): void {
    const { log, call, peerUid } = this.#options;
    const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
    const uid = fd === undefined || fd < 0 ? undefined : peerUid(fd);
    if (uid !== undefined && uid !== 0 && uid !== Deno.uid()) {
      log.warn(`refused a connection of uid ${uid}`, this.#limit);
      socket.destroy();
      return;
    }
    const connection = new ServerConnection(socket, {
      call: (method, params, client) =>
        this.#ending ? Promise.resolve(ENDING) : call(method, params, client),
      onBroken: (why) => log.info(() => `dropped a client: ${why}`, this.#limit),
      onClosed: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
  }
}

/** Methods that are answered bit by bit. */
const STREAMS: ReadonlySet<string> = new Set(["upcalls", "capture", "trace-live"]);

const ENDING: Answer = {
  result: null,
  error: { code: SHUTDOWN_CODE, message: "the daemon is ending" },
};

interface ConnectionOptions {
  readonly call: ControlSocketOptions["call"];
  readonly onBroken: (why: string) => void;
  readonly onClosed: () => void;
}

class ServerConnection {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #frames = new JsonFrames(REQUEST_SIZE_MAX);
  /** Settles when every request read so far is answered. */
  #last: Promise<void> = Promise.resolve();
  #closed = false;
  readonly #gone: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  /** What streams are given. */
  readonly #client: StreamClient;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#client = {
      get canTake(): boolean {
        return socket.writable && socket.writableLength < STREAM_SIZE_MAX;
      },
      send: (method, value) => this.#notify(method, value),
      gone: this.#gone.promise,
    };
    this.#socket = socket;
    this.#options = options;
    socket.on("data", (bytes: Uint8Array) => this.#take(bytes));
    socket.on("end", () => {
      this.endStream();
      this.#last.then(() => this.#socket.end());
    });
    socket.on("error", () => this.destroy());
    socket.on("close", () => this.destroy());
  }

  /** Resolves when all that has been asked is answered. */
  async idle(): Promise<void> {
    await this.#last;
    if (this.#closed || this.#socket.writableLength === 0) return;
    await new Promise<void>((done) => {
      this.#socket.once("drain", () => done());
      this.#socket.once("close", () => done());
    });
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.endStream();
    this.#socket.destroy();
    this.#options.onClosed();
  }

  /** A stream to this client, if there is one, ends with its answer. */
  endStream(): void {
    this.#gone.resolve();
  }

  #notify(method: string, value: unknown): boolean {
    if (this.#closed || !this.#client.canTake) return false;
    this.#socket.write(`${JSON.stringify({ method, params: [value], id: null })}\n`);
    return true;
  }

  #take(bytes: Uint8Array): void {
    let texts: string[];
    try {
      texts = this.#frames.push(bytes);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#options.onBroken(error.message);
      this.destroy();
      return;
    }
    if (texts.length === 0) return;
    this.#socket.pause();
    this.#last = this.#last.then(() => this.#serve(texts))
      .catch((error: Error) => {
        if (!this.#closed) this.#options.onBroken(error.message);
        this.destroy();
      })
      .finally(() => {
        if (!this.#closed) this.#socket.resume();
      });
  }

  async #serve(texts: readonly string[]): Promise<void> {
    for (const text of texts) {
      const { method, params, id } = parseRequest(text);
      const answer = this.#options.call(method, params, this.#client);
      // Read on, to see a client go that is given a stream; a request more waits for its turn.
      if (STREAMS.has(method)) this.#socket.resume();
      const { result, error } = await answer;
      if (this.#closed) return;
      // JSON-RPC 1.0: a notification has the id null and gets no answer.
      if (id !== null) await this.#answer(id, result, error);
    }
  }

  async #answer(id: unknown, result: unknown, error: unknown): Promise<void> {
    const tail = `,"error":${JSON.stringify(error ?? null)},"id":${JSON.stringify(id)}}\n`;
    for await (const piece of withTail(stringify(result), tail)) await this.#write(piece);
  }

  async #write(text: string): Promise<void> {
    if (this.#closed) throw new Error("it has gone");
    if (this.#socket.write(text)) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => settle(new Error("it takes no answer")), WRITE_TIMEOUT_MS);
      const onDrain = (): void => settle(undefined);
      const onClose = (): void => settle(new Error("it has gone"));
      const settle = (failure: Error | undefined): void => {
        clearTimeout(timer);
        this.#socket.off("drain", onDrain);
        this.#socket.off("close", onClose);
        if (failure === undefined) resolve();
        else reject(failure);
      };
      this.#socket.on("drain", onDrain);
      this.#socket.on("close", onClose);
    });
  }
}

interface RpcRequest {
  readonly method: string;
  readonly params: readonly unknown[];
  readonly id: unknown;
}

function parseRequest(text: string): RpcRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FrameError("a request is not JSON");
  }
  const { method, params, id } = value as Record<string, unknown>;
  if (typeof method !== "string" || !Array.isArray(params) || id === undefined) {
    throw new FrameError("a request must have method, params (a list) and id");
  }
  return { method, params, id };
}

/**
 * JSON text of a result, in pieces: a list of a million flows is made text and sent a little at a
 * time. Only lists directly in the result are cut.
 */
async function* stringify(result: unknown): AsyncGenerator<string> {
  yield '{"result":';
  const lists = typeof result === "object" && result !== null && !Array.isArray(result);
  if (!lists) {
    yield JSON.stringify(result ?? null);
    return;
  }
  const slices = new Slices();
  let before = "{";
  for (const [name, value] of Object.entries(result)) {
    if (value === undefined) continue;
    yield `${before}${JSON.stringify(name)}:`;
    before = ",";
    if (!Array.isArray(value) || value.length <= LIST_PIECE) {
      yield JSON.stringify(value);
      continue;
    }
    for (let at = 0; at < value.length; at += LIST_PIECE) {
      const piece = JSON.stringify(value.slice(at, at + LIST_PIECE));
      yield (at === 0 ? "[" : ",") + piece.slice(1, -1);
      await slices.rest();
    }
    yield "]";
  }
  yield before === "{" ? "{}" : "}";
}

/** Joins short pieces, so that a small answer is one write. */
async function* withTail(
  pieces: AsyncIterable<string>,
  tail: string,
): AsyncGenerator<string> {
  let text = "";
  for await (const piece of pieces) {
    text += piece;
    if (text.length < (32 << 10)) continue;
    yield text;
    text = "";
  }
  yield text + tail;
}

function checkPath(path: string): void {
  const { length } = new TextEncoder().encode(path);
  if (length <= PATH_SIZE_MAX) return;
  throw new CommandError(
    "ENAMETOOLONG",
    `a control socket's path has at most ${PATH_SIZE_MAX} bytes, this one ${length}: ${path}`,
  );
}

async function lockSocket(path: string): Promise<Lock> {
  try {
    checkPath(path);
    makeDirectory(directoryOf(path));
    return await takeLock(`${path}.lock`, { role: "daemon", waitMs: 0 });
  } catch (error) {
    if (!(error instanceof LockedError)) throw asSocketError(error, path);
    const who = error.holder === undefined ? "" : ` (pid ${error.holder.pid})`;
    throw new CommandError("EADDRINUSE", `another daemon${who} serves the socket ${path}`);
  }
}

/** Removes a socket that a daemon left behind when it was killed. */
async function removeStale(path: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (!info.isSocket) throw new CommandError("EEXIST", `${path} exists and is not a socket`);
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch {
    await Deno.remove(path);
    return;
  }
  throw new CommandError("EADDRINUSE", `another daemon serves the socket ${path}`);
}

function asSocketError(error: unknown, path: string): CommandError {
  if (error instanceof CommandError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new CommandError("EIO", `cannot listen on ${path}: ${reason}`, { cause: error });
}
