/**
 * MTUs of the ways to tunnels' far ends, as the host's routes have them, and our address on each way:
 * a table by far end, so that one port may talk to many. What it says is at most a second old.
 */
import { type Route, routeTo } from "../netdev/tunnel_route.ts";
import type { Family } from "../netdev/tunnel_socket.ts";

/** How long an answer of the host's routes is good for. */
const AGE_MAX_MS = 1000;
/** Of a way that there is no route for. */
const MTU_DEFAULT = 1500;
const WORDS = 4;
/** A power of 2. With fewer, some of hundreds of far ends would displace each other with every packet. */
const WAYS_MAX = 8;

/** Asks the host; by argument, so that tests can answer. */
export type AskRoute = (address: Uint8Array, mark: number) => Route | undefined;

export class TunnelPaths {
  /** Of the far end found last: bytes that an outer packet to it may have. */
  mtu: number = MTU_DEFAULT;
  /** Our address on that way, 4 or 16 bytes; undefined: there is no route. */
  local: Uint8Array<ArrayBuffer> | undefined = undefined;
  readonly #places: number;
  /** Places side by side that a far end may have. */
  readonly #ways: number;
  readonly #mark: number;
  readonly #ask: AskRoute;
  /** One far end per place. Addresses are WORDS words, IPv4 ones with three zeros; family 0: nobody's. */
  readonly #addresses: Int32Array;
  readonly #families: Uint8Array;
  readonly #mtus: Int32Array;
  readonly #locals: (Uint8Array<ArrayBuffer> | undefined)[];
  readonly #askedMs: Float64Array;
  /** In which generation it was asked for; earlier ones are forgotten. */
  readonly #generations: Int32Array;
  #generation = 0;

  /**
   * `places`: a power of 2; of more far ends than that, some are asked for again and again. `mark`: skb_mark of outer
   * packets.
   */
  constructor(places: number, mark: number, ask: AskRoute = routeTo) {
    this.#places = places;
    this.#ways = Math.min(WAYS_MAX, places);
    this.#mark = mark;
    this.#ask = ask;
    this.#addresses = new Int32Array(places * WORDS);
    this.#families = new Uint8Array(places);
    this.#mtus = new Int32Array(places);
    this.#locals = new Array(places).fill(undefined);
    this.#askedMs = new Float64Array(places).fill(-Infinity);
    this.#generations = new Int32Array(places);
  }

  /** Sets `mtu` and `local` to those of the way to `remote`: the view's first 4 or 16 bytes. Allocates only when it asks the host. */
  find(family: Family, remote: DataView, nowMs: number): void {
    const isV4 = family === 4;
    const a = remote.getInt32(0);
    const b = isV4 ? 0 : remote.getInt32(4);
    const c = isV4 ? 0 : remote.getInt32(8);
    const d = isV4 ? 0 : remote.getInt32(12);
    let hash = Math.imul(a ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(d, 0xc2b2ae35) ^ c, 0x9e3779b1);
    hash ^= hash >>> 15;
    const addresses = this.#addresses;
    const from = hash & (this.#places - 1) & -this.#ways;
    const end = from + this.#ways;
    let place = -1;
    let oldest = from;
    for (let at = from; at < end; at++) {
      const word = at * WORDS;
      if (
        addresses[word] === a && this.#families[at] === family && addresses[word + 1] === b &&
        addresses[word + 2] === c && addresses[word + 3] === d
      ) {
        place = at;
        break;
      }
      if (this.#askedMs[at]! < this.#askedMs[oldest]!) oldest = at;
    }
    const isFresh = place >= 0 && this.#generations[place] === this.#generation &&
      nowMs - this.#askedMs[place]! <= AGE_MAX_MS;
    if (!isFresh) {
      if (place < 0) place = oldest;
      const at = place * WORDS;
      this.#families[place] = family;
      addresses[at] = a;
      addresses[at + 1] = b;
      addresses[at + 2] = c;
      addresses[at + 3] = d;
      this.#generations[place] = this.#generation;
      this.#askedMs[place] = nowMs;
      const size = isV4 ? 4 : 16;
      const address = new Uint8Array(remote.buffer, remote.byteOffset, size).slice();
      const route = this.#ask(address, this.#mark);
      this.#mtus[place] = route?.mtu ?? MTU_DEFAULT;
      this.#locals[place] = route?.local;
    }
    this.mtu = this.#mtus[place]!;
    this.local = this.#locals[place];
  }

  /** The kernel knows better of some way: all are asked for again. */
  forget(): void {
    this.#generation = (this.#generation + 1) | 0;
  }
}
