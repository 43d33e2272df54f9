/**
 * The conformance suite of the vport contract (vport.ts): what every type must do, ours and third
 * parties', as a list of named checks. `denovs plugin-check FILE` runs it, and authors run it in
 * their own tests with {@link testVport}.
 *
 * Each check asks one question and overlooks every other fault, so that a type that does one thing
 * wrong fails one check. What only a real far end can show is checked where the subject brings one.
 */
import { DROP_REASONS } from "../datapath/drop_reasons.ts";
import { FRAME_SIZE_MAX, type Packet } from "../datapath/packet/packet.ts";
import { isAsync, untilOpen } from "./async_port.ts";
import { ConformanceHost } from "./conformance_host.ts";
import {
  ConformanceError,
  describesItself,
  expect,
  parsesPurely,
  rawOptions,
  refusesBad,
  roundTrips,
} from "./conformance_options.ts";
import { describe, findVportFault } from "./shape.ts";
import type { Attachment, PortParams, Receiver, Vport, VportOps } from "./vport.ts";

/** The other side of a port, where there is one. */
export interface Peer {
  /** Puts a frame on the wire to the port. */
  send(frame: Uint8Array): void;
  /** Frames that have come from the port since the last call. */
  received(): Uint8Array[];
  /** Gives back what opening it took. */
  close(): void;
}

/** A type under test, and what is needed to make ports of it. */
export interface ConformanceSubject {
  /** The type. */
  readonly ops: VportOps;
  /** Port's name, at most 15 bytes; the device's where there is one. */
  readonly name: string;
  /** Options with which a port works here. */
  readonly options?: Readonly<Record<string, string>>;
  /** Options that must be refused. */
  readonly badOptions?: readonly (readonly [key: string, value: string])[];
  /** A port that can't be made (its device is missing, say). */
  readonly impossible?: {
    /** Its name. */
    readonly name: string;
    /** Its options; absent: the subject's. */
    readonly options?: Readonly<Record<string, string>>;
  };
  /** The device is made by `attach` and must be gone after detach("delete"). */
  readonly deviceExists?: (name: string) => boolean;
  /** Bytes in front of a packet that ports of the type write beyond their headroom, the same for every port: only the switch's own device types do. */
  readonly scratchSize?: number;
  /** Opens the other side and waits until frames can pass; the port exists then. Absent: no traffic is checked. */
  readonly openPeer?: () => Peer | Promise<Peer>;
  /** Added to every test's name: `[needs root]`; {@link testVport} then lists the tests as ignored. */
  readonly skip?: string | undefined;
}

/** One question to a type. */
export interface ConformanceCheck {
  /** What holds for types that pass, in words. */
  readonly name: string;
  /** Makes no sense for a type whose `create` fails. */
  readonly needsPort: boolean;
  /** Throws an error that says what was found. */
  run(): Promise<void>;
}

/** How one check went. */
export interface ConformanceResult {
  /** The check's name. */
  readonly name: string;
  /** "skipped": no port could be made, which another check says. */
  readonly status: "passed" | "failed" | "skipped";
  /** What was found; undefined for those that passed. */
  readonly message?: string | undefined;
}

const FRAME_SIZES = [14, 60, 1514, 9000, 65549, FRAME_SIZE_MAX];
/** Bytes behind a packet that are looked at. */
const TAIL_SIZE = 64;
/** What comes to an end by itself, for so long after the last that did, counts as given back. */
const SETTLE_MS = 3000;
/** Likewise of an asynchronous type, whose Workers end when they have time. */
const ASYNC_SETTLE_MS = 30_000;
/** Descriptors that have not become fewer for so long are those that stay. */
const REST_MS = 100;
const ASYNC_REST_MS = 1000;
const TRAFFIC_MS = 2000;
const CREATE = "create: makes a port of the contract's shape";

/** Registers the checks as tests of `deno test`. */
export function testVport(subject: ConformanceSubject): void {
  const skip = subject.skip === undefined ? "" : ` ${subject.skip}`;
  for (const { name, run } of conformanceChecks(subject)) {
    Deno.test({
      name: `vport ${subject.ops.type}: ${name}${skip}`,
      ignore: subject.skip !== undefined,
      // Libraries opened on first use stay open for the process; Workers end when they can.
      sanitizeResources: false,
      sanitizeOps: false,
      fn: run,
    });
  }
}

