/**
 * The methods of the control socket. Those named like verbs take one object and return one; those
 * of Open vSwitch's unixctl take strings and return text, so that `ovs-appctl -t SOCKET` can call
 * them. `version` and `list-commands` are both: an object asks for the one, strings for the other.
 */
import { CommandError, type Executor, type Methods } from "./api.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import { UsageError } from "./dpctl.ts";
import { DPCTL_COMMANDS, runDpctl } from "./dpctl_methods.ts";
import type { StreamClient } from "./control_socket.ts";
import type { Log } from "./log.ts";
import { checkParams, isMethod } from "./params.ts";
import { VERSION } from "./version.ts";

/** The clock's controls. */
export interface ClockControl {
  stop(): void;
  warp(ms: number): void;
}

export interface UnixctlOptions {
  readonly executor: Executor;
  readonly log: Log;
  readonly clock: ClockControl;
  /** Resolves when the packet threads have seen the clock move and have no work left. */
  readonly settle: () => Promise<void>;
  /** Each gives a client what comes until it has had enough. Absent: there is nothing to be had. */
  readonly streams?: {
    readonly [M in StreamMethod]: (
      params: Methods[M]["params"],
      client: StreamClient,
    ) => Promise<Methods[M]["result"]>;
  };
}

/** Methods that are answered bit by bit. */
type StreamMethod = "upcalls" | "capture" | "trace-live";

interface TextMethod {
  readonly usage: string;
  /** Fewest and most arguments. */
  readonly count: readonly [number, number];
  readonly run: (args: readonly string[]) => string | Promise<string>;
}

/** An answer: a result, or an error as an object (methods with objects) or text (with strings). */
export interface Answer {
  readonly result: unknown;
  readonly error: unknown;
}

/** Most that one step of `time/warp` moves the clock when no step is given. */
const WARP_MS_MAX = 2 ** 40;

export class Unixctl {
  readonly #executor: Executor;
  readonly #methods: ReadonlyMap<string, TextMethod>;
  readonly #streams: UnixctlOptions["streams"];

  constructor(options: UnixctlOptions) {
    this.#executor = options.executor;
    this.#streams = options.streams;
    this.#methods = new Map(textMethods(options));
  }

