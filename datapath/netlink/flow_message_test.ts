import assert from "node:assert/strict";
import type { Action } from "../actions/actions.ts";
import { randomActions } from "../testing/actions.ts";
import { randomFlowText, seededRandom } from "../testing/flows.ts";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { formatFlow, parseFlow } from "../text/flow_text.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  decodeFlowMessage,
  encodeFlowMessage,
  OVS_FLOW_CMD_DEL,
  OVS_FLOW_CMD_GET,
  OVS_FLOW_CMD_NEW,
  OVS_FLOW_CMD_SET,
  OVS_UFID_F_OMIT_MASK,
} from "./flow_message.ts";

const KERNEL = { dialect: "kernel" } as const;
const ETH = tlv(4, "00".repeat(12));
const OUTPUT: readonly Action[] = [{ type: "output", port: 2 }];

Deno.test("encodeFlowMessage: a new flow", () => {
  const match = parseFlow("in_port(1),eth()");
  const message = encodeFlowMessage({
    command: OVS_FLOW_CMD_NEW,
    dpIfindex: 5,
    ufid: "00112233445566778899aabbccddeeff",
    match,
    actions: OUTPUT,
    probe: true,
  }, KERNEL);
  const expected = "01010000" + "05000000" + tlv(9, "00112233445566778899aabbccddeeff") +
    tlv(1, tlv(3, "01000000"), ETH) + tlv(7, tlv(3, "ffffffff"), ETH) + tlv(8) +
    tlv(2, tlv(1, "02000000"));
  assert.equal(toHex(message), expected);
});

Deno.test("encodeFlowMessage: other requests", () => {
  const set = encodeFlowMessage({
    command: OVS_FLOW_CMD_SET,
    dpIfindex: 5,
    ufid: "01",
    actions: [],
    clear: true,
  }, KERNEL);
  assert.equal(toHex(set), "04010000" + "05000000" + tlv(9, "01") + tlv(6) + tlv(2));
  const flush = encodeFlowMessage({ command: OVS_FLOW_CMD_DEL, dpIfindex: 5 }, KERNEL);
  assert.equal(toHex(flush), "02010000" + "05000000");
  const ufidFlags = OVS_UFID_F_OMIT_MASK;
  const dump = encodeFlowMessage({ command: OVS_FLOW_CMD_GET, dpIfindex: 5, ufidFlags }, KERNEL);
  assert.equal(toHex(dump), "03010000" + "05000000" + tlv(10, "02000000"));
});

Deno.test("decodeFlowMessage: a flow of a dump, aligned by padding attributes", () => {
  const payload = "01010000" + "05000000" + tlv(9, "0102") +
    tlv(1, tlv(20, "00000000"), tlv(3, "01000000"), ETH) +
    tlv(7, tlv(20, "00000000"), tlv(16, tlv(4, "00")), tlv(3, "ffffffff"), ETH) + tlv(11) +
    tlv(5, "8877665544332211") + tlv(11) + tlv(3, "0300000000000000 c800000000000000") +
    tlv(4, "12") + tlv(2, tlv(1, "02000000"));
  const message = decodeFlowMessage(bytesOf(payload), KERNEL);
  const { match, ...rest } = message;
  assert.equal(formatFlow(match!.key, match!.mask), "in_port(1),eth()");
  assert.deepEqual(rest, {
    command: OVS_FLOW_CMD_NEW,
    dpIfindex: 5,
    ufid: "0102",
    ufidFlags: undefined,
    stats: { packets: 3n, bytes: 200n },
    tcpFlags: 0x12,
    usedMs: 0x1122334455667788n,
    actions: OUTPUT,
    clear: false,
    probe: false,
  });
});

Deno.test("decodeFlowMessage: what is written is read", () => {
  const random = seededRandom(20);
  for (let run = 0; run < 300; run++) {
    const { key, mask } = parseFlow(randomFlowText(random));
    const message = {
      command: OVS_FLOW_CMD_NEW,
      dpIfindex: run,
      match: { key: key.map((word, at) => word & mask[at]!), mask, unknown: [] },
      actions: randomActions(random, KERNEL),
      ufid: undefined,
      ufidFlags: random(8),
      stats: { packets: BigInt(random(1000)), bytes: 2n ** 63n },
      tcpFlags: random(256),
      usedMs: BigInt(random(100_000)),
      clear: random(2) === 1,
      probe: random(2) === 1,
    };
    // Ports that aren't matched come back as none.
    const again = decodeFlowMessage(encodeFlowMessage(message, KERNEL), KERNEL);
    assert.deepEqual({ ...again, match: undefined }, { ...message, match: undefined });
    assert.deepEqual(again.match!.mask, mask);
    assert.deepEqual(encodeFlowMessage(again, KERNEL), encodeFlowMessage(message, KERNEL));
  }
});

Deno.test("decodeFlowMessage: malformed messages", () => {
  const head = "01010000" + "05000000";
  const bad = [
    "0101",
    head + "01",
    head + tlv(3, "00".repeat(8)),
    head + tlv(4, "0000"),
    head + tlv(5, "00000000"),
    head + tlv(2) + tlv(2),
    head + tlv(1, "00"),
    head + tlv(2, "00"),
  ];
  for (const payload of bad) {
    assert.throws(() => decodeFlowMessage(bytesOf(payload), KERNEL), NetlinkCodecError, payload);
  }
  const ufid = "0";
  assert.throws(
    () => encodeFlowMessage({ command: OVS_FLOW_CMD_GET, dpIfindex: 1, ufid }, KERNEL),
    NetlinkCodecError,
  );
});
