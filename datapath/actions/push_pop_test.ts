import assert from "node:assert/strict";
import type { Action } from "./actions.ts";
import { extractKey } from "../extract/extract.ts";
import * as key from "../key.ts";
import { GSO_TCPV4, GSO_TCPV6, type Packet } from "../packet/packet.ts";
import { faults, type FrameOptions, makeFrame, packetOf } from "../testing/frames.ts";
import { RecordingPort } from "../testing/ports.ts";
import { dropsAfter, frameAfter, out, runActions, setBytes } from "../testing/run_actions.ts";

const ADDRESSES = "020000000002020000000001";
const pushMpls = (lse: number, ethType = 0x8847): Action => ({ type: "push_mpls", lse, ethType });
const popMpls = (ethType: number): Action => ({ type: "pop_mpls", ethType });
const addMpls = (lse: number, flags: number): Action => ({
  type: "add_mpls",
  lse,
  ethType: 0x8847,
  flags,
});
const pushEth: Action = { type: "push_eth", src: "0a0b0c0d0e0f", dst: "1a1b1c1d1e1f" };
const popEth: Action = { type: "pop_eth" };
const popNsh: Action = { type: "pop_nsh" };
const pushNsh: Action = {
  type: "push_nsh",
  flags: 2,
  ttl: 63,
  mdtype: 1,
  np: 0,
  path: 0x123456ff,
  metadata: "00010203040506070809101112131415",
};
const NSH_HEADER = "2fc601" + "%np" + "123456ff" + "00010203040506070809101112131415";
const nshHeader = (np: string): string => NSH_HEADER.replace("%np", np);

Deno.test("push_mpls and pop_mpls: behind the Ethernet header, the outer entry first", () => {
  const { bytes } = makeFrame();
  const packet = bytes.slice(14).toHex();
  assert.equal(frameAfter(bytes, pushMpls(0x000641ff)), `${ADDRESSES}8847000641ff${packet}`);
  assert.equal(
    frameAfter(bytes, pushMpls(0x000641ff), pushMpls(0xfffff0ff, 0x8848)),
    `${ADDRESSES}8848fffff0ff000641ff${packet}`,
  );
  assert.equal(frameAfter(bytes, pushMpls(0x100), popMpls(0x0800)), bytes.toHex());
  assert.equal(
    frameAfter(bytes, pushMpls(0x100), pushMpls(0x200), popMpls(0x8847), popMpls(0x0800)),
    bytes.toHex(),
  );
});

Deno.test("push_mpls goes behind tags; pop_mpls leaves them", () => {
  const { bytes } = makeFrame({ tags: [0x8100b005] });
  const packet = bytes.slice(18).toHex();
  assert.equal(frameAfter(bytes, pushMpls(0x1ff)), `${ADDRESSES}8100b0058847000001ff${packet}`);
  assert.equal(frameAfter(bytes, pushMpls(0x1ff), popMpls(0x0800)), bytes.toHex());
});

Deno.test("pop_mpls without a label stack does nothing; with one that is cut off it drops", () => {
  const { bytes } = makeFrame();
  assert.equal(frameAfter(bytes, popMpls(0x86dd)), bytes.toHex());
  const cut = Uint8Array.fromHex(`${ADDRESSES}8847000641`);
  assert.deepEqual(dropsAfter(cut, popMpls(0x0800)), { "set-header-missing": 1 });
});

Deno.test("set mpls: the outer entry, masked", () => {
  const frame = Uint8Array.fromHex(`${ADDRESSES}8847000640400006413f` + "00".repeat(40));
  const whole = setBytes("mpls", [key.MPLS_AT, "fffff008"]);
  assert.equal(frameAfter(frame, whole).slice(28, 44), "fffff0080006413f");
  const ttl = setBytes("mpls", [key.MPLS_AT + 3, "09"]);
  assert.equal(frameAfter(frame, ttl).slice(28, 44), "000640090006413f");
  assert.deepEqual(dropsAfter(makeFrame().bytes, ttl), { "set-header-missing": 1 });
  // What was pushed just before is found.
  assert.equal(frameAfter(makeFrame().bytes, pushMpls(0x1ff), ttl).slice(28, 36), "00000109");
});

