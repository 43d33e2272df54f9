/** The argument forms of ovs-dpctl's commands on connections: words of a command line to parameters. */
import type { ConnectionParams, Methods } from "./api.ts";
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

/** `[DP] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ORIGINAL-TUPLE [REPLY-TUPLE]]`; an empty tuple is any. */
export function parseConnectionWords(words: readonly string[]): ConnectionParams {
  const params: { -readonly [Name in keyof ConnectionParams]: unknown } = {};
  words.forEach((word, at) => {
    const [name, value] = splitOnce(word);
    if (value === undefined && at === 0 && word !== "") params.dp = word;
    else if (name === "zone" && value !== undefined) params.zone = parseNumber(name, value);
    else if (name === "mark" || name === "labels") params[name] = value;
    else if (params.original === undefined) params.original = word;
    else if (params.reply === undefined) params.reply = word;
    else throw new UsageError(`unexpected "${word}" after two tuples`);
  });
  return params as ConnectionParams;
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
  if (words.length > (hasMax ? 2 : 1)) {
    throw new UsageError(`"${words[1]}" is no number of connections ([DP] [N])`);
  }
  return {
    dp: hasMax && words.length === 1 ? undefined : words[0],
    max: hasMax ? parseNumber("maxconns", last) : undefined,
  };
}

/** `[DP]`. */
export function parseDatapathWord(words: readonly string[]): { dp: string | undefined } {
  if (words.length > 1) throw new UsageError(`unexpected "${words[1]}"`);
  return { dp: words[0] };
}

/** `[DP] [gt=N]`. */
export function parseBucketWords(words: readonly string[]): Methods["ct-bkts"]["params"] {
  const found: { dp?: string; over?: number } = {};
  for (const word of words) {
    if (word.startsWith("gt=")) found.over = parseNumber("gt", word.slice("gt=".length));
    else if (found.dp === undefined && !word.includes("=")) found.dp = word;
    else throw new UsageError(`"${word}" is neither a datapath nor gt=N`);
  }
  return found;
}

/** `[DP] v4|v6`, and a number called `name` behind it if there is one to be. */
export function parseFamilyWords(
  words: readonly string[],
  name: string | undefined,
): { dp: string | undefined; isIpv4: boolean; number: number } {
  const rest = [...words];
  const text = name === undefined ? "0" : rest.pop() ?? "";
  const family = rest.pop();
  if (family !== "v4" && family !== "v6") {
    throw new UsageError("parameter missing: v4 for IPv4 or v6 for IPv6");
  }
  return {
    ...parseDatapathWord(rest),
    isIpv4: family === "v4",
    number: parseNumber(name ?? "", text),
  };
}

/** `[DP] POLICY NAME=SECONDS…`: the first words without an equals sign name datapath and policy. */
export function parseTimeoutWords(
  words: readonly string[],
): { dp: string | undefined; policy: string; seconds: Record<string, number> } {
  const names = words.filter((word) => !word.includes("="));
  if (names.length === 0) throw new UsageError("the name of the timeout policy is missing");
  if (names.length > 2) throw new UsageError(`unexpected "${names[2]}"`);
  const seconds: Record<string, number> = {};
  for (const part of words.filter((word) => word.includes("=")).flatMap((it) => it.split(","))) {
    const [name, text] = splitOnce(part);
    if (Object.hasOwn(seconds, name)) throw new UsageError(`duplicate "${name}"`);
    seconds[name] = parseNumber(name, text ?? "");
  }
  return { dp: names.length === 2 ? names[0] : undefined, policy: names.at(-1)!, seconds };
}

/** `[DP] NAME=VALUE…` of ct-set. */
export function parseOptionWords(words: readonly string[]): Methods["ct-set"]["params"] {
  const params: { -readonly [Name in keyof Methods["ct-set"]["params"]]: unknown } = {};
  for (const [at, word] of words.entries()) {
    const [name, text] = splitOnce(word);
    if (text === undefined) {
      if (at > 0) throw new UsageError(`"${word}" is not NAME=VALUE`);
      params.dp = word;
    } else if (Object.hasOwn(SWITCHES, name)) params[SWITCHES[name]!] = parseSwitch(name, text);
    else if (Object.hasOwn(NUMBERS, name)) params[NUMBERS[name]!] = parseNumber(name, text);
    else {
      const known = [...Object.keys(SWITCHES), ...Object.keys(NUMBERS)].join(", ");
      throw new UsageError(`unknown setting "${name}" (known: ${known})`);
    }
  }
  return params as Methods["ct-set"]["params"];
}

type Setting = Exclude<keyof Methods["ct-set"]["params"], "dp">;

const SWITCHES: Readonly<Record<string, Setting>> = {
  "tcp-seq-chk": "tcpSequenceCheck",
  "frags-v4": "fragmentsIpv4",
  "frags-v6": "fragmentsIpv6",
};
const NUMBERS: Readonly<Record<string, Setting>> = {
  "min-frag-v4": "fragmentSizeMinIpv4",
  "min-frag-v6": "fragmentSizeMinIpv6",
  "max-frags": "fragmentsMax",
};

function parseSwitch(name: string, text: string): boolean {
  if (text === "on" || text === "off") return text === "on";
  throw new UsageError(`${name} must be on or off, not "${text}"`);
}

function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf("=");
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function parseNumber(name: string, text: string): number {
  if (/^(\d{1,10}|0x[0-9a-f]{1,8})$/i.test(text)) return Number(text);
  throw new UsageError(`${name} must be a number: "${text}" is none`);
}
