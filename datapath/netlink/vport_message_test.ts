import assert from "node:assert/strict";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  decodeVportMessage,
  encodeVportMessage,
  OVS_VPORT_CMD_NEW,
  OVS_VPORT_TYPE_VXLAN,
  type VportMessage,
} from "./vport_message.ts";

const MESSAGE: VportMessage = {
  command: OVS_VPORT_CMD_NEW,
  dpIfindex: 7,
  portNo: 3,
  type: OVS_VPORT_TYPE_VXLAN,
  name: "vx",
  options: { dstPort: 4789, gbp: true },
  upcallPids: [5],
  stats: {
    rxPackets: 1n,
    txPackets: 2n,
    rxBytes: 3n,
    txBytes: 4n,
    rxErrors: 5n,
    txErrors: 6n,
    rxDropped: 7n,
    txDropped: 8n,
  },
  upcallStats: { succeeded: 9n, failed: 10n },
  ifindex: 11,
  netnsId: -1,
};

const u64 = (value: number): string => value.toString(16).padStart(2, "0") + "00".repeat(7);

const BYTES = "01010000" + "07000000" + tlv(1, "03000000") + tlv(2, "04000000") +
  tlv(3, "767800") + tlv(5, "05000000") + tlv(8, "0b000000") + tlv(9, "ffffffff") +
  tlv(6, ...[1, 2, 3, 4, 5, 6, 7, 8].map(u64)) + tlv(10, tlv(0, u64(9)), tlv(1, u64(10))) +
  tlv(4, tlv(1, "b512"), tlv(2, tlv(1)));

Deno.test("encodeVportMessage, decodeVportMessage: every attribute", () => {
  assert.equal(toHex(encodeVportMessage(MESSAGE)), BYTES);
  assert.deepEqual(decodeVportMessage(bytesOf(BYTES)), MESSAGE);
});

Deno.test("decodeVportMessage: options of other tunnels, padding within the upcalls", () => {
  const payload = "01010000" + "07000000" + tlv(4, tlv(1, "c117")) +
    tlv(10, tlv(7), tlv(0, u64(1)), tlv(7), tlv(1, u64(2)));
  const { options, upcallStats } = decodeVportMessage(bytesOf(payload));
  assert.deepEqual(options, { dstPort: 6081, gbp: false });
  assert.deepEqual(upcallStats, { succeeded: 1n, failed: 2n });
});

Deno.test("decodeVportMessage: malformed messages", () => {
  const head = "01010000" + "07000000";
  const bad = [
    tlv(6, "00".repeat(63)),
    tlv(4, "00"),
    tlv(4, tlv(1, "00")),
    tlv(5, "00"),
    tlv(10, tlv(0)),
  ];
  for (const rest of bad) {
    assert.throws(() => decodeVportMessage(bytesOf(head, rest)), NetlinkCodecError, rest);
  }
});
