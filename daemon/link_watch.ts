/** Hears of changes to network devices, and knows their addresses. */
import { LinkEvents, Rtnetlink } from "../netdev/rtnetlink.ts";
import type { Logger } from "./log.ts";

/** How often events are read: one system call that returns at once. */
const INTERVAL_MS = 100;

export class LinkWatch {
  readonly #events: LinkEvents | undefined;
  readonly #requests: Rtnetlink | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Without rtnetlink (a strict sandbox) it hears nothing and goes on. */
  constructor(log: Logger, onChange: () => void) {
    try {
      this.#requests = new Rtnetlink();
      this.#events = new LinkEvents();
    } catch (error) {
      log.warn(`no news of devices: ${error instanceof Error ? error.message : error}`);
      return;
    }
    const events = this.#events;
    this.#timer = setInterval(() => {
      try {
        if (events.read().length > 0) onChange();
      } catch (error) {
        log.warn(`no more news of devices: ${error instanceof Error ? error.message : error}`);
        clearInterval(this.#timer);
      }
    }, INTERVAL_MS);
  }

  /** MAC of a device in our network namespace; undefined: there is none. */
  macOf(device: string): string | undefined {
    try {
      return this.#requests?.linkByName(device)?.mac;
    } catch {
      return undefined;
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#events?.close();
    this.#requests?.close();
  }
}
