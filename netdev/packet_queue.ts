/**
 * The side queue of a packet ring: an unbound AF_PACKET socket without a ring, for the trains that
 * must not come near one (see gso_filter.ts). One recvmsg per frame, into pool packets.
 */
import { dropReason } from "../datapath/drop_reasons.ts";
import { PORT_NONE } from "../datapath/key.ts";
import { EINTR, EINVAL } from "./abi.ts";
import { FETCH_SIZE, FrameFetch, restoreTag } from "./frame_fetch.ts";
import type { Libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, recycleBuffer } from "./memory.ts";
import { hand, type PacketHost } from "./packet_host.ts";
import { attachFilter, type Fanout, openQueueSocket } from "./packet_setup.ts";
import type { PortTable } from "./port_table.ts";
import { SocketStatistics } from "./socket_statistics.ts";

const RX_QUEUE_FULL = dropReason("rx-queue-full");
const RX_TRUNCATED = dropReason("rx-truncated");
const RX_NOT_A_PORT = dropReason("rx-not-a-port");
const RX_INVALID_OFFLOAD = dropReason("rx-invalid-offload");
const NO_HEADROOM = dropReason("no-headroom");
/** Frames taken without finding the queue empty, after which the kernel is asked what it has lost. */
const CROWDED_MAX = 256;

/** Has the shape of vports' `Receiver`. */
export class PacketQueue {
  /** Readable when frames wait. */
  readonly fd: number;
  readonly #libc: Libc;
  readonly #host: PacketHost;
  readonly #ports: PortTable;
  readonly #memory: MappedBuffer;
  readonly #fetch: FrameFetch;
  readonly #statistics: SocketStatistics;
  /** Frames taken since the queue was found empty. */
  #taken = 0;

  /** Opens a queue that receives nothing yet. Throws SystemError and leaves nothing behind. */
  static open(
    calls: Libc,
    options: { host: PacketHost; ports: PortTable; fanout?: Fanout | undefined },
  ): PacketQueue {
    const memory = allocateBuffer(FETCH_SIZE);
    try {
      return new PacketQueue(calls, memory, options);
    } catch (error) {
      recycleBuffer(memory);
      throw error;
    }
  }

  private constructor(
    calls: Libc,
    memory: MappedBuffer,
    options: { host: PacketHost; ports: PortTable; fanout?: Fanout | undefined },
  ) {
    this.#libc = calls;
    this.#memory = memory;
    this.#host = options.host;
    this.#ports = options.ports;
    this.#fetch = new FrameFetch(calls, memory);
    this.fd = openQueueSocket(calls, options.fanout);
    this.#statistics = new SocketStatistics(calls, this.fd);
  }

  /** Hands up to `budget` frames to the hosts of their ports; returns how many were taken from the queue. */
  receive(budget: number): number {
    const fetch = this.#fetch;
    for (let count = 0; count < budget; count++) {
      const packet = this.#host.allocate();
      if (packet === undefined) return count; // the frame waits in the kernel
      const size = fetch.fetch(this.fd, packet);
      if (size < 0) {
        this.#host.recycle(packet);
        if (fetch.errno === EINVAL) this.#host.countRxDrop(PORT_NONE, RX_INVALID_OFFLOAD);
        else if (fetch.errno !== EINTR) {
          this.#countLosses();
          return count;
        }
        continue;
      }
      if (++this.#taken >= CROWDED_MAX) this.#countLosses();
      const slot = this.#ports.find(fetch.ifindex);
      const tag = fetch.tag;
      const reason = slot < 0
        ? RX_NOT_A_PORT
        : packet.end - packet.start !== size
        ? RX_TRUNCATED
        : tag >= 0 && !restoreTag(packet, tag)
        ? NO_HEADROOM
        : 0;
      if (reason === 0) {
        hand(packet, this.#ports.portNo(slot), this.#ports.host(slot));
      } else {
        this.#host.recycle(packet);
        this.#ports.host(slot).countRxDrop(this.#ports.portNo(slot), reason);
      }
    }
    return budget;
  }

  /** A queue that was full had several frames: only then the kernel is asked what it has lost. */
  #countLosses(): void {
    const wasCrowded = this.#taken > 1;
    this.#taken = 0;
    if (!wasCrowded) return;
    const lost = this.#statistics.newDrops();
    if (lost > 0) this.#host.countRxDrop(PORT_NONE, RX_QUEUE_FULL, lost);
  }

  /** Takes the devices of the port table from now on. Throws SystemError. */
  updateFilter(): void {
    attachFilter(this.#libc, this.fd, { place: "queue", ifindexes: this.#ports.ifindexes() });
  }

  /** Never throws. */
  close(): void {
    this.#libc.file.close(this.fd);
    recycleBuffer(this.#memory);
  }
}
