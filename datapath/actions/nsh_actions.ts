/**
 * push_nsh, pop_nsh and set(nsh) (RFC 8300), as the kernel's nsh_push and nsh_pop (net/nsh/nsh.c): the
 * header goes in front of everything, an Ethernet header included, and makes an L3 packet. Its next
 * protocol follows from what it is put before.
 */
import { pushedNshSize } from "./action_program.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import {
  coverNetwork,
  ETHERNET_SIZE,
  grow,
  networkType,
  relocate,
  shrink,
} from "./ethernet_actions.ts";
import type { Packet } from "../packet/packet.ts";
import { masked } from "./set_field.ts";

const ETH_P_NSH = 0x894f;
const ETH_P_TEB = 0x6558;
const BASE_SIZE = 8;
const MD_TYPE_1 = 1;
const NP_ETHERNET = 3;
/** Ethernet type of each next protocol. */
const NEXT_TYPES = [0, 0x0800, 0x86dd, ETH_P_TEB, ETH_P_NSH, 0x8847];
const NSH_WORD = 52;
const PATH_WORD = 53;
const CONTEXT_WORD = 54;
const CONTEXT_SIZE = 16;

const HEADER_MISSING = dropReason("set-header-missing");
const IMPOSSIBLE = dropReason("action-impossible");

/** The packet must have the header's bytes of headroom; words[at …] is what PUSH_NSH has behind its operation. */
export function pushNsh(packet: Packet, words: Int32Array, at: number): DropReason {
  const next = packet.isL3 ? NEXT_TYPES.indexOf(packet.ethType) : NP_ETHERNET;
  if (next <= 0) return IMPOSSIBLE;
  const size = pushedNshSize(words, at - 1);
  grow(packet, size);
  const { view, start } = packet;
  const base = words[at]!;
  const flags = base & 3;
  const ttl = base >>> 8 & 0x3f;
  view.setUint16(start, flags << 12 | ttl << 6 | size >> 2);
  view.setUint8(start + 2, base >>> 16 & 0xff);
  view.setUint8(start + 3, next);
  view.setInt32(start + 4, words[at + 1]!);
  for (let byte = BASE_SIZE; byte < size; byte += 4) {
    view.setInt32(start + byte, words[at + 1 + (byte >> 2)]!, true);
  }
  packet.isL3 = true;
  packet.ethType = ETH_P_NSH;
  coverNetwork(packet, start);
  return 0;
}

/** Takes the header from an NSH packet without Ethernet header. What is Ethernet below must have a whole header. */
export function popNsh(packet: Packet): DropReason {
  const { view, start } = packet;
  if (!packet.isL3 || packet.ethType !== ETH_P_NSH) return IMPOSSIBLE;
  if (start + BASE_SIZE > packet.end) return HEADER_MISSING;
  const size = (view.getUint16(start) & 0x3f) << 2;
  if (size < BASE_SIZE || start + size > packet.end) return HEADER_MISSING;
  const next = view.getUint8(start + 3);
  if (next === 0 || next >= NEXT_TYPES.length) return IMPOSSIBLE;
  if (next === NP_ETHERNET && start + size + ETHERNET_SIZE > packet.end) return HEADER_MISSING;
  shrink(packet, size);
  packet.ethType = NEXT_TYPES[next]!;
  packet.isL3 = next !== NP_ETHERNET;
  relocate(packet);
  return 0;
}

/** Rewrites flags, TTL, path and, with metadata of type 1, context; words[at …] as set_field.ts has it. */
export function setNsh(packet: Packet, words: Int32Array, at: number): DropReason {
  const { view, l3At, end } = packet;
  if (networkType(packet) !== ETH_P_NSH || l3At + BASE_SIZE > end) return HEADER_MISSING;
  const first = view.getUint16(l3At);
  const size = (first & 0x3f) << 2;
  if (size < BASE_SIZE || l3At + size > end) return HEADER_MISSING;
  const old = first >>> 12 & 3 | (first >>> 6 & 0x3f) << 8;
  const base = masked(words, at, NSH_WORD, old);
  view.setUint16(l3At, first & 0xc03f | (base & 3) << 12 | (base >>> 8 & 0x3f) << 6);
  view.setInt32(l3At + 4, masked(words, at, PATH_WORD, view.getInt32(l3At + 4, true)), true);
  if (view.getUint8(l3At + 2) !== MD_TYPE_1 || size < BASE_SIZE + CONTEXT_SIZE) return 0;
  for (let word = 0; word < 4; word++) {
    const place = l3At + BASE_SIZE + 4 * word;
    const context = masked(words, at, CONTEXT_WORD + word, view.getInt32(place, true));
    view.setInt32(place, context, true);
  }
  return 0;
}
