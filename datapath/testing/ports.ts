/**
 * Surroundings of a pipeline for tests: a host over a small pool, ports that keep copies of what they
 * are sent, action programs, and the accounts checked.
 */
import assert from "node:assert/strict";
import { Accounts } from "../accounting.ts";
import { DROP, END, OUTPUT, POP_VLAN, PUSH_VLAN, SET_MASKED } from "../actions/action_program.ts";
import {
  DATAPATH_BLOCK_LENGTH,
  DROPS,
  dropsByName,
  makePortBlocks,
  sumDatapath,
  sumPort,
} from "../counters.ts";
import type { DropReason, DropReasonName } from "../drop_reasons.ts";
import { type ActionServices, Executor } from "../actions/execute.ts";
import { KEY_WORDS } from "../key.ts";
import { type OutputPort, Outputs, type PipelineHost } from "../output.ts";
import type { Packet } from "../packet/packet.ts";
import { PacketPool, SLOT_SIZE } from "../packet/packet_pool.ts";
import { assertBalanced, totalsOf } from "./balance.ts";
import { frameOf } from "./frames.ts";

/** A host as the switch's: pool and round. */
export class TestHost implements PipelineHost {
  readonly pool: PacketPool;
  readonly slots: number;
  round = 0;

  constructor(slots = 64) {
    this.slots = slots;
    this.pool = new PacketPool(new ArrayBuffer(slots * SLOT_SIZE), 0, slots);
  }

  allocate(): Packet | undefined {
    return this.pool.allocate();
  }

  recycle(packet: Packet): void {
    if (packet.lentInRound === this.round) this.pool.retire(packet);
    else this.pool.free(packet);
  }

  flush(): void {
    this.round++;
    this.pool.endRound();
  }
}

/** What a port was sent: the frame at the time of sending, and where it lies still. */
export interface Sent {
  readonly frame: Uint8Array<ArrayBuffer>;
  readonly packet: Packet;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly needsCsum: boolean;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly priority: number;
  readonly mark: number;
  readonly round: number;
}

/** A port that keeps copies of all it is sent. */
export class RecordingPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly takesL3Packets: boolean;
  readonly mtu: number | undefined;
  /** What `send` answers. */
  answer: DropReason = 0;
  readonly sent: Sent[] = [];

  constructor(
    portNo: number,
    takes: { partial?: boolean; trains?: boolean; l3?: boolean; mtu?: number } = {},
  ) {
    this.portNo = portNo;
    this.takesL3Packets = takes.l3 ?? false;
    this.mtu = takes.mtu;
    this.takesPartialChecksums = takes.partial ?? true;
    this.takesSegmentTrains = takes.trains ?? true;
  }

  send(packet: Packet): DropReason {
    if (this.answer !== 0) return this.answer;
    const { bytes, start, needsCsum, csumStart, csumOffset, gsoType, gsoSize, priority, mark } =
      packet;
    this.sent.push({
      frame: frameOf(packet),
      packet,
      bytes,
      start,
      needsCsum,
      csumStart,
      csumOffset,
      gsoType,
      gsoSize,
      priority,
      mark,
      round: packet.lentInRound,
    });
    return 0;
  }

  /** Fails if bytes that were sent in the round have changed since. Call before its flush. */
  assertIntact(round: number): void {
    for (const { frame, bytes, start, round: sentIn } of this.sent) {
      if (sentIn !== round) continue;
      assert.deepEqual(bytes.slice(start, start + frame.length), frame, "lent bytes have changed");
    }
  }
}

/** No flow for what recirculates, no meters, and samples taken. */
export const NO_SERVICES: ActionServices = {
  recirculate: () => assert.fail("there is no flow table here"),
  isOverRate: () => false,
  upcall: () => assert.fail("nobody takes upcalls here"),
  random: () => 0,
  conntrack: undefined,
};

/** Outputs with accounts over a test host, a few ports, and what runs action lists. */
export class TestOutputs {
  readonly host: TestHost;
  readonly counters: BigUint64Array = new BigUint64Array(DATAPATH_BLOCK_LENGTH);
  readonly portCounters: BigUint64Array;
  readonly accounts: Accounts;
  readonly outputs: Outputs;

  readonly #executor: Executor;

  constructor(
    ports: readonly OutputPort[],
    slots?: number,
    services: Partial<ActionServices> = {},
    portCounters: BigUint64Array = new BigUint64Array(makePortBlocks()),
  ) {
    this.portCounters = portCounters;
    this.accounts = new Accounts(this.counters, portCounters);
    this.host = new TestHost(slots);
    this.outputs = new Outputs(this.host, this.accounts);
    this.#executor = new Executor(this.outputs, this.accounts, { ...NO_SERVICES, ...services });
    for (const port of ports) this.outputs.setPort(port.portNo, port);
  }

  /** Runs a program on a packet that was counted as received and whose key was extracted; checks the accounts. */
  execute(packet: Packet, words: Int32Array, at = 0): void {
    this.#executor.execute(packet, words, at);
    this.accounts.settle();
    assertBalanced(totalsOf([this.counters]));
  }

  /** Sum of a datapath counter. */
  count(index: number): number {
    this.accounts.settle();
    return sumDatapath([this.counters])[index]!;
  }

  /** Sum of a port's counter. */
  portCount(portNo: number, index: number): number {
    this.accounts.settle();
    return sumPort([this.portCounters], portNo)[index]!;
  }

  drops(): Partial<Record<DropReasonName, number>> {
    return dropsByName(sumDatapath([this.counters]), DROPS);
  }
}

/** Pieces of programs; {@link program} joins them. */
export function output(portNo: number): number[] {
  return [OUTPUT | 2 << 8, portNo];
}

export function drop(reason = 0): number[] {
  return [DROP | 2 << 8, reason];
}

export function pushVlan(tag: number): number[] {
  return [PUSH_VLAN | 2 << 8, tag];
}

export function popVlan(): number[] {
  return [POP_VLAN | 1 << 8];
}

/** Sets bytes of a key: [offset in the key, value bytes, mask bytes (default all ones)]. */
export type KeyBytes = readonly [number, readonly number[], (readonly number[])?];

/** SET_MASKED of one header. */
export function set(header: number, ...fields: readonly KeyBytes[]): number[] {
  const values = new Uint8Array(KEY_WORDS * 4);
  const masks = new Uint8Array(KEY_WORDS * 4);
  for (const [at, value, mask] of fields) {
    masks.set(mask ?? value.map(() => 255), at);
    value.forEach((byte, index) => values[at + index] = byte & masks[at + index]!);
  }
  const valueWords = new Int32Array(values.buffer);
  const maskWords = new Int32Array(masks.buffer);
  const from = maskWords.findIndex((word) => word !== 0);
  const to = maskWords.findLastIndex((word) => word !== 0) + 1;
  const count = to - from;
  return [
    SET_MASKED | (4 + 2 * count) << 8,
    header,
    from,
    count,
    ...valueWords.slice(from, to),
    ...maskWords.slice(from, to),
  ];
}

export function program(...pieces: readonly number[][]): Int32Array {
  return Int32Array.from([...pieces.flat(), END | 1 << 8]);
}
