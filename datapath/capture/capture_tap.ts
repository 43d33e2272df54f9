/**
 * Copies of packets at one of a pipeline's hooks, for `capture`: into a ring per packet thread
 * (upcall_ring.ts), which the control isolate empties. What finds no room there is lost to the capture
 * and counted; the packet itself goes its way.
 */
import { getBytes } from "../actions/program_bytes.ts";
import type { DropReason } from "../drop_reasons.ts";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import type { PacketObserver } from "../observer.ts";
import { copyPacket, Packet } from "../packet/packet.ts";
import { SLOT_SIZE } from "../packet/packet_pool.ts";
import { type KeyFilter, meets } from "../trace/recorder.ts";
import { type RawUpcall, UpcallProducer } from "../upcall_ring.ts";

/** What happened to a captured packet. */
export type CaptureEvent = "in" | "out" | "drop" | "upcall" | "sample";

/** All there are. */
export const CAPTURE_EVENTS: readonly CaptureEvent[] = ["in", "out", "drop", "upcall", "sample"];

/** Packets that a capture wants. Structured-clonable. */
export interface CaptureHooks {
  readonly events: readonly CaptureEvent[];
  /** Where they come from or go to; undefined: anywhere. */
  readonly portNo: number | undefined;
  /** As the packet is at that moment; undefined: all. */
  readonly filter: KeyFilter | undefined;
  /** Most bytes of each. */
  readonly keep: number;
}

/** Words at the beginning of what the ring has as a packet's key; time in microseconds since 1970. */
const EVENT = 0;
const PORT = 1;
const REASON = 2;
const TIME_HIGH = 3;
const TIME_LOW = 4;
/** Of a sample: its group, and the bytes of its cookie with their number in front (program_bytes.ts). */
const GROUP = 5;
const COOKIE = 6;
/** OVS_PSAMPLE_COOKIE_MAX_SIZE is 16. */
const COOKIE_WORDS = 5;
/** Never 0: what is behind it is zero and not kept. */
const MARK: number = COOKIE + COOKIE_WORDS;
const TWO_32 = 2 ** 32;

/** A captured packet. */
export interface CapturedEvent {
  readonly event: CaptureEvent;
  /** Where it came in, went out, or is counted as dropped. */
  readonly portNo: number;
  /** Index of the drop reason; 0: none. */
  readonly reason: DropReason;
  readonly wallUs: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly fullSize: number;
  /** It has no Ethernet header and is of this type. */
  readonly l3EthType: number | undefined;
  /** What a psample action said. */
  readonly sample: { readonly group: number; readonly cookie: string | undefined } | undefined;
}

export interface TapOptions {
  readonly hooks: CaptureHooks;
  /** This thread's ring for this capture (makeUpcallRing). */
  readonly ring: SharedArrayBuffer;
  /** One Int32 word: packets that found no room. */
  readonly lost: SharedArrayBuffer;
  /** Microseconds since 1970. */
  wallUs(): number;
}

export class CaptureTap implements PacketObserver {
  readonly #hooks: CaptureHooks;
  readonly #ring: UpcallProducer;
  readonly #lost: Int32Array;
  readonly #wallUs: () => number;
  readonly #wanted: ReadonlySet<CaptureEvent>;
  readonly #copy: Packet;
  readonly #key = new Int32Array(KEY_WORDS);
  readonly #facts = new Int32Array(KEY_WORDS);

  constructor(options: TapOptions) {
    this.#hooks = options.hooks;
    this.#ring = new UpcallProducer(options.ring);
    this.#lost = new Int32Array(options.lost);
    this.#wallUs = options.wallUs;
    this.#wanted = new Set(options.hooks.events);
    const bytes = new Uint8Array(SLOT_SIZE);
    this.#copy = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
    this.#copy.tailLimit = bytes.length;
  }

  received(packet: Packet): boolean {
    this.#capture("in", packet, packet.inPort, 0);
    return false;
  }

  sent(packet: Packet, portNo: number): void {
    this.#capture("out", packet, portNo, 0);
  }

  dropped(packet: Packet | undefined, reason: DropReason, portNo: number): void {
    if (packet !== undefined) this.#capture("drop", packet, portNo, reason);
  }

  upcalled(packet: Packet): void {
    this.#capture("upcall", packet, packet.inPort, 0);
  }

  sampled(packet: Packet, words: Int32Array, at: number, keep: number): void {
    if (!this.#wanted.has("sample")) return;
    const facts = this.#facts;
    facts[GROUP] = words[at + 1]!;
    const length = (words[at]! >>> 8) - 2;
    for (let word = 0; word < COOKIE_WORDS; word++) {
      facts[COOKIE + word] = word < length ? words[at + 2 + word]! : 0;
    }
    this.#capture("sample", packet, packet.inPort, 0, keep);
  }

  finished(): void {}
  recirculated(): void {}
  entered(): void {}
  runs(): void {}
  ran(): void {}
  left(): void {}

  #capture(
    event: CaptureEvent,
    packet: Packet,
    portNo: number,
    reason: DropReason,
    most = this.#hooks.keep,
  ): void {
    const { portNo: wanted, filter } = this.#hooks;
    const keep = Math.min(this.#hooks.keep, most);
    if (!this.#wanted.has(event) || (wanted !== undefined && wanted !== portNo)) return;
    const copy = this.#copy;
    if (!copyPacket(packet, copy)) return this.#lose();
    // Also without a filter: the ring makes a hash of what extraction finds.
    extractKey(copy, this.#key, 0);
    if (!meets(this.#key, 0, filter)) return;
    const wallUs = this.#wallUs();
    const facts = this.#facts;
    facts[EVENT] = CAPTURE_EVENTS.indexOf(event);
    facts[PORT] = portNo;
    facts[REASON] = reason;
    facts[TIME_HIGH] = Math.floor(wallUs / TWO_32);
    facts[TIME_LOW] = wallUs % TWO_32 | 0;
    facts[MARK] = 1;
    if (!this.#ring.push(copy, facts, 0, keep, undefined)) this.#lose();
  }

  #lose(): void {
    Atomics.add(this.#lost, 0, 1);
  }
}

/** What a ring of captures has given. */
export function readCaptured({ key, bytes, fullSize, l3EthType }: RawUpcall): CapturedEvent {
  const event = CAPTURE_EVENTS[key[EVENT]!]!;
  return {
    event,
    portNo: key[PORT]!,
    reason: key[REASON]!,
    wallUs: key[TIME_HIGH]! * TWO_32 + (key[TIME_LOW]! >>> 0),
    bytes,
    fullSize,
    l3EthType,
    sample: event === "sample"
      ? { group: key[GROUP]! >>> 0, cookie: getBytes(key, COOKIE) }
      : undefined,
  };
}
