/**
 * What is done to a datapath with connection tracking, in a form that a kernel in a virtual machine
 * (kernel_ct_guest.ts) and ours (kernel_ct_ours.ts) understand, and what both say of it.
 */

/** A frame that a port receives. */
export interface FrameStep {
  /** 1 … 3. */
  readonly port: number;
  /** From the Ethernet header on, hexadecimal. */
  readonly frame: string;
}

/** The last whole frame (no fragment) that left by a port comes back there, with its addresses and ports exchanged. */
export interface ReflectStep {
  readonly reflect: number;
}

/** Time passes: for the kernel really, which has shorter timeouts set (see `sysctls`). */
export interface WaitStep {
  readonly waitMs: number;
  /** For us; default the same. */
  readonly oursMs?: number;
}

/** Other flows. */
export interface FlowsStep {
  readonly flows: readonly CtFlow[];
}

/** Limits of connections by zone, −1: of all that have none. */
export interface LimitStep {
  readonly limits: readonly { readonly zone: number; readonly limit: number }[];
}

export type CtStep = FrameStep | ReflectStep | WaitStep | FlowsStep | LimitStep;

/** Flow and actions as text; `userspace(pid=1)` shows what is known of a packet. */
export type CtFlow = readonly [flow: string, actions: string];

export interface CtScenario {
  readonly name: string;
  readonly flows: readonly CtFlow[];
  readonly steps: readonly CtStep[];
  /** Files below /proc/sys of the kernel's side. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** What is chosen at random, an address or a port of a range, is taken out of an event by this; not for machines. */
  readonly chosen?: (event: string) => string;
}

/** What came of a scenario. */
export interface CtOutcome {
  /**
   * For each step: `up KEY mru=N PACKET` for what userspace is shown, then `PORT: FRAME` for what left,
   * ports in order; for a step of limits or flows what went wrong.
   */
  readonly events: readonly (readonly string[])[];
  /** Connections at the end, lines of `dump-conntrack -m -s`. */
  readonly connections: readonly string[];
  /** When each step was done, and at last the dump: ms since the scenario began. */
  readonly timesMs: readonly number[];
}

/** Ports that there are. */
export const CT_PORTS: readonly number[] = [1, 2, 3];
/** MTU of each. */
export const CT_MTU = 1500;

/** Whether a frame is no fragment. */
export function isWhole(frame: Uint8Array): boolean {
  const isIpv4 = frame[12] === 0x08;
  return isIpv4 ? ((frame[20]! << 8 | frame[21]!) & 0x3fff) === 0 : frame[20] !== 44;
}

/** A frame with source and destination exchanged: addresses of Ethernet and IP, and ports. Sums stay right. */
export function reflected(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = Uint8Array.from(frame);
  const swap = (at: number, size: number): void => {
    if (at + 2 * size > bytes.length) return;
    const first = bytes.slice(at, at + size);
    bytes.copyWithin(at, at + size, at + 2 * size);
    bytes.set(first, at + size);
  };
  swap(0, 6);
  const isIpv4 = bytes[12] === 0x08;
  swap(isIpv4 ? 26 : 22, isIpv4 ? 4 : 16);
  const protocol = bytes[isIpv4 ? 23 : 20];
  if (protocol === 6 || protocol === 17) swap(isIpv4 ? 34 : 54, 2);
  return bytes;
}
