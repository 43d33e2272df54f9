/**
 * For tests of this folder: network namespaces, devices in them, raw frames, a packet host that
 * keeps what it is given. Not used by the switch.
 */
import { Packet } from "../datapath/packet/packet.ts";
import { CLONE_NEWNET, O_CLOEXEC, O_RDONLY } from "./abi.ts";
import { libc } from "./libc.ts";
import { allocateBuffer } from "./memory.ts";
import type { PacketHost } from "./packet_host.ts";

/** Why tests that change the network can't run here; undefined: they can. */
export function whyNoNamespaces(): string | undefined {
  if (Deno.uid() !== 0) return "needs root: network namespaces";
  return undefined;
}

/** Opens every group of the C library, so that no test is blamed for a library that it opened first. */
function openAll(): void {
  const { file, memory, poll, socket, clock, kernel, process } = libc();
  if (file && memory && poll && socket && clock && kernel && process) libc().errno();
}

/** Registers a test that needs root; elsewhere it is listed as ignored, with the reason in its name. */
export function rootTest(name: string, fn: () => void | Promise<void>): void {
  const why = whyNoNamespaces();
  if (why === undefined) openAll();
  const note = why === undefined ? "" : ` [skipped: ${why}]`;
  Deno.test({ name: name + note, ignore: why !== undefined, fn });
}

/** Registers a test that uses the C library and needs no rights. */
export function libcTest(name: string, fn: () => void | Promise<void>): void {
  openAll();
  Deno.test(name, fn);
}

