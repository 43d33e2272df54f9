/**
 * `plugin-check` in its child process: loads a file as a packet thread would, and runs the
 * conformance suite over ports of its type. Says what happens in lines of JSON on standard output,
 * each behind {@link MARK}, because a plug-in may print as well. Its parent is plugin_child.ts.
 */
import { checkPluginFile, loadPlugin } from "../vports/loader.ts";
import { runConformance } from "../vports/conformance.ts";
import { pluginApi } from "../vports/plugin_api.ts";
import { describe } from "../vports/shape.ts";
import type { PluginCheckLine } from "./plugin_child.ts";

export interface PluginCheckTask {
  readonly file: string;
  /** Only load it. */
  readonly loadOnly: boolean;
  /** Options of the ports. */
  readonly options: Readonly<Record<string, string>>;
}

/** Name of the ports that are made. */
const PORT_NAME = "check0";

/** Does it. Returns when everything has been said. */
export async function checkPlugin(
  { mainUrl, ...task }: PluginCheckTask & { readonly mainUrl: string },
  say: (line: PluginCheckLine) => void,
): Promise<void> {
  try {
    say({ begin: "loading" });
    const ops = await loadPlugin(await checkPluginFile(task.file), pluginApi, mainUrl);
    const { type, summary } = ops;
    say({ loaded: { type, summary } });
    if (task.loadOnly) return;
    const { options } = task;
    try {
      ops.parseOptions(new Map(Object.entries(options)));
    } catch (error) {
      const given = Object.keys(options).length > 0 ? "these options" : "no options";
      say({
        fault: `a port can't be made with ${given}: ${describe(error)} (give options that work: ` +
          "denovs plugin-check FILE key=value...)",
      });
      return;
    }
    const subject = { ops, name: PORT_NAME, options };
    for await (const result of runConformance(subject, (name) => say({ begin: name }))) {
      say({ result });
    }
  } catch (error) {
    say({ fault: error instanceof Error ? error.message : String(error) });
  } finally {
    say({ end: true });
  }
}
