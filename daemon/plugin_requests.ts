/** The requests about port types: plugin-add, plugin-del, plugin-list. */
import type { Methods } from "./api.ts";
import type { Backend, PluginBackend } from "./backend.ts";
import { refuse } from "./command_errors.ts";
import type { Model } from "./model.ts";
import { isAsync } from "../vports/async_port.ts";

/** Loads a file. Throws CommandError, PluginError, DuplicateTypeError, ThreadError; then nothing has changed. */
export async function addPlugin(
  backend: Backend,
  file: string,
): Promise<Methods["plugin-add"]["result"]> {
  if (!file.startsWith("/")) refuse("EINVAL", `the plug-in's path "${file}" is not absolute`);
  return await pluginsOf(backend).load(file);
}

/** Throws CommandError, RuleError. */
export async function deletePlugin(
  backend: Backend,
  { type, ifExists }: Methods["plugin-del"]["params"],
): Promise<Methods["plugin-del"]["result"]> {
  const plugins = pluginsOf(backend);
  if (ifExists === true && backend.types.get(type) === undefined) return { deleted: false };
  await plugins.unload(type);
  return { deleted: true };
}

/** Offline: the types that come with the switch. */
export function listPlugins(backend: Backend, model: Model): Methods["plugin-list"]["result"] {
  const counts = new Map<string, number>();
  for (const datapath of model.values()) {
    for (const { type } of datapath.ports()) counts.set(type, (counts.get(type) ?? 0) + 1);
  }
  const types = backend.types.list().map(({ ops, origin }) => ({
    type: ops.type,
    summary: ops.summary,
    kind: isAsync(ops) ? "async" as const : "sync" as const,
    origin,
    ports: counts.get(ops.type) ?? 0,
  }));
  return { types, refused: backend.plugins?.refused ?? [] };
}

function pluginsOf(backend: Backend): PluginBackend {
  if (backend.plugins !== undefined) return backend.plugins;
  refuse(
    "ENOTCONN",
    "no daemon is running to load a plug-in (denovs run --plugin FILE, or put it into the plug-in " +
      "folder)",
  );
}
