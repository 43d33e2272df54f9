/** A whole port over one UDP socket: a datagram is a header of the author's own, or none, and a frame. */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { UdpSocket } from "../netdev/udp_socket.ts";
import { makeReceiver } from "./receiver.ts";
import type {
  EncapsulationHeader,
  Receiver,
  Sender,
  UdpEncapsulation,
  Vport,
  VportHost,
  VportParams,
} from "./vport.ts";

const TOO_SHORT = dropReason("frame-too-short");
const NOT_OURS = dropReason("tunnel-not-a-port");
/** Datagrams that are none of ours, passed over at once: the thread has others to serve. */
const STRAYS_MAX = 64;
const NO_HEADER: EncapsulationHeader = { size: 0, write: () => {}, accepts: () => true };

/** Binds the socket. Throws SystemError and leaves nothing behind. */
export function openUdpVport(params: VportParams<unknown>, to: UdpEncapsulation): Vport {
  return new UdpVport(params, to);
}

class UdpVport implements Vport {
  readonly receiver: Receiver;
  /** One system call sends what a round has queued. */
  readonly sender: Sender;
  /** A datagram has no place for offload state. */
  readonly takesPartialChecksums = false;
  readonly takesSegmentTrains = false;
  readonly #host: VportHost;
  readonly #portNo: number;
  readonly #socket: UdpSocket;
  readonly #header: EncapsulationHeader;

  constructor(
    { host, portNo, threads }: VportParams<unknown>,
    { local, remote, header }: UdpEncapsulation,
  ) {
    this.#host = host;
    this.#portNo = portNo;
    this.#header = header ?? NO_HEADER;
    const refused = (reason: DropReason, size: number): void =>
      host.countTxDrop(portNo, reason, size);
    this.#socket = new UdpSocket({ local, remote, shared: threads > 1, refused });
    this.sender = this.#socket;
    const next = (packet: Packet): boolean => this.#next(packet);
    this.receiver = makeReceiver({ fd: this.#socket.fd, host, portNo, next });
  }

  send(packet: Packet): DropReason {
    const { size } = this.#header;
    // Before the packet changes: the author's code may throw, and others may be sent the packet too.
    this.#header.write(packet.view, packet.start - size);
    packet.start -= size;
    const reason = this.#socket.send(packet);
    packet.start += size; // it goes back as it came
    return reason;
  }

  close(): void {
    this.#socket.close();
  }

  #next(packet: Packet): boolean {
    const { size } = this.#header;
    const { start } = packet;
    for (let strays = 0; strays < STRAYS_MAX; strays++) {
      if (this.#socket.receive(packet) < 0) return false;
      if (packet.size < size) {
        this.#host.countRxDrop(this.#portNo, TOO_SHORT);
      } else if (this.#header.accepts(packet.view, start)) {
        packet.start = start + size;
        return true;
      } else {
        this.#host.countRxDrop(this.#portNo, NOT_OURS);
      }
    }
    return false;
  }
}
