/** Who looks on at a datapath's packet threads (datapath/observer.ts), as the control isolate keeps it. */
import type { ObserverSpec } from "./messages.ts";
import type { ThreadLink, TracedPacket } from "./thread_link.ts";

/** What a packet thread is to have of an observer, and who is told of its traces. */
interface Entry {
  readonly specOf: (thread: number) => ObserverSpec;
  readonly traced: (traced: TracedPacket) => void;
}

export class Observers {
  readonly #datapath: number;
  readonly #links: readonly ThreadLink[];
  readonly #entries: Map<number, Entry> = new Map();
  #nextId = 1;

  /** `links`: one per packet thread; it may change in place. */
  constructor(datapath: number, links: readonly ThreadLink[]) {
    this.#datapath = datapath;
    this.#links = links;
  }

  /** Packet threads. */
  get threads(): number {
    return this.#links.length;
  }

  /**
   * Somebody looks on at every packet thread, until what is returned is called: `specOf` says how on
   * each, and again on the successor of one that hung; `traced` is told of traces. Throws ThreadError.
   */
  async add(
    specOf: (thread: number) => ObserverSpec,
    traced: (traced: TracedPacket) => void = () => {},
  ): Promise<() => Promise<void>> {
    const id = this.#nextId++;
    this.#entries.set(id, { specOf, traced });
    const datapath = this.#datapath;
    const asked = this.#links.map((link, at) =>
      link.request("observe", { datapath, id, observer: specOf(at) })
    );
    const end = async (): Promise<void> => {
      this.#entries.delete(id);
      await Promise.allSettled(
        this.#links.map((link) => link.request("unobserve", { datapath, id })),
      );
    };
    try {
      await Promise.all(asked);
    } catch (error) {
      await Promise.allSettled(asked);
      await end();
      throw error;
    }
    return end;
  }

  /** A new packet thread gets what all have. */
  async join(link: ThreadLink, at: number): Promise<void> {
    const datapath = this.#datapath;
    await Promise.all(
      [...this.#entries].map(([id, { specOf }]) =>
        link.request("observe", { datapath, id, observer: specOf(at) })
      ),
    );
  }

  /** A packet thread has a trace for an observer. */
  traced(traced: TracedPacket): void {
    this.#entries.get(traced.id)?.traced(traced);
  }
}
