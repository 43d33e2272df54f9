/** The far side of a port in tests: a device that is read and written by packet sockets. */
import assert from "node:assert/strict";
import { PacketSender } from "../netdev/packet_sender.ts";
import { PacketRing } from "../netdev/packet_socket.ts";
import { Rtnetlink } from "../netdev/rtnetlink.ts";
import type { Peer } from "./contract.ts";
import { TestHost } from "./vport_host.ts";

export class DevicePeer implements Peer {
  readonly #host: TestHost = new TestHost();
  readonly #ring: PacketRing;
  readonly #sender: PacketSender;
  readonly #slot: number;

  /** The device must exist and be up. */
  constructor(name: string) {
    using net = new Rtnetlink();
    const link = net.linkByName(name);
    assert(link !== undefined, `device ${name} exists`);
    this.#ring = PacketRing.open({ host: this.#host });
    this.#ring.addPort(link.ifindex, 1, this.#host);
    this.#sender = PacketSender.open();
    this.#slot = this.#sender.addPort(link.ifindex, 1, this.#host);
  }

  send(frame: Uint8Array): void {
    const packet = this.#host.allocate();
    assert(packet !== undefined);
    packet.bytes.set(frame, packet.start);
    packet.end = packet.start + frame.length;
    assert.equal(this.#sender.send(this.#slot, packet), 0);
    this.#sender.flush();
    this.#host.pool.free(packet);
    assert.deepEqual(this.#host.txDrops, []);
  }

  received(): Uint8Array[] {
    this.#host.received.length = 0;
    while (this.#ring.receive(64) > 0) this.#ring.release();
    return this.#host.received.map(({ frame }) => frame);
  }

  close(): void {
    this.#sender.close();
    this.#ring.close();
  }
}
