/**
 * Ethernet header, 14 bytes (IEEE 802.3 §3.1). `at` is the offset of its first byte. Addresses are
 * given as two parts: `high`, the first four bytes, and `low`, the last two, unsigned. Allocates nothing.
 */

export const SIZE = 14;
const DESTINATION = 0;
const SOURCE = 6;
const TYPE = 12;

/** EtherType of IPv4. */
export const ETH_P_IP = 0x0800;
/** EtherType of ARP. */
export const ETH_P_ARP = 0x0806;
/** EtherType of RARP. */
export const ETH_P_RARP = 0x8035;
/** EtherType of a customer VLAN tag. */
export const ETH_P_8021Q = 0x8100;
/** EtherType of a service VLAN tag. */
export const ETH_P_8021AD = 0x88a8;
/** EtherType of IPv6. */
export const ETH_P_IPV6 = 0x86dd;
/** EtherType of an Ethernet frame within a tunnel. */
export const ETH_P_TEB = 0x6558;
/** Values from here on are types, below lengths (IEEE 802.3 §3.2.6). */
export const ETH_P_802_3_MIN = 0x0600;

/** Whether a whole header lies in [at, end). */
export function fits(_view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end;
}

/** First 2 bytes of the destination address. */
export function destinationHigh(view: DataView, at: number): number {
  return view.getUint32(at + DESTINATION);
}

/** Last 4 bytes of the destination address, unsigned. */
export function destinationLow(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION + 4);
}

/** First 2 bytes of the source address. */
export function sourceHigh(view: DataView, at: number): number {
  return view.getUint32(at + SOURCE);
}

/** Last 4 bytes of the source address, unsigned. */
export function sourceLow(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE + 4);
}

/** Type or, below {@link ETH_P_802_3_MIN}, length; of a tagged frame the tag's TPID. */
export function type(view: DataView, at: number): number {
  return view.getUint16(at + TYPE);
}

/** Whether the destination is a group: multicast or broadcast. */
export function isGroup(view: DataView, at: number): boolean {
  return (view.getUint8(at + DESTINATION) & 1) !== 0;
}

/** A header's fields. */
export interface Fields {
  /** First 2 bytes of the destination address. */
  readonly destinationHigh: number;
  /** Last 4 bytes of the destination address, unsigned. */
  readonly destinationLow: number;
  /** First 2 bytes of the source address. */
  readonly sourceHigh: number;
  /** Last 4 bytes of the source address, unsigned. */
  readonly sourceLow: number;
  /** EtherType. */
  readonly type: number;
}

/** Writes all 14 bytes. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint32(at + DESTINATION, fields.destinationHigh);
  view.setUint16(at + DESTINATION + 4, fields.destinationLow);
  view.setUint32(at + SOURCE, fields.sourceHigh);
  view.setUint16(at + SOURCE + 4, fields.sourceLow);
  view.setUint16(at + TYPE, fields.type);
}
