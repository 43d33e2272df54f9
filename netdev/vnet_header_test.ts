import assert from "node:assert/strict";
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_UDP_L4, Packet } from "../datapath/packet/packet.ts";
import { readVnetHeader, writeVnetHeader } from "./vnet_header.ts";

function blank(): Packet {
  const bytes = new Uint8Array(512).fill(0xa5);
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.start = 100;
  packet.end = 500;
  return packet;
}

function written(packet: Packet): number[] {
  writeVnetHeader(packet.view, 20, packet);
  assert.equal(packet.bytes[19], 0xa5);
  assert.equal(packet.bytes[30], 0xa5);
  return [...packet.bytes.subarray(20, 30)];
}

Deno.test("writeVnetHeader: every byte is set; a plain packet's are zeros whatever the other fields hold", () => {
  const packet = blank();
  packet.csumStart = 34;
  packet.gsoSize = 1448;
  assert.deepEqual(written(packet), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("writeVnetHeader: partial checksum, and trains with the size of their headers", () => {
  const packet = blank();
  packet.needsCsum = true;
  packet.csumStart = 34;
  packet.csumOffset = 6;
  assert.deepEqual(written(packet), [1, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
  packet.gsoType = GSO_UDP_L4;
  packet.gsoSize = 1400;
  assert.deepEqual(written(packet), [1, 5, 42, 0, 0x78, 5, 34, 0, 6, 0]);
  packet.gsoType = GSO_TCPV4 | GSO_ECN;
  packet.csumOffset = 16;
  packet.view.setUint8(100 + 34 + 12, 0x80);
  assert.deepEqual(written(packet), [1, 0x81, 34 + 32, 0, 0x78, 5, 34, 0, 16, 0]);
  packet.end = 100 + 50;
  assert.equal(written(packet)[2], 50, "headers end with the frame");
});

Deno.test("writeVnetHeader: a train without a partial checksum whose tag was taken off", () => {
  const packet = blank();
  packet.gsoType = GSO_TCPV4;
  packet.gsoSize = 1400;
  packet.csumStart = -4; // popVlan moved it, as if it meant something
  packet.bytes.fill(0, 96, 140);
  assert.deepEqual(written(packet), [0, 1, 0, 0, 0x78, 5, 0, 0, 0, 0]);
  packet.l4At = 134;
  packet.view.setUint8(134 + 12, 0x80);
  assert.deepEqual(written(packet), [0, 1, 34 + 32, 0, 0x78, 5, 0, 0, 0, 0]);
});

Deno.test("readVnetHeader: gives back what was written", () => {
  const packet = blank();
  packet.needsCsum = true;
  packet.csumStart = 84;
  packet.csumOffset = 16;
  packet.gsoType = GSO_TCPV4;
  packet.gsoSize = 65535;
  writeVnetHeader(packet.view, 20, packet);
  const read = blank();
  readVnetHeader(packet.view, 20, read);
  const { needsCsum, csumValid, csumStart, csumOffset, gsoType, gsoSize } = read;
  assert.deepEqual(
    { needsCsum, csumValid, csumStart, csumOffset, gsoType, gsoSize },
    {
      needsCsum: true,
      csumValid: false,
      csumStart: 84,
      csumOffset: 16,
      gsoType: 1,
      gsoSize: 65535,
    },
  );
  packet.bytes.fill(0, 20, 30);
  packet.bytes[20] = 2;
  readVnetHeader(packet.view, 20, read);
  assert.equal(read.csumValid, true);
  assert.equal(read.needsCsum, false);
  assert.equal(read.gsoType, GSO_NONE);
});
