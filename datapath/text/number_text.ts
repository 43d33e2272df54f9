/** Numbers of up to 32 bits in the key: reading and writing their bits, and their text with a mask. */
import type { Field } from "../fields/field_types.ts";
import { VLAN_TCI_AT } from "../key.ts";
import { type Scanner, SLASH } from "./scanner.ts";

/** A key and a mask under construction, as bytes. */
export interface MatchBytes {
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
}

/** Full mask of a field, for fields of at most 32 bits. */
export function fullMask(field: Field): number {
  return field.bits === 32 ? 0xffffffff : (1 << field.bits) - 1;
}

/** The field's number in the storage, for fields of at most 32 bits. `offset` shifts the storage (inner VLAN). */
export function readField(bytes: Uint8Array, field: Field, offset: number = 0): number {
  const at = field.at + offset;
  switch (field.size) {
    case 1:
      return bytes[at]! >> field.shift & fullMask(field);
    case 2:
      return (bytes[at]! << 8 | bytes[at + 1]!) >> field.shift & fullMask(field);
    default:
      return (((bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>>
        field.shift) & fullMask(field)) >>> 0;
  }
}

/** Writes the field's bits and leaves the storage's other bits. */
export function writeField(bytes: Uint8Array, field: Field, value: number, offset: number): void {
  const at = field.at + offset;
  const size = field.size;
  if (field.bits === size * 8) {
    for (let index = at + size - 1; index >= at; index--) {
      bytes[index] = value;
      value >>>= 8;
    }
    return;
  }
  let bits = fullMask(field) << field.shift;
  let shifted = value << field.shift;
  for (let index = at + size - 1; index >= at; index--) {
    bytes[index] = bytes[index]! & ~bits | shifted & bits & 0xff;
    bits >>>= 8;
    shifted >>>= 8;
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
export function scanNumberField(
  scanner: Scanner,
  field: Field,
  into: MatchBytes,
  offset: number,
): void {
  writeField(into.key, field, scanner.number(field.bits, field.label), offset);
  writeField(into.mask, field, scanMask(scanner, field), offset);
}

/** Reads `/mask` if it is there. */
export function scanMask(scanner: Scanner, field: Field): number {
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

/** C's `%#x`. */
export function formatHex(value: number): string {
  return value === 0 ? "0" : "0x" + value.toString(16);
}

/** A number and its mask, of the value under the mask. */
export function formatNumber(
  field: Field,
  key: Uint8Array,
  mask: Uint8Array,
  offset: number,
): string {
  const maskNumber = readField(mask, field, offset);
  const value = (readField(key, field, offset) & maskNumber) >>> 0;
  const exact = maskNumber === fullMask(field);
  if (field.digits === "padded") return formatPadded(field, value, maskNumber);
  if (field.form === "hex") {
    const text = field.digits === "prefixed" ? "0x" + value.toString(16) : formatHex(value);
    return exact ? text : text + "/" + formatHex(maskNumber);
  }
  if (exact) return String(value);
  // Parts of a VLAN tag have a zero mask in full.
  const isTag = field.at === VLAN_TCI_AT;
  return String(value) + "/" + (isTag ? "0x" + maskNumber.toString(16) : formatHex(maskNumber));
}

/** As Open vSwitch writes NSH: a hexadecimal mask in the width of its word, a decimal one in its own. */
function formatPadded(field: Field, value: number, mask: number): string {
  const isHex = field.form === "hex";
  if (mask === fullMask(field)) return isHex ? "0x" + value.toString(16) : String(value);
  const width = isHex ? 2 * field.size : field.bits / 4;
  const text = value.toString(16).padStart(isHex ? 1 : width, "0");
  return `0x${text}/0x${mask.toString(16).padStart(width, "0")}`;
}
