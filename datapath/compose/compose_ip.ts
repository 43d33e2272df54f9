/** The IPv4 and IPv6 part of a frame that has a given key (compose.ts). */
import { crc32c, finish, pseudoIpv4, pseudoIpv6, sum } from "../packet/checksum.ts";
import { copyFromKey, type Draft, impossible, writePayload } from "./compose_draft.ts";
import { extensionChain, NONE_BIT } from "./compose_extensions.ts";
import {
  ETH_P_IP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  NEIGHBOUR_ADVERTISEMENT,
  NEIGHBOUR_SOLICITATION,
} from "../fields/fields.ts";
import * as icmp from "../headers/icmp.ts";
import * as icmpv6 from "../headers/icmpv6.ts";
import * as ipv4 from "../headers/ipv4.ts";
import * as ipv6 from "../headers/ipv6.ts";
import * as sctp from "../headers/sctp.ts";
import * as tcp from "../headers/tcp.ts";
import * as udp from "../headers/udp.ts";
import * as at from "../key.ts";

const FIN_SYN_RST = 0x07;
const MORE_FRAGMENTS = 0x2000;
/** Where a later fragment is put, in units of 8 bytes. */
const LATER_OFFSET = 100;
const ICMP_ECHO_REPLY = 0;
const ICMP_ECHO_REQUEST = 8;
const ICMPV6_ECHO_REQUEST = 128;
const ICMPV6_ECHO_REPLY = 129;
const OPTION_SIZE = 8;
const SOURCE_LINK_ADDRESS = 1;
const TARGET_LINK_ADDRESS = 2;
/** Padding option of hop-by-hop and destination options. */
const PADN = 1;

/** MORE_FRAGMENTS and an offset as the key's frag says. */
function fragmentField(key: DataView): number {
  const fragment = key.getUint8(at.IP_FRAG_AT);
  if (fragment === at.FRAG_NONE) return 0;
  return MORE_FRAGMENTS | (fragment === at.FRAG_LATER ? LATER_OFFSET : 0);
}

/** Writes the IPv4 header and the transport header. */
export function writeIpv4(draft: Draft, l3At: number): void {
  const { key, view } = draft;
  draft.end += ipv4.SIZE;
  writeTransport(draft);
  ipv4.write(view, l3At, {
    tos: key.getUint8(at.IP_TOS_AT),
    totalSize: draft.end - l3At,
    identification: 0,
    fragment: fragmentField(key),
    ttl: key.getUint8(at.IP_TTL_AT),
    protocol: key.getUint8(at.IP_PROTO_AT),
    source: key.getUint32(at.IPV4_SRC_AT),
    destination: key.getUint32(at.IPV4_DST_AT),
  });
}

/** Writes the IPv6 header, its extension headers and the transport header. */
export function writeIpv6(draft: Draft, l3At: number): void {
  const { key, view } = draft;
  const protocol = key.getUint8(at.IP_PROTO_AT);
  const bits = key.getUint16(at.IPV6_EXTHDRS_AT);
  const fragment = key.getUint8(at.IP_FRAG_AT);
  const chain = extensionChain(bits, fragment);
  const following = lastNextHeader(protocol, bits, fragment);
  if (chain === undefined || following === undefined) {
    throw impossible(
      `ipv6_exthdrs ${bits} does not go with protocol ${protocol} and fragment ${fragment}, ` +
        "or with the order in which such headers are counted",
    );
  }
  draft.end += ipv6.SIZE;
  ipv6.write(view, l3At, {
    trafficClass: key.getUint8(at.IP_TOS_AT),
    label: key.getUint32(at.IPV6_LABEL_AT),
    payloadSize: 0, // finishIp
    nextHeader: chain[0] ?? following,
    hopLimit: key.getUint8(at.IP_TTL_AT),
    source: words(key, at.IPV6_SRC_AT),
    destination: words(key, at.IPV6_DST_AT),
  });
  chain.forEach((type, index) => {
    writeExtension(draft, type, chain[index + 1] ?? following, index === chain.length - 1);
  });
  writeTransport(draft);
}

/** What the last header says that follows; undefined: bitmap and protocol contradict each other. */
function lastNextHeader(protocol: number, bits: number, fragment: number): number | undefined {
  const endsWithNone = (bits & NONE_BIT) !== 0;
  if (fragment === at.FRAG_LATER && protocol === ipv6.NEXTHDR_FRAGMENT) {
    return endsWithNone || bits === 0 ? ipv6.NEXTHDR_NONE : IPPROTO_UDP;
  }
  if (bits !== 0 && endsWithNone !== (protocol === ipv6.NEXTHDR_NONE)) return undefined;
  return protocol;
}

/** Appends one extension header of the smallest size. */
function writeExtension(draft: Draft, type: number, next: number, isLast: boolean): void {
  const { view, end } = draft;
  let size = 8;
  view.setUint8(end, next);
  if (type === ipv6.NEXTHDR_FRAGMENT) {
    // The offset is the field's upper 13 bits, MORE_FRAGMENTS its lowest.
    view.setUint16(end + 2, (fragmentField(draft.key) & 0x1fff) << 3 | 1);
  } else if (type === ipv6.NEXTHDR_AUTH) {
    // Extraction reads its length as 8-byte units, so one that another header follows has no number.
    size = isLast ? 12 : 8;
    view.setUint8(end + 1, size / 4 - 2);
  } else if (type !== ipv6.NEXTHDR_ROUTING) {
    view.setUint8(end + 2, PADN);
    view.setUint8(end + 3, 4);
  }
  draft.end += size;
}

