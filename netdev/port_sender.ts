/**
 * Sending to one device: a packet socket bound to it, and a gathered `sendmmsg` whose message headers,
 * iovecs and virtio-net headers lie in memory that the kernel reads, made once and filled in per
 * packet without an allocation.
 *
 * The virtio_net_hdr of a packet is written into its headroom, right in front of the frame, so that
 * a message is one piece; a packet without headroom takes two.
 *
 * Small frames at the beginning of what is gathered go by the thread's transmit ring, which is cheaper
 * (transmit_ring.ts); what the ring does not take, and all behind it, goes by messages. So frames
 * keep their order, and every refusal is counted in one place.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import { GSO_NONE, type Packet } from "../datapath/packet/packet.ts";
import {
  AF_PACKET,
  EAGAIN,
  EINTR,
  EMSGSIZE,
  ENETDOWN,
  ENOBUFS,
  ENODEV,
  ENXIO,
  iovec,
  mmsghdr,
  MSG_DONTWAIT,
  msghdr,
  PACKET_VNET_HDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  sockaddr_ll,
  SOL_PACKET,
  virtio_net_hdr,
} from "./abi.ts";
import type { Libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, pointerTo, recycleBuffer } from "./memory.ts";
import type { PacketHost } from "./packet_host.ts";
import { openSocket, setOption, setSendBuffer } from "./socket.ts";
import { SystemError } from "./system_error.ts";
import { fitsRing, type TransmitRing } from "./transmit_ring.ts";
import { writeVnetHeader } from "./vnet_header.ts";

/** Messages of one system call; when so many are gathered they are sent early. */
const MESSAGES_MAX = 64;
/** Bytes on their way to the device. */
const BUFFER_SIZE = 4 << 20;

/** Message i, its two iovecs and its spare virtio_net_hdr, each in an array of its own. */
const IOVECS_AT: number = MESSAGES_MAX * mmsghdr.size;
const VNETS_AT: number = IOVECS_AT + MESSAGES_MAX * 2 * iovec.size;
const VNET_STRIDE = 16;
/** The message that names the device to the ring, and the address. */
const RING_MESSAGE_AT: number = VNETS_AT + MESSAGES_MAX * VNET_STRIDE;
const RING_ADDRESS_AT: number = RING_MESSAGE_AT + mmsghdr.size;
const MEMORY_SIZE: number = RING_ADDRESS_AT + 32;
/** Indexes into an Int32Array view. */
const IOVECS_WORD: number = IOVECS_AT / 4;
const IOVLEN_WORD: number = (mmsghdr.msg_hdr + msghdr.msg_iovlen) / 4;
const MESSAGE_WORDS: number = mmsghdr.size / 4;
const IOVEC_WORDS: number = iovec.size / 4;
/** Higher half of a 64-bit address. */
const HIGH = 1 / 0x1_0000_0000;

const TX_QUEUE_FULL = dropReason("tx-queue-full");
const TX_ERROR = dropReason("tx-error");
const OVER_MTU = dropReason("over-mtu");
const PORT_DOWN = dropReason("port-down");

/** Where a port's packets go, and who counts those that the device refuses. */
export interface SendTarget {
  readonly ifindex: number;
  readonly portNo: number;
  readonly host: PacketHost;
}

export class PortSender {
  readonly #libc: Libc;
  readonly #sendmmsg: Libc["socket"]["sendmmsg"];
  readonly #target: SendTarget;
  readonly #fd: number;
  readonly #memory: MappedBuffer;
  readonly #view: DataView<ArrayBuffer>;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #address: number;
  /** Pointers to each message: sending may have to go on in the middle. */
  readonly #messages: Deno.PointerObject[] = [];
  readonly #ring: TransmitRing;
  /** Names the device to the ring. */
  readonly #ringMessage: Deno.PointerObject;
  /** Where the virtio_net_hdr of each message lies, as the ring takes it. */
  readonly #views: DataView<ArrayBuffer>[] = [];
  readonly #starts: Int32Array<ArrayBuffer> = new Int32Array(MESSAGES_MAX);
  /** Messages gathered. */
  #count = 0;
  /** How many of them, the first ones, the ring may take. */
  #smallCount = 0;

  /** `ring` may serve other devices as well. Throws SystemError and leaves nothing behind. */
  static open(calls: Libc, target: SendTarget, ring: TransmitRing): PortSender {
    const memory = allocateBuffer(MEMORY_SIZE);
    try {
      return new PortSender(calls, target, { memory, ring });
    } catch (error) {
      recycleBuffer(memory);
      throw error;
    }
  }

