/**
 * The conformance suite of the vport contract (vports/vport.ts): what every type must do, ours and
 * third parties'. Plug-in authors call {@link testVportContract} in a test file of their own.
 */
import assert from "node:assert/strict";
import { DROP_REASONS } from "../datapath/drop_reasons.ts";
import { OptionError } from "../datapath/errors.ts";
import { FRAME_SIZE_MAX, HEADROOM, type Packet } from "../datapath/packet.ts";
import type { Attachment, PortParams, Vport, VportOps } from "../vports/vport.ts";
import { API_VERSION } from "../vports/shape.ts";
import { TestHost } from "./vport_host.ts";

/** The other side of a port, where there is one. */
export interface Peer {
  /** Puts a frame on the wire to the port. */
  send(frame: Uint8Array): void;
  /** Frames that have come from the port since the last call. */
  received(): Uint8Array[];
  close(): void;
}

export interface ContractSubject {
  readonly ops: VportOps;
  /** Port's name, at most 15 bytes; the device's where there is one. */
  readonly name: string;
  /** Options with which a port works here. */
  readonly options?: Readonly<Record<string, string>>;
  /** Options that must be refused. */
  readonly badOptions?: readonly (readonly [key: string, value: string])[];
  /** A port that can't be made (its device is missing, say). */
  readonly impossible?: {
    readonly name: string;
    readonly options?: Readonly<Record<string, string>>;
  };
  /** The device is made by `attach` and must be gone after detach("delete"). */
  readonly deviceExists?: (name: string) => boolean;
  /** Opens the other side; the port is attached then. */
  readonly openPeer?: () => Peer;
  /** Added to every test's name: `[needs root]`; the tests are then ignored. */
  readonly skip?: string | undefined;
}

const SUMMARY_LENGTH_MAX = 80;

/** Registers the suite's tests for one type. */
export function testVportContract(subject: ContractSubject): void {
  const { ops } = subject;
  const test = (fact: string, fn: () => void | Promise<void>): void => {
    const skip = subject.skip === undefined ? "" : ` ${subject.skip}`;
    Deno.test({
      name: `vport ${ops.type}: ${fact}${skip}`,
      ignore: subject.skip !== undefined,
      // Libraries opened on first use stay open for the process.
      sanitizeResources: false,
      fn,
    });
  };

  test("describes itself", () => {
    assert.equal(ops.apiVersion, API_VERSION);
    assert.match(ops.type, /^[a-z][a-z0-9_-]{0,14}$/);
    assert(ops.summary.length > 0 && ops.summary.length <= SUMMARY_LENGTH_MAX);
    assert(ops.headroom >= 0 && ops.headroom <= HEADROOM - 64);
  });
  test("options: what is formatted parses to the same", () => {
    const parsed = ops.parseOptions(rawOptions(subject));
    assert.deepEqual(ops.parseOptions(ops.formatOptions(parsed)), parsed);
  });
  test("options: wrong ones are refused, naming key and value", () => refusesOptions(subject));
  test("attach, create, close and detach leave nothing behind, however often", () => {
    withPort(subject, () => {}); // memory and libraries are kept from the first time on
    const before = descriptors();
    for (let time = 0; time < 3; time++) withPort(subject, () => {});
    assert.deepEqual(descriptors(), before);
  });
  test("a port that can't be made throws and leaves nothing behind", () => failsClean(subject));
  test("receive: hands over nothing when nothing came, and does not block", () => {
    withPort(subject, (vport, host) => {
      const begin = performance.now();
      for (let round = 0; round < 10; round++) {
        assert.equal(vport.receiver?.receive(32) ?? 0, 0);
        vport.receiver?.release?.();
      }
      assert(performance.now() - begin < 200);
      assert.deepEqual(host.received, []);
      assert.equal(host.pool.freeCount, 128);
    });
  });
  test("send: takes frames of all sizes or says why not, and leaves them as they are", () => {
    withPort(subject, sendsAllSizes);
  });
  test("send: a packet may go twice in a round, and flush may be called with nothing queued", () => {
    withPort(subject, (vport, host) => {
      const packet = fill(host, 60, 1);
      vport.send(packet, undefined);
      vport.send(packet, undefined);
      vport.sender?.flush();
      vport.sender?.flush();
      host.pool.free(packet);
    });
  });
  if (subject.openPeer !== undefined) testTraffic(subject, subject.openPeer, test);
}

function testTraffic(
  subject: ContractSubject,
  openPeer: () => Peer,
  test: (fact: string, fn: () => void | Promise<void>) => void,
): void {
  test("traffic: frames sent arrive at the far side, whole and in order", async () => {
    await withTraffic(subject, openPeer, async (vport, host, peer) => {
      const frames = [60, 61, 333, 1514].map((size, seed) => frameOf(size, seed));
      const packets = frames.map((frame) => load(host, frame));
      for (const packet of packets) assert.equal(vport.send(packet, undefined), 0);
      vport.sender?.flush();
      assert.deepEqual(await collect(frames.length, () => peer.received()), frames);
      assert.deepEqual(host.txDrops, []);
    });
  });
  test("traffic: frames from the far side are received, at most a budget at a time", async () => {
    await withTraffic(subject, openPeer, async (vport, host, peer) => {
      const frames = Array.from({ length: 20 }, (_, seed) => frameOf(60 + seed * 50, seed));
      for (const frame of frames) peer.send(frame);
      const received = await collect(frames.length, () => {
        host.received.length = 0;
        const count = vport.receiver!.receive(7);
        assert(count <= 7 && host.received.length === count, `${count} of 7`);
        vport.receiver!.release?.();
        return host.received.map(({ frame }) => frame);
      });
      assert.deepEqual(received, frames);
    });
  });
}

