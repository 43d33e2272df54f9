/**
 * Golden text cases: a file of commands and of what they print, run against a real daemon with the
 * dummy class and, where a case stops it, a virtual clock.
 *
 *     # Anything after a # at the start of a line is for the reader.
 *     $ flow-add dp0 in_port(1) 2          a denovs command, words quoted as in a shell
 *     $ ctl time/warp 1000                 a method of the control socket, words as strings
 *     $ frames p2                          what the switch has sent to port p2 since last asked, hex
 *     $ start, $ stop, $ kill              the daemon
 *     what it printed, stdout before stderr; `exit N` last when N is not 0
 *
 * `DIR` in commands and output stands for the case's folder, `ROOT` for that of the sources, `UUID`
 * in output for any UFID.
 */
import { Denovs } from "../e2e/denovs.ts";
import { run } from "../e2e/process.ts";

const ROOT = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/** Words of a command line: blanks separate, single and double quotes join. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  for (
    const [, double, single, plain, gap] of line.matchAll(/"([^"]*)"|'([^']*)'|([^\s"']+)|(\s+)/g)
  ) {
    if (gap !== undefined || words.length === 0) words.push("");
    const text = double ?? single ?? plain ?? "";
    words[words.length - 1] += text;
    if (double === "" || single === "") words.push("");
  }
  return words.filter((word, i) => word !== "" || i < words.length - 1);
}

/** Runs all commands of a case; the text as it should be, with what they print now. */
export async function runCase(text: string): Promise<string> {
  const folder = Deno.makeTempDirSync({ prefix: "dnv-golden-" });
  const runner = new CaseRunner(new Denovs(folder), folder);
  try {
    const lines: string[] = [];
    for (const line of text.trimEnd().split("\n")) {
      if (line.startsWith("$ ")) {
        lines.push(line);
        lines.push(...await runner.command(line.slice(2)));
      } else if (line.startsWith("#") || line === "") lines.push(line);
      // Everything else is output of the last run.
    }
    return lines.join("\n") + "\n";
  } finally {
    await runner.close();
    Deno.removeSync(folder, { recursive: true });
  }
}

class CaseRunner {
  readonly #denovs: Denovs;
  readonly #folder: string;
  /** Bytes of each port's capture file that have been shown. */
  readonly #shown = new Map<string, number>();

  constructor(denovs: Denovs, folder: string) {
    this.#denovs = denovs;
    this.#folder = folder;
  }

  async close(): Promise<void> {
    await this.#denovs.end();
  }

  async command(line: string): Promise<string[]> {
    const words = splitWords(line.replaceAll("DIR", this.#folder).replaceAll("ROOT", ROOT));
    switch (words[0]) {
      case "start":
        await this.#denovs.start();
        return [];
      case "stop":
        await this.#denovs.end();
        return [];
      case "kill":
        await this.#denovs.kill9();
        return [];
      case "frames":
        return this.#frames(words[1] ?? "");
      case "ctl": {
        const done = await run(["ovs-appctl", "-t", this.#denovs.socket, ...words.slice(1)]);
        return this.#output({ ...done, stderr: done.stderr.replace(/^ovs-appctl: .*\n/m, "") });
      }
      default:
        return this.#output(await this.#denovs.try(words));
    }
  }

  #output(done: { code: number; stdout: string; stderr: string }): string[] {
    const text = (done.stdout + done.stderr).replaceAll(this.#folder, "DIR").replaceAll(
      ROOT,
      "ROOT",
    )
      .replace(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, "UUID")
      .replace(/\b[0-9a-f]{32}\b/g, "UUID");
    const lines = text === "" ? [] : text.replace(/\n$/, "").split("\n");
    if (done.code !== 0) lines.push(`exit ${done.code}`);
    // What a reader could take for a command or a comment is indented.
    return lines.map((line) => /^(\$ |#|$)/.test(line) ? ` ${line}` : line);
  }

  #frames(port: string): string[] {
    const path = `${this.#folder}/${port}.pcap`;
    const from = this.#shown.get(port) ?? 24;
    const { frames, end } = readPcap(Deno.readFileSync(path), from);
    this.#shown.set(port, end);
    return frames;
  }
}

/** Frames of a little- or big-endian pcap file from a byte offset on, as hex. */
export function readPcap(file: Uint8Array, from = 24): { frames: string[]; end: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const isLittle = [0xa1b2c3d4, 0xa1b23c4d].includes(view.getUint32(0, true));
  const frames: string[] = [];
  let at = from;
  while (at + 16 <= file.length) {
    const size = view.getUint32(at + 8, isLittle);
    frames.push(file.subarray(at + 16, at + 16 + size).toHex());
    at += 16 + size;
  }
  return { frames, end: at };
}
