/** Files named on the command line, `-` for standard input. */
import { CommandError } from "../daemon/api.ts";

/** @throws CommandError when the file can't be read or is not UTF-8. */
export async function readInput(path: string): Promise<string> {
  const where = path === "-" ? "standard input" : path;
  let bytes: Uint8Array;
  try {
    bytes = path === "-"
      ? new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer())
      : await Deno.readFile(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : (error as Error).message;
    throw new CommandError("EIO", `cannot read ${where}: ${reason}`, { cause: error });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new CommandError("EINVAL", `cannot read ${where}: it is not text in UTF-8`);
  }
}
