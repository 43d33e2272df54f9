/**
 * ovs-dpctl's commands on connections: words to a request, its result to the text that ovs-vswitchd
 * answers with. For the methods `dpctl/…` (dpctl_methods.ts) and for the command line.
 */
import type { ConntrackMethods } from "./conntrack_api.ts";
import {
  parseBucketWords,
  parseConnectionWords,
  parseDatapathWord,
  parseFamilyWords,
  parseLimitWords,
  parseMaxWords,
  parseZonesWords,
  parseZoneWords,
} from "./ct_words.ts";
import { UsageError } from "./dpctl.ts";
import {
  renderBuckets,
  renderConnections,
  renderConnectionStats,
  renderExpected,
  renderFragmentStatus,
  renderLimits,
} from "./render/conntrack.ts";

/** Options of the commands. */
export interface ConntrackFlags {
  readonly statistics: boolean;
  readonly more: boolean;
}

/** Carries a request out; `render` makes text of its result, `next` the request for what follows it. */
export type Submit<Done> = <M extends keyof ConntrackMethods>(
  request: { readonly method: M; readonly params: ConntrackMethods[M]["params"] },
  render: (result: ConntrackMethods[M]["result"]) => string,
  next?: Next<M>,
) => Promise<Done>;

/** Parameters for what comes behind a result; undefined: that was all. */
type Next<M extends keyof ConntrackMethods> = (
  result: ConntrackMethods[M]["result"],
  params: ConntrackMethods[M]["params"],
) => ConntrackMethods[M]["params"] | undefined;

type Dump = ConntrackMethods["ct-dump"];

/** What to ask for behind a piece of a dump; undefined: that was all. */
export function nextPiece(
  { next }: Dump["result"],
  params: Dump["params"],
): Dump["params"] | undefined {
  return next === undefined ? undefined : { ...params, from: next };
}

/** A command: one request, and how its result reads. */
export interface ConntrackCommand {
  readonly usage: string;
  /** Fewest and most words besides options. */
  readonly count: readonly [number, number];
  /** Throws UsageError. */
  readonly run: <Done>(
    words: readonly string[],
    flags: ConntrackFlags,
    submit: Submit<Done>,
  ) => Promise<Done>;
}

interface Form<M extends keyof ConntrackMethods> {
  readonly usage: string;
  readonly count: readonly [number, number];
  readonly params: (words: readonly string[]) => ConntrackMethods[M]["params"];
  readonly text: (result: ConntrackMethods[M]["result"], flags: ConntrackFlags) => string;
  readonly next?: Next<M>;
}

function command<M extends keyof ConntrackMethods>(
  method: M,
  { usage, count, params, text, next }: Form<M>,
): ConntrackCommand {
  return {
    usage,
    count,
    run: (words, flags, submit) =>
      submit({ method, params: params(words) }, (result) => text(result, flags), next),
  };
}

/** A command that sets something, and says so. */
function setting<M extends "ct-set" | "ct-maxconns-set">(
  method: M,
  form: Omit<Form<M>, "text">,
  done: string,
): ConntrackCommand {
  return command(method, { ...form, text: () => `${done}\n` });
}

const silent = (): string => "";

