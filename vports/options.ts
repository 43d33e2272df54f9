/** Readers for `key=value` port options, so that every type refuses bad ones in the same words. */
import { OptionError } from "../datapath/errors.ts";
import { isAddress } from "../netdev/udp_socket.ts";
import type { OptionReader, UdpEnd } from "./vport.ts";

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

const END = /^(?:\[([\da-f:.]+)\]|([^:]+)):(\d{1,5})$/i;

function end(raw: ReadonlyMap<string, string>, key: string): UdpEnd | undefined {
  const text = raw.get(key);
  if (text === undefined) return undefined;
  const [, bracketed, plain, digits] = END.exec(text) ?? [];
  const address = bracketed ?? plain ?? "";
  const port = Number(digits);
  if (isAddress(address) && port >= 1 && port <= 65535) return { address, port };
  const wanted = "an address and a port, as 192.0.2.7:5000 or [2001:db8::7]:5000";
  throw new OptionError(key, `Option ${key} must be ${wanted}: it is "${text}"`);
}

function choice(raw: ReadonlyMap<string, string>, key: string, allowed: readonly string[]): string {
  const value = raw.get(key);
  if (value === undefined) return allowed[0] ?? "";
  if (!allowed.includes(value)) {
    throw new OptionError(key, `Option ${key} must be ${allowed.join(" or ")}: it is "${value}"`);
  }
  return value;
}

export const optionReader: OptionReader = { only, required, integer, end, choice };
