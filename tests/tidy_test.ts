/**
 * The style that a machine can check: import order, what each folder may use, file sizes, module
 * docs. Reads the sources as text; a rule names the file and line it is broken in.
 */
import assert from "node:assert/strict";
import { KINDS } from "./kinds.ts";

const ROOT = new URL("..", import.meta.url).pathname;

/** Layers from the bottom up: a file imports from its own layer and those before it. */
const LAYERS = ["datapath", "netdev", "vports", "daemon", "cli", "main"] as const;

/** Files that print: everything else returns text or logs. */
const OUTPUT_MODULES = ["cli/output.ts", "tests/output.ts", "daemon/log.ts"];
const LINES_MAX = 600;

interface Source {
  /** Relative to the root. */
  readonly path: string;
  readonly text: string;
  /** Without comments; strings kept. Same line numbers. */
  readonly code: string;
  readonly isTest: boolean;
}

function filesBelow(folder: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)].flatMap((entry) => {
    const path = folder + entry.name;
    if (entry.name.startsWith(".") || entry.name === "node_modules" || path === "dist") return [];
    return entry.isDirectory ? filesBelow(path + "/") : entry.isFile ? [path] : [];
  });
}

/** Blanks out comments, keeping line breaks; enough of a lexer for our own sources. */
function withoutComments(text: string): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g;
  return text.replace(
    token,
    (found) => found.startsWith("/") ? found.replace(/[^\n]/g, " ") : found,
  );
}

const FILES = filesBelow("").toSorted();
const SOURCES: readonly Source[] = FILES.filter((path) => path.endsWith(".ts")).map((path) => {
  const text = Deno.readTextFileSync(ROOT + path);
  const isTest = /_test\.ts$|\/testing\//.test(path) || /^(tests|bench|tools)\//.test(path);
  return { path, text, code: withoutComments(text), isTest };
});

/** Each place where `pattern` occurs in the code, as `path:line: text`. */
function places(sources: readonly Source[], pattern: RegExp): string[] {
  return sources.flatMap(({ path, code }) =>
    code.split("\n").flatMap((line, i) =>
      pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : []
    )
  );
}

function layerOf(path: string): number {
  const folder = path.includes("/") ? path.split("/")[0] ?? "" : path.replace(/\.ts$/, "");
  return LAYERS.findIndex((layer) => layer === folder);
}

