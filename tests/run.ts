/**
 * `deno task test [KIND…]`: installs what the tests need, runs the kinds of test one after another,
 * prints a line per test and, at the end, each failure with the command that repeats it, then
 * `N passed, N failed, N skipped`. Exit status 0 only if nothing failed.
 *
 * The kinds are the entries of kinds.ts; an argument selects those whose name is the argument
 * or begins with it and a dash. Tests are found by place, never listed here.
 */
import { oldDeno } from "../daemon/version.ts";
import { type Kind, KINDS } from "./kinds.ts";
import { parseTap, type TestResult } from "./tap.ts";
import { say, warn } from "./output.ts";
import { installMissing } from "./packages.ts";

interface Failure {
  readonly file: string;
  readonly title: string;
  readonly message: string;
  readonly repeat: string;
}

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  readonly failures: Failure[];
  readonly skips: string[];
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function environmentPrefix(kind: Kind): string {
  return Object.entries(kind.env ?? {}).map(([k, v]) => `${k}=${v} `).join("");
}

/** The command a person types to run one test, or one file, of a kind again. */
function repeatCommand(kind: Kind, file?: string, test?: string): string {
  if (kind.command) return `${environmentPrefix(kind)}deno ${kind.command.slice(1).join(" ")}`;
  const words = ["deno", "test", ...(kind.permissions ?? ["-A"])];
  if (test) words.push("--filter", test);
  words.push(...(file ? [file] : kind.paths ?? []));
  return environmentPrefix(kind) + words.map(quote).join(" ");
}

function record(tally: Tally, kind: Kind, result: TestResult): void {
  const title = `${result.file || kind.name} ${result.name}`.trim();
  const time = result.durationMs < 1000 ? "" : ` (${(result.durationMs / 1000).toFixed(1)} s)`;
  if (result.status === "skipped") {
    tally.skipped++;
    const reason = /\[(needs|skipped)[^\]]*\]/.test(result.name)
      ? ""
      : Deno.uid() === 0
      ? " [ignored by the test]"
      : " [needs root]";
    tally.skips.push(title + reason);
    say(`skip    ${title}${reason}`);
  } else if (result.status === "ok") {
    tally.passed++;
    say(`ok      ${title}${time}`);
  } else {
    tally.failed++;
    say(`FAILED  ${title}${time}`);
    tally.failures.push({
      file: result.file,
      title: `${kind.name}: ${title}`,
      message: result.message,
      repeat: repeatCommand(kind, result.file, result.name),
    });
  }
}

/** Longest a kind may take before it is stopped, milliseconds. */
const KIND_TIMEOUT_MS = 420_000;

