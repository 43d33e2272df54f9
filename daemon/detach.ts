/**
 * `run --detach`: the program starts itself again in a session of its own and returns when that one
 * says that it is ready, or passes on why it is not. The child says so on its standard output.
 */
import { CommandError } from "./api.ts";
import { selfCommand } from "./version.ts";

/** Set in the child's environment. */
const CHILD_MARK = "DENOVS_DETACHED";
const READY = "ready\n";

/** Whether this process is the one in the background. */
export function isDetachedChild(): boolean {
  return Deno.env.get(CHILD_MARK) === "1";
}

/** In the child: the switch runs. */
export function reportReady(): void {
  Deno.env.delete(CHILD_MARK);
  try {
    Deno.stdout.writeSync(new TextEncoder().encode(READY));
  } catch {
    // The parent has gone; the switch runs all the same.
  }
}

/**
 * Starts the child with the same arguments. Returns its exit status when it ended before it was
 * ready (it has said why on standard error, which is passed on), else 0.
 */
export async function startDetached(mainUrl: string, args: readonly string[]): Promise<number> {
  const [program, ...before] = selfCommand(mainUrl);
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program, {
      args: [...before, ...args],
      env: { [CHILD_MARK]: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError("EIO", `cannot start ${program} in the background: ${reason}`);
  }
  const passedOn = passOn(child.stderr);
  if (await readAll(child.stdout) === READY) {
    child.unref();
    return 0;
  }
  await passedOn;
  const { code } = await child.status;
  return code === 0 ? 1 : code;
}

/** Everything up to the end, or to the line that says ready. */
async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    text += decoder.decode(bytes, { stream: true });
    if (text.endsWith(READY)) return READY;
  }
  return text;
}

async function passOn(stream: ReadableStream<Uint8Array>): Promise<void> {
  try {
    for await (const bytes of stream) {
      for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
    }
  } catch {
    // Nobody to tell.
  }
}
