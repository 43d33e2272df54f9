/** Errors of the flow language and the table. Callers switch on `code`, never on text. */

/** Errno names that commands answer with, as the kernel would. */
export type ErrorCode =
  | "EINVAL"
  | "EEXIST"
  | "ENOENT"
  | "EBUSY"
  | "ENODEV"
  | "ENOSPC"
  | "EFBIG"
  | "EMSGSIZE"
  | "ERANGE"
  | "EOVERFLOW"
  | "EOPNOTSUPP"
  | "EPERM"
  | "ESYNTAX"
  | "EIO";

/** Text that is not a flow, an action list or a match. */
export class FlowSyntaxError extends Error {
  override readonly name = "FlowSyntaxError";
  readonly code = "ESYNTAX";
  /** The whole text. */
  readonly text: string;
  /** Position of the fault, 1 = first character. */
  readonly column: number;

  /** `problem` says what is wrong and what is allowed there, without the column. */
  constructor(text: string, at: number, problem: string) {
    super(`column ${at + 1}: ${problem}`);
    this.text = text;
    this.column = at + 1;
  }

  /** Two lines: the text (cut to the neighbourhood when long) and a caret under the fault. */
  caret(): string {
    const at = this.column - 1;
    const from = Math.max(0, at - 60);
    const part = this.text.slice(from, at + 40).replaceAll(/\s/g, " ");
    return `${from > 0 ? "…" : ""}${part}\n${" ".repeat(at - from + (from > 0 ? 1 : 0))}^`;
  }
}

/** A request that is well-formed but not allowed: named by the errno the kernel would give. */
export class RuleError extends Error {
  override readonly name = "RuleError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** A `key=value` option that is unknown, malformed or missing. */
export class OptionError extends Error {
  /** Tells it from other errors. */
  override readonly name = "OptionError";
  /** Always EINVAL. */
  readonly code = "EINVAL";
  /** The key. */
  readonly option: string;

  /** `message` names the key and the value and says what is allowed. */
  constructor(option: string, message: string) {
    super(message);
    this.option = option;
  }
}
