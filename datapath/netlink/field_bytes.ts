/**
 * Fields of the field table between the key's bytes and those of a netlink struct: places, sizes and
 * byte order. Keys, masks and set actions share it.
 */
import type { Dialect, Field } from "../fields/field_types.ts";
import { NetlinkCodecError } from "./attributes.ts";

/** Key bytes hold values, mask bytes which bits of them count. */
export type Role = "key" | "mask";

/** How a struct's fields are laid between the key and the payload. */
export interface Layout {
  /** Added to every field's place in the key: the inner VLAN tag, a further MPLS label. */
  readonly offset: number;
  readonly hostOrder: boolean;
  readonly role: Role;
  readonly dialect: Dialect;
  /** For errors. */
  readonly path: string;
}

/** Larger fields are addresses and the like: bytes that are copied. */
function isBytes(field: Field): boolean {
  return field.size > 4;
}

function fullBits(bits: number): number {
  return 2 ** bits - 1;
}

/** The field's number in the key's bytes, unsigned; only for fields of at most 4 bytes. */
export function readBits(bytes: Uint8Array, field: Field, offset = 0): number {
  let storage = 0;
  for (let at = field.at + offset; at < field.at + offset + field.size; at++) {
    storage = storage * 256 + bytes[at]!;
  }
  return Math.floor(storage / 2 ** field.shift) % 2 ** field.bits;
}

/** Adds bits to the field; those that are there already stay. */
function orBits(bytes: Uint8Array, field: Field, offset: number, value: number): void {
  let storage = value * 2 ** field.shift;
  for (let at = field.at + offset + field.size - 1; at >= field.at + offset; at--) {
    bytes[at]! |= storage % 256;
    storage = Math.floor(storage / 256);
  }
}

/** Whether any bit of the field is set. */
export function hasBits(bytes: Uint8Array, field: Field, offset = 0): boolean {
  if (!isBytes(field)) return readBits(bytes, field, offset) !== 0;
  for (let at = field.at + offset; at < field.at + offset + field.size; at++) {
    if (bytes[at] !== 0) return true;
  }
  return false;
}

/** Whether every bit of the field is set. */
export function hasAllBits(bytes: Uint8Array, field: Field, offset = 0): boolean {
  if (!isBytes(field)) return readBits(bytes, field, offset) === fullBits(field.bits);
  for (let at = field.at + offset; at < field.at + offset + field.size; at++) {
    if (bytes[at] !== 0xff) return false;
  }
  return true;
}

/** Sets every bit of the field. */
export function fillBits(bytes: Uint8Array, field: Field, offset = 0): void {
  if (isBytes(field)) bytes.fill(0xff, field.at + offset, field.at + offset + field.size);
  else orBits(bytes, field, offset, fullBits(field.bits));
}

/** Size of the C struct of these fields: padded as its largest number wants it. */
export function structSize(fields: readonly Field[]): number {
  let end = 0;
  let alignment = 1;
  for (const field of fields) {
    end = Math.max(end, field.netlinkAt + field.netlinkSize);
    const own = field.form === "mac" ? 1 : Math.min(field.netlinkSize, 4);
    alignment = Math.max(alignment, own);
  }
  return Math.ceil(end / alignment) * alignment;
}

/** The struct's bytes. */
export function encodeStruct(
  fields: readonly Field[],
  source: Uint8Array,
  layout: Layout,
): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(structSize(fields));
  for (const field of fields) {
    const from = field.at + layout.offset;
    if (isBytes(field)) {
      const bytes = source.slice(from, from + field.size);
      payload.set(layout.hostOrder ? bytes.reverse() : bytes, field.netlinkAt);
      continue;
    }
    let number = readBits(source, field, layout.offset) * 2 ** payloadShift(field);
    if (layout.role === "mask") number = widened(field, number, layout.dialect);
    for (let index = 0; index < field.netlinkSize; index++) {
      const at = layout.hostOrder ? index : field.netlinkSize - 1 - index;
      payload[field.netlinkAt + at]! |= number % 256;
      number = Math.floor(number / 256);
    }
  }
  return payload;
}

/** A number that has the key's size has its place there too. */
function payloadShift(field: Field): number {
  return field.netlinkSize === field.size ? field.shift : 0;
}

/**
 * An exact mask of a field that netlink has more bits for. The kernel shows those of a field that it
 * always matches exactly; ovs-vswitchd those that its text takes (`arp op`).
 */
function widened(field: Field, mask: number, dialect: Dialect): number {
  if (mask !== fullBits(field.bits)) return mask;
  if (field.mask === "exact") return fullBits(8 * field.netlinkSize);
  return dialect === "userspace" ? fullBits(Math.max(field.maskBits, field.bits)) : mask;
}

/** Adds a struct's values or masks to the key's bytes. Throws NetlinkCodecError. */
export function decodeStruct(
  fields: readonly Field[],
  payload: Uint8Array,
  target: Uint8Array,
  layout: Layout,
): void {
  const size = structSize(fields);
  if (payload.length !== size) {
    throw new NetlinkCodecError(layout.path, `${payload.length} bytes, must be ${size}`);
  }
  for (const field of fields) {
    const to = field.at + layout.offset;
    if (isBytes(field)) {
      const bytes = payload.slice(field.netlinkAt, field.netlinkAt + field.netlinkSize);
      target.set(layout.hostOrder ? bytes.reverse() : bytes, to);
      continue;
    }
    const number = readNumber(field, payload, layout.hostOrder);
    if (layout.role === "key") checkExcess(fields, field, number, layout.path);
    let value = Math.floor(number / 2 ** payloadShift(field)) % 2 ** field.bits;
    if (layout.role === "mask" && field.mask === "exact" && number !== 0) {
      value = fullBits(field.bits);
    }
    orBits(target, field, layout.offset, value);
  }
}

function readNumber(field: Field, payload: Uint8Array, hostOrder: boolean): number {
  let number = 0;
  for (let index = 0; index < field.netlinkSize; index++) {
    const at = hostOrder ? field.netlinkSize - 1 - index : index;
    number = number * 256 + payload[field.netlinkAt + at]!;
  }
  return number;
}

/** Refuses bits that no field of the number has. */
function checkExcess(
  fields: readonly Field[],
  field: Field,
  number: number,
  path: string,
): void {
  let left = number;
  for (const other of fields) {
    if (other.netlinkAt !== field.netlinkAt) continue;
    const unit = 2 ** payloadShift(other);
    left -= Math.floor(number / unit) % 2 ** other.bits * unit;
  }
  if (left === 0) return;
  const name = field.name === "" ? "the value" : field.name;
  const problem = `${name} is 0x${number.toString(16)}, which has more than ${field.bits} bits`;
  throw new NetlinkCodecError(path, problem);
}
