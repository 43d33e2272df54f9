/**
 * The last step of a packet: output to ports.
 *
 * Between an action list and the ports stands what neither should know: that a port may not take
 * partial checksums or segment trains (they are finished in software here), that bytes already lent
 * to a port must not change (copy on write), and the accounts.
 */
import type { Accounts } from "./accounting.ts";
import { dropReason } from "./drop_reasons.ts";
import type { DropReason } from "./drop_reasons.ts";
import { ETHERNET_SIZE } from "./actions/ethernet_actions.ts";
import type { ActionHost } from "./actions/execute.ts";
import { fragment, wantsFragments } from "./packet/fragment_output.ts";
import { ObservedPort, type PacketObserver } from "./observer.ts";
import { completeChecksum, isEncapsulated, partialNeedsSoftware } from "./packet/offload.ts";
import { copyPacket, GSO_NONE, type Packet } from "./packet/packet.ts";
import { isOverMtu } from "./packet/packet_size.ts";
import { segment, type SegmentSink } from "./packet/segment.ts";

/** What the pipeline needs of a port on this thread. */
export interface OutputPort {
  readonly portNo: number;
  /** Whether `send` takes packets with needsCsum set. */
  readonly takesPartialChecksums: boolean;
  /** Whether `send` takes packets with a gsoType. */
  readonly takesSegmentTrains: boolean;
  /** Bytes in front of the frame that `send` may write, lent like the frame; absent: none. */
  readonly headroom?: number | undefined;
  /** Whether `send` takes packets without Ethernet header (isL3); absent: no. */
  readonly takesL3Packets?: boolean | undefined;
  /** Longest L3 packet of a frame, in bytes; longer ones are dropped, but for trains. Absent: `send` decides. */
  readonly mtu?: number | undefined;
  /** Queues or sends one packet, whose bytes are lent until the next flush. 0: taken; else why not. Must not throw. */
  send(packet: Packet): DropReason;
}

/** What the pipelines of a thread share: the packet pool and the round. */
export interface PipelineHost {
  /** Grows with every flush: bytes lent in an earlier round are nobody's any more. */
  readonly round: number;
  /** A free packet as {@link PacketPool.allocate} gives it. */
  allocate(): Packet | undefined;
  /**
   * Takes a pool packet back (slot ≥ 0). While `packet.lentInRound === round`, its bytes are still
   * lent: it may be given out again after the next flush only.
   */
  recycle(packet: Packet): void;
  /** Everything queued goes out, retired packets become free, `round` grows. The pipeline calls it when the pool runs dry. */
  flush(): void;
}

const NO_SUCH_PORT = dropReason("no-such-port");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const GSO_INVALID = dropReason("tx-gso-invalid");
const OVER_MTU = dropReason("over-mtu");
const L3_PACKET = dropReason("l3-packet");

export class Outputs implements ActionHost, SegmentSink {
  readonly #host: PipelineHost;
  readonly #accounts: Accounts;
  readonly #random: () => number;
  /** By number. */
  readonly #ports: (OutputPort | undefined)[] = [];
  /** Numbers of all ports, ascending. */
  #portNumbers = new Int32Array(0);
  /** Where the segments of the train in hand go. */
  #segmentPort: OutputPort | undefined;
  #observer: PacketObserver | undefined = undefined;

  /** `random`: 32 random bits, for identifications of IPv6 fragments. */
  constructor(host: PipelineHost, accounts: Accounts, random: () => number = random32) {
    this.#host = host;
    this.#accounts = accounts;
    this.#random = random;
  }

