/**
 * `deno task build`: makes dist/denovs, one file that runs without an installed Deno.
 *
 * With a denort (DENORT_BIN, a zip that lies in $DENO_DIR/dl, or Deno's download host) it is made by
 * `deno compile`; else it is a shell script with the Deno executable and the bundle behind it
 * (tools/self_extractor.ts). `--form compiled|self-extracting` insists on one of them.
 */
import { type ExecutableForm, oldDeno, RUN_OPTIONS, VERSION } from "../daemon/version.ts";
import { makeSelfExtractor } from "./self_extractor.ts";

const FORM_MARK = "denovs-executable-form:source";
const DOWNLOAD_HOST = "https://dl.deno.land";
const PROBE_TIMEOUT_MS = 3_000;
const COMPILE_TIMEOUT_MS = 300_000;

type BuiltForm = Exclude<ExecutableForm, "source">;

if (import.meta.main) Deno.exit(await build(Deno.args));

/** Builds; returns the exit status. */
async function build(args: readonly string[]): Promise<number> {
  const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
  const complaint = oldDeno();
  if (complaint !== undefined) {
    say(`deno task build ${complaint}`);
    return 1;
  }
  const wanted = readForm(args);
  if (wanted === null) {
    say("usage: deno task build [--form compiled|self-extracting]");
    return 2;
  }
  const target = `${root}dist/denovs`;
  await Deno.mkdir(`${root}dist`, { recursive: true });
  const work = await Deno.makeTempDir({ dir: `${root}dist`, prefix: ".build-" });
  try {
    await bundle(root, work);
    const form = await makeExecutable(wanted, work, `${work}/denovs`);
    await Deno.chmod(`${work}/denovs`, 0o755);
    await prove(`${work}/denovs`, form);
    await Deno.rename(`${work}/denovs`, target);
    const { size } = await Deno.stat(target);
    say(`built dist/denovs: ${form}, ${(size / 1e6).toFixed(1)} MB`);
    return 0;
  } catch (error) {
    say(`build failed: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** The form asked for; undefined: whichever is possible; null: not an argument list of ours. */
function readForm(args: readonly string[]): BuiltForm | undefined | null {
  if (args.length === 0) return undefined;
  const form = args.join(" ").replace(/^--form[= ]/, "");
  return form === "compiled" || form === "self-extracting" ? form : null;
}

/** Bundles main.ts into `work`/js: main.js, and a file for each part that is loaded only when needed. */
async function bundle(root: string, work: string): Promise<void> {
  const options = ["--quiet", "--frozen", "--code-splitting", "--outdir", `${work}/js`];
  await runDeno(["bundle", ...options, `${root}main.ts`], root);
}

async function makeExecutable(
  wanted: BuiltForm | undefined,
  work: string,
  target: string,
): Promise<BuiltForm> {
  if (wanted !== "self-extracting") {
    const source = await findDenort();
    if (source !== undefined) {
      say(`compiling with the denort ${source}`);
      await compile(work, target);
      return "compiled";
    }
    if (wanted === "compiled") throw new Error("there is no denort (set DENORT_BIN)");
    say("no denort to be had (DENORT_BIN, $DENO_DIR/dl, download): building around this Deno");
  }
  await stamp(`${work}/js`, "self-extracting");
  await hideDaemon(`${work}/js`);
  const names = Array.from(Deno.readDirSync(`${work}/js`), ({ name }) => name).sort();
  const whole = await makeSelfExtractor({
    version: VERSION,
    executable: await Deno.readFile(Deno.execPath()),
    files: names.map((name) => ({ name, content: Deno.readFileSync(`${work}/js/${name}`) })),
    main: "main.js",
    runOptions: RUN_OPTIONS["self-extracting"],
  });
  await Deno.writeFile(target, whole);
  return "self-extracting";
}

async function compile(work: string, target: string): Promise<void> {
  await stamp(`${work}/js`, "compiled");
  const options = ["-A", "--no-code-cache", "--no-config", "--no-lock", "--output", target];
  await runDeno(["compile", "--quiet", ...options, `${work}/js/main.js`], work);
}

/** Writes the form of the executable into the bundle, where `denovs version` reads it. */
async function stamp(directory: string, form: BuiltForm): Promise<void> {
  let count = 0;
  for await (const { name } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    const parts = (await Deno.readTextFile(path)).split(FORM_MARK);
    count += parts.length - 1;
    const mark = FORM_MARK.replace("source", form);
    if (parts.length > 1) await Deno.writeTextFile(path, parts.join(mark));
  }
  if (count !== 1) throw new Error(`the mark of the executable's form occurs ${count} times`);
}

/**
 * Hides the daemon's chunks from Deno, which reads everything behind a literal import() before it
 * starts (see main.ts). `deno compile` must see them: it takes in only what it sees.
 */
async function hideDaemon(directory: string): Promise<void> {
  for await (const { name } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(
      path,
      text.replaceAll(/\bimport\("(\.\/(?!main-|client-)[\w.-]+\.js)"\)/g, 'import(String("$1"))'),
    );
  }
}

/** Where `deno compile` will get its denort from, in words; undefined: nowhere. */
async function findDenort(): Promise<string | undefined> {
  const given = Deno.env.get("DENORT_BIN");
  if (given) return `DENORT_BIN=${given}`;
  const path = `release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`;
  for (const directory of denoDirectories()) {
    if (await exists(`${directory}/dl/${path}`)) return `${directory}/dl/${path}`;
  }
  try {
    const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
    const reply = await fetch(`${DOWNLOAD_HOST}/${path}`, { method: "HEAD", signal });
    await reply.body?.cancel();
    return reply.ok ? `from ${DOWNLOAD_HOST}` : undefined;
  } catch {
    return undefined;
  }
}

function denoDirectories(): string[] {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? ""}/.cache`;
  return [Deno.env.get("DENO_DIR") || `${cache}/deno`];
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}

/** The executable must run and say what it is. */
async function prove(path: string, form: BuiltForm): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(path, {
    args: ["version", "--json"],
    signal: AbortSignal.timeout(60_000),
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (!success) throw new Error(`dist/denovs does not run: ${new TextDecoder().decode(stderr)}`);
  const told = JSON.parse(text) as { form?: unknown };
  if (told.form !== form) throw new Error(`dist/denovs takes itself for ${String(told.form)}`);
}

async function runDeno(args: readonly string[], cwd: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    stdin: "null",
    env: { NO_COLOR: "1" },
    signal: AbortSignal.timeout(COMPILE_TIMEOUT_MS),
  }).output();
  if (!success) throw new Error(`deno ${args[0]}: ${new TextDecoder().decode(stderr).trim()}`);
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}
