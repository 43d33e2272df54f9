/**
 * Filters of connections in the syntax of `ovs-dpctl flush-conntrack`: a zone, a mark and labels with
 * masks, and tuples such as `ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80`.
 */
import { OptionError } from "../errors.ts";
import { scanIpv4, scanIpv6 } from "../text/addresses.ts";
import { Scanner } from "../text/scanner.ts";
import type { ConnectionFilter, TupleFilter } from "./connection_info.ts";

/** The parts as text; absent: any. */
export interface FilterTexts {
  readonly zone?: number | undefined;
  /** `VALUE[/MASK]`. */
  readonly mark?: string | undefined;
  /** `VALUE[/MASK]`, hexadecimal with 0x. */
  readonly labels?: string | undefined;
  readonly original?: string | undefined;
  readonly reply?: string | undefined;
}

/** Numbers of a tuple by name, with the largest. */
const NUMBERS: ReadonlyMap<string, readonly [keyof TupleFilter, number]> = new Map([
  ["ct_nw_proto", ["protocol", 255]],
  ["ct_tp_src", ["sourcePort", 65535]],
  ["ct_tp_dst", ["destinationPort", 65535]],
  ["icmp_id", ["id", 65535]],
  ["icmp_type", ["type", 255]],
  ["icmp_code", ["code", 255]],
]);

const ADDRESSES: ReadonlyMap<string, readonly ["source" | "destination", 4 | 6]> = new Map([
  ["ct_nw_src", ["source", 4]],
  ["ct_nw_dst", ["destination", 4]],
  ["ct_ipv6_src", ["source", 6]],
  ["ct_ipv6_dst", ["destination", 6]],
]);

const LABEL_DIGITS = 32;

/** Throws OptionError, which names the part. */
export function parseFilter(texts: FilterTexts): ConnectionFilter {
  const { zone, mark, labels, original, reply } = texts;
  if (zone !== undefined) checkZone(zone);
  return {
    zone,
    mark: mark === undefined ? undefined : parseMark(mark),
    labels: labels === undefined ? undefined : parseLabels(labels),
    original: original === undefined ? undefined : parseTuple(original),
    reply: reply === undefined ? undefined : parseTuple(reply),
  };
}

/** Throws OptionError. */
export function checkZone(zone: number): void {
  if (Number.isInteger(zone) && zone >= 0 && zone <= 65535) return;
  throw new OptionError("zone", `zone must be 0 … 65535, not ${zone}`);
}

function parseMark(text: string): { value: number; mask: number } {
  const [value, mask = "0xffffffff", ...rest] = text.split("/").map((part) =>
    /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(part) && Number(part) <= 0xffffffff ? part : undefined
  );
  if (value === undefined || mask === undefined || rest.length > 0) {
    throw new OptionError("mark", `mark must be VALUE[/MASK], 32 bits each: "${text}" is not`);
  }
  return { value: Number(value), mask: Number(mask) };
}

function parseLabels(text: string): { value: string; mask: string } {
  const [value, mask = "f".repeat(LABEL_DIGITS), ...rest] = text.split("/").map((part) =>
    /^0x[0-9a-f]{1,32}$/i.test(part) || part === "0" ? part.replace(/^0x/i, "") : undefined
  );
  if (value === undefined || mask === undefined || rest.length > 0) {
    throw new OptionError("labels", `labels must be 0xVALUE[/0xMASK]: "${text}" is not`);
  }
  return { value: value.padStart(LABEL_DIGITS, "0"), mask: mask.padStart(LABEL_DIGITS, "0") };
}

function parseTuple(text: string): TupleFilter {
  const tuple: { -readonly [Field in keyof TupleFilter]: TupleFilter[Field] } = {};
  for (const part of text.split(",").filter((each) => each.trim() !== "")) {
    const [name = "", value = "", ...rest] = part.trim().split("=");
    const number = NUMBERS.get(name);
    const address = ADDRESSES.get(name);
    if (rest.length > 0 || (number === undefined && address === undefined)) {
      const known = [...ADDRESSES.keys(), ...NUMBERS.keys()].join(", ");
      throw new OptionError(
        name,
        `"${part}" is neither zone=, mark=, labels= nor part of a tuple (${known})`,
      );
    }
    if (number !== undefined) {
      const [field, most] = number;
      if (!/^\d{1,5}$/.test(value) || Number(value) > most) {
        throw new OptionError(name, `${name} must be 0 … ${most}, not "${value}"`);
      }
      Object.assign(tuple, { [field]: Number(value) });
    } else if (address !== undefined) {
      tuple[address[0]] = parseAddress(value, address[1], name);
    }
  }
  return tuple;
}

function parseAddress(text: string, family: 4 | 6, name: string): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  const scanner = new Scanner(text);
  if (family === 4) scanIpv4(scanner, bytes, 0, name);
  else scanIpv6(scanner, bytes, 0, name);
  if (!scanner.ended) throw new OptionError(name, `${name} has "${text}", which is no address`);
  return bytes;
}
