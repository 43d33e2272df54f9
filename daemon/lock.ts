/**
 * Advisory locks: flock(2) on a file of their own, so a lock vanishes with the process that holds
 * it, however that ends. The file says who holds it (role, pid, a daemon's socket); what it says
 * counts only while the lock is taken, and may be a moment out of date even then.
 *
 * A second file is the gate: everybody takes it before trying the lock, and gives it back at once;
 * a daemon that waits keeps it. So clients that come and go cannot keep a daemon out.
 */
import { CommandError } from "./api.ts";
import { directoryOf, lockPath } from "./paths.ts";

/** `daemon`: held for life. `client`: held for one transaction. */
export type LockRole = "daemon" | "client";

export interface LockHolder {
  readonly pid: number;
  readonly role: LockRole;
  /** Control socket of a daemon. */
  readonly socket?: string | undefined;
}

export interface LockOptions {
  readonly role: LockRole;
  /** Where a daemon can be asked, for clients that know only its state. */
  readonly socket?: string | undefined;
  /** How long to wait while a client (or nobody known) holds it. A living daemon is never waited for. */
  readonly waitMs: number;
}

const RETRY_MS = 20;
/** How every SQLite file begins. */
const SQLITE_MAGIC = "SQLite format 3\0";

/** Somebody else holds the lock. */
export class LockedError extends Error {
  override readonly name = "LockedError";
  readonly code = "ELOCKED";
  /** Undefined when the file does not tell. */
  readonly holder: LockHolder | undefined;

  constructor(path: string, holder: LockHolder | undefined) {
    const who = holder === undefined ? "another process" : `${holder.role} ${holder.pid}`;
    super(`${path} is locked by ${who}`);
    this.holder = holder;
  }
}

/** A lock that is held. */
export class Lock implements Disposable {
  readonly #file: Deno.FsFile;
  #held = true;

  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Gives the lock back. The file stays: removing it would let two holders in at once. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    try {
      this.#file.truncateSync(0);
    } finally {
      this.#file.close();
    }
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * Takes the lock `path`; makes the file, and its directory (0700), when missing.
 * @throws LockedError, or Deno's error when the file can't be made.
 */
export async function takeLock(path: string, options: LockOptions): Promise<Lock> {
  makeDirectory(directoryOf(path));
  const deadline = performance.now() + options.waitMs;
  const gate = openLockFile(`${path}.gate`);
  const file = openLockFile(path);
  let gateHeld = false;
  try {
    for (;;) {
      gateHeld ||= gate.tryLockSync(true);
      if (gateHeld && file.tryLockSync(true)) break;
      const holder = readHolder(path);
      if (holder?.role === "daemon" || performance.now() >= deadline) {
        throw new LockedError(path, holder);
      }
      if (gateHeld && options.role === "client") {
        gate.unlockSync();
        gateHeld = false;
      }
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
    file.truncateSync(0);
    file.writeSync(new TextEncoder().encode(formatHolder(options)));
  } catch (error) {
    file.close();
    throw error;
  } finally {
    gate.close();
  }
  return new Lock(file);
}

/**
 * Takes the lock of a state file, whatever name it is called by.
 * @throws CommandError when the file is none of ours; else as {@link takeLock}.
 */
export async function takeStateLock(state: string, options: LockOptions): Promise<Lock> {
  let path = state;
  try {
    path = Deno.realPathSync(state);
  } catch {
    // Not made yet.
  }
  refuseForeign(path);
  return await takeLock(lockPath(path), options);
}

/** Lock files beside a file of another program could be taken for that program's: /etc/passwd.lock. */
function refuseForeign(path: string): void {
  const head = new Uint8Array(SQLITE_MAGIC.length);
  try {
    using file = Deno.openSync(path);
    const length = file.readSync(head) ?? 0;
    if (length === 0) return;
  } catch {
    // Not made yet; or whoever opens it says what is wrong.
    return;
  }
  if (new TextDecoder().decode(head) === SQLITE_MAGIC) return;
  throw new CommandError("EINVAL", `cannot use the state file ${path}: file is not a database`);
}

function openLockFile(path: string): Deno.FsFile {
  return Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
}

/** Makes a directory that is ours alone, with its parents; leaves an existing one as it is. */
export function makeDirectory(path: string): void {
  try {
    if (Deno.statSync(path).isDirectory) return;
  } catch {
    // Made below.
  }
  const parent = directoryOf(path);
  if (parent !== path && parent !== ".") Deno.mkdirSync(parent, { recursive: true, mode: 0o755 });
  try {
    Deno.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

function formatHolder({ role, socket }: LockOptions): string {
  const words: string[] = [role, String(Deno.pid)];
  if (socket !== undefined) words.push(socket.startsWith("/") ? socket : `${Deno.cwd()}/${socket}`);
  return `${words.join(" ")}\n`;
}

/** Who holds the lock, as far as the file tells and that process lives. */
function readHolder(path: string): LockHolder | undefined {
  try {
    const match = /^(daemon|client) (\d+)(?: (.+))?\n$/.exec(Deno.readTextFileSync(path));
    if (match === null) return undefined;
    Deno.statSync(`/proc/${match[2]}`);
    return { role: match[1] as LockRole, pid: Number(match[2]), socket: match[3] };
  } catch {
    return undefined;
  }
}
