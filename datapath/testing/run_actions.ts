/** Runs action lists, given as data, on packets: with two ports, and a flow table for recirculation if asked. */
import assert from "node:assert/strict";
import { encodeActions } from "../actions/action_program.ts";
import type { Action, SetAction } from "../actions/actions.ts";
import { makePortBlocks } from "../counters.ts";
import type { ActionServices } from "../actions/execute.ts";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import type { PacketObserver } from "../observer.ts";
import type { Packet } from "../packet/packet.ts";
import { packetOf } from "./frames.ts";
import { NO_SERVICES, RecordingPort, type Sent, TestOutputs } from "./ports.ts";

export interface RunOptions {
  /** Ports 1 and 2; others are absent. */
  readonly ports?: readonly RecordingPort[];
  /** Packet buffers; default 16. */
  readonly slots?: number;
  readonly services?: Partial<ActionServices>;
  /** Actions of flows for packets that recirculate, by recirculation id unless `find` says otherwise. */
  readonly flows?: Readonly<Record<number, readonly Action[]>>;
  /** Which of the flows a key belongs to; any other number: none. */
  readonly find?: (key: Int32Array) => number;
  /** Default 9. */
  readonly inPort?: number;
  /** Told of drops and samples. */
  readonly observer?: PacketObserver;
}

export interface Ran {
  readonly test: TestOutputs;
  readonly ports: readonly RecordingPort[];
  /** What the ports were sent: frames in hexadecimal. */
  readonly frames: string[];
  readonly sent: Sent[];
}

/** Of all runs: to make these is slower than all the rest. */
const PORT_COUNTERS = new BigUint64Array(makePortBlocks());

/** Runs a list on a packet, and checks the accounts, the lent bytes, and that all buffers came back. */
export function runActions(
  packet: Packet,
  actions: readonly Action[],
  options: RunOptions = {},
): Ran {
  const ports = options.ports ?? [new RecordingPort(1), new RecordingPort(2)];
  const program = programWithFlows(actions, options.flows ?? {});
  const services: ActionServices = {
    ...NO_SERVICES,
    upcall: ({ inPort }) => test.accounts.dropped(inPort, NO_FLOW),
    recirculate: (recirculated) => {
      const key = new Int32Array(KEY_WORDS);
      extractKey(recirculated, key, 0);
      const at = program.flows.get(options.find?.(key) ?? recirculated.recircId);
      if (at === undefined) test.accounts.dropped(recirculated.inPort, NO_FLOW);
      return at ?? -1;
    },
    ...options.services,
  };
  const test: TestOutputs = new TestOutputs(ports, options.slots ?? 16, services, PORT_COUNTERS);
  test.accounts.observer = options.observer;
  packet.inPort = options.inPort ?? 9;
  test.accounts.received(packet.inPort, packet.size);
  extractKey(packet, new Int32Array(KEY_WORDS), 0);
  test.execute(packet, program.words, 0);
  for (const port of ports) port.assertIntact(test.host.round);
  test.host.flush();
  assert.equal(test.host.pool.freeCount, test.host.slots, "packets are recycled");
  const sent = ports.flatMap((port) => port.sent);
  return { test, ports, sent, frames: sent.map(({ frame }) => frame.toHex()) };
}

/** Index of no-upcall-handler. */
const NO_FLOW = 2;

function programWithFlows(
  actions: readonly Action[],
  flows: Readonly<Record<number, readonly Action[]>>,
): { words: Int32Array; flows: Map<number, number> } {
  const words = [...encodeActions(actions)];
  const places = new Map<number, number>();
  for (const [id, list] of Object.entries(flows)) {
    places.set(Number(id), words.length);
    words.push(...encodeActions(list));
  }
  return { words: Int32Array.from(words), flows: places };
}

/** The one frame that port 1 is sent when a list and an output to it run on a frame, in hexadecimal. */
export function frameAfter(frame: Uint8Array, ...actions: readonly Action[]): string {
  const { test, frames } = runActions(packetOf(frame), [...actions, out(1)]);
  assert.equal(frames.length, 1, JSON.stringify(test.drops()));
  return frames[0]!;
}

/** What is dropped when a list and an output run on a frame. */
export function dropsAfter(frame: Uint8Array, ...actions: readonly Action[]): unknown {
  const { test, frames } = runActions(packetOf(frame), [...actions, out(1)]);
  assert.deepEqual(frames, []);
  return test.drops();
}

export function out(port: number): Action {
  return { type: "output", port };
}

/** A set action of bytes of the key: [offset, value, mask (default all ones)]. */
export function setBytes(
  attribute: string,
  ...fields: readonly (readonly [number, string, string?])[]
): SetAction {
  const value = new Uint8Array(KEY_WORDS * 4);
  const mask = new Uint8Array(KEY_WORDS * 4);
  for (const [at, hex, maskHex] of fields) {
    mask.set(Uint8Array.fromHex(maskHex ?? "f".repeat(hex.length)), at);
    value.set(Uint8Array.fromHex(hex).map((byte, index) => byte & mask[at + index]!), at);
  }
  return {
    type: "set",
    attribute,
    value: new Int32Array(value.buffer),
    mask: new Int32Array(mask.buffer),
  };
}
