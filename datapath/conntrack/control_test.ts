import assert from "node:assert/strict";
import type { ConnectionInfo } from "./connection_info.ts";
import { type ConnectionCounts, ConntrackControl } from "./control.ts";
import { formatConnection, formatExpected, plainExpected } from "./dump_text.ts";
import { ACK, addressBytes, Lab, makePacket, plan, SYN } from "./testing/packets.ts";

function filled(count: number): { lab: Lab; control: ConntrackControl } {
  const lab = new Lab({ connectionsMax: 8192 });
  for (let index = 0; index < count; index++) {
    const packet = makePacket({
      src: "10.0.0.1",
      dst: "10.0.0.2",
      sport: index + 1,
      protocol: index % 2 === 0 ? 17 : 6,
      flags: SYN,
    });
    const label = { value: (index % 3).toString(16).padStart(32, "0"), mask: "f".repeat(32) };
    lab.run(
      packet,
      plan({
        commit: true,
        zone: index % 5,
        mark: { value: index % 7, mask: 0xffffffff },
        label,
      }),
    );
  }
  return { lab, control: new ConntrackControl(lab.buffers) };
}

function dump(lab: Lab, control: ConntrackControl, filter = {}): ConnectionInfo[] {
  const found: ConnectionInfo[] = [];
  let cursor = 1;
  do cursor = control.dump(lab.nowMs, filter, cursor, (one) => found.push(one)); while (cursor);
  return found;
}

Deno.test("ConntrackControl: dump gives everything, once, in slices", () => {
  const { lab, control } = filled(5000);
  assert.equal(dump(lab, control).length, 5000);
  assert.equal(new Set(dump(lab, control).map((one) => one.id)).size, 5000);
  assert.equal(dump(lab, control, { zone: 3 }).length, 1000);
  const [one] = dump(lab, control, { original: { sourcePort: 8 } });
  assert.ok(one);
  assert.deepEqual(
    [one.zone, one.mark, one.labels, one.tcp?.state, one.countersOriginal, one.startMs],
    [2, 0, "0".repeat(31) + "1", "SYN_SENT", { packets: 1, bytes: 40 }, 1_000_000],
  );
  assert.deepEqual([...one.reply.source], addressBytes("10.0.0.2"));
  assert.equal(one.reply.destinationPort, 8);
  assert.equal(one.timeoutSeconds, 120);
});

Deno.test("formatConnection: the shape of dump-conntrack", () => {
  const { lab, control } = filled(10);
  const [udp] = dump(lab, control, { original: { sourcePort: 5 } });
  const [tcp] = dump(lab, control, { original: { sourcePort: 6 } });
  assert.ok(udp && tcp);
  assert.equal(
    formatConnection(udp),
    "udp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=5,dport=80)," +
      "reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=5),zone=4,mark=4,labels=0x1",
  );
  assert.equal(
    formatConnection(tcp, { statistics: true, verbose: true }).replace(/,id=\d+/, ""),
    "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=6,dport=80,packets=1,bytes=40)," +
      "reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=6)," +
      "start=1970-01-01T00:16:40.000,status=CONFIRMED,timeout=120,mark=5,labels=0x2," +
      "protoinfo=(state_orig=SYN_SENT,state_reply=SYN_SENT,flags_orig=0,flags_reply=0)",
  );
});

Deno.test("ConntrackControl: flush by zone, mark, labels and tuples", () => {
  const { lab, control } = filled(5000);
  const left = (filter: Parameters<typeof control.flush>[1]): number => {
    let cursor = 1;
    do cursor = control.flush(lab.nowMs, filter, cursor); while (cursor);
    return control.count;
  };
  assert.equal(left({ zone: 1 }), 4000);
  assert.equal(control.zoneCount(1), 0);
  const marked = dump(lab, control, { mark: { value: 3, mask: 3 } }).length;
  assert.equal(left({ mark: { value: 3, mask: 3 } }), 4000 - marked);
  left({ labels: { value: "0".repeat(31) + "1", mask: "f".repeat(32) } });
  assert.ok(dump(lab, control).every((one) => !one.labels.endsWith("1")));
  const before = control.count;
  const [one] = dump(lab, control);
  assert.ok(one);
  assert.equal(left({ reply: { destinationPort: one.original.sourcePort } }), before - 1);
  assert.equal(left({}), 0);
  // The records are used again.
  const again = filled(10);
  assert.equal(again.control.count, 10);
});

