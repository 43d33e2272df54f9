import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesOf, tlv } from "../testing/tlv.ts";
import {
  AttributeSet,
  AttributeWriter,
  fromHex,
  NetlinkCodecError,
  scanAttributes,
  toHex,
} from "./attributes.ts";

Deno.test("AttributeWriter: every kind of attribute has the bytes of struct nlattr", () => {
  const writer = new AttributeWriter()
    .attributeFlag(1)
    .attributeU8(2, 0xfe)
    .attributeU16(3, 0x1234)
    .attributeBe16(4, 0x1234)
    .attributeU32(5, 0x89abcdef)
    .attributeU64(6, 0x0123456789abcdefn)
    .attributeText(7, "eth0")
    .nested(8, (inner) => inner.attribute(9, bytesOf("aabbcc")));
  const expected = "04000100" + "05000200fe000000" + "0600030034120000" + "0600040012340000" +
    "08000500efcdab89" + "0c000600efcdab8967452301" + "090007006574683000000000" +
    "0c000800" + "07000900aabbcc00";
  assert.equal(toHex(writer.bytes()), expected);
  assert.equal(writer.size, expected.length / 2);
});

Deno.test("AttributeWriter: grows in front of any attribute", () => {
  for (let fill = 200; fill < 270; fill += 4) {
    const writer = new AttributeWriter().raw(new Uint8Array(fill));
    writer.nested(1, () => {
      writer.attributeU8(2, 1).attributeU16(3, 2).attributeU32(4, 3).attributeU64(5, 4n);
      writer.attributeBe16(6, 5).header(8, (view) => view.setUint32(4, 6));
    });
    const inner = tlv(2, "01") + tlv(3, "0200") + tlv(4, "03000000") + tlv(5, "0400000000000000") +
      tlv(6, "0005") + "0000000000000006";
    assert.equal(toHex(writer.bytes().subarray(fill)), tlv(1, inner));
  }
});

Deno.test("AttributeWriter: marksNested sets NLA_F_NESTED, headSize leaves room", () => {
  const writer = new AttributeWriter({ headSize: 4, marksNested: true }).nested(1, () => {});
  assert.equal(toHex(writer.bytes()), "00000000" + "04000180");
});

Deno.test("AttributeWriter: an attribute that is too large, a number that doesn't fit", () => {
  const writer = new AttributeWriter();
  writer.attribute(1, new Uint8Array(0xffff - 4));
  assert.throws(() => writer.attribute(2, new Uint8Array(0xffff - 3)), NetlinkCodecError);
  const large = (): void => {
    writer.nested(3, () => writer.attribute(4, new Uint8Array(0xffff - 4)));
  };
  assert.throws(large, NetlinkCodecError);
  for (const value of [-1, 256, 1.5, Number.NaN]) {
    assert.throws(() => writer.attributeU8(1, value), NetlinkCodecError);
  }
  assert.throws(() => writer.attributeU32(1, 2 ** 32), NetlinkCodecError);
});

Deno.test("AttributeSet: reads every kind of number, text and nested attributes", () => {
  const set = new AttributeSet(
    bytesOf(
      tlv(1),
      tlv(2, "fe"),
      tlv(3, "3412"),
      tlv(5, "efcdab89"),
      tlv(6, "efcdab8967452301"),
      tlv(7, "65746830 00 ff"),
      tlv(8 | 0x8000, tlv(9, "01000000 02000000")),
    ),
    "test",
  );
  assert.equal(set.has(1), true);
  assert.equal(set.has(10), false);
  assert.equal(set.u8(2), 0xfe);
  assert.equal(set.u16(3), 0x1234);
  assert.equal(set.be16(3), 0x3412);
  assert.equal(set.u32(5), 0x89abcdef);
  assert.equal(set.s32(5), 0x89abcdef | 0);
  assert.equal(set.u64(6), 0x0123456789abcdefn);
  assert.equal(set.text(7), "eth0");
  const inner = set.nested(8, "inner");
  assert.deepEqual(inner?.u32s(9), [1, 2]);
  assert.equal(inner?.struct(9, 8)?.getUint32(4, true), 2);
  assert.equal(inner?.path, "test inner");
  assert.equal(set.u32(99), undefined);
  assert.equal(set.hasOnly(1, 8), true);
  assert.equal(set.hasOnly(1, 7), false);
});

Deno.test("AttributeSet: the last attribute needs no padding, padding attributes may repeat", () => {
  const set = new AttributeSet(bytesOf(tlv(3), tlv(1, "01020304"), tlv(3), "05000200ff"), "test", {
    pad: 3,
  });
  assert.equal(set.u8(2), 0xff);
  assert.equal(set.has(3), false);
});

Deno.test("AttributeSet: damaged bytes and wrong sizes are named with their path", () => {
  const bad: readonly (readonly [string, RegExp])[] = [
    ["01", /test: 1 bytes are left over at byte 0/],
    ["08000100aabb", /test: attribute 1 at byte 0 has length 8, must be 4 … 6/],
    ["03000100", /length 3/],
    ["00000100", /length 0/],
    [tlv(1) + "0400", /2 bytes are left over at byte 4/],
    [tlv(1) + tlv(1), /attribute 1 stands twice/],
  ];
  for (const [bytes, message] of bad) {
    assert.throws(() => new AttributeSet(bytesOf(bytes), "test"), (error: unknown) => {
      assert(error instanceof NetlinkCodecError);
      assert.match(error.message, message);
      assert.equal(error.code, "EINVAL");
      return true;
    });
  }
  const set = new AttributeSet(bytesOf(tlv(1, "010203")), "test");
  for (
    const read of [
      () => set.u8(1),
      () => set.u16(1),
      () => set.u32(1),
      () => set.u64(1),
      () => set.u32s(1),
      () => set.struct(1, 4),
      () => set.nested(1, "inner"),
    ]
  ) assert.throws(read, NetlinkCodecError);
});

Deno.test("AttributeSet, AttributeWriter: what is written is read", () => {
  const attribute = fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 40 }));
  fc.assert(fc.property(fc.uniqueArray(attribute, { selector: ([type]) => type }), (list) => {
    const writer = new AttributeWriter();
    for (const [type, payload] of list) writer.attribute(type, payload);
    const set = new AttributeSet(writer.bytes(), "test");
    assert.deepEqual([...set.types], list.map(([type]) => type));
    for (const [type, payload] of list) assert.equal(toHex(set.bytes(type)!), toHex(payload));
  }));
});

Deno.test("scanAttributes: any bytes end", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    let size = 0;
    scanAttributes(bytes, (_type, payload) => size += 4 + payload.length);
    assert(size <= bytes.length);
  }));
});

Deno.test("fromHex: what isn't hexadecimal", () => {
  assert.equal(toHex(fromHex("00fF10", "test")), "00ff10");
  for (const text of ["0", "0g", " 00", "0x00"]) {
    assert.throws(() => fromHex(text, "test"), NetlinkCodecError);
  }
});
