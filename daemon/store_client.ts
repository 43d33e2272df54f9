/** The control isolate's end of the store's Worker: the same operations, as promises. */
import { CommandError } from "./api.ts";
import { Slices } from "./slices.ts";
import type { FlowPiece, SavedState, StoreChange } from "./store.ts";
import { HELLO, type StoreReply, type StoreRequest } from "./store_worker.ts";

/** Changes posted at once: cloning this many takes about a millisecond. */
const PIECE_COUNT = 500;

interface Waiting {
  resolve(result: unknown): void;
  reject(error: CommandError): void;
}

export class StoreClient {
  readonly #worker: Worker;
  readonly #waiting: Map<number, Waiting> = new Map();
  readonly #listening: PromiseWithResolvers<unknown> = Promise.withResolvers<unknown>();
  #nextId = 1;
  #failure: CommandError | undefined;

  private constructor(mainUrl: string) {
    this.#waiting.set(HELLO, this.#listening);
    this.#worker = new Worker(mainUrl, { type: "module", name: "store" });
    this.#worker.onmessage = (event: MessageEvent<StoreReply>) => this.#answer(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`the store has failed: ${event.message}`);
    };
  }

  /** Starts the Worker, which runs `mainUrl` under the name "store", and opens the state file. */
  static async open(mainUrl: string, path: string): Promise<StoreClient> {
    const client = new StoreClient(mainUrl);
    try {
      await client.#listening.promise;
      await client.#request({ op: "open", id: client.#nextId, path });
    } catch (error) {
      client.#worker.terminate();
      throw error;
    }
    return client;
  }

  load(): Promise<SavedState> {
    return this.#request({ op: "load", id: this.#nextId }) as Promise<SavedState>;
  }

  loadFlows(dp: string, from: number, countMax: number): Promise<FlowPiece> {
    const request = { op: "load-flows", id: this.#nextId, dp, from, countMax } as const;
    return this.#request(request) as Promise<FlowPiece>;
  }

  /**
   * One transaction; resolves when it is on the disk. One at a time: the caller waits for the last.
   * @throws CommandError; then nothing of it is saved.
   */
  async apply(changes: readonly StoreChange[]): Promise<void> {
    const slices = new Slices();
    for (let at = 0; at < changes.length; at += PIECE_COUNT) {
      this.#post({ op: "change", changes: changes.slice(at, at + PIECE_COUNT) });
      await slices.rest();
    }
    await this.#request({ op: "commit", id: this.#nextId });
  }

  /** Resolves when everything posted is done and the file is closed. */
  async close(): Promise<void> {
    try {
      await this.#request({ op: "close", id: this.#nextId });
    } finally {
      this.#worker.terminate();
    }
  }

  #request(request: StoreRequest & { id: number }): Promise<unknown> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(request.id, { resolve, reject });
      this.#post(request);
    });
  }

  #post(request: StoreRequest): void {
    this.#worker.postMessage(request);
  }

  #answer(reply: StoreReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (reply.error === undefined) waiting?.resolve(reply.result);
    else waiting?.reject(new CommandError(reply.error.code, reply.error.message));
  }

  #fail(message: string): void {
    this.#failure = new CommandError("EIO", message);
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
