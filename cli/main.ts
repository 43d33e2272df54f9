/** The command line: arguments in, exit status out. */
import { run } from "@stricli/core";
import { ALL_COMMANDS, buildApp, emptyOption } from "./app.ts";
import { loadCommand, loadCommands } from "./commands.ts";
import { openExecutor } from "./executor.ts";
import type { CliContext, CommonFlags } from "./flags.ts";
import { type Output, ProcessOutput } from "./output.ts";
import { LiveSession, type OpenExecutor } from "./session.ts";

/** What a run of the command line can be given instead of the process's own. */
export interface MainOptions {
  readonly output?: Output | undefined;
  readonly open?: OpenExecutor | undefined;
  /** URL of main.ts. */
  readonly mainUrl?: string | undefined;
}

/** Carries out one command line. Returns the exit status: 0 done, 1 refused or failed, 2 usage. */
export async function main(args: readonly string[], options: MainOptions = {}): Promise<number> {
  const output = options.output ?? new ProcessOutput();
  const open = options.open ?? openExecutor;
  const words = normalize(args);
  if (words === undefined) {
    const { renderOverview }: typeof import("./help.ts") = await import("./help.ts" as string);
    output.print(renderOverview(await loadCommands()));
    output.flush();
    return 0;
  }
  if (words.length === 0) {
    output.note(`denovs: a command is missing${ALL_COMMANDS}\n`);
    return 2;
  }
  const completing = words[0] === "__complete";
  const empty = completing ? undefined : emptyOption(words);
  if (empty !== undefined) {
    output.note(`denovs: ${words[0]}: ${empty} needs a value (see: denovs help ${words[0]})\n`);
    return 2;
  }
  const typed = completing ? words.slice(words[1] === "--" ? 2 : 1) : [];
  const session = new LiveSession(output, open, {
    mainUrl: options.mainUrl ?? "",
    typed: typed.slice(0, -1),
  });
  // Help shows a command's other names, completion all commands.
  const whole = completing || words.some((word) => HELP_OPTION.test(word));
  const one = whole ? undefined : await loadCommand(words[0]!);
  const app = buildApp(session, one ?? await loadCommands());
  const process: CliContext["process"] = makeProcess(output);
  const context = {
    process,
    forCommand: ({ prefix }: { prefix: readonly string[] }) => {
      session.verb = prefix.at(-1) ?? "";
      return { process, session };
    },
  };
  if (completing) {
    const { renderProposals }: typeof import("./completions.ts") = await import(
      "./completions.ts" as string
    );
    output.print(await renderProposals(app, typed, context));
  } else await run(app, words, context);
  output.flush();
  return toExitStatus(process.exitCode);
}

/**
 * Brings the command's name to the front (`denovs -m flow-dump` works as with ovs-dpctl) and
 * rewrites `help COMMAND`. Undefined: the overview is asked for; empty: there is no command.
 */
export function normalize(args: readonly string[]): string[] | undefined {
  const words = [...args];
  let at = 0;
  while (at < words.length && words[at]!.startsWith("-") && words[at] !== "-") {
    at += takesValue(words[at]!) ? 2 : 1;
  }
  const leading = words.slice(0, at);
  const [command, ...rest] = words.slice(at);
  if (command === undefined) {
    if (leading.some((word) => word === "--version" || word === "-V")) return ["version"];
    const asked = leading.length === 0 || leading.some((word) => HELP_OPTION.test(word));
    return asked ? undefined : [];
  }
  if (command !== "help") return [command, ...leading, ...rest];
  const about = rest.find((word) => !word.startsWith("-"));
  return about === undefined ? undefined : [about, "--help"];
}

const HELP_OPTION = /^(-h|--help|--help-?all|-H)$/i;

function takesValue(word: string): boolean {
  const names: readonly `--${keyof CommonFlags}`[] = ["--socket", "--state"];
  return names.some((name) => name === word);
}

/** The first error of a command line is the one that is told. */
function makeProcess(output: Output): CliContext["process"] {
  let told = false;
  return {
    stdout: { write: (text: string) => output.print(text) },
    stderr: {
      write: (text: string) => {
        if (!told) output.note(text);
        told = true;
      },
    },
    env: {},
  };
}

/** Stricli's statuses for a command line that is none are negative. */
function toExitStatus(code: number | string | null | undefined): number {
  const status = Number(code ?? 0);
  if (status === UNKNOWN_COMMAND || status === INVALID_ARGUMENT) return 2;
  return status < 0 ? 1 : status;
}

const UNKNOWN_COMMAND = -5;
const INVALID_ARGUMENT = -4;
