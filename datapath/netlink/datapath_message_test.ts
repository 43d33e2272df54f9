import assert from "node:assert/strict";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  type DatapathMessage,
  decodeDatapathMessage,
  encodeDatapathMessage,
  OVS_DP_CMD_NEW,
  OVS_DP_F_DISPATCH_UPCALL_PER_CPU,
  OVS_DP_F_UNALIGNED,
} from "./datapath_message.ts";

const MESSAGE: DatapathMessage = {
  command: OVS_DP_CMD_NEW,
  dpIfindex: 7,
  name: "dp0",
  upcallPid: 0,
  stats: { hits: 1n, misses: 2n, lost: 3n, flows: 4n },
  megaflowStats: { maskHits: 5n, masks: 6, cacheHits: 7n },
  userFeatures: OVS_DP_F_UNALIGNED | OVS_DP_F_DISPATCH_UPCALL_PER_CPU,
  masksCacheSize: 256,
  perCpuPids: [1, 0xfedcba98],
  ifindex: 9,
};

const u64 = (value: string): string => value + "00".repeat(7);

const BYTES = "01020000" + "07000000" + tlv(1, "64703000") + tlv(2, "00000000") +
  tlv(3, u64("01"), u64("02"), u64("03"), u64("04")) +
  tlv(4, u64("05"), "06000000 00000000", u64("07"), u64("00")) + tlv(5, "09000000") +
  tlv(7, "00010000") + tlv(8, "01000000 98badcfe") + tlv(9, "09000000");

Deno.test("encodeDatapathMessage, decodeDatapathMessage: every attribute", () => {
  assert.equal(toHex(encodeDatapathMessage(MESSAGE)), BYTES);
  assert.deepEqual(decodeDatapathMessage(bytesOf(BYTES)), MESSAGE);
});

Deno.test("decodeDatapathMessage: padding attributes, longer structs of a newer kernel", () => {
  const payload = "01020000" + "07000000" + tlv(6) +
    tlv(3, u64("01"), u64("02"), u64("03"), u64("04"), u64("ff")) + tlv(6);
  assert.deepEqual(decodeDatapathMessage(bytesOf(payload)).stats, MESSAGE.stats);
});

Deno.test("decodeDatapathMessage: malformed messages", () => {
  const head = "01020000" + "07000000";
  for (
    const rest of [tlv(3, "00".repeat(31)), tlv(2, "00"), tlv(8, "000000"), "0000", tlv(1) + tlv(1)]
  ) {
    assert.throws(() => decodeDatapathMessage(bytesOf(head, rest)), NetlinkCodecError, rest);
  }
});
