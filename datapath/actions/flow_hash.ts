/**
 * The hash of a packet's flow, for the hash action. Open vSwitch leaves the function to the datapath.
 *
 * Here: addresses (IPv4, or the four words of each IPv6 address; other packets: MAC addresses and
 * type), protocol, and the ports of TCP, UDP and SCTP unless the packet is a fragment, mixed word by
 * word as MurmurHash3 does. For the symmetric one, both directions of a connection have the same
 * words: of each pair the sum and the exclusive or.
 */
import { FRAG_NONE } from "../key.ts";
import type { Packet } from "../packet/packet.ts";

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_SCTP = 132;
const ETHERNET_SIZE = 14;

/**
 * 32 bits as a signed integer, which V8 hands over without allocating. The packet's key must have been
 * extracted.
 */
export function flowHash(packet: Packet, isSymmetric: boolean, basis: number): number {
  const { view, l3At, ip } = packet;
  let hash = basis | 0;
  if (ip === 0) {
    if (packet.isL3) return finish(mix(hash, packet.ethType));
    if (packet.start + ETHERNET_SIZE > packet.end) return finish(hash);
    const high = view.getUint16(packet.start) ^ view.getUint16(packet.start + 6);
    const source = view.getInt32(packet.start + 8);
    hash = pair(mix(hash, high), view.getInt32(packet.start + 2), source, isSymmetric);
    return finish(mix(hash, view.getUint16(Math.max(l3At, packet.start + ETHERNET_SIZE) - 2)));
  }
  if (view.getUint8(l3At) >>> 4 === 4) {
    hash = pair(hash, view.getInt32(l3At + 12), view.getInt32(l3At + 16), isSymmetric);
  } else if (l3At + 40 <= packet.end) {
    for (let at = l3At + 8; at < l3At + 24; at += 4) {
      hash = pair(hash, view.getInt32(at), view.getInt32(at + 16), isSymmetric);
    }
  }
  const protocol = ip & 0xff;
  hash = mix(hash, protocol);
  const hasPorts = protocol === IPPROTO_TCP || protocol === IPPROTO_UDP ||
    protocol === IPPROTO_SCTP;
  const { l4At } = packet;
  if (hasPorts && ip >>> 24 === FRAG_NONE && l4At !== 0 && l4At + 4 <= packet.end) {
    hash = pair(hash, view.getUint16(l4At), view.getUint16(l4At + 2), isSymmetric);
  }
  return finish(hash);
}

function pair(hash: number, source: number, destination: number, isSymmetric: boolean): number {
  if (!isSymmetric) return mix(mix(hash, source), destination);
  return mix(mix(hash, source + destination | 0), source ^ destination);
}

function mix(hash: number, word: number): number {
  const mixed = Math.imul(word, 0xcc9e2d51 | 0);
  const rotated = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
  const next = hash ^ rotated;
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let mixed = Math.imul(hash ^ hash >>> 16, 0x85ebca6b | 0);
  mixed = Math.imul(mixed ^ mixed >>> 13, 0xc2b2ae35 | 0);
  return mixed ^ mixed >>> 16;
}