/** Commands by name, in ovs-vswitchd's order. */
export const CONNTRACK_COMMANDS: readonly (readonly [string, ConntrackCommand])[] = [
  [
    "dump-conntrack",
    command("ct-dump", {
      usage: "[-m] [-s] [dp] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ct-orig-tuple [ct-reply-tuple]]",
      count: [0, 6],
      params: parseConnectionWords,
      text: (result, { statistics, more }) =>
        renderConnections(result, { statistics, verbose: more }),
      next: nextPiece,
    }),
  ],
  [
    "dump-conntrack-exp",
    command("ct-exp-dump", {
      usage: "[dp] [zone=N]",
      count: [0, 2],
      params: parseZoneWords,
      text: renderExpected,
    }),
  ],
  [
    "flush-conntrack",
    command("ct-flush", {
      usage: "[dp] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ct-orig-tuple [ct-reply-tuple]]",
      count: [0, 6],
      params: parseConnectionWords,
      text: silent,
    }),
  ],
  [
    "ct-stats-show",
    command("ct-stats", {
      usage: "[dp] [zone=N]",
      count: [0, 2],
      params: parseZoneWords,
      text: (result, { more }) => renderConnectionStats(result, { states: more }),
    }),
  ],
  [
    "ct-bkts",
    command("ct-bkts", {
      usage: "[dp] [gt=N]",
      count: [0, 2],
      params: parseBucketWords,
      text: renderBuckets,
    }),
  ],
  [
    "ct-set-maxconns",
    setting(
      "ct-maxconns-set",
      { usage: "[dp] maxconns", count: [1, 2], params: maxParams },
      "setting maxconns successful",
    ),
  ],
  [
    "ct-get-maxconns",
    command("ct-maxconns", {
      usage: "[dp]",
      count: [0, 1],
      params: parseDatapathWord,
      text: ({ max }) => `${max}\n`,
    }),
  ],
  [
    "ct-get-nconns",
    command("ct-maxconns", {
      usage: "[dp]",
      count: [0, 1],
      params: parseDatapathWord,
      text: ({ count }) => `${count}\n`,
    }),
  ],
  ["ct-enable-tcp-seq-chk", sequenceCheck(true, "enabling TCP sequence checking successful")],
  ["ct-disable-tcp-seq-chk", sequenceCheck(false, "disabling TCP sequence checking successful")],
  [
    "ct-get-tcp-seq-chk",
    command("ct-show", {
      usage: "[dp]",
      count: [0, 1],
      params: parseDatapathWord,
      text: ({ tcpSequenceCheck }) =>
        `TCP sequence checking: ${tcpSequenceCheck ? "enabled" : "disabled"}\n`,
    }),
  ],
  [
    "ct-set-limits",
    command("ct-limit-set", {
      usage: "[dp] [default=L] [zone=N,limit=L]...",
      count: [1, Infinity],
      params: parseLimitWords,
      text: silent,
    }),
  ],
  [
    "ct-del-limits",
    command("ct-limit-del", {
      usage: "[dp] [default] [zone=N1[,N2]...]",
      count: [1, Infinity],
      params: parseZonesWords,
      text: silent,
    }),
  ],
  [
    "ct-get-limits",
    command("ct-limit-get", {
      usage: "[dp] [zone=N1[,N2]...]",
      count: [0, Infinity],
      params: (words) => {
        const { dp, zones } = parseZonesWords(words);
        return { dp, zones };
      },
      text: renderLimits,
    }),
  ],
  ["ipf-set-enabled", reassembly(true, "enabling fragmentation reassembly successful")],
  ["ipf-set-disabled", reassembly(false, "disabling fragmentation reassembly successful")],
  [
    "ipf-set-min-frag",
    setting("ct-set", {
      usage: "[dp] v4|v6 minfragment",
      count: [2, 3],
      params: (words) => {
        const { dp, isIpv4, number } = parseFamilyWords(words, "minfragment");
        return isIpv4 ? { dp, fragmentSizeMinIpv4: number } : { dp, fragmentSizeMinIpv6: number };
      },
    }, "setting minimum fragment size successful"),
  ],
  [
    "ipf-set-max-nfrags",
    setting("ct-set", {
      usage: "[dp] maxfrags",
      count: [1, 2],
      params: (words) => {
        const { dp, max } = parseMaxWords(words);
        if (max === undefined) throw new UsageError("maxfrags missing or malformed");
        return { dp, fragmentsMax: max };
      },
    }, "setting maximum fragments successful"),
  ],
  [
    "ipf-get-status",
    command("ct-show", {
      usage: "[dp]",
      count: [0, 1],
      params: parseDatapathWord,
      text: renderFragmentStatus,
    }),
  ],
];

function maxParams(words: readonly string[]): ConntrackMethods["ct-maxconns-set"]["params"] {
  const { dp, max } = parseMaxWords(words);
  if (max === undefined) throw new UsageError("maxconns missing or malformed");
  return { dp, max };
}

function sequenceCheck(tcpSequenceCheck: boolean, done: string): ConntrackCommand {
  return setting("ct-set", {
    usage: "[dp]",
    count: [0, 1],
    params: (words) => ({ ...parseDatapathWord(words), tcpSequenceCheck }),
  }, done);
}

function reassembly(isOn: boolean, done: string): ConntrackCommand {
  return setting("ct-set", {
    usage: "[dp] v4|v6",
    count: [1, 2],
    params: (words) => {
      const { dp, isIpv4 } = parseFamilyWords(words, undefined);
      return isIpv4 ? { dp, fragmentsIpv4: isOn } : { dp, fragmentsIpv6: isOn };
    },
  }, done);
}
