import assert from "node:assert/strict";
import { CT_LABEL_AT, CT_MARK_AT, CT_PROTO_AT, CT_TP_DST_AT, CT_TUPLE_SRC_AT } from "../key.ts";
import { GSO_TCPV6 } from "../packet/packet.ts";
import { CtMetadata, writeCtKey } from "./metadata.ts";
import { CT_DROPS, CT_INVALIDS } from "./reasons.ts";
import {
  ACK,
  addressHex,
  areChecksumsRight,
  describe,
  FIN,
  Lab,
  makePacket,
  nat,
  type PacketSpec,
  plan,
  RST,
  stateText,
  SYN,
} from "./testing/packets.ts";

const A = "10.0.0.1";
const B = "10.0.0.2";
const LOOK = plan({ zone: 1 });
const COMMIT = plan({ zone: 1, commit: true });

function forward(spec: Partial<PacketSpec> = {}): PacketSpec {
  return { src: A, dst: B, sport: 1000, dport: 80, ...spec };
}

function backward(spec: Partial<PacketSpec> = {}): PacketSpec {
  return { src: B, dst: A, sport: 80, dport: 1000, ...spec };
}

Deno.test("Tracker: UDP is new until answered, then established both ways", () => {
  const lab = new Lab();
  const udp = { protocol: 17, payload: "x" };
  assert.equal(lab.state(makePacket(forward(udp)), LOOK), "new+trk");
  assert.equal(lab.tracker.table.count, 0);
  assert.equal(lab.state(makePacket(forward(udp)), COMMIT), "new+trk");
  assert.equal(lab.tracker.table.count, 1);
  assert.equal(lab.state(makePacket(forward(udp)), LOOK), "new+trk");
  assert.equal(lab.state(makePacket(backward(udp)), LOOK), "est+rpl+trk");
  assert.equal(lab.state(makePacket(forward(udp)), LOOK), "est+trk");
  assert.equal(lab.state(makePacket(backward(udp)), plan({ zone: 2 })), "new+trk");
  assert.deepEqual(
    [lab.ct.protocol, lab.ct.source[0], lab.ct.sourcePort, lab.ct.destinationPort],
    [17, 0x0a000002, 80, 1000],
  );
});

Deno.test("Tracker: a connection ends with its timeout", () => {
  const lab = new Lab();
  const udp = { protocol: 17, payload: "x" };
  lab.state(makePacket(forward(udp)), COMMIT);
  lab.pass(29_999);
  assert.equal(lab.state(makePacket(backward(udp)), LOOK), "est+rpl+trk");
  lab.pass(29_999);
  assert.equal(lab.state(makePacket(forward(udp)), LOOK), "est+trk");
  lab.pass(119_999);
  assert.equal(lab.state(makePacket(forward(udp)), LOOK), "est+trk");
  lab.pass(120_001);
  assert.equal(lab.state(makePacket(forward(udp)), LOOK), "new+trk");
  assert.equal(lab.tracker.table.count, 0);
});

Deno.test("Tracker: IPv6 and ICMP queries", () => {
  const lab = new Lab();
  const six = { src: "fd00::1", dst: "fd00::2", protocol: 58, id: 7 };
  assert.equal(lab.state(makePacket(six), COMMIT), "new+trk");
  const answer = { src: "fd00::2", dst: "fd00::1", protocol: 58, id: 7, type: 129 };
  assert.equal(lab.state(makePacket(answer), LOOK), "est+rpl+trk");
  assert.equal(lab.state(makePacket({ ...answer, id: 8 }), LOOK), "inv+trk");
  assert.equal(CT_INVALIDS[lab.ct.invalidReason]?.[0], "icmp-type");
  assert.equal(lab.state(makePacket({ ...six, type: 135 }), LOOK), "inv+trk");
  assert.equal(CT_INVALIDS[lab.ct.invalidReason]?.[0], "untracked");
});