Deno.test("pop_eth and push_eth: an L3 packet in between, which an Ethernet port does not take", () => {
  const { bytes } = makeFrame({ isIpv6: true });
  const packet = bytes.slice(14).toHex();
  assert.equal(frameAfter(bytes, popEth, pushEth), `1a1b1c1d1e1f0a0b0c0d0e0f86dd${packet}`);
  assert.deepEqual(dropsAfter(bytes, popEth), { "l3-packet": 1 });
  const port = new RecordingPort(1, { l3: true });
  const { frames } = runActions(packetOf(bytes), [popEth, out(1)], { ports: [port] });
  assert.deepEqual(frames, [packet]);
});

Deno.test("push_eth on a frame, pop_eth without header or with a tag, push_vlan without header: drops", () => {
  const impossible = { "action-impossible": 1 };
  const { bytes } = makeFrame();
  assert.deepEqual(dropsAfter(bytes, pushEth), impossible);
  assert.deepEqual(dropsAfter(bytes, popEth, popEth), impossible);
  assert.deepEqual(dropsAfter(makeFrame({ tags: [0x81000001] }).bytes, popEth), impossible);
  const pushVlan: Action = { type: "push_vlan", tpid: 0x8100, tci: 0x1001 };
  assert.deepEqual(dropsAfter(bytes, popEth, pushVlan), impossible);
  assert.deepEqual(dropsAfter(bytes, popEth, setBytes("eth", [key.ETH_DST_AT, "02"])), impossible);
});

Deno.test("sets find the headers after pop_eth, push_eth and pop_mpls", () => {
  const { bytes } = makeFrame({ protocol: "udp" });
  const ttl = setBytes("ipv4", [key.IP_TTL_AT, "07"], [key.IPV4_DST_AT, "c0000201"]);
  const ports = setBytes("udp", [key.TP_DST_AT, "1234"]);
  for (const list of [[popEth, ttl, ports, pushEth], [popEth, pushEth, ttl, ports]]) {
    const frame = Uint8Array.fromHex(frameAfter(bytes, ...list));
    assert.deepEqual(faults(frame), []);
    assert.equal(frame[22], 7);
    assert.equal(frame.slice(36, 38).toHex(), "1234");
  }
  const frame = Uint8Array.fromHex(frameAfter(bytes, pushMpls(0x1ff), popMpls(0x800), ttl, ports));
  assert.deepEqual(faults(frame), []);
});

Deno.test("add_mpls: in front of the Ethernet header, or behind it", () => {
  const { bytes } = makeFrame();
  assert.equal(
    frameAfter(bytes, addMpls(0x1ff, 0), pushEth),
    `1a1b1c1d1e1f0a0b0c0d0e0f8847000001ff${bytes.toHex()}`,
  );
  assert.equal(frameAfter(bytes, addMpls(0x1ff, 1)), frameAfter(bytes, pushMpls(0x1ff)));
  // Back again: the label's type says that a frame is below.
  assert.equal(frameAfter(bytes, addMpls(0x1ff, 0), popMpls(0x6558)), bytes.toHex());
});

Deno.test("push_nsh: around frames and L3 packets, the next protocol follows", () => {
  const { bytes } = makeFrame();
  const packet = bytes.slice(14).toHex();
  const outer = "1a1b1c1d1e1f0a0b0c0d0e0f894f";
  assert.equal(frameAfter(bytes, pushNsh, pushEth), `${outer}${nshHeader("03")}${bytes.toHex()}`);
  assert.equal(frameAfter(bytes, popEth, pushNsh, pushEth), `${outer}${nshHeader("01")}${packet}`);
  assert.equal(
    frameAfter(bytes, pushNsh, pushNsh, pushEth),
    `${outer}${nshHeader("04")}${nshHeader("03")}${bytes.toHex()}`,
  );
});

