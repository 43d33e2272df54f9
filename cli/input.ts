/** Files named on the command line, `-` for standard input. */
import { CommandError } from "../daemon/api.ts";

/** @throws CommandError when the file can't be read or is not UTF-8. */
export async function readInput(path: string): Promise<string> {
  const bytes = await readBytes(path);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new CommandError("EINVAL", `cannot read ${nameOf(path)}: it is not text in UTF-8`);
  }
}

/** @throws CommandError when the file can't be read. */
export async function readBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return path === "-"
      ? new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer())
      : await Deno.readFile(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : (error as Error).message;
    throw new CommandError("EIO", `cannot read ${nameOf(path)}: ${reason}`, { cause: error });
  }
}

function nameOf(path: string): string {
  return path === "-" ? "standard input" : path;
}
