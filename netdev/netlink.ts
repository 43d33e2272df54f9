/**
 * Netlink messages as bytes (linux/netlink.h), both ways, without a socket. Unknown attributes are
 * kept, never fatal.
 */
import {
  NLA_F_NESTED,
  NLA_TYPE_MASK,
  nlattr,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
  nlmsghdr,
} from "./abi.ts";

/** A received message; `payload` is what follows its header. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Port of the sender's socket; 0 is the kernel. */
  readonly port: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Attributes by type; of several of one type the last. */
export type Attributes = ReadonlyMap<number, Uint8Array<ArrayBuffer>>;

/** What the kernel says of a request: errno 0 is success. */
export interface Acknowledgement {
  readonly errno: number;
  /** The kernel's words (extended ack), also with success: a warning. */
  readonly text: string | undefined;
}

/** Netlink's alignment. */
function aligned(size: number): number {
  return (size + 3) & ~3;
}

/** Writes one message, growing as needed. Byte order is the machine's (little endian). */
export class MessageWriter {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(256);
  #view: DataView = new DataView(this.#bytes.buffer);
  #size: number = nlmsghdr.size;

  constructor(type: number, flags: number) {
    this.#view.setUint16(nlmsghdr.nlmsg_type, type, true);
    this.#view.setUint16(nlmsghdr.nlmsg_flags, flags, true);
  }

  /** A fixed header behind the message's own: `size` zero bytes that `fill` writes to. */
  header(size: number, fill: (view: DataView) => void): this {
    const at = this.#reserve(aligned(size));
    fill(new DataView(this.#bytes.buffer, at, size));
    return this;
  }

  attribute(type: number, value: Uint8Array): this {
    const at = this.#reserve(aligned(nlattr.size + value.length));
    this.#view.setUint16(at + nlattr.nla_len, nlattr.size + value.length, true);
    this.#view.setUint16(at + nlattr.nla_type, type, true);
    this.#bytes.set(value, at + nlattr.size);
    return this;
  }

  attributeU32(type: number, value: number): this {
    return this.attribute(type, new Uint8Array(new Uint32Array([value]).buffer));
  }

  /** A string with its terminating zero. */
  attributeText(type: number, text: string): this {
    return this.attribute(type, new TextEncoder().encode(`${text}\0`));
  }

  /** An attribute that holds the attributes which `fill` adds. */
  nested(type: number, fill: (writer: this) => void): this {
    const at = this.#reserve(nlattr.size);
    fill(this);
    this.#view.setUint16(at + nlattr.nla_len, this.#size - at, true);
    this.#view.setUint16(at + nlattr.nla_type, type | NLA_F_NESTED, true);
    return this;
  }

  /** The whole message. */
  finish(sequence: number): Uint8Array<ArrayBuffer> {
    this.#view.setUint32(nlmsghdr.nlmsg_len, this.#size, true);
    this.#view.setUint32(nlmsghdr.nlmsg_seq, sequence, true);
    return this.#bytes.slice(0, this.#size);
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

/** Messages of one datagram; a damaged end is left out. */
export function parseMessages(datagram: Uint8Array<ArrayBuffer>): NetlinkMessage[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  const messages: NetlinkMessage[] = [];
  let at = 0;
  while (at + nlmsghdr.size <= datagram.length) {
    const size = view.getUint32(at + nlmsghdr.nlmsg_len, true);
    if (size < nlmsghdr.size || at + size > datagram.length) break;
    messages.push({
      type: view.getUint16(at + nlmsghdr.nlmsg_type, true),
      flags: view.getUint16(at + nlmsghdr.nlmsg_flags, true),
      sequence: view.getUint32(at + nlmsghdr.nlmsg_seq, true),
      port: view.getUint32(at + nlmsghdr.nlmsg_pid, true),
      payload: datagram.slice(at + nlmsghdr.size, at + size),
    });
    at += aligned(size);
  }
  return messages;
}

/** Attributes in `bytes` from `at` on; a damaged end is left out. */
export function parseAttributes(bytes: Uint8Array<ArrayBuffer>, at = 0): Attributes {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const attributes = new Map<number, Uint8Array<ArrayBuffer>>();
  while (at + nlattr.size <= bytes.length) {
    const size = view.getUint16(at + nlattr.nla_len, true);
    if (size < nlattr.size || at + size > bytes.length) break;
    const type = view.getUint16(at + nlattr.nla_type, true) & NLA_TYPE_MASK;
    attributes.set(type, bytes.slice(at + nlattr.size, at + size));
    at += aligned(size);
  }
  return attributes;
}

/** Text of an attribute, up to its first zero byte. */
export function attributeText(value: Uint8Array<ArrayBuffer> | undefined): string | undefined {
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return new TextDecoder().decode(end < 0 ? value : value.subarray(0, end));
}

/** Unsigned number of an attribute of at least 4 bytes. */
export function attributeU32(value: Uint8Array<ArrayBuffer> | undefined): number | undefined {
  if (value === undefined || value.length < 4) return undefined;
  return new DataView(value.buffer, value.byteOffset).getUint32(0, true);
}

/** Reads an NLMSG_ERROR (struct nlmsgerr: errno, the request or its header, attributes). */
export function parseAcknowledgement(message: NetlinkMessage): Acknowledgement | undefined {
  const { payload } = message;
  if (message.type !== NLMSG_ERROR || payload.length < 4 + nlmsghdr.size) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const errno = -view.getInt32(0, true);
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, text: undefined };
  const echoed = (message.flags & NLM_F_CAPPED) !== 0
    ? nlmsghdr.size
    : view.getUint32(4 + nlmsghdr.nlmsg_len, true);
  const attributes = parseAttributes(payload, 4 + aligned(echoed));
  return { errno, text: attributeText(attributes.get(NLMSGERR_ATTR_MSG)) };
}
