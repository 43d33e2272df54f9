/** The daemon's commands: run and stop. */
import { buildCommand, type Command } from "@stricli/core";
import { UsageError } from "../daemon/dpctl.ts";
import { defaultLogFile, defaultPidfile, defaultSocket, defaultState } from "../daemon/paths.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
  textFlag,
} from "./flags.ts";

const THREADS_MAX = 16;

interface RunFlags {
  readonly socket?: string | undefined;
  readonly state?: string | undefined;
  readonly detach?: boolean | undefined;
  readonly pidfile?: string | undefined;
  readonly logFile?: string | undefined;
  readonly threads?: number | undefined;
  readonly plugin: readonly string[];
  readonly pluginDir?: string | undefined;
  readonly verbose: readonly string[];
}

const RUN: CommandText = {
  brief: "Run the switch",
  usage: [
    "[--threads N] [--plugin FILE]... [--plugin-dir DIR] [--detach] [--pidfile[=FILE]] [--log-file[=FILE]] " +
    "[-v[=SPEC]]... [--socket PATH] [--state FILE]",
  ],
  description: "Restores the saved datapaths, ports and flows, forwards packets and serves the\n" +
    "control socket until SIGTERM, SIGINT or denovs stop. Stays in the foreground and logs to\n" +
    "standard error unless --detach or --log-file is given. SIGHUP reopens the log file. SPEC is\n" +
    "LEVEL or MODULE:LEVEL with the levels off, err, warn, info and dbg; -v alone means dbg.",
  examples: [
    "run",
    "run --threads 2 --plugin ./my_port.ts",
    "run --detach --pidfile --log-file",
  ],
};

export const run: Command<CliContext> = buildCommand<RunFlags, [], CliContext>({
  parameters: {
    flags: {
      socket: COMMON_FLAGS.socket,
      state: COMMON_FLAGS.state,
      detach: switchFlag("Go on in the background; returns when the switch is ready"),
      pidfile: optionalFile("Write the process number to FILE"),
      logFile: optionalFile("Log to FILE instead of standard error"),
      threads: {
        kind: "parsed",
        parse: parseThreads,
        placeholder: "N",
        optional: true,
        brief: "Packet threads (1 on up to 2 cores, else cores − 1 up to 4)",
      },
      plugin: {
        kind: "parsed",
        parse: asText,
        placeholder: "FILE",
        variadic: true,
        default: [],
        brief: "Module with a port type; may be repeated",
      },
      pluginDir: textFlag("DIR", "Folder of such modules (/etc/denovs/plugins)"),
      verbose: {
        kind: "parsed",
        parse: (text: string) => text === "" ? "dbg" : text,
        inferEmpty: true,
        placeholder: "SPEC",
        variadic: true,
        default: [],
        brief: "Log level, LEVEL or MODULE:LEVEL; may be repeated",
      },
    },
    aliases: { v: "verbose" },
    positional: { kind: "tuple", parameters: [] },
  },
  docs: documentation(RUN),
  async func(flags): Promise<void> {
    this.session.live();
    this.session.output.flush();
    const { runDaemon }: typeof import("../daemon/run.ts") = await import(
      "../daemon/run.ts" as string
    );
    this.process.exitCode = await runDaemon({
      socket: flags.socket ?? defaultSocket(),
      state: flags.state ?? defaultState(),
      threads: flags.threads,
      plugins: flags.plugin,
      pluginDir: flags.pluginDir,
      detach: flags.detach === true,
      pidfile: flags.pidfile === "" ? defaultPidfile() : flags.pidfile,
      logFile: flags.logFile === "" ? defaultLogFile() : flags.logFile,
      verbose: flags.verbose,
      mainUrl: this.session.mainUrl,
    });
  },
});

const STOP: CommandText = {
  brief: "End the running switch",
  usage: ["[--socket PATH]"],
  description: "Asks the daemon to end and returns when it has: network devices are given back,\n" +
    "internal devices and the saved state stay.",
  examples: ["stop"],
};

export const stop: Command<CliContext> = buildCommand<CommonFlags, [], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: { kind: "tuple", parameters: [] } },
  docs: documentation(STOP),
  async func(flags): Promise<void> {
    this.session.live();
    await this.session.submit(flags, { method: "stop", params: {} });
  },
});

/** An option whose value may be left out. */
function optionalFile(brief: string): {
  readonly kind: "parsed";
  readonly parse: (input: string) => string;
  readonly inferEmpty: true;
  readonly placeholder: string;
  readonly brief: string;
  readonly optional: true;
} {
  return {
    kind: "parsed",
    parse: asText,
    inferEmpty: true,
    placeholder: "FILE",
    brief,
    optional: true,
  };
}

function parseThreads(text: string): number {
  const number = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > THREADS_MAX) {
    throw new UsageError(`"${text}" is not a number of threads (1 … ${THREADS_MAX})`);
  }
  return number;
}
