import assert from "node:assert/strict";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  type CtLimitMessage,
  decodeCtLimitMessage,
  encodeCtLimitMessage,
  OVS_CT_LIMIT_CMD_GET,
  OVS_ZONE_LIMIT_DEFAULT_ZONE,
} from "./ct_limit_message.ts";

Deno.test("encodeCtLimitMessage, decodeCtLimitMessage: zones one after another", () => {
  const message: CtLimitMessage = {
    command: OVS_CT_LIMIT_CMD_GET,
    dpIfindex: 7,
    limits: [
      { zone: OVS_ZONE_LIMIT_DEFAULT_ZONE, limit: 100, count: 0 },
      { zone: 5, limit: 0, count: 3 },
    ],
  };
  const bytes = "03010000" + "07000000" +
    tlv(1, "ffffffff 64000000 00000000", "05000000 00000000 03000000");
  assert.equal(toHex(encodeCtLimitMessage(message)), bytes);
  assert.deepEqual(decodeCtLimitMessage(bytesOf(bytes)), message);
  const none = { ...message, limits: undefined };
  assert.deepEqual(decodeCtLimitMessage(encodeCtLimitMessage(none)), none);
});

Deno.test("decodeCtLimitMessage: a struct that is cut off", () => {
  const bytes = bytesOf("03010000 07000000", tlv(1, "00".repeat(11)));
  assert.throws(() => decodeCtLimitMessage(bytes), NetlinkCodecError);
});
