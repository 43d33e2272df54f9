/** Commands of ovs-dpctl on connections that are no other name of one of ours: they print what it does. */
import { buildCommand, type Command } from "@stricli/core";
import { UsageError } from "../daemon/dpctl.ts";
import { CONNTRACK_COMMANDS } from "../daemon/dpctl_conntrack.ts";
import { ctWords } from "./ct_settings.ts";
import { type CliContext, COMMON_FLAGS, type CommonFlags, documentation } from "./flags.ts";

const BRIEFS: Readonly<Record<string, string>> = {
  "ct-get-nconns": "Show how many connections a datapath has",
  "ct-enable-tcp-seq-chk": "Check TCP segments against their windows",
  "ct-disable-tcp-seq-chk": "Take TCP segments out of their windows for valid",
  "ct-get-tcp-seq-chk": "Show whether TCP segments are checked against their windows",
  "ipf-set-enabled": "Put fragments together before they are tracked",
  "ipf-set-disabled": "Leave fragments as they are: they are invalid",
  "ipf-set-min-frag": "Set the size of the smallest fragment that is put together",
  "ipf-set-max-nfrags": "Set how many fragments can wait",
  "ipf-get-status": "Show how fragments are put together",
};

/** A command of ovs-dpctl by its name there. */
export function dpctlCommand(name: string): Command<CliContext> {
  const [, found] = CONNTRACK_COMMANDS.find(([each]) => each === name) ?? [];
  const brief = BRIEFS[name];
  if (found === undefined || brief === undefined) throw new Error(`no command ${name}`);
  const { usage, count, run } = found;
  return buildCommand<CommonFlags, string[], CliContext>({
    parameters: { flags: COMMON_FLAGS, positional: ctWords("Arguments of ovs-dpctl") },
    docs: documentation({
      brief,
      usage: [usage],
      description: `As ovs-dpctl ${name}.`,
      examples: [name],
    }),
    async func(flags, ...words): Promise<void> {
      const [least, most] = count;
      if (words.length < least) throw new UsageError(`${name} takes ${least} arguments at least`);
      if (words.length > most) throw new UsageError(`unexpected "${words[most]}"`);
      const { session } = this;
      await run(
        words,
        { statistics: false, more: false },
        (request, render) => session.submit(flags, request, render),
      );
    },
  });
}
