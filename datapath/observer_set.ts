/** Several observers of one pipeline as one. */
import type { DropReason } from "./drop_reasons.ts";
import type { PacketObserver } from "./observer.ts";
import type { Packet } from "./packet/packet.ts";

export class ObserverSet implements PacketObserver {
  readonly #observers: Map<number, PacketObserver> = new Map();
  /** The same, to go through without an iterator. */
  #list: PacketObserver[] = [];

  get isEmpty(): boolean {
    return this.#list.length === 0;
  }

  /** Identifiers are the caller's. */
  add(id: number, observer: PacketObserver): void {
    this.#observers.set(id, observer);
    this.#list = [...this.#observers.values()];
  }

  delete(id: number): void {
    this.#observers.delete(id);
    this.#list = [...this.#observers.values()];
  }

  received(packet: Packet, keys: Int32Array, keyAt: number, flow: number): boolean {
    let isFollowed = false;
    for (const each of this.#list) {
      if (each.received(packet, keys, keyAt, flow)) isFollowed = true;
    }
    return isFollowed;
  }

  finished(): void {
    for (const each of this.#list) each.finished();
  }

  recirculated(packet: Packet, keys: Int32Array, keyAt: number, flow: number): void {
    for (const each of this.#list) each.recirculated(packet, keys, keyAt, flow);
  }

  entered(words: Int32Array, at: number): void {
    for (const each of this.#list) each.entered(words, at);
  }

  runs(packet: Packet, words: Int32Array, at: number): void {
    for (const each of this.#list) each.runs(packet, words, at);
  }

  ran(packet: Packet): void {
    for (const each of this.#list) each.ran(packet);
  }

  left(): void {
    for (const each of this.#list) each.left();
  }

  sent(packet: Packet, portNo: number): void {
    for (const each of this.#list) each.sent(packet, portNo);
  }

  dropped(packet: Packet | undefined, reason: DropReason, portNo: number): void {
    for (const each of this.#list) each.dropped(packet, reason, portNo);
  }

  upcalled(packet: Packet, isTaken: boolean): void {
    for (const each of this.#list) each.upcalled(packet, isTaken);
  }

  sampled(packet: Packet, words: Int32Array, at: number, keep: number): void {
    for (const each of this.#list) each.sampled(packet, words, at, keep);
  }
}
