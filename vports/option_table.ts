/** Options of a port type as a table, key → form: what reads and what shows them is derived from it. */
import { OptionError } from "../datapath/errors.ts";
import { optionReader } from "./options.ts";
import type { OptionCodec, OptionForm, OptionForms, UdpEnd } from "./vport.ts";

/** Checks and shows the options of a table's keys, and no others. */
export function optionTable<Options extends object>(
  forms: { readonly [Key in keyof Options]-?: OptionForm<Options[Key]> },
): OptionCodec<Options> {
  const rows = Object.entries(forms) as [keyof Options & string, OptionForm<unknown>][];
  const keys = rows.map(([key]) => key);
  return {
    parseOptions(raw): Options {
      optionReader.only(raw, keys);
      return Object.fromEntries(rows.map(([key, form]) => [key, form.parse(raw, key)])) as Options;
    },
    formatOptions(options): ReadonlyMap<string, string> {
      const shown = new Map<string, string>();
      for (const [key, form] of rows) {
        const text = form.format(options[key]);
        if (text !== undefined) shown.set(key, text);
      }
      return shown;
    },
  };
}

/** Absent, it must be `fallback`; without one it is required. */
function form<T>(
  read: (text: string, key: string, raw: ReadonlyMap<string, string>) => T,
  show: (value: T) => string,
  fallback: T | undefined,
): OptionForm<T> {
  return {
    parse(raw, key): T {
      const text = raw.get(key);
      if (text === undefined && fallback !== undefined) return fallback;
      return read(optionReader.required(raw, key), key, raw);
    },
    format(value): string | undefined {
      const text = show(value);
      return fallback !== undefined && text === show(fallback) ? undefined : text;
    },
  };
}

function integer(range: { min: number; max: number; fallback?: number }): OptionForm<number> {
  const { min, max, fallback } = range;
  const read = (_: string, key: string, raw: ReadonlyMap<string, string>): number =>
    optionReader.integer(raw, key, { min, max, fallback: min });
  return form(read, String, fallback);
}

function choice<Word extends string>(words: readonly [Word, ...Word[]]): OptionForm<Word> {
  const read = (_: string, key: string, raw: ReadonlyMap<string, string>): Word =>
    optionReader.choice(raw, key, words) as Word;
  return form(read, String, words[0]);
}

function text({ fallback }: { fallback?: string } = {}): OptionForm<string> {
  return form((value) => value, (value) => value, fallback);
}

function end(): OptionForm<UdpEnd> {
  return form((_, key, raw) => optionReader.end(raw, key)!, showEnd, undefined);
}

function localEnd({ to, port }: { to: string; port: number }): OptionForm<UdpEnd> {
  const isV6 = (address: string): boolean => address.includes(":");
  const isAny = (address: string): boolean => address === "::" || address === "0.0.0.0";
  return {
    parse(raw, key): UdpEnd {
      const far = optionReader.end(raw, to);
      const wildcard = far !== undefined && isV6(far.address) ? "::" : "0.0.0.0";
      const value = raw.get(key);
      if (value === undefined) return { address: wildcard, port };
      const bare = /^:(\d+)$/.exec(value)?.[1];
      const shown = bare === undefined ? value : showEnd({ address: wildcard, port: Number(bare) });
      const near = optionReader.end(new Map([[key, shown]]), key)!;
      if (far === undefined || isV6(near.address) === isV6(far.address)) return near;
      const message = `must have an address of the same family as ${to}: it is "${value}"`;
      throw new OptionError(key, `Option ${key} ${message}`);
    },
    format(near): string | undefined {
      if (!isAny(near.address)) return showEnd(near);
      return near.port === port ? undefined : `:${near.port}`;
    },
  };
}

function optional<T>(inner: OptionForm<T>): OptionForm<T | undefined> {
  return {
    parse: (raw, key) => raw.has(key) ? inner.parse(raw, key) : undefined,
    format: (value) => value === undefined ? undefined : inner.format(value),
  };
}

function showEnd({ address, port }: UdpEnd): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

export const optionForms: OptionForms = { integer, choice, text, end, localEnd, optional };
