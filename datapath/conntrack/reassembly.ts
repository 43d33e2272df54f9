/**
 * Reassembly of IPv4 and IPv6 fragments in front of connection tracking (RFC 791 §3.2, RFC 8200 §4.5),
 * as the kernel's defragmentation does it: overlapping fragments give up the whole packet (RFC 5722),
 * the largest fragment is remembered (mru) so that the packet can leave in pieces as large, congestion
 * marks are joined (RFC 3168 §5.3).
 *
 * One per packet thread: a fan-out that hashes fragments by addresses alone, as the kernel's does,
 * brings all fragments of a packet to one thread. Memory and the number of unfinished packets are
 * bounded, also for each source: whoever exceeds its part loses its own oldest packet, and when
 * everything is full the oldest of all gives way, since the fragments of a packet that will become
 * whole arrive within milliseconds.
 */
import { finish, sum } from "../packet/checksum.ts";
import { finalise, makeConstants, product } from "../flow_table/hash.ts";
import type { Packet } from "../packet/packet.ts";
import { Fragment, FRAGMENT_KEY_WORDS, FRAGMENT_NONE, FRAGMENT_UNROUNDED } from "./fragment.ts";
import { FragmentStore, PLACE_DUPLICATE, PLACE_OVERLAP } from "./fragment_store.ts";
import type { FragmentControl } from "./fragment_control.ts";
import { ctDrop } from "./reasons.ts";

const MEMORY_MAX_DEFAULT: number = 4 << 20;

/** What {@link Reassembler.add} says; positive: a drop verdict of reasons.ts. */
export const FRAGMENT_HELD = 0;
/** All of it was there already: nothing waits for it. */
export const FRAGMENT_DUPLICATE = -3;
/** The packet is whole: {@link Reassembler.take} it. */
export const FRAGMENT_COMPLETE = -1;
/** It is not to be put together with others (fragment_control.ts). */
export const FRAGMENT_REFUSED = -4;
/** Fragments that one reassembler has room for. */
export const FRAGMENTS_HELD_MAX: number = FragmentStore.fragmentsIn(MEMORY_MAX_DEFAULT);

const OVERLAP = ctDrop("ct-fragment-overlap");
const INVALID = ctDrop("ct-fragment-invalid");
const MEMORY = ctDrop("ct-fragment-memory");
const TIMEOUT = ctDrop("ct-fragment-timeout");

const TIMEOUT_IPV4_MS = 30_000;
const TIMEOUT_IPV6_MS = 60_000;
const QUEUES_MAX_DEFAULT = 1024;
/** Bytes of L2 and L3 headers in front of the fragmented part. */
const HEADER_MAX = 320;
const BUCKETS = 1024;
const PACKET_MAX = 65535;

/** Bounds of a reassembler. */
export interface ReassemblyOptions {
  /** Random bytes, at least 16. */
  readonly seed: Uint8Array;
  /** Bytes of fragments held. Default 4 MiB. */
  readonly memoryMax?: number | undefined;
  /** Unfinished packets. Default 1024. */
  readonly queuesMax?: number | undefined;
  /** ms; default 30 s and 60 s, the kernel's. */
  readonly timeoutIpv4Ms?: number | undefined;
  readonly timeoutIpv6Ms?: number | undefined;
  /** Told how many fragments are given up with a packet, the port that the last one came from, and why (CT_DROPS). */
  readonly onGivenUp?: ((fragments: number, inPort: number, reason: number) => void) | undefined;
  /** Says what is refused, and is told what becomes of fragments. Default: nobody. */
  readonly control?: FragmentControl | undefined;
}

