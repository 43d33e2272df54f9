/** Keys for tests: extraction into slots that other packets have used gives what a fresh slot gives. */
import assert from "node:assert/strict";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS, TUN_FAMILY_AT, TUN_OPTIONS_GENEVE } from "../key.ts";
import { type Packet, WIDE_METADATA_FROM } from "../packet/packet.ts";
import { ethernetFrame, labelStack, makeFrame, NSH_TYPE_1, packetOf } from "./frames.ts";

/** Packets that together use every word of a key. */
function formerPackets(): Packet[] {
  const options = [1, 1, 9, 9, 9, 9, 9, 9, 2, 1, 9, 9, 9, 9, 9, 9];
  const discovery = makeFrame({
    isIpv6: true,
    protocol: "icmp",
    payload: Uint8Array.from([...new Array(16).fill(0xfd), ...options]),
    extensions: [[0, [0, 1, 4, 0, 0, 0, 0]]],
    tags: [0x88a80001, 0x81000002],
  });
  discovery.bytes.set([135, 0, 0, 0, 8, 8, 8, 8], discovery.l4);
  const arp = [0, 1, 8, 0, 6, 4, 0, 1, ...new Array(20).fill(0x77)];
  const tunnelled = packetOf(makeFrame({ tcpFlags: 0xfff }).bytes, {
    priority: 1,
    mark: 2,
    recircId: 3,
    dpHash: 4,
    inPort: 5,
    ctState: 0x23,
    ctZone: 7,
  });
  const metadata = tunnelled.metadata();
  metadata.tunnel.setOptions(TUN_OPTIONS_GENEVE, new DataView(new ArrayBuffer(256)), 0, 256);
  const described = metadata.words[(TUN_FAMILY_AT >> 2) - WIDE_METADATA_FROM]!;
  metadata.words.fill(-1);
  metadata.words[(TUN_FAMILY_AT >> 2) - WIDE_METADATA_FROM] = described;
  tunnelled.hasTunnel = true;
  return [
    packetOf(discovery.bytes),
    packetOf(ethernetFrame(0x0806, arp)),
    packetOf(ethernetFrame(0x8847, labelStack([-1 & ~0x100, -1 & ~0x100, -1]))),
    packetOf(ethernetFrame(0x894f, NSH_TYPE_1)),
    packetOf(makeFrame({ protocol: "udp" }).bytes, { isL3: true, ethType: 0x88cc }),
    tunnelled,
  ];
}

/** The packet's key as a view with the offsets of key.ts. */
export function extracted(packet: Packet): DataView<ArrayBuffer> {
  const fresh = new Int32Array(KEY_WORDS);
  extractKey(packet, fresh, 0);
  for (const former of formerPackets()) {
    const keys = new Int32Array(KEY_WORDS * 3);
    extractKey(former, keys, KEY_WORDS);
    extractKey(packet, keys, KEY_WORDS);
    assert.deepEqual(keys.slice(KEY_WORDS, 2 * KEY_WORDS), fresh, "a used slot gives the same key");
    assert(keys.subarray(0, KEY_WORDS).every((word) => word === 0), "wrote in front of the slot");
    assert(keys.subarray(2 * KEY_WORDS).every((word) => word === 0), "wrote behind the slot");
  }
  return new DataView(fresh.buffer);
}
