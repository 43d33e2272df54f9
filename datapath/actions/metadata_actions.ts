/**
 * Set actions on what is not in the frame but in its descriptor: priority, mark, dp_hash, recirc_id,
 * the tunnel to send through; and the hash action. Lent bytes don't matter to these.
 */
import { HASH_SYM_L4 } from "./action_program.ts";
import { flowHash } from "./flow_hash.ts";
import { type Packet, WIDE_METADATA_FROM } from "../packet/packet.ts";
import { SET_DP_HASH, SET_MARK, SET_PRIORITY, SET_RECIRC_ID, SET_TUNNEL } from "./set_headers.ts";

/** Whether a SET_* header is metadata. */
export function isMetadata(header: number): boolean {
  return header <= SET_MARK || (header >= SET_DP_HASH && header <= SET_TUNNEL);
}

/** Runs the SET_MASKED of metadata at words[at]. Words are in network byte order. */
export function setMetadata(packet: Packet, words: Int32Array, at: number): void {
  const header = words[at + 1]!;
  if (header === SET_TUNNEL) {
    setTunnel(packet, words, at);
    return;
  }
  const value = hostOrder(words[at + 4]!);
  const kept = ~hostOrder(words[at + 5]!);
  switch (header) {
    case SET_PRIORITY:
      packet.priority = ((packet.priority & kept) | value) >>> 0;
      break;
    case SET_MARK:
      packet.mark = ((packet.mark & kept) | value) >>> 0;
      break;
    case SET_DP_HASH:
      packet.dpHash = ((packet.dpHash & kept) | value) >>> 0;
      break;
    case SET_RECIRC_ID:
      packet.recircId = ((packet.recircId & kept) | value) >>> 0;
      break;
  }
}

/** A tunnel is set whole: what the action does not say is zero. */
function setTunnel(packet: Packet, words: Int32Array, at: number): void {
  const from = words[at + 2]! - WIDE_METADATA_FROM;
  const count = words[at + 3]!;
  const egress = packet.metadata().egressWords;
  egress.fill(0);
  for (let word = 0; word < count; word++) egress[from + word] = words[at + 4 + word]!;
  packet.hasEgress = true;
}

/** Runs the HASH at words[at]. 0 says that there is no hash: that is 1. */
export function setHash(packet: Packet, words: Int32Array, at: number): void {
  packet.dpHash = flowHash(packet, words[at + 1] === HASH_SYM_L4, words[at + 2]!) || 1;
}

/** The number whose bytes in network byte order are the word's. */
function hostOrder(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
