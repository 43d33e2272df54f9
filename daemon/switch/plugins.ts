/**
 * Third parties' vport types in the running switch: loaded in the control isolate first, so that what
 * can't be used is refused there, then in every packet thread; or nowhere.
 *
 * A file that has changed may be loaded again: ports made from then on are of the new type, those
 * that exist stay as they are.
 */
import { RuleError } from "../../datapath/errors.ts";
import { checkPluginFile, loadPlugin, type PluginFile } from "../../vports/loader.ts";
import { pluginApi } from "../../vports/plugin_api.ts";
import { BUILT_IN, type RegisteredType, type VportRegistry } from "../../vports/registry.ts";
import type { ThreadLink } from "./thread_link.ts";

/** What {@link Plugins.load} did. */
export interface LoadedPlugin {
  readonly type: string;
  /** Absolute path, links resolved. */
  readonly file: string;
  readonly change: "added" | "reloaded" | "unchanged";
}

/** A file that could not be used. */
export interface RefusedPlugin {
  readonly file: string;
  readonly reason: string;
}

export interface PluginsOptions {
  readonly types: VportRegistry;
  readonly links: readonly ThreadLink[];
  /** Module that runs asynchronous ports' Workers; undefined: vports/async_entry.ts. */
  readonly workerUrl?: string | undefined;
  /** Tries the file elsewhere, so that one that never comes back does no harm here. Throws what to refuse it with. */
  readonly probe?: ((file: PluginFile) => Promise<void>) | undefined;
  /** `NAME of datapath NAME` of every port of a type. */
  portsOf(type: string): readonly string[];
}

export class Plugins {
  readonly #options: PluginsOptions;
  /** By path. */
  readonly #refused: Map<string, string> = new Map();

  constructor(options: PluginsOptions) {
    this.#options = options;
  }

  /** Files that were noted by {@link refuse} and have not been loaded since. */
  get refused(): readonly RefusedPlugin[] {
    return [...this.#refused].map(([file, reason]) => ({ file, reason }));
  }

  /** Notes a file that the switch goes on without. */
  refuse(file: string, reason: string): void {
    this.#refused.set(file, reason);
  }

  /** Throws PluginError, DuplicateTypeError, ThreadError; then nothing has changed. */
  async load(path: string): Promise<LoadedPlugin> {
    const { types } = this.#options;
    const file = await checkPluginFile(path);
    const same = types.list().find(({ url }) => url === file.url);
    if (same !== undefined) return { type: same.ops.type, file: file.path, change: "unchanged" };
    await this.#options.probe?.(file);
    const ops = await loadPlugin(file, pluginApi, this.#options.workerUrl);
    const before = types.entry(ops.type);
    types.register(ops, file.path, file.url);
    try {
      await this.#loadInThreads(file);
    } catch (error) {
      await this.#undo(ops.type, before);
      throw error;
    }
    this.#refused.delete(file.path);
    return { type: ops.type, file: file.path, change: before === undefined ? "added" : "reloaded" };
  }

  /** Throws RuleError (ENOENT, EINVAL for built-in types, EBUSY while there are ports of it). */
  async unload(type: string): Promise<void> {
    const { types, portsOf } = this.#options;
    const entry = types.entry(type);
    const doing = `Cannot remove vport type "${type}"`;
    if (entry === undefined) {
      const known = types.names().join(", ");
      throw new RuleError("ENOENT", `${doing}: there is none (known types: ${known})`);
    }
    if (entry.origin === BUILT_IN) throw new RuleError("EINVAL", `${doing}: it is built in`);
    const ports = portsOf(type);
    if (ports.length > 0) {
      throw new RuleError("EBUSY", `${doing}: port ${ports.join(", port ")} is of it (port-del)`);
    }
    types.unregister(type);
    await this.#unloadInThreads(type);
  }

  /** Posts to a new thread what all the others have. A type that it can't load fails its ports there. */
  async reloadIn(link: ThreadLink): Promise<void> {
    const loads = this.#options.types.list().flatMap(({ origin, url }) =>
      url === undefined ? [] : [link.request("load-plugin", { path: origin, url })]
    );
    await Promise.allSettled(loads);
  }

  async #loadInThreads({ path, url }: PluginFile): Promise<void> {
    const { links } = this.#options;
    const params = { path, url };
    const answers = await Promise.allSettled(
      links.map((link) => link.request("load-plugin", params)),
    );
    for (const answer of answers) {
      if (answer.status === "rejected") throw answer.reason;
    }
  }

  async #unloadInThreads(type: string): Promise<void> {
    const { links } = this.#options;
    await Promise.allSettled(links.map((link) => link.request("unload-plugin", { type })));
  }

  /** Every isolate still has the former module under its URL. */
  async #undo(type: string, before: RegisteredType | undefined): Promise<void> {
    const { types } = this.#options;
    types.unregister(type);
    await this.#unloadInThreads(type);
    if (before?.url === undefined) return;
    types.register(before.ops, before.origin, before.url);
    await this.#loadInThreads({ path: before.origin, url: before.url });
  }
}
