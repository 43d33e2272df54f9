/** What a packet socket has received and what the kernel could not put into it (PACKET_STATISTICS). */
import { PACKET_STATISTICS, SOL_PACKET, tpacket_stats } from "./abi.ts";
import type { Libc } from "./libc.ts";

export class SocketStatistics {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #value: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(tpacket_stats.size));
  readonly #size: Uint32Array<ArrayBuffer> = new Uint32Array(1);
  #packets = 0;
  #drops = 0;
  #dropsTold = 0;

  /** `fd`: an AF_PACKET socket, which stays its owner's. */
  constructor(calls: Libc, fd: number) {
    this.#libc = calls;
    this.#fd = fd;
  }

  /** Frames since the socket was opened: received, and lost. One system call. */
  read(): { packets: number; drops: number } {
    this.#ask();
    return { packets: this.#packets - this.#drops, drops: this.#drops };
  }

  /** Frames lost since the last call. One system call. */
  newDrops(): number {
    this.#ask();
    const lost = this.#drops - this.#dropsTold;
    this.#dropsTold = this.#drops;
    return lost;
  }

  #ask(): void {
    const value = this.#value;
    this.#size[0] = tpacket_stats.size;
    const { getsockopt } = this.#libc.socket;
    if (getsockopt(this.#fd, SOL_PACKET, PACKET_STATISTICS, value, this.#size) !== 0) return;
    // Reading resets the kernel's counters.
    this.#packets += value.getUint32(tpacket_stats.tp_packets, true);
    this.#drops += value.getUint32(tpacket_stats.tp_drops, true);
  }
}