Deno.test("ConntrackControl: counts, limits, maxconns, statistics", () => {
  const { lab, control } = filled(100);
  const counts: ConnectionCounts = { total: 0, byProtocol: new Map(), byTcpState: new Map() };
  assert.equal(control.tally(lab.nowMs, undefined, 1, counts), 0);
  assert.deepEqual([counts.total, counts.byProtocol.get(6), counts.byProtocol.get(17)], [
    100,
    50,
    50,
  ]);
  assert.equal(counts.byTcpState.get("SYN_SENT"), 50);
  assert.equal(control.stats().insert, 100);
  control.setZoneLimit(7, 10);
  control.defaultLimit = 5;
  assert.deepEqual([control.limitedZones(), control.zoneLimit(7), control.zoneLimit(8)], [
    [7],
    10,
    undefined,
  ]);
  control.setZoneLimit(7, undefined);
  assert.deepEqual(control.limitedZones(), []);
  control.connectionsMax = 10;
  assert.equal(control.connectionsMax, 10);
  assert.throws(() => control.connectionsMax = 1 << 23, RangeError);
  const buckets = control.buckets();
  assert.equal(buckets.fill(0, buckets.count).reduce((sum, fill) => sum + fill), 200);
});

Deno.test("ConntrackControl: the sweep removes what has expired, a bounded number a call", () => {
  const { lab, control } = filled(3000);
  lab.pass(31_000); // UDP is over, TCP is not
  assert.equal(control.count, 3000);
  const removed = control.sweep(lab.nowMs, 100);
  assert.ok(removed > 0 && removed <= 100);
  for (let call = 0; call < 40; call++) control.sweep(lab.nowMs, 100);
  assert.equal(control.count, 1500);
  assert.equal(control.stats().expired, 1500);
});

Deno.test("ConntrackControl: tcpSequenceCheck off takes everything for a connection's", () => {
  const there = { src: "10.0.0.1", dst: "10.0.0.2", sport: 9 };
  const back = { src: "10.0.0.2", dst: "10.0.0.1", sport: 80, dport: 9 };
  const lab = new Lab();
  const control = new ConntrackControl(lab.buffers);
  lab.run(makePacket({ ...there, flags: SYN, seq: 1 }), plan({ commit: true }));
  lab.run(makePacket({ ...back, flags: SYN | ACK, seq: 1, ack: 2 }), plan());
  lab.run(makePacket({ ...there, flags: ACK, seq: 2, ack: 2 }), plan());
  const stray = { ...there, flags: ACK, seq: 2 + (1 << 29), ack: 2, payload: "stray" };
  assert.equal(lab.state(makePacket(stray), plan()), "inv+trk");
  control.tcpSequenceCheck = false;
  assert.equal(lab.state(makePacket(stray), plan()), "est+trk");
  control.tcpSequenceCheck = true;
  assert.equal(lab.state(makePacket({ ...stray, seq: 5 + (1 << 30) }), plan()), "inv+trk");
});

Deno.test("ConntrackControl: expected connections, in the shape of dump-conntrack-exp", () => {
  const lab = new Lab();
  const control = new ConntrackControl(lab.buffers);
  const request = { src: "10.0.0.1", dst: "10.0.0.2", protocol: 17, sport: 3000, dport: 69 };
  lab.run(
    makePacket({ ...request, payload: "\0\x01file\0octet\0" }),
    plan({ commit: true, zone: 5, helper: "tftp" }),
  );
  const lines = (): string[] =>
    control.expected(lab.nowMs).map((one) => formatExpected(plainExpected(one)));
  assert.deepEqual(lines(), [
    "udp,orig=(src=10.0.0.2,dst=10.0.0.1,sport=0,dport=3000),zone=5," +
    "parent=(src=10.0.0.1,dst=10.0.0.2,sport=3000,dport=69)",
  ]);
  const [one] = control.expected(lab.nowMs);
  assert.equal(one?.helper, "tftp");
  lab.pass(one!.timeoutSeconds * 1000 - 1000);
  assert.equal(lines().length, 1);
  lab.pass(1000);
  assert.deepEqual(lines(), []);
});