function rawOptions(subject: ContractSubject): ReadonlyMap<string, string> {
  return new Map(Object.entries(subject.options ?? {}));
}

function refusesOptions(subject: ContractSubject): void {
  const bad: readonly (readonly [string, string])[] = [
    ["no_such_option", "7"],
    ...(subject.badOptions ?? []),
  ];
  for (const [key, value] of bad) {
    const raw = new Map(rawOptions(subject)).set(key, value);
    assert.throws(() => subject.ops.parseOptions(raw), (error: Error) => {
      assert(error instanceof OptionError, `${error}`);
      assert.equal(error.option, key);
      assert(error.message.includes(key) && error.message.includes(value), error.message);
      return true;
    });
  }
}

function portParams(name: string, options: unknown): PortParams<unknown> {
  return {
    datapath: "contract",
    datapathId: "00112233445566778899aabbccddeeff",
    name,
    portNo: 1,
    options,
    mac: undefined,
    threads: 1,
  };
}

function attach(subject: ContractSubject): Attachment | undefined {
  const options = subject.ops.parseOptions(rawOptions(subject));
  return subject.ops.attach?.(portParams(subject.name, options));
}

function create(subject: ContractSubject, host: TestHost, attachment?: Attachment): Vport {
  const options = subject.ops.parseOptions(rawOptions(subject));
  const params = { ...portParams(subject.name, options), mac: attachment?.mac };
  const data: unknown = structuredClone(attachment?.data);
  return subject.ops.create({ ...params, thread: 0, data, host });
}

/** Makes a port, uses it, and takes it down for good. */
function withPort(subject: ContractSubject, use: (vport: Vport, host: TestHost) => void): void {
  const host = new TestHost();
  const attachment = attach(subject);
  try {
    const vport = create(subject, host, attachment);
    try {
      use(vport, host);
    } finally {
      vport.close();
    }
  } finally {
    attachment?.detach("delete");
  }
  assert.deepEqual(host.sharedNames, []);
  if (subject.deviceExists !== undefined) assert(!subject.deviceExists(subject.name));
}

async function withTraffic(
  subject: ContractSubject,
  openPeer: () => Peer,
  use: (vport: Vport, host: TestHost, peer: Peer) => Promise<void>,
): Promise<void> {
  const host = new TestHost();
  const attachment = attach(subject);
  try {
    const vport = create(subject, host, attachment);
    const peer = openPeer();
    try {
      await use(vport, host, peer);
    } finally {
      peer.close();
      vport.close();
    }
  } finally {
    attachment?.detach("delete");
  }
}

function failsClean(subject: ContractSubject): void {
  if (subject.impossible === undefined) return;
  const impossible = { ...subject, ...subject.impossible };
  const attempt = (): void => {
    assert.throws(() => withPort(impossible, () => {}), (error: Error) => {
      assert("code" in error, `${error} has a code`);
      return true;
    });
  };
  attempt();
  const before = descriptors();
  attempt();
  assert.deepEqual(descriptors(), before);
}

function sendsAllSizes(vport: Vport, host: TestHost): void {
  for (const size of [14, 60, 1514, 9000, 65549, FRAME_SIZE_MAX]) {
    const packet = fill(host, size, size);
    const { start, end } = packet;
    const before = packet.bytes.slice(start, end);
    const reason = vport.send(packet, undefined);
    assert(Number.isInteger(reason) && reason >= 0 && reason < DROP_REASONS.length);
    vport.sender?.flush();
    assert.deepEqual([packet.start, packet.end], [start, end]);
    assert.deepEqual(packet.bytes.slice(start, end), before);
    host.pool.free(packet);
  }
}

/** Open descriptors of this process, sorted. */
function descriptors(): string[] {
  const names: string[] = [];
  for (const entry of Deno.readDirSync("/proc/self/fd")) names.push(entry.name);
  return names.sort();
}

/** A frame of an Ethernet type that no host answers to. */
export function frameOf(size: number, seed: number): Uint8Array {
  const frame = new Uint8Array(size);
  for (let at = 0; at < size; at++) frame[at] = Math.imul(at + 1, seed + 3) >> 2;
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  return frame;
}

function load(host: TestHost, frame: Uint8Array): Packet {
  const packet = host.allocate();
  assert(packet !== undefined, "the pool has a packet");
  packet.bytes.set(frame, packet.start);
  packet.end = packet.start + frame.length;
  return packet;
}

function fill(host: TestHost, size: number, seed: number): Packet {
  return load(host, frameOf(size, seed));
}

/** Asks until `count` frames have come, for up to two seconds. */
async function collect(count: number, ask: () => Uint8Array[]): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for (let time = 0; time < 400 && frames.length < count; time++) {
    frames.push(...ask());
    if (frames.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return frames.map((frame) => new Uint8Array(frame));
}
