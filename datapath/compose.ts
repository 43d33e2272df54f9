/**
 * A frame that has a given flow key: the inverse of extract.ts, for netdev-dummy/receive and tests.
 * The bytes are those of Open vSwitch's flow_compose wherever that makes a valid frame: addresses,
 * ports and flags from the key, the rest zero, checksums right.
 */
import { crc32c, finish, pseudoIpv4, pseudoIpv6, sum } from "./checksum.ts";
import { RuleError } from "./errors.ts";
import {
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_RARP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  NEIGHBOUR_ADVERTISEMENT,
  NEIGHBOUR_SOLICITATION,
} from "./fields.ts";
import * as arp from "./headers/arp.ts";
import * as ethernet from "./headers/ethernet.ts";
import * as icmp from "./headers/icmp.ts";
import * as icmpv6 from "./headers/icmpv6.ts";
import * as ipv4 from "./headers/ipv4.ts";
import * as ipv6 from "./headers/ipv6.ts";
import * as sctp from "./headers/sctp.ts";
import * as tcp from "./headers/tcp.ts";
import * as udp from "./headers/udp.ts";
import * as vlan from "./headers/vlan.ts";
import * as at from "./key.ts";

/** Largest frame: an IPv4 packet of 65535 bytes in an Ethernet frame without tags. */
const COMPOSED_SIZE_MAX = 65535 + 14;
/** No headers and payload without a given size exceed it. */
const HEADERS_SIZE_MAX = 512;
/** Payload of a frame whose size is not given, bytes counting up: as Open vSwitch. */
const PAYLOAD_SIZE = 64;
const FIN_SYN_RST = 0x07;
const MORE_FRAGMENTS = 0x2000;
/** Where a later fragment is put, in units of 8 bytes. */
const LATER_OFFSET = 100;
const IPPROTO_FRAGMENT = 44;
const FRAGMENT_HEADER_SIZE = 8;
/** No next header: what a later fragment, whose protocol is IPPROTO_FRAGMENT in a key, is given. */
const IPPROTO_NONE = 59;
const ICMP_ECHO_REPLY = 0;
const ICMP_ECHO_REQUEST = 8;
const ICMPV6_ECHO_REQUEST = 128;
const ICMPV6_ECHO_REPLY = 129;
const OPTION_SIZE = 8;
const SOURCE_LINK_ADDRESS = 1;
const TARGET_LINK_ADDRESS = 2;

/** A frame under construction. */
interface Draft {
  readonly view: DataView<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The key, big-endian. */
  readonly key: DataView;
  /** Bytes of counted payload for headers that carry any. */
  readonly payloadSize: number;
  end: number;
}

/**
 * A frame of exactly `size` bytes, zero behind the headers; without `size`, one with 64 bytes of
 * payload where the protocol has a payload. Throws RuleError EINVAL if the headers need more.
 */
export function composeFrame(key: Int32Array, size?: number): Uint8Array<ArrayBuffer> {
  if (size !== undefined && !(size >= 0 && size <= COMPOSED_SIZE_MAX)) {
    throw new RuleError("EINVAL", `a frame has at most ${COMPOSED_SIZE_MAX} bytes, not ${size}`);
  }
  const buffer = new ArrayBuffer(Math.max(HEADERS_SIZE_MAX, size ?? 0));
  const draft: Draft = {
    view: new DataView(buffer),
    bytes: new Uint8Array(buffer),
    key: new DataView(key.buffer, key.byteOffset, at.KEY_SIZE),
    payloadSize: size === undefined ? PAYLOAD_SIZE : 0,
    end: 0,
  };
  const type = draft.key.getUint16(at.ETH_TYPE_AT);
  writeEthernet(draft, type);
  const l3At = draft.end;
  if (type === ETH_P_IP) writeIpv4(draft, l3At);
  else if (type === ETH_P_IPV6) writeIpv6(draft, l3At);
  else if (type === ETH_P_ARP || type === ETH_P_RARP) writeArp(draft);
  if (size !== undefined) {
    if (size < draft.end) {
      throw new RuleError(
        "EINVAL",
        `a frame with these headers has at least ${draft.end} bytes, not ${size}`,
      );
    }
    draft.end = size;
  }
  finishSizes(draft, type, l3At);
  return draft.bytes.slice(0, draft.end);
}

function writeEthernet(draft: Draft, type: number): void {
  const { key, view } = draft;
  const tags = [at.VLAN_TCI_AT, at.CVLAN_TCI_AT].filter((tag) =>
    (key.getUint16(tag) & at.VLAN_PRESENT) !== 0
  );
  ethernet.write(view, 0, {
    destinationHigh: key.getUint32(at.ETH_DST_AT),
    destinationLow: key.getUint16(at.ETH_DST_AT + 4),
    sourceHigh: key.getUint32(at.ETH_SRC_AT),
    sourceLow: key.getUint16(at.ETH_SRC_AT + 4),
    type,
  });
  const typeAt = ethernet.SIZE - 2;
  tags.forEach((tag, index) => {
    vlan.write(
      view,
      typeAt + index * vlan.SIZE,
      key.getUint16(tag + 2),
      key.getUint16(tag) & ~at.VLAN_PRESENT,
    );
  });
  draft.end = ethernet.SIZE + tags.length * vlan.SIZE;
  view.setUint16(draft.end - 2, type);
}

