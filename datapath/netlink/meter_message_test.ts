import assert from "node:assert/strict";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  decodeMeterMessage,
  encodeMeterMessage,
  type MeterMessage,
  OVS_METER_BAND_TYPE_DROP,
  OVS_METER_CMD_SET,
} from "./meter_message.ts";

const MESSAGE: MeterMessage = {
  command: OVS_METER_CMD_SET,
  dpIfindex: 7,
  id: 1,
  kbps: true,
  bands: [
    {
      type: OVS_METER_BAND_TYPE_DROP,
      rate: 1000,
      burst: 100,
      stats: { packets: 1n, bytes: 2n },
    },
    { type: OVS_METER_BAND_TYPE_DROP, rate: undefined, burst: undefined, stats: undefined },
  ],
  stats: { packets: 3n, bytes: 4n },
  usedMs: 5n,
  clear: true,
  metersMax: 100,
  bandsMax: 8,
};

const u64 = (value: string): string => value + "00".repeat(7);

const BYTES = "02010000" + "07000000" + tlv(1, "01000000") + tlv(2) + tlv(3, u64("03"), u64("04")) +
  tlv(
    4,
    tlv(
      0,
      tlv(1, "01000000"),
      tlv(2, "e8030000"),
      tlv(3, "64000000"),
      tlv(4, u64("01"), u64("02")),
    ),
    tlv(0, tlv(1, "01000000")),
  ) + tlv(5, u64("05")) + tlv(6) + tlv(7, "64000000") + tlv(8, "08000000");

Deno.test("encodeMeterMessage, decodeMeterMessage: every attribute", () => {
  assert.equal(toHex(encodeMeterMessage(MESSAGE)), BYTES);
  assert.deepEqual(decodeMeterMessage(bytesOf(BYTES)), MESSAGE);
});

Deno.test("decodeMeterMessage: malformed messages", () => {
  const head = "02010000" + "07000000";
  for (
    const rest of [tlv(4, "00"), tlv(4, tlv(0, "00")), tlv(4, tlv(0, tlv(1, "00"))), tlv(1, "00")]
  ) {
    assert.throws(() => decodeMeterMessage(bytesOf(head, rest)), NetlinkCodecError, rest);
  }
});
