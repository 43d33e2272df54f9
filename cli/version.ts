/** The command version. */
import { buildCommand, type Command } from "@stricli/core";
import { executableForm, FORM_TEXT, VERSION } from "../daemon/version.ts";
import { type CliContext, type CommandText, documentation, switchFlag } from "./flags.ts";

const VERSION_TEXT: CommandText = {
  brief: "Print the version and the form of this executable",
  usage: ["[--json]"],
  description: "Prints the version of this program, whether it runs from its sources, as an\n" +
    "executable made by deno compile or as a self-extracting one, and the runtime it runs on.",
  examples: ["version", "version --json"],
};

interface VersionFlags {
  readonly json?: boolean | undefined;
}

export const version: Command<CliContext> = buildCommand<VersionFlags, [], CliContext>({
  parameters: {
    flags: { json: switchFlag("Print the result as JSON") },
    positional: { kind: "tuple", parameters: [] },
  },
  docs: documentation(VERSION_TEXT),
  func(flags): void {
    this.session.live();
    const form = executableForm();
    const { deno, v8 } = Deno.version;
    this.session.output.print(
      flags.json === true
        ? `${JSON.stringify({ version: VERSION, form, deno, v8 }, null, 2)}\n`
        : `denovs ${VERSION}\n${FORM_TEXT[form]}; Deno ${deno}, V8 ${v8}\n`,
    );
  },
});
