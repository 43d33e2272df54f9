import assert from "node:assert/strict";
import * as key from "../key.ts";
import { extracted } from "../testing/extracted.ts";
import { makeFrame, packetOf } from "../testing/frames.ts";

type Extension = readonly [number, readonly number[]];

const HOP: Extension = [0, [0, 1, 4, 0, 0, 0, 0]];
const DEST: Extension = [60, [0, 1, 4, 0, 0, 0, 0]];
const LONG_DEST: Extension = [60, [1, ...new Array(14).fill(0)]];
const ROUTING: Extension = [43, [0, 0, 1, 0, 0, 0, 0]];
const FIRST: Extension = [44, [0, 0, 1, 0, 0, 0, 9]];
const LATER: Extension = [44, [0, 8, 0, 0, 0, 0, 9]];
/** 8 bytes: what the kernel's walk and the header's own length agree on. */
const AUTH: Extension = [51, [0, 0, 0, 0, 0, 0, 0]];

function bitsOf(extensions: readonly Extension[], last?: number, cut = 0): number {
  const { bytes, l3, l4 } = makeFrame({ isIpv6: true, extensions });
  if (last !== undefined) {
    // The byte that says TCP: in the fixed header, or the first of the last extension header.
    const rest = extensions.at(-1)?.[1].length;
    bytes[rest === undefined ? l3 + 6 : l4 - rest - 1] = last;
  }
  return extracted(packetOf(bytes.subarray(0, bytes.length - cut))).getUint16(key.IPV6_EXTHDRS_AT);
}

Deno.test("extractKey: IPv6 extension headers in the order of RFC 8200", () => {
  assert.equal(bitsOf([]), 0);
  assert.equal(bitsOf([HOP]), 0x40);
  assert.equal(bitsOf([DEST]), 0x08);
  assert.equal(bitsOf([ROUTING]), 0x20);
  assert.equal(bitsOf([FIRST]), 0x10);
  assert.equal(bitsOf([AUTH]), 0x04);
  assert.equal(bitsOf([HOP, DEST, ROUTING, FIRST]), 0x78);
  assert.equal(bitsOf([HOP, LONG_DEST, ROUTING, AUTH]), 0x6c);
  assert.equal(bitsOf([DEST, ROUTING, DEST]), 0x28);
});

Deno.test("extractKey: IPv6 extension headers out of order or repeated", () => {
  assert.equal(bitsOf([ROUTING, HOP]), 0x120, "hop-by-hop counts only as the first");
  assert.equal(bitsOf([HOP, HOP]), 0x1c0);
  assert.equal(bitsOf([ROUTING, ROUTING]), 0x1a0);
  assert.equal(bitsOf([FIRST, ROUTING]), 0x130);
  assert.equal(bitsOf([ROUTING, DEST]), 0x128);
  assert.equal(bitsOf([DEST, DEST]), 0x08);
  assert.equal(bitsOf([DEST, DEST, DEST]), 0x88);
  assert.equal(bitsOf([DEST, DEST, ROUTING]), 0x128);
  assert.equal(bitsOf([FIRST, AUTH]), 0x114, "the kernel does not expect this order");
  assert.equal(bitsOf([AUTH, AUTH]), 0x84);
});

Deno.test("extractKey: no next header, chains that are cut off, later fragments, ESP", () => {
  assert.equal(bitsOf([], 59), 0x01);
  assert.equal(bitsOf([HOP, DEST], 59), 0x49);
  assert.equal(bitsOf([], 50), 0);
  assert.equal(bitsOf([HOP], 50), 0x40);
  assert.equal(bitsOf([LATER]), 0x10);
  const { bytes, l3 } = makeFrame({ isIpv6: true, extensions: [HOP, DEST] });
  const cutAt = (size: number): number =>
    extracted(packetOf(bytes.subarray(0, l3 + size))).getUint16(key.IPV6_EXTHDRS_AT);
  assert.equal(cutAt(39), 0);
  assert.equal(cutAt(40), 0x40);
  assert.equal(cutAt(41), 0x40);
  assert.equal(cutAt(42), 0x48);
});

function discovery(type: number, options: readonly number[], cut = 0): DataView {
  const payload = Uint8Array.from([0xfe, 0x80, ...new Array(13).fill(0), 5, ...options]);
  const { bytes, l4 } = makeFrame({ isIpv6: true, protocol: "icmp", payload });
  bytes.set([type, 0, 0, 0, 0xe0, 0, 0, 1], l4);
  return extracted(packetOf(bytes.subarray(0, bytes.length - cut)));
}

Deno.test("extractKey: nd_ext: reserved word and type of the first link-layer option", () => {
  const nonce = [14, 1, 0, 0, 0, 0, 0, 0];
  const source = [1, 1, 2, 0, 0, 0, 0, 9];
  const target = [2, 1, 2, 0, 0, 0, 0, 8];
  const optionOf = (options: readonly number[]): number =>
    discovery(135, options).getUint8(key.ND_OPTIONS_TYPE_AT);
  assert.equal(optionOf([]), 0);
  assert.equal(optionOf(nonce), 0);
  assert.equal(optionOf([...nonce, ...target, ...source]), 2);
  assert.equal(optionOf([...source, ...target]), 1);
  assert.equal(discovery(136, target).getUint32(key.ND_RESERVED_AT), 0xe0000001);
  assert.equal(discovery(135, [], 1).getUint32(key.ND_RESERVED_AT), 0xe0000001, "no target");
  assert.equal(discovery(133, source).getUint32(key.ND_RESERVED_AT), 0);
});
