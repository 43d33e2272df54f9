/**
 * The commands of daemon/api.ts on datapaths of the kernel's openvswitch module, by netlink: no
 * daemon, no state. Called by the client itself, which loads this for `system@NAME` only.
 *
 * Requests are all or nothing as elsewhere, but not in one step: packets meet a flow-load or a
 * batch half done, and what fails is taken back step by step (a flow that comes back has its
 * statistics at zero). Deleting a datapath or a port can't be taken back, nor changing a meter, so in
 * a batch nothing but such steps may follow one, and all of them are looked up before the first is
 * done.
 */
import type { BatchRequest, ConfigMethod, Executor, MethodName, Methods } from "../api.ts";
import { refuse, toCommandError } from "../command_errors.ts";
import { checkParams } from "../params.ts";
import * as datapaths from "./datapaths.ts";
import { loadFlows } from "./flow_file.ts";
import * as flows from "./flows.ts";
import * as connections from "./connections.ts";
import * as limits from "./ct_limits.ts";
import { Kernel } from "./kernel.ts";
import * as meters from "./meters.ts";
import * as ports from "./ports.ts";
import { Undo } from "./undo.ts";

type Handler<M extends MethodName> = (
  params: Methods[M]["params"],
  undo: Undo,
) => Methods[M]["result"];
type Handlers<Names extends MethodName> = { readonly [M in Names]: Handler<M> };
/** Changes that can't be taken back: of a meter the kernel doesn't tell how it was set. */
type Final = "dp-del" | "port-del" | "meter-mod" | "meter-del";

export class SystemExecutor implements Executor {
  readonly savedOffline = false;
  #kernel: Kernel | undefined;

  /** Throws CommandError; then nothing of the request has been done, or the message says what has. */
  execute<M extends MethodName>(
    method: M,
    params: Methods[M]["params"],
  ): Promise<Methods[M]["result"]> {
    return Promise.resolve().then(() => {
      checkParams(method, params);
      const handler: Handler<M> | undefined = this.#handlers[method];
      if (handler === undefined) {
        refuse("EOPNOTSUPP", `${method} is nothing that a system datapath can do`);
      }
      const undo = new Undo();
      try {
        return handler(params, undo);
      } catch (error) {
        throw undo.rollback(error);
      }
    });
  }

  close(): void {
    this.#kernel?.close();
    this.#kernel = undefined;
  }

