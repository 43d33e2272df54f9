/**
 * Runs action programs (action_program.ts) on packets, as the kernel's do_execute_actions does
 * (net/openvswitch/actions.c).
 *
 * Programs were validated when they were installed; packets were not. An action whose header is not
 * in the packet drops it (set-header-missing), as the kernel's failing action does. Nothing is read
 * or written outside the frame.
 *
 * A packet that a port has borrowed is copied before it is changed (ActionHost.writable).
 */
import type { Accounts } from "./accounting.ts";
import {
  DROP,
  END,
  OUTPUT,
  POP_VLAN,
  PUSH_VLAN,
  SET_ETH,
  SET_IPV4,
  SET_IPV6,
  SET_MARK,
  SET_MASKED,
  SET_PRIORITY,
} from "./action_program.ts";
import { dropReason } from "./drop_reasons.ts";
import type { DropReason } from "./drop_reasons.ts";
import { FRAME_SIZE_MAX, type Packet } from "./packet.ts";
import { setEthernet, setIpv4, setIpv6, setTransport } from "./set_field.ts";
import { popVlan, pushVlan, TAG_SIZE } from "./vlan_actions.ts";

/** What an action list needs of its surroundings. */
export interface ActionHost {
  /** Sends the packet to a port and counts what became of it; the bytes are lent from then on. */
  output(packet: Packet, portNo: number): void;
  /** The packet or a copy whose bytes may change and which may grow by `growth` bytes at its head. Undefined: no buffer is free. */
  writable(packet: Packet, growth: number): Packet | undefined;
  /** Gives a copy back. */
  recycle(packet: Packet): void;
}

const EXPLICIT = dropReason("explicit");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const NO_HEADROOM = dropReason("no-headroom");

/**
 * Runs the program at words[at] on a packet, and counts copies and the drop if it ends in one. The
 * packet stays the caller's; it may have been changed.
 */
export function execute(
  packet: Packet,
  words: Int32Array,
  at: number,
  host: ActionHost,
  accounts: Accounts,
): void {
  // One output and nothing else: most packets.
  if ((words[at]! & 0xff) === OUTPUT && (words[at + 2]! & 0xff) === END) {
    host.output(packet, words[at + 1]!);
    return;
  }
  let current = packet;
  let outputs = 0;
  let reason = 0;
  for (;;) {
    const word = words[at]!;
    const operation = word & 0xff;
    if (operation === OUTPUT) {
      host.output(current, words[at + 1]!);
      outputs++;
    } else if (operation === SET_MASKED && words[at + 1]! <= SET_MARK) {
      setMetadata(current, words, at);
    } else if (operation === END) {
      if (outputs === 0) reason = EXPLICIT;
      break;
    } else if (operation === DROP) {
      reason = words[at + 1]! || EXPLICIT;
      break;
    } else {
      const own = host.writable(current, operation === PUSH_VLAN ? TAG_SIZE : 0);
      if (own === undefined) {
        reason = current.size > FRAME_SIZE_MAX ? NO_HEADROOM : POOL_EXHAUSTED;
        break;
      }
      // A second copy: the first is done with, though perhaps still lent.
      if (own !== current && current !== packet) host.recycle(current);
      current = own;
      reason = change(current, words, at);
      if (reason !== 0) break;
    }
    at += word >>> 8;
  }
  if (reason !== 0) accounts.dropped(packet.inPort, reason);
  // Each use of the packet but one was a copy.
  const uses = outputs + (reason === 0 ? 0 : 1);
  if (uses > 1) accounts.copied(uses - 1);
  if (current !== packet) host.recycle(current);
}

/** Runs one action that changes bytes. Returns 0 or why the packet can't go on. */
function change(packet: Packet, words: Int32Array, at: number): DropReason {
  switch (words[at]! & 0xff) {
    case PUSH_VLAN:
      pushVlan(packet, words[at + 1]!);
      return 0;
    case POP_VLAN:
      return popVlan(packet);
    case SET_MASKED:
      return setHeader(packet, words, at);
    default:
      return EXPLICIT;
  }
}

function setHeader(packet: Packet, words: Int32Array, at: number): DropReason {
  const header = words[at + 1]!;
  switch (header) {
    case SET_ETH:
      return setEthernet(packet, words, at + 2);
    case SET_IPV4:
      return setIpv4(packet, words, at + 2);
    case SET_IPV6:
      return setIpv6(packet, words, at + 2);
    default:
      return setTransport(packet, header, words, at + 2);
  }
}

/** Priority and mark belong to the descriptor: lent bytes don't matter. Words are in network byte order. */
function setMetadata(packet: Packet, words: Int32Array, at: number): void {
  const value = hostOrder(words[at + 4]!);
  const kept = ~hostOrder(words[at + 5]!);
  if (words[at + 1] === SET_PRIORITY) packet.priority = ((packet.priority & kept) | value) >>> 0;
  else packet.mark = ((packet.mark & kept) | value) >>> 0;
}

/** The number whose bytes in network byte order are the word's. */
function hostOrder(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
