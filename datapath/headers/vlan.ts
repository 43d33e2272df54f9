/**
 * VLAN tag, 4 bytes (IEEE 802.1Q §9.3): TPID and TCI, in line behind the MAC addresses. `at` is the
 * offset of the TPID's first byte, where an untagged frame has its type. Allocates nothing.
 */

export const SIZE = 4;
const TPID = 0;
const TCI = 2;

/** Whether a whole tag and the type behind it lie in [at, end), and it is one of the two kinds. */
export function fits(view: DataView, at: number, end: number): boolean {
  return at + SIZE + 2 <= end && isTpid(tpid(view, at));
}

/** Whether an Ethernet type says that a tag begins there: 802.1Q or 802.1ad. */
export function isTpid(type: number): boolean {
  return type === 0x8100 || type === 0x88a8;
}

/** Tag protocol identifier. */
export function tpid(view: DataView, at: number): number {
  return view.getUint16(at + TPID);
}

/** Tag control information: priority, drop eligibility and identifier. */
export function tci(view: DataView, at: number): number {
  return view.getUint16(at + TCI);
}

/** VLAN identifier, 0 … 4095. */
export function vid(view: DataView, at: number): number {
  return view.getUint16(at + TCI) & 0x0fff;
}

/** Priority code point, 0 … 7. */
export function pcp(view: DataView, at: number): number {
  return view.getUint8(at + TCI) >>> 5;
}

/** Writes all 4 bytes. */
export function write(view: DataView, at: number, tpid: number, tci: number): void {
  view.setUint16(at + TPID, tpid);
  view.setUint16(at + TCI, tci);
}
