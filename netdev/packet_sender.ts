/**
 * Sending to any number of Linux devices with one system call per round: an unbound AF_PACKET
 * socket with PACKET_VNET_HDR, and `sendmmsg` with an address per message.
 *
 * A device that takes no more (EAGAIN: the socket's buffer is full of its frames; ENOBUFS: its queue
 * is full) gets a socket of its own from then on, so that it can't starve the others.
 *
 * Partial checksums and segment trains go out as they are, also behind VLAN tags, and partial
 * checksums inside tunnels. A segment *train* inside a tunnel (csumStart behind an outer UDP or GRE
 * header) does not: the virtio-net header can't say "tunnel", and the kernel refuses it (ENOMEM,
 * counted as tx-error). The pipeline segments those before.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet.ts";
import {
  AF_PACKET,
  EAGAIN,
  EMSGSIZE,
  ENETDOWN,
  ENOBUFS,
  ENODEV,
  ENXIO,
  PACKET_VNET_HDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  sockaddr_ll,
  SOL_PACKET,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, recycleBuffer } from "./memory.ts";
import type { PacketHost } from "./packet_host.ts";
import { BATCH_MAX, SendBatch } from "./send_batch.ts";
import { openSocket, setOption, setSendBuffer } from "./socket.ts";
import { SystemError } from "./system_error.ts";

/** Bytes on their way to devices: of the shared socket, of a port's own. */
const SHARED_BUFFER_SIZE = 8 << 20;
const OWN_BUFFER_SIZE = 2 << 20;
/** Addresses are made in chunks. */
const ADDRESSES_PER_CHUNK = 64;
const ADDRESS_STRIDE = 32;
const DOING = "send by packet sockets";

const TX_QUEUE_FULL = dropReason("tx-queue-full");
const TX_ERROR = dropReason("tx-error");
const OVER_MTU = dropReason("over-mtu");
const PORT_DOWN = dropReason("port-down");

/** A port, as the sender knows it. */
interface Target {
  readonly portNo: number;
  readonly host: PacketHost;
  readonly nameLow: number;
  readonly nameHigh: number;
  /** The shared batch, or the port's own. */
  batch: SendBatch;
}

/** The sender of all packet-socket ports of a thread; has the shape of vports' `Sender`. */
export class PacketSender {
  readonly #libc: Libc;
  readonly #shared: SendBatch;
  /** Batches of ports with a socket of their own. */
  readonly #own: SendBatch[] = [];
  readonly #targets: (Target | undefined)[] = [];
  readonly #chunks: MappedBuffer[] = [];
  #closed = false;

  /** Throws SystemError and leaves nothing behind. */
  static open(): PacketSender {
    return new PacketSender();
  }

  private constructor() {
    this.#libc = libc();
    this.#shared = openBatch(this.#libc, SHARED_BUFFER_SIZE);
  }

  /** Prepares for sending to a device; returns the slot to send by. `host` counts what the device refuses. */
  addPort(ifindex: number, portNo: number, host: PacketHost): number {
    const free = this.#targets.indexOf(undefined);
    const slot = free >= 0 ? free : this.#targets.length;
    const address = this.#address(slot, ifindex);
    this.#targets[slot] = {
      portNo,
      host,
      nameLow: address | 0,
      nameHigh: (address / 0x1_0000_0000) | 0,
      batch: this.#shared,
    };
    return slot;
  }

  /** Sends what is queued and forgets the device. Never throws. */
  removePort(slot: number): void {
    const target = this.#targets[slot];
    if (target === undefined) return;
    this.flush();
    this.#targets[slot] = undefined;
    const at = this.#own.indexOf(target.batch);
    if (at < 0) return;
    this.#own.splice(at, 1);
    target.batch.close();
  }

  /** Queues one packet, whose bytes must stay as they are until {@link flush}. Returns 0, or port-down for a slot that is none. */
  send(slot: number, packet: Packet): DropReason {
    const target = this.#targets[slot];
    if (target === undefined) return PORT_DOWN;
    const { batch } = target;
    batch.add(slot, target.nameLow, target.nameHigh, packet);
    if (batch.count === BATCH_MAX) this.#flushBatch(batch);
    return 0;
  }

  /** Sends everything queued; what a device refuses is counted at its port. */
  flush(): void {
    if (this.#shared.count > 0) this.#flushBatch(this.#shared);
    for (let at = 0; at < this.#own.length; at++) {
      const batch = this.#own[at];
      if (batch !== undefined && batch.count > 0) this.#flushBatch(batch);
    }
  }

  /** Sends what is queued and closes all sockets. Never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.flush();
    for (const batch of [this.#shared, ...this.#own]) batch.close();
    for (const chunk of this.#chunks) recycleBuffer(chunk);
    this.#own.length = 0;
    this.#targets.length = 0;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** How many ports have a socket of their own by now. */
  get ownSocketCount(): number {
    return this.#own.length;
  }

  /** Called by a batch for each message that the kernel refused. */
  failed(batch: SendBatch, at: number, errno: number): void {
    const target = this.#targets[batch.slot(at)];
    if (target === undefined) return;
    if (batch === this.#shared && (errno === EAGAIN || errno === ENOBUFS)) {
      this.#separate(target);
      // EAGAIN on the shared socket may be another port's doing: the frame gets its second chance.
      if (errno === EAGAIN && target.batch !== this.#shared) {
        if (target.batch.count === BATCH_MAX) this.#flushBatch(target.batch);
        target.batch.addFrom(batch, at);
        return;
      }
    }
    target.host.countTxDrop(target.portNo, reasonOf(errno), batch.frameSize(at));
  }

  #flushBatch(batch: SendBatch): void {
    batch.flush(this);
  }

  /** Gives a port a socket of its own; without one (EMFILE) it stays where it is. */
  #separate(target: Target): void {
    if (target.batch !== this.#shared) return;
    try {
      target.batch = openBatch(this.#libc, OWN_BUFFER_SIZE);
      this.#own.push(target.batch);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
  }

  /** Address in memory of the slot's `sockaddr_ll`, filled in. */
  #address(slot: number, ifindex: number): number {
    const index = Math.floor(slot / ADDRESSES_PER_CHUNK);
    const chunk = this.#chunks[index] ??= allocateBuffer(ADDRESSES_PER_CHUNK * ADDRESS_STRIDE);
    const { view, address } = chunk.buffer;
    const at = (slot % ADDRESSES_PER_CHUNK) * ADDRESS_STRIDE;
    view.setUint16(at + sockaddr_ll.sll_family, AF_PACKET, true);
    view.setInt32(at + sockaddr_ll.sll_ifindex, ifindex, true);
    view.setUint8(at + sockaddr_ll.sll_halen, 6);
    return address + at;
  }
}

/** A socket that sends only (protocol 0: it receives nothing), and its batch. */
function openBatch(calls: Libc, bufferSize: number): SendBatch {
  const kind = { domain: AF_PACKET, type: SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol: 0 };
  const fd = openSocket(calls, { ...kind, label: "AF_PACKET", doing: DOING });
  try {
    const label = "PACKET_VNET_HDR";
    setOption(calls, fd, { level: SOL_PACKET, name: PACKET_VNET_HDR, label, doing: DOING }, 1);
    setSendBuffer(calls, fd, bufferSize);
    return new SendBatch(calls, fd);
  } catch (error) {
    calls.file.close(fd);
    throw error;
  }
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