Deno.test("pop_nsh: inverse; not behind an Ethernet header, not of an unknown protocol, not cut off", () => {
  const { bytes } = makeFrame();
  assert.equal(frameAfter(bytes, pushNsh, popNsh), bytes.toHex());
  assert.equal(frameAfter(bytes, pushNsh, pushEth, popEth, popNsh), bytes.toHex());
  assert.deepEqual(dropsAfter(bytes, pushNsh, pushEth, popNsh), { "action-impossible": 1 });
  const nsh = (header: string): Uint8Array => Uint8Array.fromHex(`${ADDRESSES}894f${header}`);
  const unknown = nsh(nshHeader("09") + "00".repeat(40));
  assert.deepEqual(dropsAfter(unknown, popEth, popNsh), { "action-impossible": 1 });
  const cut = nsh(nshHeader("01").slice(0, 40));
  assert.deepEqual(dropsAfter(cut, popEth, popNsh), { "set-header-missing": 1 });
});

Deno.test("pop_nsh and pop_mpls: a frame that they lay bare has a whole Ethernet header, or goes no further", () => {
  const popMpls: Action = { type: "pop_mpls", ethType: 0x6558 };
  const below = (hex: string, ethType: number, pop: Action): unknown => {
    const packet = packetOf(Uint8Array.fromHex(hex), { isL3: true, ethType });
    const { test, frames } = runActions(packet, [pop, out(1)]);
    return frames.length > 0 ? frames : test.drops();
  };
  const missing = { "set-header-missing": 1 };
  for (const size of [0, 1, 13, 14, 15]) {
    const frame = "5a".repeat(size);
    const wanted = size < 14 ? missing : [frame];
    assert.deepEqual(below(`${nshHeader("03")}${frame}`, 0x894f, popNsh), wanted, `nsh ${size}`);
    assert.deepEqual(below(`00001140${frame}`, 0x8847, popMpls), wanted, `mpls ${size}`);
  }
});

Deno.test("push_nsh: metadata of type 2 of every length", () => {
  const { bytes } = makeFrame();
  for (let words = 0; words <= 61; words++) {
    const metadata = "a5".repeat(4 * words);
    const action = { ...pushNsh, mdtype: 2, metadata } as Action;
    const frame = frameAfter(bytes, action, pushEth);
    const length = (words + 2) & 0x3f;
    const first = (0x2fc0 | length).toString(16).padStart(4, "0");
    assert.equal(frame.slice(28, 28 + 16 + 8 * words), `${first}0203123456ff${metadata}`);
    assert.equal(frameAfter(bytes, action, popNsh), bytes.toHex());
  }
});

Deno.test("set nsh: flags, TTL, path and context, masked; the rest stays", () => {
  const frame = Uint8Array.fromHex(`${ADDRESSES}894f${nshHeader("01")}` + "00".repeat(40));
  const action = setBytes(
    "nsh",
    [key.NSH_FLAGS_AT, "01"],
    [key.NSH_TTL_AT, "05"],
    [key.NSH_PATH_AT + 3, "fe"],
    [key.NSH_CONTEXT_AT + 4, "ffff", "0f0f"],
  );
  const wanted = "1146" + "0101" + "123456fe" + "00010203" + "0f0f0607" + "0809101112131415";
  assert.equal(frameAfter(frame, action).slice(28, 76), wanted);
});

Deno.test("a push without headroom goes into a copy; the partial checksum's beginning moves along", () => {
  const frame = makeFrame({ checksum: "partial" });
  const partial = { needsCsum: true, csumStart: frame.l4, csumOffset: 16 };
  for (
    const [list, growth] of [
      [[pushMpls(0x1ff)], 4],
      [[pushMpls(0x1ff), pushMpls(0x2ff)], 8],
      [[pushNsh, pushEth], 38],
      [[addMpls(1, 0), pushEth], 18],
      [[popEth, pushEth], 0],
      [[pushMpls(0x1ff), popMpls(0x800)], 0],
      [[pushNsh, popNsh], 0],
    ] as const
  ) {
    const packet = packetOf(frame.bytes, partial);
    packet.headLimit = packet.start;
    const { sent } = runActions(packet, [...list, out(1)]);
    assert.equal(sent[0]!.csumStart, frame.l4 + growth);
    assert.equal(sent[0]!.needsCsum, true);
  }
});

