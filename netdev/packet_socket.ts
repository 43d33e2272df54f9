/**
 * Reception from any number of Linux devices through one packet socket: an unbound AF_PACKET socket
 * with a TPACKET_V2 ring in shared memory, one per packet thread and network namespace. Its cost
 * does not grow with the number of ports. A filter in the kernel keeps other devices out.
 *
 * A ring frame of 1984 bytes holds a `tpacket2_hdr`, a `sockaddr_ll`, headroom, the frame's
 * `virtio_net_hdr` and the frame. The switch works on it in place: packets point into the ring, and
 * the frames go back to the kernel with `release`. A larger frame (a segment train of up to 64 KiB, a
 * jumbo frame) has its first bytes in the ring and lies whole in the socket's receive queue
 * (PACKET_COPY_THRESH, TP_STATUS_COPY), from where it is fetched into a pool packet. The kernel
 * takes the ring's and the queue's place for a frame under one lock: the k-th copied frame of the
 * ring is the k-th of the queue, so order is kept.
 *
 * The kernel has taken an outer VLAN tag out of the frame; here it is put back in line.
 *
 * Some trains must not come near a ring: they go through a queue beside it (gso_filter.ts).
 */
import { dropReason } from "../datapath/drop_reasons.ts";
import { PORT_NONE } from "../datapath/key.ts";
import { Packet } from "../datapath/packet/packet.ts";
import {
  PACKET_ADD_MEMBERSHIP,
  PACKET_DROP_MEMBERSHIP,
  PACKET_MR_PROMISC,
  packet_mreq,
  sockaddr_ll,
  SOL_PACKET,
  TP_STATUS_COPY,
  TP_STATUS_KERNEL,
  TP_STATUS_USER,
  tpacket2_hdr,
  virtio_net_hdr,
} from "./abi.ts";
import { FETCH_SIZE, FrameFetch, restoreTag, tagOf } from "./frame_fetch.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, recycleBuffer } from "./memory.ts";
import { hand, type PacketHost } from "./packet_host.ts";
import { PacketQueue } from "./packet_queue.ts";
import {
  attachClassicFilter,
  attachFilter,
  BLOCK_END,
  BLOCK_SIZE,
  type Fanout,
  FRAME_SIZE,
  FRAMES_PER_BLOCK,
  HEADERS_END,
  openRingSocket,
  type RingSocket,
  unmapQuietly,
} from "./packet_setup.ts";
import { PortTable } from "./port_table.ts";
import { setOption } from "./socket.ts";
import { SocketStatistics } from "./socket_statistics.ts";
import { SystemError } from "./system_error.ts";
import { readVnetHeader } from "./vnet_header.ts";

/** Ring frames: 124 blocks, 8 MB. */
const FRAMES = 4092;
/** Frames lent between two calls of `release`, at most. */
const LENT_MAX = 256;
/** Calls of `receive` that find a crowded ring, after which the kernel is asked what it has lost. */
const CROWDED_MAX = 256;
/** `struct sockaddr_ll` of a ring frame stands behind the aligned `tpacket2_hdr`. */
const IFINDEX_AT = tpacket2_hdr.size + sockaddr_ll.sll_ifindex;

const RX_TRUNCATED = dropReason("rx-truncated");
const RX_NOT_A_PORT = dropReason("rx-not-a-port");
const RX_RING_FULL = dropReason("rx-ring-full");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const NO_HEADROOM = dropReason("no-headroom");

export interface PacketRingOptions {
  /** Pool for large frames; counts drops that belong to no port. */
  readonly host: PacketHost;
  /** Ring frames, rounded up to blocks of 33; default 4092, about 8 MB. */
  readonly frames?: number | undefined;
  /** Shares the traffic among the rings of one group; without, the ring gets all. */
  readonly fanout?: Fanout | undefined;
  /** Default true: devices are promiscuous while they are ports. One ring of a group is enough. */
  readonly promiscuous?: boolean | undefined;
}

/** What a ring is made of. */
interface RingParts {
  readonly calls: Libc;
  readonly socket: RingSocket;
  readonly memory: MappedBuffer;
  readonly ports: PortTable;
  readonly queue: PacketQueue | undefined;
}

/** The receiver of all packet-socket ports of a thread; has the shape of vports' `Receiver`. */
export class PacketRing {
  /** Readable when frames wait. */
  readonly fd: number;
  /** A second receiver, for the trains that must not come near the ring (gso_filter.ts); undefined where bpf(2) is not allowed. Closed with the ring. */
  readonly queue: PacketQueue | undefined;
  readonly #libc: Libc;
  readonly #host: PacketHost;
  readonly #promiscuous: boolean;
  readonly #ports: PortTable;
  readonly #area: MappedBuffer;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  readonly #memory: MappedBuffer;
  readonly #fetch: FrameFetch;
  readonly #statistics: SocketStatistics;
  readonly #packets: Packet[] = [];
  /** Half of the ring, in bytes: a frame that far behind the next one is waiting, so frames may have been lost. */
  readonly #half: number;
  readonly #fence: Int32Array<ArrayBuffer> = new Int32Array(1);
  /** Byte offset of the next frame to read, and of the first that is lent. */
  #head = 0;
  #tail = 0;
  #lent = 0;
  /** Calls of `receive` since the ring was found half full; 0: it was not. */
  #crowdedFor = 0;
  #closed = false;

