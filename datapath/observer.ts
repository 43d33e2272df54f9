/**
 * Who looks on while packets go through a pipeline: traces (trace/recorder.ts) and captures. It is the
 * real pipeline that is looked at: an observer is told what is done, and has no say in it.
 *
 * A pipeline without observer asks for one once a burst; ports are wrapped only while there is one.
 */
import type { DropReason } from "./drop_reasons.ts";
import type { OutputPort } from "./output.ts";
import type { Packet } from "./packet/packet.ts";

/**
 * What an observer is told. Packets and keys are borrowed for the call; they must not be changed, and
 * nothing may throw.
 */
export interface PacketObserver {
  /**
   * A packet was received, its key (KEY_WORDS words at keys[keyAt]) extracted and its flow looked up;
   * −1: none. Returns whether its steps are to be told, up to `finished`.
   */
  received(packet: Packet, keys: Int32Array, keyAt: number, flow: number): boolean;
  /** The packet whose steps are told is done with, and all its copies. */
  finished(): void;
  /** A step: the packet has recirculated. */
  recirculated(packet: Packet, keys: Int32Array, keyAt: number, flow: number): void;
  /** A step: the list at words[at] begins. */
  entered(words: Int32Array, at: number): void;
  /** A step: the instruction at words[at] is about to run. */
  runs(packet: Packet, words: Int32Array, at: number): void;
  /** A step: no further instruction of the list will run; this is its packet as they left it. */
  ran(packet: Packet): void;
  /** A step: the list that was entered last is done with. */
  left(): void;
  /** A port has taken a packet. */
  sent(packet: Packet, portNo: number): void;
  /** A packet was dropped, at the port that it is counted for; undefined: it is not at hand. */
  dropped(packet: Packet | undefined, reason: DropReason, portNo: number): void;
  /** A packet was put into the queue of upcalls, or could not be. */
  upcalled(packet: Packet, isTaken: boolean): void;
  /** The psample action at words[at] has taken a sample: the packet's first `keep` bytes. */
  sampled(packet: Packet, words: Int32Array, at: number, keep: number): void;
}

/** A port whose sending is looked at. */
export class ObservedPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly headroom: number | undefined;
  readonly takesL3Packets: boolean | undefined;
  readonly mtu: number | undefined;
  /** The port itself. */
  readonly inner: OutputPort;
  readonly #observer: PacketObserver;

  constructor(inner: OutputPort, observer: PacketObserver) {
    this.inner = inner;
    this.portNo = inner.portNo;
    this.takesPartialChecksums = inner.takesPartialChecksums;
    this.takesSegmentTrains = inner.takesSegmentTrains;
    this.headroom = inner.headroom;
    this.takesL3Packets = inner.takesL3Packets;
    this.mtu = inner.mtu;
    this.#observer = observer;
  }

  send(packet: Packet): DropReason {
    const { start, end } = packet;
    const reason = this.inner.send(packet);
    if (reason !== 0) return reason;
    // A port that prepends a header may have moved the beginning; the frame's bytes are as they were.
    const sentStart = packet.start;
    const sentEnd = packet.end;
    packet.start = start;
    packet.end = end;
    this.#observer.sent(packet, this.portNo);
    packet.start = sentStart;
    packet.end = sentEnd;
    return 0;
  }
}