/** Runs the checks one after another. `begin` hears of each before it runs. */
export async function* runConformance(
  subject: ConformanceSubject,
  begin: (name: string) => void = () => {},
): AsyncGenerator<ConformanceResult> {
  let noPort: string | undefined;
  for (const { name, needsPort, run } of conformanceChecks(subject)) {
    if (needsPort && noPort !== undefined) {
      yield { name, status: "skipped", message: noPort };
      continue;
    }
    begin(name);
    try {
      await run();
      yield { name, status: "passed" };
    } catch (error) {
      if (name === CREATE) noPort = "no port could be made";
      yield {
        name,
        status: "failed",
        message: error instanceof ConformanceError ? error.message : describe(error),
      };
    }
  }
}

/** What a type is asked, in order. The checks may run in any order, but not at the same time. */
export function conformanceChecks(subject: ConformanceSubject): readonly ConformanceCheck[] {
  const { ops, impossible, openPeer, deviceExists } = subject;
  const checks: ConformanceCheck[] = [];
  const add = (name: string, run: () => void | Promise<void>, needsPort = true): void => {
    checks.push({ name, needsPort, run: async () => await run() });
  };
  const addForPort = (name: string, use: (port: MadePort) => void | Promise<void>): void =>
    add(name, () => withPort(subject, use));

  add("describes itself", () => describesItself(ops), false);
  add("options: what is formatted parses to the same", () => roundTrips(subject), false);
  add("options: wrong ones are refused, naming key and value", () => refusesBad(subject), false);
  add("options: parsing leaves what it is given as it is", () => parsesPurely(subject), false);
  add(CREATE, () => createsPort(subject), false);
  add("attach: what it hands to the threads can be copied to them", () => attachCopies(subject));
  add("close: does not throw", () => closesQuietly(subject));
  add("close: gives back every descriptor, however often", () => leaksNothing(subject));
  addForPort("close: lets go of what was shared", ({ vport, host }) => {
    vport.closeOnce();
    expect(host.sharedNames.length === 0, `still shared: ${host.sharedNames.join(", ")}`);
  });
  if (deviceExists !== undefined) {
    add("detach: a device that attach made is deleted", async () => {
      await withPort(subject, () => {
        expect(deviceExists(subject.name), `there is no device ${subject.name} after attach`);
      });
      expect(!deviceExists(subject.name), `device ${subject.name} is there after detach("delete")`);
    });
  }
  if (impossible !== undefined) {
    add(
      "create: a port that can't be made throws an error with a code, and leaves nothing behind",
      () => failsClean({ ...subject, ...impossible }),
    );
  }
  addForPort("receive: hands over nothing when nothing came, and does not block", receivesNothing);
  addForPort("receive: recycles packets that it does not hand over", recycles);
  addForPort("send: takes frames of all sizes, or says why not", sendsAllSizes);
  addForPort("send: leaves the packet as it is", leavesPacket);
  addForPort("send: writes in front of a packet no more than its headroom, and nothing behind", (
    port,
  ) => writesInside(port, Math.max(ops.headroom, subject.scratchSize ?? 0)));
  addForPort("send: a packet may go twice in a round", sendsTwice);
  addForPort("flush: may be called with nothing queued", ({ vport }) => {
    vport.port.sender?.flush();
    vport.port.sender?.flush();
  });
  if (openPeer !== undefined) {
    const traffic = (use: (port: MadePort, peer: Peer) => Promise<void>) => () =>
      withPort(subject, async (port) => {
        const peer = await openPeer();
        try {
          await use(port, peer);
        } finally {
          peer.close();
        }
      });
    add("traffic: frames sent arrive at the far side, whole and in order", traffic(arrives));
    add("traffic: frames from the far side are received, whole and in order", traffic(comesIn));
    add("traffic: receive hands over no more than its budget", traffic(keepsBudget));
    add("traffic: packets are handed over with the port's number", traffic(saysPort));
  }
  return checks;
}

