/**
 * ICMP and ICMPv6 messages that are no queries: errors belong to the connection whose packet they quote
 * (RFC 792, RFC 4443 §2.4, RFC 5508 §4); neighbour discovery belongs to none.
 */
import type { Packet } from "../packet/packet.ts";
import { ctInvalid } from "./reasons.ts";
import type { Table } from "./table.ts";
import { findTransport, invertTuple, readTuple, T_DST } from "./tuple.ts";

const HEADER = ctInvalid("header");
const ICMP_TYPE = ctInvalid("icmp-type");
const UNRELATED = ctInvalid("icmp-unrelated");
const ERROR_ADDRESS = ctInvalid("icmp-address");
const UNTRACKED = ctInvalid("untracked");

/** The message is a query, or is to be judged as one. */
export const ICMP_QUERY = 0;
export const ICMP_ERROR = -1;

/** ICMP_QUERY, ICMP_ERROR, or why the message is invalid. */
export function icmpKind(packet: Packet, l4At: number, end: number): number {
  const { view, l3At } = packet;
  if (l4At + 8 > end) return HEADER;
  const type = view.getUint8(l4At);
  if (view.getUint8(l3At) >>> 4 === 4) {
    if (type > 18) return ICMP_TYPE;
    // Unreachable, quench, redirect, time exceeded, parameter problem.
    const isError = type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
    return isError ? ICMP_ERROR : ICMP_QUERY;
  }
  if (type >= 130 && type <= 136 || type === 143) return UNTRACKED;
  return type >= 128 ? ICMP_QUERY : ICMP_ERROR;
}

/**
 * The node whose direction the error goes in, its record locked; negative: why there is none.
 * `tuple` and `other` are scratch.
 */
export function findErrorConnection(
  table: Table,
  packet: Packet,
  l4At: number,
  end: number,
  zone: number,
  tuple: Int32Array,
  other: Int32Array,
): number {
  const { view, l3At } = packet;
  const family = view.getUint8(l3At) >>> 4;
  const quotedAt = l4At + 8;
  if (quotedAt + 20 > end || view.getUint8(quotedAt) >>> 4 !== family) return -UNRELATED;
  const found = findTransport(view, quotedAt, end);
  if (found < 0) return -UNRELATED;
  const quotedL4At = quotedAt + (found >>> 8);
  if (!readTuple(tuple, view, quotedAt, quotedL4At, end, found & 0xff, zone)) return -UNRELATED;
  // The quoted packet came from the connection: the error is a kind of answer to it.
  if (!invertTuple(tuple, other)) return -UNRELATED;
  const node = table.find(other);
  if (node === 0) return -UNRELATED;
  // It must go to whom the connection's packets in its direction go.
  const at = l3At + (family === 4 ? 16 : 24);
  const words = family === 4 ? 1 : 4;
  for (let word = 0; word < words; word++) {
    if (view.getInt32(at + word * 4) !== other[T_DST + 4 - words + word]) {
      table.unlockRecord(node >>> 1);
      return -ERROR_ADDRESS;
    }
  }
  return node;
}
