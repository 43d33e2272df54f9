/**
 * Upcalls on their way from one packet thread to the control isolate: a ring of words in shared
 * memory with one producer and one consumer, of one datapath.
 *
 * The producer never waits: what finds no room is lost, and the caller counts it. So that a flood from
 * one port does not lose the others' upcalls, a port may have no more than a few entries in the second
 * half of the ring (the kernel has a queue per port for that). The producer writes an entry,
 * then moves HEAD; the consumer reads entries, then moves TAIL; both count words since the beginning,
 * modulo 2^32. An entry is never cut at the ring's end: the rest is skipped by a word SKIP.
 *
 * A consumer that waits sets WAITING, looks at HEAD once more, and waits for that word to change
 * (`Atomics.waitAsync`); the producer clears the word and notifies only when it is set, so that a
 * busy consumer costs it nothing. An entry is a fixed part (UPCALL_*), the key without the zeros at
 * its end, the userspace instruction, the flow's actions and the tunnel key if asked for, and the
 * packet's bytes.
 */
import { flowHash } from "./actions/flow_hash.ts";
import { KEY_WORDS } from "./key.ts";
import type { Packet } from "./packet/packet.ts";
import { WIDE_METADATA_FROM } from "./packet/packet.ts";

// Control words; each in a cache line of its own, as they have different writers.
const HEAD = 0;
const TAIL = 16;
/** 1: the consumer waits for this word to become 0. */
export const WAITING = 32;
const CONTROL_WORDS = 48;

/** Words of data: 1 MiB, sixteen of the longest packets or some 1,500 small ones. */
export const RING_WORDS: number = 1 << 18;
const RING_MASK = RING_WORDS - 1;
/** When more than that is in the ring, each port can add SHARE entries until it is less again. */
const CROWDED_WORDS: number = RING_WORDS >> 1;
const SHARE = 64;
/** Bits of a port's word in #shares that count; the others say which crowd it was. */
const SHARE_BITS = 8;
/** First word of an entry that isn't one: goes on at the ring's beginning. */
const SKIP = 0;

// The fixed part of an entry.
/** Words of the entry, this one included. */
const LENGTH = 0;
/** UPCALL_MISS, UPCALL_ACTION; IS_L3, HAS_HASH … above. */
const KIND = 1;
/** Bytes of the packet in the entry. */
const SIZE = 2;
/** Bytes that the packet had. */
const FULL_SIZE = 3;
const HASH = 4;
/** mru << 16 | ether type of an L3 packet. */
const MRU = 5;
/** csumStart << 16 | csumOffset. */
const CSUM = 6;
/** gsoType << 16 | gsoSize; NEEDS_CSUM. */
const GSO = 7;
/** Words of the key that follow, of the instruction, of the actions, of the tunnel key. */
const KEY_LENGTH = 8;
const INSTRUCTION_LENGTH = 9;
const ACTIONS_LENGTH = 10;
const TUNNEL_LENGTH = 11;
const FIXED_WORDS = 12;

/** No flow matched. */
export const UPCALL_MISS = 0;
/** A userspace action. */
export const UPCALL_ACTION = 1;
const KIND_MASK = 0xff;
const IS_L3 = 0x100;
const NEEDS_CSUM = 0x4000_0000;
const GSO_TYPE_SHIFT = 16;

/** What a userspace action adds to an upcall, in words that may be any array's. */
export interface UpcallAction {
  words: Int32Array;
  /** Where the USERSPACE instruction begins. */
  at: number;
  /** Its length in words. */
  length: number;
  /** Where the list that it stands in begins, and its length, END included; 0: not wanted. */
  listAt: number;
  listLength: number;
  /** The tunnel that the packet is to be sent through is wanted. */
  wantsTunnel: boolean;
}

/** Memory of one ring: untouched pages cost nothing. */
export function makeUpcallRing(): SharedArrayBuffer {
  return new SharedArrayBuffer((CONTROL_WORDS + RING_WORDS) * 4);
}

