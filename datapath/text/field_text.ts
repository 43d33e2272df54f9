/**
 * Values and masks of single fields between text and key bytes: one case per form of fields.ts. The
 * same code serves matches and set actions.
 */
import type { Field } from "../fields/field_types.ts";
import { ETH_P_802_3_MIN } from "../fields/fields.ts";
import { ETH_P_802_2, KEY_SIZE, PORT_MAX } from "../key.ts";
import {
  formatIpv4,
  formatIpv6,
  formatMac,
  scanIpv4,
  scanIpv6,
  scanMac,
  scanPrefixLength,
} from "./addresses.ts";
import { failFlags, formatFlags, formatPlainFlags, scanFlags } from "./flags_text.ts";
import {
  formatHex,
  formatNumber,
  fullMask,
  isExact,
  type MatchBytes,
  readField,
  scanMask,
  scanNumberField,
  writeField,
} from "./number_text.ts";
import { failOpen } from "./parentheses.ts";
import { CLOSE, digitValue, OPEN, type Scanner, SLASH } from "./scanner.ts";
import { formatOptions, scanOptions } from "./tunnel_options_text.ts";
import { formatWide, scanWide } from "./wide_numbers.ts";

export { isExact, isWildcarded, type MatchBytes, readField, writeField } from "./number_text.ts";

/** Names of a datapath's ports. */
export interface PortNames {
  byName(name: string): number | undefined;
  byNo(no: number): string | undefined;
}

export const FRAGMENT_NAMES: readonly string[] = ["no", "first", "later"];

/** Reads `value[/mask]`, or what a form has instead. */
export function scanField(
  scanner: Scanner,
  field: Field,
  into: MatchBytes,
  options: { readonly offset: number; readonly names: PortNames | undefined },
): void {
  switch (field.form) {
    case "decimal":
      return scanNumberField(scanner, field, into, options.offset);
    case "hex":
      if (field.size > 4) return scanWideField(scanner, field, into, options.offset);
      return scanNumberField(scanner, field, into, options.offset);
    case "mac":
    case "ipv4":
    case "ipv6":
      return scanAddress(scanner, field, into);
    case "fragment":
      return scanFragment(scanner, field, into);
    case "flags":
      return scanFlagsField(scanner, field, into);
    case "port":
      writeField(into.key, field, scanPort(scanner, field.label, options.names), 0);
      writeField(into.mask, field, scanMask(scanner, field), 0);
      return;
    case "ether_type": {
      const type = scanEtherType(scanner);
      writeField(into.key, field, type.value, 0);
      writeField(into.mask, field, type.mask === 0 ? 0 : 0xffff, 0);
      return;
    }
    case "geneve":
    case "vxlan":
    case "erspan":
    case "gtpu":
      return scanOptions(scanner, field.form, into, scanner.at - field.name.length);
  }
}

/** Flags are the whole value of an attribute, or stand in parentheses, where there may be none. */
function scanFlagsField(scanner: Scanner, field: Field, into: MatchBytes): void {
  const openAt = scanner.at;
  const isNamed = field.name !== "";
  if (isNamed) scanner.expect(OPEN, `after ${field.label}`);
  if (!isNamed && !canBeginFlags(scanner)) failFlags(scanner, scanner.at, field);
  const flags = scanFlags(scanner, field);
  writeField(into.key, field, flags.value, 0);
  writeField(into.mask, field, flags.mask, 0);
  if (!isNamed) return;
  if (scanner.ended) failOpen(scanner, openAt, field.label);
  if (!scanner.take(CLOSE)) failFlags(scanner, scanner.at, field);
}

function canBeginFlags(scanner: Scanner): boolean {
  const next = scanner.peek();
  return !scanner.ended && next !== CLOSE && next !== 0x2c && next !== 0x20;
}

function scanWideField(scanner: Scanner, field: Field, into: MatchBytes, offset: number): void {
  const at = field.at + offset;
  const { size, label } = field;
  scanWide(scanner, into.key, at, { size, what: label });
  if (!scanner.take(SLASH)) into.mask.fill(0xff, at, at + size);
  else scanWide(scanner, into.mask, at, { size, what: `${label} mask` });
}

/**
 * Reads an Ethernet type and its mask as written. 0 is a frame without a type (802.3 with LLC, no
 * SNAP) and comes out as ETH_P_802_2.
 */
export function scanEtherType(scanner: Scanner): { value: number; mask: number } {
  const from = scanner.at;
  const value = scanner.number(16, "eth_type");
  const mask = scanner.take(SLASH) ? scanner.number(16, "eth_type mask") : 0xffff;
  if (mask !== 0 && value !== 0 && value < ETH_P_802_3_MIN) {
    scanner.fail(from, "eth_type must be 0x0600 … 0xffff, or 0 for frames without a type (LLC)");
  }
  return { value: value < ETH_P_802_3_MIN ? ETH_P_802_2 : value, mask };
}

function scanAddress(scanner: Scanner, field: Field, into: MatchBytes): void {
  const at = field.at;
  scanBytes(scanner, field, into.key, field.label);
  if (!scanner.take(SLASH)) {
    into.mask.fill(0xff, at, at + field.size);
  } else if (field.form === "mac" || !scanPrefixLength(scanner, into.mask, at, prefixSize(field))) {
    scanBytes(scanner, field, into.mask, `${field.label} mask`);
  }
}

function prefixSize(field: Field): 4 | 16 {
  return field.size === 4 ? 4 : 16;
}

