/** What the kernel answers, as the one line that a command ends with. */
import { CommandError } from "../api.ts";
import { toCommandError } from "../command_errors.ts";
import { SystemError } from "../../netdev/system_error.ts";

/** What to tell the user by errno name; a request adds what it knows better. */
export type Reasons = Readonly<Record<string, string>>;

const REASONS: Reasons = {
  EPERM: "not permitted: it needs CAP_NET_ADMIN in this network namespace (run as root)",
  ENOMEM: "the kernel is out of memory",
  EAFNOSUPPORT: "the kernel has no module for this type",
};

/** Runs `work`; what it throws says that `doing` (`cannot add port "p"`) failed, and why. */
export function explain<T>(doing: string, work: () => T, reasons: Reasons = {}): T {
  try {
    return work();
  } catch (error) {
    throw explained(doing, error, reasons);
  }
}

function explained(doing: string, error: unknown, reasons: Reasons): CommandError {
  if (!(error instanceof SystemError)) return toCommandError(error, { doing });
  const why = reasons[error.code] ?? REASONS[error.code] ??
    `${error.syscall} returned ${error.code} (${error.reason})`;
  return new CommandError(error.code, `${doing}: ${why}`, { cause: error });
}

/** Whether the kernel refused with that errno. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof SystemError && error.code === code;
}
