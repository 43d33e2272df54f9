/**
 * Tries a plug-in in a child process with a time limit, so that a file that never comes back, or ends
 * its process, does no harm where it is wanted: the running switch, or the user's command.
 */
import type { ConformanceResult } from "../vports/conformance.ts";
import { PluginError } from "../vports/shape.ts";
import type { PluginCheckTask } from "./plugin_check.ts";
import { selfCommand } from "./version.ts";

/** What the child says, one of them per line. */
export interface PluginCheckLine {
  /** A step begins. */
  readonly begin?: string;
  readonly loaded?: { readonly type: string; readonly summary: string };
  readonly result?: ConformanceResult;
  /** The file can't be checked. */
  readonly fault?: string;
  readonly end?: boolean;
}

/** What came of it. */
export interface PluginCheckReport {
  /** Undefined: it could not be loaded. */
  readonly type: string | undefined;
  readonly summary: string | undefined;
  readonly results: readonly ConformanceResult[];
  /** Why the checks ended early, or did not begin. */
  readonly fault: string | undefined;
}

/** In front of each line that is not the plug-in's own. */
export const MARK = "\u0001denovs ";
/** The hidden command that the child is. */
export const CHILD_COMMAND = "__plugin-check";
/** How long a step may take: a check, or loading the file. */
export const STEP_TIMEOUT_MS = 10_000;

export interface PluginChildOptions {
  /** URL of main.ts. */
  readonly mainUrl: string;
  readonly stepTimeoutMs?: number | undefined;
}

/** Runs the child and gathers what it says. The plug-in's own output goes nowhere. */
export async function checkInChild(
  task: PluginCheckTask,
  { mainUrl, stepTimeoutMs = STEP_TIMEOUT_MS }: PluginChildOptions,
): Promise<PluginCheckReport> {
  const [program, ...before] = selfCommand(mainUrl);
  const child = new Deno.Command(program, {
    args: [...before, CHILD_COMMAND, JSON.stringify(task)],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const complaints = new Response(child.stderr).text();
  const report = new Report(stepTimeoutMs);
  let timer = setTimeout(() => {}, 0);
  const watch = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      report.timedOut = true;
      child.kill("SIGKILL");
    }, stepTimeoutMs);
  };
  watch();
  try {
    for await (const line of lines(child.stdout)) {
      if (!line.startsWith(MARK)) continue;
      watch();
      report.add(JSON.parse(line.slice(MARK.length)) as PluginCheckLine);
      if (report.ended) break;
    }
  } finally {
    clearTimeout(timer);
    if (report.ended) kill(child);
  }
  const { code, signal } = await child.status;
  return report.close(signal ?? `status ${code}`, await complaints);
}

/** For `Switch`: refuses a file whose top level does not come back, or ends the process. Throws PluginError. */
export async function probePlugin(path: string, options: PluginChildOptions): Promise<void> {
  const { fault } = await checkInChild({ file: path, loadOnly: true, options: {} }, options);
  if (fault === undefined) return;
  const text = fault.startsWith("Cannot load plug-in")
    ? fault
    : `Cannot load plug-in ${path}: ${fault}`;
  throw new PluginError(text);
}

class Report {
  timedOut = false;
  ended = false;
  readonly #stepTimeoutMs: number;
  readonly #results: ConformanceResult[] = [];
  #loaded: PluginCheckLine["loaded"];
  #fault: string | undefined;
  #step = "starting";

  constructor(stepTimeoutMs: number) {
    this.#stepTimeoutMs = stepTimeoutMs;
  }

  add({ begin, loaded, result, fault, end }: PluginCheckLine): void {
    if (begin !== undefined) this.#step = begin;
    if (loaded !== undefined) this.#loaded = loaded;
    if (result !== undefined) this.#results.push(result);
    if (fault !== undefined) this.#fault = fault;
    if (end === true) this.ended = true;
  }

  /** `how` and `complaints`: how the child ended, and its standard error. */
  close(how: string, complaints: string): PluginCheckReport {
    let fault = this.#fault;
    if (!this.ended && this.timedOut) {
      const seconds = this.#stepTimeoutMs / 1000;
      fault = `it has not come back for ${seconds} s from: ${this.#step}`;
    } else if (!this.ended) {
      const last = complaints.trim().split("\n").at(-1) ?? "";
      const why = last === "" ? "" : ` (${last})`;
      fault = `it has ended its process (${how}) in: ${this.#step}${why}`;
    }
    return {
      type: this.#loaded?.type,
      summary: this.#loaded?.summary,
      results: this.#results,
      fault,
    };
  }
}

/** It has said all that it had to say; Workers of the plug-in may keep it. */
function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}