  setPort(portNo: number, port: OutputPort | undefined): void {
    while (this.#ports.length <= portNo) this.#ports.push(undefined);
    this.#ports[portNo] = this.#wrapped(port);
    const numbers: number[] = [];
    this.#ports.forEach((entry, number) => entry !== undefined && numbers.push(number));
    this.#portNumbers = Int32Array.from(numbers);
  }

  /** From now on this one is told of every packet that a port takes; undefined: nobody. */
  observe(observer: PacketObserver | undefined): void {
    this.#observer = observer;
    this.#ports.forEach((port, portNo) => {
      this.#ports[portNo] = this.#wrapped(port instanceof ObservedPort ? port.inner : port);
    });
  }

  #wrapped(port: OutputPort | undefined): OutputPort | undefined {
    const observer = this.#observer;
    return port === undefined || observer === undefined ? port : new ObservedPort(port, observer);
  }

  /** Sends the packet to a port and counts what became of it. The packet stays the caller's. */
  output(packet: Packet, portNo: number): void {
    const port = portNo < this.#ports.length ? this.#ports[portNo] : undefined;
    if (port === undefined) this.#accounts.dropped(packet.inPort, NO_SUCH_PORT, packet);
    else if (
      packet.needsCsum || packet.gsoType !== GSO_NONE || packet.isL3 || packet.mru !== 0
    ) {
      this.#outputSpecial(packet, port);
    } else this.#send(packet, port);
  }

  /** Sends the packet to every port but one. Returns to how many. */
  flood(packet: Packet, exceptPortNo: number): number {
    const numbers = this.#portNumbers;
    let count = 0;
    for (let at = 0; at < numbers.length; at++) {
      const portNo = numbers[at]!;
      if (portNo === exceptPortNo) continue;
      this.output(packet, portNo);
      count++;
    }
    return count;
  }

  /**
   * The packet, or a copy of it, such that its bytes may be changed and it may grow by `growth` bytes
   * at its head. Undefined: no buffer is free. A copy is the caller's to recycle.
   */
  writable(packet: Packet, growth: number): Packet | undefined {
    if (this.#isWritable(packet, growth)) return packet;
    // To allocate may have flushed: nothing is lent any more.
    return this.copy(packet) ?? (this.#isWritable(packet, growth) ? packet : undefined);
  }

  /** A copy of the packet, the caller's to recycle. Undefined: no buffer is free, or none is long enough. */
  copy(packet: Packet): Packet | undefined {
    const copy = this.allocate();
    if (copy === undefined || copyPacket(packet, copy)) return copy;
    this.#host.recycle(copy);
    return undefined;
  }

  #isWritable(packet: Packet, growth: number): boolean {
    return packet.lentInRound !== this.#host.round && packet.start - packet.headLimit >= growth;
  }

  recycle(packet: Packet): void {
    if (packet.slot >= 0) this.#host.recycle(packet);
  }

  /** A free packet; flushes once if there is none. */
  allocate(): Packet | undefined {
    const packet = this.#host.allocate();
    if (packet !== undefined) return packet;
    this.#host.flush();
    return this.#host.allocate();
  }

  /** One segment of the train in hand. */
  emit(packet: Packet): void {
    this.#accounts.generated();
    this.#prepare(packet, this.#segmentPort!);
    this.#host.recycle(packet);
  }

  #send(packet: Packet, port: OutputPort): void {
    const mtu = port.mtu;
    if (
      mtu !== undefined && packet.end - packet.start > mtu + ETHERNET_SIZE && isOverMtu(packet, mtu)
    ) {
      this.#accounts.txDropped(port.portNo, OVER_MTU, packet);
      return;
    }
    this.#prepare(packet, port);
  }

  #prepare(packet: Packet, port: OutputPort): void {
    if (port.headroom !== undefined && port.headroom > 0) {
      this.#sendPrepending(packet, port, port.headroom);
      return;
    }
    this.#hand(packet, port);
  }

  /** To a port that writes in front of the frame: nobody else may have lent those bytes, or write them before the flush. */
  #sendPrepending(packet: Packet, port: OutputPort, headroom: number): void {
    const own = this.writable(packet, headroom);
    if (own === undefined) {
      this.#accounts.txDropped(port.portNo, POOL_EXHAUSTED, packet);
      return;
    }
    this.#hand(own, port);
    own.headLimit = own.start;
    if (own !== packet) this.#host.recycle(own);
  }

  #hand(packet: Packet, port: OutputPort): void {
    // Before the call: a port that loops the packet back at once must not find it unlent.
    packet.lentInRound = this.#host.round;
    const size = packet.end - packet.start;
    const reason = port.send(packet);
    if (reason === 0) this.#accounts.sent(port.portNo, size);
    else this.#accounts.txDropped(port.portNo, reason, packet);
  }

  /** Packets that not every port takes. */
  #outputSpecial(packet: Packet, port: OutputPort): void {
    if (packet.isL3 && port.takesL3Packets !== true) {
      this.#accounts.txDropped(port.portNo, L3_PACKET, packet);
      return;
    }
    // The other check leaves room for an Ethernet header.
    if (packet.isL3 && port.mtu !== undefined && isOverMtu(packet, port.mtu)) {
      this.#accounts.txDropped(port.portNo, OVER_MTU, packet);
      return;
    }
    if (packet.gsoType !== GSO_NONE) {
      // The kernel takes no encapsulated train from a user program: there is no type for it.
      if (port.takesSegmentTrains && !isEncapsulated(packet)) this.#send(packet, port);
      else this.#outputSegments(packet, port);
      return;
    }
    const isToBreak = packet.mru !== 0 && wantsFragments(packet);
    if (isToBreak && port.mtu !== undefined && packet.mru > port.mtu) {
      this.#accounts.txDropped(port.portNo, OVER_MTU);
      return;
    }
    if (!packet.needsCsum) {
      if (isToBreak) this.#outputFragments(packet, port);
      else this.#send(packet, port);
      return;
    }
    if (!isToBreak && port.takesPartialChecksums && !partialNeedsSoftware(packet)) {
      this.#send(packet, port);
      return;
    }
    const own = this.writable(packet, 0);
    if (own === undefined) {
      this.#accounts.txDropped(port.portNo, POOL_EXHAUSTED, packet);
      return;
    }
    if (completeChecksum(own)) {
      if (isToBreak) this.#outputFragments(own, port);
      else this.#send(own, port);
    } else this.#accounts.txDropped(port.portNo, GSO_INVALID, packet);
    if (own !== packet) this.#host.recycle(own);
  }

  #outputFragments(packet: Packet, port: OutputPort): void {
    this.#segmentPort = port;
    const reason = fragment(packet, this, this.#random());
    if (reason === 0) this.#accounts.consumed();
    else this.#accounts.txDropped(port.portNo, reason);
  }

  #outputSegments(packet: Packet, port: OutputPort): void {
    this.#segmentPort = port;
    const reason = segment(packet, this);
    if (reason === 0) this.#accounts.consumed();
    else this.#accounts.txDropped(port.portNo, reason, packet);
  }
}

/** 32 random bits, unsigned. */
export function random32(): number {
  return Math.random() * 0x1_0000_0000 >>> 0;
}
