/** Which port a device is, and who takes its packets; looked up for every packet received. */
import { PORT_NONE } from "../datapath/key.ts";
import { IfindexMap } from "./ifindex_map.ts";
import type { PacketHost } from "./packet_host.ts";

export class PortTable {
  readonly #fallback: PacketHost;
  /** ifindex → index into the arrays. */
  readonly #slots: IfindexMap = new IfindexMap();
  readonly #portNos: number[] = [];
  readonly #hosts: PacketHost[] = [];
  readonly #free: number[] = [];

  /** `fallback` counts what comes from no port. */
  constructor(fallback: PacketHost) {
    this.#fallback = fallback;
  }

  /** Slot of a device, or −1. */
  find(ifindex: number): number {
    return this.#slots.get(ifindex);
  }

  portNo(slot: number): number {
    return this.#portNos[slot] ?? PORT_NONE;
  }

  host(slot: number): PacketHost {
    return this.#hosts[slot] ?? this.#fallback;
  }

  ifindexes(): Iterable<number> {
    return this.#slots.keys();
  }

  /** Adds a device, or gives it another number and host. */
  set(ifindex: number, portNo: number, host: PacketHost): void {
    const known = this.#slots.get(ifindex);
    const slot = known >= 0 ? known : this.#free.pop() ?? this.#portNos.length;
    this.#portNos[slot] = portNo;
    this.#hosts[slot] = host;
    if (known < 0) this.#slots.set(ifindex, slot);
  }

  delete(ifindex: number): void {
    const slot = this.#slots.get(ifindex);
    if (slot < 0) return;
    this.#slots.delete(ifindex);
    this.#portNos[slot] = PORT_NONE;
    this.#hosts[slot] = this.#fallback;
    this.#free.push(slot);
  }
}