/** Unfinished packets (queues) of one thread. A queue is a number, 0: none. */
export class Reassembler {
  readonly #store: FragmentStore;
  readonly #constants: Int32Array;
  readonly #heads = new Int32Array(BUCKETS);
  /** Unfinished packets and chunks of each source, by hash. */
  readonly #sourceQueues = new Int32Array(BUCKETS);
  readonly #sourceChunks = new Int32Array(BUCKETS);
  readonly #keys: Int32Array;
  readonly #headers: Uint8Array;
  readonly #chain: Int32Array;
  readonly #bucket: Int32Array;
  readonly #source: Int32Array;
  readonly #first: Int32Array;
  /** Bytes of the whole payload, −1: the last fragment has not come. */
  readonly #total: Int32Array;
  /** Furthest end of a fragment. */
  readonly #furthest: Int32Array;
  readonly #received: Int32Array;
  readonly #expires: Int32Array;
  /** Bytes of the stored headers, 0: the first fragment has not come; and where L3 begins. */
  readonly #headerSize: Int32Array;
  readonly #l3Offset: Int32Array;
  readonly #mru: Int32Array;
  /** Largest fragment that must not be fragmented. */
  readonly #mruDf: Int32Array;
  readonly #ecn: Int32Array;
  /** Neighbours by age. */
  readonly #older: Int32Array;
  readonly #newer: Int32Array;
  readonly #timeoutIpv4Ms: number;
  readonly #timeoutIpv6Ms: number;
  readonly #queuesPerSource: number;
  readonly #chunksPerSource: number;
  #free = 1;
  #oldest = 0;
  #newest = 0;
  #complete = 0;
  /** Unfinished packets. */
  count = 0;
  /** Fragments held now. */
  held = 0;
  /** Fragments of packets that were given up so far: timeouts, overlaps, evictions. */
  givenUp = 0;
  readonly #fragments: Int32Array;
  readonly #inPort: Int32Array;
  readonly #onGivenUp: ((fragments: number, inPort: number, reason: number) => void) | undefined;
  readonly #control: FragmentControl | undefined;

  readonly #fragment = new Fragment();

  constructor(options: ReassemblyOptions) {
    const queues = options.queuesMax ?? QUEUES_MAX_DEFAULT;
    const words = (): Int32Array => new Int32Array(queues + 1);
    this.#store = new FragmentStore(options.memoryMax ?? MEMORY_MAX_DEFAULT);
    this.#constants = new Int32Array(makeConstants(options.seed));
    this.#keys = new Int32Array((queues + 1) * FRAGMENT_KEY_WORDS);
    this.#headers = new Uint8Array((queues + 1) * HEADER_MAX);
    this.#chain = Int32Array.from({ length: queues + 1 }, (_, at) => at < queues ? at + 1 : 0);
    this.#bucket = words();
    this.#source = words();
    this.#first = words();
    this.#total = words();
    this.#furthest = words();
    this.#received = words();
    this.#expires = words();
    this.#headerSize = words();
    this.#l3Offset = words();
    this.#mru = words();
    this.#mruDf = words();
    this.#ecn = words();
    this.#older = words();
    this.#newer = words();
    this.#fragments = words();
    this.#inPort = words();
    this.#onGivenUp = options.onGivenUp;
    this.#control = options.control;
    this.#timeoutIpv4Ms = options.timeoutIpv4Ms ?? TIMEOUT_IPV4_MS;
    this.#timeoutIpv6Ms = options.timeoutIpv6Ms ?? TIMEOUT_IPV6_MS;
    this.#queuesPerSource = Math.max(4, queues >> 3);
    this.#chunksPerSource = Math.max(40, this.#store.chunksMax >> 2);
  }

  /** Bytes of fragments held, rounded up. */
  get memoryUsed(): number {
    return this.#store.chunks * 2048;
  }

