/**
 * Ports and identifiers that a translation chooses at random, taken out of what is compared: in keys
 * they become a star, in frames 0, with the checksums over them.
 */
import { ICMP, ICMPV6, UDP } from "./kernel_ct_frames.ts";

const TCP = 6;
const FRAGMENT = 44;
const ETHERNET = 14;

/** Makes what a scenario's `chosen` is. `isChosen` tells numbers that may have been chosen. */
export function withoutChosen(isChosen: (port: number) => boolean): (event: string) => string {
  return (event) => {
    const text = event.replace(
      /\b(src|dst|tp_src|tp_dst|src_port|dst_port|sport|dport|id)=(\d+)(?=[,)])/g,
      (whole, name: string, port: string) => isChosen(Number(port)) ? `${name}=*` : whole,
    );
    return text.replace(/[0-9a-f]{68,}$/, (hex) => {
      const bytes = Uint8Array.fromHex(hex);
      maskPacket(bytes, ETHERNET, isChosen);
      return bytes.toHex();
    });
  };
}

/** For IPv4 addresses that begin so (`192.0.2.`), whichever they end with. */
export function withoutAddress(begin: string): (event: string) => string {
  const bytes = begin.split(".").slice(0, 3).map(Number);
  return (event) => {
    const text = event.replaceAll(
      new RegExp(`${begin.replaceAll(".", "\\.")}\\d+`, "g"),
      `${begin}*`,
    );
    return text.replace(/[0-9a-f]{84,}$/, (hex) => {
      const frame = Uint8Array.fromHex(hex);
      for (const at of [ETHERNET + 12, ETHERNET + 16]) {
        if (bytes.every((byte, index) => frame[at + index] === byte)) frame[at + 3] = 0;
      }
      // Checksums of IPv4 and UDP.
      for (const at of [ETHERNET + 10, ETHERNET + 26]) frame.fill(0, at, at + 2);
      return frame.toHex();
    });
  };
}

/** Changes the IP packet at `l3`, which may be cut off. */
function maskPacket(bytes: Uint8Array, l3: number, isChosen: (port: number) => boolean): void {
  const view = new DataView(bytes.buffer);
  if (l3 + 20 > bytes.length) return;
  const isIpv4 = bytes[l3]! >>> 4 === 4;
  if (isIpv4 && (view.getUint16(l3 + 6) & 0x1fff) !== 0) return;
  let protocol = bytes[l3 + (isIpv4 ? 9 : 6)];
  let l4 = l3 + (isIpv4 ? 20 : 40);
  if (!isIpv4 && protocol === FRAGMENT) {
    if (l4 + 8 > bytes.length || (view.getUint16(l4 + 2) & 0xfff8) !== 0) return;
    protocol = bytes[l4];
    l4 += 8;
  }
  const mask = (at: number, always: boolean): void => {
    if (at + 2 <= bytes.length && (always || isChosen(view.getUint16(at)))) view.setUint16(at, 0);
  };
  if (protocol === TCP || protocol === UDP) {
    mask(l4, false);
    mask(l4 + 2, false);
    mask(l4 + (protocol === TCP ? 16 : 6), true);
  } else if (protocol === ICMP || protocol === ICMPV6) {
    mask(l4 + 2, true);
    mask(l4 + 4, false);
    maskPacket(bytes, l4 + 8, isChosen);
  }
}
