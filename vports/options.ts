/** Readers for `key=value` port options, so that every type refuses bad ones in the same words. */
import { OptionError } from "../datapath/errors.ts";
import type { OptionReader } from "./vport.ts";

function only(raw: ReadonlyMap<string, string>, known: readonly string[]): void {
  for (const [key, value] of raw) {
    if (known.includes(key)) continue;
    const allowed = known.length === 0 ? "none" : known.join(", ");
    throw new OptionError(key, `Unknown option ${key}=${value} (options of this type: ${allowed})`);
  }
}

function required(raw: ReadonlyMap<string, string>, key: string): string {
  const value = raw.get(key);
  if (value === undefined || value === "") {
    throw new OptionError(key, `Option ${key} is missing: this type needs ${key}=…`);
  }
  return value;
}

function integer(
  raw: ReadonlyMap<string, string>,
  key: string,
  range: { min: number; max: number; fallback: number },
): number {
  const text = raw.get(key);
  if (text === undefined) return range.fallback;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (!(value >= range.min && value <= range.max)) {
    throw new OptionError(
      key,
      `Option ${key} must be a whole number from ${range.min} to ${range.max}: it is "${text}"`,
    );
  }
  return value;
}

function choice(raw: ReadonlyMap<string, string>, key: string, allowed: readonly string[]): string {
  const value = raw.get(key);
  if (value === undefined) return allowed[0] ?? "";
  if (!allowed.includes(value)) {
    throw new OptionError(key, `Option ${key} must be ${allowed.join(" or ")}: it is "${value}"`);
  }
  return value;
}

export const optionReader: OptionReader = { only, required, integer, choice };
