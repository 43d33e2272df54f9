/**
 * Loads a vport type from a third party's file: checks whose file it is, imports it by absolute URL,
 * and checks what it exports. The control isolate loads every plug-in first, so one whose top level
 * hangs or throws is refused there; each packet thread then imports the same URL in its own isolate.
 *
 * The file may be TypeScript, run from the sources and from the executable alike: Deno's module
 * loader does the work in both, which is why it may import host code only as types.
 */
import { describe, PluginError, toVportOps } from "./shape.ts";
import type { PluginApi, VportOps } from "./vport.ts";

/** A plug-in file as checked: what the threads are given to import. */
export interface PluginFile {
  /** Absolute path, links resolved. */
  readonly path: string;
  /** `file:` URL with the file's time, so that a changed file is a new module. */
  readonly url: string;
}

/** How long a module's top level may take. */
export const LOAD_TIMEOUT_MS = 5000;
const SUFFIXES = [".ts", ".js", ".mts", ".mjs"];
const GROUP_OR_WORLD_WRITABLE = 0o022;

/** Finds the file and checks that only root or we ourselves can have written it. Throws PluginError. */
export async function checkPluginFile(path: string): Promise<PluginFile> {
  let real: string;
  let info: Deno.FileInfo;
  try {
    real = await Deno.realPath(path);
    info = await Deno.stat(real);
  } catch (cause) {
    throw new PluginError(`Cannot load plug-in ${path}: ${describe(cause)}`, { cause });
  }
  const refuse = (why: string): never => {
    throw new PluginError(`Cannot load plug-in ${real}: ${why}`);
  };
  if (!info.isFile) refuse("it is not a regular file");
  if (!SUFFIXES.some((suffix) => real.endsWith(suffix))) {
    refuse(`its name must end in one of ${SUFFIXES.join(" ")}`);
  }
  const us = Deno.uid();
  if (info.uid !== 0 && info.uid !== us) {
    refuse(`it belongs to uid ${info.uid} (must belong to root or to uid ${us}, who runs denovs)`);
  }
  if (((info.mode ?? 0) & GROUP_OR_WORLD_WRITABLE) !== 0) {
    const mode = ((info.mode ?? 0) & 0o7777).toString(8).padStart(4, "0");
    refuse(`its mode is ${mode}: others may write it (chmod go-w ${real})`);
  }
  return { path: real, url: `${fileUrl(real)}?v=${info.mtime?.getTime() ?? 0}` };
}

/** Imports a checked file and returns the type it defines. Throws PluginError, also after LOAD_TIMEOUT_MS. */
export async function loadPlugin(file: PluginFile, api: PluginApi): Promise<VportOps> {
  let module: { readonly default?: unknown };
  try {
    module = await withTimeout(import(file.url), LOAD_TIMEOUT_MS);
  } catch (cause) {
    throw new PluginError(`Cannot load plug-in ${file.path}: ${describe(cause)}`, { cause });
  }
  return toVportOps(module.default, api, file.path);
}

/** `file:` URL of an absolute path (node:url costs start-up time). */
function fileUrl(path: string): string {
  const escaped = encodeURI(path).replaceAll("?", "%3F").replaceAll("#", "%23");
  return new URL(`file://${escaped}`).href;
}

async function withTimeout<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`its top level has not finished after ${timeoutMs} ms`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
