/**
 * Loads a vport type from a third party's file: checks whose file it is, imports it by absolute URL,
 * and checks what it exports. The control isolate loads every plug-in first, so one whose top level
 * hangs or throws is refused there; each packet thread then imports the same URL in its own isolate.
 *
 * The file may be TypeScript, run from the sources and from the executable alike: Deno's module
 * loader does the work in both, which is why it may import host code only as types.
 */
import { describe, PluginError, toVportOps } from "./shape.ts";
import { adaptAsync } from "./async_port.ts";
import { pluginApi } from "./plugin_api.ts";
import type { AnyVportOps, PluginApi, VportOps } from "./vport.ts";

/** A plug-in file as checked: what the threads are given to import. */
export interface PluginFile {
  /** Absolute path, links resolved. */
  readonly path: string;
  /** `file:` URL with the file's time, so that a changed file is a new module. */
  readonly url: string;
}

/** How long a module's top level may take. */
export const LOAD_TIMEOUT_MS = 5000;
/** From the sources; a bundle has no such file, and passes its main module. */
const WORKER_URL: string = new URL("./async_entry.ts", import.meta.url).href;
const SUFFIXES = [".ts", ".js", ".mts", ".mjs"];
/** Modules beside a plug-in that are none. */
const NOT_PLUGINS = /(^\.|_test\.m?[tj]s$|\.d\.m?ts$)/;
const GROUP_OR_WORLD_WRITABLE = 0o022;
const STICKY = 0o1000;

/**
 * Finds the file and checks that only root or we ourselves can have written it, or put it in its
 * place. `what` is what errors call it. Throws PluginError.
 */
export async function checkPluginFile(path: string, what = "plug-in"): Promise<PluginFile> {
  let real: string;
  let info: Deno.FileInfo;
  try {
    real = await Deno.realPath(path);
    info = await Deno.stat(real);
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "there is no such file" : describe(cause);
    throw new PluginError(`Cannot load ${what} ${path}: ${why}`, { cause });
  }
  const refuse = (why: string): never => {
    throw new PluginError(`Cannot load ${what} ${real}: ${why}`);
  };
  if (!info.isFile) refuse("it is not a regular file");
  if (!SUFFIXES.some((suffix) => real.endsWith(suffix))) {
    refuse(`its name must end in one of ${SUFFIXES.join(" ")}`);
  }
  const fault = findAccessFault(info, real);
  if (fault !== undefined) refuse(fault);
  const folder = real.slice(0, real.lastIndexOf("/")) || "/";
  const folderFault = await findFolderFault(folder);
  if (folderFault !== undefined) refuse(`its folder ${folder} is not safe: ${folderFault}`);
  return { path: real, url: `${fileUrl(real)}?v=${info.mtime?.getTime() ?? 0}` };
}

/** Plug-in files of a folder, by name. Tests, declarations and hidden files are left out. Throws PluginError when the folder can't be read or others may write it. */
export async function findPluginFiles(folder: string): Promise<readonly string[]> {
  const names: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const isModule = SUFFIXES.some((suffix) => name.endsWith(suffix)) && !NOT_PLUGINS.test(name);
      if (!isDirectory && isModule) names.push(`${folder}/${name}`);
    }
  } catch (cause) {
    throw new PluginError(`Cannot read the plug-in folder ${folder}: ${describe(cause)}`, {
      cause,
    });
  }
  const fault = await findFolderFault(folder);
  if (fault !== undefined) {
    throw new PluginError(`Cannot use the plug-in folder ${folder}: ${fault}`);
  }
  return names.sort();
}

/** Who else could write a file or folder; undefined: nobody. */
function findAccessFault(info: Deno.FileInfo, path: string): string | undefined {
  const us = Deno.uid();
  if (info.uid !== 0 && info.uid !== us) {
    return `it belongs to uid ${info.uid} (must belong to root or to uid ${us}, who runs denovs)`;
  }
  const mode = (info.mode ?? 0) & 0o7777;
  if ((mode & GROUP_OR_WORLD_WRITABLE) === 0) return undefined;
  const text = mode.toString(8).padStart(4, "0");
  return `its mode is ${text}: others may write it (chmod go-w ${path})`;
}

/** In a sticky folder (/tmp) others may add files, but not replace ours. */
async function findFolderFault(folder: string): Promise<string | undefined> {
  const info = await Deno.stat(folder);
  return ((info.mode ?? 0) & STICKY) !== 0 ? undefined : findAccessFault(info, folder);
}

/**
 * Imports a checked file and returns the type it defines; of an asynchronous one an ordinary type
 * that runs its ports in Workers of `workerUrl` (see async_port.ts). Throws PluginError, also after
 * LOAD_TIMEOUT_MS.
 */
export async function loadPlugin(
  file: PluginFile,
  api: PluginApi,
  workerUrl: string = WORKER_URL,
): Promise<VportOps> {
  const ops = await loadAnyPlugin(file, api);
  return ops.kind === "async" ? adaptAsync(ops, file, workerUrl) : ops;
}

/** The same, the type as it is. */
export async function loadAnyPlugin(file: PluginFile, api: PluginApi): Promise<AnyVportOps> {
  return toVportOps(await importDefault(file), api, file.path);
}

/** Imports a checked file and returns its default export, unchecked. Throws PluginError, also after LOAD_TIMEOUT_MS. */
export async function importDefault(file: PluginFile, what = "plug-in"): Promise<unknown> {
  try {
    const module: { readonly default?: unknown } = await withTimeout(
      import(file.url),
      LOAD_TIMEOUT_MS,
    );
    return module.default;
  } catch (cause) {
    throw new PluginError(`Cannot load ${what} ${file.path}: ${describeImport(cause)}`, { cause });
  }
}

/** What an import threw, as its author knows the file: without the type error around a syntax error, and without the time in the URL. */
function describeImport(cause: unknown): string {
  return describe(cause).replace(/^TypeError: (?=SyntaxError: )/, "").replace(
    /\?v=\d+(?=:\d+:\d+)/g,
    "",
  );
}

/** For tests of a type: checks and loads its file, given by its `file:` URL or path. Throws PluginError. */
export async function loadType(file: URL | string): Promise<VportOps> {
  const path = typeof file === "string" ? file : decodeURIComponent(file.pathname);
  return await loadPlugin(await checkPluginFile(path), pluginApi);
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
