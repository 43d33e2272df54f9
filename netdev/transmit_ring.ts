/**
 * Sending small frames cheaply: one packet socket with a TPACKET_V2 transmit ring for all devices of
 * a thread. A message of `sendmmsg` costs the kernel a message header, an iovec and two copies with
 * their checks; a frame in shared memory costs one copy here and one there, which is less as long as
 * the frame is small.
 *
 * The kernel takes the ring's frames in order and sends them to the device that the system call
 * names. It reads a virtio_net_hdr in front of each, and only `hdr_len` bytes are copied into its own
 * packet; the rest would be referred to where it lies, and a veth gives a slot back before its peer
 * has read it. So hdr_len is always the whole frame.
 *
 * A slot is free again when the device is done with the frame, at once for a veth, by and by for
 * hardware. Who finds none free, or whose frame is refused, sends by `sendmmsg`, which tells why.
 */
import {
  AF_PACKET,
  MSG_DONTWAIT,
  PACKET_TX_RING,
  PACKET_VERSION,
  PACKET_VNET_HDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_PACKET,
  TP_STATUS_AVAILABLE,
  TP_STATUS_SEND_REQUEST,
  TP_STATUS_WRONG_FORMAT,
  tpacket2_hdr,
  tpacket_req,
  TPACKET_V2,
  virtio_net_hdr,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { type MappedBuffer, mapRing } from "./memory.ts";
import { unmapQuietly } from "./packet_setup.ts";
import { openSocket, setOption } from "./socket.ts";

const SLOT_SIZE = 128;
const SLOTS = 256;
const RING_SIZE: number = SLOTS * SLOT_SIZE;
/** A slot's virtio_net_hdr and frame; what stands in front of them is aligned to 16 bytes. */
const DATA_AT: number = tpacket2_hdr.size;
/**
 * Largest frame for the ring. The kernel does not compare it with the device's MTU, as it does with
 * a message: this fits into the smallest MTU that an Ethernet device can have (68).
 */
const FRAME_MAX = 82;
const FRAME_MIN = 14;

/** Whether the ring takes frames of this size, bytes. */
export function fitsRing(size: number): boolean {
  return size <= FRAME_MAX && size >= FRAME_MIN;
}

const REFUSED: number = TP_STATUS_SEND_REQUEST | TP_STATUS_WRONG_FORMAT;
const DOING = "send small frames";

export class TransmitRing {
  readonly #libc: Libc;
  readonly #sendmmsg: Libc["socket"]["sendmmsg"];
  readonly #fd: number;
  readonly #area: MappedBuffer;
  readonly #view: DataView<ArrayBuffer>;
  readonly #words: Int32Array<ArrayBuffer>;
  /** Byte offset of the next slot to fill. */
  #head = 0;
  /** Slots in front of it that wait for {@link send}; the first of them is the kernel's next. */
  #count = 0;

  /** Throws SystemError and leaves nothing behind. */
  static open(): TransmitRing {
    const calls = libc();
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    // Protocol 0: it receives nothing.
    const kind = { domain: AF_PACKET, type, protocol: 0, label: "AF_PACKET", doing: DOING };
    const fd = openSocket(calls, kind);
    try {
      const option = (name: number, label: string): Parameters<typeof setOption>[2] => {
        return { level: SOL_PACKET, name, label, doing: DOING };
      };
      setOption(calls, fd, option(PACKET_VERSION, "PACKET_VERSION"), TPACKET_V2);
      setOption(calls, fd, option(PACKET_VNET_HDR, "PACKET_VNET_HDR"), 1);
      setOption(calls, fd, option(PACKET_TX_RING, "PACKET_TX_RING"), ringRequest());
      return new TransmitRing(calls, fd, mapRing(fd, RING_SIZE));
    } catch (error) {
      calls.file.close(fd);
      throw error;
    }
  }

  private constructor(calls: Libc, fd: number, area: MappedBuffer) {
    this.#libc = calls;
    this.#sendmmsg = calls.socket.sendmmsg;
    this.#fd = fd;
    this.#area = area;
    this.#view = area.buffer.view;
    this.#words = new Int32Array(area.buffer.bytes.buffer);
  }

  /**
   * Puts a copy of `size` bytes at `at`, a virtio_net_hdr without segmentation and a frame that
   * {@link fitsRing}, behind those that wait for {@link send}. Returns false, and does nothing, when no
   * slot is free.
   */
  put(from: DataView<ArrayBuffer>, at: number, size: number): boolean {
    const slot = this.#head;
    // One that waits is not available either.
    if (this.#words[slot >>> 2] !== TP_STATUS_AVAILABLE) return false;
    const view = this.#view;
    const to = slot + DATA_AT;
    const tail = size & ~3;
    for (let i = 0; i < tail; i += 4) view.setInt32(to + i, from.getInt32(at + i, true), true);
    for (let i = tail; i < size; i++) view.setUint8(to + i, from.getUint8(at + i));
    view.setUint16(to + virtio_net_hdr.hdr_len, size - virtio_net_hdr.size, true);
    this.#words[(slot + tpacket2_hdr.tp_len) >>> 2] = size;
    this.#words[slot >>> 2] = TP_STATUS_SEND_REQUEST;
    this.#head = move(slot, 1);
    this.#count++;
    return true;
  }

  /**
   * Sends what was put, to the device that the address of `message` (a `struct mmsghdr` without
   * data) names. Returns how many frames, the first ones, the device took; the ring forgets the rest.
   */
  send(message: Deno.PointerObject): number {
    const words = this.#words;
    const count = this.#count;
    // What comes of it is told by the slots: the call may fail after it has sent some.
    this.#sendmmsg(this.#fd, message, 1, MSG_DONTWAIT);
    let slot = move(this.#head, -count);
    let sent = 0;
    while (sent < count && (words[slot >>> 2]! & REFUSED) === 0) {
      slot = move(slot, 1);
      sent++;
    }
    // The kernel goes on with the slot that it stopped at.
    this.#head = slot;
    this.#count = 0;
    for (let left = count - sent; left > 0; left--) {
      words[slot >>> 2] = TP_STATUS_AVAILABLE;
      slot = move(slot, 1);
    }
    return sent;
  }

  /** Closes the socket and frees the ring's memory. Never throws. */
  close(): void {
    unmapQuietly(this.#area);
    this.#libc.file.close(this.#fd);
  }
}

/** The slot that is `count` behind or, negative, in front of one. */
function move(slot: number, count: number): number {
  return (slot + count * SLOT_SIZE) & (RING_SIZE - 1);
}

function ringRequest(): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(tpacket_req.size));
  view.setUint32(tpacket_req.tp_block_size, RING_SIZE, true);
  view.setUint32(tpacket_req.tp_block_nr, 1, true);
  view.setUint32(tpacket_req.tp_frame_size, SLOT_SIZE, true);
  view.setUint32(tpacket_req.tp_frame_nr, SLOTS, true);
  return new Uint8Array(view.buffer);
}
