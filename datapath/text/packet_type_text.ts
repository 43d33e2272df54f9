/**
 * `packet_type(ns=1,id=0x800)`: packets without an Ethernet header, of that type. With ns=0 they have
 * one, as without packet_type().
 */
import { ETH_P_802_3_MIN, PACKET_TYPE } from "../fields/fields.ts";
import { ETH_TYPE_AT } from "../key.ts";
import type { MatchBytes } from "./number_text.ts";
import { failOpen } from "./parentheses.ts";
import { CLOSE, EQUALS, OPEN, type Scanner, SLASH } from "./scanner.ts";

/** What was written; −1: nothing, or wildcarded. */
export interface PacketType {
  readonly at: number;
  ns: number;
  id: number;
}

/** Where an Ethernet type is written (−1: nowhere), and what it is. */
export interface TypePlace {
  ethTypeAt: number;
  ethType: number;
  ethTypeMask: number;
}

/** Reads `(…)` behind packet_type, which begins at `at`. */
export function scanPacketType(scanner: Scanner, at: number): PacketType {
  const openAt = scanner.at;
  scanner.expect(OPEN, `after ${PACKET_TYPE.name}`);
  const found: PacketType = { at, ns: -1, id: -1 };
  let seen = "";
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(CLOSE)) return found;
    if (scanner.ended) failOpen(scanner, openAt, PACKET_TYPE.name);
    const from = scanner.at;
    const name = scanner.word();
    if (name !== "ns" && name !== "id") {
      scanner.unknown(from, "field of packet_type", name || scanner.text[from]!, ["ns", "id"]);
    }
    if (seen.includes(name)) scanner.fail(from, `packet_type ${name} stands twice`);
    seen += name;
    scanner.expect(EQUALS, `after packet_type ${name}`);
    found[name] = scanPart(scanner, name);
  }
}

/** Reads `value[/mask]`; −1 if the mask is 0. */
function scanPart(scanner: Scanner, name: string): number {
  const value = scanner.number(16, `packet_type ${name}`);
  const maskAt = scanner.at;
  if (!scanner.take(SLASH)) return value;
  const mask = scanner.number(16, `packet_type ${name} mask`);
  if (mask === 0) return -1;
  if (mask !== 0xffff) scanner.fail(maskAt, `packet_type ${name} can't be matched in part`);
  return value;
}

/** Completes or checks the Ethernet type beside a packet type; whether packets have an Ethernet header. */
export function finishPacketType(
  scanner: Scanner,
  { at, ns, id }: PacketType,
  place: TypePlace,
): boolean {
  if (ns < 0 && id >= 0) scanner.fail(at, "packet_type id needs ns beside it");
  if (ns > 1) {
    scanner.fail(at, "packet_type ns must be 0 (Ethernet) or 1 (no Ethernet header, type in id)");
  }
  if (ns <= 0) {
    if (id > 0) scanner.fail(at, "packet_type(ns=0) is Ethernet; its id is 0");
    return true;
  }
  if (id < 0) return false;
  if (id < ETH_P_802_3_MIN) scanner.fail(at, "packet_type id must be 0x0600 … 0xffff");
  if (place.ethTypeAt < 0 || place.ethTypeMask === 0) {
    place.ethTypeAt = at;
    place.ethType = id;
    place.ethTypeMask = 0xffff;
  } else if (place.ethType !== id) {
    scanner.fail(place.ethTypeAt, "eth_type() and the id of packet_type() must be the same");
  }
  return false;
}

/** Text for packets without an Ethernet header. */
export function formatPacketType({ key, mask }: MatchBytes): string {
  const isMatched = mask[ETH_TYPE_AT] === 0xff && mask[ETH_TYPE_AT + 1] === 0xff;
  const type = key[ETH_TYPE_AT]! << 8 | key[ETH_TYPE_AT + 1]!;
  const id = isMatched && type >= ETH_P_802_3_MIN ? `,id=0x${type.toString(16)}` : "";
  return `${PACKET_TYPE.name}(ns=1${id})`;
}
