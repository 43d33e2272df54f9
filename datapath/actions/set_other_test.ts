import assert from "node:assert/strict";
import type { Action } from "./actions.ts";
import { extractKey } from "../extract/extract.ts";
import { flowHash } from "./flow_hash.ts";
import * as key from "../key.ts";
import type { Packet } from "../packet/packet.ts";
import { faults, type FrameOptions, makeFrame, packetOf } from "../testing/frames.ts";
import { dropsAfter, frameAfter, out, runActions, setBytes } from "../testing/run_actions.ts";

const MISSING = { "set-header-missing": 1 };
const MACS = "ffffffffffff020000000001";
const ARP = "0001080006040001" + "010203040506" + "0a000001" + "0708090a0b0c" + "0a000002";

Deno.test("set arp: operation, addresses, masked; RARP too", () => {
  for (const type of ["0806", "8035"]) {
    const frame = Uint8Array.fromHex(`${MACS}${type}${ARP}0000`);
    const whole = setBytes(
      "arp",
      [key.IP_PROTO_AT, "02"],
      [key.IPV4_SRC_AT, "c0000201"],
      [key.IPV4_DST_AT, "c0000202"],
      [key.ARP_SHA_AT, "a1a2a3a4a5a6"],
      [key.ARP_THA_AT, "b1b2b3b4b5b6"],
    );
    const wanted = "0001080006040002" + "a1a2a3a4a5a6" + "c0000201" + "b1b2b3b4b5b6" + "c0000202";
    assert.equal(frameAfter(frame, whole), `${MACS}${type}${wanted}0000`);
    const parts = setBytes("arp", [key.ARP_THA_AT + 1, "ff", "f0"], [key.IPV4_SRC_AT + 3, "09"]);
    const some = "0001080006040001" + "010203040506" + "0a000009" + "07f8090a0b0c" + "0a000002";
    assert.equal(frameAfter(frame, parts), `${MACS}${type}${some}0000`);
    assert.deepEqual(dropsAfter(frame.subarray(0, 41), whole), MISSING);
  }
  assert.deepEqual(
    dropsAfter(makeFrame().bytes, setBytes("arp", [key.IP_PROTO_AT, "02"])),
    MISSING,
  );
});

Deno.test("set arp: an operation that is set whole has two bytes", () => {
  const frame = Uint8Array.fromHex(`${MACS}0806${ARP.replace("0001010", "0501010")}`);
  const operation = (mask: string): string =>
    frameAfter(frame, setBytes("arp", [key.IP_PROTO_AT, "02", mask])).slice(40, 44);
  assert.equal(operation("ff"), "0002");
  assert.equal(operation("02"), "0503");
});

/** Sets, and what of it must be right in the frame. */
function checked(options: FrameOptions, action: Action, type?: number): Uint8Array {
  const frame = makeFrame(options);
  if (type !== undefined) {
    frame.bytes[frame.l4] = type;
    fixChecksum(frame.bytes, frame.l4, type);
  }
  assert.deepEqual(faults(frame.bytes), []);
  const sent = Uint8Array.fromHex(frameAfter(frame.bytes, action));
  assert.deepEqual(faults(sent), []);
  return sent.slice(frame.l4);
}

/** The checksum after the type, which was 128, became another. */
function fixChecksum(bytes: Uint8Array, l4: number, type: number): void {
  const view = new DataView(bytes.buffer);
  let sum = (~view.getUint16(l4 + 2) & 0xffff) + (~0x8000 & 0xffff) + (type << 8);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(l4 + 2, ~sum & 0xffff);
}

Deno.test("set icmp and icmpv6: type and code, the checksum follows", () => {
  const both = [[key.TP_SRC_AT + 1, "03"], [key.TP_DST_AT + 1, "04"]] as const;
  const icmpv6 = checked({ isIpv6: true, protocol: "icmp" }, setBytes("icmpv6", ...both));
  assert.equal(icmpv6.slice(0, 2).toHex(), "0304");
  const { bytes, l4 } = makeFrame({ protocol: "icmp" });
  const frame = Uint8Array.fromHex(frameAfter(bytes, setBytes("icmp", ...both)));
  assert.equal(frame.slice(l4, l4 + 2).toHex(), "0304");
  // ICMP has no pseudo-header.
  assert.equal(onesSum(frame.slice(l4)), 0xffff);
  const code = setBytes("icmp", [key.TP_DST_AT + 1, "f0", "f0"]);
  assert.equal(frameAfter(bytes, code).slice(2 * l4, 2 * l4 + 4), "08f0");
  assert.deepEqual(dropsAfter(makeFrame().bytes, code), MISSING);
  assert.deepEqual(dropsAfter(bytes.subarray(0, l4 + 7), code), MISSING);
});

