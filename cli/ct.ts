/** Commands on connections: ct-dump, ct-flush, ct-stats, ct-limit-set, -get and -del, ct-maxconns. */
import { buildCommand, type Command } from "@stricli/core";
import {
  parseFlushWords,
  parseLimitWords,
  parseMaxWords,
  parseZonesWords,
  parseZoneWords,
} from "../daemon/ct_words.ts";
import { UsageError } from "../daemon/dpctl.ts";
import {
  renderConnections,
  renderConnectionStats,
  renderLimits,
} from "../daemon/render/conntrack.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
} from "./flags.ts";
import { proposeFirstDatapath } from "./propose.ts";

interface MoreFlags extends CommonFlags {
  readonly more?: boolean | undefined;
}
interface DumpFlags extends CommonFlags {
  readonly more?: boolean | undefined;
  readonly statistics?: boolean | undefined;
}

function ctWords(brief: string): {
  readonly kind: "array";
  readonly parameter: {
    readonly brief: string;
    readonly parse: (input: string) => string;
    readonly placeholder: string;
    readonly proposeCompletions: typeof proposeFirstDatapath;
  };
} {
  return {
    kind: "array",
    parameter: {
      brief,
      parse: asText,
      placeholder: "DP",
      proposeCompletions: proposeFirstDatapath,
    },
  };
}

const CT_DUMP: CommandText = {
  brief: "Dump the connections that ct actions have committed",
  usage: ["[DP] [zone=N] [-m] [-s] [--json]"],
  description: "Prints a line per connection in the shape of ovs-dpctl dump-conntrack. -s adds\n" +
    "counters, start and timeout; -m adds identifier, status, TCP's details and the connection\n" +
    "that this one was expected by.",
  examples: ["ct-dump", "ct-dump br0 zone=5 -m -s", "ct-dump --json"],
};

export const ctDump: Command<CliContext> = buildCommand<DumpFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      more: switchFlag("Identifier, status and TCP's details too"),
      statistics: switchFlag("Counters, start and timeout too"),
    },
    aliases: { m: "more", s: "statistics" },
    positional: ctWords("Datapath, then zone=N"),
  },
  docs: documentation(CT_DUMP),
  async func(flags, ...words): Promise<void> {
    const options = { verbose: flags.more === true, statistics: flags.statistics === true };
    await this.session.submit(
      flags,
      { method: "ct-dump", params: parseZoneWords(words) },
      (result) => renderConnections(result, options),
    );
  },
});

const CT_FLUSH: CommandText = {
  brief: "Forget connections",
  usage: ["[DP] [zone=N] [mark=X[/MASK]] [labels=0xY[/0xMASK]] [TUPLE [REPLY-TUPLE]]"],
  description:
    "Removes the connections that meet everything given; all without a filter. A TUPLE\n" +
    "is what packets of the original direction have, REPLY-TUPLE what those of the other have:\n" +
    "ct_nw_src, ct_nw_dst, ct_ipv6_src, ct_ipv6_dst, ct_nw_proto, ct_tp_src, ct_tp_dst, icmp_id,\n" +
    "icmp_type, icmp_code, separated by commas.",
  examples: [
    "ct-flush",
    "ct-flush br0 zone=5",
    "ct-flush zone=5 'ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80'",
  ],
};

export const ctFlush: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then what to forget") },
  docs: documentation(CT_FLUSH),
  async func(flags, ...words): Promise<void> {
    this.session.live();
    await this.session.submit(flags, { method: "ct-flush", params: parseFlushWords(words) });
  },
});

const CT_STATS: CommandText = {
  brief: "Count connections by protocol",
  usage: ["[DP] [zone=N] [-m] [--json]"],
  description: "Prints how many connections there are, in the shape of ovs-dpctl ct-stats-show.\n" +
    "-m adds the states of TCP connections, and what packets were found to be: new, known,\n" +
    "invalid and why.",
  examples: ["ct-stats", "ct-stats br0 zone=5 -m"],
};

