/** Packets of capture files and their link types: what pcap.ts and pcapng.ts share. */
import { ETH_P_IP, ETH_P_IPV6 } from "../fields/fields.ts";

/** A packet of a capture. */
export interface CapturedPacket {
  /** What was captured of it. */
  readonly bytes: Uint8Array;
  /** It has no Ethernet header. */
  readonly isL3: boolean;
  /** Ethernet type of an L3 packet; 0 or absent: unknown. */
  readonly ethType?: number;
  /** Seconds since 1970; absent: not noted. */
  readonly time?: number;
  /** Bytes it had, if that is more than was captured. */
  readonly originalSize?: number;
}

/** A capture that can't be read or written. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
  readonly code = "EINVAL";
}

export const LINKTYPE_ETHERNET = 1;
export const LINKTYPE_RAW = 101;
const LINKTYPE_IPV4 = 228;
const LINKTYPE_IPV6 = 229;

/** What people call the link types that they are likely to have. */
const LINK_NAMES: ReadonlyMap<number, string> = new Map([
  [0, "BSD loopback"],
  [9, "PPP"],
  [105, "IEEE 802.11"],
  [108, "OpenBSD loopback"],
  [113, "Linux cooked"],
  [127, "IEEE 802.11 with radiotap"],
  [195, "IEEE 802.15.4"],
  [249, "USB"],
  [276, "Linux cooked v2"],
]);

/** Throws CaptureError for a link type that can't be read. */
export function checkLinkType(linkType: number): void {
  const known = [LINKTYPE_ETHERNET, LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6];
  if (known.includes(linkType)) return;
  const name = LINK_NAMES.get(linkType);
  throw new CaptureError(
    `captures of link type ${linkType}${name === undefined ? "" : ` (${name})`} can't be read: ` +
      "only Ethernet (1) and raw IP (101, 228, 229)",
  );
}

/** A packet of a link type that {@link checkLinkType} has let pass. */
export function capturedPacket(
  bytes: Uint8Array,
  { linkType, time, originalSize }: {
    readonly linkType: number;
    readonly time: number | undefined;
    readonly originalSize: number;
  },
): CapturedPacket {
  return {
    bytes,
    isL3: linkType !== LINKTYPE_ETHERNET,
    ...(linkType === LINKTYPE_ETHERNET ? {} : { ethType: ethTypeOf(linkType, bytes) }),
    ...(time === undefined ? {} : { time }),
    ...(originalSize > bytes.length ? { originalSize } : {}),
  };
}

/** Ethernet type of a packet of a raw link type; 0: it is not IP. */
export function ethTypeOf(linkType: number, bytes: Uint8Array): number {
  if (linkType === LINKTYPE_IPV4) return ETH_P_IP;
  if (linkType === LINKTYPE_IPV6) return ETH_P_IPV6;
  const version = (bytes[0] ?? 0) >> 4;
  return version === 4 ? ETH_P_IP : version === 6 ? ETH_P_IPV6 : 0;
}