  /** Carries out one request. `client`: who gets what is streamed; absent: nothing can be. Never throws. */
  async call(
    method: string,
    params: readonly unknown[],
    client?: StreamClient,
  ): Promise<Answer> {
    if (params.length > 0 && params.every((one) => typeof one === "string")) {
      return await this.#callText(method, params);
    }
    if (params.length === 0 && (this.#methods.has(method) || !isMethod(method))) {
      return await this.#callText(method, []);
    }
    try {
      if (!isMethod(method)) refuse("EINVAL", `there is no method "${method}" with an object`);
      if (params.length > 1) refuse("EINVAL", `${method} takes one object`);
      const object = (params[0] ?? {}) as never;
      const streams = this.#streams;
      if (streams !== undefined && client !== undefined && Object.hasOwn(streams, method)) {
        checkParams(method, object);
        return { result: await streams[method as StreamMethod](object, client), error: null };
      }
      return { result: await this.#executor.execute(method, object), error: null };
    } catch (error) {
      return { result: null, error: errorObject(toCommandError(error)) };
    }
  }

  async #callText(method: string, args: readonly string[]): Promise<Answer> {
    const found = this.#methods.get(method);
    try {
      if (found === undefined) {
        const hint = `use "list-commands" to see a list of valid commands`;
        throw new UsageError(`"${method}" is not a valid command (${hint})`);
      }
      const [least, most] = found.count;
      if (args.length < least) {
        throw new UsageError(`"${method}" command requires at least ${least} arguments`);
      }
      if (args.length > most) {
        throw new UsageError(`"${method}" command takes at most ${most} arguments`);
      }
      return { result: await found.run(args), error: null };
    } catch (error) {
      return { result: null, error: errorText(error) };
    }
  }
}

function errorObject({ code, message, caret, line }: CommandError): Record<string, unknown> {
  return { code, message, caret, line };
}

function errorText(error: unknown): string {
  if (error instanceof UsageError) return `${error.message}\n`;
  const { message, caret, line } = toCommandError(error);
  const where = line === undefined ? "" : `line ${line}: `;
  return `${where}${message}\n${caret === undefined ? "" : `${caret}\n`}`;
}

function* textMethods(options: UnixctlOptions): Generator<[string, TextMethod]> {
  const { executor, log, clock, settle } = options;
  const methods = new Map<string, TextMethod>();
  for (const [name, { usage }] of DPCTL_COMMANDS) {
    const run = (args: readonly string[]): Promise<string> => runDpctl(name, args, executor);
    // How many words a command takes is checked behind its options.
    methods.set(`dpctl/${name}`, { usage, count: [0, Infinity], run });
  }
  methods.set("exit", {
    usage: "[--cleanup]",
    count: [0, 1],
    run: async () => {
      await executor.execute("stop", {});
      return "";
    },
  });
  methods.set("list-commands", {
    usage: "",
    count: [0, 0],
    run: () => listCommands(methods),
  });
  methods.set("version", { usage: "", count: [0, 0], run: () => `denovs ${VERSION}\n` });
  methods.set("netdev-dummy/receive", {
    usage: "name packet|flow [--len packet_len]",
    count: [2, Infinity],
    run: (args) => receive(executor, args),
  });
  methods.set("time/stop", {
    usage: "",
    count: [0, 0],
    run: () => {
      clock.stop();
      return "";
    },
  });
  methods.set("time/warp", {
    usage: "[large_msecs] msecs",
    count: [1, 2],
    run: (args) => warp(clock, settle, args),
  });
  methods.set("vlog/list", { usage: "", count: [0, 0], run: () => log.list() });
  methods.set("vlog/set", {
    usage: "{spec | module[:destination[:level]]}",
    count: [1, Infinity],
    run: (args) => {
      for (const setting of args) log.set(setting);
      return "";
    },
  });
  methods.set("vlog/reopen", {
    usage: "",
    count: [0, 0],
    run: () => {
      log.reopen();
      return "";
    },
  });
  yield* methods;
}

function listCommands(methods: ReadonlyMap<string, TextMethod>): string {
  const lines = [...methods].sort(([a], [b]) => a < b ? -1 : 1).map(([name, { usage }]) =>
    `  ${name.padEnd(23)} ${usage}`.trimEnd()
  );
  return `The available commands are:\n${lines.join("\n")}\n`;
}

/** `NAME FRAME… [--len N]`, the length standing behind the frame that it is for, as in OVS. */
async function receive(executor: Executor, args: readonly string[]): Promise<string> {
  const port = args[0]!;
  for (let at = 1; at < args.length; at++) {
    const frame = args[at]!;
    let size: number | undefined;
    if (args[at + 1] === "--len") {
      size = parseMilliseconds(args[at + 2], "a length in bytes");
      at += 2;
    }
    await executor.execute("netdev-dummy/receive", { port, frames: [frame], size });
  }
  return "";
}

/** `[LARGE] MS`: moves the clock by MS, or by LARGE in steps of MS. Timers get their turn at each step. */
async function warp(
  clock: ClockControl,
  settle: () => Promise<void>,
  args: readonly string[],
): Promise<string> {
  const stepMs = parseMilliseconds(args.at(-1), "milliseconds");
  const totalMs = args.length === 2 ? parseMilliseconds(args[0], "milliseconds") : stepMs;
  for (let leftMs = totalMs; leftMs > 0; leftMs -= stepMs) {
    clock.warp(Math.min(stepMs, leftMs));
    await settle();
  }
  return "warped\n";
}

function parseMilliseconds(text: string | undefined, what: string): number {
  const number = text !== undefined && /^\d{1,13}$/.test(text) ? Number(text) : NaN;
  if (!(number > 0 && number <= WARP_MS_MAX)) {
    throw new CommandError("EINVAL", `"${text ?? ""}" is not ${what}`);
  }
  return number;
}
