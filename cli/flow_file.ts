/**
 * Flows from and to files: flow-load, flow-save, and the commands that ovs-dpctl has for it
 * (add-flows, mod-flows, del-flows).
 */
import { buildCommand, type Command } from "@stricli/core";
import { CommandError, type FlowInfo } from "../daemon/api.ts";
import { isFlowText, withDefaultVerb } from "../daemon/dpctl.ts";
import { renderFlowFile } from "../daemon/render/flows.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
} from "./flags.ts";
import { readInput } from "./input.ts";
import { proposeFirstDatapath } from "./propose.ts";

interface LoadFlags extends CommonFlags {
  readonly replace?: boolean | undefined;
}
interface SaveFlags extends CommonFlags {
  readonly names?: boolean | undefined;
}

const FILE_WORDS = {
  kind: "array",
  parameter: {
    brief: "Datapath (may be left out when there is one), then the file; - is standard input",
    parse: asText,
    placeholder: "FILE",
    proposeCompletions: proposeFirstDatapath,
  },
} as const;

const FLOW_LOAD: CommandText = {
  brief: "Load flows from a file, all or nothing",
  usage: ["[DP] FILE|- [--replace]"],
  description:
    "Reads lines `[add|modify|delete] FLOW [ACTIONS]`; blank lines and lines beginning\n" +
    "with # are skipped. Either all lines take effect or none: the first faulty line is named.\n" +
    "With --replace the flows that the file does not have are deleted.",
  examples: ["flow-load br0 flows.txt", "flow-save br0 | denovs flow-load br1 -"],
};

export const flowLoad: Command<CliContext> = buildCommand<LoadFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      replace: switchFlag("Delete the flows that the file does not have"),
    },
    positional: { ...FILE_WORDS, minimum: 1, maximum: 2 },
  },
  docs: documentation(FLOW_LOAD),
  async func(flags, ...words): Promise<void> {
    await loadFlows(this, flags, words, "add");
  },
});

const FLOW_SAVE: CommandText = {
  brief: "Write the flows in the form that flow-load reads",
  usage: ["[DP] [FILE|-] [--names]"],
  description:
    "Writes a line `add FLOW ACTIONS` for every flow, to FILE or standard output. With\n" +
    "one word, it is the datapath if there is one of that name.",
  examples: ["flow-save br0 flows.txt", "flow-save"],
};

export const flowSave: Command<CliContext> = buildCommand<SaveFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      names: {
        kind: "boolean",
        optional: true,
        withNegated: true,
        brief: "Names of ports instead of numbers",
      },
    },
    positional: { ...FILE_WORDS, maximum: 2 },
  },
  docs: documentation(FLOW_SAVE),
  async func(flags, ...words): Promise<void> {
    const { session } = this;
    session.live();
    const { dp, file } = await splitFileWords(this, flags, words);
    const { names } = flags;
    if (file === undefined || file === "-") {
      await session.submit(
        flags,
        { method: "flow-dump", params: { dp, names, givenUfids: true } },
        ({ flows }) => renderFlowFile(title(dp), flows.filter(stays)),
      );
      return;
    }
    const { flows } = await session.query(flags, "flow-dump", {
      dp,
      names,
      givenUfids: true,
    });
    try {
      Deno.writeTextFileSync(file, renderFlowFile(title(dp), flows.filter(stays)));
    } catch (error) {
      throw new CommandError("EIO", `cannot write ${file}: ${(error as Error).message}`);
    }
  },
});

/** Flows that a handler has installed, or that have a timeout, are not saved. */
function stays({ temporary }: FlowInfo): boolean {
  return temporary === undefined;
}

function title(dp: string | undefined): string {
  return `Flows of ${dp ?? "the datapath"}, saved by denovs flow-save`;
}

/** add-flows, mod-flows and del-flows FILE of ovs-dpctl. */
function flowsCommand(verb: "add" | "modify" | "delete", text: CommandText): Command<CliContext> {
  return buildCommand<CommonFlags, string[], CliContext>({
    parameters: {
      flags: COMMON_FLAGS,
      positional: { ...FILE_WORDS, minimum: verb === "delete" ? 0 : 1, maximum: 2 },
    },
    docs: documentation(text),
    async func(flags, ...words): Promise<void> {
      if (verb !== "delete") return await loadFlows(this, flags, words, verb);
      const { dp, file } = await splitFileWords(this, flags, words);
      if (file !== undefined) {
        return await loadFlows(this, flags, dp === undefined ? [file] : [dp, file], verb);
      }
      await this.session.submit(flags, { method: "flow-flush", params: { dp } });
    },
  });
}

const FILE_LINES =
  "Lines are `[add|modify|delete] FLOW [ACTIONS]`; either all take effect or none.";

export const addFlows: Command<CliContext> = flowsCommand("add", {
  brief: "Add the flows in a file (ovs-dpctl; see flow-load)",
  usage: ["[DP] FILE|-"],
  description: `As flow-load. ${FILE_LINES}`,
  examples: ["add-flows br0 flows.txt"],
});

export const modFlows: Command<CliContext> = flowsCommand("modify", {
  brief: "Change the flows in a file (ovs-dpctl; see flow-load)",
  usage: ["[DP] FILE|-"],
  description: `As flow-load, but lines without a verb modify. ${FILE_LINES}`,
  examples: ["mod-flows br0 flows.txt"],
});

export const delFlows: Command<CliContext> = flowsCommand("delete", {
  brief: "Delete the flows in a file, or all (ovs-dpctl; see flow-flush)",
  usage: ["[DP] [FILE|-]"],
  description: `Without a file as flow-flush. ${FILE_LINES}`,
  examples: ["del-flows br0"],
});

async function loadFlows(
  context: CliContext,
  flags: LoadFlags,
  words: readonly string[],
  verb: "add" | "modify" | "delete",
): Promise<void> {
  context.session.live();
  const dp = words.length > 1 ? words[0] : undefined;
  const text = withDefaultVerb(await readInput(words.at(-1)!), verb);
  const { replace } = flags;
  await context.session.submit(flags, { method: "flow-load", params: { dp, text, replace } });
}

/** `[DP] [FILE]`: one word is the datapath if there is one of that name. */
async function splitFileWords(
  context: CliContext,
  flags: CommonFlags,
  words: readonly string[],
): Promise<{ dp: string | undefined; file: string | undefined }> {
  const [first, second] = words;
  if (first === undefined || second !== undefined) return { dp: first, file: second };
  if (first.startsWith("system@")) return { dp: first, file: undefined };
  if (first === "-" || first.includes("/") || isFlowText(first)) {
    return { dp: undefined, file: first };
  }
  const { datapaths } = await context.session.query(flags, "dp-list", {});
  const known = datapaths.some(({ name, type }) => first === name || first === `${type}@${name}`);
  return known ? { dp: first, file: undefined } : { dp: undefined, file: first };
}