  /** Opens a ring that receives nothing until {@link addPort}. Throws SystemError and leaves nothing behind. */
  static open(options: PacketRingOptions): PacketRing {
    const calls = libc();
    const { host, fanout } = options;
    const blocks = Math.max(8, Math.ceil((options.frames ?? FRAMES) / FRAMES_PER_BLOCK));
    const socket = openRingSocket(calls, { blocks, fanout });
    let memory: MappedBuffer | undefined;
    try {
      memory = allocateBuffer(FETCH_SIZE);
      const ports = new PortTable(host);
      const queue = socket.filter === "bpf"
        ? PacketQueue.open(calls, { host, ports, fanout })
        : undefined;
      return new PacketRing(options, { calls, socket, memory, ports, queue });
    } catch (error) {
      unmapQuietly(socket.area);
      calls.file.close(socket.fd);
      if (memory !== undefined) recycleBuffer(memory);
      throw error;
    }
  }

  private constructor(options: PacketRingOptions, parts: RingParts) {
    this.#host = options.host;
    this.#promiscuous = options.promiscuous ?? true;
    this.#libc = parts.calls;
    this.#ports = parts.ports;
    this.#memory = parts.memory;
    this.#fetch = new FrameFetch(parts.calls, parts.memory);
    this.queue = parts.queue;
    const { fd, area } = parts.socket;
    this.fd = fd;
    this.#statistics = new SocketStatistics(parts.calls, fd);
    this.#area = area;
    this.#view = area.buffer.view;
    this.#words = new Int32Array(area.buffer.bytes.buffer);
    this.#half = (area.size / BLOCK_SIZE >>> 1) * BLOCK_SIZE;
    for (let at = 0; at < LENT_MAX; at++) this.#packets.push(new Packet(area.buffer));
  }

  /**
   * Receives from a device: promiscuously, all its frames go to `host` as port `portNo`. A device that
   * is a port already gets the new number and host. Throws SystemError and leaves nothing behind.
   */
  addPort(ifindex: number, portNo: number, host: PacketHost): void {
    const known = this.#ports.find(ifindex) >= 0;
    this.#ports.set(ifindex, portNo, host);
    if (known) return;
    try {
      this.#setMembership(ifindex, PACKET_ADD_MEMBERSHIP);
      this.#updateFilters();
    } catch (error) {
      this.removePort(ifindex);
      throw error;
    }
  }

