/**
 * Packets for conntrack tests: IP packets of two hosts with all numbers given, right checksums, room to
 * grow; and a tracker with a clock and a random source that tests set.
 */
import type { CtAction, CtNat } from "../../actions/actions.ts";
import { crc32c, finish, pseudoIpv4, pseudoIpv6, sum } from "../../packet/checksum.ts";
import { Packet } from "../../packet/packet.ts";
import { type ConntrackBuffers, makeConntrackBuffers } from "../layout.ts";
import { CtMetadata } from "../metadata.ts";
import { encodeCt } from "../plan.ts";
import { setDefaultTimeouts } from "../timeouts.ts";
import { Tracker, type TrackerOptions } from "../tracker.ts";

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

export interface PacketSpec {
  /** Dotted, or with colons. */
  readonly src: string;
  readonly dst: string;
  readonly protocol?: number;
  readonly sport?: number;
  readonly dport?: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly flags?: number;
  readonly window?: number;
  /** Bytes of TCP options, a multiple of 4. */
  readonly options?: readonly number[];
  readonly payload?: string | Uint8Array;
  /** ICMP. */
  readonly type?: number;
  readonly code?: number;
  readonly id?: number;
  /** Leave a partial checksum as a device with offload gets it. */
  readonly partial?: boolean;
}

/** Bytes of an address. */
export function addressBytes(text: string): number[] {
  if (!text.includes(":")) return text.split(".").map(Number);
  const [head = "", tail] = text.split("::");
  const groups = (part: string): number[] =>
    part === "" ? [] : part.split(":").flatMap((group) => {
      const value = parseInt(group, 16);
      return [value >> 8, value & 255];
    });
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  return [...left, ...Array<number>(16 - left.length - right.length).fill(0), ...right];
}

