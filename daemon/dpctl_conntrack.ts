/** The part of dpctl_methods.ts that is about connections. */
import type { Executor } from "./api.ts";
import {
  parseFlushWords,
  parseLimitWords,
  parseMaxWords,
  parseZonesWords,
  parseZoneWords,
} from "./ct_words.ts";
import { UsageError } from "./dpctl.ts";
import { renderConnections, renderConnectionStats, renderLimits } from "./render/conntrack.ts";

/** What a command runs with. */
export interface ConntrackCall {
  readonly words: readonly string[];
  readonly flags: { readonly statistics: boolean; readonly more: boolean };
  readonly executor: Executor;
}

interface ConntrackCommand {
  readonly usage: string;
  /** Fewest and most words besides options. */
  readonly count: readonly [number, number];
  readonly run: (call: ConntrackCall) => Promise<string>;
}

/** Commands by name. */
export const CONNTRACK_COMMANDS: readonly (readonly [string, ConntrackCommand])[] = [
  ["dump-conntrack", { usage: "[-m] [-s] [dp] [zone=N]", count: [0, 2], run: dump }],
  ["flush-conntrack", {
    usage: "[dp] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ct-orig-tuple [ct-reply-tuple]]",
    count: [0, 6],
    run: flush,
  }],
  ["ct-stats-show", { usage: "[dp] [zone=N]", count: [0, 2], run: stats }],
  ["ct-set-maxconns", { usage: "[dp] maxconns", count: [1, 2], run: setMax }],
  ["ct-get-maxconns", { usage: "[dp]", count: [0, 1], run: getMax }],
  ["ct-get-nconns", { usage: "[dp]", count: [0, 1], run: getCount }],
  ["ct-set-limits", {
    usage: "[dp] [default=L] [zone=N,limit=L]...",
    count: [1, Infinity],
    run: setLimits,
  }],
  ["ct-del-limits", {
    usage: "[dp] [default] [zone=N1[,N2]...]",
    count: [1, Infinity],
    run: deleteLimits,
  }],
  ["ct-get-limits", { usage: "[dp] [zone=N1[,N2]...]", count: [0, Infinity], run: getLimits }],
];

async function dump({ words, flags, executor }: ConntrackCall): Promise<string> {
  const result = await executor.execute("ct-dump", parseZoneWords(words));
  return renderConnections(result, { statistics: flags.statistics, verbose: flags.more });
}

async function flush({ words, executor }: ConntrackCall): Promise<string> {
  await executor.execute("ct-flush", parseFlushWords(words));
  return "";
}

async function stats({ words, flags, executor }: ConntrackCall): Promise<string> {
  const result = await executor.execute("ct-stats", parseZoneWords(words));
  return renderConnectionStats(result, { more: flags.more });
}

async function setMax({ words, executor }: ConntrackCall): Promise<string> {
  const { dp, max } = parseMaxWords(words);
  if (max === undefined) throw new UsageError("maxconns missing or malformed");
  await executor.execute("ct-maxconns-set", { dp, max });
  return "setting maxconns successful";
}

async function getMax({ words, executor }: ConntrackCall): Promise<string> {
  return `${(await executor.execute("ct-maxconns", { dp: words[0] })).max}\n`;
}

async function getCount({ words, executor }: ConntrackCall): Promise<string> {
  return `${(await executor.execute("ct-maxconns", { dp: words[0] })).count}\n`;
}

async function setLimits({ words, executor }: ConntrackCall): Promise<string> {
  await executor.execute("ct-limit-set", parseLimitWords(words));
  return "";
}

async function deleteLimits({ words, executor }: ConntrackCall): Promise<string> {
  await executor.execute("ct-limit-del", parseZonesWords(words));
  return "";
}

async function getLimits({ words, executor }: ConntrackCall): Promise<string> {
  const { dp, zones } = parseZonesWords(words);
  return renderLimits(await executor.execute("ct-limit-get", { dp, zones }));
}