Deno.test("Tracker: mark and label are set under their masks, and found again", () => {
  const lab = new Lab();
  const udp = { protocol: 17, payload: "x" };
  const label = { value: "0102030405060708090a0b0c0d0e0f10", mask: "ff".repeat(16) };
  const words = plan({ commit: true, mark: { value: 0x12, mask: 0xff }, label });
  lab.run(makePacket(forward(udp)), words);
  assert.equal(lab.ct.mark, 0x12);
  lab.run(makePacket(backward(udp)), plan({ commit: true, mark: { value: 0x300, mask: 0xf00 } }));
  assert.equal(lab.ct.mark, 0x312);
  assert.deepEqual(
    [...new Uint8Array(lab.ct.label.buffer)],
    Array.from({ length: 16 }, (_, at) => at + 1),
  );
});

Deno.test("Tracker: a second ct action in the same zone does not track the packet twice", () => {
  const lab = new Lab();
  const udp = { protocol: 17, payload: "x" };
  lab.run(makePacket(forward(udp)), COMMIT);
  const packet = makePacket(backward(udp));
  lab.ct.clear();
  lab.tracker.execute(packet, lab.ct, LOOK, 0);
  lab.tracker.execute(packet, lab.ct, COMMIT, 0);
  const table = lab.tracker.table;
  const record = lab.ct.record;
  assert.equal(table.doubles[record * 24 + 16 + 2], 1);
  // Nor when only ct_state was kept, as over an upcall.
  lab.ct.record = 0;
  lab.tracker.execute(packet, lab.ct, COMMIT, 0);
  assert.equal(table.doubles[record * 24 + 16 + 2], 1);
  assert.equal(lab.ct.state, 0x2a);
});

Deno.test("Tracker: a packet that was tracked keeps what its key says, but for what it commits", () => {
  const lab = new Lab();
  const packet = makePacket(forward({ protocol: 17, payload: "x" }));
  const mark = (value: number, mask = 0xff): Int32Array =>
    plan({ zone: 1, commit: true, mark: { value, mask } });
  lab.run(packet, mark(1));
  assert.equal(lab.ct.isKept, false);
  // Another packet of the connection is marked otherwise.
  const other = new CtMetadata();
  lab.tracker.execute(makePacket(forward({ protocol: 17, payload: "y" })), other, mark(4), 0);
  assert.equal(other.mark, 4);
  assert.equal(lab.tracker.execute(packet, lab.ct, LOOK, 0), 0);
  const { isKept, hasMark, hasLabel } = lab.ct;
  assert.deepEqual([isKept, hasMark, hasLabel, lab.ct.mark], [true, false, false, 1]);
  const view = new DataView(new ArrayBuffer(64));
  writeCtKey(lab.ct, view, -CT_MARK_AT);
  assert.deepEqual(new Uint8Array(view.buffer), new Uint8Array(64));
  assert.equal(lab.tracker.execute(packet, lab.ct, mark(2, 2), 0), 0);
  assert.equal(lab.ct.mark, 6);
  writeCtKey(lab.ct, view, -CT_MARK_AT);
  assert.equal(view.getUint32(0), 6);
  assert.equal(view.getUint8(CT_PROTO_AT - CT_MARK_AT), 0);
});

Deno.test("Tracker: force_commit turns a connection's direction round", () => {
  const lab = new Lab();
  const udp = { protocol: 17, payload: "x" };
  lab.run(makePacket(forward(udp)), COMMIT);
  const force = plan({ zone: 1, commit: true, forceCommit: true });
  assert.equal(lab.state(makePacket(backward(udp)), force), "new+trk");
  assert.equal(lab.state(makePacket(forward(udp)), LOOK), "est+rpl+trk");
  assert.equal(lab.tracker.table.count, 1);
});

