import assert from "node:assert/strict";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import {
  beginOvsMessage,
  decodeFamily,
  encodeGetFamily,
  readOvsMessage,
} from "./generic_message.ts";

Deno.test("encodeGetFamily: genlmsghdr and the name", () => {
  const name = "6f76735f666c6f7700"; // ovs_flow
  assert.equal(toHex(encodeGetFamily("ovs_flow")), "03020000" + tlv(2, name));
});

Deno.test("decodeFamily: number, version and multicast groups", () => {
  const group = (name: string, id: string): string => tlv(1, name) + tlv(2, id);
  const payload = "01020000" + tlv(2, "6f76735f666c6f7700") + tlv(1, "1c00") + tlv(3, "01000000") +
    tlv(4, "04000000") + tlv(6, tlv(1, tlv(1, "01000000"))) +
    tlv(7, tlv(1, group("6100", "05000000")), tlv(2, group("6200", "06000000")));
  assert.deepEqual(decodeFamily(bytesOf(payload)), {
    id: 28,
    name: "ovs_flow",
    version: 1,
    groups: new Map([["a", 5], ["b", 6]]),
  });
});

Deno.test("decodeFamily: an answer without number or name, or cut off", () => {
  for (const payload of ["", "010200", "01020000", "01020000" + tlv(1, "1c00"), "0102000001"]) {
    assert.throws(() => decodeFamily(bytesOf(payload)), NetlinkCodecError);
  }
});

Deno.test("beginOvsMessage, readOvsMessage: command, version and dp_ifindex", () => {
  const bytes = beginOvsMessage({ command: 3, dpIfindex: -2 }, 2).attributeU8(1, 5).bytes();
  assert.equal(toHex(bytes), "03020000" + "feffffff" + tlv(1, "05"));
  const { header, attributes } = readOvsMessage(bytes, "test");
  assert.deepEqual(header, { command: 3, dpIfindex: -2 });
  assert.equal(attributes.u8(1), 5);
  assert.throws(() => readOvsMessage(bytes.subarray(0, 7), "test"), NetlinkCodecError);
  assert.throws(() => readOvsMessage(bytes.subarray(0, 10), "test"), NetlinkCodecError);
});