/** The packet thread's end. Allocates nothing. */
export class UpcallProducer {
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #bytes: DataView<SharedArrayBuffer>;
  /** As HEAD, and TAIL as last seen. */
  #head: number;
  #tail: number;
  /** By port: crowd << SHARE_BITS | entries since the ring was crowded for the last time. */
  readonly #shares: Int32Array = new Int32Array(1 << 16);
  #crowd = 1;
  #isCrowded = false;

  constructor(ring: SharedArrayBuffer) {
    this.#control = new Int32Array(ring, 0, CONTROL_WORDS);
    this.#words = new Int32Array(ring, CONTROL_WORDS * 4, RING_WORDS);
    this.#bytes = new DataView(ring, CONTROL_WORDS * 4);
    this.#head = Atomics.load(this.#control, HEAD);
    this.#tail = Atomics.load(this.#control, TAIL);
  }

  /**
   * Puts an upcall into the ring: the packet, at most `keep` bytes of it, and its key (KEY_WORDS words
   * at keys[keyAt]). `action` undefined: a miss. False: the ring is full, nothing was put.
   */
  push(
    packet: Packet,
    keys: Int32Array,
    keyAt: number,
    keep: number,
    action: UpcallAction | undefined,
  ): boolean {
    const fullSize = packet.end - packet.start;
    const size = fullSize < keep ? fullSize : keep;
    let keyLength = KEY_WORDS;
    while (keyLength > 0 && keys[keyAt + keyLength - 1] === 0) keyLength--;
    const tunnelLength = action !== undefined && action.wantsTunnel && packet.hasEgress
      ? KEY_WORDS - WIDE_METADATA_FROM
      : 0;
    const instructionLength = action === undefined ? 0 : action.length;
    const listLength = action === undefined ? 0 : action.listLength;
    const length = FIXED_WORDS + keyLength + instructionLength + listLength + tunnelLength +
      (size + 3 >> 2);
    let at = this.#room(length, packet.inPort);
    if (at < 0) return false;
    const words = this.#words;
    words[at + LENGTH] = length;
    words[at + KIND] = (action === undefined ? UPCALL_MISS : UPCALL_ACTION) |
      (packet.isL3 ? IS_L3 : 0);
    words[at + SIZE] = size;
    words[at + FULL_SIZE] = fullSize;
    words[at + HASH] = flowHash(packet, false, 0) | 0;
    words[at + MRU] = packet.mru << 16 | packet.ethType & 0xffff;
    words[at + CSUM] = packet.csumStart << 16 | packet.csumOffset & 0xffff;
    words[at + GSO] = (packet.needsCsum ? NEEDS_CSUM : 0) | packet.gsoType << GSO_TYPE_SHIFT |
      packet.gsoSize & 0xffff;
    words[at + KEY_LENGTH] = keyLength;
    words[at + INSTRUCTION_LENGTH] = instructionLength;
    words[at + ACTIONS_LENGTH] = listLength;
    words[at + TUNNEL_LENGTH] = tunnelLength;
    at += FIXED_WORDS;
    for (let word = 0; word < keyLength; word++) words[at + word] = keys[keyAt + word]!;
    at += keyLength;
    if (action !== undefined) {
      const source = action.words;
      for (let word = 0; word < instructionLength; word++) {
        words[at + word] = source[action.at + word]!;
      }
      at += instructionLength;
      for (let word = 0; word < listLength; word++) {
        words[at + word] = source[action.listAt + word]!;
      }
      at += listLength;
    }
    if (tunnelLength > 0) {
      const tunnel = packet.metadata().egressWords;
      for (let word = 0; word < tunnelLength; word++) words[at + word] = tunnel[word]!;
      at += tunnelLength;
    }
    this.#copy(packet, at, size);
    this.#publish(length);
    return true;
  }

