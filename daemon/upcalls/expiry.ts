/**
 * Removes temporary flows whose time is over: those that a handler has installed, and those that were
 * added with a timeout. Looks at all of them about twice a second, in slices.
 */
import type { Backend } from "../backend.ts";
import type { Datapath, Model } from "../model.ts";
import type { Turns } from "./requests.ts";
import type { FlowLifetime, FlowTableWriter } from "../../datapath/flow_table/writer.ts";

/** How long it rests between two looks. */
const LOOK_MS = 500;
/** Flows removed in one step between users' commands. */
const STEP_COUNT = 256;

export interface ExpiryOptions {
  readonly turns: Turns & { readonly model: Model };
  readonly backend: Pick<Backend, "nowMs" | "rest">;
  /** Told of what must not happen. */
  readonly onError: (error: unknown) => void;
}

/** A flow that is due. */
interface Due {
  readonly at: number;
  readonly generation: number;
}

export class FlowExpiry {
  readonly #options: ExpiryOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last: Promise<void> = Promise.resolve();
  /** Before that a flow can't be due: its statistics, which are summed over the threads, need not be read. */
  readonly #notBefore: WeakMap<FlowLifetime, number> = new WeakMap();

  constructor(options: ExpiryOptions) {
    this.#options = options;
  }

  /** Looks again and again until {@link stop}. */
  start(): void {
    this.#timer = setTimeout(async () => {
      try {
        await this.run();
      } catch (error) {
        this.#options.onError(error);
      }
      if (this.#timer !== undefined) this.start();
    }, LOOK_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Removes what is due now; resolves when packet threads don't see it any more. */
  run(): Promise<void> {
    const run = this.#last.then(() => this.#runAll());
    this.#last = run.catch(() => {});
    return run;
  }

  async #runAll(): Promise<void> {
    for (const datapath of this.#options.turns.model.values()) {
      const table = await datapath.backend.table();
      const due = await this.#find(table);
      for (let from = 0; from < due.length; from += STEP_COUNT) {
        await this.#remove(datapath, table, due.slice(from, from + STEP_COUNT));
      }
    }
  }

  async #find(table: FlowTableWriter): Promise<Due[]> {
    const { backend } = this.#options;
    const due: Due[] = [];
    for (const at of table.temporaryFlows()) {
      if (this.#isDue(table, at, backend.nowMs())) {
        due.push({ at, generation: table.generation(at) });
      }
      await backend.rest();
    }
    return due;
  }

  /** Meanwhile a packet may have come, or the flow may have gone. */
  #remove(datapath: Datapath, table: FlowTableWriter, due: readonly Due[]): Promise<void> {
    const { backend, turns } = this.#options;
    return turns.exclusive((model) => {
      const now = model.get(datapath.record.name);
      if (now?.record.id !== datapath.record.id) return Promise.resolve();
      for (const { at, generation } of due) {
        if (table.generation(at) !== generation || !this.#isDue(table, at, backend.nowMs())) {
          continue;
        }
        table.remove(at);
      }
      table.commit();
      return Promise.resolve();
    });
  }

  /** Whether a flow that packet threads see has outlived its time. */
  #isDue(table: FlowTableWriter, at: number, nowMs: number): boolean {
    const lifetime = table.lifetime(at);
    if (lifetime === undefined || !table.isLive(at)) return false;
    if (nowMs < (this.#notBefore.get(lifetime) ?? 0)) return false;
    const { idleMs, hardMs, addedMs } = lifetime;
    const usedMs = idleMs > 0 ? Math.max(addedMs, table.stats(at).usedMs) : addedMs;
    const endMs = Math.min(
      idleMs > 0 ? usedMs + idleMs : Infinity,
      hardMs > 0 ? addedMs + hardMs : Infinity,
    );
    this.#notBefore.set(lifetime, endMs);
    return nowMs >= endMs;
  }
}
