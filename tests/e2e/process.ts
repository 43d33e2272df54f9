/** Child processes of the end-to-end tests: run to the end with a limit, or in the background. */

export interface Finished {
  /** Exit status; 128 + signal when a signal ended it, −1 when it could not be started. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Still running, with the words of their command line and environment. */
const running = new Map<Deno.ChildProcess, string>();

/** Runs a command to its end; after `timeoutMs` (30 s) it is killed, which shows as code 137. */
export async function run(
  command: readonly string[],
  options: { timeoutMs?: number; input?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<Finished> {
  const [program = "", ...args] = command;
  const child = new Deno.Command(program, {
    args,
    stdin: options.input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    env: { LC_ALL: "C", NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env },
  }).spawn();
  running.set(child, [...command, ...Object.values(options.env ?? {})].join(" "));
  const timer = setTimeout(() => signalTo(child, "SIGKILL"), options.timeoutMs ?? 30_000);
  try {
    if (options.input !== undefined) {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(options.input)).catch(() => {});
      await writer.close().catch(() => {});
    }
    const done = await child.output();
    const decoder = new TextDecoder();
    return {
      code: done.code,
      stdout: decoder.decode(done.stdout),
      stderr: decoder.decode(done.stderr),
    };
  } finally {
    clearTimeout(timer);
    running.delete(child);
  }
}

/** Starts a command in the background, its output discarded unless `output` is set. */
export function spawn(
  command: readonly string[],
  options: { input?: boolean; output?: boolean } = {},
): Deno.ChildProcess {
  const [program = "", ...args] = command;
  const child = new Deno.Command(program, {
    args,
    stdin: options.input ? "piped" : "null",
    stdout: options.output ? "piped" : "null",
    stderr: options.output ? "piped" : "null",
    env: { LC_ALL: "C", NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
  }).spawn();
  running.set(child, command.join(" "));
  child.status.then(() => running.delete(child));
  return child;
}

/** Sends a signal; one that has ended already is no error. */
export function signalTo(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended.
  }
}

/** Kills what still runs and has `word` in its command line or environment. */
export function stopAll(word: string): void {
  for (const [child, line] of running) if (line.includes(word)) signalTo(child, "SIGKILL");
}

/** Asks `probe` every `everyMs` until it gives something other than undefined and false. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  options: { timeoutMs?: number; everyMs?: number } = {},
): Promise<T> {
  const { timeoutMs = 10_000, everyMs = 50 } = options;
  const end = performance.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`did not happen within ${timeoutMs} ms: ${what}`);
    await new Promise((wake) => setTimeout(wake, everyMs));
  }
}
