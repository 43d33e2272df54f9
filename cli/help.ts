/** The command help, and the overview that it prints without a command. */
import { buildCommand, type Command } from "@stricli/core";
import {
  COMMAND_NAMES,
  type Commands,
  CONNTRACK_DPCTL_ONLY,
  DPCTL_ALIASES,
  HIDDEN_COMMANDS,
} from "./commands.ts";
import { asText, type CliContext, documentation } from "./flags.ts";

/** Commands by subject, in the order of the overview. */
export const COMMAND_GROUPS: readonly (readonly [string, readonly string[]])[] = [
  ["Switch", ["run", "stop"]],
  ["Datapaths", ["dp-add", "dp-del", "dp-list", "dp-show", "dp-set"]],
  ["Ports", ["port-add", "port-del", "port-set", "port-list"]],
  [
    "Flows",
    [
      ...["flow-add", "flow-mod", "flow-del", "flow-get", "flow-dump", "flow-flush"],
      ...["flow-load", "flow-save"],
    ],
  ],
  ["Meters", ["meter-add", "meter-mod", "meter-del", "meter-show"]],
  [
    "Connections",
    [
      ...["ct-dump", "ct-exp-dump", "ct-flush", "ct-stats", "ct-bkts"],
      ...["ct-limit-set", "ct-limit-get", "ct-limit-del", "ct-maxconns"],
      ...["ct-timeout-set", "ct-timeout-get", "ct-timeout-del", "ct-set", "ct-show"],
    ],
  ],
  ["Flow language", ["flow-parse", "packet-parse", "packet-make"]],
  ["Port types", ["plugin-list", "plugin-add", "plugin-del", "plugin-check", "plugin-new"]],
  ["Looking on", ["trace", "trace-live", "capture", "upcalls"]],
  ["More", ["explain", "batch", "completions", "version", "help"]],
];

/** Commands of ovs-dpctl that are no other name of one of ours. */
export const DPCTL_ONLY: readonly string[] = [
  ...["add-flows", "mod-flows", "del-flows", "cache-get-size", "cache-set-size"],
  ...CONNTRACK_DPCTL_ONLY,
];

/** `help [COMMAND]`; cli/main.ts turns it into --help before the tree is asked. */
export const help: Command<CliContext> = buildCommand<
  Record<never, never>,
  [string | undefined],
  CliContext
>({
  parameters: {
    positional: {
      kind: "tuple",
      parameters: [{
        brief: "Command to explain",
        parse: asText,
        placeholder: "COMMAND",
        optional: true,
        proposeCompletions: () => COMMAND_NAMES.filter((name) => !HIDDEN_COMMANDS.includes(name)),
      }],
    },
  },
  docs: documentation({
    brief: "Explain a command, or list them all",
    usage: ["[COMMAND]"],
    description: "Explains a command with its options and examples; without one lists them all.",
    examples: ["help flow-add"],
  }),
  func(): void {
    this.session.live();
  },
});

/** What `denovs`, `denovs help` and `denovs --help` print. */
export function renderOverview(commands: Commands): string {
  let text = "denovs: a software switch\n\nUSAGE\n  denovs COMMAND [ARGUMENTS] [OPTIONS]\n";
  for (const [title, names] of COMMAND_GROUPS) {
    text += `\n${title.toUpperCase()}\n`;
    for (const name of names) text += `  ${name.padEnd(14)} ${commands[name]!.brief}\n`;
  }
  const aliases = [...Object.keys(DPCTL_ALIASES), ...DPCTL_ONLY].join(" ");
  return text +
    "\nThe spellings of ovs-dpctl work too:\n" +
    `${wrap(aliases, 78)}\n` +
    "\nOptions of most commands: --json, --socket PATH, --state FILE.\n" +
    "`denovs help COMMAND` explains one command.\n" +
    "\nEXAMPLES\n" +
    "  denovs dp-add br0\n" +
    "  denovs port-add br0 eth1\n" +
    "  denovs port-add br0 eth2\n" +
    "  denovs flow-add br0 'in_port(eth1)' 2\n" +
    "  denovs run\n";
}

function wrap(text: string, width: number): string {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1)!.length + word.length + 1 > width) lines.push("");
    lines[lines.length - 1] += `${lines.at(-1) === "" ? "  " : " "}${word}`;
  }
  return lines.join("\n");
}
