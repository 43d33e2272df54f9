/**
 * A port on a packet thread: stands between the pipeline and a {@link Vport}, so that an exception in
 * a plug-in's callback takes that port down and nothing else.
 */
import { DROP_REASONS, type DropReason, dropReason } from "../../datapath/drop_reasons.ts";
import type { Packet } from "../../datapath/packet/packet.ts";
import type { OutputPort } from "../../datapath/pipeline.ts";
import type { Vport } from "../../vports/vport.ts";
import {
  ABANDONED,
  AbandonedError,
  ENTERED,
  INSIDE_DATAPATH,
  INSIDE_PORT,
  STOP,
} from "./messages.ts";

const VPORT_FAILED = dropReason("vport-failed");

/** Where a failed port is reported. */
export interface FailureSink {
  /** The shared words of the thread (messages.ts). */
  readonly words: Int32Array;
  portFailed(port: ThreadPort, thrown: unknown): void;
}

export class ThreadPort implements OutputPort {
  readonly datapath: number;
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly takesL3Packets: boolean;
  readonly headroom: number;
  /** See OutputPort; changes as the device's does. Undefined: not known. */
  mtu: number | undefined;
  readonly vport: Vport;
  readonly #sink: FailureSink;
  readonly #words: Int32Array;
  #failed = false;
  /** Its Vport is closed: nothing of it may be called. */
  closed = false;

  /** `headroom`: the type's (VportOps.headroom), absent 0. */
  constructor(
    address: { datapath: number; portNo: number; headroom?: number | undefined },
    vport: Vport,
    sink: FailureSink,
  ) {
    this.datapath = address.datapath;
    this.portNo = address.portNo;
    this.headroom = address.headroom ?? 0;
    this.mtu = undefined;
    this.vport = vport;
    this.takesPartialChecksums = vport.takesPartialChecksums;
    this.takesSegmentTrains = vport.takesSegmentTrains;
    this.takesL3Packets = vport.takesL3Packets === true;
    this.#sink = sink;
    this.#words = sink.words;
  }

  get failed(): boolean {
    return this.#failed;
  }

  send(packet: Packet): DropReason {
    if (this.#failed) return VPORT_FAILED;
    this.enter();
    let reason: DropReason;
    try {
      reason = this.vport.send(packet, packet.hasEgress ? packet.metadata().egress : undefined);
    } catch (thrown) {
      this.fail(thrown);
      reason = VPORT_FAILED;
    }
    this.leave();
    if (reason === 0) return 0;
    return reason > 0 && reason < DROP_REASONS.length ? reason : this.#sentNonsense(reason);
  }

  #sentNonsense(reason: unknown): DropReason {
    this.fail(new TypeError(`send returned ${String(reason)} (wanted: a drop reason, 0 for none)`));
    return VPORT_FAILED;
  }

  /** After a callback. Throws AbandonedError in a thread that came back too late: nobody may catch it but who runs the thread. */
  leave(): void {
    if (this.#words[STOP] === ABANDONED) throw new AbandonedError();
  }

  /** Notes whose code runs now, for the supervisor that looks at threads which don't come back. */
  enter(): void {
    this.#words[INSIDE_DATAPATH] = this.datapath;
    this.#words[INSIDE_PORT] = this.portNo;
    this.#words[ENTERED] = (this.#words[ENTERED]! + 1) | 0;
  }

  /** From now on every packet to the port is dropped as `vport-failed`. Reports it once. */
  fail(thrown: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#sink.portFailed(this, thrown);
  }

  /** Failed elsewhere: no report. */
  markFailed(): void {
    this.#failed = true;
  }
}