Deno.test("Tracker: a full table drops what is not assured, or the packet", () => {
  const lab = new Lab({ connectionsMax: 4 });
  const answer = (): void => {
    for (let port = 1; port <= 4; port++) {
      lab.run(makePacket(forward({ protocol: 17, sport: port })), COMMIT);
      lab.run(makePacket(backward({ protocol: 17, dport: port })), LOOK);
      lab.run(makePacket(forward({ protocol: 17, sport: port })), LOOK);
    }
  };
  answer();
  assert.equal(lab.tracker.table.count, 4);
  // Answered at once, which a scan is too: only what is still there after two seconds counts.
  assert.equal(lab.run(makePacket(forward({ protocol: 17, sport: 9 })), COMMIT), 0);
  lab.pass(2001);
  answer();
  lab.pass(2001);
  answer();
  assert.equal(lab.tracker.table.count, 4);
  const verdict = lab.run(makePacket(forward({ protocol: 17, sport: 9 })), COMMIT);
  assert.equal(CT_DROPS[verdict], "ct-table-full");
});

Deno.test("Tracker: zone limits", () => {
  const lab = new Lab();
  new Int32Array(lab.buffers.zoneLimits)[1] = 2;
  new Uint8Array(lab.buffers.zoneLimited)[1] = 1;
  const verdicts = [1, 2, 3].map((port) =>
    lab.run(makePacket(forward({ protocol: 17, sport: port })), COMMIT)
  );
  assert.deepEqual(verdicts.map((verdict) => CT_DROPS[verdict]), [
    "none",
    "none",
    "ct-zone-limit",
  ]);
});

Deno.test("Tracker: SNAT and back, TCP, ports kept and changed on collision", () => {
  const lab = new Lab();
  const src = nat({ direction: "src", addressMin: addressHex("192.0.2.1") });
  const commit = plan({ zone: 1, commit: true, nat: src });
  const follow = plan({ zone: 1, nat: nat() });
  const syn = makePacket(forward({ flags: SYN, seq: 100 }));
  assert.equal(lab.state(syn, commit), "new+trk+snat");
  assert.equal(describe(syn), "192.0.2.1:1000>10.0.0.2:80");
  assert.ok(areChecksumsRight(syn));
  const reply = makePacket({
    src: B,
    dst: "192.0.2.1",
    sport: 80,
    dport: 1000,
    flags: SYN | ACK,
    seq: 500,
    ack: 101,
    partial: true,
  });
  assert.equal(lab.state(reply, follow), "est+rpl+trk+dnat");
  assert.equal(describe(reply), "10.0.0.2:80>10.0.0.1:1000");
  assert.ok(areChecksumsRight(reply));
  const other = makePacket({ ...forward({ flags: SYN }), src: "10.0.0.9" });
  assert.equal(lab.state(other, commit), "new+trk+snat");
  const port = Number(/^192\.0\.2\.1:(\d+)>/.exec(describe(other))?.[1]);
  assert.ok(port >= 600 && port <= 1023 && port !== 1000, String(port));
  assert.ok(areChecksumsRight(other));
});

Deno.test("Tracker: DNAT, IPv6, and the ICMP error about it", () => {
  const lab = new Lab();
  const dst = nat({ direction: "dst", addressMin: addressHex("fd00::99"), portMin: 8080 });
  const commit = plan({ commit: true, nat: dst });
  const packet = makePacket({
    src: "fd00::1",
    dst: "fd00::2",
    protocol: 17,
    sport: 5,
    dport: 53,
    payload: "hello",
  });
  assert.equal(lab.state(packet, commit), "new+trk+snat+dnat");
  assert.equal(describe(packet), "fd00::1:5>fd00::99:8080");
  assert.ok(areChecksumsRight(packet));
  const quoted = packet.bytes.slice(packet.l3At, packet.end);
  const error = makePacket({
    src: "fd00::99",
    dst: "fd00::1",
    protocol: 58,
    type: 1,
    code: 4,
    payload: quoted,
  });
  assert.equal(lab.state(error, plan({ nat: nat() })), "rel+rpl+trk+snat");
  assert.ok(areChecksumsRight(error));
  assert.match(describe(error), /^fd00::2:/);
  const inner = error.l4At + 8;
  assert.equal(error.view.getUint16(inner + 42), 53);
  assert.equal(error.view.getUint16(inner + 24), 0xfd00);
  assert.equal(error.view.getUint16(inner + 38), 2);
});