function train(options: FrameOptions): Packet {
  const frame = makeFrame({ ...options, checksum: "partial", payloadSize: 5000 });
  return packetOf(frame.bytes, {
    needsCsum: true,
    csumStart: frame.l4,
    csumOffset: 16,
    gsoType: options.isIpv6 ? GSO_TCPV6 : GSO_TCPV4,
    gsoSize: 1400,
  });
}

/** Lists that put headers around a frame, and what they put before the innermost IP or Ethernet header. */
function wrappings(tagsSize: number): { list: Action[]; size: number; isFrame: boolean }[] {
  return [
    { list: [pushMpls(0x1ff)], size: 14 + tagsSize + 4, isFrame: false },
    { list: [pushMpls(0x100), pushMpls(0x2ff)], size: 14 + tagsSize + 8, isFrame: false },
    { list: [pushNsh, pushEth], size: 14 + 24, isFrame: true },
    { list: [addMpls(0x1ff, 0), pushEth], size: 18, isFrame: true },
  ];
}

Deno.test("trains under MPLS, NSH and a second Ethernet header are segmented at output, also for ports that take trains", () => {
  for (const isIpv6 of [false, true]) {
    for (const tags of [[], [0x81000005]]) {
      for (const { list, size, isFrame } of wrappings(4 * tags.length)) {
        const { test, sent } = runActions(train({ isIpv6, tags }), [...list, out(1)]);
        assert.equal(sent.length, 4, JSON.stringify(test.drops()));
        for (const { frame, needsCsum, gsoType } of sent) {
          assert.deepEqual([needsCsum, gsoType], [false, 0]);
          const link = isFrame ? "" : ADDRESSES + (isIpv6 ? "86dd" : "0800");
          const inner = Uint8Array.fromHex(link + frame.slice(size).toHex());
          assert.deepEqual(faults(inner), []);
        }
      }
    }
  }
});

Deno.test("a train that is plain again goes out as one", () => {
  const { sent } = runActions(train({}), [
    pushMpls(0x1ff),
    popMpls(0x800),
    pushNsh,
    popNsh,
    out(1),
  ]);
  assert.equal(sent.length, 1);
  assert.equal(sent[0]!.gsoType, GSO_TCPV4);
});

Deno.test("what extraction finds after every push and pop is what it finds in the frame that goes out", () => {
  const lists = [
    [pushMpls(0x1ff)],
    [pushMpls(0x1ff), pushMpls(0x200)],
    [pushMpls(0x1ff), pushMpls(0x200), popMpls(0x8847)],
    [pushMpls(0x1ff), popMpls(0x0800)],
    [popEth],
    [popEth, pushEth],
    [popEth, pushMpls(0x1ff)],
    [popEth, pushMpls(0x1ff), pushEth],
    [pushNsh],
    [pushNsh, pushEth],
    [pushNsh, popNsh],
    [popEth, pushNsh, popNsh],
    [addMpls(1, 1)],
    [addMpls(1, 0)],
    [addMpls(1, 0), addMpls(2, 0), popMpls(0x8847), popMpls(0x6558)],
  ];
  for (const list of lists) {
    for (const isIpv6 of [false, true]) {
      const packet = packetOf(makeFrame({ protocol: "udp", isIpv6 }).bytes);
      runActions(packet, [...list, out(1)]);
      const { l3At, l4At, ip } = packet;
      extractKey(packet, new Int32Array(key.KEY_WORDS), 0);
      const found = [packet.l3At, packet.l4At, packet.ip];
      assert.deepEqual([l3At, l4At, ip], found, JSON.stringify(list));
    }
  }
});
