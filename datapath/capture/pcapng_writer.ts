/**
 * Writes pcapng captures (draft-ietf-opsawg-pcapng), a piece at a time: a section header, an interface
 * per port and link type when its first packet comes, enhanced packets with direction and comment,
 * statistics at the end. Little-endian, microseconds.
 */
import { LINKTYPE_ETHERNET, LINKTYPE_RAW } from "./captured_packet.ts";

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const INTERFACE_STATISTICS = 5;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const OPTION_COMMENT = 1;
const OPTION_USER_APPLICATION = 4;
const OPTION_INTERFACE_NAME = 2;
const OPTION_FLAGS = 2;
const OPTION_DROPPED = 5;
const TWO_32 = 2 ** 32;

/** A packet to write. */
export interface PcapngPacket {
  /** Name of its interface. */
  readonly interfaceName: string;
  readonly bytes: Uint8Array;
  /** Bytes that it had. */
  readonly fullSize: number;
  /** It has no Ethernet header. */
  readonly isL3: boolean;
  /** Microseconds since 1970. */
  readonly wallUs: number;
  readonly direction: "in" | "out" | undefined;
  readonly comment: string | undefined;
}

export class PcapngWriter {
  /** Numbers of interfaces by link type and name. */
  readonly #interfaces: Map<string, number> = new Map();

  /** What a capture begins with. */
  begin(application: string): Uint8Array<ArrayBuffer> {
    const body = new Uint8Array(16);
    const view = new DataView(body.buffer);
    view.setUint32(0, BYTE_ORDER_MAGIC, true);
    view.setUint16(4, 1, true);
    // The section's size is not known: all ones.
    body.fill(0xff, 8, 16);
    return block(SECTION_HEADER, body, option(OPTION_USER_APPLICATION, encode(application)));
  }

  /** A packet, behind the description of its interface if it is new. */
  packet(packet: PcapngPacket): Uint8Array<ArrayBuffer> {
    const { bytes, wallUs, direction, comment } = packet;
    const linkType = packet.isL3 ? LINKTYPE_RAW : LINKTYPE_ETHERNET;
    const name = `${linkType} ${packet.interfaceName}`;
    const known = this.#interfaces.get(name);
    const index = known ?? this.#interfaces.size;
    this.#interfaces.set(name, index);
    const padded = (bytes.length + 3) & ~3;
    const body = new Uint8Array(20 + padded);
    const view = new DataView(body.buffer);
    view.setUint32(0, index, true);
    setTime(view, 4, wallUs);
    view.setUint32(12, bytes.length, true);
    view.setUint32(16, packet.fullSize, true);
    body.set(bytes, 20);
    const options: Uint8Array[] = [];
    if (comment !== undefined) options.push(option(OPTION_COMMENT, encode(comment)));
    if (direction !== undefined) {
      options.push(option(OPTION_FLAGS, Uint8Array.of(direction === "in" ? 1 : 2, 0, 0, 0)));
    }
    const written = block(ENHANCED_PACKET, body, ...options);
    return known === undefined
      ? join([describe(packet.interfaceName, linkType), written])
      : written;
  }

  /** How many packets were lost, if there is an interface to say it of. */
  end(lost: number, wallUs: number): Uint8Array<ArrayBuffer> {
    if (this.#interfaces.size === 0) return new Uint8Array(0);
    const body = new Uint8Array(12);
    setTime(new DataView(body.buffer), 4, wallUs);
    const count = new Uint8Array(8);
    new DataView(count.buffer).setBigUint64(0, BigInt(lost), true);
    return block(INTERFACE_STATISTICS, body, option(OPTION_DROPPED, count));
  }
}

function setTime(view: DataView, at: number, wallUs: number): void {
  view.setUint32(at, Math.floor(wallUs / TWO_32), true);
  view.setUint32(at + 4, wallUs % TWO_32, true);
}

function describe(name: string, linkType: number): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(8);
  new DataView(body.buffer).setUint16(0, linkType, true);
  return block(INTERFACE_DESCRIPTION, body, option(OPTION_INTERFACE_NAME, encode(name)));
}

function option(code: number, value: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4 + ((value.length + 3) & ~3));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, code, true);
  view.setUint16(2, value.length, true);
  bytes.set(value, 4);
  return bytes;
}

/** Type, size, body, options with their end if there are any, size. The body is whole words. */
function block(
  type: number,
  body: Uint8Array,
  ...options: readonly Uint8Array[]
): Uint8Array<ArrayBuffer> {
  const parts = options.length === 0 ? [] : [...options, new Uint8Array(4)];
  const contents = join([body, ...parts]);
  const bytes = new Uint8Array(12 + contents.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, bytes.length, true);
  bytes.set(contents, 8);
  view.setUint32(bytes.length - 4, bytes.length, true);
  return bytes;
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
