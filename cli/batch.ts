/**
 * `batch`: a file of commands, one per line, as one transaction. Every line goes through the same
 * command tree as a command line does, in a session that keeps requests instead of sending them.
 */
import { buildCommand, type Command, run } from "@stricli/core";
import {
  type BatchRequest,
  CommandError,
  type ConfigMethod,
  type MethodName,
  type Methods,
  SAVED_METHODS,
} from "../daemon/api.ts";
import { UsageError } from "../daemon/dpctl.ts";
import { buildApp, emptyOption } from "./app.ts";
import { loadCommands } from "./commands.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
} from "./flags.ts";
import { readInput } from "./input.ts";
import { TextOutput } from "./output.ts";
import type { ConfigRequest, Session } from "./session.ts";

const BATCH: CommandText = {
  brief: "Carry out many commands as one, all or nothing",
  usage: ["FILE|- [--json]"],
  description:
    "Reads commands that change the configuration (dp-*, port-*, flow-*, meter-* and settings of\n" +
    "ct-*, without the leading denovs), one per line. Quotes work as in a shell, # begins a comment.\n" +
    "Either all take effect or none: the first faulty line is named. Options such as --socket go\n" +
    "after batch, not into the lines.",
  examples: ["batch network.txt", "batch - < network.txt"],
};

export const batch: Command<CliContext> = buildCommand<CommonFlags, [string], CliContext>({
  parameters: {
    flags: COMMON_FLAGS,
    positional: {
      kind: "tuple",
      parameters: [{
        brief: "File of commands; - is standard input",
        parse: asText,
        placeholder: "FILE",
      }],
    },
  },
  docs: documentation(BATCH),
  async func(flags, file): Promise<void> {
    this.session.live();
    const requests = await parseBatch(await readInput(file));
    await this.session.submit(flags, { method: "batch", params: { requests } });
  },
});

/**
 * Requests of all lines.
 * @throws CommandError with the number of the first line that is not a command of a batch.
 */
export async function parseBatch(text: string): Promise<BatchRequest[]> {
  const session = new RecordingSession();
  const app = buildApp(session, await loadCommands());
  const lines = text.split("\n");
  for (const [at, line] of lines.entries()) {
    session.line = at + 1;
    const words = splitLine(line, at + 1);
    if (words.length === 0) continue;
    const empty = emptyOption(words);
    if (empty !== undefined) throw lineError(at + 1, `${words[0]}: ${empty} needs a value`);
    // Stricli keeps the first status it is given, so each line has a process of its own.
    const process = makeLineProcess(session.output);
    if (isHelp(words)) throw lineError(at + 1, "help cannot stand in a batch");
    await run(app, words, {
      process,
      forCommand: ({ prefix }) => {
        session.verb = prefix.at(-1) ?? "";
        return { process, session };
      },
    });
    if (process.exitCode !== 0) throw session.takeError();
  }
  return session.requests;
}

/**
 * Words of one line: blanks separate, quotes and backslashes as in a shell, `#` at the beginning of
 * a word starts a comment. Parentheses are plain characters.
 */
export function splitLine(text: string, line: number): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (quote !== "") {
      if (character === quote) quote = "";
      else if (quote === '"' && character === "\\" && /["\\]/.test(text[at + 1] ?? "")) {
        word += text[++at]!;
      } else word += character;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === "#" && word === undefined) break;
    else if (character === "\\" && at + 1 < text.length) word = (word ?? "") + text[++at]!;
    else word = (word ?? "") + character;
  }
  if (quote !== "") throw lineError(line, `the quotation mark ${quote} is not closed`);
  if (word !== undefined) words.push(word);
  return words;
}

/** Keeps the requests of a batch's lines. */
class RecordingSession implements Session {
  readonly output: TextOutput = new TextOutput();
  readonly mainUrl = "";
  readonly requests: BatchRequest[] = [];
  verb = "";
  line = 0;
  /** What a command threw: told apart from what the argument scanner wrote. */
  thrown: Error | undefined;

  submit<M extends MethodName>(
    flags: CommonFlags,
    request: { readonly method: M; readonly params: Methods[M]["params"] },
  ): Promise<void> {
    if (!isConfigMethod(request.method)) throw this.#refuse();
    return this.submitAll(flags, [request as ConfigRequest]);
  }

  submitAll(flags: CommonFlags, requests: readonly ConfigRequest[]): Promise<void> {
    for (const name of ["socket", "state", "json"] as const) {
      if (flags[name] !== undefined) {
        throw new UsageError(`--${name} cannot stand in a line (give it to batch)`);
      }
    }
    for (const request of requests) this.requests.push({ line: this.line, ...request });
    return Promise.resolve();
  }

  query(): never {
    throw this.#refuse();
  }

  live(): void {
    throw this.#refuse();
  }

  takeError(): CommandError {
    const text = this.output.noted.trim().split("\n", 1)[0]!.replace(/^denovs: /, "");
    this.output.noted = "";
    return lineError(this.line, text);
  }

  #refuse(): UsageError {
    return new UsageError("cannot stand in a batch (only commands that change the configuration)");
  }
}

/** Files of flows and batches are read here, and stand for themselves. */
function isConfigMethod(method: MethodName): method is ConfigMethod {
  return SAVED_METHODS.has(method) && method !== "flow-load" && method !== "batch";
}

function isHelp(words: readonly string[]): boolean {
  return words[0]!.startsWith("-") ||
    words.some((word) => /^(-h|--help|-H|--help-all|--helpAll)$/.test(word));
}

function makeLineProcess(
  output: TextOutput,
): CliContext["process"] {
  return {
    stdout: { write: (text: string) => output.print(text) },
    stderr: { write: (text: string) => output.note(text) },
    env: {},
  };
}

function lineError(line: number, message: string): CommandError {
  return new CommandError("EINVAL", message, { line });
}
