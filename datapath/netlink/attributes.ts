/**
 * Netlink attributes (struct nlattr of linux/netlink.h: length, type, payload, padding to 4 bytes)
 * as bytes, both ways: the one TLV codec, of rtnetlink and of Open vSwitch's generic netlink alike.
 *
 * Numbers are in the machine's byte order, which is little endian wherever this runs, unless a
 * method's name says be. Reading checks every length and copies nothing: payloads are views.
 */

/** Bytes of an attribute's header. */
export const HEADER_SIZE = 4;
/** Longest attribute, header included: its length is 16 bits. */
export const ATTRIBUTE_SIZE_MAX = 0xffff;
const NLA_F_NESTED = 0x8000;
/** Without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const NLA_TYPE_MASK = 0x3fff;
const LITTLE_ENDIAN = true;

/** Bytes that aren't the message they should be, or a value that a message can't say. */
export class NetlinkCodecError extends Error {
  override readonly name = "NetlinkCodecError";
  /** What the kernel answers to such bytes. */
  readonly code = "EINVAL";
  /** The attributes that lead to the fault, outermost first: `flow key encap ipv4`. */
  readonly path: string;
  /** What is wrong there. */
  readonly problem: string;

  constructor(path: string, problem: string) {
    super(`${path}: ${problem}`);
    this.path = path;
    this.problem = problem;
  }
}

/** Netlink's alignment. */
export function aligned(size: number): number {
  return (size + 3) & ~3;
}

/** Lower-case hexadecimal, two digits a byte. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += (byte < 16 ? "0" : "") + byte.toString(16);
  return text;
}

/** Bytes of a hexadecimal text. Throws NetlinkCodecError at `path` if it is none. */
export function fromHex(text: string, path: string): Uint8Array<ArrayBuffer> {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) {
    throw new NetlinkCodecError(path, `"${text}" must be hexadecimal digits, two a byte`);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  }
  return bytes;
}

export interface WriterOptions {
  /** Zero bytes to begin with, which are the caller's; default 0. */
  readonly headSize?: number;
  /** Mark nested attributes with NLA_F_NESTED; Open vSwitch doesn't. */
  readonly marksNested?: boolean;
}

/** Writes attributes one after another, growing as needed. */
export class AttributeWriter {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(256);
  #view: DataView<ArrayBuffer> = new DataView(this.#bytes.buffer);
  #size: number;
  readonly #nestedFlag: number;

  constructor(options: WriterOptions = {}) {
    this.#size = 0;
    this.#nestedFlag = options.marksNested === true ? NLA_F_NESTED : 0;
    if (options.headSize !== undefined) this.#reserve(options.headSize);
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#size;
  }

  /** `size` zero bytes, padded to 4, that `fill` writes to: a fixed header. */
  header(size: number, fill: (view: DataView<ArrayBuffer>) => void): this {
    const at = this.#reserve(aligned(size));
    fill(new DataView(this.#bytes.buffer, at, size));
    return this;
  }

  /** Bytes that are attributes already, or a header. */
  raw(bytes: Uint8Array): this {
    const at = this.#reserve(aligned(bytes.length));
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Throws NetlinkCodecError for more bytes than an attribute can have, as all that follow do. */
  attribute(type: number, value: Uint8Array): this {
    const size = HEADER_SIZE + value.length;
    checkSize(type, size);
    const at = this.#reserve(aligned(size));
    this.#head(at, type, size);
    this.#bytes.set(value, at + HEADER_SIZE);
    return this;
  }

  /** One that says something by being there. */
  attributeFlag(type: number): this {
    this.#number(type, 0);
    return this;
  }

  attributeU8(type: number, value: number): this {
    checkRange(type, value, 8);
    const at = this.#number(type, 1); // may replace the view
    this.#view.setUint8(at, value);
    return this;
  }

  attributeU16(type: number, value: number): this {
    checkRange(type, value, 16);
    const at = this.#number(type, 2); // may replace the view
    this.#view.setUint16(at, value, LITTLE_ENDIAN);
    return this;
  }

  attributeU32(type: number, value: number): this {
    checkRange(type, value, 32);
    const at = this.#number(type, 4); // may replace the view
    this.#view.setUint32(at, value, LITTLE_ENDIAN);
    return this;
  }

  attributeU64(type: number, value: bigint): this {
    const at = this.#number(type, 8); // may replace the view
    this.#view.setBigUint64(at, value, LITTLE_ENDIAN);
    return this;
  }

  attributeBe16(type: number, value: number): this {
    checkRange(type, value, 16);
    const at = this.#number(type, 2); // may replace the view
    this.#view.setUint16(at, value);
    return this;
  }

  /** A string with its terminating zero. */
  attributeText(type: number, text: string): this {
    return this.attribute(type, new TextEncoder().encode(`${text}\0`));
  }

  /** An attribute that holds the attributes which `fill` adds. */
  nested(type: number, fill: (writer: this) => void): this {
    const at = this.#reserve(HEADER_SIZE);
    fill(this);
    const size = this.#size - at;
    checkSize(type, size);
    this.#head(at, type | this.#nestedFlag, size);
    return this;
  }

  /** A copy of all that was written. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#size);
  }

  /** Adds the header of a number and returns the place of its payload. */
  #number(type: number, size: number): number {
    const at = this.#reserve(aligned(HEADER_SIZE + size));
    this.#head(at, type, HEADER_SIZE + size);
    return at + HEADER_SIZE;
  }

  #head(at: number, type: number, size: number): void {
    this.#view.setUint16(at, size, LITTLE_ENDIAN);
    this.#view.setUint16(at + 2, type, LITTLE_ENDIAN);
  }

  #reserve(size: number): number {
    const at = this.#size;
    this.#size += size;
    if (this.#size > this.#bytes.length) {
      const grown = new Uint8Array(2 * this.#size);
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

function checkRange(type: number, value: number, bits: number): void {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** bits) return;
  throw new NetlinkCodecError(`attribute ${type}`, `${value} must have ${bits} bits`);
}

function checkSize(type: number, size: number): void {
  if (size <= ATTRIBUTE_SIZE_MAX) return;
  const problem = `${size} bytes, an attribute can have ${ATTRIBUTE_SIZE_MAX}`;
  throw new NetlinkCodecError(`attribute ${type}`, problem);
}

/**
 * Shows `visit` each attribute of `bytes`. Returns what is wrong with the end that isn't one;
 * undefined: nothing. The padding of the last attribute may be missing (OVS_DP_F_UNALIGNED).
 */
export function scanAttributes<Buffer extends ArrayBufferLike>(
  bytes: Uint8Array<Buffer>,
  visit: (type: number, payload: Uint8Array<Buffer>) => void,
): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at < bytes.length) {
    const left = bytes.length - at;
    if (left < HEADER_SIZE) return `${left} bytes are left over at byte ${at}`;
    const size = view.getUint16(at, LITTLE_ENDIAN);
    const type = view.getUint16(at + 2, LITTLE_ENDIAN) & NLA_TYPE_MASK;
    if (size < HEADER_SIZE || size > left) {
      return `attribute ${type} at byte ${at} has length ${size}, must be ${HEADER_SIZE} … ${left}`;
    }
    visit(type, bytes.subarray(at + HEADER_SIZE, at + size));
    at += aligned(size);
  }
  return undefined;
}

/** Attributes that may stand once each, by type, with typed access. Absent ones are undefined. */
export class AttributeSet {
  readonly path: string;
  readonly #payloads: Map<number, Uint8Array> = new Map();

