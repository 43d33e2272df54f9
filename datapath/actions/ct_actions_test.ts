import assert from "node:assert/strict";
import { SwitchBench } from "../conntrack/testing/switch_bench.ts";
import { makePacket, type PacketSpec, SYN } from "../conntrack/testing/packets.ts";
import { CONSUMED, HELD } from "../counters.ts";
import { faults, frameOf } from "../testing/frames.ts";
import { RecordingPort } from "../testing/ports.ts";

const IPV4 = "eth(),eth_type(0x0800)";
const THERE: PacketSpec = { src: "10.0.0.1", dst: "10.0.0.2", protocol: 17, sport: 5, dport: 7 };
const BACK: PacketSpec = { src: "10.0.0.2", dst: "10.0.0.1", protocol: 17, sport: 7, dport: 5 };

function frame(spec: PacketSpec): Uint8Array {
  return frameOf(makePacket(spec));
}

/** Bytes of a UDP packet's L3 payload as the fragments [from, to) of it, in units of 8 bytes. */
function fragments(spec: PacketSpec, cuts: readonly (readonly [number, number])[]): Uint8Array[] {
  const whole = frame(spec);
  const isIpv6 = spec.src.includes(":");
  const l4 = isIpv6 ? 54 : 34;
  return cuts.map(([from, to]) => {
    const data = whole.slice(l4 + from * 8, Math.min(whole.length, l4 + to * 8));
    const isLast = l4 + to * 8 >= whole.length;
    if (isIpv6) {
      const bytes = Uint8Array.of(...whole.slice(0, l4), ...new Uint8Array(8), ...data);
      const view = new DataView(bytes.buffer);
      view.setUint16(18, bytes.length - l4);
      view.setUint8(l4, view.getUint8(20));
      view.setUint8(20, 44);
      view.setUint16(l4 + 2, from * 8 | (isLast ? 0 : 1));
      view.setUint32(l4 + 4, 77);
      return bytes;
    }
    const bytes = Uint8Array.of(...whole.slice(0, l4), ...data);
    const view = new DataView(bytes.buffer);
    view.setUint16(16, bytes.length - 14);
    view.setUint16(18, 77);
    view.setUint16(20, from | (isLast ? 0 : 0x2000));
    view.setUint16(24, 0);
    let sum = 0;
    for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
    view.setUint16(24, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
    return bytes;
  });
}

Deno.test("ct: recirculated packets match state, zone, mark, label and tuple; ct_clear forgets them", () => {
  const known = "ct_state(+trk+est),ct_zone(9),ct_mark(0x5/0xf),ct_label(0x77)," +
    "ct_tuple4(src=10.0.0.1,dst=10.0.0.2,proto=17,tp_src=5,tp_dst=7)";
  const bench = new SwitchBench([
    [`in_port(1),recirc_id(0),${IPV4}`, "ct(commit,zone=9,mark=0x5/0xf,label=0x77),recirc(1)"],
    [`in_port(2),recirc_id(0),${IPV4}`, "ct(zone=9),recirc(1)"],
    [`in_port(1),recirc_id(1),ct_state(+trk+new-est),${IPV4}`, "2"],
    [`in_port(2),recirc_id(1),${known},${IPV4}`, "1,ct_clear,recirc(2)"],
    [`recirc_id(2),ct_state(0),ct_zone(0),ct_mark(0),${IPV4}`, "3"],
  ]);
  assert.deepEqual(bench.receive(1, frame(THERE)), [`2: ${frame(THERE).toHex()}`]);
  const back = frame(BACK).toHex();
  assert.deepEqual(bench.receive(2, frame(BACK)), [`1: ${back}`, `3: ${back}`]);
  assert.equal(bench.conntrack.count, 1);
});

Deno.test("ct: in a shared list what it finds out and changes stays in the list", () => {
  const bench = new SwitchBench([
    [
      `in_port(1),recirc_id(0),${IPV4}`,
      "clone(ct(commit,zone=1,nat(src=192.0.2.1:99)),recirc(1)),3,recirc(2)",
    ],
    [`recirc_id(1),ct_state(+trk+snat),${IPV4},ipv4(src=192.0.2.1)`, "2"],
    [`recirc_id(2),ct_state(0),${IPV4},ipv4(src=10.0.0.1)`, "1"],
  ]);
  const sent = bench.receive(1, frame(THERE));
  const plain = frame(THERE).toHex();
  assert.equal(sent.length, 3);
  assert.deepEqual([sent[0], sent[2]], [`1: ${plain}`, `3: ${plain}`]);
  const translated = Uint8Array.fromHex(sent[1]!.slice(3));
  assert.equal(translated.slice(26, 30).join("."), "192.0.2.1");
  assert.deepEqual(faults(translated), []);
});

Deno.test("ct: bytes that are lent are copied before they are translated", () => {
  const bench = new SwitchBench([
    [`in_port(1),recirc_id(0),${IPV4}`, "3,ct(commit,nat(src=192.0.2.1:99)),2"],
  ]);
  const [two, three] = bench.receive(1, frame(THERE)); // `receive` checks what was lent
  assert.equal(three, `3: ${frame(THERE).toHex()}`);
  assert.equal(two!.slice(3 + 52, 3 + 60), "c0000201");
});

Deno.test("ct: a failing action drops the packet with its reason, and with it the lists around", () => {
  const bench = new SwitchBench([
    [`in_port(1),recirc_id(0),${IPV4}`, "clone(ct(commit,zone=4),2),3"],
  ]);
  bench.conntrack.setZoneLimit(4, 1);
  assert.equal(bench.receive(1, frame(THERE)).length, 2);
  assert.deepEqual(bench.receive(1, frame({ ...THERE, sport: 6 })), []);
  assert.deepEqual(bench.drops(), { "ct-zone-limit": 2 });
});

Deno.test("ct: established TCP may leave its window, as openvswitch.ko has it", () => {
  const bench = new SwitchBench([
    [`recirc_id(0),${IPV4}`, "ct(commit),recirc(1)"],
    [`recirc_id(1),ct_state(-inv+trk),${IPV4}`, "3"],
  ]);
  const to = { src: "10.0.0.1", dst: "10.0.0.2", sport: 5, dport: 80, window: 1000 };
  const from = { src: "10.0.0.2", dst: "10.0.0.1", sport: 80, dport: 5, window: 1000 };
  const sent = bench.receive(
    1,
    frame({ ...to, seq: 100, flags: SYN }),
    frame({ ...from, seq: 500, ack: 101, flags: SYN | 16 }),
    frame({ ...to, seq: 101, ack: 501 }),
    frame({ ...to, seq: 900_000, ack: 501, payload: "far ahead" }),
  );
  assert.equal(sent.length, 4);
});

for (const isIpv6 of [false, true]) {
  const name = isIpv6 ? "IPv6" : "IPv4";
  const spec: PacketSpec = {
    ...THERE,
    ...(isIpv6 ? { src: "fd00::1", dst: "fd00::2" } : {}),
    payload: Uint8Array.from({ length: 2992 }, (_, at) => at * 31),
  };
  const ethType = isIpv6 ? "eth(),eth_type(0x86dd)" : IPV4;
  const cuts = [[0, 160], [160, 320], [320, 400]] as const;

  Deno.test(`ct: ${name} fragments are held until their packet is whole, which leaves as they came`, () => {
    const bench = new SwitchBench([[`in_port(1),recirc_id(0),${ethType}`, "ct(commit,zone=1),2"]]);
    const [first, second, last] = fragments(spec, cuts) as [Uint8Array, Uint8Array, Uint8Array];
    assert.deepEqual(bench.receive(1, last, first), []);
    assert.equal(bench.count(HELD), 2);
    const sent = bench.receive(1, second).map((text) => {
      const bytes = Uint8Array.fromHex(text.slice(3));
      if (isIpv6) bytes.set([0, 0, 0, 77], 58); // an identification of its own
      return bytes.toHex();
    });
    assert.deepEqual(sent, [first, second, last].map((bytes) => bytes.toHex()));
    assert.deepEqual([bench.count(HELD), bench.count(CONSUMED)], [0, 3]);
    assert.equal(bench.conntrack.count, 1);
    bench.receive(1, first, first);
    assert.deepEqual(bench.drops(), { "ct-fragment-duplicate": 1 });
    assert.equal(bench.count(HELD), 1);
    bench.pipeline.sweepFragments(bench.nowMs + 29_000);
    assert.equal(bench.count(HELD), 1);
    bench.pipeline.sweepFragments(bench.nowMs + 61_000);
    assert.equal(bench.count(HELD), 0);
    assert.deepEqual(bench.drops(), { "ct-fragment-duplicate": 1, "ct-fragment-timeout": 1 });
    bench.receive(1);
  });

  Deno.test(`ct: a reassembled ${name} packet goes to ports that take its fragments; cut short it goes whole`, () => {
    const small = new RecordingPort(2, { mtu: 1299 });
    const large = new RecordingPort(3, { mtu: 1400 });
    const bench = new SwitchBench([
      [`in_port(1),recirc_id(0),${ethType}`, "ct(zone=1),2,3,trunc(200),3"],
    ], { ports: [new RecordingPort(1), small, large] });
    const sent = bench.receive(1, ...fragments(spec, cuts));
    const sizes = sent.map((text) => `${text[0]}: ${(text.length - 3) / 2}`);
    const extra = isIpv6 ? 28 : 0;
    const pieces = [1314 + extra, 1314 + extra, 474 + extra, 200];
    assert.deepEqual(sizes, pieces.map((size) => `3: ${size}`));
    assert.deepEqual(bench.drops(), { "over-mtu": 1 });
  });
}

Deno.test("ct: overlapping fragments are dropped all, and nothing of them is left", () => {
  const spec: PacketSpec = { ...THERE, payload: new Uint8Array(2992) };
  const bench = new SwitchBench([[`in_port(1),recirc_id(0),${IPV4}`, "ct(commit,zone=1),2"]]);
  const parts = fragments(spec, [[0, 160], [100, 320]]);
  assert.deepEqual(bench.receive(1, ...parts), []);
  assert.deepEqual(bench.drops(), { "ct-fragment-overlap": 2 });
  assert.equal(bench.count(HELD), 0);
});

Deno.test("ct: without a free buffer fragments are dropped, and the accounts hold", () => {
  const spec: PacketSpec = { ...THERE, payload: new Uint8Array(2992) };
  const bench = new SwitchBench([[`in_port(1),recirc_id(0),${IPV4}`, "ct(commit,zone=1),2"]], {
    slots: 0,
  });
  const parts = fragments(spec, [[0, 160], [160, 400]]);
  assert.deepEqual(bench.receive(1, ...parts), []);
  assert.deepEqual(bench.drops(), { "ct-fragment-memory": 2 });
});

Deno.test("ct: a packet with other addresses or ports is another connection's", () => {
  const six = "eth(),eth_type(0x86dd)";
  const sets = [
    [`${IPV4},ipv4(proto=17)`, "set(ipv4(dst=10.0.0.9))", "ct_tuple4(dst=10.0.0.9,proto=17)"],
    [`${IPV4},ipv4(proto=17)`, "set(ipv4(src=10.0.0.9))", "ct_tuple4(src=10.0.0.9,proto=17)"],
    [`${IPV4},ipv4(proto=17),udp()`, "set(udp(dst=9))", "ct_tuple4(proto=17,tp_dst=9)"],
    [`${six},ipv6(proto=17)`, "set(ipv6(dst=fd00::9))", "ct_tuple6(dst=fd00::9,proto=17)"],
    // What is no part of the tuple changes nothing.
    [`${IPV4},ipv4(proto=17)`, "set(ipv4(ttl=9))", "ct_tuple4(dst=10.0.0.2,proto=17,tp_dst=7)"],
  ] as const;
  for (const [flow, set, tuple] of sets) {
    const bench = new SwitchBench([
      [`in_port(1),recirc_id(0),${flow}`, `ct(commit),${set},ct(commit,mark=1),recirc(1)`],
      [`in_port(1),recirc_id(1),ct_state(+new),ct_mark(1),${tuple},${flow.split(",udp")[0]}`, "2"],
    ]);
    const addresses = flow.startsWith(six) ? { src: "fd00::1", dst: "fd00::2" } : {};
    assert.equal(bench.receive(1, frame({ ...THERE, ...addresses })).length, 1, set);
    assert.equal(bench.conntrack.count, set.includes("ttl") ? 1 : 2, set);
  }
});
