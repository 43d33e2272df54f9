/** The folder of plug-ins that `run` loads: a file that can't be used is noted, and the switch goes on without it. */
import type { Logger } from "./log.ts";
import type { Switch } from "./switch/switch.ts";
import { findPluginFiles } from "../vports/loader.ts";

/** Where it is unless told otherwise. */
const DEFAULT_FOLDER = "/etc/denovs/plugins";

/** Loads every plug-in of the folder; undefined: the default one, which need not exist. Throws PluginError when a folder that the user named can't be used. */
export async function loadPluginFolder(
  live: Switch,
  folder: string | undefined,
  log: Logger,
): Promise<void> {
  let files: readonly string[];
  try {
    if (folder === undefined && !await isFolder(DEFAULT_FOLDER)) return;
    files = await findPluginFiles(folder ?? DEFAULT_FOLDER);
  } catch (error) {
    if (folder !== undefined) throw error;
    log.error(messageOf(error));
    return;
  }
  for (const file of files) {
    try {
      await live.loadPlugin(file);
    } catch (error) {
      const reason = messageOf(error);
      log.error(reason);
      live.plugins.refuse(file, reason.replace(`Cannot load plug-in ${file}: `, ""));
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch {
    return false;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
