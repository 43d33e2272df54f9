/**
 * One instruction of an action program (action_program.ts) that changes the packet, be it its bytes or
 * what its descriptor says: finds the function of the protocol's own file.
 */
import {
  ADD_MPLS,
  DEC_TTL,
  HASH,
  POP_ETH,
  POP_MPLS,
  POP_NSH,
  POP_VLAN,
  PUSH_ETH,
  PUSH_MPLS,
  PUSH_NSH,
  PUSH_VLAN,
  pushedNshSize,
  SET_MASKED,
} from "./action_program.ts";
import { setArp } from "./arp_actions.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { ETHERNET_SIZE, popEthernet, pushEthernet } from "./ethernet_actions.ts";
import { setIcmp, setNeighbour, setNeighbourExtension } from "./icmp_actions.ts";
import { setHash, setMetadata } from "./metadata_actions.ts";
import { addMpls, LABEL_SIZE, popMpls, pushMpls, setMpls } from "./mpls_actions.ts";
import { popNsh, pushNsh, setNsh } from "./nsh_actions.ts";
import type { Packet } from "../packet/packet.ts";
import { setEthernet, setIpv4, setIpv6, setTransport } from "./set_field.ts";
import {
  SET_ARP,
  SET_ETH,
  SET_ICMP,
  SET_ICMPV6,
  SET_IPV4,
  SET_IPV6,
  SET_MPLS,
  SET_ND,
  SET_ND_EXT,
  SET_NSH,
  SET_SCTP,
  SET_TCP,
} from "./set_headers.ts";
import { decrementTtl } from "./ttl_actions.ts";
import { popVlan, pushVlan, TAG_SIZE } from "./vlan_actions.ts";

const IMPOSSIBLE = dropReason("action-impossible");

/** Bytes by which the instruction makes the frame grow at its head. */
export function growthOf(words: Int32Array, at: number): number {
  switch (words[at]! & 0xff) {
    case PUSH_VLAN:
      return TAG_SIZE;
    case PUSH_MPLS:
    case ADD_MPLS:
      return LABEL_SIZE;
    case PUSH_ETH:
      return ETHERNET_SIZE;
    case PUSH_NSH:
      return pushedNshSize(words, at);
    default:
      return 0;
  }
}

/**
 * Runs the instruction at words[at]. The packet's bytes must be the caller's to change, with headroom
 * for what it grows by. Returns 0 or why the packet can't go on; it may then be half changed.
 */
export function change(packet: Packet, words: Int32Array, at: number): DropReason {
  switch (words[at]! & 0xff) {
    case PUSH_VLAN:
      if (packet.isL3) return IMPOSSIBLE;
      pushVlan(packet, words[at + 1]!);
      return 0;
    case POP_VLAN:
      return packet.isL3 ? 0 : popVlan(packet);
    case SET_MASKED:
      return setHeader(packet, words, at);
    case DEC_TTL:
      return decrementTtl(packet);
    case HASH:
      setHash(packet, words, at);
      return 0;
    default:
      return pushOrPop(packet, words, at);
  }
}

/** Runs the SET_MASKED at words[at]; see {@link change}. */
export function setHeader(packet: Packet, words: Int32Array, at: number): DropReason {
  const header = words[at + 1]!;
  switch (header) {
    case SET_ETH:
      return packet.isL3 ? IMPOSSIBLE : setEthernet(packet, words, at + 2);
    case SET_IPV4:
      return setIpv4(packet, words, at + 2);
    case SET_IPV6:
      return setIpv6(packet, words, at + 2);
    default:
      if (header >= SET_TCP && header <= SET_SCTP) {
        return setTransport(packet, header, words, at + 2);
      }
      return setOther(packet, header, words, at);
  }
}

function setOther(packet: Packet, header: number, words: Int32Array, at: number): DropReason {
  switch (header) {
    case SET_ARP:
      return setArp(packet, words, at + 2);
    case SET_MPLS:
      return setMpls(packet, words, at + 2);
    case SET_NSH:
      return setNsh(packet, words, at + 2);
    case SET_ICMP:
    case SET_ICMPV6:
      return setIcmp(packet, header === SET_ICMPV6, words, at + 2);
    case SET_ND:
      return setNeighbour(packet, words, at + 2);
    case SET_ND_EXT:
      return setNeighbourExtension(packet, words, at + 2);
    default:
      setMetadata(packet, words, at);
      return 0;
  }
}

function pushOrPop(packet: Packet, words: Int32Array, at: number): DropReason {
  switch (words[at]! & 0xff) {
    case PUSH_MPLS:
      return pushMpls(packet, words[at + 1]!, words[at + 2]!);
    case POP_MPLS:
      return popMpls(packet, words[at + 1]!);
    case ADD_MPLS:
      return addMpls(packet, words, at + 1);
    case PUSH_ETH:
      return pushEthernet(packet, words, at + 1);
    case POP_ETH:
      return popEthernet(packet);
    case PUSH_NSH:
      return pushNsh(packet, words, at + 1);
    case POP_NSH:
      return popNsh(packet);
    default:
      return IMPOSSIBLE;
  }
}
