/**
 * The commands of daemon/api.ts carried out over a backend: the live switch or, offline, the saved
 * state alone. Requests that change something go one after another; the others run beside them and
 * see the configuration as the last finished request left it.
 */
import type { BatchRequest, ConfigMethod, Executor, MethodName, Methods } from "./api.ts";
import type { Backend } from "./backend.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import {
  connectionStats,
  dumpBuckets,
  dumpConnections,
  dumpExpected,
  flushConnections,
  showConnectionsMax,
  showLimits,
} from "./conntrack.ts";
import { showConntrackOptions, showTimeouts } from "./ct_settings.ts";
import { dumpFlows, findDummy, getFlow, listDatapaths, listPorts, showDatapaths } from "./dump.ts";
import { loadFlows } from "./flow_file.ts";
import type { Logger } from "./log.ts";
import { showMeters } from "./meters.ts";
import type { Model } from "./model.ts";
import { checkParams } from "./params.ts";
import { addPlugin, deletePlugin, listPlugins } from "./plugin_requests.ts";
import { flowScope, stageRequest } from "./requests.ts";
import { PacketTracing } from "./trace.ts";
import { Transaction } from "./transaction.ts";
import { VERSION } from "./version.ts";
import { composeFlowFrame } from "../datapath/compose/compose_flow.ts";
import { CT_STATE_AT, DP_HASH_AT, RECIRC_ID_AT } from "../datapath/key.ts";
import { parseFlow } from "../datapath/text/flow_text.ts";

export interface ConfigurationHooks {
  readonly log?: Logger | undefined;
  /** Told by `stop` to end the daemon. Absent: there is none. */
  readonly onStop?: (() => void) | undefined;
}

type Handlers = {
  readonly [M in MethodName]: (
    params: Methods[M]["params"],
  ) => Methods[M]["result"] | Promise<Methods[M]["result"]>;
};

export class Configuration implements Executor {
  readonly #backend: Backend;
  readonly #hooks: ConfigurationHooks;
  readonly #tracing: PacketTracing = new PacketTracing();
  #model: Model;
  /** Settles when the last request in the queue has finished. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(backend: Backend, model: Model, hooks: ConfigurationHooks = {}) {
    this.#backend = backend;
    this.#model = model;
    this.#hooks = hooks;
  }

  /** As the last finished request left it. */
  get model(): Model {
    return this.#model;
  }

