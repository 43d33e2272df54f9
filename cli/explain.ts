/** The command explain: drop reasons in words. Asks nobody. */
import { buildCommand, type Command } from "@stricli/core";
import { CommandError } from "../daemon/api.ts";
import { DROP_HELP } from "../datapath/drop_help.ts";
import { DROP_REASONS } from "../datapath/drop_reasons.ts";
import { nearest } from "../datapath/text/near.ts";
import { asText, type CliContext, type CommandText, documentation, switchFlag } from "./flags.ts";

interface ExplainFlags {
  readonly json?: boolean | undefined;
}

const REASONS: ReadonlyMap<string, string> = new Map(
  DROP_REASONS.filter(([name]) => name !== "none").map(([name, meaning]) => [name, meaning]),
);

const EXPLAIN: CommandText = {
  brief: "Explain why packets are dropped",
  usage: ["[REASON...] [--json]"],
  description:
    "Says what a drop reason, as dp-show counts them, means, where such drops come from as a\n" +
    "rule, and what to do about them. Without a reason lists all with their meanings.",
  examples: ["explain", "explain over-mtu", "dp-show br0 --drops"],
};

export const explain: Command<CliContext> = buildCommand<ExplainFlags, string[], CliContext>({
  parameters: {
    flags: { json: switchFlag("Print the result as JSON") },
    positional: {
      kind: "array",
      parameter: {
        brief: "Drop reason",
        parse: asText,
        placeholder: "REASON",
        proposeCompletions: () => [...REASONS.keys()],
      },
    },
  },
  docs: documentation(EXPLAIN),
  func(flags, ...names): void {
    this.session.live();
    const reasons = (names.length === 0 ? [...REASONS.keys()] : names).map(describe);
    const text = flags.json === true
      ? `${JSON.stringify({ reasons }, null, 2)}\n`
      : names.length === 0
      ? renderList(reasons)
      : reasons.map(renderOne).join("\n");
    this.session.output.print(text);
  },
});

interface Explained {
  readonly reason: string;
  readonly meaning: string;
  readonly causes: string;
  readonly advice: string;
}

function describe(reason: string): Explained {
  const meaning = REASONS.get(reason);
  if (meaning === undefined) {
    const message = `unknown drop reason "${reason}"${nearest(reason, REASONS.keys())}`;
    throw new CommandError("EINVAL", message);
  }
  const { causes = "", advice = "" } = DROP_HELP[reason] ?? {};
  return { reason, meaning, causes, advice };
}

function renderList(reasons: readonly Explained[]): string {
  const width = Math.max(...reasons.map(({ reason }) => reason.length));
  return reasons.map(({ reason, meaning }) => `${reason.padEnd(width)}  ${meaning}\n`).join("");
}

function renderOne({ reason, meaning, causes, advice }: Explained): string {
  return `${reason}: ${meaning}\n\nLikely causes\n${wrap(causes)}\n\nWhat to do\n${wrap(advice)}\n`;
}

/** Lines of up to 80 characters, indented by two. */
function wrap(text: string): string {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1)!.length + word.length + 1 > 80) lines.push("");
    lines[lines.length - 1] += `${lines.at(-1) === "" ? "  " : " "}${word}`;
  }
  return lines.join("\n");
}