export const ctStats: Command<CliContext> = buildCommand<MoreFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, more: switchFlag("TCP's states and packets too") },
    aliases: { m: "more" },
    positional: ctWords("Datapath, then zone=N"),
  },
  docs: documentation(CT_STATS),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(
      flags,
      { method: "ct-stats", params: parseZoneWords(words) },
      (result) => renderConnectionStats(result, { more: flags.more === true }),
    );
  },
});

const CT_LIMIT_SET: CommandText = {
  brief: "Limit the connections of zones",
  usage: ["[DP] [default=LIMIT] [zone=ZONE,limit=LIMIT]..."],
  description:
    "Sets how many connections a zone can have; default is for zones without a limit of\n" +
    "their own, 0 is no limit. A packet that would commit one more is dropped. Saved.",
  examples: ["ct-limit-set br0 default=10000", "ct-limit-set zone=5,limit=100 zone=6,limit=0"],
};

export const ctLimitSet: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then limits") },
  docs: documentation(CT_LIMIT_SET),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(flags, { method: "ct-limit-set", params: parseLimitWords(words) });
  },
});

const CT_LIMIT_GET: CommandText = {
  brief: "Show the limits of zones",
  usage: ["[DP] [zone=ZONE[,ZONE]...] [--json]"],
  description:
    "Prints the default limit, and limit and connections of the zones that are named or,\n" +
    "when none is, of those that have a limit.",
  examples: ["ct-limit-get", "ct-limit-get br0 zone=5,6"],
};

export const ctLimitGet: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then zone=ZONE,...") },
  docs: documentation(CT_LIMIT_GET),
  async func(flags, ...words): Promise<void> {
    const { dp, zones } = parseZonesWords(words);
    await this.session.submit(
      flags,
      { method: "ct-limit-get", params: { dp, zones } },
      renderLimits,
    );
  },
});

const CT_LIMIT_DEL: CommandText = {
  brief: "Take limits of zones back",
  usage: ["[DP] [default] [zone=ZONE[,ZONE]...]"],
  description: "The zones have the default limit again; default takes that one back.",
  examples: ["ct-limit-del zone=5,6", "ct-limit-del br0 default"],
};

export const ctLimitDel: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then default or zones") },
  docs: documentation(CT_LIMIT_DEL),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(flags, { method: "ct-limit-del", params: parseZonesWords(words) });
  },
});

const CT_MAXCONNS: CommandText = {
  brief: "Show or set how many connections a datapath can have",
  usage: ["[DP] [N]"],
  description:
    "Without N prints the most connections; with it sets and saves them. When the table is\n" +
    "full, a new connection takes the place of one that was never answered or is closing, or is\n" +
    "dropped. --json shows the number of connections too.",
  examples: ["ct-maxconns", "ct-maxconns br0 100000"],
};

export const ctMaxconns: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then the number") },
  docs: documentation(CT_MAXCONNS),
  async func(flags, ...words): Promise<void> {
    const { dp, max } = parseMaxWords(words);
    const { session } = this;
    if (max === undefined) {
      await session.submit(
        flags,
        { method: "ct-maxconns", params: { dp } },
        (result) => `${result.max}\n`,
      );
      return;
    }
    await session.submit(flags, { method: "ct-maxconns-set", params: { dp, max } });
  },
});

const CT_COUNT: CommandText = {
  brief: "Show how many connections a datapath has",
  usage: ["[DP]"],
  description: "As ovs-dpctl ct-get-nconns.",
  examples: ["ct-get-nconns br0"],
};

export const ctCount: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath") },
  docs: documentation(CT_COUNT),
  async func(flags, ...words): Promise<void> {
    if (words.length > 1) throw new UsageError(`unexpected "${words[1]}"`);
    await this.session.submit(
      flags,
      { method: "ct-maxconns", params: { dp: words[0] } },
      (result) => `${result.count}\n`,
    );
  },
});
