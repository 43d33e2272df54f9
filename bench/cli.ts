/**
 * `deno task bench:cli [--runs 25]`: wall time of `denovs dp-list` against a running daemon, and of
 * an empty script started in the same form (from source; if dist/denovs exists, as executable).
 * Runs alternate; medians and ratios are printed. At most 2 is wanted.
 */
import { RUN_OPTIONS, VERSION } from "../daemon/version.ts";
import { Denovs } from "../tests/e2e/denovs.ts";
import { median, say, table } from "../tests/output.ts";
import { makeSelfExtractor } from "../tools/self_extractor.ts";
import { argument } from "./switches.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const EXE = `${ROOT}dist/denovs`;

interface Form {
  readonly name: string;
  readonly command: readonly string[];
  readonly empty: readonly string[];
}

async function timeOf(command: readonly string[], env: Record<string, string>): Promise<number> {
  const begin = performance.now();
  const done = await new Deno.Command(command[0] ?? "", {
    args: command.slice(1),
    env,
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (!done.success) {
    throw new Error(`${command.join(" ")}: ${new TextDecoder().decode(done.stderr)}`);
  }
  return performance.now() - begin;
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** An empty script in the form that dist/denovs has: self-extracting or compiled. */
async function emptyExecutable(folder: string, script: string): Promise<string[]> {
  const path = `${folder}/empty`;
  const version = await new Deno.Command(EXE, { args: ["version"] }).output();
  if (new TextDecoder().decode(version.stdout).includes("compiled")) {
    const options = ["compile", "--quiet", "-A", "--no-code-cache", "--output", path, script];
    const made = await new Deno.Command(Deno.execPath(), { args: options, cwd: folder }).output();
    if (!made.success) throw new Error(new TextDecoder().decode(made.stderr));
  } else {
    const whole = await makeSelfExtractor({
      version: VERSION,
      executable: Deno.readFileSync(Deno.execPath()),
      files: [{ name: "main.js", content: new Uint8Array(0) }],
      main: "main.js",
      runOptions: RUN_OPTIONS["self-extracting"],
    });
    Deno.writeFileSync(path, whole, { mode: 0o755 });
  }
  return [path];
}

async function main(): Promise<number> {
  const runs = Number(argument("runs", "25"));
  const folder = Deno.makeTempDirSync({ prefix: "dnv-cli-" });
  const script = `${folder}/empty.ts`;
  Deno.writeTextFileSync(script, "");
  const deno = [Deno.execPath(), "run", "-A", "--no-check", "--quiet"];
  const forms: Form[] = [{
    name: "source",
    command: [...deno, `${ROOT}main.ts`],
    empty: [...deno, script],
  }];
  const empty = isThere(EXE) ? await emptyExecutable(folder, script) : undefined;
  if (empty) forms.push({ name: "executable", command: [EXE], empty });
  const denovs = new Denovs(folder);
  try {
    await denovs.start();
    await denovs.cli("dp-add", "dummy@dp0");
    const times = forms.map((): { command: number[]; empty: number[] } => ({
      command: [],
      empty: [],
    }));
    for (let run = 0; run <= runs; run++) {
      for (const [i, form] of forms.entries()) {
        const bare = await timeOf(form.empty, denovs.env);
        const full = await timeOf([...form.command, "dp-list"], denovs.env);
        if (run > 0) times[i]?.empty.push(bare), times[i]?.command.push(full); // the first fills caches
      }
    }
    const rows = forms.map(({ name }, i) => {
      const command = median(times[i]?.command ?? []);
      const bare = median(times[i]?.empty ?? []);
      return [name, bare.toFixed(1), command.toFixed(1), (command / bare).toFixed(2)];
    });
    const head = ["form", ">empty script ms", ">dp-list ms", ">ratio"];
    for (const line of table(head, rows)) say(line);
    return 0;
  } finally {
    await denovs.end();
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.exit(await main());
