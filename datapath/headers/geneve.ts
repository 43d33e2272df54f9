/**
 * Geneve header, 8 bytes and up to 252 of options (RFC 8926 §3.4). `at` is the offset of its first
 * byte. Allocates nothing.
 */

/** Without options. */
export const SIZE = 8;
/** Most bytes of options. */
export const OPTIONS_MAX = 252;
const VERSION = 0; // upper 2 bits; options' length in words below
const FLAGS = 1;
const PROTOCOL = 2;
const VNI = 4; // upper 24 bits of the word

/** IANA's port. */
export const PORT = 6081;
/** What follows is an Ethernet frame. */
export const PROTOCOL_ETHERNET = 0x6558;

/** Bits of {@link flags}: a control packet. */
export const FLAG_OAM = 0x80;
/** Some option must be understood. */
export const FLAG_CRITICAL = 0x40;

/** In an option: class, type, and length of its data in words. */
const OPTION_SIZE = 4;
const OPTION_TYPE = 2;
const OPTION_LENGTH = 3;
/** Bit of an option's type. */
const OPTION_CRITICAL = 0x80;

/** Whether a whole header of version 0, with whole options, lies in [at, end). */
export function fits(view: DataView, at: number, end: number): boolean {
  if (at + SIZE > end || view.getUint8(at + VERSION) >>> 6 !== 0) return false;
  const optionsEnd = at + SIZE + optionsSize(view, at);
  if (optionsEnd > end) return false;
  let option = at + SIZE;
  while (option < optionsEnd) {
    option += OPTION_SIZE + ((view.getUint8(option + OPTION_LENGTH) & 0x1f) << 2);
  }
  return option === optionsEnd;
}

/** Bytes of options, 0 … 252. */
export function optionsSize(view: DataView, at: number): number {
  return (view.getUint8(at + VERSION) & 0x3f) << 2;
}

/** FLAG_* bits. */
export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS);
}

/** Ethernet type of what follows. */
export function protocol(view: DataView, at: number): number {
  return view.getUint16(at + PROTOCOL);
}

/** Virtual network identifier, 0 … 2^24 − 1. */
export function vni(view: DataView, at: number): number {
  return view.getUint32(at + VNI) >>> 8;
}

/**
 * Writes the 8 bytes in front of `optionsSize` bytes of options, which must lie there already: the
 * critical flag is that of the options. optionsSize is a multiple of 4.
 */
export function write(
  view: DataView,
  at: number,
  fields: { readonly vni: number; readonly isOam: boolean; readonly optionsSize: number },
): void {
  const { optionsSize } = fields;
  let bits = fields.isOam ? FLAG_OAM : 0;
  const end = at + SIZE + optionsSize;
  for (let option = at + SIZE; option + OPTION_SIZE <= end;) {
    if ((view.getUint8(option + OPTION_TYPE) & OPTION_CRITICAL) !== 0) bits |= FLAG_CRITICAL;
    option += OPTION_SIZE + ((view.getUint8(option + OPTION_LENGTH) & 0x1f) << 2);
  }
  view.setUint8(at + VERSION, optionsSize >>> 2);
  view.setUint8(at + FLAGS, bits);
  view.setUint16(at + PROTOCOL, PROTOCOL_ETHERNET);
  view.setUint32(at + VNI, fields.vni << 8);
}