  /** Throws CommandError; then nothing of the request has been done. */
  async execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    checkParams(method, params);
    try {
      return await this.#handlers[method](params);
    } catch (error) {
      const failure = toCommandError(error);
      if (failure.code === "EINTERNAL") {
        const stack = error instanceof Error ? error.stack : undefined;
        this.#hooks.log?.error(`${method}: ${stack ?? failure.message}`);
      }
      throw failure;
    }
  }

  /** Runs `work` when every request before it has finished, and before every later one. */
  exclusive<T>(work: (model: Model) => Promise<T>): Promise<T> {
    const done = this.#last.then(() => work(this.#model));
    this.#last = done.catch(() => {});
    return done;
  }

  readonly #handlers: Handlers = {
    "dp-add": (params) => this.#change("dp-add", params),
    "dp-del": (params) => this.#change("dp-del", params),
    "dp-set": (params) => this.#change("dp-set", params),
    "port-add": (params) => this.#change("port-add", params),
    "port-del": (params) => this.#change("port-del", params),
    "port-set": (params) => this.#change("port-set", params),
    "flow-add": (params) => this.#change("flow-add", params),
    "flow-mod": (params) => this.#change("flow-mod", params),
    "flow-del": (params) => this.#change("flow-del", params),
    "flow-flush": (params) => this.#change("flow-flush", params),
    "meter-add": (params) => this.#change("meter-add", params),
    "meter-mod": (params) => this.#change("meter-mod", params),
    "meter-del": (params) => this.#change("meter-del", params),
    "meter-show": (params) => showMeters(this.#backend, this.#model, params),
    "ct-dump": (params) => dumpConnections(this.#backend, this.#model, params),
    "ct-exp-dump": (params) => dumpExpected(this.#model, params),
    "ct-bkts": (params) => dumpBuckets(this.#backend, this.#model, params),
    "ct-flush": (params) => flushConnections(this.#backend, this.#model, params),
    "ct-stats": (params) => connectionStats(this.#backend, this.#model, params),
    "ct-limit-set": (params) => this.#change("ct-limit-set", params),
    "ct-limit-del": (params) => this.#change("ct-limit-del", params),
    "ct-limit-get": (params) => showLimits(this.#model, params),
    "ct-maxconns": (params) => showConnectionsMax(this.#model, params),
    "ct-maxconns-set": (params) => this.#change("ct-maxconns-set", params),
    "ct-timeout-set": (params) => this.#change("ct-timeout-set", params),
    "ct-timeout-del": (params) => this.#change("ct-timeout-del", params),
    "ct-timeout-get": (params) => showTimeouts(this.#model, params),
    "ct-set": (params) => this.#change("ct-set", params),
    "ct-show": (params) => showConntrackOptions(this.#model, params),
    "flow-load": ({ dp, text, replace = false }) =>
      this.#transact(async (transaction) =>
        loadFlows(await flowScope(transaction, dp), text, replace)
      ),
    "batch": ({ requests }) => this.#batch(requests),
    "dp-list": () => listDatapaths(this.#model),
    "dp-show": (params) => showDatapaths(this.#model, params),
    "port-list": (params) => listPorts(this.#model, params),
    "flow-get": (params) => getFlow(this.#backend, this.#model, params),
    "flow-dump": (params) => dumpFlows(this.#backend, this.#model, params),
    "plugin-add": ({ file }) => this.exclusive(() => addPlugin(this.#backend, file)),
    "plugin-del": (params) => this.exclusive(() => deletePlugin(this.#backend, params)),
    "plugin-list": () => listPlugins(this.#backend, this.#model),
    "upcalls": () => this.#refuseStream(),
    "capture": () => this.#refuseStream(),
    "trace-live": () => this.#refuseStream(),
    "trace": (params) => this.#tracing.trace(this.#backend, this.#model, params),
    "version": () => ({ version: VERSION }),
    "stop": () => {
      if (this.#hooks.onStop === undefined) refuse("ENOTCONN", "no daemon is running");
      this.#hooks.onStop();
      return {};
    },
    "netdev-dummy/receive": (params) => this.#receive(params),
  };

  #refuseStream(): never {
    const { offline } = this.#backend;
    refuse(
      offline ? "ENOTCONN" : "EOPNOTSUPP",
      offline
        ? "no daemon is running that packets could go through"
        : "packets are given over a connection to the control socket only",
    );
  }

  #change<M extends ConfigMethod>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    return this.#transact((transaction) => stageRequest(transaction, { method, params }));
  }

  /** Ports that ask for a number get it before the others take the lowest free ones. */
  #batch(requests: readonly BatchRequest[]): Promise<Methods["batch"]["result"]> {
    const reserved = new Set<number>();
    for (const { method, params } of requests) {
      if (method === "port-add" && "portNo" in params && typeof params.portNo === "number") {
        reserved.add(params.portNo);
      }
    }
    return this.#transact(async (transaction) => {
      for (const { line, method, params } of requests) {
        checkLine(line, () => checkParams(method, params));
        await stageRequest(transaction, { method, params }, { line, reserved });
        await this.#backend.rest();
      }
      return { done: requests.length };
    });
  }

  #transact<T>(stage: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.exclusive(async (model) => {
      const log = this.#hooks.log;
      const transaction = new Transaction(this.#backend, model, (text) => log?.error(text));
      let result: T;
      try {
        result = await stage(transaction);
      } catch (error) {
        await transaction.rollback();
        throw error;
      }
      this.#model = await transaction.commit();
      return result;
    });
  }

  async #receive(
    { port: name, frames, size }: Methods["netdev-dummy/receive"]["params"],
  ): Promise<Record<string, never>> {
    if (this.#backend.offline) refuse("ENOTCONN", "no daemon is running to receive frames");
    const { datapath, port } = findDummy(this.#model, name);
    const keys: (Int32Array | undefined)[] = [];
    const bytes = frames.map((text) => {
      if (/^[0-9a-f\s]+$/i.test(text)) {
        keys.push(undefined);
        return parseHex(text);
      }
      const flow = parseFlow(text, { names: datapath });
      keys.push(metadataOf(flow.key));
      return composeFlowFrame(flow, { size, names: datapath }).frame;
    });
    await datapath.backend.command(port.portNo, "inject", { frames: bytes, keys });
    return {};
  }
}

function checkLine(line: number, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw toCommandError(error, { line });
  }
}

/** What a device can say of a packet of such a flow: the tunnel that it came through, mark and priority. */
function metadataOf(flowKey: Int32Array): Int32Array {
  const key = flowKey.slice();
  const view = new DataView(key.buffer);
  for (const at of [RECIRC_ID_AT, DP_HASH_AT, CT_STATE_AT]) view.setUint32(at, 0);
  return key;
}

function parseHex(text: string): Uint8Array {
  const digits = text.replaceAll(/\s/g, "");
  if (digits.length % 2 !== 0) refuse("EINVAL", "a frame in hex has an odd number of digits");
  return Uint8Array.fromHex(digits);
}
