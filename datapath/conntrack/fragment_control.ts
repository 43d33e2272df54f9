/**
 * What a datapath's user may say about the reassembly of fragments (`ipf-*` of Open vSwitch), and what
 * he may know: settings that the control isolate writes and packet threads read, and counters that
 * each thread writes and the control isolate adds up. A fragment that is refused goes on as invalid,
 * as in Open vSwitch; the kernel, whose defaults are ours, refuses none.
 */
import {
  type ConntrackBuffers,
  FRAGMENT_SIZE_MIN,
  FRAGMENTS_LIMIT,
  FRAGMENTS_OFF,
  STAT_STRIDE,
} from "./layout.ts";
import { STAT_FRAGMENTS } from "./stats.ts";

/** Settings. */
export interface FragmentSettings {
  /** Fragments of IPv4 are put together. */
  readonly ipv4: boolean;
  /** Fragments of IPv6 are put together. */
  readonly ipv6: boolean;
  /** Bytes from L3 on that a fragment of IPv4 must have if it is not the last; 0: any. */
  readonly sizeMinIpv4: number;
  /** The same of IPv6. */
  readonly sizeMinIpv6: number;
  /** Most fragments that wait in all threads; 0: as many as there is memory for. */
  readonly countMax: number;
}

/** As in the kernel. */
export const FRAGMENTS_DEFAULT: FragmentSettings = {
  ipv4: true,
  ipv6: true,
  sizeMinIpv4: 0,
  sizeMinIpv6: 0,
  countMax: 0,
};

/** What a setting can be at most. */
export const FRAGMENT_SIZE_MIN_MAX = 65535;
export const FRAGMENT_COUNT_MAX = 65535;

/** Counters of each IP version, in the order of their positions. */
export const FRAGMENT_COUNTERS = [
  "accepted",
  "completed",
  "expired",
  "tooSmall",
  "overlapped",
  "purged",
] as const;
/** Name of one of {@link FRAGMENT_COUNTERS}. */
export type FragmentCounter = typeof FRAGMENT_COUNTERS[number];

const ACCEPTED = 0;
const COMPLETED = 1;
const EXPIRED = 2;
const TOO_SMALL = 3;
const OVERLAPPED = 4;
const PURGED = 5;

/** How reassembly does. */
export interface FragmentStatus extends FragmentSettings {
  /** Fragments that wait. */
  readonly held: number;
  /** Fragments of IPv4 so far. */
  readonly countersIpv4: Readonly<Record<FragmentCounter, number>>;
  /** Fragments of IPv6 so far. */
  readonly countersIpv6: Readonly<Record<FragmentCounter, number>>;
}

/** Writes the settings. */
export function setFragments(buffers: ConntrackBuffers, settings: FragmentSettings): void {
  const control = new Int32Array(buffers.control);
  Atomics.store(control, FRAGMENTS_OFF, (settings.ipv4 ? 0 : 1) | (settings.ipv6 ? 0 : 2));
  Atomics.store(control, FRAGMENT_SIZE_MIN, settings.sizeMinIpv4);
  Atomics.store(control, FRAGMENT_SIZE_MIN + 1, settings.sizeMinIpv6);
  Atomics.store(control, FRAGMENTS_LIMIT, settings.countMax);
}

/** Says on behalf of a thread that is gone that no fragments wait in it any more. */
export function loseFragments(buffers: ConntrackBuffers, thread: number): void {
  new Float64Array(buffers.stats)[thread * STAT_STRIDE + STAT_FRAGMENTS] = 0;
}

/** Reads settings and counters. */
export function fragmentStatus(buffers: ConntrackBuffers): FragmentStatus {
  const control = new Int32Array(buffers.control);
  const stats = new Float64Array(buffers.stats);
  const total = (stat: number): number => {
    let sum = 0;
    for (let at = STAT_FRAGMENTS + stat; at < stats.length; at += STAT_STRIDE) sum += stats[at]!;
    return sum;
  };
  const counters = (family: number): Record<FragmentCounter, number> =>
    Object.fromEntries(
      FRAGMENT_COUNTERS.map((name, at) => [name, total(1 + at * 2 + family)]),
    ) as Record<FragmentCounter, number>;
  return {
    ipv4: (control[FRAGMENTS_OFF]! & 1) === 0,
    ipv6: (control[FRAGMENTS_OFF]! & 2) === 0,
    sizeMinIpv4: control[FRAGMENT_SIZE_MIN]!,
    sizeMinIpv6: control[FRAGMENT_SIZE_MIN + 1]!,
    countMax: control[FRAGMENTS_LIMIT]!,
    held: total(0),
    countersIpv4: counters(0),
    countersIpv6: counters(1),
  };
}

/** A packet thread's part. */
export class FragmentControl {
  readonly #control: Int32Array;
  readonly #stats: Float64Array;
  readonly #at: number;

  constructor(buffers: ConntrackBuffers, thread: number) {
    this.#control = new Int32Array(buffers.control);
    this.#stats = new Float64Array(buffers.stats);
    this.#at = thread * STAT_STRIDE + STAT_FRAGMENTS;
  }

  /** Whether a fragment of `size` bytes from L3 on is not to be put together; counts one that is too small. */
  refuses(isIpv4: boolean, size: number, isLast: boolean): boolean {
    const control = this.#control;
    if ((control[FRAGMENTS_OFF]! & (isIpv4 ? 1 : 2)) !== 0) return true;
    if (!isLast && size < control[FRAGMENT_SIZE_MIN + (isIpv4 ? 0 : 1)]!) {
      this.#count(TOO_SMALL, isIpv4, 1);
      return true;
    }
    const limit = control[FRAGMENTS_LIMIT]!;
    return limit !== 0 && this.#held() >= limit;
  }

  accepted(isIpv4: boolean): void {
    this.#count(ACCEPTED, isIpv4, 1);
    this.#stats[this.#at] = this.#stats[this.#at]! + 1;
  }

  completed(isIpv4: boolean, fragments: number): void {
    this.#count(COMPLETED, isIpv4, fragments);
    this.#stats[this.#at] = this.#stats[this.#at]! - fragments;
  }

  overlapped(isIpv4: boolean): void {
    this.#count(OVERLAPPED, isIpv4, 1);
  }

  /** Fragments that waited are given up: their time was over, or there was no room for them. */
  givenUp(isIpv4: boolean, fragments: number, isExpired: boolean): void {
    this.#count(isExpired ? EXPIRED : PURGED, isIpv4, fragments);
    this.#stats[this.#at] = this.#stats[this.#at]! - fragments;
  }

  /** Fragments that wait in all threads. */
  #held(): number {
    let sum = 0;
    for (let at = STAT_FRAGMENTS; at < this.#stats.length; at += STAT_STRIDE) {
      sum += this.#stats[at]!;
    }
    return sum;
  }

  #count(counter: number, isIpv4: boolean, fragments: number): void {
    const at = this.#at + 1 + counter * 2 + (isIpv4 ? 0 : 1);
    this.#stats[at] = this.#stats[at]! + fragments;
  }
}
