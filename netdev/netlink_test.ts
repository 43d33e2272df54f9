import assert from "node:assert/strict";
import fc from "fast-check";
import { scanAttributes } from "../datapath/netlink/attributes.ts";
import {
  NLA_F_NESTED,
  NLA_TYPE_MASK,
  nlattr,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
  nlmsghdr,
} from "./abi.ts";
import {
  attributeText,
  attributeU32,
  MessageWriter,
  parseAcknowledgement,
  parseAttributes,
  parseMessages,
} from "./netlink.ts";

Deno.test("MessageWriter: attributes come back from parseAttributes, in any number and size", () => {
  const attribute = fc.tuple(fc.integer({ min: 1, max: 100 }), fc.uint8Array({ maxLength: 200 }));
  fc.assert(fc.property(fc.array(attribute, { maxLength: 20 }), (list) => {
    const writer = new MessageWriter(16, 5).header(6, (view) => view.setUint16(4, 0x1234, true));
    for (const [type, value] of list) writer.attribute(type, value);
    const [message, ...rest] = parseMessages(writer.finish(77));
    assert.equal(rest.length, 0);
    assert.equal(message?.type, 16);
    assert.equal(message?.flags, 5);
    assert.equal(message?.sequence, 77);
    const payload = message?.payload ?? new Uint8Array();
    assert.equal(new DataView(payload.buffer).getUint16(4, true), 0x1234);
    const attributes = parseAttributes(payload, 8);
    for (const [type, value] of new Map(list)) {
      assert.deepEqual([...attributes.get(type) ?? []], [...value]);
    }
    assert.equal(attributes.size, new Map(list).size);
  }));
});

Deno.test("MessageWriter.nested: holds its attributes, also when the message grows meanwhile", () => {
  const text = "x".repeat(300);
  const bytes = new MessageWriter(1, 0)
    .nested(2, (inner) => inner.attributeText(1, text).attributeU32(6, 0xfedcba98))
    .attributeU32(3, 9)
    .finish(1);
  const outer = parseAttributes(parseMessages(bytes)[0]?.payload ?? new Uint8Array());
  const inner = parseAttributes(outer.get(2) ?? new Uint8Array());
  assert.equal(attributeText(inner.get(1)), text);
  assert.equal(attributeU32(inner.get(6)), 0xfedcba98);
  assert.equal(attributeU32(outer.get(3)), 9);
});

Deno.test("parseMessages, parseAttributes: any bytes are taken without a fault", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    const own = new Uint8Array(bytes);
    for (const message of parseMessages(own)) {
      parseAttributes(message.payload);
      parseAcknowledgement({ ...message, type: NLMSG_ERROR });
    }
    parseAttributes(own);
  }));
});

Deno.test("parseAcknowledgement: errno and the kernel's words, behind a capped or whole echo", () => {
  for (const capped of [true, false]) {
    const echo = new MessageWriter(16, 1).attributeU32(4, 68).finish(3);
    const flags = NLM_F_ACK_TLVS | (capped ? NLM_F_CAPPED : 0);
    const writer = new MessageWriter(NLMSG_ERROR, flags)
      .header(4 + (capped ? 16 : echo.length), (view) => {
        view.setInt32(0, -22, true);
        new Uint8Array(view.buffer, view.byteOffset + 4).set(echo.subarray(0, view.byteLength - 4));
      })
      .attributeText(NLMSGERR_ATTR_MSG, "mtu greater than device maximum");
    const [message] = parseMessages(writer.finish(3));
    assert.ok(message !== undefined);
    const expected = { errno: 22, text: "mtu greater than device maximum" };
    assert.deepEqual(parseAcknowledgement(message), expected);
  }
});

Deno.test("MessageWriter: attributes have the layout of the system's struct nlattr", () => {
  const bytes = new MessageWriter(1, 0).nested(2, () => {}).finish(1);
  const view = new DataView(bytes.buffer, nlmsghdr.size);
  assert.equal(view.byteLength, nlattr.size);
  assert.equal(view.getUint16(nlattr.nla_len, true), nlattr.size);
  assert.equal(view.getUint16(nlattr.nla_type, true), 2 | NLA_F_NESTED);
  const plain = new MessageWriter(1, 0, { marksNested: false }).nested(2, () => {}).finish(1);
  assert.equal(new DataView(plain.buffer, nlmsghdr.size).getUint16(nlattr.nla_type, true), 2);
  view.setUint16(nlattr.nla_type, 0xffff, true);
  scanAttributes(bytes.subarray(nlmsghdr.size), (type) => {
    assert.equal(type, 0xffff & NLA_TYPE_MASK);
  });
});