  /**
   * Reads `bytes`; `path` names them in errors. `pad`: a type that only aligns others, ignored.
   * Throws NetlinkCodecError for damaged bytes and for a type that stands twice.
   */
  constructor(bytes: Uint8Array, path: string, options: { readonly pad?: number } = {}) {
    this.path = path;
    const damage = scanAttributes(bytes, (type, payload) => {
      if (type === options.pad) return;
      if (this.#payloads.has(type)) {
        throw new NetlinkCodecError(path, `attribute ${type} stands twice`);
      }
      this.#payloads.set(type, payload);
    });
    if (damage !== undefined) throw new NetlinkCodecError(path, damage);
  }

  has(type: number): boolean {
    return this.#payloads.has(type);
  }

  /** Whether every type is one of `first` … `last`. */
  hasOnly(first: number, last: number): boolean {
    return [...this.types].every((type) => type >= first && type <= last);
  }

  get types(): Iterable<number> {
    return this.#payloads.keys();
  }

  /** The payload, whatever its size. */
  bytes(type: number): Uint8Array | undefined {
    return this.#payloads.get(type);
  }

  u8(type: number): number | undefined {
    return this.#sized(type, 1)?.getUint8(0);
  }

  u16(type: number): number | undefined {
    return this.#sized(type, 2)?.getUint16(0, LITTLE_ENDIAN);
  }

  u32(type: number): number | undefined {
    return this.#sized(type, 4)?.getUint32(0, LITTLE_ENDIAN);
  }

  s32(type: number): number | undefined {
    return this.#sized(type, 4)?.getInt32(0, LITTLE_ENDIAN);
  }

  u64(type: number): bigint | undefined {
    return this.#sized(type, 8)?.getBigUint64(0, LITTLE_ENDIAN);
  }

  be16(type: number): number | undefined {
    return this.#sized(type, 2)?.getUint16(0);
  }

  /** Text up to its first zero byte. */
  text(type: number): string | undefined {
    const payload = this.#payloads.get(type);
    if (payload === undefined) return undefined;
    const end = payload.indexOf(0);
    return new TextDecoder().decode(end < 0 ? payload : payload.subarray(0, end));
  }

  /** An array of numbers. */
  u32s(type: number): number[] | undefined {
    const payload = this.#payloads.get(type);
    if (payload === undefined) return undefined;
    if (payload.length % 4 !== 0) this.fail(type, `${payload.length} bytes aren't whole numbers`);
    const view = viewOf(payload);
    return Array.from(
      { length: payload.length / 4 },
      (_, index) => view.getUint32(4 * index, LITTLE_ENDIAN),
    );
  }

  /** A fixed struct: `size` bytes, or more in a newer kernel. */
  struct(type: number, size: number): DataView | undefined {
    const payload = this.#payloads.get(type);
    if (payload === undefined) return undefined;
    if (payload.length < size) this.fail(type, `${payload.length} bytes, must be ${size}`);
    return viewOf(payload);
  }

  /** The attributes inside of one; `name` is for errors. */
  nested(
    type: number,
    name: string,
    options: { readonly pad?: number } = {},
  ): AttributeSet | undefined {
    const payload = this.#payloads.get(type);
    return payload === undefined
      ? undefined
      : new AttributeSet(payload, `${this.path} ${name}`, options);
  }

  /** Throws NetlinkCodecError about an attribute. */
  fail(type: number, problem: string): never {
    throw new NetlinkCodecError(`${this.path} attribute ${type}`, problem);
  }

  #sized(type: number, size: number): DataView | undefined {
    const payload = this.#payloads.get(type);
    if (payload === undefined) return undefined;
    if (payload.length !== size) this.fail(type, `${payload.length} bytes, must be ${size}`);
    return viewOf(payload);
  }
}

/** A DataView of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
