/**
 * Upcalls of segment trains: the control plane is handed one upcall for each segment, with the key of
 * the train, as the kernel does (net/openvswitch/datapath.c, queue_gso_packets). So no client meets a
 * packet that never was on a wire, and what is to be kept of a packet is kept of each.
 */
import type { Outputs } from "./output.ts";
import type { Packet } from "./packet/packet.ts";
import { segment, type SegmentSink } from "./packet/segment.ts";
import type { UpcallAction, UpcallProducer } from "./upcall_ring.ts";

/** Puts trains into a ring of upcalls. The segments are counted nowhere: they live no longer than that. */
export class UpcallSegments implements SegmentSink {
  readonly #outputs: Outputs;
  readonly #producer: UpcallProducer;
  // Of the train in hand.
  #keys: Int32Array;
  #keyAt = 0;
  #keep = 0;
  #action: UpcallAction | undefined = undefined;
  #isTaken = true;

  constructor(outputs: Outputs, producer: UpcallProducer) {
    this.#outputs = outputs;
    this.#producer = producer;
    this.#keys = new Int32Array(0);
  }

  /** As UpcallProducer.push. False: the ring has filled, or the train can't be segmented; the first segments may have been put. */
  push(
    train: Packet,
    keys: Int32Array,
    keyAt: number,
    keep: number,
    action: UpcallAction | undefined,
  ): boolean {
    this.#keys = keys;
    this.#keyAt = keyAt;
    this.#keep = keep;
    this.#action = action;
    this.#isTaken = true;
    return segment(train, this) === 0 && this.#isTaken;
  }

  allocate(): Packet | undefined {
    return this.#outputs.allocate();
  }

  emit(packet: Packet): void {
    this.#isTaken &&= this.#producer.push(
      packet,
      this.#keys,
      this.#keyAt,
      this.#keep,
      this.#action,
    );
    this.#outputs.recycle(packet);
  }

  recycle(packet: Packet): void {
    this.#outputs.recycle(packet);
  }
}
