/** The far side of a udp port in tests, on the loopback address. */
import { UdpSocket } from "../netdev/udp_socket.ts";
import type { Peer } from "./contract.ts";
import { TestHost } from "./vport_host.ts";

export class UdpPeer implements Peer {
  readonly #host: TestHost = new TestHost();
  readonly #socket: UdpSocket;

  constructor(localPort: number, remotePort: number) {
    this.#socket = new UdpSocket({
      local: { address: "127.0.0.1", port: localPort },
      remote: { address: "127.0.0.1", port: remotePort },
      shared: false,
      refused: () => {},
    });
  }

  send(frame: Uint8Array): void {
    const packet = this.#host.allocate()!;
    packet.bytes.set(frame, packet.start);
    packet.end = packet.start + frame.length;
    this.#socket.send(packet);
    this.#socket.flush();
    this.#host.pool.free(packet);
  }

  received(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const packet = this.#host.allocate()!;
    while (this.#socket.receive(packet) >= 0) {
      frames.push(packet.bytes.slice(packet.start, packet.end));
    }
    this.#host.pool.free(packet);
    return frames;
  }

  close(): void {
    this.#socket.close();
  }
}