function onesSum(bytes: Uint8Array): number {
  let sum = 0;
  bytes.forEach((byte, at) => sum += at % 2 === 0 ? byte << 8 : byte);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

const TARGET = "fe800000000000000000000000000005";

Deno.test("set nd: target and the link-layer addresses that are there", () => {
  const action = setBytes(
    "nd",
    [key.ND_TARGET_AT, "20010db8" + "00".repeat(12)],
    [key.ND_SLL_AT, "a1a2a3a4a5a6"],
    [key.ND_TLL_AT, "b1b2b3b4b5b6"],
  );
  const target = "20010db8" + "00".repeat(12);
  for (const type of [135, 136]) {
    for (
      const [options, wanted] of [
        ["", ""],
        ["0101020000000009", "0101a1a2a3a4a5a6"],
        ["0201020000000009", "0201b1b2b3b4b5b6"],
        ["02010200000000090101020000000008", "0201b1b2b3b4b5b60101020000000008"],
        ["0e010000000000000101020000000008", "0e010000000000000101a1a2a3a4a5a6"],
        ["0102" + "00".repeat(14), "0102" + "00".repeat(14)],
        ["0100020000000009", "0100020000000009"],
      ] as const
    ) {
      const payload = Uint8Array.fromHex(TARGET + options);
      const message = checked({ isIpv6: true, protocol: "icmp", payload }, action, type);
      assert.equal(message.slice(8).toHex(), target + wanted);
    }
  }
});

Deno.test("set nd: masked parts of the addresses", () => {
  const action = setBytes(
    "nd",
    [key.ND_TARGET_AT + 15, "0f", "0f"],
    [key.ND_SLL_AT + 5, "ff"],
    [key.ND_TLL_AT + 1, "ff", "f0"],
  );
  const options = "0101020000000009" + "0201020000000008";
  const payload = Uint8Array.fromHex(TARGET + options);
  const target = TARGET.slice(0, 30) + "0f";
  for (const [at, wanted] of [[16, "01010200000000ff"], [24, "020102f000000008"]] as const) {
    const one = Uint8Array.from([...payload.slice(0, 16), ...payload.slice(at, at + 8)]);
    const message = checked({ isIpv6: true, protocol: "icmp", payload: one }, action, 135);
    assert.equal(message.slice(8).toHex(), target + wanted);
  }
});

Deno.test("set nd_ext: the reserved word and the first option's type", () => {
  const action = setBytes("nd_ext", [key.ND_RESERVED_AT, "e0000000"], [
    key.ND_OPTIONS_TYPE_AT,
    "02",
  ]);
  const payload = Uint8Array.fromHex(TARGET + "0101020000000009");
  const message = checked({ isIpv6: true, protocol: "icmp", payload }, action, 136);
  assert.equal(message.slice(4).toHex(), "e0000000" + TARGET + "0201020000000009");
  const bare = checked(
    { isIpv6: true, protocol: "icmp", payload: payload.slice(0, 16) },
    action,
    135,
  );
  assert.equal(bare.slice(4).toHex(), "e0000000" + TARGET);
  const echo = makeFrame({ isIpv6: true, protocol: "icmp" });
  assert.deepEqual(dropsAfter(echo.bytes, action), MISSING);
});

Deno.test("set icmpv6: a sum of the pseudo-header only is left alone", () => {
  const frame = makeFrame({ isIpv6: true, protocol: "icmp", checksum: "partial" });
  const packet = packetOf(frame.bytes, { needsCsum: true, csumStart: frame.l4, csumOffset: 2 });
  const { sent } = runActions(packet, [setBytes("icmpv6", [key.TP_SRC_AT + 1, "81"]), out(1)]);
  const field = frame.l4 + 2;
  assert.equal(sent[0]!.frame[frame.l4], 0x81);
  assert.deepEqual(sent[0]!.frame.slice(field, field + 2), frame.bytes.slice(field, field + 2));
});

Deno.test("set dp_hash, recirc_id and tunnel change the descriptor, not the bytes", () => {
  const packet = packetOf(makeFrame().bytes, { dpHash: 0xff00ff00 });
  const tunnel = setBytes(
    "tunnel",
    [key.TUN_ID_AT, "0000000000000539"],
    [key.TUN_DST_AT, "0a000002"],
    [key.TUN_TTL_AT, "40"],
    [key.TUN_FAMILY_AT, "04"],
    [key.TUN_OPTIONS_KIND_AT, "01"],
    [key.TUN_OPTIONS_SIZE_AT, "0008"],
    [key.TUN_OPTIONS_AT, "0102800100000009"],
  );
  const list = [
    out(1),
    setBytes("dp_hash", [key.DP_HASH_AT, "0000abcd", "0000ffff"]),
    setBytes("recirc_id", [key.RECIRC_ID_AT, "80000007"]),
    tunnel,
    out(2),
  ];
  const { sent } = runActions(packet, list, { slots: 0 });
  assert.equal(sent[1]!.packet, packet);
  assert.equal(packet.dpHash, 0xff00abcd);
  assert.equal(packet.recircId, 0x80000007);
  assert.equal(packet.hasTunnel, false);
  assert.equal(packet.hasEgress, true);
  const egress = packet.wide!.egress;
  assert.deepEqual([egress.family, egress.idLow, egress.ttl], [4, 0x539, 64]);
  assert.deepEqual([egress.destination, egress.optionsSize], [0x0a000002, 8]);
  // The next one says all.
  const bare = setBytes("tunnel", [key.TUN_DST_AT, "0a000003"], [key.TUN_FAMILY_AT, "04"]);
  runActions(packet, [bare, out(1)]);
  assert.deepEqual([egress.idLow, egress.destination, egress.optionsSize], [0, 0x0a000003, 0]);
});

function hashOf(options: FrameOptions | Uint8Array, isSymmetric = false, basis = 0): number {
  const frame = options instanceof Uint8Array ? options : makeFrame(options).bytes;
  const packet: Packet = packetOf(frame);
  extractKey(packet, new Int32Array(key.KEY_WORDS), 0);
  return flowHash(packet, isSymmetric, basis);
}

Deno.test("flowHash: differs by every part of the flow and by basis, not by what is no part of it", () => {
  for (const isIpv6 of [false, true]) {
    const base: FrameOptions = { isIpv6, protocol: "udp" };
    const hashes = [
      hashOf(base),
      hashOf({ ...base, source: 7 }),
      hashOf({ ...base, destination: 7 }),
      hashOf({ ...base, sourcePort: 7 }),
      hashOf({ ...base, destinationPort: 7 }),
      hashOf({ ...base, protocol: "tcp" }),
      hashOf(base, false, 1),
    ];
    assert.equal(new Set(hashes).size, hashes.length);
    assert.equal(hashOf({ ...base, payloadSize: 99, tags: [0x81000005] }), hashOf(base));
  }
  // A fragment's ports are not looked at: all fragments of a datagram hash alike.
  const first = { protocol: "udp", fragment: 0x2000 } as const;
  assert.equal(hashOf(first), hashOf({ ...first, fragment: 0x0007 }));
  assert.notEqual(
    hashOf(Uint8Array.fromHex(`${MACS}88cc${"00".repeat(46)}`)),
    hashOf(Uint8Array.fromHex(`${MACS}88cd${"00".repeat(46)}`)),
  );
});

Deno.test("flowHash: the symmetric one is that of the other direction", () => {
  for (const isIpv6 of [false, true]) {
    const there = { isIpv6, source: 1, destination: 9, sourcePort: 1000, destinationPort: 80 };
    const back = { isIpv6, source: 9, destination: 1, sourcePort: 80, destinationPort: 1000 };
    assert.equal(hashOf(there, true), hashOf(back, true));
    assert.notEqual(hashOf(there), hashOf(back));
    assert.notEqual(hashOf(there, true), hashOf({ ...there, sourcePort: 1001 }, true));
  }
});

Deno.test("hash: writes dp_hash", () => {
  for (const algorithm of ["l4", "sym_l4"] as const) {
    const packet = packetOf(makeFrame().bytes);
    runActions(packet, [{ type: "hash", algorithm, basis: 5 }, out(1)]);
    assert.equal(packet.dpHash, hashOf({}, algorithm === "sym_l4", 5));
  }
});

Deno.test("flowHash: spreads", () => {
  const buckets = new Int32Array(16);
  for (let port = 0; port < 1600; port++) buckets[hashOf({ sourcePort: port }) & 15]!++;
  assert(Math.min(...buckets) > 60 && Math.max(...buckets) < 150, buckets.join());
});