function words(key: DataView, start: number): number[] {
  return [0, 4, 8, 12].map((offset) => key.getUint32(start + offset));
}

/** Writes the L4 header, without checksum, and payload at the end of the draft. */
function writeTransport(draft: Draft): void {
  const { key, view, end } = draft;
  draft.l4At = end;
  if (key.getUint8(at.IP_FRAG_AT) === at.FRAG_LATER) return;
  const source = key.getUint16(at.TP_SRC_AT);
  const destination = key.getUint16(at.TP_DST_AT);
  const isIpv4 = key.getUint16(at.ETH_TYPE_AT) === ETH_P_IP;
  switch (key.getUint8(at.IP_PROTO_AT)) {
    case IPPROTO_TCP: {
      const flags = key.getUint16(at.TCP_FLAGS_AT) & 0xfff;
      tcp.write(view, end, {
        source,
        destination,
        sequence: 0,
        acknowledgment: 0,
        flags,
        window: 0,
      });
      draft.end += tcp.SIZE;
      if ((flags & FIN_SYN_RST) === 0) writePayload(draft);
      break;
    }
    case IPPROTO_UDP:
      udp.write(view, end, { source, destination, totalSize: udp.SIZE });
      draft.end += udp.SIZE;
      writePayload(draft);
      break;
    case IPPROTO_SCTP:
      sctp.write(view, end, { source, destination, tag: 0 });
      draft.end += sctp.SIZE;
      break;
    case IPPROTO_ICMP:
      if (!isIpv4) break;
      icmp.write(view, end, source & 0xff, destination & 0xff, 0);
      draft.end += icmp.SIZE;
      if (isEcho(source, destination, [ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY])) writePayload(draft);
      break;
    case IPPROTO_ICMPV6:
      if (!isIpv4) writeIcmpv6(draft, source & 0xff, destination & 0xff);
      break;
  }
}

function isEcho(type: number, code: number, types: readonly number[]): boolean {
  return code === 0 && types.includes(type);
}

function writeIcmpv6(draft: Draft, type: number, code: number): void {
  const { key, view } = draft;
  const isDiscovery = type === NEIGHBOUR_SOLICITATION || type === NEIGHBOUR_ADVERTISEMENT;
  const rest = isDiscovery && code === 0 ? key.getUint32(at.ND_RESERVED_AT) : 0;
  icmpv6.write(view, draft.end, type, code, rest);
  draft.end += icmpv6.SIZE;
  if (isDiscovery && code === 0) {
    copyFromKey(draft, at.ND_TARGET_AT, 16);
    writeLinkAddresses(draft);
  } else if (isEcho(type, code, [ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY])) {
    writePayload(draft);
  }
}

/** Neighbour discovery options for the addresses that are not zero; nd_options_type says which is first. */
function writeLinkAddresses(draft: Draft): void {
  const first = draft.key.getUint8(at.ND_OPTIONS_TYPE_AT);
  if (first > TARGET_LINK_ADDRESS) {
    throw impossible(`nd_ext nd_options_type is 1 or 2, not ${first}`);
  }
  const options = [[SOURCE_LINK_ADDRESS, at.ND_SLL_AT], [
    TARGET_LINK_ADDRESS,
    at.ND_TLL_AT,
  ]] as const;
  const ordered = first === TARGET_LINK_ADDRESS ? options.toReversed() : options;
  for (const [type, from] of ordered) {
    const isZero = draft.key.getUint32(from) === 0 && draft.key.getUint16(from + 4) === 0;
    if (isZero && type !== first) continue;
    draft.view.setUint8(draft.end, type);
    draft.view.setUint8(draft.end + 1, OPTION_SIZE / 8);
    draft.end += 2;
    copyFromKey(draft, from, 6);
  }
}

/** Sizes and checksums, now that the frame's size is known. */
export function finishIp(draft: Draft, type: number, l3At: number): void {
  if (type === ETH_P_IP) ipv4.finishHeader(draft.view, l3At, draft.end - l3At);
  else draft.view.setUint16(l3At + 4, draft.end - l3At - ipv6.SIZE);
  finishTransport(draft, l3At);
}

function finishTransport(draft: Draft, l3At: number): void {
  const { view, key, end, l4At } = draft;
  if (key.getUint8(at.IP_FRAG_AT) === at.FRAG_LATER) return;
  const isIpv4 = key.getUint16(at.ETH_TYPE_AT) === ETH_P_IP;
  const protocol = key.getUint8(at.IP_PROTO_AT);
  const pseudo = isIpv4
    ? pseudoIpv4(view, l3At, protocol, end - l4At)
    : pseudoIpv6(view, l3At, protocol, end - l4At);
  const checksumOf = (initial: number): number => finish(initial + sum(view, l4At, end));
  // The checksum's bytes are still zero. Sums are of little-endian units (checksum.ts).
  switch (protocol) {
    case IPPROTO_TCP:
      view.setUint16(l4At + 16, checksumOf(pseudo), true);
      break;
    case IPPROTO_UDP:
      view.setUint16(l4At + 4, end - l4At);
      view.setUint16(l4At + 6, checksumOf(pseudo) || 0xffff, true);
      break;
    case IPPROTO_SCTP:
      view.setUint32(l4At + 8, crc32c(view, l4At, end), true);
      break;
    case IPPROTO_ICMP:
      if (isIpv4) view.setUint16(l4At + 2, checksumOf(0), true);
      break;
    case IPPROTO_ICMPV6:
      if (!isIpv4) view.setUint16(l4At + 2, checksumOf(pseudo), true);
      break;
  }
}