/** A port as a check is given it. */
interface MadePort {
  readonly vport: OnceClosed;
  readonly host: ConformanceHost;
  /** What `attach` handed to the threads. */
  readonly data: unknown;
}

/** A port that a check may close itself. */
class OnceClosed {
  readonly port: Vport;
  #closed = false;

  constructor(port: Vport) {
    this.port = port;
  }

  closeOnce(): void {
    if (this.#closed) return;
    this.#closed = true;
    quietly(() => this.port.close());
  }
}

const PORT_NO = 1;

function portParams(subject: ConformanceSubject): PortParams<unknown> {
  return {
    datapath: "conformance",
    datapathId: "00112233445566778899aabbccddeeff",
    name: subject.name,
    portNo: PORT_NO,
    options: subject.ops.parseOptions(rawOptions(subject)),
    mac: undefined,
    threads: 1,
  };
}

function attach(subject: ConformanceSubject): Attachment | undefined {
  return subject.ops.attach?.(portParams(subject));
}

function create(
  subject: ConformanceSubject,
  host: ConformanceHost,
  attachment: Attachment | undefined,
): Vport {
  const params = { ...portParams(subject), mac: attachment?.mac };
  return subject.ops.create({ ...params, thread: 0, data: attachment?.data, host });
}

/** Makes a port, uses it, and takes it down for good. Errors of taking it down are others' business. */
async function withPort(
  subject: ConformanceSubject,
  use: (port: MadePort) => void | Promise<void>,
): Promise<void> {
  const host = new ConformanceHost();
  const attachment = attach(subject);
  try {
    const vport = new OnceClosed(create(subject, host, attachment));
    try {
      await use({ vport, host, data: attachment?.data });
    } finally {
      vport.closeOnce();
    }
  } finally {
    quietly(() => attachment?.detach("delete"));
  }
}

function quietly(work: () => void): void {
  try {
    work();
  } catch {
    // Another check asks about it.
  }
}

async function createsPort(subject: ConformanceSubject): Promise<void> {
  await withPort(subject, ({ vport }) => {
    const fault = findVportFault(vport.port);
    expect(fault === undefined, `what create returned is no Vport: ${fault}`);
  });
}

function attachCopies(subject: ConformanceSubject): void {
  const attachment = attach(subject);
  quietly(() => attachment?.detach("delete"));
  if (attachment?.data === undefined) return;
  const { port1, port2 } = new MessageChannel();
  try {
    port1.postMessage(attachment.data); // unlike structuredClone, knows shared memory
  } catch (error) {
    throw new ConformanceError(`Attachment.data can't be copied: ${describe(error)}`);
  } finally {
    port1.close();
    port2.close();
  }
}

function closesQuietly(subject: ConformanceSubject): void {
  const host = new ConformanceHost();
  const attachment = attach(subject);
  try {
    const vport = create(subject, host, attachment);
    named("Vport.close", () => vport.close());
  } finally {
    if (attachment !== undefined) named("Attachment.detach", () => attachment.detach("delete"));
  }
}

function named(what: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw new ConformanceError(`${what} threw ${describe(error)}`);
  }
}

async function leaksNothing(subject: ConformanceSubject): Promise<void> {
  // An asynchronous port opens some time after create, and is gone some time after close.
  const isSlow = isAsync(subject.ops);
  const use = async ({ data }: MadePort): Promise<void> => {
    if (isSlow) await untilOpen(data);
  };
  const once = (): Promise<void> => withPort(subject, use);
  await once(); // memory and libraries are kept from the first time on
  const before = await settledDescriptors(0, isSlow ? ASYNC_REST_MS : REST_MS);
  for (let time = 0; time < 3; time++) await once();
  const after = await settledDescriptors(before, isSlow ? ASYNC_SETTLE_MS : SETTLE_MS);
  expect(after <= before, `${after - before} descriptors more after 3 ports`);
}

async function failsClean(impossible: ConformanceSubject): Promise<void> {
  const attempt = async (): Promise<void> => {
    let thrown: unknown;
    try {
      await withPort(impossible, () => {});
    } catch (error) {
      thrown = error;
    }
    expect(thrown !== undefined, `port ${impossible.name} was made`);
    const hasCode = thrown instanceof Error && "code" in thrown && typeof thrown.code === "string";
    expect(hasCode, `it threw ${describe(thrown)}, which has no code`);
  };
  await attempt();
  const before = await settledDescriptors(0, REST_MS);
  await attempt();
  const after = await settledDescriptors(before, SETTLE_MS);
  expect(after <= before, `${after - before} descriptors are left open`);
}

