/** Errors of every part as the one error that a command ends with. */
import { CommandError } from "./api.ts";
import { FlowSyntaxError } from "../datapath/errors.ts";

export interface ErrorPlace {
  /** What could not be done: `cannot add port "eth0" to br0`. */
  readonly doing?: string | undefined;
  /** Line of a batch or a flow file, 1 = first. */
  readonly line?: number | undefined;
}

/** Wraps what was thrown, with its code kept. A CommandError gets the line when it has none. */
export function toCommandError(error: unknown, place: ErrorPlace = {}): CommandError {
  if (error instanceof CommandError) {
    if (place.line === undefined || error.line !== undefined) return error;
    const { code, message, caret, cause } = error;
    return new CommandError(code, message, { caret, cause, line: place.line });
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new CommandError(codeOf(error), withDoing(place.doing, reason), {
    caret: error instanceof FlowSyntaxError ? error.caret() : undefined,
    line: place.line,
    cause: error,
  });
}

/** A refusal, in one sentence. */
export function refuse(code: string, message: string): never {
  throw new CommandError(code, message);
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "EINTERNAL";
  return "code" in error && typeof error.code === "string" ? error.code : "EINTERNAL";
}

/** "cannot add X" + "Cannot open Y: …" is "cannot add X: cannot open Y: …". */
function withDoing(doing: string | undefined, reason: string): string {
  if (doing === undefined) return reason;
  return `${doing}: ${reason.replace(/^Cannot /, "cannot ")}`;
}
