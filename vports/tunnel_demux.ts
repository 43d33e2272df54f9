/**
 * Which of the ports that share a socket a received packet belongs to. As in Open vSwitch
 * (ofproto/tunnel.c): key before remote address before local address, exact before any.
 */
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import { addressBytes } from "../netdev/tunnel_socket.ts";
import type { TunnelOptions } from "./tunnel_options.ts";

/** In the order of looking: 2 · 2 · 3. */
const RANKS = 12;

interface Entry<Port> {
  readonly port: Port;
  /** Undefined: any. */
  readonly key: number | undefined;
  readonly remote: DataView | undefined;
  readonly local: DataView | undefined;
}

export class TunnelDemux<Port> {
  readonly #ranks: (Map<number, Entry<Port>[]> | undefined)[] = new Array(RANKS).fill(undefined);
  #count = 0;

  /** How many ports there are. */
  get count(): number {
    return this.#count;
  }

  add(port: Port, options: TunnelOptions): void {
    const { remote, local, inKey } = options;
    const entry: Entry<Port> = {
      port,
      key: inKey === "flow" ? undefined : inKey ?? 0,
      remote: remote === undefined ? undefined : viewOf(remote),
      local: local === undefined || local === "flow" ? undefined : viewOf(local),
    };
    const rank = (entry.key === undefined ? 6 : 0) + (entry.remote === undefined ? 3 : 0) +
      (local === undefined ? 1 : local === "flow" ? 2 : 0);
    const map = this.#ranks[rank] ??= new Map();
    const hash = hashOf(entry);
    const bucket = map.get(hash);
    if (bucket === undefined) map.set(hash, [entry]);
    else bucket.push(entry);
    this.#count++;
  }

  /** Does nothing for a port that isn't in. */
  remove(port: Port): void {
    for (let rank = 0; rank < RANKS; rank++) {
      const map = this.#ranks[rank];
      if (map === undefined) continue;
      for (const [hash, bucket] of map) {
        const kept = bucket.filter((entry) => entry.port !== port);
        this.#count -= bucket.length - kept.length;
        if (kept.length === 0) map.delete(hash);
        else map.set(hash, kept);
      }
      if (map.size === 0) this.#ranks[rank] = undefined;
    }
  }

  /** The port for a packet that came through `tunnel`; undefined: none. A tunnel without key has idLow 0. */
  find(tunnel: TunnelKey): Port | undefined {
    for (let rank = 0; rank < RANKS; rank++) {
      const map = this.#ranks[rank];
      if (map === undefined) continue;
      const bucket = map.get(hashFor(tunnel, rank));
      if (bucket === undefined) continue;
      for (let at = 0; at < bucket.length; at++) {
        const entry = bucket[at]!;
        if (fits(entry, tunnel)) return entry.port;
      }
    }
    return undefined;
  }
}

function viewOf(address: string): DataView {
  const bytes = addressBytes(address)!;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function mix(hash: number, word: number): number {
  return Math.imul(hash ^ word, 0x9e3779b1) ^ (hash >>> 15);
}

/** The hash that {@link hashFor} gives of a packet that fits the entry. */
function hashOf(entry: Entry<unknown>): number {
  let hash = entry.key === undefined ? 0 : mix(0, entry.key);
  for (const address of [entry.remote, entry.local]) {
    for (let at = 0; address !== undefined && at < address.byteLength; at += 4) {
      hash = mix(hash, address.getUint32(at));
    }
  }
  return hash;
}

function hashFor(tunnel: TunnelKey, rank: number): number {
  let hash = rank < 6 ? mix(0, tunnel.idLow) : 0;
  const isV4 = tunnel.family === 4;
  if (rank % 6 < 3) {
    if (isV4) hash = mix(hash, tunnel.source);
    else for (let word = 0; word < 4; word++) hash = mix(hash, tunnel.sourceWord(word));
  }
  if (rank % 3 === 0) {
    if (isV4) hash = mix(hash, tunnel.destination);
    else for (let word = 0; word < 4; word++) hash = mix(hash, tunnel.destinationWord(word));
  }
  return hash;
}

function fits(entry: Entry<unknown>, tunnel: TunnelKey): boolean {
  const { key, remote, local } = entry;
  if (key !== undefined && key !== tunnel.idLow) return false;
  const size = tunnel.family === 4 ? 4 : 16;
  if (remote !== undefined) {
    if (remote.byteLength !== size) return false;
    if (size === 4 ? remote.getUint32(0) !== tunnel.source : !isSource(tunnel, remote)) {
      return false;
    }
  }
  if (local === undefined) return true;
  if (local.byteLength !== size) return false;
  return size === 4 ? local.getUint32(0) === tunnel.destination : isDestination(tunnel, local);
}

function isSource(tunnel: TunnelKey, address: DataView): boolean {
  for (let word = 0; word < 4; word++) {
    if (tunnel.sourceWord(word) !== address.getUint32(4 * word)) return false;
  }
  return true;
}

function isDestination(tunnel: TunnelKey, address: DataView): boolean {
  for (let word = 0; word < 4; word++) {
    if (tunnel.destinationWord(word) !== address.getUint32(4 * word)) return false;
  }
  return true;
}