/** Open descriptors of this process, when they are no more than `wanted`, or have not become fewer for `patienceMs`. */
async function settledDescriptors(wanted: number, patienceMs: number): Promise<number> {
  let count = countDescriptors();
  for (let waited = 0; count > wanted && waited < patienceMs; waited += 20) {
    await sleep(20);
    const now = countDescriptors();
    if (now < count) waited = 0;
    count = now;
  }
  return count;
}

function countDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

function receiversOf({ vport }: MadePort): Receiver[] {
  const { receiver, sideReceiver } = vport.port;
  return [receiver, sideReceiver].filter((each) => each !== undefined);
}

function receivesNothing(port: MadePort): void {
  const begin = performance.now();
  for (let round = 0; round < 10; round++) {
    for (const receiver of receiversOf(port)) {
      const count = receiver.receive(32);
      expect(count === 0, `receive returned ${count} although nothing came`);
      receiver.release?.();
    }
  }
  const ms = performance.now() - begin;
  expect(ms < 200, `10 calls of receive took ${ms.toFixed(0)} ms`);
  expect(port.host.received.length === 0, "a packet was handed over although nothing came");
}

function recycles(port: MadePort): void {
  const { host } = port;
  const before = host.pool.freeCount;
  for (let round = 0; round < 10; round++) {
    for (const receiver of receiversOf(port)) {
      quietly(() => {
        receiver.receive(32);
        receiver.release?.();
      });
    }
  }
  const lost = before - host.pool.freeCount;
  expect(lost <= 0, `${lost} packets were allocated and neither handed over nor recycled`);
}

function sendsAllSizes({ vport, host }: MadePort): void {
  for (const size of FRAME_SIZES) {
    const packet = fill(host, size, size);
    const reason: unknown = vport.port.send(packet, undefined);
    const isReason = typeof reason === "number" && Number.isInteger(reason) && reason >= 0 &&
      reason < DROP_REASONS.length;
    expect(isReason, `send of ${size} bytes returned ${String(reason)} (wanted: a drop reason, 0)`);
    vport.port.sender?.flush();
    host.pool.free(packet);
  }
}

function leavesPacket({ vport, host }: MadePort): void {
  for (const size of FRAME_SIZES) {
    const packet = fill(host, size, size);
    const { start, end } = packet;
    const before = packet.bytes.slice(start, end);
    send(vport.port, packet);
    expect(
      packet.start === start && packet.end === end,
      `a packet of ${size} bytes is [${packet.start - start}, ${packet.end - start}) afterwards`,
    );
    const at = differsAt(before, packet.bytes.subarray(start, end));
    expect(at < 0, `byte ${at} of a packet of ${size} bytes has changed`);
    host.pool.free(packet);
  }
}

function writesInside({ vport, host }: MadePort, headroom: number): void {
  for (const size of FRAME_SIZES) {
    const packet = fill(host, size, size);
    const { start, end, headLimit, tailLimit } = packet;
    const free = Math.max(headLimit, start - headroom);
    const front = packet.bytes.fill(0xa5, headLimit, start).slice(headLimit, free);
    const behindEnd = Math.min(end + TAIL_SIZE, tailLimit);
    const behind = packet.bytes.fill(0xa5, end, behindEnd).slice(end, behindEnd);
    send(vport.port, packet);
    const at = differsAt(front, packet.bytes.subarray(headLimit, free));
    expect(at < 0, `byte ${headLimit + at - start} (headroom is ${headroom}) was written`);
    const after = differsAt(behind, packet.bytes.subarray(end, behindEnd));
    expect(after < 0, `byte ${after} behind a packet of ${size} bytes was written`);
    host.pool.free(packet);
  }
}

/** Whatever comes of it. */
function send(port: Vport, packet: Packet): void {
  quietly(() => {
    port.send(packet, undefined);
    port.sender?.flush();
  });
}