  /** No longer receives from a device, which may be gone; frames of it already in the ring are dropped as no port's. Never throws. */
  removePort(ifindex: number): void {
    if (this.#ports.find(ifindex) < 0) return;
    this.#ports.delete(ifindex);
    try {
      this.#setMembership(ifindex, PACKET_DROP_MEMBERSHIP);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
    try {
      this.#updateFilters();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
  }

  /** Hands up to `budget` frames to the hosts of their ports; returns how many frames were taken from the ring. */
  receive(budget: number): number {
    const most = Math.min(budget, LENT_MAX - this.#lent);
    const ready = this.#countReady(most);
    this.#watchLosses(ready < most);
    if (ready === 0) return 0;
    this.#orderMemory();
    for (let count = 0; count < ready; count++) {
      const at = this.#head;
      this.#head = this.#next(at);
      const packet = this.#packets[this.#lent++];
      if (packet !== undefined) this.#take(at, packet);
    }
    return ready;
  }

  /** Gives back to the kernel all frames handed over so far. */
  release(): void {
    if (this.#lent === 0) return;
    const words = this.#words;
    let at = this.#tail;
    this.#orderMemory();
    for (let left = this.#lent; left > 0; left--) {
      words[at >>> 2] = TP_STATUS_KERNEL;
      at = this.#next(at);
    }
    this.#tail = at;
    this.#lent = 0;
  }

  /** Frames since the ring was opened: received, and lost because the ring was full or the kernel could not express their offload state. */
  statistics(): { packets: number; drops: number } {
    return this.#statistics.read();
  }

  /** Removes all ports, closes the socket and frees the ring's memory. Never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const ifindex of [...this.#ports.ifindexes()]) this.removePort(ifindex);
    this.queue?.close();
    unmapQuietly(this.#area);
    this.#libc.file.close(this.fd);
    recycleBuffer(this.#memory);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * A ring that was full had been half full before: only then the kernel is asked what it has lost,
   * when the ring is drained again, or now and then if that does not come about.
   */
  #watchLosses(isDrained: boolean): void {
    if (this.#crowdedFor === 0) {
      if (isDrained) return;
      const at = this.#head + this.#half;
      const behind = at < this.#area.size ? at : at - this.#area.size;
      if ((this.#words[behind >>> 2]! & TP_STATUS_USER) !== 0) this.#crowdedFor = 1;
      return;
    }
    if (!isDrained && ++this.#crowdedFor < CROWDED_MAX) return;
    this.#crowdedFor = 0;
    const lost = this.#statistics.newDrops();
    if (lost > 0) this.#host.countRxDrop(PORT_NONE, RX_RING_FULL, lost);
  }

  /** Frames that the kernel has filled, from #head on, at most `max`. */
  #countReady(max: number): number {
    const words = this.#words;
    let at = this.#head;
    let count = 0;
    // A loop of its own: the cache misses of the status words overlap.
    while (count < max && ((words[at >>> 2] ?? 0) & TP_STATUS_USER) !== 0) {
      at = this.#next(at);
      count++;
    }
    return count;
  }

  /**
   * Lets no access to the ring cross (arm64): what a frame holds is read after its status, and before
   * it is given back. One pair of atomics for a burst, where one per frame costs 8 ns each. Never on
   * a frame's own word: the kernel may fill a frame as soon as it is given back.
   */
  #orderMemory(): void {
    Atomics.store(this.#fence, 0, 0);
    Atomics.load(this.#fence, 0);
  }

  #next(at: number): number {
    let next = at + FRAME_SIZE;
    if ((next & (BLOCK_SIZE - 1)) === BLOCK_END) next += BLOCK_SIZE - BLOCK_END;
    return next === this.#area.size ? 0 : next;
  }

  /** Describes the ring frame at `at` by `packet` and hands it over, or drops it. */
  #take(at: number, packet: Packet): void {
    const view = this.#view;
    const status = view.getUint32(at + tpacket2_hdr.tp_status, true);
    const slot = this.#ports.find(view.getInt32(at + IFINDEX_AT, true));
    if ((status & TP_STATUS_COPY) !== 0) {
      this.#takeLarge(at, slot);
      return;
    }
    if (slot < 0) {
      this.#host.countRxDrop(PORT_NONE, RX_NOT_A_PORT);
      return;
    }
    const host = this.#ports.host(slot);
    const portNo = this.#ports.portNo(slot);
    const size = view.getUint32(at + tpacket2_hdr.tp_len, true);
    if (view.getUint32(at + tpacket2_hdr.tp_snaplen, true) !== size) {
      host.countRxDrop(portNo, RX_TRUNCATED);
      return;
    }
    const start = at + view.getUint16(at + tpacket2_hdr.tp_mac, true);
    packet.start = start;
    packet.end = start + size;
    packet.headLimit = at + HEADERS_END;
    packet.tailLimit = at + FRAME_SIZE;
    readVnetHeader(view, start - virtio_net_hdr.size, packet);
    const tag = this.#tag(at, status);
    if (tag >= 0 && !restoreTag(packet, tag)) {
      host.countRxDrop(portNo, NO_HEADROOM);
      return;
    }
    hand(packet, portNo, host);
  }

  /** Fetches the frame whose beginning is in the ring at `at` from the socket's queue. */
  #takeLarge(at: number, slot: number): void {
    const host = slot < 0 ? this.#host : this.#ports.host(slot);
    const portNo = slot < 0 ? PORT_NONE : this.#ports.portNo(slot);
    const packet = slot < 0 ? undefined : host.allocate();
    const size = this.#fetch.fetch(this.fd, packet);
    if (packet === undefined) {
      host.countRxDrop(portNo, slot < 0 ? RX_NOT_A_PORT : POOL_EXHAUSTED);
      return;
    }
    const view = this.#view;
    const tag = this.#tag(at, view.getUint32(at + tpacket2_hdr.tp_status, true));
    const whole = size >= 0 && packet.end - packet.start === size &&
      size === view.getUint32(at + tpacket2_hdr.tp_len, true);
    if (whole && (tag < 0 || restoreTag(packet, tag))) {
      hand(packet, portNo, host);
      return;
    }
    host.recycle(packet);
    host.countRxDrop(portNo, whole ? NO_HEADROOM : RX_TRUNCATED);
  }

  #tag(at: number, status: number): number {
    return tagOf(
      status,
      this.#view.getUint16(at + tpacket2_hdr.tp_vlan_tci, true),
      this.#view.getUint16(at + tpacket2_hdr.tp_vlan_tpid, true),
    );
  }

  #updateFilters(): void {
    const ifindexes = this.#ports.ifindexes();
    if (this.queue === undefined) {
      attachClassicFilter(this.#libc, this.fd, ifindexes);
      return;
    }
    attachFilter(this.#libc, this.fd, { place: "ring", ifindexes });
    this.queue.updateFilter();
  }

  #setMembership(ifindex: number, name: number): void {
    if (!this.#promiscuous) return;
    const request = new DataView(new ArrayBuffer(packet_mreq.size));
    request.setInt32(packet_mreq.mr_ifindex, ifindex, true);
    request.setUint16(packet_mreq.mr_type, PACKET_MR_PROMISC, true);
    const label = name === PACKET_ADD_MEMBERSHIP
      ? "PACKET_ADD_MEMBERSHIP"
      : "PACKET_DROP_MEMBERSHIP";
    const doing = `receive from device ${ifindex}`;
    const option = { level: SOL_PACKET, name, label, doing };
    setOption(this.#libc, this.fd, option, new Uint8Array(request.buffer));
  }
}
