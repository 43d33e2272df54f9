/**
 * Completions that come from the switch: names of datapaths and ports. Whatever goes wrong on the
 * way, a completion that can't be made is no completion.
 */
import type { CliContext, CommonFlags } from "./flags.ts";

/** Datapath names. */
export async function proposeDatapaths(this: CliContext, _partial: string): Promise<string[]> {
  try {
    const { datapaths } = await this.session.query(typedFlags(this), "dp-list", {});
    return datapaths.map(({ name, type }) => type === "system" ? `system@${name}` : name);
  } catch {
    return [];
  }
}

/** `DP PORT…`: the first word is a datapath, the others its ports. */
export async function proposeDatapathThenPorts(
  this: CliContext,
  partial: string,
): Promise<string[]> {
  const [dp, ...ports] = typedWords(this);
  if (dp === undefined) return await proposeDatapaths.call(this, partial);
  try {
    const result = await this.session.query(typedFlags(this), "port-list", { dp });
    return result.ports.map(({ name }) => name).filter((name) => !ports.includes(name));
  } catch {
    return [];
  }
}

/** `DP PORT…` of port-add: the first word is a datapath, the second a device of the machine. */
export async function proposeDatapathThenDevices(
  this: CliContext,
  partial: string,
): Promise<string[]> {
  if (typedWords(this).length === 0) return await proposeDatapaths.call(this, partial);
  try {
    return Array.from(Deno.readDirSync("/sys/class/net"), ({ name }) => name);
  } catch {
    return [];
  }
}

/** Datapaths, for the first word only. */
export async function proposeFirstDatapath(this: CliContext, partial: string): Promise<string[]> {
  return typedWords(this).length === 0 ? await proposeDatapaths.call(this, partial) : [];
}

/** Meters of the datapath that the first word names. */
export async function proposeMeters(this: CliContext, _partial: string): Promise<string[]> {
  const [dp, ...others] = typedWords(this);
  if (others.length > 0) return [];
  try {
    const { meters } = await this.session.query(typedFlags(this), "meter-show", { dp });
    return meters.map(({ meter }) => `${meter}`);
  } catch {
    return [];
  }
}

/** Words already typed after the command's name, options and their values left out. */
function typedWords(context: CliContext): readonly string[] {
  return splitTyped(context).words;
}

/** Which daemon the command line names. */
function typedFlags(context: CliContext): CommonFlags {
  return splitTyped(context).flags;
}

function splitTyped(context: CliContext): { words: string[]; flags: CommonFlags } {
  const words: string[] = [];
  const flags: { socket?: string; state?: string } = {};
  const typed = (context.session.typed ?? []).slice(1);
  for (let at = 0; at < typed.length; at++) {
    const word = typed[at]!;
    const [, name, value] = /^--(socket|state)(?:=(.*))?$/.exec(word) ?? [];
    if (name === "socket" || name === "state") flags[name] = value ?? typed[++at] ?? "";
    else if (/^--(type|port-no|miss|flows-max|masks-cache)$/.test(word)) at++;
    else if (!word.startsWith("-")) words.push(word);
  }
  return { words, flags };
}
