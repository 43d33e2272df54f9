/**
 * Replacing part of a TCP payload by a text of another length: moves what follows, and puts lengths and
 * checksums right. Sequence numbers are sequence_adjust.ts.
 */
import {
  difference16,
  finish,
  fold,
  pseudoIpv4,
  pseudoIpv6,
  sum,
  unit,
  update,
} from "../packet/checksum.ts";
import { partialAt } from "../packet/offload.ts";
import type { Packet } from "../packet/packet.ts";

const IPPROTO_TCP = 6;
const CHECKSUM = 16;

/**
 * Puts `text` (Latin-1) in place of the `size` bytes at `at`. False: the packet can't grow so much;
 * nothing is changed then.
 */
export function replacePayload(
  packet: Packet,
  l4At: number,
  at: number,
  size: number,
  text: string,
): boolean {
  const { view, bytes, l3At } = packet;
  const growth = text.length - size;
  const end = packet.end + growth;
  if (end > packet.tailLimit && growth > 0 || end - l3At > 65535) return false;
  const oldSize = packet.end - l4At;
  bytes.copyWithin(at + text.length, at + size, packet.end);
  for (let index = 0; index < text.length; index++) {
    view.setUint8(at + index, text.charCodeAt(index));
  }
  packet.end = end;
  const isIpv4 = view.getUint8(l3At) >>> 4 === 4;
  if (growth !== 0) growIp(view, l3At, isIpv4, growth);
  const field = l4At + CHECKSUM;
  if (packet.needsCsum && partialAt(packet) === l4At) {
    const difference = difference16(unit(oldSize), unit(end - l4At));
    view.setUint16(field, fold(view.getUint16(field, true) + difference), true);
    return true;
  }
  view.setUint16(field, 0);
  const pseudo = isIpv4
    ? pseudoIpv4(view, l3At, IPPROTO_TCP, end - l4At)
    : pseudoIpv6(view, l3At, IPPROTO_TCP, end - l4At);
  view.setUint16(field, finish(pseudo + sum(view, l4At, end)), true);
  return true;
}

function growIp(view: DataView, l3At: number, isIpv4: boolean, growth: number): void {
  const at = l3At + (isIpv4 ? 2 : 4);
  const old = view.getUint16(at, true);
  view.setUint16(at, view.getUint16(at) + growth);
  if (!isIpv4) return;
  const difference = difference16(old, view.getUint16(at, true));
  view.setUint16(l3At + 10, update(view.getUint16(l3At + 10, true), difference), true);
}
