/** The argument forms of ovs-dpctl's commands on connections: words of a command line to parameters. */
import type { Methods } from "./api.ts";
import { UsageError } from "./dpctl.ts";

/** `[DP] [zone=N]`. */
export function parseZoneWords(words: readonly string[]): { dp?: string; zone?: number } {
  const found: { dp?: string; zone?: number } = {};
  for (const word of words) {
    if (word.startsWith("zone=")) found.zone = parseNumber("zone", word.slice("zone=".length));
    else if (found.dp === undefined && !word.includes("=")) found.dp = word;
    else throw new UsageError(`"${word}" is neither a datapath nor zone=N`);
  }
  return found;
}

/** `[DP] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ORIGINAL-TUPLE [REPLY-TUPLE]]`. */
export function parseFlushWords(words: readonly string[]): Methods["ct-flush"]["params"] {
  const params: { -readonly [Name in keyof Methods["ct-flush"]["params"]]: unknown } = {};
  words.forEach((word, at) => {
    const [name, value] = splitOnce(word);
    if (value === undefined && at === 0 && word !== "") params.dp = word;
    else if (name === "zone" && value !== undefined) params.zone = parseNumber(name, value);
    else if (name === "mark" || name === "labels") params[name] = value;
    else if (params.original === undefined) params.original = word;
    else if (params.reply === undefined) params.reply = word;
    else throw new UsageError(`unexpected "${word}" after two tuples`);
  });
  return params as Methods["ct-flush"]["params"];
}

/** `[DP] [default=LIMIT] [zone=ZONE,limit=LIMIT]…`. */
export function parseLimitWords(words: readonly string[]): Methods["ct-limit-set"]["params"] {
  let dp: string | undefined;
  let defaultLimit: number | undefined;
  const zones: { zone: number; limit: number }[] = [];
  for (const [at, word] of words.entries()) {
    const limit = /^zone=([^,]*),limit=([^,]*)$/.exec(word);
    if (limit !== null) {
      zones.push({
        zone: parseNumber("zone", limit[1]!),
        limit: parseNumber("limit", limit[2]!),
      });
    } else if (word.startsWith("default=")) {
      defaultLimit = parseNumber("default", word.slice("default=".length));
    } else if (at === 0 && !word.includes("=")) dp = word;
    else throw new UsageError(`"${word}" is not default=LIMIT or zone=ZONE,limit=LIMIT`);
  }
  return { dp, defaultLimit, zones };
}

/** `[DP] [default] [zone=ZONE[,ZONE]…]`. */
export function parseZonesWords(
  words: readonly string[],
): { dp: string | undefined; isDefault: boolean; zones: number[] | undefined } {
  let dp: string | undefined;
  let isDefault = false;
  let zones: number[] | undefined;
  for (const [at, word] of words.entries()) {
    if (word === "default") isDefault = true;
    else if (word.startsWith("zone=")) {
      const texts = word.slice("zone=".length).split(",");
      zones = [...zones ?? [], ...texts.map((text) => parseNumber("zone", text))];
    } else if (at === 0 && !word.includes("=")) dp = word;
    else throw new UsageError(`"${word}" is not default or zone=ZONE,…`);
  }
  return { dp, isDefault, zones };
}

/** `[DP] [N]`. */
export function parseMaxWords(
  words: readonly string[],
): { dp: string | undefined; max: number | undefined } {
  const last = words.at(-1);
  const hasMax = last !== undefined && /^\d+$/.test(last);
  if (words.length > (hasMax ? 2 : 1)) throw new UsageError(`unexpected "${words[1]}"`);
  return {
    dp: hasMax && words.length === 1 ? undefined : words[0],
    max: hasMax ? parseNumber("maxconns", last) : undefined,
  };
}

function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf("=");
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function parseNumber(name: string, text: string): number {
  if (/^(\d{1,10}|0x[0-9a-f]{1,8})$/i.test(text)) return Number(text);
  throw new UsageError(`${name} must be a number: "${text}" is none`);
}
