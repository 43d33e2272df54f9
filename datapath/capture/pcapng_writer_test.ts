import assert from "node:assert/strict";
import { readCapture } from "./pcap.ts";
import { type PcapngPacket, PcapngWriter } from "./pcapng_writer.ts";

const PACKET: PcapngPacket = {
  interfaceName: "eth1",
  bytes: Uint8Array.of(1, 2, 3, 4, 5),
  fullSize: 9,
  isL3: false,
  wallUs: 1_700_000_000_123_456,
  direction: "in",
  comment: "dropped: port-down",
};

Deno.test("PcapngWriter: what it writes is read again", () => {
  const writer = new PcapngWriter();
  const ip = Uint8Array.of(0x45, ...new Uint8Array(19));
  const pieces = [
    writer.begin("test"),
    writer.packet(PACKET),
    writer.packet({ ...PACKET, direction: undefined, comment: undefined, fullSize: 5 }),
    writer.packet({ ...PACKET, isL3: true, bytes: ip, fullSize: 20, direction: "out" }),
    writer.end(7, PACKET.wallUs),
  ];
  const file = Uint8Array.from(pieces.flatMap((piece) => [...piece]));
  const time = 1_700_000_000.123456;
  assert.deepEqual([...readCapture(file)], [
    { bytes: PACKET.bytes, isL3: false, time, originalSize: 9 },
    { bytes: PACKET.bytes, isL3: false, time },
    { bytes: ip, isL3: true, ethType: 0x800, time },
  ]);
  for (const piece of pieces) assert.equal(piece.length % 4, 0);
});

Deno.test("PcapngWriter: an interface is described once", () => {
  const writer = new PcapngWriter();
  const first = writer.packet(PACKET);
  const second = writer.packet(PACKET);
  assert.equal(new DataView(first.buffer).getUint32(0, true), 1);
  assert.equal(new DataView(second.buffer).getUint32(0, true), 6);
  assert.equal(new PcapngWriter().end(0, 0).length, 0);
});