/** Hexadecimal of an address, as CtNat has it. */
export function addressHex(text: string): string {
  return addressBytes(text).map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function l4Bytes(spec: PacketSpec, isIpv6: boolean): { bytes: Uint8Array; checksumAt: number } {
  const payload = typeof spec.payload === "string"
    ? Uint8Array.from(spec.payload, (char) => char.charCodeAt(0))
    : spec.payload ?? new Uint8Array();
  const protocol = spec.protocol ?? 6;
  const options = spec.options ?? [];
  const isIcmp = protocol === (isIpv6 ? 58 : 1);
  const headerSize = protocol === 6 ? 20 + options.length : protocol === 132 ? 12 : 8;
  const bytes = new Uint8Array(headerSize + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.set(payload, headerSize);
  if (isIcmp) {
    view.setUint8(0, spec.type ?? (isIpv6 ? 128 : 8));
    view.setUint8(1, spec.code ?? 0);
    view.setUint16(4, spec.id ?? 0);
    return { bytes, checksumAt: 2 };
  }
  view.setUint16(0, spec.sport ?? 1000);
  view.setUint16(2, spec.dport ?? 80);
  if (protocol === 17) {
    view.setUint16(4, bytes.length);
    return { bytes, checksumAt: 6 };
  }
  if (protocol === 136) return { bytes, checksumAt: 6 }; // UDP-Lite: the checksum covers all
  if (protocol !== 6) return { bytes, checksumAt: -1 };
  view.setUint32(4, (spec.seq ?? 0) >>> 0);
  view.setUint32(8, (spec.ack ?? 0) >>> 0);
  view.setUint16(12, (headerSize >> 2) << 12 | (spec.flags ?? ACK));
  view.setUint16(14, spec.window ?? 65535);
  bytes.set(options, 20);
  return { bytes, checksumAt: 16 };
}

/** A frame in a buffer with 256 bytes in front and 512 behind it; l3At and l4At are set. */
export function makePacket(spec: PacketSpec): Packet {
  const isIpv6 = spec.src.includes(":");
  const protocol = spec.protocol ?? 6;
  const { bytes: l4, checksumAt } = l4Bytes(spec, isIpv6);
  const l3Size = isIpv6 ? 40 : 20;
  const start = 256;
  const l3 = start + 14;
  const bytes = new Uint8Array(l3 + l3Size + l4.length + 512);
  const view = new DataView(bytes.buffer);
  view.setUint16(l3 - 2, isIpv6 ? 0x86dd : 0x0800);
  if (isIpv6) {
    view.setUint32(l3, 0x60000000);
    view.setUint16(l3 + 4, l4.length);
    view.setUint16(l3 + 6, protocol << 8 | 64);
    bytes.set([...addressBytes(spec.src), ...addressBytes(spec.dst)], l3 + 8);
  } else {
    view.setUint16(l3, 0x4500);
    view.setUint16(l3 + 2, 20 + l4.length);
    view.setUint16(l3 + 8, 64 << 8 | protocol);
    bytes.set([...addressBytes(spec.src), ...addressBytes(spec.dst)], l3 + 12);
    view.setUint16(l3 + 10, finish(sum(view, l3, l3 + 20)), true);
  }
  const l4At = l3 + l3Size;
  bytes.set(l4, l4At);
  const packet = new Packet({ bytes, view, address: 0 });
  packet.start = start;
  packet.end = l4At + l4.length;
  packet.tailLimit = bytes.length;
  packet.l3At = l3;
  packet.l4At = l4At;
  packet.ip = protocol;
  if (protocol === 132) view.setUint32(l4At + 8, crc32c(view, l4At, packet.end), true);
  if (checksumAt < 0) return packet;
  const pseudo = protocol === 1
    ? 0
    : (isIpv6 ? pseudoIpv6 : pseudoIpv4)(view, l3, protocol, l4.length);
  if (spec.partial) {
    view.setUint16(l4At + checksumAt, pseudo, true);
    packet.needsCsum = true;
    packet.csumStart = l4At - start;
    packet.csumOffset = checksumAt;
  } else {
    view.setUint16(l4At + checksumAt, finish(pseudo + sum(view, l4At, packet.end)), true);
  }
  return packet;
}

/** Whether all of a packet's checksums (Internet checksums) are right; a partial one: the pseudo-header's sum. */
export function areChecksumsRight(packet: Packet): boolean {
  const { view, l3At, end } = packet;
  const isIpv6 = view.getUint8(l3At) >>> 4 === 6;
  if (!isIpv6 && sum(view, l3At, l3At + 20) !== 0xffff) return false;
  const protocol = view.getUint8(l3At + (isIpv6 ? 6 : 9));
  const l4At = l3At + (isIpv6 ? 40 : 20);
  const size = isIpv6 ? view.getUint16(l3At + 4) : view.getUint16(l3At + 2) - 20;
  if (l4At + size !== end) return false;
  if (protocol === 132) return crc32c(view, l4At, end) === view.getUint32(l4At + 8, true);
  if (protocol !== 6 && protocol !== 17 && protocol !== 1 && protocol !== 58) return true;
  const pseudo = protocol === 1
    ? 0
    : (isIpv6 ? pseudoIpv6 : pseudoIpv4)(view, l3At, protocol, size);
  if (packet.needsCsum) {
    return view.getUint16(packet.start + packet.csumStart + packet.csumOffset, true) === pseudo;
  }
  const total = pseudo + sum(view, l4At, end);
  return (total & 0xffff) + (total >>> 16) === 0xffff;
}

function addressText(view: DataView, at: number, size: number): string {
  if (size === 4) return [0, 1, 2, 3].map((byte) => view.getUint8(at + byte)).join(".");
  return [0, 2, 4, 6, 8, 10, 12, 14].map((byte) => view.getUint16(at + byte).toString(16))
    .join(":").replace(/(^|:)0(:0)+(:|$)/, "::");
}

/** `src:port>dst:port` of a packet, or the identifier twice. */
export function describe(packet: Packet): string {
  const { view, l3At } = packet;
  const isIpv6 = view.getUint8(l3At) >>> 4 === 6;
  const protocol = view.getUint8(l3At + (isIpv6 ? 6 : 9));
  const l4At = l3At + (isIpv6 ? 40 : 20);
  const size = isIpv6 ? 16 : 4;
  const at = l3At + (isIpv6 ? 8 : 12);
  const isIcmp = protocol === 1 || protocol === 58;
  const sport = view.getUint16(isIcmp ? l4At + 4 : l4At);
  const dport = view.getUint16(isIcmp ? l4At + 4 : l4At + 2);
  return `${addressText(view, at, size)}:${sport}>${addressText(view, at + size, size)}:${dport}`;
}

const NO_NAT: CtNat = {
  direction: undefined,
  addressMin: undefined,
  addressMax: undefined,
  portMin: undefined,
  portMax: undefined,
  persistent: false,
  hash: false,
  random: false,
};

/** A nat clause. */
export function nat(options: Partial<CtNat> = {}): CtNat {
  return { ...NO_NAT, ...options };
}

/** The words of a ct action. */
export function plan(options: Partial<CtAction> = {}): Int32Array {
  const action: CtAction = {
    type: "ct",
    commit: false,
    forceCommit: false,
    zone: undefined,
    mark: undefined,
    label: undefined,
    helper: undefined,
    nat: undefined,
    eventMask: undefined,
    timeout: undefined,
    ...options,
  };
  return Int32Array.from(encodeCt(action, () => 1));
}

const STATE_NAMES = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];

/** `new+trk`: the bits of ct_state by name. */
export function stateText(state: number): string {
  return STATE_NAMES.filter((_, bit) => (state >>> bit & 1) === 1).join("+");
}

/** A tracker with a clock and a repeatable random source. */
export class Lab {
  readonly buffers: ConntrackBuffers;
  readonly tracker: Tracker;
  readonly ct: CtMetadata = new CtMetadata();
  nowMs = 1_000_000;
  #seed = 1;

  constructor(options: TrackerOptions & { readonly connectionsMax?: number } = {}) {
    this.buffers = makeConntrackBuffers({
      connectionsMax: options.connectionsMax ?? 4096,
      threads: 2,
      seed: Uint8Array.from({ length: 16 }, (_, at) => at * 7 + 1),
    });
    setDefaultTimeouts(this.buffers);
    this.tracker = new Tracker(this.buffers, 0, () => this.random(), options);
    this.tracker.setNow(this.nowMs);
  }

  random(): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) | 0;
    return (this.#seed ^ this.#seed >>> 15) >>> 0;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.tracker.setNow(this.nowMs);
  }

  /** Runs an action on a packet that was not tracked before; `ct` then has the answer. Returns the verdict. */
  run(packet: Packet, words: Int32Array): number {
    this.ct.clear();
    return this.tracker.execute(packet, this.ct, words, 0);
  }

  /** As run; returns the state as text, or `drop N`. */
  state(packet: Packet, words: Int32Array): string {
    const verdict = this.run(packet, words);
    return verdict === 0 ? stateText(this.ct.state) : `drop ${verdict}`;
  }
}
