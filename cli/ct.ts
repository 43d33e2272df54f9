/** Commands on connections: ct-dump, ct-exp-dump, ct-flush, ct-stats, ct-bkts. */
import { buildCommand, type Command } from "@stricli/core";
import type { Methods } from "../daemon/api.ts";
import { nextPiece } from "../daemon/dpctl_conntrack.ts";
import { parseBucketWords, parseConnectionWords, parseZoneWords } from "../daemon/ct_words.ts";
import {
  renderBuckets,
  renderConnections,
  renderConnectionStats,
  renderExpected,
} from "../daemon/render/conntrack.ts";
import { ctWords } from "./ct_settings.ts";
import {
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
} from "./flags.ts";

interface MoreFlags extends CommonFlags {
  readonly more?: boolean | undefined;
}
interface DumpFlags extends CommonFlags {
  readonly more?: boolean | undefined;
  readonly statistics?: boolean | undefined;
}

const CT_DUMP: CommandText = {
  brief: "Dump the connections that ct actions have committed",
  usage: [
    "[DP] [zone=N] [mark=X[/MASK]] [labels=0xY[/0xMASK]] [TUPLE [REPLY-TUPLE]] [-m] [-s] [--json]",
  ],
  description:
    "Prints a line per connection in the shape of ovs-dpctl dump-conntrack; with a filter\n" +
    "(as in ct-flush) of those that meet everything given. -s adds counters, start and timeout; -m\n" +
    "adds identifier, status, TCP's details and the connection that this one was expected by.",
  examples: [
    "ct-dump",
    "ct-dump br0 zone=5 -m -s",
    "ct-dump mark=0x1/0xff 'ct_nw_proto=6,ct_tp_dst=80'",
    "ct-dump --json",
  ],
};

export const ctDump: Command<CliContext> = buildCommand<DumpFlags, string[], CliContext>({
  parameters: {
    flags: {
      ...COMMON_FLAGS,
      more: switchFlag("Identifier, status and TCP's details too"),
      statistics: switchFlag("Counters, start and timeout too"),
    },
    aliases: { m: "more", s: "statistics" },
    positional: ctWords("Datapath, then what to dump"),
  },
  docs: documentation(CT_DUMP),
  async func(flags, ...words): Promise<void> {
    const options = { verbose: flags.more === true, statistics: flags.statistics === true };
    const { session } = this;
    const { output } = session;
    // A piece at a time: all of them may be more than a text can hold.
    let separator = '{\n  "connections": [';
    let params: Methods["ct-dump"]["params"] | undefined = parseConnectionWords(words);
    while (params !== undefined) {
      const piece: Methods["ct-dump"]["result"] = await session.query(flags, "ct-dump", params);
      if (flags.json !== true) output.print(renderConnections(piece, options));
      else {
        const texts = piece.connections.map((connection) =>
          `\n    ${JSON.stringify(connection, null, 2).replaceAll("\n", "\n    ")}`
        );
        if (texts.length > 0) {
          output.print(separator + texts.join(","));
          separator = ",";
        }
      }
      params = nextPiece(piece, params);
    }
    if (flags.json === true) output.print(separator === "," ? "\n  ]\n}\n" : `${separator}]\n}\n`);
  },
});

const CT_EXP_DUMP: CommandText = {
  brief: "Dump the connections that helpers expect",
  usage: ["[DP] [zone=N] [--json]"],
  description:
    "Prints a line per connection that ftp or tftp has announced and that has not begun yet:\n" +
    "what its first packet will have, the source port being any, and the connection that it\n" +
    "belongs to.",
  examples: ["ct-exp-dump br0", "ct-exp-dump zone=5 --json"],
};

export const ctExpDump: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then zone=N") },
  docs: documentation(CT_EXP_DUMP),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(
      flags,
      { method: "ct-exp-dump", params: parseZoneWords(words) },
      renderExpected,
    );
  },
});

const CT_BKTS: CommandText = {
  brief: "Show how full the buckets of the connection table are",
  usage: ["[DP] [gt=N] [--json]"],
  description:
    "Prints how many buckets and connections there are, and entries per bucket, eight buckets\n" +
    "a row: a connection has two entries, one for each direction. gt=N shows the buckets with\n" +
    "more than N entries only; rows without any are left out.",
  examples: ["ct-bkts br0", "ct-bkts gt=4"],
};

export const ctBkts: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then gt=N") },
  docs: documentation(CT_BKTS),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(
      flags,
      { method: "ct-bkts", params: parseBucketWords(words) },
      renderBuckets,
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
    "icmp_type, icmp_code, separated by commas. An empty TUPLE is any.",
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
    await this.session.submit(flags, { method: "ct-flush", params: parseConnectionWords(words) });
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
      (result) =>
        renderConnectionStats(result, {
          states: flags.more === true,
          packets: flags.more === true,
        }),
    );
  },
});
