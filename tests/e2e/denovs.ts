/** The program under test: one daemon with its own state and socket, and clients of it. */
import assert from "node:assert/strict";
import { connect } from "../../daemon/client.ts";
import { assertDaemonBalanced } from "../../daemon/testing/balance.ts";
import { eventually, type Finished, run, signalTo } from "./process.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

/** How denovs is started: the sources under this Deno, or the executable of DENOVS_EXE. */
export function denovsCommand(): string[] {
  const exe = Deno.env.get("DENOVS_EXE");
  if (exe) return [exe.startsWith("/") ? exe : ROOT + exe];
  return [Deno.execPath(), "run", "-A", "--no-check", "--quiet", `${ROOT}main.ts`];
}

/** Packet threads that the tests ask for. */
export const THREADS: number = Number(Deno.env.get("DENOVS_TEST_THREADS") ?? "1");

export class Denovs {
  readonly #folder: string;
  /** Words in front of the daemon's command: where it runs. */
  readonly #inside: readonly string[];
  #child: Deno.ChildProcess | undefined;
  #exit: Promise<Deno.CommandStatus> | undefined;
  #log = "";
  /** Extra arguments of `run`. */
  runArgs: string[] = [];

  constructor(folder: string, inside: readonly string[] = []) {
    this.#folder = folder;
    this.#inside = inside;
  }

  get socket(): string {
    return `${this.#folder}/ctl`;
  }
  get state(): string {
    return `${this.#folder}/state.db`;
  }
  /** What the daemon has written to stderr. */
  log(): string {
    return this.#log;
  }

  /** Environment of daemon and clients: the default socket and state moved into the folder. */
  get env(): Record<string, string> {
    return {
      DENOVS_SOCKET: this.socket,
      DENOVS_STATE: this.state,
      LC_ALL: "C",
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
    };
  }

  /** Starts the daemon and returns at once; `prefix` are words before it, `taskset` say. */
  spawn(extra: readonly string[] = [], prefix: readonly string[] = []): Deno.ChildProcess {
    const words = [
      ...this.#inside,
      ...prefix,
      ...denovsCommand(),
      "run",
      "--threads",
      String(THREADS),
      ...this.runArgs,
      ...extra,
    ];
    const child = new Deno.Command(words[0] ?? "", {
      args: words.slice(1),
      env: this.env,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
      const decoder = new TextDecoder();
      for await (const bytes of stream) this.#log += decoder.decode(bytes, { stream: true });
    };
    collect(child.stdout);
    collect(child.stderr);
    this.#child = child;
    this.#exit = child.status;
    return child;
  }

  /** Starts the daemon and waits until it answers on its socket. */
  async start(extra: readonly string[] = [], prefix: readonly string[] = []): Promise<void> {
    this.spawn(extra, prefix);
    await this.ready();
  }

  /** Waits until the daemon answers. */
  async ready(): Promise<void> {
    let ended: Deno.CommandStatus | undefined;
    this.#exit?.then((status) => ended = status);
    await eventually("the daemon answers", async () => {
      if (ended) throw new Error(`the daemon ended with status ${ended.code}: ${this.#log}`);
      return await answers(this.socket);
    }, { timeoutMs: 20_000 });
  }

  /** Checks the accounts; SIGTERM (or another signal) and its exit status. */
  async end(signal: Deno.Signal = "SIGTERM"): Promise<number | undefined> {
    const child = this.#child;
    if (!child) return undefined;
    this.#child = undefined;
    try {
      await assertDaemonBalanced(this.socket);
    } finally {
      signalTo(child, signal);
      const timer = setTimeout(() => signalTo(child, "SIGKILL"), 8000);
      await child.status;
      clearTimeout(timer);
    }
    return (await child.status).code;
  }

  /** `kill -9`, and waits until it is gone. */
  async kill9(): Promise<void> {
    const child = this.#child;
    this.kill();
    await child?.status;
  }

  /** `kill -9`, without waiting. */
  kill(): void {
    if (this.#child) signalTo(this.#child, "SIGKILL");
    this.#child = undefined;
  }

  /** Exit status of the daemon when it ends by itself. */
  async exited(): Promise<number> {
    assert.ok(this.#exit);
    const { code } = await this.#exit;
    this.#child = undefined;
    return code;
  }

  get pid(): number {
    assert.ok(this.#child, "no daemon runs");
    return this.#child.pid;
  }

  /** Runs a client command, whatever comes of it. */
  try(args: readonly string[], input?: string): Promise<Finished> {
    return run([...denovsCommand(), ...args], {
      env: this.env,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** Runs a client command that must succeed; its stdout. */
  async cli(...args: string[]): Promise<string> {
    const done = await this.try(args);
    assert.equal(done.code, 0, `denovs ${args.join(" ")}: ${done.stderr}${done.stdout}`);
    return done.stdout;
  }

  /** Carries out configuration commands, one a line, all in one step. */
  async batch(lines: readonly string[]): Promise<void> {
    const done = await this.try(["batch", "-"], lines.join("\n") + "\n");
    assert.equal(done.code, 0, `denovs batch: ${done.stderr}${done.stdout}`);
  }

  /** Runs a client command that must be refused with exit status 1 and one line; that line. */
  async refused(...args: string[]): Promise<string> {
    const done = await this.try(args);
    assert.equal(
      done.code,
      1,
      `denovs ${args.join(" ")}: exit ${done.code}\n${done.stdout}${done.stderr}`,
    );
    assert.match(done.stderr, /^denovs: /);
    assert.equal(done.stdout, "");
    return done.stderr;
  }

  /** `flow-dump --json`, parsed. */
  async flows(dp = "br0"): Promise<DumpedFlow[]> {
    return JSON.parse(await this.cli("flow-dump", dp, "--json")).flows;
  }

  /** The flow whose text contains `part`. */
  async flow(part: string, dp = "br0"): Promise<DumpedFlow> {
    const flows = await this.flows(dp);
    const found = flows.find(({ flow }) => flow.includes(part));
    assert.ok(found, `no flow with ${part} among ${JSON.stringify(flows.map((f) => f.flow))}`);
    return found;
  }

  /** `dp-show --json` of one datapath. */
  async show(dp = "br0"): Promise<ShownDatapath> {
    const { datapaths } = JSON.parse(await this.cli("dp-show", "-s", "--json", dp));
    assert.equal(datapaths.length, 1);
    return datapaths[0];
  }
}

export interface DumpedFlow {
  ufid: string;
  flow: string;
  actions: string;
  packets: number;
  bytes: number;
  usedMs: number | null;
  tcpFlags: number;
}

export interface ShownDatapath {
  name: string;
  flows: number;
  counters: Record<string, number> & { drops: Record<string, number> };
  ports: {
    portNo: number;
    name: string;
    type: string;
    state: string;
    mac: string | null;
    reason: string | null;
    counters?: Record<string, number> & { drops: Record<string, number> };
  }[];
}

/** Whether a daemon answers what it can only answer when it has restored its state. */
async function answers(socket: string): Promise<boolean> {
  try {
    const client = await connect(socket);
    if (!client) return false;
    try {
      await client.execute("dp-list", {});
      return true;
    } finally {
      client.close();
    }
  } catch {
    return false;
  }
}
