/**
 * A gathered `sendmmsg`: message headers, iovecs and virtio-net headers in memory that the kernel
 * reads, made once and filled in per packet without an allocation.
 *
 * The virtio_net_hdr of a packet is written into its headroom, right in front of the frame, so that
 * a message is one piece; a packet without headroom takes two.
 */
import type { Packet } from "../datapath/packet.ts";
import { EINTR, iovec, mmsghdr, MSG_DONTWAIT, msghdr, sockaddr_ll, virtio_net_hdr } from "./abi.ts";
import type { Libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, pointerTo, recycleBuffer } from "./memory.ts";
import { writeVnetHeader } from "./vnet_header.ts";

/** Messages of one batch; a fuller one is sent early. */
export const BATCH_MAX = 64;

/** Message i, its two iovecs and its spare virtio_net_hdr, each in an array of its own. */
const IOVECS_AT: number = BATCH_MAX * mmsghdr.size;
const VNETS_AT: number = IOVECS_AT + BATCH_MAX * 2 * iovec.size;
const VNET_STRIDE = 16;
const SIZE: number = VNETS_AT + BATCH_MAX * VNET_STRIDE;
/** Indexes into an Int32Array view. */
const NAME_WORD: number = (mmsghdr.msg_hdr + msghdr.msg_name) / 4;
const IOVLEN_WORD: number = (mmsghdr.msg_hdr + msghdr.msg_iovlen) / 4;
const MESSAGE_WORDS: number = mmsghdr.size / 4;
const IOVEC_WORDS: number = iovec.size / 4;
const HIGH = 1 / 0x1_0000_0000;

/** Told of each message that the kernel refused. */
export interface SendErrors {
  failed(batch: SendBatch, at: number, errno: number): void;
}

export class SendBatch {
  readonly fd: number;
  readonly #libc: Libc;
  readonly #sendmmsg: Libc["socket"]["sendmmsg"];
  readonly #memory: MappedBuffer;
  readonly #view: DataView<ArrayBuffer>;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #address: number;
  /** Pointers to each message: a send may have to go on in the middle. */
  readonly #messages: Deno.PointerObject[] = [];
  /** Caller's number of each message. */
  readonly #slots: Int32Array = new Int32Array(BATCH_MAX);
  /** Messages gathered. */
  count = 0;

  /** `fd`: a packet socket with PACKET_VNET_HDR, owned by the batch from now on. Throws SystemError, and then does not own it. */
  constructor(calls: Libc, fd: number) {
    this.fd = fd;
    this.#libc = calls;
    this.#sendmmsg = calls.socket.sendmmsg;
    this.#memory = allocateBuffer(SIZE);
    const { buffer } = this.#memory;
    this.#view = buffer.view;
    this.#words = new Int32Array(buffer.bytes.buffer);
    this.#address = buffer.address;
    for (let at = 0; at < BATCH_MAX; at++) {
      const message = at * mmsghdr.size + mmsghdr.msg_hdr;
      const iov = BigInt(buffer.address + IOVECS_AT + at * 2 * iovec.size);
      this.#messages.push(pointerTo(buffer, at * mmsghdr.size));
      this.#view.setUint32(message + msghdr.msg_namelen, sockaddr_ll.size, true);
      this.#view.setBigUint64(message + msghdr.msg_iov, iov, true);
    }
  }

  /** Adds a packet; there must be room. `nameLow`, `nameHigh`: address of its `sockaddr_ll`. */
  add(slot: number, nameLow: number, nameHigh: number, packet: Packet): void {
    const at = this.count++;
    const words = this.#words;
    const message = at * MESSAGE_WORDS;
    const iov = (IOVECS_AT >>> 2) + at * 2 * IOVEC_WORDS;
    this.#slots[at] = slot;
    words[message + NAME_WORD] = nameLow;
    words[message + NAME_WORD + 1] = nameHigh;
    const vnetAt = packet.start - virtio_net_hdr.size;
    const size = packet.end - packet.start;
    if (vnetAt >= packet.headLimit) {
      writeVnetHeader(packet.view, vnetAt, packet);
      this.#setIovec(iov, packet.buffer.address + vnetAt, size + virtio_net_hdr.size);
      words[message + IOVLEN_WORD] = 1;
    } else {
      const spareAt = VNETS_AT + at * VNET_STRIDE;
      writeVnetHeader(this.#view, spareAt, packet);
      this.#setIovec(iov, this.#address + spareAt, virtio_net_hdr.size);
      this.#setIovec(iov + IOVEC_WORDS, packet.buffer.address + packet.start, size);
      words[message + IOVLEN_WORD] = 2;
    }
  }

  /** Adds message `at` of another batch, which has not been sent; there must be room. */
  addFrom(other: SendBatch, at: number): void {
    const to = this.count++;
    this.#slots[to] = other.#slots[at] ?? 0;
    const words = this.#words;
    const from = other.#words;
    for (const word of [NAME_WORD, NAME_WORD + 1, IOVLEN_WORD]) {
      words[to * MESSAGE_WORDS + word] = from[at * MESSAGE_WORDS + word] ?? 0;
    }
    const iovTo = (IOVECS_AT >>> 2) + to * 2 * IOVEC_WORDS;
    const iovFrom = (IOVECS_AT >>> 2) + at * 2 * IOVEC_WORDS;
    for (let word = 0; word < 2 * IOVEC_WORDS; word++) {
      words[iovTo + word] = from[iovFrom + word] ?? 0;
    }
  }

  /** Caller's number of message `at`. */
  slot(at: number): number {
    return this.#slots[at] ?? 0;
  }

  /** Bytes of the frame of message `at`. */
  frameSize(at: number): number {
    const iov = IOVECS_AT + at * 2 * iovec.size;
    const first = this.#view.getUint32(iov + iovec.iov_len, true);
    const second = this.#words[at * MESSAGE_WORDS + IOVLEN_WORD] === 2
      ? this.#view.getUint32(iov + iovec.size + iovec.iov_len, true)
      : 0;
    return first + second - virtio_net_hdr.size;
  }

  /** Sends everything. Each refused message is reported with its errno, and sending goes on behind it. */
  flush(errors: SendErrors): void {
    const count = this.count;
    let at = 0;
    while (at < count) {
      const pointer = this.#messages[at] ?? null;
      const sent = this.#sendmmsg(this.fd, pointer, count - at, MSG_DONTWAIT);
      if (sent > 0) {
        // Fewer than asked for: the next message failed. Its errno comes when it is the first.
        at += sent;
        continue;
      }
      const errno = this.#libc.errno();
      if (errno === EINTR) continue;
      errors.failed(this, at, errno);
      at++;
    }
    this.count = 0;
  }

  /** Closes the socket and gives the memory back. */
  close(): void {
    this.#libc.file.close(this.fd);
    recycleBuffer(this.#memory);
  }

  #setIovec(word: number, address: number, size: number): void {
    const words = this.#words;
    words[word] = address | 0;
    words[word + 1] = (address * HIGH) | 0;
    words[word + 2] = size;
  }
}
