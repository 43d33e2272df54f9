/** The MPLS and NSH part of extraction (extract.ts). */
import * as nsh from "../headers/nsh.ts";
import { MPLS_LABELS_MAX } from "../key.ts";
import type { Packet } from "../packet/packet.ts";

/** Bottom of stack, as a little-endian read of a label stack entry gives it. */
const MPLS_BOTTOM = 0x00010000;
/** Count and, behind it, entries. */
const COUNT_WORD = 48;
const MPLS_WORD = 49;

const NSH_WORD = 52;

/**
 * The first MPLS_LABELS_MAX label stack entries, as far as the stack and the frame go, and how many
 * there are, if the frame has the bottom of the stack (fields/label_count.ts).
 */
export function extractMpls(packet: Packet, keys: Int32Array, at: number): void {
  const view = packet.view;
  let l3 = packet.l3At;
  let bits = 0;
  for (let label = 0; l3 + 4 <= packet.end; label++) {
    const entry = view.getInt32(l3, true);
    if (label < MPLS_LABELS_MAX) {
      keys[at + MPLS_WORD + label] = entry;
      bits |= 1 << label;
    }
    if ((entry & MPLS_BOTTOM) !== 0) {
      keys[at + COUNT_WORD] = bits;
      return;
    }
    l3 += 4;
  }
}

/**
 * Base header and the context of metadata type 1 (RFC 8300 §2.2). Nothing if the version is not 0, the
 * header is longer than the frame, or its length is wrong for its type: such packets the kernel drops.
 */
export function extractNsh(packet: Packet, keys: Int32Array, at: number): void {
  const view = packet.view;
  const l3 = packet.l3At;
  if (!nsh.fits(view, l3, packet.end)) return;
  const type = nsh.mdType(view, l3);
  keys[at + NSH_WORD] = nsh.flags(view, l3) | nsh.ttl(view, l3) << 8 | type << 16 |
    nsh.nextProtocol(view, l3) << 24;
  keys[at + NSH_WORD + 1] = view.getInt32(l3 + 4, true);
  if (type !== nsh.MD_TYPE_1) return;
  for (let word = 0; word < 4; word++) {
    keys[at + NSH_WORD + 2 + word] = view.getInt32(l3 + nsh.SIZE + 4 * word, true);
  }
}
