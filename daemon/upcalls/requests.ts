/**
 * What an upcall handler asks for, one packet thread's upcalls at a time: kept in order, then done as
 * one step between the commands of users (Configuration.exclusive), flows before the packets behind
 * them. The queue is bounded; who fills it gets an exception.
 */
import type { FlowTimeouts } from "../api.ts";
import type { Logger, RateLimit } from "../log.ts";
import type { Datapath, Model } from "../model.ts";
import type { LiveDatapath } from "../switch/live_datapath.ts";
import { type PreparedFlow, toLifetime } from "../flows.ts";
import type { InjectedPacket } from "../../datapath/upcall_ring.ts";
import type { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import { REQUESTS_MAX } from "./handler_messages.ts";

export type HandlerRequest =
  | { readonly op: "add"; readonly flow: PreparedFlow; readonly timeouts: FlowTimeouts }
  | { readonly op: "delete"; readonly ufid: string }
  | {
    readonly op: "execute";
    readonly thread: number;
    readonly packet: InjectedPacket;
    readonly actions: Int32Array;
  };

/** Whoever lets requests run between those of users. */
export interface Turns {
  exclusive<T>(work: (model: Model) => Promise<T>): Promise<T>;
}

export interface QueueOptions {
  readonly live: LiveDatapath;
  readonly turns: Turns;
  readonly nowMs: () => number;
  readonly log: Logger;
  readonly limit: RateLimit;
  /** The handler's name, for messages. */
  readonly name: string;
  /** Told what could not be done. */
  readonly onRefused: () => void;
}

export class RequestQueue {
  readonly #options: QueueOptions;
  readonly #waiting: HandlerRequest[] = [];
  #flushing: Promise<void> | undefined;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#flushing === undefined;
  }

  /** Throws RangeError when too many wait. */
  add(request: HandlerRequest): void {
    if (this.#waiting.length >= REQUESTS_MAX) {
      throw new RangeError(`Cannot ask for more: ${REQUESTS_MAX} requests wait already`);
    }
    this.#waiting.push(request);
  }

  /** Does what waits; resolves when it is done. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      this.#flushing ??= this.#run().finally(() => this.#flushing = undefined);
      await this.#flushing;
    }
    await this.#flushing;
  }

  async #run(): Promise<void> {
    const { live, turns } = this.#options;
    const requests = this.#waiting.splice(0);
    const isThere = await turns.exclusive(async (model) => {
      const datapath = model.get(live.spec.name);
      if (datapath?.record.id !== live.spec.id) return false;
      await this.#apply(datapath, requests);
      return true;
    });
    if (!isThere) return;
    const threads = new Map<number, { packet: InjectedPacket; actions: Int32Array }[]>();
    for (const request of requests) {
      if (request.op !== "execute") continue;
      const packets = threads.get(request.thread) ?? [];
      packets.push(request);
      threads.set(request.thread, packets);
    }
    for (const [thread, packets] of threads) {
      try {
        await live.executePackets(thread, packets);
      } catch (error) {
        this.#refused("send packets", error);
      }
    }
  }

  async #apply(datapath: Datapath, requests: readonly HandlerRequest[]): Promise<void> {
    const table = await datapath.backend.table();
    const addedMs = this.#options.nowMs();
    for (const request of requests) {
      try {
        if (request.op === "add") put(table, request.flow, request.timeouts, addedMs);
        else if (request.op === "delete") remove(table, request.ufid);
      } catch (error) {
        this.#refused(`${request.op} a flow`, error);
      }
    }
    table.commit();
  }

  #refused(doing: string, error: unknown): void {
    const { live, log, limit, name, onRefused } = this.#options;
    onRefused();
    const reason = error instanceof Error ? error.message : String(error);
    log.warn(`${live.spec.name}: cannot ${doing} for handler ${name}: ${reason}`, limit);
  }
}

/** A flow that a user has is left alone; that one of the same key exists is no fault: two packets may have asked for it. */
function put(
  table: FlowTableWriter,
  flow: PreparedFlow,
  timeouts: FlowTimeouts,
  addedMs: number,
): void {
  const { ufid, key, mask, actions } = flow;
  const same = table.find(ufid);
  if (same >= 0) {
    const isOurs = table.lifetime(same) !== undefined;
    const known = table.actions(same);
    const isEqual = known.length === actions.length &&
      known.every((word, at) => word === actions[at]);
    if (isOurs && !isEqual) table.setActions(same, actions);
    return;
  }
  if (table.lookup(key) >= 0) throw new Error("its key is matched by another flow already");
  table.insert({ ufid, key, mask, actions, lifetime: toLifetime(timeouts, addedMs) });
}

function remove(table: FlowTableWriter, ufid: string): void {
  const at = table.find(ufid);
  if (at >= 0 && table.lifetime(at) !== undefined) table.remove(at);
}
