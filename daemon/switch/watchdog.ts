/**
 * Watches the packet threads' heartbeats: one that stays in the same place for {@link HANG_MS} is
 * stuck in somebody's code.
 *
 * Time is counted in looks, not by a clock: when the whole process was stopped (a debugger, a
 * suspended machine), the threads have had no more time than the watchdog.
 */
import type { ThreadLink } from "./thread_link.ts";

/** How often {@link Watchdog.look} is to be called. */
export const LOOK_MS = 100;
/** A thread that is in one callback for so long hangs. */
export const HANG_MS = 2000;

interface Pulse {
  heartbeat: number;
  looks: number;
}

export class Watchdog {
  readonly #pulses: WeakMap<ThreadLink, Pulse> = new WeakMap();

  /** Whether the thread hangs; true once, at the look at which it is found to. */
  look(link: ThreadLink): boolean {
    const { heartbeat } = link;
    const pulse = this.#pulses.get(link);
    if (pulse === undefined || pulse.heartbeat !== heartbeat || !link.running) {
      this.#pulses.set(link, { heartbeat, looks: 0 });
      return false;
    }
    return ++pulse.looks === HANG_MS / LOOK_MS;
  }
}