function scanBytes(scanner: Scanner, field: Field, bytes: Uint8Array, what: string): void {
  if (field.form === "mac") scanMac(scanner, bytes, field.at, what);
  else if (field.form === "ipv4") scanIpv4(scanner, bytes, field.at, what);
  else scanIpv6(scanner, bytes, field.at, what);
}

function scanFragment(scanner: Scanner, field: Field, into: MatchBytes): void {
  const from = scanner.at;
  const value = FRAGMENT_NAMES.indexOf(scanner.word());
  if (value < 0) scanner.fail(from, `${field.label} must be no, first or later`);
  if (scanner.peek() === SLASH) scanner.fail(scanner.at, `${field.label} takes no mask`);
  into.key[field.at] = value;
  into.mask[field.at] = 0xff;
}

/** Reads a port's number or name, up to a parenthesis or a slash. */
export function scanPort(scanner: Scanner, what: string, names: PortNames | undefined): number {
  const from = scanner.at;
  if (scanner.atNumber && !isName(scanner.text, from, names)) {
    const port = scanner.number(32, what);
    if (port > PORT_MAX) scanner.fail(from, `${what} must be a port number 0 … ${PORT_MAX}`);
    return port;
  }
  const name = scanner.until(CLOSE);
  const port = names?.byName(name);
  if (port !== undefined) return port;
  if (name === "") scanner.fail(from, `${what} must be a port number or name`);
  if (names === undefined) scanner.fail(from, `${what} must be a port number, not "${name}"`);
  return scanner.fail(from, `no port is named "${name}"`);
}

/** Whether what begins with a digit is a port's name after all (`1st`). */
function isName(text: string, from: number, names: PortNames | undefined): boolean {
  if (names === undefined) return false;
  let to = from;
  while (digitValue(text.charCodeAt(to)) <= 9) to++;
  const next = text.charCodeAt(to);
  if (next === CLOSE || next === SLASH || next === 0x2c || Number.isNaN(next)) return false;
  const close = text.indexOf(")", from);
  return names.byName(text.slice(from, close < 0 ? text.length : close)) !== undefined;
}

/** How a field is printed. */
export interface FieldContext {
  /** Added to the field's place. */
  readonly offset: number;
  readonly names: PortNames | undefined;
  /** Wildcarded fields too. */
  readonly verbose: boolean;
  /** As a key without a mask: set actions. */
  readonly plain?: boolean;
}

/** `value[/mask]`, of the value under the mask; `name=` is the caller's. */
export function formatField(
  field: Field,
  key: Uint8Array,
  mask: Uint8Array,
  context: FieldContext,
): string {
  switch (field.form) {
    case "decimal":
      return formatNumber(field, key, mask, context.offset);
    case "hex":
      if (field.size > 4) return formatMaskedBytes(field, key, mask, context.offset);
      return formatNumber(field, key, mask, context.offset);
    case "mac":
    case "ipv4":
    case "ipv6":
      return formatMaskedBytes(field, key, mask, context.offset);
    case "geneve":
    case "vxlan":
    case "erspan":
    case "gtpu":
      return formatOptions(field.form, { key, mask }, context);
    case "flags":
    case "fragment":
    case "port":
    case "ether_type":
      return formatNamed(field, key, mask, context);
  }
}

/** Forms in which some or all values have names. */
function formatNamed(
  field: Field,
  key: Uint8Array,
  mask: Uint8Array,
  context: FieldContext,
): string {
  const maskNumber = readField(mask, field, context.offset);
  const value = (readField(key, field, context.offset) & maskNumber) >>> 0;
  const exact = maskNumber === fullMask(field);
  switch (field.form) {
    case "flags":
      return formatFlagsField(field, value, maskNumber, context);
    case "fragment":
      return FRAGMENT_NAMES[value] ?? String(value);
    case "port":
      return (exact ? context.names?.byNo(value) : undefined) ??
        String(value) + (exact ? "" : "/" + formatHex(maskNumber));
    default: {
      if (exact && value === ETH_P_802_2) return "0/0xffff";
      const text = "0x" + value.toString(16).padStart(4, "0");
      return exact ? text : text + "/0x" + maskNumber.toString(16).padStart(4, "0");
    }
  }
}

/** Open vSwitch's verbose form of flags that always have signs is a number. */
function formatFlagsField(
  field: Field,
  value: number,
  mask: number,
  context: FieldContext,
): string {
  let text: string;
  if (context.plain) text = formatPlainFlags(field, value);
  else if (context.verbose && field.plainFlags === 0) {
    text = `${formatHex(value)}/${formatHex(mask)}`;
  } else text = formatFlags(field, value, mask);
  return field.name === "" ? text : `(${text})`;
}

const masked = new Uint8Array(KEY_SIZE);

/** Values of more than 32 bits, and addresses. */
function formatMaskedBytes(
  field: Field,
  key: Uint8Array,
  mask: Uint8Array,
  offset: number,
): string {
  const at = field.at + offset;
  for (let index = at; index < at + field.size; index++) masked[index] = key[index]! & mask[index]!;
  const text = formatBytes(field, masked, at);
  return isExact(mask, field, offset) ? text : text + "/" + formatBytes(field, mask, at);
}

function formatBytes(field: Field, bytes: Uint8Array, at: number): string {
  switch (field.form) {
    case "mac":
      return formatMac(bytes, at);
    case "ipv4":
      return formatIpv4(bytes, at);
    case "ipv6":
      return formatIpv6(bytes, at);
    default: {
      // Only values have the prefix of zero, masks are as C's %#x.
      const prefixed = field.digits === "prefixed" && bytes === masked;
      return formatWide(bytes, at, field.size, prefixed);
    }
  }
}