/** Runs a command in this thread's namespace; returns its output, throws with its complaint. */
export function run(command: string): string {
  const [program = "", ...args] = command.split(" ");
  const { success, stdout, stderr } = new Deno.Command(program, { args }).outputSync();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

let namespaceCount = 0;

/** A network namespace that this thread is in until it is disposed of. */
export class TestNamespace {
  readonly name: string;
  readonly #before: number;

  constructor() {
    this.name = `dnv-nd-${Deno.pid}-${namespaceCount++}`;
    run(`ip netns add ${this.name}`);
    this.#before = openNamespace("/proc/thread-self/ns/net");
    const fd = openNamespace(`/run/netns/${this.name}`);
    if (libc().kernel.setns(fd, CLONE_NEWNET) < 0) throw new Error("setns");
    libc().file.close(fd);
    run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
  }

  [Symbol.dispose](): void {
    libc().kernel.setns(this.#before, CLONE_NEWNET);
    libc().file.close(this.#before);
    run(`ip netns del ${this.name}`);
  }
}

function openNamespace(path: string): number {
  const fd = libc().file.open(new TextEncoder().encode(`${path}\0`), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) throw new Error(`cannot open ${path}`);
  return fd;
}

/** Open descriptors of this process. */
export function openDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

/** A received packet, as a test looks at it. */
export interface Seen {
  readonly portNo: number;
  readonly frame: Uint8Array<ArrayBuffer>;
  readonly needsCsum: boolean;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  /** Whether it lay in the pool, not in a ring. */
  readonly pooled: boolean;
}

const SLOT_SIZE = 66 * 1024 + 64;
const HEAD = 258;

/** Copies what it receives and counts drops by reason. */
export class RecordingHost implements PacketHost {
  readonly seen: Seen[] = [];
  /** `rx PORT REASON` or `tx PORT REASON` → count. */
  readonly drops: Map<string, number> = new Map();
  readonly #free: Packet[] = [];

  constructor(slots = 8) {
    const { buffer } = allocateBuffer(slots * SLOT_SIZE);
    for (let slot = 0; slot < slots; slot++) {
      const packet = new Packet(buffer);
      packet.slot = slot;
      this.#free.push(packet);
    }
  }

  get freeCount(): number {
    return this.#free.length;
  }

  allocate(): Packet | undefined {
    const packet = this.#free.pop();
    if (packet === undefined) return undefined;
    packet.headLimit = packet.slot * SLOT_SIZE;
    packet.tailLimit = packet.headLimit + SLOT_SIZE;
    packet.start = packet.end = packet.headLimit + HEAD;
    packet.needsCsum = false;
    packet.gsoType = 0;
    return packet;
  }

  recycle(packet: Packet): void {
    this.#free.push(packet);
  }

  receive(portNo: number, packet: Packet): void {
    const { needsCsum, csumStart, csumOffset, gsoType, gsoSize } = packet;
    const frame = packet.bytes.slice(packet.start, packet.end);
    const pooled = packet.slot >= 0;
    this.seen.push({ portNo, frame, needsCsum, csumStart, csumOffset, gsoType, gsoSize, pooled });
    if (pooled) this.recycle(packet);
  }

  countRxDrop(portNo: number, reason: number, count = 1): void {
    this.#count(`rx ${portNo} ${reason}`, count);
  }

  countTxDrop(portNo: number, reason: number): void {
    this.#count(`tx ${portNo} ${reason}`);
  }

  #count(what: string, count = 1): void {
    this.drops.set(what, (this.drops.get(what) ?? 0) + count);
  }
}

/** A packet of `bytes`, from the host's pool. */
export function packetOf(host: RecordingHost, bytes: Uint8Array): Packet {
  const packet = host.allocate();
  if (packet === undefined) throw new Error("no packet is free");
  packet.bytes.set(bytes, packet.start);
  packet.end = packet.start + bytes.length;
  return packet;
}

export interface FrameOptions {
  /** Bytes of UDP or TCP payload. */
  readonly payloadSize: number;
  /** Default 17. */
  readonly proto?: 6 | 17;
  /** First byte of the payload, repeated. */
  readonly fill?: number;
}

/** Ethernet + IPv4 + UDP or TCP with the pseudo-header's checksum, as a partial checksum wants it. */
export function ipv4Frame(options: FrameOptions): Uint8Array<ArrayBuffer> {
  const { payloadSize, proto = 17, fill = 0x5a } = options;
  const l4Size = (proto === 6 ? 20 : 8) + payloadSize;
  const view = new DataView(new ArrayBuffer(34 + l4Size));
  const bytes = new Uint8Array(view.buffer);
  bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
  bytes.set([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], 14);
  view.setUint16(16, 20 + l4Size);
  view.setUint16(24, ~sum(view, 14, 34) & 0xffff);
  view.setUint16(34, 1000);
  view.setUint16(36, 2000);
  bytes.fill(fill, 34 + l4Size - payloadSize);
  const pseudo = new DataView(new ArrayBuffer(12));
  new Uint8Array(pseudo.buffer).set(bytes.subarray(26, 34));
  pseudo.setUint16(8, proto);
  pseudo.setUint16(10, l4Size);
  if (proto === 6) {
    view.setUint8(46, 0x50);
    view.setUint8(47, 0x10);
    view.setUint16(48, 0xffff);
    view.setUint16(50, sum(pseudo, 0, 12));
  } else {
    view.setUint16(38, l4Size);
    view.setUint16(40, sum(pseudo, 0, 12));
  }
  return bytes;
}

/** Internet checksum's folded sum, not complemented. */
export function sum(view: DataView, from: number, to: number): number {
  let total = 0;
  for (let at = from; at + 1 < to; at += 2) total += view.getUint16(at);
  if ((to - from) % 2 === 1) total += view.getUint8(to - 1) << 8;
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

/** Calls `step` until it returns true, at most for `timeoutMs`; sleeps a little in between. */
export async function until(step: () => boolean, timeoutMs = 3000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!step()) {
    if (performance.now() > end) throw new Error(`did not happen within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Fails with the first difference; assert's own comparison of 64 KiB takes minutes to word. */
export function assertSameFrame(
  actual: Uint8Array | undefined,
  expected: Uint8Array,
  what = "frame",
): void {
  if (actual === undefined) throw new Error(`${what} is missing`);
  const at = expected.findIndex((byte, index) => byte !== actual[index]);
  if (at >= 0) throw new Error(`${what}: byte ${at} is ${actual[at]}, not ${expected[at]}`);
  if (actual.length !== expected.length) {
    throw new Error(`${what} has ${actual.length} bytes, not ${expected.length}`);
  }
}
