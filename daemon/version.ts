/** What this program is: its version, the form of executable it runs from, and how to start it again. */

/** Release, as `denovs version` prints it. */
export const VERSION = "0.1.0";

/** Oldest Deno that will do: the first whose executables can load plug-ins in TypeScript. */
const DENO_WANTED = "2.8.2";

/** What to say, in one line without `denovs: `, when the running Deno (or `version`) is too old for us. */
export function oldDeno(version: string = Deno.version.deno): string | undefined {
  const parts = version.split(/[.+-]/).map(Number);
  for (const [at, wanted] of DENO_WANTED.split(".").map(Number).entries()) {
    if (parts[at] === wanted) continue;
    if ((parts[at] ?? 0) > wanted) return undefined;
    return `needs Deno ${DENO_WANTED} or newer: this is ${version} (npm install -g deno)`;
  }
  return undefined;
}

/** How the program was started: from its sources, or from one of the two kinds of `dist/denovs`. */
export type ExecutableForm = "source" | "compiled" | "self-extracting";

// tools/build.ts writes the form of the executable over the last word.
const FORM_MARK = "denovs-executable-form:source";

/** The form of executable that is running. */
export function executableForm(): ExecutableForm {
  return FORM_MARK.slice(FORM_MARK.indexOf(":") + 1) as ExecutableForm;
}

/** One sentence for each form. */
export const FORM_TEXT: Readonly<Record<ExecutableForm, string>> = {
  "source": "run from its sources",
  "compiled": "compiled executable (deno compile)",
  "self-extracting": "self-extracting executable around the Deno executable",
};

/** Options of `deno run` under which the program runs when it is not compiled. */
export const RUN_OPTIONS: Readonly<Record<"source" | "self-extracting", readonly string[]>> = {
  "source": ["-A"],
  "self-extracting": ["-A", "-q", "--no-config", "--no-lock", "--no-code-cache"],
};

/**
 * Command line that starts this same program again: the executable, then what stands before the
 * program's own arguments. `mainUrl` is the URL of main.ts.
 */
export function selfCommand(mainUrl: string): readonly [string, ...string[]] {
  const form = executableForm();
  if (form === "compiled") return [Deno.execPath()];
  return [Deno.execPath(), "run", ...RUN_OPTIONS[form], mainUrl];
}
