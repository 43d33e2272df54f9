/** Commands on port types: plugin-add, plugin-del, plugin-list, plugin-check, plugin-new. */
import { buildCommand, type Command } from "@stricli/core";
import { CommandError, type Methods } from "../daemon/api.ts";
import { UsageError } from "../daemon/dpctl.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
} from "./flags.ts";

const PLUGIN_ADD: CommandText = {
  brief: "Load port types into the running switch",
  usage: ["FILE..."],
  description:
    "Loads plug-ins, TypeScript or JavaScript files that each define a port type. A changed file\n" +
    "is loaded again: ports that exist stay as they are, new ones are of the new code. Files must\n" +
    "belong to root or to the user who runs the switch, and nobody else may write them. Lasts\n" +
    "until the daemon ends: what is to stay goes into the plug-in folder (run --plugin-dir).",
  examples: ["plugin-add ./my_port.ts"],
};

export const pluginAdd: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: {
    flags: COMMON_FLAGS,
    positional: {
      kind: "array",
      parameter: { brief: "Module with a port type", parse: asText, placeholder: "FILE" },
      minimum: 1,
    },
  },
  docs: documentation(PLUGIN_ADD),
  async func(flags, ...files): Promise<void> {
    this.session.live();
    for (const file of files) {
      await this.session.submit(
        flags,
        { method: "plugin-add", params: { file: absolute(file) } },
        ({ type, file: path, change }) => `${change} port type ${type} (${path})\n`,
      );
    }
  },
});

interface DelFlags extends CommonFlags {
  readonly ifExists?: boolean | undefined;
}

const PLUGIN_DEL: CommandText = {
  brief: "Remove a plug-in's port type from the running switch",
  usage: ["TYPE [--if-exists]"],
  description:
    "Forgets a port type that came from a plug-in. Refused while there are ports of the type.",
  examples: ["plugin-del udp"],
};

export const pluginDel: Command<CliContext> = buildCommand<DelFlags, [string], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, ifExists: switchFlag("Do nothing if there is no such type") },
    positional: {
      kind: "tuple",
      parameters: [{ brief: "Name of the type", parse: asText, placeholder: "TYPE" }],
    },
  },
  docs: documentation(PLUGIN_DEL),
  async func(flags, type): Promise<void> {
    this.session.live();
    const { ifExists } = flags;
    await this.session.submit(flags, { method: "plugin-del", params: { type, ifExists } });
  },
});

const PLUGIN_LIST: CommandText = {
  brief: "List the port types",
  usage: ["[--json]"],
  description:
    "Prints every port type that port-add --type takes: its name, where it comes from, how many\n" +
    "ports are of it, and what it is. Files of the plug-in folder that could not be used follow\n" +
    "with the reason.",
  examples: ["plugin-list"],
};

export const pluginList: Command<CliContext> = buildCommand<CommonFlags, [], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: { kind: "tuple", parameters: [] } },
  docs: documentation(PLUGIN_LIST),
  async func(flags): Promise<void> {
    this.session.live();
    await this.session.submit(flags, { method: "plugin-list", params: {} }, renderPlugins);
  },
});

