/** The application over the commands, and how its errors read. */
import {
  type Application,
  ArgumentParseError,
  ArgumentScannerError,
  buildApplication,
  buildRouteMap,
  formatMessageForArgumentScannerError,
  text_en,
  UnexpectedPositionalError,
} from "@stricli/core";
import { CommandError } from "../daemon/api.ts";
import { UsageError } from "../daemon/dpctl.ts";
import { type Commands, DPCTL_ALIASES, HIDDEN_COMMANDS } from "./commands.ts";
import type { CliContext } from "./flags.ts";
import type { Session } from "./session.ts";

/** More of what a user has written tells nobody anything. */
const TEXT_LENGTH_MAX = 2000;

/** What stands behind a complaint about a command's name. */
export const ALL_COMMANDS = " (denovs help lists them all)";

/**
 * The application for one session: its error texts name the session's command. It knows `commands`
 * only; with all of them, the aliases too.
 */
export function buildApp(session: Session, commands: Commands): Application<CliContext> {
  const whole = Object.hasOwn(commands, "__complete");
  const root = buildRouteMap<string, CliContext>({
    routes: commands,
    aliases: whole ? DPCTL_ALIASES : {},
    docs: {
      brief: "A software switch",
      hideRoute: Object.fromEntries(HIDDEN_COMMANDS.map((name) => [name, true])),
    },
  });
  return buildApplication<CliContext>(root, {
    name: "denovs",
    scanner: {
      caseStyle: "allow-kebab-for-camel",
      allowArgumentEscapeSequence: true,
      // A slip or two; more is no help.
      distanceOptions: {
        threshold: 3,
        weights: { insertion: 1, deletion: 2, substitution: 2, transposition: 1 },
      },
    },
    documentation: { disableAnsiColor: true },
    completion: { includeAliases: true },
    determineExitCode: (error) => error instanceof UsageError ? 2 : 1,
    localization: {
      text: {
        ...text_en,
        noCommandRegisteredForInput: ({ input, corrections }) =>
          `denovs: unknown command "${input}"${suggest(corrections) || ALL_COMMANDS}`,
        exceptionWhileParsingArguments: (error) =>
          `denovs: ${session.verb}: ${scannerMessage(error)} (see: denovs help ${session.verb})`,
        exceptionWhileRunningCommand: (error) => formatFailure(session.verb, error),
        commandErrorResult: (error) => formatFailure(session.verb, error),
        exceptionWhileLoadingCommandFunction: (error) => formatFailure(session.verb, error),
        exceptionWhileLoadingCommandContext: (error) => formatFailure(session.verb, error),
      },
    },
  });
}

/**
 * What stands on standard error when `verb` fails: one line, and for a syntax error the text with a
 * caret below. A bug keeps its stack.
 */
export function formatFailure(verb: string, error: unknown): string {
  if (error instanceof CommandError) {
    const line = error.line === undefined ? "" : `line ${error.line}: `;
    const caret = error.caret === undefined || error.caret.length > 2 * TEXT_LENGTH_MAX
      ? ""
      : `\n${error.caret.split("\n").map((part) => `  ${part}`).join("\n")}`;
    return `denovs: ${verb}: ${line}${clip(error.message)}${caret}`;
  }
  if (error instanceof UsageError) {
    return `denovs: ${verb}: ${error.message} (see: denovs help ${verb})`;
  }
  // SystemError, RuleError and their kin: whatever says what went wrong by a code.
  if (error instanceof Error && "code" in error) return `denovs: ${verb}: ${error.message}`;
  return `denovs: ${verb}: this is a bug in denovs: ${
    error instanceof Error ? error.stack ?? error.message : String(error)
  }`;
}

function clip(text: string): string {
  return text.length <= TEXT_LENGTH_MAX
    ? text
    : `${text.slice(0, TEXT_LENGTH_MAX)}… (${text.length} characters)`;
}

/** The first option with nothing after its equals sign, which the scanner would take for a name. */
export function emptyOption(words: readonly string[]): string | undefined {
  const end = words.indexOf("--");
  const options = end < 0 ? words : words.slice(0, end);
  return options.find((word) => /^--[a-z][-.\w]*=$/i.test(word))?.slice(0, -1);
}

function scannerMessage(error: unknown): string {
  if (error instanceof UsageError) return error.message;
  if (error instanceof ArgumentParseError) {
    const { exception } = error;
    const name = error.externalFlagNameOrPlaceholder;
    // Placeholders are in capitals, options are not.
    return `${/^[A-Z]/.test(name) ? "" : "--"}${name}: ${
      exception instanceof Error ? exception.message : String(exception)
    }`;
  }
  if (error instanceof UnexpectedPositionalError) {
    return `unexpected "${error.input}" after ${error.expectedCount} arguments`;
  }
  if (error instanceof ArgumentScannerError) {
    const message = formatMessageForArgumentScannerError(error, {
      FlagNotFoundError: ({ input, corrections }) =>
        `unknown option --${input}${suggest(corrections.map((name) => `--${name}`))}`,
      AliasNotFoundError: ({ input }) => `unknown option -${input}`,
      UnsatisfiedFlagError: ({ externalFlagName }) => `--${externalFlagName} needs a value`,
      UnsatisfiedPositionalError: ({ placeholder }) => `${placeholder} is missing`,
      EnumValidationError: ({ externalFlagName, input, values }) =>
        `--${externalFlagName}: "${input}" is not allowed (${values.join(", ")})`,
      UnexpectedFlagError: ({ externalFlagName }) => `--${externalFlagName} is given twice`,
    });
    return message;
  }
  return error instanceof Error ? error.message : String(error);
}

function suggest(corrections: readonly string[]): string {
  if (corrections.length === 0) return "";
  return `: did you mean ${corrections.join(" or ").replaceAll("`", "")}?`;
}
