/**
 * Tunnel options in flow text: `geneve({class=0x1,type=0x2,len=4,0x1234}…)`, `vxlan(gbp(id=1))`,
 * `erspan(ver=1,idx=0x7)`, `gtpu(msgtype=255)`. What is not written inside is wildcarded, also an
 * option's data, which Open vSwitch prints so and reads as zero.
 */
import type { Field } from "../fields/field_types.ts";
import { TUN_OPTIONS_AT, TUN_OPTIONS_KIND_AT } from "../key.ts";
import {
  completeOptionsMask,
  ERSPAN_MAX,
  ERSPAN_VERSION,
  ERSPAN_VERSION_AT,
  GENEVE_DATA_MAX,
  GENEVE_LENGTH_MASK,
  GENEVE_PARTS,
  GENEVE_SIZE_MAX,
  geneveDataSize,
  geneveOffsets,
  OPTION_KINDS,
  type OptionForm,
  type OptionKind,
  optionParts,
  setOptions,
} from "../packet/tunnel_options.ts";
import {
  formatNumber,
  isWildcarded,
  type MatchBytes,
  readField,
  scanNumberField,
} from "./number_text.ts";
import { failOpen } from "./parentheses.ts";
import { CLOSE, EQUALS, OPEN, type Scanner, SLASH } from "./scanner.ts";
import { formatWide, scanWide } from "./wide_numbers.ts";

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const HEADER_SIZE = 4;

/** Reads `(…)` behind the name of a kind of options. */
export function scanOptions(
  scanner: Scanner,
  form: OptionForm,
  into: MatchBytes,
  nameAt: number,
): void {
  const kind = OPTION_KINDS[form];
  if (into.mask[TUN_OPTIONS_KIND_AT] !== 0) {
    scanner.fail(nameAt, "a tunnel has only one of geneve, vxlan, erspan and gtpu");
  }
  const openAt = scanner.at;
  scanner.expect(OPEN, `after tunnel ${form}`);
  if (form === "geneve") return scanGeneve(scanner, into, openAt);
  if (form === "vxlan") return scanVxlan(scanner, into, openAt);
  setOptions(into, kind.number, kind.size!);
  const written = scanParts(scanner, kind, into, { openAt, name: form });
  if (form === "erspan") {
    checkErspan(scanner, into, nameAt);
    checkErspanParts(scanner, into, nameAt, written);
  }
  completeOptionsMask(kind, into.key, into.mask);
}

function scanVxlan(scanner: Scanner, into: MatchBytes, openAt: number): void {
  const kind = OPTION_KINDS.vxlan;
  const from = scanner.at;
  const name = scanner.word();
  if (name !== "gbp") scanner.unknown(from, "field of tunnel vxlan", name, ["gbp"]);
  const gbpAt = scanner.at;
  scanner.expect(OPEN, "after gbp");
  setOptions(into, kind.number, kind.size!);
  scanParts(scanner, kind, into, { openAt: gbpAt, name: "gbp" });
  if (scanner.ended) failOpen(scanner, openAt, "vxlan");
  scanner.expect(CLOSE, "after gbp(…)");
  completeOptionsMask(kind, into.key, into.mask);
}

/** Reads named parts and the closing parenthesis; which there were. */
function scanParts(
  scanner: Scanner,
  kind: OptionKind,
  into: MatchBytes,
  { openAt, name }: { readonly openAt: number; readonly name: string },
): ReadonlySet<string> {
  const seen = new Set<string>();
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(CLOSE)) return seen;
    if (scanner.ended) failOpen(scanner, openAt, name);
    const part = scanPartName(scanner, kind.parts, seen, name);
    scanNumberField(scanner, part, into, 0);
    expectEnd(scanner, part.label, CLOSE);
  }
}

