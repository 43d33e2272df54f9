/**
 * `deno task test [--quick] [KIND…]`: installs what the tests need, runs the kinds of test one after
 * another, prints a line per test and, at the end, each failure with the command that repeats it, then
 * `N passed, N failed, N skipped`. Exit status 0 only if nothing failed. With --quick properties are
 * tried on a tenth of the cases (datapath/testing/cases.ts).
 *
 * The files of a kind with several jobs are dealt out to that many `deno test` at a time, a few each:
 * its own --parallel does not say which file a result is of.
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
  message: string;
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

/** Counts and prints a result. Returns the failure, if it is one. */
function record(tally: Tally, kind: Kind, result: TestResult): Failure | undefined {
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
    const failure = {
      file: result.file,
      title: `${kind.name}: ${title}`,
      message: result.message,
      repeat: repeatCommand(kind, result.file, result.name),
    };
    tally.failures.push(failure);
    return failure;
  }
  return undefined;
}

/** Longest a `deno test` or program may take before it is stopped, milliseconds. */
const KIND_TIMEOUT_MS = 420_000;

/** A job of a kind with several gets this share of its files at a time, so that all end together. */
const DEAL_SHARE = 1 / 8;
const QUICK = "--quick";

function start(kind: Kind, args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(args[0] ?? "", {
    args: args.slice(1),
    env: {
      ...kind.env,
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function runKind(kind: Kind, tally: Tally, isQuick: boolean): Promise<void> {
  const begin = performance.now();
  say(`\n## ${kind.name}: ${kind.about}`);
  if (kind.command) await runProgram(kind, kind.command, tally);
  else await runTests(kind, tally, isQuick);
  say(`   ${kind.name}: ${((performance.now() - begin) / 1000).toFixed(1)} s`);
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

async function runTests(kind: Kind, tally: Tally, isQuick: boolean): Promise<void> {
  const { paths = [], except = [], jobs = 1 } = kind;
  const files = paths.filter(exists).flatMap(testFiles)
    .filter((file) => !except.some((each) => file.startsWith(each)));
  const extra = isQuick ? ["--", QUICK] : [];
  const hand = jobs === 1 ? files.length : Math.ceil(files.length / jobs * DEAL_SHARE);
  const work = async (): Promise<void> => {
    for (let dealt = files.splice(0, hand); dealt.length > 0; dealt = files.splice(0, hand)) {
      await runDealt(kind, dealt, extra, tally);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
}

/** Some files of a kind: what ends badly without a failed test is a failure as well. */
async function runDealt(
  kind: Kind,
  files: readonly string[],
  extra: readonly string[],
  tally: Tally,
): Promise<void> {
  const { ok, seen, failed, message } = await runFiles(kind, files, extra, tally);
  if (ok) return;
  for (const failure of failed) await explain(kind, failure, extra);
  // A file that fails outside its tests leaves no trace in TAP, and may keep others from running:
  // files that were not seen run alone.
  let failures = failed.length;
  for (const file of files.filter((each) => !seen.has(each))) {
    const alone = await runFiles(kind, [file], extra, tally);
    failures += alone.failed.length;
    if (alone.ok || alone.seen.has(file)) continue;
    const { text } = await finish(start(kind, [...denoTest(kind), file, ...extra]));
    failures++;
    record(tally, kind, {
      file,
      name: "",
      status: "failed",
      message: lastLines(text),
      durationMs: 0,
    });
  }
  if (failures > 0) return;
  record(tally, kind, { file: "", name: "", status: "failed", message, durationMs: 0 });
}

/**
 * An error outside any test ends the rest of its file, without a word in TAP: the file runs once
 * more with a reporter that shows it.
 */
async function explain(kind: Kind, failure: Failure, extra: readonly string[]): Promise<void> {
  const { file } = failure;
  if (failure.message !== "" || file === "") return;
  const { code, text } = await finish(start(kind, [...denoTest(kind), file, ...extra]));
  const again = code === 0 ? "An error outside the test; run alone, the file passes." : text;
  failure.message = lastLines(again);
}

function denoTest(kind: Kind): string[] {
  const flags = ["--no-check", "--quiet", "--permit-no-files", ...(kind.permissions ?? ["-A"])];
  return [Deno.execPath(), "test", ...flags];
}

/** What one `deno test` over some files gave: whether it ended well, the files that results came of, the failures. */
interface Run {
  readonly ok: boolean;
  readonly seen: ReadonlySet<string>;
  readonly failed: readonly Failure[];
  readonly message: string;
}

async function runFiles(
  kind: Kind,
  files: readonly string[],
  extra: readonly string[],
  tally: Tally,
): Promise<Run> {
  const child = start(kind, [...denoTest(kind), "--reporter=tap", ...files, ...extra]);
  const timer = setTimeout(() => stop(child), KIND_TIMEOUT_MS);
  const stderr = new Response(child.stderr).text();
  const seen = new Set<string>();
  const failed: Failure[] = [];
  for await (const result of parseTap(child.stdout)) {
    seen.add(result.file);
    const failure = record(tally, kind, result);
    if (failure !== undefined) failed.push(failure);
  }
  const { code, signal } = await child.status;
  clearTimeout(timer);
  const message = `${how(code, signal)}\n${lastLines(await stderr)}`;
  return { ok: code === 0, seen, failed, message };
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
  return /^(unit$|live|oracle|faults|e2e|golden)/.test(kind.name);
}

async function main(): Promise<number> {
  const complaint = oldDeno();
  if (complaint !== undefined) {
    warn(`deno task test ${complaint}`);
    return 1;
  }
  const isQuick = Deno.args.includes(QUICK);
  const args = Deno.args.filter((arg) => arg !== "--" && arg !== QUICK);
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
  const beside = kinds.filter((kind) => kind.beside).map((kind) => runKind(kind, tally, isQuick));
  for (const kind of kinds) {
    if (interrupted) break;
    if (kind.beside !== true) await runKind(kind, tally, isQuick);
  }
  await Promise.all(beside);
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
