/** Options that several commands share. */
import type { ApplicationContext, FlagParametersForType } from "@stricli/core";
import { UsageError } from "../daemon/dpctl.ts";
import type { Session } from "./session.ts";

/** What every command function gets as `this`. */
export interface CliContext extends ApplicationContext {
  readonly session: Session;
}

/** Options of every command that talks to the switch or edits its state. */
export interface CommonFlags {
  readonly json?: boolean | undefined;
  readonly socket?: string | undefined;
  readonly state?: string | undefined;
}

/** An option that takes text. */
export interface TextFlag {
  readonly kind: "parsed";
  readonly parse: (input: string) => string;
  readonly placeholder: string;
  readonly brief: string;
  readonly optional: true;
}

/** A switch that is off unless given. */
export interface SwitchFlag {
  readonly kind: "boolean";
  readonly brief: string;
  readonly optional: true;
  readonly withNegated: false;
}

export function textFlag(placeholder: string, brief: string): TextFlag {
  return { kind: "parsed", parse: asText, placeholder, brief, optional: true };
}

function pathFlag(placeholder: string, brief: string): TextFlag {
  return { ...textFlag(placeholder, brief), parse: asPath };
}

/** SQLite would take an empty path for a file that is gone at the end. */
function asPath(input: string): string {
  if (input === "") throw new UsageError("the path is empty");
  return input;
}

export function switchFlag(brief: string): SwitchFlag {
  return { kind: "boolean", brief, optional: true, withNegated: false };
}

/** A parameter as it was typed. */
export function asText(input: string): string {
  return input;
}

export const COMMON_FLAGS: FlagParametersForType<CommonFlags, CliContext> = {
  json: switchFlag("Print the result as JSON"),
  socket: pathFlag("PATH", "Control socket of the daemon (DENOVS_SOCKET)"),
  state: pathFlag("FILE", "State file to edit when no daemon runs (DENOVS_STATE)"),
};

/** What a command is called and how it is used, for help and docs/cli.md. */
export interface CommandText {
  /** One line. */
  readonly brief: string;
  /** Arguments and options after the command's name. */
  readonly usage: readonly string[];
  /** Sentences below the usage. */
  readonly description: string;
  /** Command lines, without the leading `denovs`. */
  readonly examples: readonly string[];
}

/** The documentation as Stricli takes it. */
export function documentation(
  text: CommandText,
): { brief: string; fullDescription: string; customUsage: readonly string[] } {
  const examples = text.examples.map((line) => `  denovs ${line}`).join("\n");
  return {
    brief: text.brief,
    fullDescription: `${text.description}\n\nEXAMPLES\n${examples}`,
    customUsage: text.usage,
  };
}
