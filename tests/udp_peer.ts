/** The far side of a udp port in tests, on the loopback address; `header` is in front of each frame. */
import { UdpSocket } from "../netdev/udp_socket.ts";
import type { Peer } from "./contract.ts";
import { TestHost } from "./vport_host.ts";

export class UdpPeer implements Peer {
  readonly #host: TestHost = new TestHost();
  readonly #socket: UdpSocket;

  readonly #header: Uint8Array;

  constructor(localPort: number, remotePort: number, header: readonly number[] = []) {
    this.#header = new Uint8Array(header);
    this.#socket = new UdpSocket({
      local: { address: "127.0.0.1", port: localPort },
      remote: { address: "127.0.0.1", port: remotePort },
      shared: false,
      refused: () => {},
    });
  }

  send(frame: Uint8Array): void {
    const packet = this.#host.allocate()!;
    packet.bytes.set(this.#header, packet.start);
    packet.bytes.set(frame, packet.start + this.#header.length);
    packet.end = packet.start + this.#header.length + frame.length;
    this.#socket.send(packet);
    this.#socket.flush();
    this.#host.pool.free(packet);
  }

  received(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const packet = this.#host.allocate()!;
    while (this.#socket.receive(packet) >= 0) {
      const datagram = packet.bytes.slice(packet.start, packet.end);
      const isOurs = this.#header.every((byte, at) => datagram[at] === byte);
      if (isOurs) frames.push(datagram.subarray(this.#header.length));
    }
    this.#host.pool.free(packet);
    return frames;
  }

  close(): void {
    this.#socket.close();
  }
}
