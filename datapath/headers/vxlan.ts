/**
 * VXLAN header, 8 bytes (RFC 7348 §5), with the group policy extension (draft-smith-vxlan-group-policy
 * §2.1) and the generic protocol extension (draft-ietf-nvo3-vxlan-gpe §3). `at` is the offset of its
 * first byte. Allocates nothing.
 */

export const SIZE = 8;
const FLAGS = 0;
const POLICY_FLAGS = 1;
const POLICY = 2;
const NEXT_PROTOCOL = 3;
const VNI = 4; // upper 24 bits of the word

/** IANA's port. */
export const PORT = 4789;
/** IANA's port of the generic protocol extension. */
export const GPE_PORT = 4790;

/** Bits of {@link flags}. The VNI is valid; always set. */
export const FLAG_VNI = 0x08;
/** There is a group policy. */
export const FLAG_POLICY = 0x80;
/** The next protocol is valid (GPE). */
export const FLAG_NEXT_PROTOCOL = 0x04;
/** Version of GPE; only 0 is known. */
export const GPE_VERSION_MASK = 0x30;
/** OAM packet (GPE). */
export const FLAG_OAM = 0x01;

/** Bits of the policy's flags: the receiver must not learn from it. */
export const POLICY_DONT_LEARN = 0x40;
/** The policy was applied already. */
export const POLICY_APPLIED = 0x08;

/** GPE: an IPv4 packet follows. */
export const NEXT_IPV4 = 1;
/** GPE: an IPv6 packet follows. */
export const NEXT_IPV6 = 2;
/** GPE: an Ethernet frame follows. */
export const NEXT_ETHERNET = 3;
/** GPE: a Network Service Header follows. */
export const NEXT_NSH = 4;

/** Whether a whole header lies in [at, end) and its VNI is valid. */
export function fits(view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end && (view.getUint8(at + FLAGS) & FLAG_VNI) !== 0;
}

/** FLAG_* bits. */
export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS);
}

/** VXLAN network identifier, 0 … 2^24 − 1. */
export function vni(view: DataView, at: number): number {
  return view.getUint32(at + VNI) >>> 8;
}

/** Group policy as a flow key has it: flags << 16 | identifier. Means something if FLAG_POLICY is set. */
export function policy(view: DataView, at: number): number {
  const bits = view.getUint8(at + POLICY_FLAGS) & (POLICY_DONT_LEARN | POLICY_APPLIED);
  return bits << 16 | view.getUint16(at + POLICY);
}

/** NEXT_*. Means something if FLAG_NEXT_PROTOCOL is set. */
export function nextProtocol(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_PROTOCOL);
}

/** Writes all 8 bytes of a plain header. */
export function write(view: DataView, at: number, vni: number): void {
  view.setUint32(at + FLAGS, FLAG_VNI << 24);
  view.setUint32(at + VNI, vni << 8);
}

/** Writes all 8 bytes with a group policy: flags << 16 | identifier. */
export function writePolicy(view: DataView, at: number, vni: number, policy: number): void {
  view.setUint8(at + FLAGS, FLAG_VNI | FLAG_POLICY);
  view.setUint8(at + POLICY_FLAGS, (policy >>> 16) & (POLICY_DONT_LEARN | POLICY_APPLIED));
  view.setUint16(at + POLICY, policy & 0xffff);
  view.setUint32(at + VNI, vni << 8);
}

/** Writes all 8 bytes with a next protocol, NEXT_*. */
export function writeGpe(view: DataView, at: number, vni: number, nextProtocol: number): void {
  view.setUint32(at + FLAGS, (FLAG_VNI | FLAG_NEXT_PROTOCOL) << 24 | nextProtocol);
  view.setUint32(at + VNI, vni << 8);
}
