/**
 * Keeps what a pipeline does with packets, step by step (observer.ts), for `trace` and `trace-live`.
 * What is kept is plain data that can be posted to another isolate; describe.ts makes a report of it.
 *
 * A packet's state is noted before each action and when a list is done: its bytes, and its key as
 * extraction would see it, made from a copy, so that looking on changes nothing.
 */
import type { DropReason } from "../drop_reasons.ts";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import type { PacketObserver } from "../observer.ts";
import { copyPacket, Packet, WIDE_METADATA_FROM } from "../packet/packet.ts";
import { SLOT_SIZE } from "../packet/packet_pool.ts";

/** A packet at one moment. Whatever is the same as the moment before is the same object. */
export interface PacketImage {
  /** From the Ethernet header on, or without one if isL3; no more than the recorder keeps. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes that it has. */
  readonly size: number;
  readonly isL3: boolean;
  /** KEY_WORDS words. */
  readonly key: Int32Array<ArrayBuffer>;
  /** Tunnel that set(tunnel) has said, words from WIDE_METADATA_FROM on of a key. */
  readonly egress: Int32Array<ArrayBuffer> | undefined;
}

/** A flow as it was found: its index and generation; −1: none was. */
export interface FoundFlow {
  readonly index: number;
  readonly generation: number;
}

/** One step. Lists nest: `list` and `left` come in pairs. */
export type TraceEvent =
  | { readonly kind: "recirculated"; readonly image: PacketImage; readonly flow: FoundFlow }
  | { readonly kind: "list"; readonly at: number }
  | {
    readonly kind: "action";
    readonly at: number;
    /** The instruction, nested lists included, and END. */
    readonly words: Int32Array<ArrayBuffer>;
    readonly image: PacketImage;
  }
  | { readonly kind: "ran"; readonly image: PacketImage }
  | { readonly kind: "left" }
  | SentEvent
  | { readonly kind: "dropped"; readonly portNo: number; readonly reason: DropReason }
  | { readonly kind: "upcalled"; readonly isTaken: boolean };

/** A port has taken the packet. */
export interface SentEvent {
  readonly kind: "sent";
  readonly portNo: number;
  readonly image: PacketImage;
}

/** All that was seen of one packet. */
export interface RawTrace {
  /** As it was received. */
  readonly image: PacketImage;
  readonly inPort: number;
  readonly flow: FoundFlow;
  readonly events: readonly TraceEvent[];
  /** There were more steps than are kept. */
  readonly isCut: boolean;
}

/** Packets that are wanted. */
export interface KeyFilter {
  /** KEY_WORDS words; bits outside the mask are zero. */
  readonly key: Int32Array;
  readonly mask: Int32Array;
}

export interface RecorderOptions {
  /** Packets wanted; absent: all. */
  readonly filter?: KeyFilter | undefined;
  /** Most packets. */
  readonly count: number;
  /** Most bytes kept of a packet at one moment. */
  readonly keep: number;
  /** Which flow it is that has this index now (FlowTableReader). */
  generation(flow: number): number;
  /** One packet is done. */
  traced(trace: RawTrace): void;
}

/** Steps kept of one packet; a few kilobytes each at most. */
const EVENTS_MAX = 512;
/** A copy leaves room for what actions push. */
const COPY_AT = 512;

