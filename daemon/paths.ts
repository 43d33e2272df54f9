/**
 * Where the daemon and its clients meet when nothing else is said. Light: no imports, because every
 * client command loads this file.
 */

/** Control socket: DENOVS_SOCKET, else `/run/denovs/denovs.ctl`, or the user's runtime directory when not root. */
export function defaultSocket(): string {
  return Deno.env.get("DENOVS_SOCKET") || `${runtimeDirectory()}/denovs.ctl`;
}

/** Pid file of `run --pidfile` without a path. */
export function defaultPidfile(): string {
  return `${runtimeDirectory()}/denovs.pid`;
}

/** Log file of `run --log-file` without a path. */
export function defaultLogFile(): string {
  return Deno.uid() === 0 ? "/var/log/denovs/denovs.log" : `${stateDirectory()}/denovs.log`;
}

/** Saved state: DENOVS_STATE, else `/var/lib/denovs/state.db`, or the user's state directory when not root. */
export function defaultState(): string {
  return Deno.env.get("DENOVS_STATE") || `${stateDirectory()}/state.db`;
}

/** The advisory lock that belongs to a state file: `state.lock` beside `state.db`. */
export function lockPath(state: string): string {
  return state.endsWith(".db") ? `${state.slice(0, -3)}.lock` : `${state}.lock`;
}

/** Directory part of a path, `.` when it has none. */
export function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
}

function runtimeDirectory(): string {
  if (Deno.uid() === 0) return "/run/denovs";
  return `${Deno.env.get("XDG_RUNTIME_DIR") || `/tmp/denovs-${Deno.uid()}`}/denovs`;
}

function stateDirectory(): string {
  if (Deno.uid() === 0) return "/var/lib/denovs";
  const base = Deno.env.get("XDG_STATE_HOME") || `${Deno.env.get("HOME") ?? "."}/.local/state`;
  return `${base}/denovs`;
}
