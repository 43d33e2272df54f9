/**
 * A thread's packet buffers: slots of equal size in one block of memory, made at start.
 *
 * A slot is {@link HEADROOM} bytes, room for the longest frame, and what makes its size an odd
 * multiple of 64: the slots' beginnings then spread over all cache sets. All packets of a pool share
 * one view of the whole block. Not shared between threads, never grows.
 */
import { clearMetadata, FRAME_SIZE_MAX, HEADROOM, Packet, type PacketBuffer } from "./packet.ts";

/** A frame begins 2 bytes past a multiple of 4, so that its L3 header, tagged or not, lies on one. */
const FRAME_AT = HEADROOM + 2;
const CACHE_LINE_SIZE = 64;

/** Bytes per slot: an odd multiple of 64. */
export const SLOT_SIZE: number = slotSize();

function slotSize(): number {
  const lines = Math.ceil((FRAME_AT + FRAME_SIZE_MAX) / CACHE_LINE_SIZE);
  return (lines | 1) * CACHE_LINE_SIZE;
}

export class PacketPool {
  readonly #packets: Packet[] = [];
  /** Stack of free slots: [0, #freeCount). */
  readonly #free: Int32Array;
  #freeCount: number;
  /** Slots given back while their bytes were lent: free at the end of the round. */
  readonly #retired: Int32Array;
  #retiredCount = 0;

  /** `memory` holds at least slots × SLOT_SIZE bytes; `address` is that of its first byte, 0 if nobody asks. */
  constructor(memory: ArrayBuffer, address: number, slots: number) {
    if (memory.byteLength < slots * SLOT_SIZE) {
      throw new RangeError(
        `Cannot make a packet pool of ${slots} slots as its memory must have ` +
          `${slots * SLOT_SIZE} bytes: it has ${memory.byteLength}`,
      );
    }
    const buffer: PacketBuffer = {
      bytes: new Uint8Array(memory),
      view: new DataView(memory),
      address,
    };
    this.#free = new Int32Array(slots);
    this.#retired = new Int32Array(slots);
    this.#freeCount = slots;
    for (let slot = 0; slot < slots; slot++) {
      const packet = new Packet(buffer);
      packet.slot = slot;
      this.#packets.push(packet);
      // The stack is popped from its end: low slots first.
      this.#free[slots - 1 - slot] = slot;
    }
  }

  /** Slots that `allocate` can still give. */
  get freeCount(): number {
    return this.#freeCount;
  }

  /** An empty packet: start = end = HEADROOM + 2 past the slot's beginning, no offload state. Undefined: none is free. */
  allocate(): Packet | undefined {
    if (this.#freeCount === 0) return undefined;
    const slot = this.#free[--this.#freeCount]!;
    const packet = this.#packets[slot]!;
    const base = slot * SLOT_SIZE;
    packet.headLimit = base;
    packet.start = base + FRAME_AT;
    packet.end = base + FRAME_AT;
    packet.tailLimit = base + SLOT_SIZE;
    clearMetadata(packet);
    packet.needsCsum = false;
    packet.csumValid = false;
    packet.csumStart = 0;
    packet.csumOffset = 0;
    packet.gsoType = 0;
    packet.gsoSize = 0;
    packet.l3At = 0;
    packet.l4At = 0;
    packet.ip = 0;
    packet.lentInRound = -1;
    return packet;
  }

  /** Gives a packet of this pool back at once. Its bytes must not be lent. */
  free(packet: Packet): void {
    this.#free[this.#freeCount++] = packet.slot;
  }

  /** Gives a packet of this pool back at the next {@link endRound}: a sender may still use its bytes. */
  retire(packet: Packet): void {
    this.#retired[this.#retiredCount++] = packet.slot;
  }

  /** Every sender has flushed: what was retired is free. */
  endRound(): void {
    for (let at = 0; at < this.#retiredCount; at++) {
      this.#free[this.#freeCount++] = this.#retired[at]!;
    }
    this.#retiredCount = 0;
  }
}