Deno.test("Tracker: an ICMP error about nothing, or to somebody else, is invalid", () => {
  const lab = new Lab();
  const udp = makePacket(forward({ protocol: 17, payload: "12345678" }));
  const quoted = udp.bytes.slice(udp.l3At, udp.end);
  const error = { src: "10.9.9.9", dst: A, protocol: 1, type: 3, code: 3, payload: quoted };
  assert.equal(lab.state(makePacket(error), LOOK), "inv+trk");
  lab.run(udp, COMMIT);
  assert.equal(lab.state(makePacket(error), LOOK), "rel+rpl+trk");
  assert.equal(lab.state(makePacket({ ...error, dst: "10.0.0.7" }), LOOK), "inv+trk");
  assert.equal(CT_INVALIDS[lab.ct.invalidReason]?.[0], "icmp-address");
});

Deno.test("Tracker: an ICMP error that quotes too little of a translated packet is dropped", () => {
  for (const size of [24, 27, 28]) {
    const lab = new Lab();
    const src = nat({ direction: "src", addressMin: addressHex("192.0.2.1") });
    const udp = makePacket(forward({ protocol: 17, payload: "12345678" }));
    lab.run(udp, plan({ commit: true, nat: src }));
    const quoted = udp.bytes.slice(udp.l3At, udp.l3At + size);
    const error = makePacket({
      ...{ src: B, dst: "192.0.2.1", protocol: 1, type: 3, code: 3 },
      payload: quoted,
    });
    const verdict = lab.run(error, plan({ nat: nat() }));
    assert.equal(CT_DROPS[verdict], size < 28 ? "ct-nat-failed" : "none");
  }
});

Deno.test("writeCtKey: puts the metadata where the key has it", () => {
  const lab = new Lab();
  const label = { value: "0".repeat(31) + "1", mask: "f".repeat(32) };
  lab.run(
    makePacket(forward({ protocol: 17 })),
    plan({ commit: true, mark: { value: 5, mask: 0xffffffff }, label }),
  );
  const view = new DataView(new ArrayBuffer(64));
  writeCtKey(lab.ct, view, -CT_MARK_AT);
  assert.equal(view.getUint32(0), 5);
  assert.equal(view.getUint8(CT_LABEL_AT - CT_MARK_AT + 15), 1);
  assert.equal(view.getUint32(CT_TUPLE_SRC_AT - CT_MARK_AT), 0x0a000001);
  assert.equal(view.getUint16(CT_TP_DST_AT - CT_MARK_AT), 80);
  assert.equal(view.getUint8(CT_PROTO_AT - CT_MARK_AT), 17);
});

Deno.test("Tracker: a wrong checksum makes a packet invalid", () => {
  const lab = new Lab();
  const packet = makePacket(forward({ protocol: 17, payload: "x" }));
  packet.view.setUint8(packet.end - 1, 0x79);
  assert.equal(lab.state(packet, LOOK), "inv+trk");
  assert.equal(CT_INVALIDS[lab.ct.invalidReason]?.[0], "checksum");
  packet.csumValid = true;
  assert.equal(lab.state(packet, LOOK), "new+trk");
  // That of the IPv4 header too, where there is a checksum over the rest.
  for (const [protocol, is] of [[6, "inv"], [17, "inv"], [1, "inv"], [253, "new"]] as const) {
    const damaged = makePacket(forward({ protocol, flags: SYN, payload: "x" }));
    damaged.view.setUint16(damaged.l3At + 10, 0x1234);
    assert.equal(lab.state(damaged, LOOK), `${is}+trk`);
  }
  // UDP that is shorter than its IP packet: its sum is of what is there.
  const padded = makePacket(forward({ protocol: 17, payload: "x\0\0\0" }));
  padded.view.setUint16(padded.l4At + 4, 9);
  assert.equal(lab.state(padded, LOOK), "inv+trk");
});