  /**
   * Takes a copy of a fragment (l3At is set). FRAGMENT_HELD: it waits, the packet is the caller's to
   * forget; it counts in `held` until its packet is taken, or given up and in `givenUp`. FRAGMENT_COMPLETE: {@link take} must be called before the next one is added.
   * FRAGMENT_NONE (fragment.ts): it is none.
   */
  add(packet: Packet, zone: number, nowMs: number): number {
    const now = nowMs | 0;
    const read = this.#fragment.read(packet, zone);
    if (read !== 0 && read !== FRAGMENT_UNROUNDED) return read;
    const isIpv4 = (this.#fragment.key[0]! & 0xff) === 4;
    const { dataAt, size, isLast } = this.#fragment;
    if (this.#control?.refuses(isIpv4, dataAt - packet.l3At + size, isLast)) {
      return FRAGMENT_REFUSED;
    }
    let queue = this.#find();
    if (read === FRAGMENT_UNROUNDED) {
      // As nf_ct_frag6_gather: its packet is given up, and it goes on as it is.
      if (queue !== 0) this.#giveUp(queue, INVALID);
      return FRAGMENT_NONE;
    }
    if (queue !== 0 && ((this.#expires[queue]! - now) | 0) <= 0) {
      this.#giveUp(queue, TIMEOUT);
      queue = 0;
    }
    if (queue === 0) {
      queue = this.#begin(now, isIpv4 ? this.#timeoutIpv4Ms : this.#timeoutIpv6Ms);
      if (queue === 0) return MEMORY;
    }
    return this.#join(queue, packet, isIpv4);
  }

  #hash(from: number, end: number): number {
    let total = this.#constants[FRAGMENT_KEY_WORDS]!;
    for (let word = from; word < end; word++) {
      total = total + product(this.#fragment.key[word]!, this.#constants[word]!) | 0;
    }
    return finalise(total) & (BUCKETS - 1);
  }

  #find(): number {
    for (let queue = this.#heads[this.#hash(0, FRAGMENT_KEY_WORDS)]!; queue !== 0;) {
      let word = 0;
      while (
        word < FRAGMENT_KEY_WORDS &&
        this.#keys[queue * FRAGMENT_KEY_WORDS + word] === this.#fragment.key[word]
      ) word++;
      if (word === FRAGMENT_KEY_WORDS) return queue;
      queue = this.#chain[queue]!;
    }
    return 0;
  }

  /** A queue for the fragment's packet, 0: there is no room. */
  #begin(now: number, timeoutMs: number): number {
    const source = this.#hash(2, 6);
    if (this.#sourceQueues[source]! >= this.#queuesPerSource) this.#evict(source);
    if (this.#free === 0) this.#evict(-1);
    const queue = this.#free;
    if (queue === 0) return 0;
    this.#free = this.#chain[queue]!;
    const bucket = this.#hash(0, FRAGMENT_KEY_WORDS);
    this.#keys.set(this.#fragment.key, queue * FRAGMENT_KEY_WORDS);
    this.#bucket[queue] = bucket;
    this.#chain[queue] = this.#heads[bucket]!;
    this.#heads[bucket] = queue;
    this.#source[queue] = source;
    this.#sourceQueues[source] = this.#sourceQueues[source]! + 1;
    this.#first[queue] = 0;
    this.#total[queue] = -1;
    this.#furthest[queue] = 0;
    this.#received[queue] = 0;
    this.#expires[queue] = (now + timeoutMs) | 0;
    this.#headerSize[queue] = 0;
    this.#mru[queue] = 0;
    this.#mruDf[queue] = 0;
    this.#ecn[queue] = 0;
    this.#fragments[queue] = 0;
    this.#older[queue] = this.#newest;
    this.#newer[queue] = 0;
    if (this.#newest !== 0) this.#newer[this.#newest] = queue;
    else this.#oldest = queue;
    this.#newest = queue;
    this.count++;
    return queue;
  }

  /** Gives up the oldest unfinished packet, of one source or (−1) of all, but not `spared`. */
  #evict(source: number, spared = 0): boolean {
    for (let queue = this.#oldest; queue !== 0; queue = this.#newer[queue]!) {
      if (queue === spared || source >= 0 && this.#source[queue] !== source) continue;
      this.#giveUp(queue, MEMORY);
      return true;
    }
    return false;
  }

  #join(queue: number, packet: Packet, isIpv4: boolean): number {
    const offset = this.#fragment.offset;
    const end = offset + this.#fragment.size;
    if (offset === end || this.#contradicts(queue, end)) {
      if (isIpv4) this.#giveUp(queue, INVALID);
      else if (!this.#contradicts(queue, end)) this.#noteEnd(queue, end);
      return INVALID;
    }
    const place = this.#store.place(this.#first[queue]!, offset, end);
    if (place === PLACE_OVERLAP) {
      this.#control?.overlapped(isIpv4);
      this.#giveUp(queue, OVERLAP);
      return OVERLAP;
    }
    if (place === PLACE_DUPLICATE) return FRAGMENT_DUPLICATE;
    const chunks = FragmentStore.chunksFor(this.#fragment.size);
    const source = this.#source[queue]!;
    if (!this.#makeRoom(queue, source, chunks)) {
      this.#giveUp(queue, MEMORY);
      return MEMORY;
    }
    if (offset === 0 && !this.#keepHeader(queue, packet)) {
      this.#giveUp(queue, INVALID);
      return INVALID;
    }
    const first = this.#store.insert(
      this.#first[queue]!,
      offset,
      packet.bytes,
      this.#fragment.dataAt,
      this.#fragment.size,
    );
    if (first < 0) return MEMORY;
    this.#first[queue] = first;
    this.#sourceChunks[source] = this.#sourceChunks[source]! + chunks;
    this.#noteEnd(queue, end);
    this.#received[queue] = this.#received[queue]! + this.#fragment.size;
    this.#fragments[queue] = this.#fragments[queue]! + 1;
    this.held++;
    this.#control?.accepted(isIpv4);
    this.#inPort[queue] = packet.inPort;
    this.#noteHeader(queue, packet, isIpv4);
    if (this.#received[queue] !== this.#total[queue] || this.#headerSize[queue] === 0) {
      return FRAGMENT_HELD;
    }
    const isMixed = (this.#ecn[queue]! & 1) !== 0 && this.#ecn[queue] !== 1;
    if (isMixed || this.#headerSize[queue]! + this.#total[queue]! > HEADER_MAX + PACKET_MAX) {
      // This fragment is refused, and not given up with the others.
      this.#fragments[queue] = this.#fragments[queue]! - 1;
      this.held--;
      this.#control?.givenUp(isIpv4, 1, false);
      this.#giveUp(queue, INVALID);
      return INVALID;
    }
    this.#complete = queue;
    return FRAGMENT_COMPLETE;
  }

  /**
   * Whether the fragment says otherwise than others where the packet ends. With IPv4 nothing of the
   * packet is believed then, nor when it is empty (ip_frag_queue); with IPv6 all but that fragment is,
   * and what an empty one says of the end (nf_ct_frag6_queue).
   */
  #contradicts(queue: number, end: number): boolean {
    const total = this.#total[queue]!;
    if (!this.#fragment.isLast) return total >= 0 && end > total;
    return total >= 0 && total !== end || end < this.#furthest[queue]!;
  }

  /** Notes where a fragment ends. */
  #noteEnd(queue: number, end: number): void {
    if (this.#fragment.isLast) this.#total[queue] = end;
    this.#furthest[queue] = Math.max(this.#furthest[queue]!, end);
  }

  /** Makes room for `chunks`, first at the cost of the same source. False: this packet alone is too much. */
  #makeRoom(queue: number, source: number, chunks: number): boolean {
    while (this.#sourceChunks[source]! + chunks > this.#chunksPerSource) {
      if (!this.#evict(source, queue)) return false;
    }
    while (this.#store.chunks + chunks > this.#store.chunksMax) {
      if (!this.#evict(-1, queue)) return false;
    }
    return true;
  }

  /** What the packet's headers say that concerns all fragments. */
  #noteHeader(queue: number, packet: Packet, isIpv4: boolean): void {
    const { view, l3At } = packet;
    const size = this.#fragment.dataAt - l3At + this.#fragment.size;
    this.#mru[queue] = Math.max(this.#mru[queue]!, size);
    const tos = isIpv4 ? view.getUint8(l3At + 1) : (view.getUint16(l3At) >>> 4) & 0xff;
    this.#ecn[queue] = this.#ecn[queue]! | 1 << (tos & 3);
    if (isIpv4 && (view.getUint16(l3At + 6) & 0x4000) !== 0) {
      this.#mruDf[queue] = Math.max(this.#mruDf[queue]!, size);
    }
  }

  /** Keeps the headers of the first fragment; IPv6's without the fragment header. False: they are too long. */
  #keepHeader(queue: number, packet: Packet): boolean {
    const size = packet.l3At - packet.start + this.#fragment.unfragmentable;
    if (size > HEADER_MAX) return false;
    const at = queue * HEADER_MAX;
    const { bytes, start } = packet;
    for (let byte = 0; byte < size; byte++) this.#headers[at + byte] = bytes[start + byte]!;
    this.#headerSize[queue] = size;
    this.#l3Offset[queue] = packet.l3At - start;
    const l3 = at + packet.l3At - start;
    if (this.#headers[l3]! >>> 4 !== 6) return true;
    // The last header in front of the fragment header now announces what was behind it.
    let field = l3 + 6;
    for (let next = l3 + 40; next < at + size;) {
      field = next;
      next += (this.#headers[next + 1]! + 1) << 3;
    }
    this.#headers[field] = this.#fragment.nextHeader;
    return true;
  }

  /**
   * Writes the packet that has become whole to `target`, from target.start on, and sets its end, l3At,
   * offload state and the sizes that it came in. Returns its mru (bytes of the largest fragment from L3 on), 0: it does not fit.
   */
  take(target: Packet): number {
    const queue = this.#complete;
    this.#complete = 0;
    if (queue === 0) return 0;
    const headerSize = this.#headerSize[queue]!;
    const total = this.#total[queue]!;
    const { start, view, bytes } = target;
    const mru = Math.max(this.#mru[queue]!, this.#mruDf[queue]!);
    const fits = start + headerSize + total <= target.tailLimit;
    if (fits) {
      const from = queue * HEADER_MAX;
      for (let byte = 0; byte < headerSize; byte++) {
        bytes[start + byte] = this.#headers[from + byte]!;
      }
      const first = this.#first[queue]!;
      this.#store.copy(first, bytes, start + headerSize);
      const wide = target.metadata();
      wide.pieceCount = this.#store.sizes(first, wide.pieces);
      target.end = start + headerSize + total;
      target.l3At = start + this.#l3Offset[queue]!;
      target.l4At = start + headerSize;
      target.needsCsum = false;
      target.csumValid = false;
      target.csumStart = 0;
      target.csumOffset = 0;
      target.gsoType = 0;
      target.gsoSize = 0;
      const size = target.end - target.l3At;
      const isCongested = (this.#ecn[queue]! & 8) !== 0;
      if (view.getUint8(target.l3At) >>> 4 === 4) {
        const isWhole = this.#mruDf[queue] !== 0 && this.#mruDf[queue] === this.#mru[queue];
        finishIpv4(view, target.l3At, size, isWhole, isCongested);
      } else {
        view.setUint16(target.l3At + 4, size - 40);
        if (isCongested) view.setUint8(target.l3At + 1, view.getUint8(target.l3At + 1) | 0x30);
      }
    }
    if (!fits) {
      this.#giveUp(queue, INVALID);
      return 0;
    }
    this.held -= this.#fragments[queue]!;
    this.#control?.completed(this.#isIpv4(queue), this.#fragments[queue]!);
    this.#release(queue);
    return mru;
  }

  /** Gives the packet that has become whole up, the last fragment with it: there is nowhere to put it. */
  discard(): void {
    if (this.#complete !== 0) this.#giveUp(this.#complete, MEMORY);
    this.#complete = 0;
  }

  #giveUp(queue: number, reason: number): void {
    const fragments = this.#fragments[queue]!;
    this.held -= fragments;
    this.givenUp += fragments;
    this.#control?.givenUp(this.#isIpv4(queue), fragments, reason === TIMEOUT);
    if (fragments > 0) this.#onGivenUp?.(fragments, this.#inPort[queue]!, reason);
    this.#release(queue);
  }

  #isIpv4(queue: number): boolean {
    return (this.#keys[queue * FRAGMENT_KEY_WORDS]! & 0xff) === 4;
  }

  #release(queue: number): void {
    const source = this.#source[queue]!;
    const chunks = this.#store.release(this.#first[queue]!);
    this.#sourceChunks[source] = this.#sourceChunks[source]! - chunks;
    this.#sourceQueues[source] = this.#sourceQueues[source]! - 1;
    const bucket = this.#bucket[queue]!;
    if (this.#heads[bucket] === queue) {
      this.#heads[bucket] = this.#chain[queue]!;
    } else {
      let at = this.#heads[bucket]!;
      while (this.#chain[at] !== queue) at = this.#chain[at]!;
      this.#chain[at] = this.#chain[queue]!;
    }
    const older = this.#older[queue]!;
    const newer = this.#newer[queue]!;
    if (older !== 0) this.#newer[older] = newer;
    else this.#oldest = newer;
    if (newer !== 0) this.#older[newer] = older;
    else this.#newest = older;
    this.#chain[queue] = this.#free;
    this.#free = queue;
    this.count--;
  }

  /** Gives up packets whose time is over, looking at no more than `budget`. Returns how many fragments were given up. */
  sweep(nowMs: number, budget: number): number {
    const before = this.givenUp;
    let queue = this.#oldest;
    for (let count = 0; queue !== 0 && count < budget; count++) {
      const newer = this.#newer[queue]!;
      if (((this.#expires[queue]! - (nowMs | 0)) | 0) <= 0) this.#giveUp(queue, TIMEOUT);
      queue = newer;
    }
    return this.givenUp - before;
  }
}

function finishIpv4(
  view: DataView,
  l3At: number,
  size: number,
  isWhole: boolean,
  isCongested: boolean,
): void {
  if (isCongested) view.setUint8(l3At + 1, view.getUint8(l3At + 1) | 3);
  view.setUint16(l3At + 2, size);
  view.setUint16(l3At + 6, isWhole ? 0x4000 : 0);
  view.setUint16(l3At + 10, 0);
  const headerSize = (view.getUint8(l3At) & 0x0f) << 2;
  view.setUint16(l3At + 10, finish(sum(view, l3At, l3At + headerSize)), true);
}