  /** Opened by the first request: its errors are a command's. */
  get #opened(): Kernel {
    return this.#kernel ??= Kernel.open();
  }

  #scope(dp: string | undefined, undo: Undo): flows.FlowScope {
    return flows.flowScope(this.#opened, dp, undo);
  }

  readonly #changes: Handlers<Exclude<ConfigMethod, Final>> = {
    "dp-add": (params, undo) => datapaths.addDatapath(this.#opened, params, undo),
    "dp-set": (params, undo) => datapaths.setDatapath(this.#opened, params, undo),
    "port-add": (params, undo) => ports.addPort(this.#opened, params, undo),
    "port-set": (params, undo) => ports.setPort(this.#opened, params, undo),
    "flow-add": (params, undo) => flows.addFlow(this.#scope(params.dp, undo), params),
    "flow-mod": (params, undo) => flows.modifyFlow(this.#scope(params.dp, undo), params),
    "flow-del": (params, undo) => flows.deleteFlow(this.#scope(params.dp, undo), params),
    "flow-flush": (params, undo) => flows.flushFlows(this.#scope(params.dp, undo)),
    "meter-add": (params, undo) => meters.addMeter(this.#opened, params, undo),
    "ct-limit-set": (params, undo) => limits.setLimits(this.#opened, params, undo),
    "ct-limit-del": (params, undo) => limits.deleteLimits(this.#opened, params, undo),
    "ct-maxconns-set": () => refuseSysctl("nf_conntrack_max"),
    "ct-timeout-set": () => refuseSysctl("nf_conntrack_*_timeout"),
    "ct-timeout-del": () => refuseSysctl("nf_conntrack_*_timeout"),
    "ct-set": () => refuseSysctl("nf_conntrack_tcp_be_liberal"),
  };

  /** Looks up what is to go and returns what deletes it. */
  readonly #deletions: {
    readonly [M in Final]: (params: Methods[M]["params"]) => () => Methods[M]["result"];
  } = {
    "dp-del": (params) => datapaths.prepareDeletion(this.#opened, params),
    "port-del": (params) => ports.prepareDeletion(this.#opened, params),
    "meter-mod": (params) => meters.prepareMeterChange(this.#opened, params),
    "meter-del": (params) => meters.prepareMeterDeletion(this.#opened, params),
  };

  readonly #handlers: Partial<Handlers<MethodName>> = {
    ...this.#changes,
    "dp-del": (params) => this.#deletions["dp-del"](params)(),
    "port-del": (params) => this.#deletions["port-del"](params)(),
    "meter-mod": (params) => this.#deletions["meter-mod"](params)(),
    "meter-del": (params) => this.#deletions["meter-del"](params)(),
    "meter-show": (params) => meters.showMeters(this.#opened, params),
    "ct-dump": (params) => connections.dumpConnections(this.#opened, params),
    "ct-exp-dump": (params) => connections.dumpExpected(this.#opened, params),
    "ct-flush": (params) => connections.flushConnections(this.#opened, params),
    "ct-stats": (params) => connections.connectionStats(this.#opened, params),
    "ct-limit-get": (params) => limits.showLimits(this.#opened, params),
    "ct-maxconns": (params) => limits.showConnectionsMax(this.#opened, params),
    "dp-list": () => datapaths.listDatapaths(this.#opened),
    "dp-show": (params) => datapaths.showDatapaths(this.#opened, params),
    "port-list": (params) => ports.listPorts(this.#opened, params),
    "flow-get": (params, undo) => flows.getFlow(this.#scope(params.dp, undo), params),
    "flow-dump": (params, undo) => flows.dumpFlows(this.#scope(params.dp, undo), params),
    "flow-load": ({ dp, text, replace = false }, undo) =>
      loadFlows(this.#scope(dp, undo), text, replace),
    "batch": ({ requests }, undo) => this.#batch(requests, undo),
    "upcalls": () =>
      refuse("EOPNOTSUPP", "upcalls of a system datapath go to the kernel's own listeners only"),
  };

  #batch(requests: readonly BatchRequest[], undo: Undo): Methods["batch"]["result"] {
    const deletions: { readonly line: number; readonly run: () => unknown }[] = [];
    for (const { line, method, params } of requests) {
      atLine(line, () => {
        checkParams(method, params);
        if (isFinal(method)) {
          deletions.push({ line, run: this.#prepare(method, params) });
        } else if (deletions.length > 0) {
          refuse(
            "EOPNOTSUPP",
            `${method} can't follow a deletion of a port or datapath of the kernel, or a change of ` +
              "a meter, which could not be taken back if it failed (put those last, or into a " +
              "batch of their own)",
          );
        } else this.#change(method, params, undo);
      });
    }
    for (const { line, run } of deletions) atLine(line, run);
    return { done: requests.length };
  }

  #change<M extends Exclude<ConfigMethod, Final>>(
    method: M,
    params: Methods[ConfigMethod]["params"],
    undo: Undo,
  ): void {
    checkParams(method, params);
    this.#changes[method](params, undo);
  }

  #prepare<M extends Final>(method: M, params: Methods[ConfigMethod]["params"]): () => unknown {
    checkParams(method, params);
    return this.#deletions[method](params);
  }
}

function isFinal(method: ConfigMethod): method is Final {
  return method === "dp-del" || method === "port-del" || method === "meter-mod" ||
    method === "meter-del";
}

function refuseSysctl(name: string): never {
  refuse(
    "EOPNOTSUPP",
    `the kernel's connection tracking is everybody's: sysctl net.netfilter.${name} changes it`,
  );
}

function atLine(line: number, work: () => unknown): void {
  try {
    work();
  } catch (error) {
    throw toCommandError(error, { line });
  }
}
