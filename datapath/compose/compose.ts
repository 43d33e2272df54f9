/**
 * A frame that has a given flow key: the inverse of extract.ts, for netdev-dummy/receive, packet-make
 * and tests. The bytes are those of Open vSwitch's flow_compose wherever that makes a valid frame:
 * addresses, ports and flags from the key, the rest zero, checksums right.
 */
import { COMPOSED_SIZE_MAX } from "./composed_size.ts";
import { type Draft, impossible } from "./compose_draft.ts";
import { finishIp, writeIpv4, writeIpv6 } from "./compose_ip.ts";
import { RuleError } from "../errors.ts";
import {
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_NSH,
  ETH_P_RARP,
} from "../fields/fields.ts";
import * as arp from "../headers/arp.ts";
import * as ethernet from "../headers/ethernet.ts";
import * as mpls from "../headers/mpls.ts";
import * as nsh from "../headers/nsh.ts";
import * as vlan from "../headers/vlan.ts";
import * as at from "../key.ts";

/** No headers and payload without a given size exceed it. */
const HEADERS_SIZE_MAX = 512;
/** Payload of a frame whose size is not given. */
const PAYLOAD_SIZE = 64;
const MPLS_BOTTOM = 0x100;

/**
 * A frame of exactly `size` bytes, zero behind the headers; without `size`, one with 64 bytes of
 * payload where the protocol has a payload (nothing follows MPLS labels and NSH). A key with the bit
 * L3_PACKET gives a packet without Ethernet header. Metadata plays no part; an ipv6_exthdrs or nd_ext
 * that is zero asks for nothing. Throws RuleError EINVAL if the headers need more than `size`, or no
 * packet can have the key.
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
    l4At: 0,
  };
  const type = draft.key.getUint16(at.ETH_TYPE_AT);
  const isL3 = (draft.key.getUint16(at.TCP_FLAGS_AT) & at.L3_PACKET) !== 0;
  if (!isL3) writeEthernet(draft, type);
  const l3At = draft.end;
  writeNetwork(draft, type);
  if (size !== undefined) {
    if (size < draft.end) {
      throw new RuleError(
        "EINVAL",
        `a frame with these headers has at least ${draft.end} bytes, not ${size}`,
      );
    }
    draft.end = size;
  }
  if (type === ETH_P_IP || type === ETH_P_IPV6) finishIp(draft, type, l3At);
  // IEEE 802.3: the length of what follows.
  if (type === at.ETH_P_802_2 && !isL3) {
    draft.view.setUint16(l3At - 2, Math.min(draft.end - l3At, 1500));
  }
  return draft.bytes.slice(0, draft.end);
}

function writeNetwork(draft: Draft, type: number): void {
  switch (type) {
    case ETH_P_IP:
      return writeIpv4(draft, draft.end);
    case ETH_P_IPV6:
      return writeIpv6(draft, draft.end);
    case ETH_P_ARP:
    case ETH_P_RARP:
      return writeArp(draft);
    case ETH_P_MPLS_UC:
    case ETH_P_MPLS_MC:
      return writeLabels(draft);
    case ETH_P_NSH:
      return writeNsh(draft);
  }
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

/** The key's labels up to the bottom of the stack; a bottom behind them if it is not among them. */
function writeLabels(draft: Draft): void {
  for (let label = 0; label <= at.MPLS_LABELS_MAX; label++) {
    const entry = label === at.MPLS_LABELS_MAX
      ? MPLS_BOTTOM
      : draft.key.getUint32(at.MPLS_AT + label * mpls.SIZE);
    mpls.write(draft.view, draft.end, entry);
    draft.end += mpls.SIZE;
    if ((entry & MPLS_BOTTOM) !== 0) return;
  }
}

function writeNsh(draft: Draft): void {
  const { key } = draft;
  const flags = key.getUint8(at.NSH_FLAGS_AT);
  const ttl = key.getUint8(at.NSH_TTL_AT);
  if (flags > 3) throw impossible(`nsh flags are two bits, not ${flags}`);
  if (ttl > 63) throw impossible(`nsh ttl is at most 63, not ${ttl}`);
  draft.end += nsh.write(draft.view, draft.end, {
    flags,
    ttl,
    mdType: key.getUint8(at.NSH_MDTYPE_AT),
    nextProtocol: key.getUint8(at.NSH_NP_AT),
    path: key.getUint32(at.NSH_PATH_AT),
    context: [0, 4, 8, 12].map((offset) => key.getUint32(at.NSH_CONTEXT_AT + offset)),
  });
}
