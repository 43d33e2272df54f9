/**
 * Netlink messages as bytes (linux/netlink.h), both ways, without a socket; the attributes themselves
 * are datapath/netlink/attributes.ts's. Unknown attributes are kept, never fatal.
 */
import { aligned, AttributeWriter, scanAttributes } from "../datapath/netlink/attributes.ts";
import { NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_ERROR, NLMSGERR_ATTR_MSG, nlmsghdr } from "./abi.ts";

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

/** Writes one message: nlmsghdr, then whatever AttributeWriter writes. Byte order is the machine's (little endian). */
export class MessageWriter extends AttributeWriter {
  readonly #type: number;
  readonly #flags: number;

  /** Nested attributes are marked as such unless `marksNested` is false (generic netlink of Open vSwitch). */
  constructor(type: number, flags: number, options: { readonly marksNested?: boolean } = {}) {
    super({ headSize: nlmsghdr.size, marksNested: options.marksNested ?? true });
    this.#type = type;
    this.#flags = flags;
  }

  /** The whole message. */
  finish(sequence: number): Uint8Array<ArrayBuffer> {
    const bytes = this.bytes();
    const view = new DataView(bytes.buffer);
    view.setUint32(nlmsghdr.nlmsg_len, bytes.length, true);
    view.setUint16(nlmsghdr.nlmsg_type, this.#type, true);
    view.setUint16(nlmsghdr.nlmsg_flags, this.#flags, true);
    view.setUint32(nlmsghdr.nlmsg_seq, sequence, true);
    return bytes;
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
  const attributes = new Map<number, Uint8Array<ArrayBuffer>>();
  scanAttributes(bytes.subarray(at), (type, payload) => attributes.set(type, payload.slice()));
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