function start(kind: Kind, args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(args[0] ?? "", {
    args: args.slice(1),
    env: {
      ...kind.env,
      DENO_JOBS: String(kind.jobs ?? 1),
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function runKind(kind: Kind, tally: Tally): Promise<void> {
  const begin = performance.now();
  say(`\n## ${kind.name}: ${kind.about}`);
  if (kind.command) await runProgram(kind, kind.command, tally);
  else await runTests(kind, tally);
  say(`   ${((performance.now() - begin) / 1000).toFixed(1)} s`);
}

/** A program is one test: its exit status. */
async function runProgram(kind: Kind, command: readonly string[], tally: Tally): Promise<void> {
  const begin = performance.now();
  const { code, signal, text } = await finish(start(kind, command));
  record(tally, kind, {
    file: kind.name,
    name: command.slice(1).join(" "),
    status: code === 0 ? "ok" : "failed",
    message: `${how(code, signal)}\n${lastLines(text)}`,
    durationMs: performance.now() - begin,
  });
}

async function runTests(kind: Kind, tally: Tally): Promise<void> {
  const paths = (kind.paths ?? []).filter(exists);
  const failedBefore = tally.failed;
  const { ok, seen, message } = await runFiles(kind, paths, tally);
  if (ok) return;
  // Files that run side by side leave no names: what failed is known, what else there is isn't.
  if (kind.jobs !== undefined && tally.failed > failedBefore) return;
  await explain(kind, tally);
  // A file that fails outside its tests leaves no trace in TAP, and may keep others from running:
  // files that were not seen run alone.
  for (const file of paths.flatMap(testFiles).filter((file) => !seen.has(file))) {
    const alone = await runFiles(kind, [file], tally);
    if (alone.ok || alone.seen.has(file)) continue;
    const { text } = await finish(start(kind, [...denoTest(kind), file]));
    record(tally, kind, {
      file,
      name: "",
      status: "failed",
      message: lastLines(text),
      durationMs: 0,
    });
  }
  if (tally.failed > failedBefore) return;
  record(tally, kind, { file: "", name: "", status: "failed", message, durationMs: 0 });
}

/**
 * An error outside any test ends the rest of its file, without a word in TAP: the file runs once
 * more with a reporter that shows it.
 */
async function explain(kind: Kind, tally: Tally): Promise<void> {
  const at = tally.failures.findIndex(({ message }) => message === "");
  const failure = tally.failures[at];
  const file = failure?.file;
  if (!failure || !file) return;
  const { code, text } = await finish(start(kind, [...denoTest(kind), file]));
  const again = code === 0 ? "An error outside the test; run alone, the file passes." : text;
  tally.failures[at] = { ...failure, message: lastLines(again) };
}

function denoTest(kind: Kind): string[] {
  const flags = ["--no-check", "--quiet", "--permit-no-files", ...(kind.permissions ?? ["-A"])];
  if (kind.jobs !== undefined) flags.push("--parallel");
  return [Deno.execPath(), "test", ...flags];
}

/** One `deno test` over files and folders: whether it ended well, and of which files results came. */
async function runFiles(
  kind: Kind,
  paths: readonly string[],
  tally: Tally,
): Promise<{ ok: boolean; seen: Set<string>; message: string }> {
  const child = start(kind, [...denoTest(kind), "--reporter=tap", ...paths]);
  const timer = setTimeout(() => stop(child), KIND_TIMEOUT_MS);
  const stderr = new Response(child.stderr).text();
  const seen = new Set<string>();
  for await (const result of parseTap(child.stdout)) {
    seen.add(result.file);
    record(tally, kind, result);
  }
  const { code, signal } = await child.status;
  clearTimeout(timer);
  return { ok: code === 0, seen, message: `${how(code, signal)}\n${lastLines(await stderr)}` };
}

function how(code: number, signal: string | null): string {
  return signal === null ? `exit status ${code}` : `ended by ${signal}`;
}

function lastLines(text: string): string {
  return text.trim().split("\n").slice(-40).join("\n");
}

async function finish(
  child: Deno.ChildProcess,
): Promise<{ code: number; signal: string | null; text: string }> {
  const timer = setTimeout(() => stop(child), KIND_TIMEOUT_MS);
  const { code, signal, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const decoder = new TextDecoder();
  return { code, signal, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** Files named `*_test.ts` at or below a path. */
function testFiles(path: string): string[] {
  if (Deno.statSync(path).isFile) return [path];
  const folder = path.replace(/\/$/, "");
  return [...Deno.readDirSync(folder)].flatMap((entry) => {
    const name = `${folder}/${entry.name}`;
    return entry.isDirectory ? testFiles(name) : entry.name.endsWith("_test.ts") ? [name] : [];
  });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Asks a child to end, and ends it five seconds later. */
function stop(child: Deno.ChildProcess): void {
  warn(`tests: stopped after ${KIND_TIMEOUT_MS / 1000} s`);
  try {
    child.kill("SIGTERM");
    setTimeout(() => {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended meanwhile.
      }
    }, 5000);
  } catch {
    // It has ended meanwhile.
  }
}

function select(args: readonly string[]): Kind[] {
  if (args.length === 0) return KINDS.filter((kind) => kind.byDefault);
  const chosen = KINDS.filter((kind) =>
    args.some((arg) => kind.name === arg || kind.name.startsWith(arg + "-"))
  );
  for (const arg of args) {
    if (!KINDS.some((kind) => kind.name === arg || kind.name.startsWith(arg + "-"))) {
      warn(`tests: no kind "${arg}" (there are: ${KINDS.map((kind) => kind.name).join(" ")})`);
      Deno.exit(2);
    }
  }
  return chosen;
}

/** Kinds that use devices, tools of other packages or a C compiler. */
function needsTools(kind: Kind): boolean {
  return /^(unit$|oracle|faults|e2e|golden)/.test(kind.name);
}

async function main(): Promise<number> {
  const complaint = oldDeno();
  if (complaint !== undefined) {
    warn(`deno task test ${complaint}`);
    return 1;
  }
  const args = Deno.args.filter((arg) => arg !== "--");
  if (args.includes("--help")) {
    for (const kind of KINDS) say(`${kind.name.padEnd(20)} ${kind.about}`);
    return 0;
  }
  const kinds = select(args);
  Deno.chdir(new URL("..", import.meta.url));
  const problem = kinds.some(needsTools) ? await installMissing() : undefined;
  if (problem !== undefined) {
    warn(`tests: ${problem}`);
    return 1;
  }
  let interrupted = false;
  Deno.addSignalListener("SIGINT", () => interrupted = true); // children get it from the terminal and clean up
  const tally: Tally = { passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  for (const kind of kinds) {
    if (interrupted) break;
    await runKind(kind, tally);
  }
  if (tally.skips.length > 0) {
    say(`\nSkipped${Deno.uid() === 0 ? "" : " (not root)"}:`);
    for (const skip of tally.skips) say(`  ${skip}`);
  }
  for (const failure of tally.failures) {
    say(`\n---- ${failure.title}`);
    say(failure.message.replace(/^/gm, "  "));
    say(`  repeat: ${failure.repeat}`);
  }
  say();
  say(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
  return interrupted ? 130 : tally.failed === 0 ? 0 : 1;
}

Deno.exit(await main());
