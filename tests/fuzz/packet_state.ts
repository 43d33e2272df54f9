/** What a packet has besides its bytes, as receivers and tunnels would have said it, or as they never would. */
import { TUN_OPTIONS_GENEVE } from "../../datapath/key.ts";
import type { Packet } from "../../datapath/packet/packet.ts";
import type { Random } from "../../datapath/testing/flow_values.ts";

/** Sets an offload state for some. Returns it in words. */
export function chooseOffload(random: Random, packet: Packet): string {
  packet.needsCsum = false;
  packet.csumValid = false;
  packet.csumStart = 0;
  packet.csumOffset = 0;
  packet.gsoType = 0;
  packet.gsoSize = 0;
  if (random(3) !== 0) return "";
  packet.needsCsum = random(4) !== 0;
  const { size } = packet;
  packet.csumStart = [34, 38, 54, 42, 0, size, size - 1, random(0x10000)][random(8)]!;
  packet.csumOffset = [16, 6, 8, 2, 0, random(0x10000)][random(6)]!;
  if (random(2) === 0) {
    // TCPv4, UDP, TCPv6, UDP_L4, with ECN, and none that exists.
    packet.gsoType = [1, 3, 4, 5, 0x81, 0x84, 77, 255][random(8)]!;
    packet.gsoSize = [0, 1, 8, 100, 536, 1448, 65535, random(0x10000)][random(8)]!;
  }
  const { needsCsum, csumStart, csumOffset, gsoType, gsoSize } = packet;
  return JSON.stringify({ needsCsum, csumStart, csumOffset, gsoType, gsoSize });
}

/** Says for a few what they came through. Returns it in words. */
export function setMetadata(random: Random, packet: Packet): string {
  if (random(10) !== 0) return "";
  packet.priority = random(2 ** 32);
  packet.mark = random(2 ** 32);
  if (random(2) === 0) return "priority, mark";
  const tunnel = packet.beginTunnel(random(2) === 0 ? 4 : 6);
  tunnel.idLow = random(2 ** 32);
  tunnel.tos = random(256);
  tunnel.flags = random(0x10000);
  const options = new DataView(new Uint8Array(256).fill(random(256)).buffer);
  tunnel.setOptions(TUN_OPTIONS_GENEVE, options, 0, random(256));
  return "priority, mark, tunnel";
}

/** Takes the Ethernet header from a few. Returns it in words. */
export function strip(random: Random, packet: Packet): string {
  if (random(24) !== 0 || packet.size <= 14) return "";
  const type = packet.view.getUint16(packet.start + 12);
  packet.start += 14;
  packet.isL3 = true;
  packet.ethType = random(4) === 0 ? random(0x10000) : type;
  return `without Ethernet header, type ${packet.ethType}`;
}