function renderPlugins({ types, refused }: Methods["plugin-list"]["result"]): string {
  const rows = [["TYPE", "KIND", "PORTS", "FROM", "SUMMARY"]];
  for (const { type, kind, ports, origin, summary } of types) {
    rows.push([type, kind, `${ports}`, origin, summary]);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const table = rows.map((row) =>
    row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd() + "\n"
  );
  const faults = refused.map(({ file, reason }) => `not loaded: ${file}: ${reason}\n`);
  return [...table, ...faults].join("");
}

const PLUGIN_CHECK: CommandText = {
  brief: "Check a plug-in against the contract of port types",
  usage: ["FILE [key=value]... [--json]"],
  description:
    "Loads the file in a process of its own, with a time limit, and runs the conformance suite\n" +
    "over ports of its type, made with the options given. Needs no daemon. Exit status 1 when the\n" +
    "file can't be loaded or a check fails. What a port does with a far end is left to the\n" +
    "author's own tests (see plugin-new).",
  examples: [
    "plugin-check ./my_port.ts",
    "plugin-check examples/plugins/udp.ts remote=127.0.0.1:5001 local=:5000",
  ],
};

interface CheckFlags {
  readonly json?: boolean | undefined;
}

export const pluginCheck: Command<CliContext> = buildCommand<CheckFlags, string[], CliContext>({
  parameters: {
    flags: { json: switchFlag("Print the result as JSON") },
    positional: {
      kind: "array",
      parameter: { brief: "File, then options of its ports", parse: asText, placeholder: "FILE" },
      minimum: 1,
    },
  },
  docs: documentation(PLUGIN_CHECK),
  async func(flags, ...words): Promise<void> {
    this.session.live();
    const { output, mainUrl } = this.session;
    const [file = "", ...pairs] = words;
    const { checkInChild }: typeof import("../daemon/plugin_child.ts") = await import(
      "../daemon/plugin_child.ts" as string
    );
    const task = { file: absolute(file), loadOnly: false, options: readOptions(pairs) };
    const report = await checkInChild(task, { mainUrl });
    const { type, summary, results, fault } = report;
    if (flags.json === true) {
      output.print(`${JSON.stringify({ file: task.file, ...report }, null, 2)}\n`);
    } else {
      if (results.length > 0) output.print(`${type}: ${summary}\n`);
      for (const { name, status, message } of results) {
        const label = status === "passed" ? "ok" : status === "failed" ? "FAILED" : "skipped";
        output.print(`${label.padEnd(7)}  ${name}${message === undefined ? "" : `: ${message}`}\n`);
      }
    }
    output.flush();
    if (fault !== undefined) throw new CommandError("EINVAL", `${file}: ${fault}`);
    const failed = results.filter(({ status }) => status === "failed").length;
    if (failed > 0) {
      throw new CommandError("EINVAL", `${file}: ${failed} of ${results.length} checks failed`);
    }
  },
});

/** The child process of plugin-check and of the switch's own probing (daemon/plugin_child.ts). */
export const checkChild: Command<CliContext> = buildCommand<
  Record<never, never>,
  [string],
  CliContext
>({
  parameters: {
    positional: {
      kind: "tuple",
      parameters: [{ brief: "What to do, JSON", parse: asText, placeholder: "TASK" }],
    },
  },
  docs: documentation({
    brief: "Part of plugin-check",
    usage: ["TASK"],
    description: "Not for users.",
    examples: [],
  }),
  async func(_flags, task): Promise<void> {
    const [{ checkPlugin }, { MARK }]: [
      typeof import("../daemon/plugin_check.ts"),
      typeof import("../daemon/plugin_child.ts"),
    ] = await Promise.all([
      import("../daemon/plugin_check.ts" as string),
      import("../daemon/plugin_child.ts" as string),
    ]);
    const { output } = this.session;
    await checkPlugin({ ...JSON.parse(task), mainUrl: this.session.mainUrl }, (line) => {
      output.print(`${MARK}${JSON.stringify(line)}\n`);
      output.flush();
    });
  },
});

const PLUGIN_NEW: CommandText = {
  brief: "Write the beginnings of a port type, with a test",
  usage: ["NAME [--async]"],
  description:
    "Writes NAME.ts, a port type that works, and NAME_test.ts, which holds it to the contract (deno\n" +
    "test -A NAME_test.ts), into the current folder; when denovs runs from its sources also\n" +
    "deno.json, which says where they are. Files that exist are left alone.\n" +
    "docs/plugin-authoring.md goes on from there.",
  examples: ["plugin-new my_port", "plugin-new my_port --async"],
};

interface NewFlags {
  readonly async?: boolean | undefined;
}

export const pluginNew: Command<CliContext> = buildCommand<NewFlags, [string], CliContext>({
  parameters: {
    flags: { async: switchFlag("A type with promises, whose ports run in Workers of their own") },
    positional: {
      kind: "tuple",
      parameters: [{ brief: "Name of the type", parse: asText, placeholder: "NAME" }],
    },
  },
  docs: documentation(PLUGIN_NEW),
  async func(flags, name): Promise<void> {
    this.session.live();
    const { importsOfSources, starterFiles }: typeof import("./plugin_starter.ts") = await import(
      "./plugin_starter.ts" as string
    );
    const { executableForm } = await import(
      "../daemon/version.ts" as string
    ) as typeof import("../daemon/version.ts");
    if (!/^[a-z][a-z0-9_-]{0,14}$/.test(name)) {
      throw new UsageError(
        `"${name}" is no name for a type (1 to 15 of a-z, 0-9, _ and -, a letter first)`,
      );
    }
    const { BUILTIN_TYPES } = await import(
      "../vports/builtin.ts" as string
    ) as typeof import("../vports/builtin.ts");
    if (BUILTIN_TYPES.some(({ type }) => type === name)) {
      throw new UsageError(`"${name}" is a type that denovs has already (choose another name)`);
    }
    const { output, mainUrl } = this.session;
    const hasSources = executableForm() === "source";
    const files = starterFiles(name, { isAsync: flags.async === true, hasSources });
    const existing = files.map(([file]) => file).find(exists);
    if (existing !== undefined) throw new CommandError("EEXIST", `${existing} exists`);
    for (const [file, text] of files) {
      Deno.writeTextFileSync(file, text, { createNew: true, mode: 0o644 });
      output.print(`wrote ${file}\n`);
    }
    if (!hasSources) return;
    const config = ["deno.json", "deno.jsonc"].find(exists);
    if (config !== undefined && Deno.readTextFileSync(config).includes('"denovs"')) return;
    const imports = await importsOfSources(new URL(".", mainUrl));
    const text = JSON.stringify({ imports }, null, 2);
    if (config !== undefined) {
      output.print(`for ${name}_test.ts ${config} must have:\n${text}\n`);
    } else {
      Deno.writeTextFileSync("deno.json", `${text}\n`, { createNew: true, mode: 0o644 });
      output.print("wrote deno.json\n");
    }
  },
});

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}

function readOptions(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new UsageError(`"${pair}" is not an option (key=value)`);
    return [pair.slice(0, at), pair.slice(at + 1)];
  }));
}
