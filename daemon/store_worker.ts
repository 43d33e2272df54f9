/**
 * The store's Worker (role "store"): SQLite away from the control isolate, which must not wait for
 * the disk while the switch runs. Requests are carried out in the order they were posted; a
 * transaction is posted in pieces and answered once, when it is on the disk or rolled back.
 */
import type { CommandError } from "./api.ts";
import { asCommandError, Store, type StoreChange } from "./store.ts";

/** What the control isolate posts. `id` is echoed by the answer; pieces ("change") have none. */
export type StoreRequest =
  | { readonly op: "open"; readonly id: number; readonly path: string }
  | { readonly op: "load"; readonly id: number }
  | {
    readonly op: "load-flows";
    readonly id: number;
    readonly dp: string;
    readonly from: number;
    readonly countMax: number;
  }
  | { readonly op: "change"; readonly changes: readonly StoreChange[] }
  | { readonly op: "commit"; readonly id: number }
  | { readonly op: "close"; readonly id: number };

export interface StoreReply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
}

/** Id of the message that says that the Worker listens: what is posted before may be lost. */
export const HELLO = 0;

/** The part of a Worker's global scope that is needed. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<StoreRequest>) => void) | null;
  postMessage(reply: StoreReply): void;
  close(): void;
}

/** Runs the role: called by main.ts when the Worker is named "store". Returns at once. */
export function runStoreWorker(): void {
  const scope = globalThis as unknown as WorkerScope;
  const worker = new StoreWorker();
  scope.onmessage = (event) => {
    const reply = worker.handle(event.data);
    if (reply !== undefined) scope.postMessage(reply);
    if (event.data.op === "close") scope.close();
  };
  scope.postMessage({ id: HELLO });
}

class StoreWorker {
  #store: Store | undefined;
  /** Of the transaction in progress. */
  #begun = false;
  #failure: CommandError | undefined;

  handle(request: StoreRequest): StoreReply | undefined {
    if (request.op === "change") {
      this.#change(request.changes);
      return undefined;
    }
    try {
      return { id: request.id, result: this.#perform(request) };
    } catch (error) {
      const { code, message } = asCommandError(error, "cannot use the state file");
      return { id: request.id, error: { code, message } };
    }
  }

  #perform(request: Exclude<StoreRequest, { op: "change" }>): unknown {
    switch (request.op) {
      case "open":
        this.#store = new Store(request.path);
        return undefined;
      case "load":
        return this.#opened().load();
      case "load-flows":
        return this.#opened().loadFlows(request.dp, request.from, request.countMax);
      case "commit":
        return this.#commit();
      case "close":
        this.#store?.close();
        this.#store = undefined;
        return undefined;
    }
  }

  /** A fault is kept for the commit to tell; what follows it is skipped. */
  #change(changes: readonly StoreChange[]): void {
    if (this.#failure !== undefined) return;
    try {
      const store = this.#opened();
      if (!this.#begun) {
        store.begin();
        this.#begun = true;
      }
      store.change(changes);
    } catch (error) {
      this.#failure = asCommandError(error, "cannot save");
    }
  }

  #commit(): void {
    const store = this.#opened();
    const failure = this.#failure;
    const begun = this.#begun;
    this.#failure = undefined;
    this.#begun = false;
    if (!begun && failure === undefined) return;
    try {
      if (failure !== undefined) throw failure;
      store.commit();
    } catch (error) {
      store.rollback();
      throw asCommandError(error, "cannot save");
    }
  }

  #opened(): Store {
    if (this.#store === undefined) throw new Error("the store is not open");
    return this.#store;
  }
}
