/** set(arp), which Open vSwitch's own datapath has and the kernel has not. ARP and RARP for IPv4 over Ethernet. */
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { networkType } from "./ethernet_actions.ts";
import type { Packet } from "../packet/packet.ts";
import { masked } from "./set_field.ts";

const HEADER_MISSING = dropReason("set-header-missing");
const ETH_P_ARP = 0x0806;
const ETH_P_RARP = 0x8035;
const ARP_SIZE = 28;
const OPERATION = 6;
const SENDER_MAC = 8;
const SENDER_IP = 14;
const TARGET_MAC = 18;
const TARGET_IP = 24;

// Key words (key.ts).
const OPERATION_WORD = 11;
const SENDER_IP_WORD = 12;
const TARGET_IP_WORD = 13;
/** Sender's and target's hardware address, 12 bytes. */
const MACS_WORD = 16;

/** words[at …] as set_field.ts has it. The key has the operation's lower byte only; one that is set whole has zero above. */
export function setArp(packet: Packet, words: Int32Array, at: number): DropReason {
  const { view, l3At } = packet;
  const type = networkType(packet);
  if ((type !== ETH_P_ARP && type !== ETH_P_RARP) || l3At + ARP_SIZE > packet.end) {
    return HEADER_MISSING;
  }
  setIp(view, l3At + SENDER_IP, masked(words, at, SENDER_IP_WORD, ip(view, l3At + SENDER_IP)));
  setIp(view, l3At + TARGET_IP, masked(words, at, TARGET_IP_WORD, ip(view, l3At + TARGET_IP)));
  const mask = ~masked(words, at, OPERATION_WORD, -1) | masked(words, at, OPERATION_WORD, 0);
  const old = view.getUint16(l3At + OPERATION);
  const low = masked(words, at, OPERATION_WORD, old & 0xff) & 0xff;
  if ((mask & 0xff) === 0xff) view.setUint16(l3At + OPERATION, low);
  else view.setUint8(l3At + OPERATION + 1, low);
  setMacs(view, l3At, words, at);
  return 0;
}

function ip(view: DataView, at: number): number {
  return view.getInt32(at, true);
}

function setIp(view: DataView, at: number, value: number): void {
  view.setInt32(at, value, true);
}

function setMacs(view: DataView, l3At: number, words: Int32Array, at: number): void {
  const sender = l3At + SENDER_MAC;
  const target = l3At + TARGET_MAC;
  view.setInt32(sender, masked(words, at, MACS_WORD, view.getInt32(sender, true)), true);
  const ends = view.getUint16(sender + 4, true) | view.getUint16(target, true) << 16;
  const newEnds = masked(words, at, MACS_WORD + 1, ends);
  view.setUint16(sender + 4, newEnds & 0xffff, true);
  view.setUint16(target, newEnds >>> 16, true);
  const rest = view.getInt32(target + 2, true);
  view.setInt32(target + 2, masked(words, at, MACS_WORD + 2, rest), true);
}