Deno.test("Tracker: extension headers, as many as there are, and none behind them", () => {
  const lab = new Lab();
  const spec = { src: "fd00::1", dst: "fd00::2", protocol: 17, sport: 1, dport: 2 };
  const extended = (count: number, next: number): string => {
    const payload = new Uint8Array(count * 8 + 8);
    const udp = makePacket(spec);
    payload.set(udp.bytes.subarray(udp.l4At, udp.end), count * 8);
    for (let at = 0; at < count; at++) payload[at * 8] = at < count - 1 ? 60 : next;
    const packet = makePacket({ ...spec, protocol: 253, payload });
    packet.bytes.copyWithin(packet.l4At, packet.l4At + 8, packet.end);
    packet.end -= 8;
    packet.view.setUint16(packet.l3At + 4, payload.length);
    packet.view.setUint8(packet.l3At + 6, 60);
    return lab.state(packet, LOOK);
  };
  for (const count of [1, 8, 20, 100]) assert.equal(extended(count, 17), "new+trk");
  assert.equal(extended(1, 59), "inv+trk");
});

Deno.test("Tracker: an IPv6 packet whose length is 0 has nothing behind its header", () => {
  const lab = new Lab();
  const packet = makePacket({ src: "fd00::1", dst: "fd00::2", protocol: 17, payload: "x" });
  packet.view.setUint16(packet.l3At + 4, 0);
  assert.equal(lab.state(packet, LOOK), "inv+trk");
  assert.equal(packet.end - packet.l3At, 40);
  // But for a train of more than 64 KiB, which can't say it.
  const train = makePacket({ src: "fd00::1", dst: "fd00::2", flags: SYN, payload: "x" });
  train.view.setUint16(train.l3At + 4, 0);
  train.gsoType = GSO_TCPV6;
  train.csumValid = true;
  assert.equal(lab.state(train, LOOK), "new+trk");
});

Deno.test("Tracker: UDP-Lite has a checksum, of all of it or a part", () => {
  const lab = new Lab();
  const lite = (change: (view: DataView, l4At: number) => void): string => {
    const packet = makePacket(forward({ protocol: 136, payload: "0123456789" }));
    change(packet.view, packet.l4At);
    return lab.state(packet, LOOK);
  };
  assert.equal(lite(() => {}), "new+trk");
  assert.equal(lite((view, at) => view.setUint16(at + 6, 0)), "inv+trk");
  assert.equal(lite((view, at) => view.setUint16(at + 4, 7)), "inv+trk");
  assert.equal(lite((view, at) => view.setUint16(at + 4, 19)), "inv+trk");
  // The sum of all is not that of the header alone; behind what is covered anything may be.
  assert.equal(lite((view, at) => view.setUint16(at + 4, 8)), "inv+trk");
  assert.equal(lite((view, at) => view.setUint8(at + 17, 1)), "inv+trk");
  const header = makePacket(forward({ protocol: 136 }));
  const sum = header.view.getUint16(header.l4At + 6);
  const isPart = (view: DataView, at: number): void => {
    // The pseudo-header has the length, so that 10 bytes and coverage 8 make 18 more.
    view.setUint16(at + 4, 8);
    view.setUint16(at + 6, sum - 18);
    view.setUint8(at + 17, 1);
  };
  assert.equal(lite(isPart), "new+trk");
});

Deno.test("Tracker: a reset that answers a SYN removes the connection", () => {
  const lab = new Lab();
  lab.run(makePacket(forward({ flags: SYN, seq: 100 })), COMMIT);
  assert.equal(lab.tracker.table.count, 1);
  const rst = makePacket(backward({ flags: RST | ACK, seq: 0, ack: 101 }));
  assert.equal(lab.state(rst, LOOK), "est+rpl+trk");
  // It is the connection's in a second action too.
  const marked = plan({ zone: 1, commit: true, mark: { value: 5, mask: 0xff } });
  assert.equal(lab.tracker.execute(rst, lab.ct, marked, 0), 0);
  assert.equal(stateText(lab.ct.state), "est+rpl+trk");
  assert.equal(lab.ct.mark, 5);
  // For all others the connection is gone.
  assert.equal(
    lab.state(makePacket(forward({ flags: FIN | ACK, seq: 100 })), LOOK),
    "inv+trk",
  );
  assert.equal(lab.tracker.table.count, 0);
});
