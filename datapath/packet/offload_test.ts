import assert from "node:assert/strict";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import { completeChecksum, isEncapsulated, partialNeedsSoftware } from "./offload.ts";
import { frameOf, makeFrame, makeTunnelFrame, packetOf } from "../testing/frames.ts";

Deno.test("completeChecksum: every transport, odd and long payloads, tags in line", () => {
  for (const isIpv6 of [false, true]) {
    for (const protocol of ["tcp", "udp", "sctp", "icmp"] as const) {
      if (protocol === "icmp" && !isIpv6) continue;
      for (const payloadSize of [0, 1, 255, 9001, 65000]) {
        const tags = payloadSize === 1 ? [0x81000005] : [];
        const frame = makeFrame({ isIpv6, protocol, payloadSize, tags, checksum: "partial" });
        const packet = packetOf(frame.bytes, {
          needsCsum: true,
          csumStart: frame.l4,
          csumOffset: { tcp: 16, udp: 6, sctp: 8, icmp: 2 }[protocol],
        });
        assert.equal(completeChecksum(packet), true);
        assert.equal(packet.needsCsum, false);
        const whole = makeFrame({ isIpv6, protocol, payloadSize, tags });
        assert.deepEqual(frameOf(packet), whole.bytes, `${protocol} ${payloadSize}`);
      }
    }
  }
});

Deno.test("completeChecksum: a checksum of zero is written as 0xffff", () => {
  const bytes = new Uint8Array(60);
  bytes.fill(0xff, 34, 36);
  const packet = packetOf(bytes, { needsCsum: true, csumStart: 34, csumOffset: 6 });
  assert.equal(completeChecksum(packet), true);
  assert.equal(frameOf(packet).slice(40, 42).toHex(), "ffff");
});

Deno.test("completeChecksum: offsets outside of the frame change nothing", () => {
  const { bytes } = makeFrame();
  for (
    const [csumStart, csumOffset] of [[1000, 16], [bytes.length - 10, 9], [34, 60000], [-70, 6]]
  ) {
    const packet = packetOf(bytes, {
      needsCsum: true,
      csumStart: csumStart!,
      csumOffset: csumOffset!,
    });
    assert.equal(completeChecksum(packet), false);
    assert.deepEqual(frameOf(packet), bytes);
  }
});

Deno.test("isEncapsulated: a partial checksum behind an outer UDP or GRE header", () => {
  const inner = makeFrame({ checksum: "partial" });
  const plain = packetOf(inner.bytes, { needsCsum: true, csumStart: inner.l4, csumOffset: 16 });
  extractKey(plain, new Int32Array(KEY_WORDS), 0);
  assert.equal(isEncapsulated(plain), false);
  for (const kind of ["vxlan", "geneve", "gre", "ipip"] as const) {
    const outer = makeTunnelFrame(inner.bytes, { kind });
    const csumStart = outer.bytes.length - (inner.bytes.length - inner.l4);
    const packet = packetOf(outer.bytes, { needsCsum: true, csumStart, csumOffset: 16 });
    extractKey(packet, new Int32Array(KEY_WORDS), 0);
    assert.equal(isEncapsulated(packet), true, kind);
    packet.needsCsum = false;
    assert.equal(isEncapsulated(packet), false);
  }
});

Deno.test("partialNeedsSoftware: SCTP's only", () => {
  const { bytes } = makeFrame();
  const needs = (csumOffset: number): boolean =>
    partialNeedsSoftware(packetOf(bytes, { needsCsum: true, csumStart: 34, csumOffset }));
  assert.equal(needs(8), true);
  assert.equal(needs(16), false);
  assert.equal(needs(6), false);
});
