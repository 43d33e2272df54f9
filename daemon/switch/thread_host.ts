/** What a packet thread offers to the ports of one datapath: the {@link VportHost}. */
import type { DropReason } from "../../datapath/drop_reasons.ts";
import type { Packet } from "../../datapath/packet/packet.ts";
import type { Pipeline } from "../../datapath/pipeline.ts";
import type { VportHost } from "../../vports/vport.ts";
import type { SwitchClock } from "./clock.ts";
import type { PacketLoop } from "./packet_loop.ts";

/** Things that ports share on one thread, over all datapaths. */
export class SharedThings {
  readonly #things: Map<string, { thing: { close(): void }; users: number }> = new Map();

  share<T extends { close(): void }>(name: string, make: () => T): T {
    const known = this.#things.get(name);
    if (known !== undefined) {
      known.users++;
      return known.thing as T;
    }
    const thing = make();
    this.#things.set(name, { thing, users: 1 });
    return thing;
  }

  unshare(name: string): void {
    const known = this.#things.get(name);
    if (known === undefined) return;
    known.users--;
    if (known.users > 0) return;
    this.#things.delete(name);
    known.thing.close();
  }
}

export interface ThreadHostOptions {
  readonly loop: PacketLoop;
  readonly pipeline: Pipeline;
  readonly shared: SharedThings;
  readonly clock: SwitchClock;
}

export class ThreadHost implements VportHost {
  readonly #loop: PacketLoop;
  readonly #pipeline: Pipeline;
  readonly #shared: SharedThings;
  readonly #clock: SwitchClock;

  constructor(options: ThreadHostOptions) {
    this.#loop = options.loop;
    this.#pipeline = options.pipeline;
    this.#shared = options.shared;
    this.#clock = options.clock;
  }

  share<T extends { close(): void }>(name: string, make: () => T): T {
    return this.#shared.share(name, make);
  }

  unshare(name: string): void {
    this.#shared.unshare(name);
  }

  allocate(): Packet | undefined {
    return this.#loop.allocateForReceiver();
  }

  recycle(packet: Packet): void {
    this.#loop.recycle(packet);
  }

  receive(portNo: number, packet: Packet): void {
    this.#loop.receive(this.#pipeline, portNo, packet);
  }

  countRxDrop(portNo: number, reason: DropReason, count?: number): void {
    this.#pipeline.countRxDrop(portNo, reason, count);
  }

  countTxDrop(portNo: number, reason: DropReason, size: number): void {
    this.#pipeline.countTxDrop(portNo, reason, size);
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  wallUs(): number {
    return this.#clock.wallUs();
  }
}