function scanPartName(
  scanner: Scanner,
  parts: readonly Field[],
  seen: Set<string>,
  what: string,
): Field {
  const from = scanner.at;
  const name = scanner.word();
  const part = parts.find((each) => each.name === name);
  if (part === undefined) {
    const names = parts.map((each) => each.name);
    scanner.unknown(from, `field of ${what}`, name === "" ? scanner.text[from]! : name, names);
  }
  if (seen.has(name)) scanner.fail(from, `${part.label} stands twice`);
  seen.add(name);
  scanner.expect(EQUALS, `after ${part.label}`);
  return part;
}

function expectEnd(scanner: Scanner, label: string, close: number): void {
  const next = scanner.peek();
  if (scanner.ended || next === close || next === 0x2c || next <= 0x20) return;
  const last = String.fromCharCode(close);
  scanner.fail(
    scanner.at,
    `"${scanner.text[scanner.at]}" can't follow the value of ${label}: a comma or "${last}" must`,
  );
}

/** The version is a whole word, and decides what else there is. */
function checkErspan(scanner: Scanner, into: MatchBytes, nameAt: number): void {
  const versionMask = into.mask[ERSPAN_VERSION_AT]!;
  const version = into.key[ERSPAN_VERSION_AT]!;
  if (versionMask !== 0) {
    if (versionMask !== 0xff) scanner.fail(nameAt, "the version of erspan can't have a mask");
    if (version !== 1 && version !== 2) scanner.fail(nameAt, "erspan needs ver=1 or ver=2");
    into.mask.fill(0xff, TUN_OPTIONS_AT, ERSPAN_VERSION_AT);
  }
}

/** Whether the parts beside the version are its own, and within their widths. */
function checkErspanParts(
  scanner: Scanner,
  into: MatchBytes,
  nameAt: number,
  written: ReadonlySet<string>,
): void {
  for (const part of OPTION_KINDS.erspan.parts) {
    const needed = ERSPAN_VERSION.get(part.name);
    if (needed === undefined || !written.has(part.name) || isWildcarded(into.mask, part)) continue;
    if (into.mask[ERSPAN_VERSION_AT] === 0 || into.key[ERSPAN_VERSION_AT] !== needed) {
      scanner.fail(nameAt, `erspan ${part.name} needs ver=${needed} beside it`);
    }
    const max = ERSPAN_MAX.get(part.name);
    if (max !== undefined && readField(into.key, part) > max) {
      scanner.fail(nameAt, `${part.label} must be 0 … ${max}`);
    }
  }
}

function scanGeneve(scanner: Scanner, into: MatchBytes, openAt: number): void {
  let at = 0;
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(CLOSE)) break;
    if (scanner.ended) failOpen(scanner, openAt, "geneve");
    at = scanGeneveOption(scanner, into, at);
  }
  setOptions(into, OPTION_KINDS.geneve.number, at);
}

/** Reads one option in braces; where the next begins. */
function scanGeneveOption(scanner: Scanner, into: MatchBytes, at: number): number {
  const openAt = scanner.at;
  scanner.expect(OPEN_BRACE, "at the beginning of a geneve option");
  const seen = new Set<string>();
  if (at + HEADER_SIZE > GENEVE_SIZE_MAX) failSize(scanner, openAt);
  into.mask[TUN_OPTIONS_AT + at + 3] = GENEVE_LENGTH_MASK;
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(CLOSE_BRACE)) break;
    if (scanner.ended) scanner.fail(openAt, 'the "{" of a geneve option is never closed');
    const from = scanner.at;
    if (scanner.atNumber) {
      scanGeneveData(scanner, into, at);
      seen.add("data");
      if (!scanner.ended && scanner.peek() !== CLOSE_BRACE) {
        scanner.fail(scanner.at, 'the data of a geneve option must be its end: "}"');
      }
      continue;
    }
    if (scanner.text.startsWith("len=", from) && !seen.has("len")) {
      seen.add("len");
      scanner.at += 4;
      scanGeneveLength(scanner, into, at);
    } else {
      const part = scanPartName(scanner, GENEVE_PARTS, seen, "geneve (or len, or the data)");
      scanNumberField(scanner, part, into, at);
      expectEnd(scanner, part.label, CLOSE_BRACE);
    }
  }
  return at + HEADER_SIZE + geneveDataSize(into.key, at);
}