/** Specifiers of static and literal dynamic imports and re-exports. */
function importsOf(code: string): { specifier: string; isDynamic: boolean; isType: boolean }[] {
  const found = code.matchAll(
    /(?:^|\n)\s*(import|export)\s+(type\s+)?(?:[\w*{][^;"']*?\sfrom\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']/g,
  );
  return [...found].map((m) => ({
    specifier: m[3] ?? m[4] ?? "",
    isDynamic: m[4] !== undefined,
    isType: m[2] !== undefined,
  }));
}

function resolve(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

Deno.test("tidy: imports point only downwards", () => {
  const wrong: string[] = [];
  for (const { path, code, isTest } of SOURCES) {
    const layer = layerOf(path);
    if (layer < 0 || isTest) continue;
    for (const { specifier } of importsOf(code)) {
      if (!specifier.startsWith(".")) continue;
      const target = resolve(path, specifier);
      const targetLayer = layerOf(target);
      if (targetLayer < 0 || targetLayer > layer) wrong.push(`${path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("tidy: datapath/ imports nothing outside itself and touches no system", () => {
  const inside = SOURCES.filter(({ path }) => path.startsWith("datapath/"));
  const wrong = inside.flatMap(({ path, code, isTest }) =>
    importsOf(code).flatMap(({ specifier }) => {
      if (specifier.startsWith(".")) {
        return resolve(path, specifier).startsWith("datapath/") ? [] : [`${path}: ${specifier}`];
      }
      return isTest && ["node:assert/strict", "fast-check"].includes(specifier)
        ? []
        : [`${path}: ${specifier}`];
    })
  );
  const sources = inside.filter(({ isTest }) => !isTest);
  wrong.push(...places(sources, /\bDeno\./));
  wrong.push(...places(sources, /\b(async|await)\b(?!-)/));
  wrong.push(...places(sources, /\b(Date\.now|performance\.now|setTimeout|setInterval|fetch)\(/));
  assert.deepEqual(wrong, []);
});

Deno.test("tidy: only netdev/libc.ts opens libraries", () => {
  const others = SOURCES.filter(({ path }) =>
    path !== "netdev/libc.ts" && !path.startsWith("tests/tidy")
  );
  assert.deepEqual(places(others, /\bDeno\.dlopen\b/), []);
});

Deno.test("tidy: what a client command loads is light", () => {
  // Start-up of `denovs dp-list`: no node: import, no FFI, no daemon code but the pure parts.
  const light =
    /^(cli\/|daemon\/(api|client|command_errors|ct_words|dpctl|dpctl_conntrack|paths|version)\.ts$|daemon\/render\/)/;
  const wrong = SOURCES.filter(({ path, isTest }) => light.test(path) && !isTest).flatMap(
    ({ path, code }) =>
      importsOf(code).flatMap(({ specifier, isDynamic, isType }) => {
        if (isDynamic || isType) return [];
        if (specifier.startsWith("node:")) return [`${path}: ${specifier}`];
        if (!specifier.startsWith(".")) return [];
        const target = resolve(path, specifier);
        return light.test(target) || target.startsWith("datapath/") ? [] : [`${path}: ${target}`];
      }),
  );
  assert.deepEqual(wrong, []);
});

Deno.test("tidy: no default exports but in plug-ins and vport types", () => {
  const wrong = places(SOURCES, /^export default\b/).filter((place) =>
    !/^(vports\/|examples\/(plugins|handlers)\/|cli\/plugin_starter\.ts|tests\/.*plugins?\/)/.test(
      place,
    )
  );
  assert.deepEqual(wrong, []);
});

Deno.test("tidy: only output modules print", () => {
  const others = SOURCES.filter(({ path }) =>
    !OUTPUT_MODULES.includes(path) && !/_test\.ts$/.test(path)
  );
  assert.deepEqual(places(others, /\bconsole\.\w+\(/), []);
});

Deno.test("tidy: every source begins with a module doc", () => {
  const wrong = SOURCES.filter(({ path, text }) =>
    !/_test\.ts$/.test(path) && !/^(#![^\n]*\n)?(\/\/ deno-lint[^\n]*\n)*\/\*\*/.test(text)
  );
  assert.deepEqual(wrong.map(({ path }) => path), []);
});

Deno.test(`tidy: no file is longer than ${LINES_MAX} lines`, () => {
  const wrong = SOURCES.filter(({ text }) => text.split("\n").length > LINES_MAX);
  assert.deepEqual(wrong.map(({ path, text }) => `${path}: ${text.split("\n").length}`), []);
});

Deno.test("tidy: every test belongs to a kind that runs by default", () => {
  const places = KINDS.filter(({ byDefault }) => byDefault).flatMap(({ paths = [] }) => paths);
  const tests = FILES.filter((path) => path.endsWith("_test.ts"));
  assert.deepEqual(tests.filter((path) => !places.some((each) => path.startsWith(each))), []);
});

Deno.test("tidy: tests run packets only where the accounts are checked", () => {
  const tests = SOURCES.filter(({ path, isTest }) => isTest && !path.startsWith("bench/"));
  // Only CheckedPipeline makes its own; a switch or a daemon is checked by what starts it.
  const wrong = places(tests, /\bnew Pipeline\(|\bSwitch\.start\(|\bnew Executor\(/);
  const helpers = /^(datapath\/testing\/ports|daemon\/switch\/testing|tests\/tidy_test)\.ts:/;
  assert.deepEqual(wrong.filter((place) => !helpers.test(place)), []);
});

Deno.test("tidy: every benchmark task is in docs/testing.md, and runs a file that exists", () => {
  const config: unknown = JSON.parse(Deno.readTextFileSync(ROOT + "deno.json"));
  assert.ok(typeof config === "object" && config !== null && "tasks" in config);
  const tasks = Object.entries(config.tasks as Readonly<Record<string, string>>)
    .filter(([name]) => name.startsWith("bench:"));
  const listed = Deno.readTextFileSync(ROOT + "docs/testing.md").matchAll(/^\| `(bench:\w+)`/gm);
  assert.deepEqual(
    [...listed].map(([, name]) => name).toSorted(),
    tasks.map(([name]) => name).toSorted(),
  );
  const files = tasks.map(([, command]) => command.split(" ").at(-1) ?? "");
  assert.deepEqual(files.filter((path) => !FILES.includes(path)), []);
});

Deno.test("tidy: file names are snake_case", () => {
  const wrong = SOURCES.filter(({ path }) => !/^([a-z0-9_]+\/)*[a-z0-9_]+\.ts$/.test(path));
  assert.deepEqual(wrong.map(({ path }) => path), []);
});

Deno.test("tidy: no enums, namespaces, any, or leftovers", () => {
  const wrong = [
    ...places(SOURCES, /^(export )?(const )?(enum|namespace) /),
    ...places(SOURCES, /: any\s*[,;)=\]>|&[{]|<any>|\bas any\b/).filter((p) =>
      !p.startsWith("tests/tidy_test.ts")
    ),
    ...places(SOURCES, /\bdebugger\b/).filter((p) => !p.startsWith("tests/tidy_test.ts")),
  ];
  const todo = new RegExp(["TODO", "FIXME", "XXX"].map((w) => `\\b${w}\\b`).join("|"));
  for (const { path, text } of SOURCES) {
    if (path === "tests/tidy_test.ts") continue;
    text.split("\n").forEach((line, i) => {
      if (todo.test(line)) wrong.push(`${path}:${i + 1}: ${line.trim()}`);
    });
  }
  assert.deepEqual(wrong, []);
});

Deno.test("tidy: nothing names a place outside the project", () => {
  const outside = new RegExp(
    ["\\.\\./" + "shared", "/wor" + "k/(main|shared)", "\\.libr" + "ary"].join("|"),
  );
  const wrong = FILES.filter((path) => /\.(ts|md|json|sh|txt)$/.test(path) || path === ".ci/run")
    .filter((path) => outside.test(Deno.readTextFileSync(ROOT + path)));
  assert.deepEqual(wrong, []);
});

Deno.test("tidy: no package.json, and npm packages are pinned exactly", () => {
  assert.equal(FILES.includes("package.json"), false);
  const config: unknown = JSON.parse(Deno.readTextFileSync(ROOT + "deno.json"));
  assert.ok(typeof config === "object" && config !== null && "imports" in config);
  for (const [name, target] of Object.entries(config.imports ?? {})) {
    assert.match(String(target), /^npm:(@[\w.-]+\/)?[\w.-]+@\d+\.\d+\.\d+$/, name);
  }
});
