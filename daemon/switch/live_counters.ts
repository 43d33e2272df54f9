/** Counters of a datapath and its ports, a block for each packet thread, summed in the control isolate. */
import {
  CONSUMED,
  COPIED,
  DROPPED,
  DROPS,
  dropsByName,
  GENERATED,
  HELD,
  HIT,
  LOST,
  makeDatapathBlock,
  makePortBlocks,
  MISSED,
  PORT_DROPS,
  RECEIVED,
  RX_BYTES,
  RX_DROPPED,
  RX_PACKETS,
  SENT,
  sumDatapath,
  sumPort,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
  UPCALL_ERRORS,
  UPCALL_PACKETS,
} from "../../datapath/counters.ts";
import { dropReason } from "../../datapath/drop_reasons.ts";
import type { DatapathCounters, PortCounters } from "../api.ts";

type Block = BigUint64Array<SharedArrayBuffer>;

export class LiveCounters {
  readonly #datapath: readonly Block[];
  readonly #ports: readonly Block[];

  constructor(threads: number) {
    this.#datapath = Array.from({ length: threads }, () => new BigUint64Array(makeDatapathBlock()));
    this.#ports = Array.from({ length: threads }, () => new BigUint64Array(makePortBlocks()));
  }

  /** Memory of one thread, which alone writes it. */
  blocks(
    thread: number,
  ): { readonly datapath: SharedArrayBuffer; readonly ports: SharedArrayBuffer } {
    return { datapath: this.#datapath[thread]!.buffer, ports: this.#ports[thread]!.buffer };
  }

  /** Whether fragments wait for others. */
  get holdsPackets(): boolean {
    return this.#datapath.some((block) => block[HELD] !== 0n);
  }

  /** Consistent when the threads are quiescent. `lookups`: what the flow table has counted. */
  datapath(lookups: Pick<DatapathCounters, "maskHit" | "cacheHit">): DatapathCounters {
    const sums = sumDatapath(this.#datapath);
    const at = (index: number): number => sums[index] ?? 0;
    return {
      hit: at(HIT),
      missed: at(MISSED),
      lost: at(LOST),
      ...lookups,
      received: at(RECEIVED),
      generated: at(GENERATED),
      copied: at(COPIED),
      sent: at(SENT),
      dropped: at(DROPPED),
      consumed: at(CONSUMED),
      held: at(HELD),
      drops: dropsByName(sums, DROPS) as Record<string, number>,
    };
  }

  /** All that a port number has ever counted: a baseline for the next port that has it. */
  portSums(portNo: number): readonly number[] {
    return sumPort(this.#ports, portNo);
  }

  /** What has been counted since `baseline`; absent: nothing. */
  port(portNo: number, baseline: readonly number[] = this.portSums(portNo)): PortCounters {
    const sums = sumPort(this.#ports, portNo, baseline);
    const at = (index: number): number => sums[index] ?? 0;
    return {
      rxPackets: at(RX_PACKETS),
      rxBytes: at(RX_BYTES),
      rxDropped: at(RX_DROPPED),
      txPackets: at(TX_PACKETS),
      txBytes: at(TX_BYTES),
      txDropped: at(TX_DROPPED),
      upcalls: at(UPCALL_PACKETS),
      upcallErrors: at(UPCALL_ERRORS),
      drops: dropsByName(sums, PORT_DROPS) as Record<string, number>,
    };
  }

  /** Packets that an abandoned thread had in hand or held are lost: they count as dropped at the port that failed. */
  writeOff(thread: number): void {
    const block = this.#datapath[thread]!;
    block[HELD] = 0n;
    const lost = block[RECEIVED]! + block[GENERATED]! + block[COPIED]! - block[SENT]! -
      block[DROPPED]! - block[CONSUMED]!;
    if (lost <= 0n) return;
    block[DROPPED]! += lost;
    block[DROPS + dropReason("vport-failed")]! += lost;
  }
}
