/**
 * TFTP (RFC 1350 §4): a read or write request to port 69 is answered from another port, so the answer
 * is a connection of its own.
 */
import type { Packet } from "../packet/packet.ts";
import type { HelperContext } from "./helpers.ts";
import { ID, NAT_MASK, RECORD_WORDS, STATUS } from "./layout.ts";
import { T_DST, T_PORTS, TUPLE_WORDS } from "./tuple.ts";

const READ_REQUEST = 1;
const WRITE_REQUEST = 2;
const TIMEOUT_MS = 300_000;

/** Reads a packet from `side` of a TFTP connection. */
export function readTftp(
  context: HelperContext,
  packet: Packet,
  l4At: number,
  record: number,
  side: number,
): void {
  if (side !== 0 || l4At + 10 > packet.end) return;
  const operation = packet.view.getUint16(l4At + 8);
  if (operation !== READ_REQUEST && operation !== WRITE_REQUEST) return;
  const { table, expectation, tuple, other } = context;
  const at = record * RECORD_WORDS;
  expectation.master = record;
  expectation.masterId = table.records[at + ID]!;
  expectation.side = 0;
  expectation.savedPort = tuple[T_PORTS]! >>> 16;
  expectation.followsNat = (table.records[at + STATUS]! & NAT_MASK) !== 0;
  expectation.helper = 0;
  expectation.timeoutMs = TIMEOUT_MS;
  // The server answers to where the request seems to come from.
  for (let word = 0; word < TUPLE_WORDS; word++) expectation.tuple[word] = other[word]!;
  expectation.tuple[T_PORTS] = other[T_PORTS]! & 0xffff;
  for (let word = 0; word < 4; word++) expectation.savedAddress[word] = other[T_DST + word]!;
  context.expectations.add(expectation, table.now);
}
