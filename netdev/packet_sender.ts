/**
 * Sending to Linux devices by packet sockets, one per device (port_sender.ts): a device that takes no
 * more fills its own socket's buffer and starves nobody, and a round costs one `sendmmsg` per device
 * that it sends to.
 *
 * Partial checksums and segment trains go out as they are, also behind VLAN tags, and partial
 * checksums inside tunnels. A segment *train* inside a tunnel (csumStart behind an outer UDP or GRE
 * header) does not: the virtio-net header can't say "tunnel", and the kernel refuses it (ENOMEM,
 * counted as tx-error). The pipeline segments those before.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { type Libc, libc } from "./libc.ts";
import type { PacketHost } from "./packet_host.ts";
import { PortSender } from "./port_sender.ts";
import { TransmitRing } from "./transmit_ring.ts";

const PORT_DOWN = dropReason("port-down");

/** The sender of all packet-socket ports of a thread; has the shape of vports' `Sender`. */
export class PacketSender {
  readonly #libc: Libc = libc();
  readonly #ring: TransmitRing = TransmitRing.open();
  readonly #ports: (PortSender | undefined)[] = [];
  /** Ports with something queued, the first #waitingCount of them. */
  readonly #waiting: PortSender[] = [];
  #waitingCount = 0;

  /** Opens nothing yet. */
  static open(): PacketSender {
    return new PacketSender();
  }

  /** Prepares for sending to a device; returns the slot to send by. `host` counts what the device refuses. Throws SystemError and leaves nothing behind. */
  addPort(ifindex: number, portNo: number, host: PacketHost): number {
    const port = PortSender.open(this.#libc, { ifindex, portNo, host }, this.#ring);
    const free = this.#ports.indexOf(undefined);
    const slot = free >= 0 ? free : this.#ports.length;
    this.#ports[slot] = port;
    return slot;
  }

  /** Sends what is queued and forgets the device. Never throws. */
  removePort(slot: number): void {
    const port = this.#ports[slot];
    if (port === undefined) return;
    this.flush();
    this.#ports[slot] = undefined;
    port.close();
  }

  /** Queues one packet, whose bytes must stay as they are until {@link flush}. Returns 0, or port-down for a slot that is none. */
  send(slot: number, packet: Packet): DropReason {
    const port = this.#ports[slot];
    if (port === undefined) return PORT_DOWN;
    if (!port.waiting) this.#waiting[this.#waitingCount++] = port;
    port.send(packet);
    return 0;
  }

  /** Sends everything queued; what a device refuses is counted at its port. */
  flush(): void {
    const count = this.#waitingCount;
    this.#waitingCount = 0;
    for (let at = 0; at < count; at++) this.#waiting[at]?.flush();
  }

  /** Sends what is queued and closes all sockets. Never throws. */
  close(): void {
    this.flush();
    for (const port of this.#ports) port?.close();
    this.#ports.length = 0;
    this.#ring.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
