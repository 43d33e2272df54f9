/**
 * Commands on how connections are tracked: ct-limit-set, -get and -del, ct-maxconns, ct-timeout-set,
 * -get and -del, ct-set, ct-show.
 */
import { buildCommand, type Command } from "@stricli/core";
import {
  parseDatapathWord,
  parseLimitWords,
  parseMaxWords,
  parseOptionWords,
  parseTimeoutWords,
  parseZonesWords,
} from "../daemon/ct_words.ts";
import { UsageError } from "../daemon/dpctl.ts";
import { renderFragmentStatus, renderLimits, renderTimeouts } from "../daemon/render/conntrack.ts";
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

interface DelFlags extends CommonFlags {
  readonly ifExists?: boolean | undefined;
}
interface MoreFlags extends CommonFlags {
  readonly more?: boolean | undefined;
}

/** A command's words, the first of them a datapath perhaps. */
export function ctWords(brief: string): {
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

const CT_TIMEOUT_SET: CommandText = {
  brief: "Set timeouts of connections",
  usage: ["[DP] POLICY NAME=SECONDS..."],
  description:
    "Sets how long connections live without a packet. The policy default is for all whose ct\n" +
    "action names none; any other makes or changes a policy that ct(commit,timeout=POLICY) gives\n" +
    "to new connections: what it does not say, it has of the default. Connections have a changed\n" +
    "timeout from their next packet on. A flow may name a policy that is not there: its\n" +
    "connections have the default timeouts until it is. Names: tcp_syn_sent, tcp_syn_recv,\n" +
    "tcp_established, tcp_fin_wait, tcp_close_wait, tcp_last_ack, tcp_time_wait, tcp_close,\n" +
    "tcp_syn_sent2, tcp_retransmit, tcp_unack, udp_first, udp_multiple, icmp, icmpv6, generic,\n" +
    "sctp_first, sctp_established, gre_first, gre_multiple, and of Open vSwitch udp_single and\n" +
    "icmp_first. Saved.",
  examples: [
    "ct-timeout-set br0 default udp_first=10",
    "ct-timeout-set br0 quick tcp_established=600 udp_multiple=20",
    "flow-add br0 'in_port(1),eth_type(0x0800)' 'ct(commit,timeout=quick),2'",
  ],
};

export const ctTimeoutSet: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, policy, then timeouts") },
  docs: documentation(CT_TIMEOUT_SET),
  async func(flags, ...words): Promise<void> {
    const params = parseTimeoutWords(words);
    await this.session.submit(flags, { method: "ct-timeout-set", params });
  },
});

const CT_TIMEOUT_DEL: CommandText = {
  brief: "Delete a timeout policy",
  usage: ["[DP] POLICY [--if-exists]"],
  description:
    "Deletes a timeout policy. Flows and connections that have it stay, and have the default\n" +
    "timeouts; default itself is as the kernel's again.",
  examples: ["ct-timeout-del br0 quick", "ct-timeout-del default --if-exists"],
};

export const ctTimeoutDel: Command<CliContext> = buildCommand<DelFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, ifExists: switchFlag("Do nothing if there is no such policy") },
    positional: ctWords("Datapath, then the policy"),
  },
  docs: documentation(CT_TIMEOUT_DEL),
  async func(flags, ...words): Promise<void> {
    const { dp, policy, seconds } = parseTimeoutWords(words);
    const [unexpected] = Object.keys(seconds);
    if (unexpected !== undefined) throw new UsageError(`unexpected "${unexpected}="`);
    const { ifExists } = flags;
    await this.session.submit(flags, {
      method: "ct-timeout-del",
      params: { dp, policy, ifExists },
    });
  },
});

const CT_TIMEOUT_GET: CommandText = {
  brief: "Show timeout policies",
  usage: ["[DP [POLICY]] [-m] [--json]"],
  description:
    "Prints a line per timeout policy, or the one that is named: all timeouts of default, and\n" +
    "of the others what was set. -m adds what they have of the default.",
  examples: ["ct-timeout-get br0", "ct-timeout-get br0 quick -m"],
};

export const ctTimeoutGet: Command<CliContext> = buildCommand<MoreFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, more: switchFlag("What they have of the default too") },
    aliases: { m: "more" },
    positional: ctWords("Datapath, then a policy"),
  },
  docs: documentation(CT_TIMEOUT_GET),
  async func(flags, ...words): Promise<void> {
    if (words.length > 2) throw new UsageError(`unexpected "${words[2]}"`);
    const [dp, policy] = words;
    await this.session.submit(
      flags,
      { method: "ct-timeout-get", params: { dp, policy } },
      (result) => renderTimeouts(result, flags.more),
    );
  },
});

const CT_SET: CommandText = {
  brief: "Change how connections are tracked",
  usage: [
    "[DP] [tcp-seq-chk=on|off] [frags-v4=on|off] [frags-v6=on|off] [min-frag-v4=N] [min-frag-v6=N] " +
    "[max-frags=N]",
  ],
  description:
    "tcp-seq-chk=off takes TCP segments out of their windows, and resets with any number, for\n" +
    "valid (ct-disable-tcp-seq-chk). frags-v4=off and frags-v6=off leave fragments as they are\n" +
    "(ipf-set-disabled): they go on as +trk+inv, as do those of less than min-frag-v4 and\n" +
    "min-frag-v6 bytes that are not the last (ipf-set-min-frag; 0: none), and those that come\n" +
    "while max-frags others wait (ipf-set-max-nfrags; 0: as many as there is memory for). Saved.",
  examples: [
    "ct-set br0 tcp-seq-chk=off",
    "ct-set br0 frags-v6=off min-frag-v4=1200 max-frags=500",
  ],
};

export const ctSet: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath, then settings") },
  docs: documentation(CT_SET),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(flags, { method: "ct-set", params: parseOptionWords(words) });
  },
});

const CT_SHOW: CommandText = {
  brief: "Show how connections are tracked",
  usage: ["[DP] [--json]"],
  description:
    "Prints whether TCP segments are checked against their windows, and settings and counters\n" +
    "of the reassembly of fragments, in the shapes of ovs-dpctl ct-get-tcp-seq-chk and\n" +
    "ipf-get-status. Open vSwitch's smallest fragment is 1200 bytes by default; as in the kernel,\n" +
    "ours is any.",
  examples: ["ct-show br0", "ct-show --json"],
};

export const ctShow: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: ctWords("Datapath") },
  docs: documentation(CT_SHOW),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(
      flags,
      { method: "ct-show", params: parseDatapathWord(words) },
      (result) =>
        `TCP sequence checking: ${result.tcpSequenceCheck ? "enabled" : "disabled"}\n` +
        renderFragmentStatus(result),
    );
  },
});
