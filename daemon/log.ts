/**
 * Logging in the manner of Open vSwitch's vlog: named modules with a level each that can be set at
 * run time, text made only when it is wanted, and rate limits that report what they suppressed.
 *
 * Lines go to one place: stderr, or a file that SIGHUP reopens (so that logrotate can move it). A
 * sink that can't be written never stops the daemon.
 */
import { CommandError } from "./api.ts";

/** In order of importance; a module writes its level and everything before it. */
export const LEVELS = ["off", "err", "warn", "info", "dbg"] as const;
export type Level = typeof LEVELS[number];
type Text = string | (() => string);

/** At most `burst` lines at once and one more every `everyMs`; what was held back is told with the next. */
export class RateLimit {
  readonly #burst: number;
  readonly #everyMs: number;
  #tokens: number;
  #filledMs: number;
  #suppressed = 0;

  constructor(burst: number, everyMs: number) {
    this.#burst = burst;
    this.#everyMs = everyMs;
    this.#tokens = burst;
    this.#filledMs = performance.now();
  }

  /** Takes one token: the number of lines suppressed before this one, or −1 when this one is. */
  take(nowMs: number = performance.now()): number {
    const refill = Math.floor((nowMs - this.#filledMs) / this.#everyMs);
    if (refill > 0) {
      this.#tokens = Math.min(this.#burst, this.#tokens + refill);
      this.#filledMs += refill * this.#everyMs;
    }
    if (this.#tokens === 0) {
      this.#suppressed++;
      return -1;
    }
    this.#tokens--;
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    return suppressed;
  }
}

/** One module's voice. */
export class Logger {
  readonly name: string;
  level: Level = "info";
  readonly #write: (module: string, level: Level, text: string) => void;

  constructor(name: string, write: (module: string, level: Level, text: string) => void) {
    this.name = name;
    this.#write = write;
  }

  error(text: Text, limit?: RateLimit): void {
    this.#log("err", text, limit);
  }
  warn(text: Text, limit?: RateLimit): void {
    this.#log("warn", text, limit);
  }
  info(text: Text, limit?: RateLimit): void {
    this.#log("info", text, limit);
  }
  debug(text: Text, limit?: RateLimit): void {
    this.#log("dbg", text, limit);
  }

  #log(level: Level, text: Text, limit: RateLimit | undefined): void {
    if (LEVELS.indexOf(level) > LEVELS.indexOf(this.level)) return;
    const suppressed = limit?.take() ?? 0;
    if (suppressed < 0) return;
    const line = typeof text === "string" ? text : text();
    this.#write(
      this.name,
      level,
      suppressed > 0 ? `${line} (${suppressed} similar messages suppressed)` : line,
    );
  }
}

/** All modules and the place where their lines go. */
export class Log {
  readonly #modules: Map<string, Logger> = new Map();
  readonly #path: string | undefined;
  readonly #onLine: ((line: string) => void) | undefined;
  #file: Deno.FsFile | undefined;
  #level: Level = "info";
  #count = 0;

  /**
   * Lines go to the file `path`, made when missing and appended to, else to stderr. `onLine` takes
   * them instead, in tests. Throws CommandError when the file can't be opened.
   */
  constructor(path?: string, onLine?: (line: string) => void) {
    this.#path = path;
    this.#onLine = onLine;
    this.reopen();
  }

  /** The voice called `name`, the same one each time. */
  module(name: string): Logger {
    let logger = this.#modules.get(name);
    if (logger === undefined) {
      logger = new Logger(name, (module, level, text) => this.#write(module, level, text));
      logger.level = this.#level;
      this.#modules.set(name, logger);
    }
    return logger;
  }

  /**
   * `LEVEL`, `MODULE`, `MODULE:LEVEL` or vlog's `MODULE:DESTINATION:LEVEL` (`ANY` or nothing = all
   * of them; the destination is accepted and has no effect). No level means dbg.
   */
  set(setting: string): void {
    const words = setting.split(/[:\s]+/).filter((word) => word !== "" && !isAny(word));
    let level: Level = "dbg";
    let module: string | undefined;
    for (const word of words) {
      const lower = word.toLowerCase();
      const known = LEVELS.find((one) => one === (lower === "emer" ? "err" : lower));
      if (known !== undefined) level = known;
      else if (["console", "file", "syslog"].includes(lower)) continue;
      else if (module === undefined) module = word;
      else {throw new CommandError(
          "EINVAL",
          `no log level "${word}" (levels: ${LEVELS.join(", ")})`,
        );}
    }
    if (module === undefined) {
      this.#level = level;
      for (const logger of this.#modules.values()) logger.level = level;
      return;
    }
    const logger = this.#modules.get(module);
    if (logger === undefined) {
      const known = [...this.#modules.keys()].sort().join(", ");
      throw new CommandError("EINVAL", `no log module or level "${module}" (modules: ${known})`);
    }
    logger.level = level;
  }

  /** vlog/list's table. */
  list(): string {
    const file = this.#path !== undefined;
    const lines = ["                 console    file", "                 -------    ----"];
    for (const { name, level } of [...this.#modules.values()].sort(byName)) {
      const text = level.toUpperCase();
      lines.push(`${name.padEnd(16)} ${(file ? "OFF" : text).padEnd(10)} ${file ? text : "OFF"}`);
    }
    return lines.join("\n") + "\n";
  }

  /** Opens the log file anew, after something has moved it away. */
  reopen(): void {
    if (this.#path === undefined) return;
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(this.#path, { append: true, create: true, mode: 0o640 });
    } catch (cause) {
      if (this.#file !== undefined) return; // keep the one we have
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new CommandError("EIO", `cannot open log file ${this.#path}: ${reason}`, { cause });
    }
    this.#file?.close();
    this.#file = file;
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #write(module: string, level: Level, text: string): void {
    this.#count++;
    const number = String(this.#count).padStart(5, "0");
    const body = text.replaceAll("\n", "\n    ");
    const line = `${new Date().toISOString()}|${number}|${module}|${level.toUpperCase()}|${body}`;
    if (this.#onLine !== undefined) return this.#onLine(line);
    try {
      writeAll(this.#file ?? Deno.stderr, new TextEncoder().encode(line + "\n"));
    } catch {
      // A full disk or a closed terminal must not end the switch.
    }
  }
}

function writeAll(sink: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += sink.writeSync(bytes.subarray(at));
}

function isAny(word: string): boolean {
  return word.toUpperCase() === "ANY";
}

function byName(a: Logger, b: Logger): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