  private constructor(
    calls: Libc,
    target: SendTarget,
    parts: { memory: MappedBuffer; ring: TransmitRing },
  ) {
    const { memory, ring } = parts;
    this.#libc = calls;
    this.#sendmmsg = calls.socket.sendmmsg;
    this.#target = target;
    this.#memory = memory;
    const { buffer } = memory;
    this.#view = buffer.view;
    this.#words = new Int32Array(buffer.bytes.buffer);
    this.#address = buffer.address;
    for (let at = 0; at < MESSAGES_MAX; at++) {
      const iov = BigInt(buffer.address + IOVECS_AT + at * 2 * iovec.size);
      this.#messages.push(pointerTo(buffer, at * mmsghdr.size));
      this.#view.setBigUint64(at * mmsghdr.size + mmsghdr.msg_hdr + msghdr.msg_iov, iov, true);
    }
    for (let at = 0; at < MESSAGES_MAX; at++) this.#views.push(this.#view);
    this.#ring = ring;
    this.#ringMessage = pointerTo(buffer, RING_MESSAGE_AT);
    const ringHeader = RING_MESSAGE_AT + mmsghdr.msg_hdr;
    const name = BigInt(buffer.address + RING_ADDRESS_AT);
    this.#view.setBigUint64(ringHeader + msghdr.msg_name, name, true);
    this.#view.setUint32(ringHeader + msghdr.msg_namelen, sockaddr_ll.size, true);
    writeAddress(this.#view, RING_ADDRESS_AT, target.ifindex);
    this.#fd = openBound(calls, target.ifindex);
  }

  /** Whether something waits for {@link flush}. */
  get waiting(): boolean {
    return this.#count > 0;
  }

  /** Queues one packet, whose bytes must stay as they are until {@link flush}. */
  send(packet: Packet): void {
    if (this.#count === MESSAGES_MAX) this.flush();
    const at = this.#count++;
    const iov = IOVECS_WORD + at * 2 * IOVEC_WORDS;
    const vnetAt = packet.start - virtio_net_hdr.size;
    const size = packet.end - packet.start;
    if (vnetAt >= packet.headLimit) {
      writeVnetHeader(packet.view, vnetAt, packet);
      this.#setIovec(iov, packet.buffer.address + vnetAt, size + virtio_net_hdr.size);
      this.#words[at * MESSAGE_WORDS + IOVLEN_WORD] = 1;
      if (at === this.#smallCount && fitsRing(size) && packet.gsoType === GSO_NONE) {
        this.#smallCount++;
        this.#views[at] = packet.view;
        this.#starts[at] = vnetAt;
      }
    } else {
      const spareAt = VNETS_AT + at * VNET_STRIDE;
      writeVnetHeader(this.#view, spareAt, packet);
      this.#setIovec(iov, this.#address + spareAt, virtio_net_hdr.size);
      this.#setIovec(iov + IOVEC_WORDS, packet.buffer.address + packet.start, size);
      this.#words[at * MESSAGE_WORDS + IOVLEN_WORD] = 2;
    }
  }

  /** Sends everything queued. Each packet that the device refuses is counted, and sending goes on behind it. */
  flush(): void {
    const count = this.#count;
    let at = this.#smallCount > 0 ? this.#sendByRing(this.#smallCount) : 0;
    while (at < count) {
      const sent = this.#sendmmsg(this.#fd, this.#messages[at] ?? null, count - at, MSG_DONTWAIT);
      if (sent > 0) {
        // Fewer than asked for: the next one failed. Its errno comes when it is the first.
        at += sent;
        continue;
      }
      const errno = this.#libc.errno();
      if (errno === EINTR) continue;
      // With the socket's buffer full the rest has no better chance.
      const refused = errno === EAGAIN ? count - at : 1;
      for (let left = refused; left > 0; left--) this.#countDrop(at++, reasonOf(errno));
    }
    this.#count = this.#smallCount = 0;
  }

  /** Sends the first `count` messages by the ring; returns how many it took. */
  #sendByRing(count: number): number {
    const ring = this.#ring;
    for (let at = 0; at < count; at++) {
      const size = this.#words[IOVECS_WORD + at * 2 * IOVEC_WORDS + 2]!;
      if (!ring.put(this.#views[at]!, this.#starts[at]!, size)) break;
    }
    return ring.send(this.#ringMessage);
  }

  /** Closes the socket; what is still queued is lost. Never throws. */
  close(): void {
    this.#libc.file.close(this.#fd);
    recycleBuffer(this.#memory);
  }

  #countDrop(at: number, reason: DropReason): void {
    const { portNo, host } = this.#target;
    const iov = IOVECS_AT + at * 2 * iovec.size + iovec.iov_len;
    const first = this.#view.getUint32(iov, true);
    const second = this.#words[at * MESSAGE_WORDS + IOVLEN_WORD] === 2
      ? this.#view.getUint32(iov + iovec.size, true)
      : 0;
    host.countTxDrop(portNo, reason, first + second - virtio_net_hdr.size);
  }

  #setIovec(word: number, address: number, size: number): void {
    const words = this.#words;
    words[word] = address | 0;
    words[word + 1] = (address * HIGH) | 0;
    words[word + 2] = size;
  }
}

/** A socket that only sends (protocol 0: it receives nothing), bound to a device: an address in every message would cost 4 % more CPU. */
function openBound(calls: Libc, ifindex: number): number {
  const doing = `send to device ${ifindex}`;
  const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const kind = { domain: AF_PACKET, type, protocol: 0, label: "AF_PACKET", doing };
  const fd = openSocket(calls, kind);
  try {
    const label = "PACKET_VNET_HDR";
    setOption(calls, fd, { level: SOL_PACKET, name: PACKET_VNET_HDR, label, doing }, 1);
    setSendBuffer(calls, fd, BUFFER_SIZE);
    const address = new DataView(new ArrayBuffer(sockaddr_ll.size));
    writeAddress(address, 0, ifindex);
    if (calls.socket.bind(fd, address, sockaddr_ll.size) < 0) {
      throw new SystemError({ doing, syscall: "bind(AF_PACKET)", errno: calls.errno() });
    }
    return fd;
  } catch (error) {
    calls.file.close(fd);
    throw error;
  }
}

function writeAddress(view: DataView, at: number, ifindex: number): void {
  view.setUint16(at + sockaddr_ll.sll_family, AF_PACKET, true);
  view.setInt32(at + sockaddr_ll.sll_ifindex, ifindex, true);
}

function reasonOf(errno: number): DropReason {
  switch (errno) {
    case EAGAIN:
    case ENOBUFS:
      return TX_QUEUE_FULL;
    case EMSGSIZE:
      return OVER_MTU;
    case ENETDOWN:
    case ENODEV:
    case ENXIO:
      return PORT_DOWN;
    default:
      return TX_ERROR;
  }
}