function sendsTwice({ vport, host }: MadePort): void {
  const packet = fill(host, 60, 1);
  vport.port.send(packet, undefined);
  vport.port.send(packet, undefined);
  vport.port.sender?.flush();
  host.pool.free(packet);
}

async function arrives({ vport, host }: MadePort, peer: Peer): Promise<void> {
  const frames = [60, 61, 333, 1514].map((size, seed) => frameOf(size, seed));
  for (const frame of frames) {
    const reason = vport.port.send(load(host, frame), undefined);
    expect(reason === 0, `a frame was dropped: ${DROP_REASONS[reason]?.[0]}`);
  }
  vport.port.sender?.flush();
  same(await collect(frames.length, () => peer.received()), frames);
  expect(host.txDrops.length === 0, "a frame that send had taken was counted as dropped");
}

function manyFrames(): Uint8Array[] {
  return Array.from({ length: 20 }, (_, seed) => frameOf(60 + seed * 50, seed));
}

async function comesIn(port: MadePort, peer: Peer): Promise<void> {
  const frames = manyFrames();
  for (const frame of frames) peer.send(frame);
  same(await collect(frames.length, () => receiveSome(port, 32).map(({ frame }) => frame)), frames);
}

async function keepsBudget(port: MadePort, peer: Peer): Promise<void> {
  const frames = manyFrames();
  for (const frame of frames) peer.send(frame);
  await sleep(100); // all of them wait
  await collect(frames.length, () => {
    const { host } = port;
    host.received.length = 0;
    const count = port.vport.port.receiver?.receive(7) ?? 0;
    port.vport.port.receiver?.release?.();
    const handed = host.received.length;
    expect(handed <= 7, `${handed} packets were handed over with a budget of 7`);
    expect(count === handed, `receive returned ${count} and handed over ${handed} packets`);
    return host.received.map(({ frame }) => frame);
  });
}

async function saysPort(port: MadePort, peer: Peer): Promise<void> {
  peer.send(frameOf(60, 1));
  await collect(1, () =>
    receiveSome(port, 32).map(({ portNo, frame }) => {
      expect(portNo === PORT_NO, `the packet came from port ${portNo}, not ${PORT_NO}`);
      return frame;
    }));
}

function receiveSome(port: MadePort, budget: number): ConformanceHost["received"] {
  port.host.received.length = 0;
  for (const receiver of receiversOf(port)) {
    receiver.receive(budget);
    receiver.release?.();
  }
  return port.host.received;
}

function same(found: readonly Uint8Array[], wanted: readonly Uint8Array[]): void {
  expect(found.length === wanted.length, `${found.length} of ${wanted.length} frames have come`);
  for (const [at, frame] of wanted.entries()) {
    const other = found[at]!;
    const sizes = `${other.length} bytes for ${frame.length}`;
    expect(other.length === frame.length, `frame ${at} of ${wanted.length} has ${sizes}`);
    const byte = differsAt(frame, other);
    expect(byte < 0, `byte ${byte} of frame ${at} is another`);
  }
}

/** First index at which they differ, -1: nowhere. */
function differsAt(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return at;
  return -1;
}

/** A frame of an Ethernet type that no host answers to. */
export function frameOf(size: number, seed: number): Uint8Array {
  const frame = new Uint8Array(size);
  for (let at = 0; at < size; at++) frame[at] = Math.imul(at + 1, seed + 3) >> 2;
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  return frame;
}

function load(host: ConformanceHost, frame: Uint8Array): Packet {
  const packet = host.allocate();
  expect(packet !== undefined, "the pool has no packet left");
  packet.bytes.set(frame, packet.start);
  packet.end = packet.start + frame.length;
  return packet;
}

function fill(host: ConformanceHost, size: number, seed: number): Packet {
  return load(host, frameOf(size, seed));
}

/** Asks until `count` frames have come, for a bounded time. */
async function collect(count: number, ask: () => Uint8Array[]): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for (let waited = 0; waited < TRAFFIC_MS && frames.length < count; waited += 5) {
    frames.push(...ask().map((frame) => new Uint8Array(frame)));
    if (frames.length < count) await sleep(5);
  }
  return frames;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