  /** Index of `length` free words in a row; −1: there are none for this port. Skips the ring's end if need be. */
  #room(length: number, inPort: number): number {
    if (length > RING_WORDS >> 1 || !this.#hasShare(inPort)) return -1;
    let at = this.#head & RING_MASK;
    const tillEnd = RING_WORDS - at;
    const wanted = length <= tillEnd ? length : length + tillEnd;
    if ((this.#head - this.#tail | 0) + wanted > RING_WORDS) {
      this.#tail = Atomics.load(this.#control, TAIL);
      if ((this.#head - this.#tail | 0) + wanted > RING_WORDS) return -1;
    }
    if (length > tillEnd) {
      this.#words[at] = SKIP;
      this.#head = this.#head + tillEnd | 0;
      at = 0;
    }
    return at;
  }

  /** Whether a port may add an entry, as far as the others are concerned. */
  #hasShare(inPort: number): boolean {
    if ((this.#head - this.#tail | 0) <= CROWDED_WORDS) return true;
    this.#tail = Atomics.load(this.#control, TAIL);
    if ((this.#head - this.#tail | 0) <= CROWDED_WORDS) {
      this.#isCrowded = false;
      return true;
    }
    if (!this.#isCrowded) {
      this.#isCrowded = true;
      this.#crowd = this.#crowd + 1 & 0x3f_ffff;
    }
    const share = this.#shares[inPort]!;
    const count = share >> SHARE_BITS === this.#crowd ? share & (1 << SHARE_BITS) - 1 : 0;
    if (count >= SHARE) return false;
    this.#shares[inPort] = this.#crowd << SHARE_BITS | count + 1;
    return true;
  }

  #copy(packet: Packet, at: number, size: number): void {
    const target = this.#words;
    const bytes = this.#bytes;
    const source = packet.view;
    const from = packet.start;
    let byte = 0;
    for (; byte + 4 <= size; byte += 4) {
      target[at + (byte >> 2)] = source.getInt32(from + byte, true);
    }
    for (; byte < size; byte++) bytes.setUint8(4 * at + byte, source.getUint8(from + byte));
  }

  #publish(length: number): void {
    const head = this.#head + length | 0;
    this.#head = head;
    Atomics.store(this.#control, HEAD, head);
    if (Atomics.load(this.#control, WAITING) === 0) return;
    Atomics.store(this.#control, WAITING, 0);
    Atomics.notify(this.#control, WAITING, 1);
  }
}

/** Offload state of a packet in an upcall, as in {@link Packet}. */
export interface UpcallOffload {
  readonly needsCsum: boolean;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly gsoType: number;
  readonly gsoSize: number;
}

/** A packet with what is known of it, as it goes back to a packet thread. */
export interface InjectedPacket {
  /** From its Ethernet header on, or as `l3EthType` says. */
  readonly bytes: Uint8Array;
  /** Port that it counts for. */
  readonly inPort: number;
  /** It has no Ethernet header and is of this type. */
  readonly l3EthType: number | undefined;
  /** KEY_WORDS words, of which the metadata are used. */
  readonly key: Int32Array;
  readonly mru: number;
  readonly offload: UpcallOffload;
}

/** An upcall as it was taken from a ring; all its arrays are its own. */
export interface RawUpcall {
  /** UPCALL_MISS or UPCALL_ACTION. */
  readonly kind: number;
  /** The packet from its Ethernet header on; perhaps not all of it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes that the packet had. */
  readonly fullSize: number;
  /** It has no Ethernet header and is of this type; undefined: it has one. */
  readonly l3EthType: number | undefined;
  /** KEY_WORDS words. */
  readonly key: Int32Array<ArrayBuffer>;
  /** Hash of the flow, unsigned. */
  readonly hash: number;
  /** Largest fragment of a packet that was reassembled; 0: it came whole. */
  readonly mru: number;
  readonly offload: UpcallOffload;
  /** The USERSPACE instruction, END behind it; undefined for a miss. */
  readonly instruction: Int32Array<ArrayBuffer> | undefined;
  /** The list that it stands in; undefined: not asked for. */
  readonly actions: Int32Array<ArrayBuffer> | undefined;
  /** KEY_WORDS words of which only the tunnel's mean something; undefined: none, or not asked for. */
  readonly tunnel: Int32Array<ArrayBuffer> | undefined;
}

/** The control isolate's end. */
export class UpcallConsumer {
  /** To wait on {@link WAITING}. */
  readonly control: Int32Array<SharedArrayBuffer>;
  readonly #words: Int32Array<SharedArrayBuffer>;
  #tail: number;

  constructor(ring: SharedArrayBuffer) {
    this.control = new Int32Array(ring, 0, CONTROL_WORDS);
    this.#words = new Int32Array(ring, CONTROL_WORDS * 4, RING_WORDS);
    this.#tail = Atomics.load(this.control, TAIL);
  }

  /** Whether nothing is in the ring. */
  get isEmpty(): boolean {
    return Atomics.load(this.control, HEAD) === this.#tail;
  }

  /** Says that the consumer is about to wait. False: something has come, don't wait. */
  prepareWait(): boolean {
    Atomics.store(this.control, WAITING, 1);
    if (this.isEmpty) return true;
    Atomics.store(this.control, WAITING, 0);
    return false;
  }

  /** Takes the oldest upcall; undefined: there is none. */
  take(): RawUpcall | undefined {
    if (this.isEmpty) return undefined;
    const words = this.#words;
    let at = this.#tail & RING_MASK;
    if (words[at] === SKIP) {
      this.#tail = this.#tail + RING_WORDS - at | 0;
      at = 0;
    }
    const upcall = readEntry(words, at);
    this.#tail = this.#tail + words[at + LENGTH]! | 0;
    Atomics.store(this.control, TAIL, this.#tail);
    return upcall;
  }

  /** Forgets everything in the ring. */
  clear(): void {
    this.#tail = Atomics.load(this.control, HEAD);
    Atomics.store(this.control, TAIL, this.#tail);
  }
}

function readEntry(words: Int32Array<SharedArrayBuffer>, at: number): RawUpcall {
  const [keyLength, instructionLength, actionsLength, tunnelLength] = words.subarray(
    at + KEY_LENGTH,
    at + FIXED_WORDS,
  ) as unknown as readonly [number, number, number, number];
  let from = at + FIXED_WORDS;
  const copy = (length: number, to: number, size: number): Int32Array<ArrayBuffer> => {
    const own = new Int32Array(size);
    own.set(words.subarray(from, from + length), to);
    from += length;
    return own;
  };
  const kind = words[at + KIND]!;
  const gso = words[at + GSO]!;
  const csum = words[at + CSUM]!;
  const size = words[at + SIZE]!;
  const key = copy(keyLength, 0, KEY_WORDS);
  const instruction = copy(instructionLength, 0, instructionLength + 1);
  const actions = copy(actionsLength, 0, actionsLength);
  const tunnel = copy(tunnelLength, KEY_WORDS - tunnelLength, KEY_WORDS);
  const bytes = new Uint8Array(size);
  bytes.set(new Uint8Array(words.buffer, words.byteOffset + 4 * from, size));
  return {
    kind: kind & KIND_MASK,
    bytes,
    fullSize: words[at + FULL_SIZE]!,
    l3EthType: (kind & IS_L3) !== 0 ? words[at + MRU]! & 0xffff : undefined,
    key,
    hash: words[at + HASH]! >>> 0,
    mru: words[at + MRU]! >>> 16,
    offload: {
      needsCsum: (gso & NEEDS_CSUM) !== 0,
      csumStart: csum >>> 16,
      csumOffset: csum & 0xffff,
      gsoType: gso >>> GSO_TYPE_SHIFT & 0xff,
      gsoSize: gso & 0xffff,
    },
    instruction: instructionLength === 0 ? undefined : instruction,
    actions: actionsLength === 0 ? undefined : actions,
    tunnel: tunnelLength === 0 ? undefined : tunnel,
  };
}