export class TraceRecorder implements PacketObserver {
  readonly #options: RecorderOptions;
  readonly #copy: Packet;
  readonly #key = new Int32Array(KEY_WORDS);
  #left: number;
  #open = false;
  #first: PacketImage | undefined;
  #last: PacketImage | undefined;
  #inPort = 0;
  #flow: FoundFlow = { index: -1, generation: 0 };
  #events: TraceEvent[] = [];
  #isCut = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#left = options.count;
    const bytes = new Uint8Array(SLOT_SIZE + COPY_AT);
    this.#copy = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
    this.#copy.start = COPY_AT;
    this.#copy.tailLimit = bytes.length;
  }

  /** Whether all that were wanted are there. */
  get isDone(): boolean {
    return this.#left <= 0 && !this.#open;
  }

  received(packet: Packet, keys: Int32Array, keyAt: number, flow: number): boolean {
    if (this.#left <= 0 || !meets(keys, keyAt, this.#options.filter)) return false;
    this.#left--;
    this.#open = true;
    this.#last = undefined;
    this.#events = [];
    this.#isCut = false;
    this.#inPort = packet.inPort;
    this.#flow = this.#found(flow);
    this.#first = this.#image(packet);
    return true;
  }

  finished(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#options.traced({
      image: this.#first!,
      inPort: this.#inPort,
      flow: this.#flow,
      events: this.#events,
      isCut: this.#isCut,
    });
  }

  recirculated(packet: Packet, _keys: Int32Array, _keyAt: number, flow: number): void {
    if (!this.#wants()) return;
    this.#add({ kind: "recirculated", image: this.#image(packet), flow: this.#found(flow) });
  }

  entered(_words: Int32Array, at: number): void {
    if (this.#wants()) this.#add({ kind: "list", at });
  }

  runs(packet: Packet, words: Int32Array, at: number): void {
    if (!this.#wants()) return;
    const length = words[at]! >>> 8;
    const own = new Int32Array(length + 1); // END is 0
    own.set(words.subarray(at, at + length));
    this.#add({ kind: "action", at, words: own, image: this.#image(packet) });
  }

  ran(packet: Packet): void {
    if (this.#wants()) this.#add({ kind: "ran", image: this.#image(packet) });
  }

  left(): void {
    if (this.#wants()) this.#add({ kind: "left" });
  }

  sent(packet: Packet, portNo: number): void {
    if (this.#wants()) this.#add({ kind: "sent", portNo, image: this.#image(packet) });
  }

  dropped(_packet: Packet | undefined, reason: DropReason, portNo: number): void {
    if (this.#wants()) this.#add({ kind: "dropped", portNo, reason });
  }

  upcalled(_packet: Packet, isTaken: boolean): void {
    if (this.#wants()) this.#add({ kind: "upcalled", isTaken });
  }

  /** The step of the action tells it. */
  sampled(): void {}

  #wants(): boolean {
    if (!this.#open) return false;
    if (this.#events.length < EVENTS_MAX) return true;
    this.#isCut = true;
    return false;
  }

  #add(event: TraceEvent): void {
    this.#events.push(event);
  }

  #found(flow: number): FoundFlow {
    return { index: flow, generation: flow < 0 ? 0 : this.#options.generation(flow) };
  }

  #image(packet: Packet): PacketImage {
    const last = this.#last;
    const size = packet.end - packet.start;
    const kept = Math.min(size, this.#options.keep);
    const bytes = packet.bytes.subarray(packet.start, packet.start + kept);
    const key = this.#keyOf(packet);
    const egress = packet.hasEgress ? packet.metadata().egressWords : undefined;
    const image: PacketImage = {
      bytes: last !== undefined && equalBytes(last.bytes, bytes) ? last.bytes : bytes.slice(),
      size,
      isL3: packet.isL3,
      key: last !== undefined && equalWords(last.key, key) ? last.key : key.slice(),
      egress: egress === undefined
        ? undefined
        : last?.egress !== undefined && equalWords(last.egress, egress)
        ? last.egress
        : egress.slice(),
    };
    this.#last = image;
    return image;
  }

  /** Of a copy: extraction writes into the packet. */
  #keyOf(packet: Packet): Int32Array<ArrayBuffer> {
    const copy = this.#copy;
    if (copyPacket(packet, copy)) extractKey(copy, this.#key, 0);
    return this.#key;
  }
}

/** Whether the packet with this key is one that is wanted. */
export function meets(
  keys: Int32Array,
  keyAt: number,
  filter: KeyFilter | undefined,
): boolean {
  if (filter === undefined) return true;
  const { key, mask } = filter;
  for (let word = 0; word < KEY_WORDS; word++) {
    if (((keys[keyAt + word]! ^ key[word]!) & mask[word]!) !== 0) return false;
  }
  return true;
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}

function equalWords(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}

/** A key with the tunnel that set(tunnel) has said, for text. */
export function egressKey(egress: Int32Array): Int32Array {
  const key = new Int32Array(KEY_WORDS);
  key.set(egress, WIDE_METADATA_FROM);
  return key;
}
