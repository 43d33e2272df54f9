/** All or nothing where the kernel knows no transactions: what has been done is taken back, last first. */
import { CommandError } from "../api.ts";
import { toCommandError } from "../command_errors.ts";

export class Undo {
  readonly #steps: (() => void)[] = [];

  /** Something has been done; `back` takes it back. */
  done(back: () => void): void {
    this.#steps.push(back);
  }

  /** Takes everything back and returns `error`, with what could not be taken back. */
  rollback(error: unknown): CommandError {
    const failure = toCommandError(error);
    let left = 0;
    let why = "";
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        step();
      } catch (fault) {
        left++;
        why = fault instanceof Error ? fault.message : String(fault);
      }
    }
    if (left === 0) return failure;
    const { code, message, caret, line, cause } = failure;
    const partly = `${message}; ${left} earlier change(s) could not be taken back: ${why}`;
    return new CommandError(code, partly, { caret, line, cause });
  }
}
