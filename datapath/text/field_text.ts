/**
 * Values and masks of single fields between text and key bytes: one case per form of fields.ts. The
 * same code serves matches and set actions.
 */
import { ETH_P_802_3_MIN, type Field } from "../fields.ts";
import { ETH_P_802_2, KEY_SIZE, PORT_MAX, VLAN_TCI_AT } from "../key.ts";
import {
  formatIpv4,
  formatIpv6,
  formatMac,
  scanIpv4,
  scanIpv6,
  scanMac,
  scanPrefixLength,
} from "./addresses.ts";
import { CLOSE, digitValue, type Scanner, SLASH } from "./scanner.ts";
import { formatTcpFlags, scanTcpFlags } from "./tcp_flags.ts";

/** Names of a datapath's ports. */
export interface PortNames {
  byName(name: string): number | undefined;
  byNo(no: number): string | undefined;
}

export const FRAGMENT_NAMES: readonly string[] = ["no", "first", "later"];

/** A key and a mask under construction, as bytes. */
export interface MatchBytes {
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
}

/** Full mask of a field, for fields of at most 32 bits. */
function fullMask(field: Field): number {
  return field.bits === 32 ? 0xffffffff : (1 << field.bits) - 1;
}

/** The field's number in the storage, for fields of at most 32 bits. `offset` shifts the storage (inner VLAN). */
export function readField(bytes: Uint8Array, field: Field, offset: number = 0): number {
  const at = field.at + offset;
  switch (field.size) {
    case 1:
      return bytes[at]!;
    case 2:
      return (bytes[at]! << 8 | bytes[at + 1]!) >> field.shift & fullMask(field);
    default:
      return ((bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) &
        fullMask(field)) >>> 0;
  }
}

/** Writes the field's bits and leaves the storage's other bits. */
export function writeField(bytes: Uint8Array, field: Field, value: number, offset: number): void {
  const at = field.at + offset;
  if (field.size === 1) {
    bytes[at] = value;
  } else if (field.size === 2) {
    const kept = (bytes[at]! << 8 | bytes[at + 1]!) & ~(fullMask(field) << field.shift);
    const whole = kept | value << field.shift;
    bytes[at] = whole >> 8;
    bytes[at + 1] = whole;
  } else {
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }
}

/** Whether the mask has no bit of the field. */
export function isWildcarded(mask: Uint8Array, field: Field, offset: number = 0): boolean {
  if (field.size <= 4) return readField(mask, field, offset) === 0;
  return isFilled(mask, field, offset, 0);
}

/** Whether the mask has all bits of the field. */
export function isExact(mask: Uint8Array, field: Field, offset: number = 0): boolean {
  if (field.size <= 4) return readField(mask, field, offset) === fullMask(field);
  return isFilled(mask, field, offset, 0xff);
}

function isFilled(mask: Uint8Array, field: Field, offset: number, byte: number): boolean {
  const at = field.at + offset;
  for (let index = 0; index < field.size; index++) {
    if (mask[at + index] !== byte) return false;
  }
  return true;
}

/** Reads `value[/mask]`. */
export function scanField(
  scanner: Scanner,
  field: Field,
  into: MatchBytes,
  options: { readonly offset: number; readonly names: PortNames | undefined },
): void {
  switch (field.form) {
    case "mac":
    case "ipv4":
    case "ipv6":
      return scanAddress(scanner, field, into);
    case "fragment":
      return scanFragment(scanner, field, into);
    case "tcp_flags": {
      const flags = scanTcpFlags(scanner);
      writeField(into.key, field, flags.value, 0);
      writeField(into.mask, field, flags.mask, 0);
      return;
    }
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
    case "decimal":
    case "hex":
      writeField(into.key, field, scanner.number(field.bits, field.label), options.offset);
      writeField(into.mask, field, scanMask(scanner, field), options.offset);
      return;
  }
}

function scanMask(scanner: Scanner, field: Field): number {
  const full = fullMask(field);
  if (scanner.peek() !== SLASH) return full;
  const from = scanner.at++;
  const written = scanner.number(field.maskBits, `${field.label} mask`);
  if (field.mask === "fixed" && written !== 0) {
    scanner.fail(from, `${field.label} takes no mask: it is matched exactly, or left out`);
  }
  if (field.mask !== "bits") return written === 0 ? 0 : full;
  return (written & full) >>> 0;
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

function hex(value: number): string {
  return value === 0 ? "0" : "0x" + value.toString(16);
}

/** `value[/mask]`, of the value under the mask; `name=` is the caller's. */
export function formatField(
  field: Field,
  key: Uint8Array,
  mask: Uint8Array,
  options: { readonly offset: number; readonly names: PortNames | undefined },
): string {
  if (field.size > 4 || field.form === "ipv4") return formatAddress(field, key, mask);
  const maskNumber = readField(mask, field, options.offset);
  const value = (readField(key, field, options.offset) & maskNumber) >>> 0;
  const exact = maskNumber === fullMask(field);
  switch (field.form) {
    case "tcp_flags":
      return formatTcpFlags(value, maskNumber);
    case "fragment":
      return FRAGMENT_NAMES[value] ?? String(value);
    case "port":
      return (exact ? options.names?.byNo(value) : undefined) ??
        withMask(String(value), exact, hex(maskNumber));
    case "ether_type":
      if (exact && value === ETH_P_802_2) return "0/0xffff";
      return withMask(
        "0x" + value.toString(16).padStart(4, "0"),
        exact,
        "0x" + maskNumber.toString(16).padStart(4, "0"),
      );
    case "hex":
      return withMask(hex(value), exact, hex(maskNumber));
    default:
      // A part of a VLAN tag has its zero mask in full.
      return withMask(
        String(value),
        exact,
        field.at === VLAN_TCI_AT ? "0x" + maskNumber.toString(16) : hex(maskNumber),
      );
  }
}

function withMask(value: string, exact: boolean, mask: string): string {
  return exact ? value : value + "/" + mask;
}

const masked = new Uint8Array(KEY_SIZE);

function formatAddress(field: Field, key: Uint8Array, mask: Uint8Array): string {
  const at = field.at;
  for (let index = at; index < at + field.size; index++) masked[index] = key[index]! & mask[index]!;
  const exact = isExact(mask, field);
  const format = field.form === "mac" ? formatMac : field.form === "ipv4" ? formatIpv4 : formatIpv6;
  return exact ? format(masked, at) : format(masked, at) + "/" + format(mask, at);
}