function writeArp(draft: Draft): void {
  const { key, view } = draft;
  arp.write(view, draft.end, {
    operation: key.getUint8(at.IP_PROTO_AT),
    senderHardwareHigh: key.getUint32(at.ARP_SHA_AT),
    senderHardwareLow: key.getUint16(at.ARP_SHA_AT + 4),
    senderProtocol: key.getUint32(at.IPV4_SRC_AT),
    targetHardwareHigh: key.getUint32(at.ARP_THA_AT),
    targetHardwareLow: key.getUint16(at.ARP_THA_AT + 4),
    targetProtocol: key.getUint32(at.IPV4_DST_AT),
  });
  draft.end += arp.SIZE;
}

/** MORE_FRAGMENTS and an offset as the key's frag says. */
function fragmentField(key: DataView): number {
  const fragment = key.getUint8(at.IP_FRAG_AT);
  if (fragment === at.FRAG_NONE) return 0;
  return MORE_FRAGMENTS | (fragment === at.FRAG_LATER ? LATER_OFFSET : 0);
}

function writeIpv4(draft: Draft, l3At: number): void {
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

function writeIpv6(draft: Draft, l3At: number): void {
  const { key, view } = draft;
  const protocol = key.getUint8(at.IP_PROTO_AT);
  const fragment = fragmentField(key);
  draft.end += ipv6.SIZE;
  ipv6.write(view, l3At, {
    trafficClass: key.getUint8(at.IP_TOS_AT),
    label: key.getUint32(at.IPV6_LABEL_AT),
    payloadSize: 0, // finishSizes
    nextHeader: fragment === 0 ? protocol : IPPROTO_FRAGMENT,
    hopLimit: key.getUint8(at.IP_TTL_AT),
    source: words(key, at.IPV6_SRC_AT),
    destination: words(key, at.IPV6_DST_AT),
  });
  if (fragment !== 0) {
    view.setUint8(draft.end, protocol === IPPROTO_FRAGMENT ? IPPROTO_NONE : protocol);
    // The offset is the field's upper 13 bits, MORE_FRAGMENTS its lowest.
    view.setUint16(draft.end + 2, (fragment & 0x1fff) << 3 | 1);
    draft.end += FRAGMENT_HEADER_SIZE;
  }
  writeTransport(draft);
}

function words(key: DataView, start: number): number[] {
  return [0, 4, 8, 12].map((offset) => key.getUint32(start + offset));
}

/** Writes the L4 header, without checksum, and payload at the end of the draft. */
function writeTransport(draft: Draft): void {
  const { key, view, end } = draft;
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
  icmpv6.write(draft.view, draft.end, type, code, 0);
  draft.end += icmpv6.SIZE;
  const isDiscovery = type === NEIGHBOUR_SOLICITATION || type === NEIGHBOUR_ADVERTISEMENT;
  if (isDiscovery && code === 0) {
    copyFromKey(draft, at.ND_TARGET_AT, 16);
    writeLinkAddress(draft, SOURCE_LINK_ADDRESS, at.ND_SLL_AT);
    writeLinkAddress(draft, TARGET_LINK_ADDRESS, at.ND_TLL_AT);
  } else if (isEcho(type, code, [ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY])) {
    writePayload(draft);
  }
}

/** A neighbour discovery option, unless the address is zero. */
function writeLinkAddress(draft: Draft, option: number, from: number): void {
  if (draft.key.getUint32(from) === 0 && draft.key.getUint16(from + 4) === 0) return;
  draft.view.setUint8(draft.end, option);
  draft.view.setUint8(draft.end + 1, OPTION_SIZE / 8);
  draft.end += 2;
  copyFromKey(draft, from, 6);
}

function copyFromKey(draft: Draft, from: number, size: number): void {
  for (let index = 0; index < size; index++) {
    draft.view.setUint8(draft.end++, draft.key.getUint8(from + index));
  }
}

function writePayload(draft: Draft): void {
  for (let index = 0; index < draft.payloadSize; index++) draft.bytes[draft.end++] = index;
}

/** Sizes and checksums, now that the frame's size is known. */
function finishSizes(draft: Draft, type: number, l3At: number): void {
  const { view, key, end } = draft;
  if (type === at.ETH_P_802_2) {
    // IEEE 802.3: the length of what follows.
    view.setUint16(l3At - 2, Math.min(end - l3At, 1500));
  } else if (type === ETH_P_IP) {
    ipv4.finishHeader(view, l3At, end - l3At);
    finishTransport(draft, l3At, l3At + ipv4.SIZE);
  } else if (type === ETH_P_IPV6) {
    view.setUint16(l3At + 4, end - l3At - ipv6.SIZE);
    const isFragment = key.getUint8(at.IP_FRAG_AT) !== at.FRAG_NONE;
    finishTransport(draft, l3At, l3At + ipv6.SIZE + (isFragment ? FRAGMENT_HEADER_SIZE : 0));
  }
}

function finishTransport(draft: Draft, l3At: number, l4At: number): void {
  const { view, key, end } = draft;
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