function failSize(scanner: Scanner, from: number): never {
  scanner.fail(from, `geneve options must have at most ${GENEVE_SIZE_MAX} bytes altogether`);
}

function scanGeneveLength(scanner: Scanner, into: MatchBytes, at: number): void {
  const from = scanner.at;
  const size = scanner.number(8, "tunnel geneve len");
  if (size > GENEVE_DATA_MAX || size % 4 !== 0) {
    scanner.fail(from, `tunnel geneve len must be a multiple of 4, at most ${GENEVE_DATA_MAX}`);
  }
  if (at + HEADER_SIZE + size > GENEVE_SIZE_MAX) failSize(scanner, from);
  const maskAt = scanner.at;
  if (scanner.take(SLASH)) {
    const mask = scanner.number(8, "tunnel geneve len mask");
    if ((mask & GENEVE_LENGTH_MASK) !== GENEVE_LENGTH_MASK) {
      scanner.fail(maskAt, "tunnel geneve len takes no mask: it is always matched");
    }
  }
  expectEnd(scanner, "tunnel geneve len", CLOSE_BRACE);
  into.key[TUN_OPTIONS_AT + at + 3] = size / 4;
}

function scanGeneveData(scanner: Scanner, into: MatchBytes, at: number): void {
  const from = scanner.at;
  const size = geneveDataSize(into.key, at);
  const dataAt = TUN_OPTIONS_AT + at + HEADER_SIZE;
  if (size === 0) scanner.fail(from, "the data of a geneve option needs len= in front");
  scanWide(scanner, into.key, dataAt, { size, what: "the data of a geneve option" });
  if (scanner.take(SLASH)) {
    scanWide(scanner, into.mask, dataAt, { size, what: "the mask of a geneve option" });
  } else {
    into.mask.fill(0xff, dataAt, dataAt + size);
  }
}

/** Options with their parentheses, without the name in front. */
export function formatOptions(
  form: OptionForm,
  match: MatchBytes,
  context: { readonly verbose: boolean },
): string {
  if (form === "geneve") {
    return `(${geneveOffsets(match.key).map((at) => formatOption(match, at, context)).join("")})`;
  }
  const parts = optionParts(OPTION_KINDS[form], match.key, match.mask);
  const text = `(${formatParts(parts, match, { ...context, offset: 0 }).join(",")})`;
  return form === "vxlan" ? `(gbp${text})` : text;
}

function formatParts(
  parts: readonly Field[],
  match: MatchBytes,
  context: { readonly verbose: boolean; readonly offset: number },
): string[] {
  return parts
    .filter((part) => context.verbose || !isWildcarded(match.mask, part, context.offset))
    .map((part) => `${part.name}=${formatNumber(part, match.key, match.mask, context.offset)}`);
}

function formatOption(
  match: MatchBytes,
  at: number,
  context: { readonly verbose: boolean },
): string {
  const size = geneveDataSize(match.key, at);
  const texts = formatParts(GENEVE_PARTS, match, { ...context, offset: at });
  texts.push(`len=${size}`);
  const dataAt = TUN_OPTIONS_AT + at + HEADER_SIZE;
  const mask = match.mask.subarray(dataAt, dataAt + size);
  if (size > 0 && (context.verbose || mask.some((byte) => byte !== 0))) {
    const value = mask.map((byte, index) => byte & match.key[dataAt + index]!);
    const isWhole = mask.every((byte) => byte === 0xff);
    texts.push(formatWide(value, 0, size) + (isWhole ? "" : "/" + formatWide(mask, 0, size)));
  }
  return `{${texts.join(",")}}`;
}
