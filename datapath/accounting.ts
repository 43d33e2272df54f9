/**
 * A packet thread's accounts for one datapath: what its pipeline counts, written to the shared blocks
 * of counters.ts.
 *
 * Packets of a burst mostly come from one port and go to one port, so receptions and transmissions
 * are gathered in plain fields and written when the port changes or the burst ends (`settle`): 64-bit
 * adds to shared memory cost 2 ns each. `| 0` before a conversion to BigInt tells V8 that the number
 * is an integer: without, each conversion allocates.
 */
import {
  CONSUMED,
  COPIED,
  DROPPED,
  DROPS,
  GENERATED,
  HELD,
  HIT,
  LOST,
  MISSED,
  PORT_BLOCK_LENGTH,
  PORT_DROPS,
  portBlockAt,
  RECEIVED,
  RX_BYTES,
  RX_DROPPED,
  RX_PACKETS,
  SAMPLED,
  SENT,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
  UPCALL_ERRORS,
  UPCALL_PACKETS,
} from "./counters.ts";
import type { DropReason } from "./drop_reasons.ts";
import type { PacketObserver } from "./observer.ts";
import type { Packet } from "./packet/packet.ts";

export class Accounts {
  readonly #datapath: BigUint64Array;
  readonly #ports: BigUint64Array;
  #rxPort = 0;
  #rxPackets = 0;
  #rxBytes = 0;
  #txPort = 0;
  #txPackets = 0;
  #txBytes = 0;

  /** Told of every drop. */
  observer: PacketObserver | undefined = undefined;

  /** One datapath block and the port blocks, written by this thread alone. */
  constructor(datapath: BigUint64Array, ports: BigUint64Array) {
    this.#datapath = datapath;
    this.#ports = ports;
  }

  /** A frame of `size` bytes came in and goes on. */
  received(portNo: number, size: number): void {
    if (portNo !== this.#rxPort) {
      this.#settleReceived();
      this.#rxPort = portNo;
    }
    this.#rxPackets++;
    this.#rxBytes += size;
  }

  /** A frame of `size` bytes was taken by a port. */
  sent(portNo: number, size: number): void {
    if (portNo !== this.#txPort) {
      this.#settleSent();
      this.#txPort = portNo;
    }
    this.#txPackets++;
    this.#txBytes += size;
  }

  /** `hits` packets of a burst had a flow and `misses` had none. */
  lookedUp(hits: number, misses: number): void {
    this.#datapath[HIT]! += BigInt(hits | 0);
    if (misses !== 0) this.#datapath[MISSED]! += BigInt(misses | 0);
  }

  /** A miss that nothing took up. The drop is counted apart. */
  lost(): void {
    this.#datapath[LOST]! += 1n;
  }

  /** An upcall of a packet from `portNo` was put into the queue. */
  upcalled(portNo: number): void {
    this.#ports[portBlockAt(portNo) + UPCALL_PACKETS]! += 1n;
  }

  /** An upcall of a packet from `portNo` could not be put anywhere. */
  upcallFailed(portNo: number): void {
    this.#ports[portBlockAt(portNo) + UPCALL_ERRORS]! += 1n;
  }

  copied(count: number): void {
    this.#datapath[COPIED]! += BigInt(count | 0);
  }

  generated(): void {
    this.#datapath[GENERATED]! += 1n;
  }

  consumed(count = 1): void {
    this.#datapath[CONSUMED]! += BigInt(count | 0);
  }

  /** So many packets more (negative: fewer) wait inside. */
  held(difference: number): void {
    this.#datapath[HELD]! += BigInt(difference | 0);
  }

  /** The psample action at words[at] has taken a sample: the packet's first `keep` bytes. */
  sampled(packet: Packet, words: Int32Array, at: number, keep: number): void {
    this.#datapath[SAMPLED]! += 1n;
    if (this.observer !== undefined) this.observer.sampled(packet, words, at, keep);
  }

  /** A packet from `portNo` ended here: by a flow, for want of one, or because it could not go on. */
  dropped(portNo: number, reason: DropReason, packet?: Packet): void {
    this.#datapath[DROPPED]! += 1n;
    this.#datapath[DROPS + reason]! += 1n;
    this.#ports[portBlockAt(portNo) + PORT_DROPS + reason]! += 1n;
    if (this.observer !== undefined) this.observer.dropped(packet, reason, portNo);
  }

  /** A packet was lost while it was received on `portNo` (PORT_NONE: on none). */
  rxDropped(portNo: number, reason: DropReason, packet?: Packet): void {
    this.#datapath[RECEIVED]! += 1n;
    this.#ports[portBlockAt(portNo) + RX_DROPPED]! += 1n;
    this.dropped(portNo, reason, packet);
  }

  /** `count` packets, up to 2^32, were lost before anybody here has seen them. */
  rxLost(portNo: number, reason: DropReason, count: number): void {
    const packets = BigInt(count);
    const at = portBlockAt(portNo);
    this.#datapath[RECEIVED]! += packets;
    this.#datapath[DROPPED]! += packets;
    this.#datapath[DROPS + reason]! += packets;
    this.#ports[at + RX_DROPPED]! += packets;
    this.#ports[at + PORT_DROPS + reason]! += packets;
  }

  /** Port `portNo` did not take a packet. */
  txDropped(portNo: number, reason: DropReason, packet?: Packet): void {
    this.#ports[portBlockAt(portNo) + TX_DROPPED]! += 1n;
    this.dropped(portNo, reason, packet);
  }

  /** A packet of `size` bytes that was counted as sent was refused later, at flush. */
  txTakenBack(portNo: number, reason: DropReason, size: number): void {
    this.settle();
    const at = portBlockAt(portNo);
    this.#datapath[SENT]! -= 1n;
    this.#ports[at + TX_PACKETS]! -= 1n;
    this.#ports[at + TX_BYTES]! -= BigInt(size | 0);
    this.txDropped(portNo, reason);
  }

  /** Writes what was gathered. */
  settle(): void {
    this.#settleReceived();
    this.#settleSent();
  }

  /** Zeroes a port's block: its number is given to a new port. */
  clearPort(portNo: number): void {
    const at = portBlockAt(portNo);
    this.#ports.fill(0n, at, at + PORT_BLOCK_LENGTH);
  }

  #settleReceived(): void {
    if (this.#rxPackets === 0) return;
    const at = portBlockAt(this.#rxPort);
    const packets = BigInt(this.#rxPackets | 0);
    this.#datapath[RECEIVED]! += packets;
    this.#ports[at + RX_PACKETS]! += packets;
    this.#ports[at + RX_BYTES]! += BigInt(this.#rxBytes | 0);
    this.#rxPackets = 0;
    this.#rxBytes = 0;
  }

  #settleSent(): void {
    if (this.#txPackets === 0) return;
    const at = portBlockAt(this.#txPort);
    const packets = BigInt(this.#txPackets | 0);
    this.#datapath[SENT]! += packets;
    this.#ports[at + TX_PACKETS]! += packets;
    this.#ports[at + TX_BYTES]! += BigInt(this.#txBytes | 0);
    this.#txPackets = 0;
    this.#txBytes = 0;
  }
}
