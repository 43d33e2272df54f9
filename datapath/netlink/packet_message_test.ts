import assert from "node:assert/strict";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { formatFlow, parseFlow } from "../text/flow_text.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  decodePacketMessage,
  encodePacketMessage,
  OVS_PACKET_CMD_ACTION,
  OVS_PACKET_CMD_EXECUTE,
} from "./packet_message.ts";

const KERNEL = { dialect: "kernel" } as const;
const ETH = "020000000001 020000000002";

Deno.test("encodePacketMessage: a packet to be executed", () => {
  const { key } = parseFlow(
    "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0/0xffff)",
  );
  const bytes = encodePacketMessage({
    command: OVS_PACKET_CMD_EXECUTE,
    dpIfindex: 7,
    key,
    actions: [{ type: "output", port: 2 }],
    mru: 1500,
    hash: 0x3_0000_0001n,
    probe: true,
    upcallPid: 9,
    packet: bytesOf("0102030405"),
  }, KERNEL);
  const expected = "03010000" + "07000000" + tlv(2, tlv(3, "01000000"), tlv(4, ETH)) +
    tlv(3, tlv(1, "02000000")) + tlv(9, "dc05") + tlv(11, "01000000 03000000") + tlv(8) +
    tlv(12, "09000000") + tlv(1, "0102030405");
  assert.equal(toHex(bytes), expected);
});

Deno.test("decodePacketMessage: an upcall with everything", () => {
  const tunnel = tlv(0, "0000000000000001") + tlv(2, "01020304") + tlv(4, "40");
  const payload = "02010000" + "07000000" + tlv(2, tlv(3, "01000000"), tlv(4, ETH), tlv(77, "01")) +
    tlv(4, "aabbcc") + tlv(5, tunnel) + tlv(3, tlv(1, "02000000")) + tlv(10, "40000000") +
    tlv(1, "0102030405");
  const message = decodePacketMessage(bytesOf(payload), KERNEL);
  assert.equal(message.command, OVS_PACKET_CMD_ACTION);
  const { key, mask, unknown } = message.decodedKey!;
  assert.equal(message.key, key);
  assert.equal(
    formatFlow(key, mask),
    "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)",
  );
  assert.deepEqual(unknown, [{ number: 77, key: "01", mask: undefined }]);
  assert.equal(message.userdata, "aabbcc");
  assert.equal(message.size, 64);
  assert.deepEqual([...message.packet!], [1, 2, 3, 4, 5]);
  assert.deepEqual(message.actions, [{ type: "output", port: 2 }]);
  const { command, dpIfindex, egressTunnel } = message;
  const again = encodePacketMessage({ command, dpIfindex, egressTunnel }, KERNEL);
  assert.equal(toHex(again), "02010000" + "07000000" + tlv(5, tunnel));
});

Deno.test("decodePacketMessage: malformed messages", () => {
  const head = "01010000" + "07000000";
  for (const rest of [tlv(2), tlv(9, "00"), tlv(11, "00000000"), tlv(3, "00"), tlv(5, "00")]) {
    assert.throws(() => decodePacketMessage(bytesOf(head, rest), KERNEL), NetlinkCodecError, rest);
  }
});
