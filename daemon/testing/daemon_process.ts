/** A daemon as a child process, with a state and a socket of its own, for tests. */
import { connect, type OpenExecutor, reach } from "../client.ts";
import { assertDaemonBalanced } from "./balance.ts";

const MAIN = new URL("../../main.ts", import.meta.url).href;
const START_TIMEOUT_MS = 20_000;

/** The program's command line in front of its arguments. */
export const PROGRAM: readonly [string, ...string[]] = [
  Deno.execPath(),
  ...["run", "-A", "--no-check", "--quiet", MAIN],
];

export class DaemonProcess {
  readonly directory: string;
  readonly socket: string;
  readonly state: string;
  #child: Deno.ChildProcess | undefined;
  #stderr: Promise<string> | undefined;

  constructor(directory: string, state = `${directory}/state.db`) {
    this.directory = directory;
    this.socket = `${directory}/ctl`;
    this.state = state;
  }

  get pid(): number {
    return this.#child!.pid;
  }

  /** Arguments of `run` for this state and socket. */
  get runArguments(): string[] {
    const threads = Deno.env.get("DENOVS_TEST_THREADS") ?? "1";
    return ["run", "--socket", this.socket, "--state", this.state, "--threads", threads];
  }

  /** Starts the child and returns at once. */
  spawn(extra: readonly string[] = [], env: Record<string, string> = {}): void {
    const [program, ...before] = PROGRAM;
    this.#child = new Deno.Command(program, {
      args: [...before, ...this.runArguments, ...extra],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      env: { NO_COLOR: "1", ...env },
    }).spawn();
    this.#stderr = new Response(this.#child.stderr).text();
  }

  /** Starts the child and waits until it answers. */
  async start(extra: readonly string[] = [], env: Record<string, string> = {}): Promise<void> {
    this.spawn(extra, env);
    let ended = false;
    this.#child!.status.then(() => ended = true);
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!ended && performance.now() < deadline) {
      const client = await connect(this.socket);
      if (client !== undefined) {
        await client.execute("version", {});
        client.close();
        return;
      }
      await new Promise((done) => setTimeout(done, 10));
    }
    throw new Error(`the daemon does not start: ${(await this.end("SIGKILL")).stderr}`);
  }

  /** A connection to the daemon, which must answer. */
  async client(): Promise<OpenExecutor> {
    const client = await connect(this.socket);
    if (client === undefined) throw new Error("no daemon answers");
    return client;
  }

  /** The daemon, or the saved state, as a command would reach it. */
  reach(): OpenExecutor {
    return reach({ socket: this.socket, state: this.state });
  }

  /** Checks the accounts, sends a signal, and waits for the end. */
  async end(signal: Deno.Signal = "SIGTERM"): Promise<{ code: number; stderr: string }> {
    const child = this.#child;
    if (child === undefined) return { code: 0, stderr: "" };
    this.#child = undefined;
    try {
      await assertDaemonBalanced(this.socket);
    } finally {
      try {
        child.kill(signal);
      } catch {
        // It has ended already.
      }
      await child.status;
    }
    return { code: (await child.status).code, stderr: await this.#stderr! };
  }

  /** Waits for the end that comes by itself. */
  async ended(): Promise<{ code: number; stderr: string }> {
    const child = this.#child!;
    this.#child = undefined;
    return { code: (await child.status).code, stderr: await this.#stderr! };
  }
}

/** Runs `work` with a directory and a daemon that is not started yet; ends and removes both. */
export async function withDaemon(work: (daemon: DaemonProcess) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "denovs-" });
  const daemon = new DaemonProcess(directory);
  try {
    await work(daemon);
  } finally {
    await daemon.end("SIGKILL").finally(() => Deno.remove(directory, { recursive: true }));
  }
}
