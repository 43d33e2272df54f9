import assert from "node:assert/strict";
import { sum } from "../packet/checksum.ts";
import * as geneve from "./geneve.ts";
import * as gre from "./gre.ts";
import * as vxlan from "./vxlan.ts";

const AT = 6;
const DIRTY = 0xa5;

/** Runs `write` on a buffer full of 0xa5; the bytes written, and that none around them was. */
function written(size: number, write: (view: DataView) => void): DataView {
  const bytes = new Uint8Array(AT + size + 6).fill(DIRTY);
  const view = new DataView(bytes.buffer);
  write(view);
  assert(bytes.subarray(0, AT).every((byte) => byte === DIRTY), "wrote in front of the header");
  assert(bytes.subarray(AT + size).every((byte) => byte === DIRTY), "wrote behind the header");
  return view;
}

function hex(view: DataView, size: number): string {
  return new Uint8Array(view.buffer, AT, size).toHex();
}

function viewOf(text: string): DataView {
  return new DataView(Uint8Array.fromHex(text.replaceAll(" ", "")).buffer);
}

Deno.test("vxlan.write sets all 8 bytes, and the accessors read them back", () => {
  const view = written(vxlan.SIZE, (view) => vxlan.write(view, AT, 0x123456));
  assert.equal(hex(view, 8), "0800000012345600");
  assert.equal(vxlan.vni(view, AT), 0x123456);
  assert.equal(vxlan.flags(view, AT), vxlan.FLAG_VNI);
  assert.equal(vxlan.fits(view, AT, AT + 8), true);
  assert.equal(vxlan.fits(view, AT, AT + 7), false);
  view.setUint8(AT, 0);
  assert.equal(vxlan.fits(view, AT, AT + 8), false, "the VNI is not valid");
});

Deno.test("vxlan.writePolicy carries flags and identifier of a group policy", () => {
  const view = written(vxlan.SIZE, (view) => vxlan.writePolicy(view, AT, 7, 0xff_1234));
  assert.equal(hex(view, 8), "8848123400000700");
  assert.equal(vxlan.policy(view, AT), 0x48_1234);
});

Deno.test("vxlan.writeGpe says what follows", () => {
  const view = written(vxlan.SIZE, (view) => vxlan.writeGpe(view, AT, 0xffffff, vxlan.NEXT_IPV6));
  assert.equal(hex(view, 8), "0c000002ffffff00");
  assert.equal(vxlan.nextProtocol(view, AT), vxlan.NEXT_IPV6);
});

Deno.test("geneve.write sets all 8 bytes; the critical flag is the options'", () => {
  const option = Uint8Array.fromHex("0102800111223344");
  const view = written(16, (view) => {
    new Uint8Array(view.buffer, AT + 8, 8).set(option);
    geneve.write(view, AT, { vni: 0xabcdef, isOam: true, optionsSize: 8 });
  });
  assert.equal(hex(view, 16), "02c06558abcdef000102800111223344");
  assert.equal(geneve.optionsSize(view, AT), 8);
  assert.equal(geneve.vni(view, AT), 0xabcdef);
  assert.equal(geneve.protocol(view, AT), geneve.PROTOCOL_ETHERNET);
  assert.equal(geneve.flags(view, AT), geneve.FLAG_OAM | geneve.FLAG_CRITICAL);
  assert.equal(geneve.fits(view, AT, AT + 16), true);
  assert.equal(geneve.fits(view, AT, AT + 15), false);
  const plain = written(
    8,
    (view) => geneve.write(view, AT, { vni: 1, isOam: false, optionsSize: 0 }),
  );
  assert.equal(hex(plain, 8), "0000655800000100");
});

Deno.test("geneve.fits wants version 0 and options that end where the header does", () => {
  const end = 16;
  assert.equal(geneve.fits(viewOf("02006558 00000100 01020301 11223344"), 0, end), true);
  assert.equal(geneve.fits(viewOf("42006558 00000100 01020301 11223344"), 0, end), false);
  assert.equal(geneve.fits(viewOf("02006558 00000100 01020302 11223344"), 0, end), false);
  assert.equal(geneve.fits(viewOf("02006558 00000100 01020300 11223344"), 0, end), false);
});

Deno.test("gre.write sets all bytes of every combination of fields", () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, "00006558"],
    [gre.FLAG_KEY, "2000655801020304"],
    [gre.FLAG_SEQUENCE, "100065580000000a"],
    [gre.FLAG_CHECKSUM, "8000655800000000"],
    [0xb000, "b000655800000000010203040000000a"],
  ];
  for (const [flags, wanted] of cases) {
    const size = wanted.length / 2;
    assert.equal(gre.sizeOf(flags), size);
    const view = written(size, (view) => {
      const fields = { flags, protocol: 0x6558, key: 0x01020304, sequence: 10 };
      assert.equal(gre.write(view, AT, fields), size);
    });
    assert.equal(hex(view, size), wanted);
    assert.equal(gre.fits(view, AT, AT + size), true);
    assert.equal(gre.fits(view, AT, AT + size - 1), false);
    if ((flags & gre.FLAG_KEY) !== 0) assert.equal(gre.key(view, AT), 0x01020304);
    if ((flags & gre.FLAG_SEQUENCE) !== 0) assert.equal(gre.sequence(view, AT), 10);
  }
});

Deno.test("gre.setChecksum makes what isChecksumRight accepts", () => {
  const view = viewOf("b000655800000000010203040000000a deadbeef01");
  gre.setChecksum(view, 0, sum(view, 16, 21));
  assert.equal(gre.isChecksumRight(view, 0, 21), true);
  view.setUint8(20, 2);
  assert.equal(gre.isChecksumRight(view, 0, 21), false);
});

Deno.test("gre.fits refuses routing, recursion and versions but 0", () => {
  for (const first of ["4000", "0800", "0100", "0001", "0007"]) {
    assert.equal(gre.fits(viewOf(`${first}6558`), 0, 4), false, first);
  }
});
