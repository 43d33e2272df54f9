import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { PORT_NONE } from "../datapath/key.ts";
import { GSO_TCPV4, GSO_UDP_L4, type Packet } from "../datapath/packet/packet.ts";
import { PacketSender } from "./packet_sender.ts";
import { PacketRing } from "./packet_socket.ts";
import { Rtnetlink } from "./rtnetlink.ts";
import {
  assertSameFrame,
  ipv4Frame,
  packetOf,
  RecordingHost,
  rootTest,
  run,
  TestNamespace,
  until,
} from "./testing.ts";

/** Devices x0–x1 and y0–y1 (veth pairs), all up; we send by x0 and receive by x1. */
function pairs(net: Rtnetlink): { x0: number; x1: number; y0: number; y1: number } {
  run("ip link add x0 type veth peer name x1");
  run("ip link add y0 type veth peer name y1");
  const index = (name: string): number => net.linkByName(name)?.ifindex ?? 0;
  const all = { x0: index("x0"), x1: index("x1"), y0: index("y0"), y1: index("y1") };
  for (const ifindex of Object.values(all)) net.setUp(ifindex);
  return all;
}

/** A TCP segment train of `payloadSize` bytes. */
function train(host: RecordingHost, payloadSize: number): Packet {
  const packet = packetOf(host, ipv4Frame({ payloadSize, proto: 6 }));
  packet.needsCsum = true;
  packet.csumStart = 34;
  packet.csumOffset = 16;
  packet.gsoType = GSO_TCPV4;
  packet.gsoSize = 1448;
  return packet;
}

function drain(ring: PacketRing): void {
  while (ring.receive(32) > 0) ring.release();
}

/** Waits until so many frames have come to a ring since it was opened, or were lost there. */
async function untilIn(ring: PacketRing, count: number): Promise<void> {
  await until(() => {
    const { packets, drops } = ring.statistics();
    return packets + drops >= count;
  });
}

rootTest("PacketRing: receives by port, in place, small frames", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  const { x0, x1, y1 } = pairs(net);
  const host = new RecordingHost();
  using ring = PacketRing.open({ host });
  using sender = PacketSender.open();
  ring.addPort(x1, 7, host);
  ring.addPort(y1, 8, host);
  const slot = sender.addPort(x0, 1, host);
  const frame = ipv4Frame({ payloadSize: 18 });
  const packet = packetOf(host, frame);
  assert.equal(sender.send(slot, packet), 0);
  sender.flush();
  await until(() => ring.receive(32) > 0);
  ring.release();
  assert.equal(host.seen.length, 1);
  assert.equal(host.seen[0]?.portNo, 7);
  assertSameFrame(host.seen[0]?.frame, frame);
  assert.equal(host.seen[0]?.pooled, false);
  assert.equal(host.drops.size, 0);
});

rootTest(
  "PacketRing: 64 KiB segment trains arrive whole, with their offload state, in order among small frames",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, x1 } = pairs(net);
    const host = new RecordingHost(32);
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    ring.addPort(x1, 7, host);
    const slot = sender.addPort(x0, 1, host);
    const sizes = [18, 65400, 100, 1400, 20000, 18, 65226, 1700, 1500, 60];
    for (const [fill, payloadSize] of sizes.entries()) {
      const big = payloadSize > 1400;
      const packet = packetOf(host, ipv4Frame({ payloadSize, proto: 6, fill }));
      packet.needsCsum = true;
      packet.csumStart = 34;
      packet.csumOffset = 16;
      packet.gsoType = big ? GSO_TCPV4 : 0;
      packet.gsoSize = big ? 1000 + fill : 0;
      assert.equal(sender.send(slot, packet), 0);
    }
    sender.flush();
    await until(() => {
      ring.receive(32);
      ring.release();
      return host.seen.length >= sizes.length;
    });
    assert.equal(host.drops.size, 0);
    for (const [fill, payloadSize] of sizes.entries()) {
      const seen = host.seen[fill];
      assertSameFrame(seen?.frame, ipv4Frame({ payloadSize, proto: 6, fill }), `frame ${fill}`);
      assert.equal(seen?.needsCsum, true);
      assert.equal(seen?.csumStart, 34);
      assert.equal(seen?.csumOffset, 16);
      assert.equal(seen?.gsoType, payloadSize > 1400 ? GSO_TCPV4 : 0);
      if (payloadSize > 1400) assert.equal(seen?.gsoSize, 1000 + fill);
    }
    assert.equal(host.seen[6]?.frame.length, 54 + 65226);
    assert.equal(host.freeCount, 32 - sizes.length);
  },
);

rootTest("PacketRing: UDP segment trains keep their type", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  const { x0, x1 } = pairs(net);
  const host = new RecordingHost();
  using ring = PacketRing.open({ host });
  using sender = PacketSender.open();
  ring.addPort(x1, 7, host);
  const slot = sender.addPort(x0, 1, host);
  const packet = packetOf(host, ipv4Frame({ payloadSize: 30000 }));
  packet.needsCsum = true;
  packet.csumStart = 34;
  packet.csumOffset = 6;
  packet.gsoType = GSO_UDP_L4;
  packet.gsoSize = 1400;
  sender.send(slot, packet);
  sender.flush();
  await until(() => ring.receive(32) > 0);
  assert.deepEqual([...host.drops], []);
  assert.equal(host.seen[0]?.gsoType, GSO_UDP_L4);
  assert.equal(host.seen[0]?.gsoSize, 1400);
  assert.equal(host.seen[0]?.frame.length, 42 + 30000);
});

rootTest(
  "PacketRing: VLAN tags come back in line, TCI 0 too, with csumStart shifted, small and large",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, x1 } = pairs(net);
    const host = new RecordingHost(32);
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    ring.addPort(x1, 7, host);
    const slot = sender.addPort(x0, 1, host);
    const cases: readonly (readonly [number, number, number])[] = [
      [0x8100, 0, 100],
      [0x8100, 0x6064, 100],
      [0x88a8, 0x0005, 1000],
      [0x8100, 0x0064, 60000],
    ];
    const frames = cases.map(([tpid, tci, payloadSize]) => {
      const plain = ipv4Frame({ payloadSize, proto: 6 });
      const tagged = new Uint8Array(plain.length + 4);
      tagged.set(plain.subarray(0, 12));
      tagged.set([tpid >> 8, tpid & 0xff, tci >> 8, tci & 0xff], 12);
      tagged.set(plain.subarray(12), 16);
      const packet = packetOf(host, tagged);
      packet.needsCsum = true;
      packet.csumStart = 38;
      packet.csumOffset = 16;
      if (payloadSize > 1400) {
        packet.gsoType = GSO_TCPV4;
        packet.gsoSize = 1444;
      }
      assert.equal(sender.send(slot, packet), 0);
      return tagged;
    });
    sender.flush();
    await until(() => {
      ring.receive(32);
      ring.release();
      return host.seen.length >= frames.length;
    });
    assert.deepEqual([...host.drops], []);
    for (const [at, frame] of frames.entries()) {
      assertSameFrame(host.seen[at]?.frame, frame, `frame ${at}`);
      assert.equal(host.seen[at]?.csumStart, 38);
      assert.equal(host.seen[at]?.csumOffset, 16);
    }
    assert.equal(host.seen[3]?.gsoType, GSO_TCPV4);
  },
);

rootTest("PacketRing: hears neither its own sends nor devices that are no ports", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  const { x0, x1, y0 } = pairs(net);
  const host = new RecordingHost();
  using ring = PacketRing.open({ host });
  using sender = PacketSender.open();
  ring.addPort(x0, 1, host);
  ring.addPort(x1, 2, host);
  const bySlot = sender.addPort(x0, 1, host);
  const other = sender.addPort(y0, 3, host);
  const packet = packetOf(host, ipv4Frame({ payloadSize: 40 }));
  sender.send(bySlot, packet);
  sender.send(other, packet);
  sender.flush();
  // Our own frame would come before the one that the other end receives.
  await untilIn(ring, 1);
  drain(ring);
  assert.deepEqual(host.seen.map((seen) => seen.portNo), [2]);
  assert.deepEqual([...host.drops], []);
});

rootTest(
  "PacketRing: frames of a device that is no port any more are counted, large ones fetched and dropped",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, x1 } = pairs(net);
    const host = new RecordingHost();
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    ring.addPort(x1, 7, host);
    const slot = sender.addPort(x0, 1, host);
    sender.send(slot, packetOf(host, ipv4Frame({ payloadSize: 40 })));
    sender.send(slot, train(host, 30000));
    sender.flush();
    await untilIn(ring, 2);
    ring.removePort(x1);
    drain(ring);
    assert.equal(host.seen.length, 0);
    assert.deepEqual([...host.drops], [[`rx 65535 ${dropReason("rx-not-a-port")}`, 2]]);
    ring.addPort(x1, 9, host);
    sender.send(slot, train(host, 30001));
    sender.flush();
    await until(() => ring.receive(32) > 0);
    assert.equal(host.seen[0]?.frame.length, 54 + 30001, "the queue is in step with the ring");
    assert.equal(host.seen[0]?.portNo, 9);
  },
);

rootTest(
  "PacketRing: a large frame without a free packet is dropped, the next is fetched right",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, x1 } = pairs(net);
    const host = new RecordingHost();
    const poor = new RecordingHost(1);
    using ring = PacketRing.open({ host: poor });
    using sender = PacketSender.open();
    ring.addPort(x1, 7, poor);
    const slot = sender.addPort(x0, 1, host);
    sender.send(slot, train(host, 30000));
    sender.send(slot, train(host, 30001));
    sender.flush();
    await untilIn(ring, 2);
    const taken = poor.allocate();
    assert.equal(ring.receive(1), 1);
    if (taken !== undefined) poor.recycle(taken);
    assert.equal(ring.receive(1), 1);
    assert.deepEqual([...poor.drops], [[`rx 7 ${dropReason("pool-exhausted")}`, 1]]);
    assert.equal(poor.seen[0]?.frame.length, 54 + 30001);
  },
);

rootTest("PacketRing: a full ring loses frames, says so, and goes on in step", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  const { x0, x1 } = pairs(net);
  const host = new RecordingHost();
  using ring = PacketRing.open({ host, frames: 264 });
  using sender = PacketSender.open();
  ring.addPort(x1, 7, host);
  const slot = sender.addPort(x0, 1, host);
  const packet = packetOf(host, ipv4Frame({ payloadSize: 40 }));
  for (let round = 0; round < 4; round++) {
    for (let sent = 0; sent < 1000; sent++) sender.send(slot, packet);
    sender.flush();
    await untilIn(ring, 1000 * (round + 1));
    drain(ring);
  }
  assert.equal(host.seen.length, 4 * 264);
  const lost = 4000 - 4 * 264;
  assert.deepEqual([...host.drops], [[`rx ${PORT_NONE} ${dropReason("rx-ring-full")}`, lost]]);
  assert.deepEqual(ring.statistics(), { packets: 4 * 264, drops: lost });
  assert.equal(ring.receive(32), 0);
});

rootTest(
  "PacketRing: a fanout group shares the frames, each goes to one ring, none are our own",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, x1 } = pairs(net);
    const host = new RecordingHost();
    const hosts = [new RecordingHost(), new RecordingHost()];
    const group = 4711;
    using first = PacketRing.open({ host: hosts[0] ?? host, fanout: { group } });
    using second = PacketRing.open({ host: hosts[1] ?? host, fanout: { group } });
    for (const [at, ring] of [first, second].entries()) {
      ring.addPort(x1, 7, hosts[at] ?? host);
      ring.addPort(x0, 6, hosts[at] ?? host);
    }
    using sender = PacketSender.open();
    const slot = sender.addPort(x0, 1, host);
    for (let flow = 0; flow < 64; flow++) {
      const frame = ipv4Frame({ payloadSize: 40 });
      new DataView(frame.buffer).setUint16(34, 5000 + flow);
      const packet = packetOf(host, frame);
      sender.send(slot, packet);
      sender.flush();
      host.recycle(packet);
    }
    await until(() => {
      drain(first);
      drain(second);
      return hosts.reduce((sum, each) => sum + each.seen.length, 0) >= 64;
    });
    const counts = hosts.map((each) => each.seen.length);
    assert.equal((counts[0] ?? 0) + (counts[1] ?? 0), 64);
    assert.ok(Math.min(...counts) > 8, `shares ${counts}`);
    assert.ok(hosts.every((each) => each.seen.every((seen) => seen.portNo === 7)));
  },
);

rootTest("PacketRing.addPort: the device is promiscuous until removePort or close", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  const { x1 } = pairs(net);
  const host = new RecordingHost();
  const promiscuity = (): string | undefined =>
    /promiscuity (\d+)/.exec(run("ip -d link show x1"))?.[1];
  const ring = PacketRing.open({ host });
  ring.addPort(x1, 7, host);
  assert.equal(promiscuity(), "1");
  ring.removePort(x1);
  assert.equal(promiscuity(), "0");
  ring.addPort(x1, 7, host);
  ring.close();
  assert.equal(promiscuity(), "0");
  assert.throws(() => PacketRing.open({ host }).addPort(9999, 1, host), {
    name: "SystemError",
    code: "ENODEV",
  });
});

rootTest(
  "PacketSender: what a device refuses is counted at its port with the reason, the rest goes out",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, x1, y0 } = pairs(net);
    const host = new RecordingHost(16);
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    ring.addPort(x1, 7, host);
    const good = sender.addPort(x0, 1, host);
    const down = sender.addPort(y0, 2, host);
    net.setUp(y0, false);
    const small = packetOf(host, ipv4Frame({ payloadSize: 40 }));
    const long = packetOf(host, ipv4Frame({ payloadSize: 1600 }));
    sender.send(good, small);
    sender.send(good, long);
    sender.send(down, small);
    sender.send(good, small);
    sender.send(good, small);
    sender.flush();
    await until(() => {
      ring.receive(32);
      ring.release();
      return host.seen.length >= 3;
    });
    assert.deepEqual(
      new Map(host.drops),
      new Map([
        [`tx 1 ${dropReason("over-mtu")}`, 1],
        [`tx 2 ${dropReason("port-down")}`, 1],
      ]),
    );
    assert.throws(() => sender.addPort(9999, 3, host), { code: "ENODEV" });
    sender.removePort(down);
    assert.equal(sender.send(down, small), dropReason("port-down"));
  },
);

rootTest("PacketSender: a packet without headroom goes out in two pieces", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  const { x0, x1 } = pairs(net);
  const host = new RecordingHost();
  using ring = PacketRing.open({ host });
  using sender = PacketSender.open();
  ring.addPort(x1, 7, host);
  const slot = sender.addPort(x0, 1, host);
  const frame = ipv4Frame({ payloadSize: 40 });
  const packet = packetOf(host, frame);
  packet.headLimit = packet.start - 4;
  packet.needsCsum = true;
  packet.csumStart = 34;
  packet.csumOffset = 6;
  sender.send(slot, packet);
  sender.flush();
  await until(() => ring.receive(32) > 0);
  assertSameFrame(host.seen[0]?.frame, frame);
  assert.equal(host.seen[0]?.csumOffset, 6);
});

rootTest(
  "PacketSender: a device whose queue is full starves nobody",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, y0, y1 } = pairs(net);
    run("tc qdisc add dev x0 root tbf rate 8kbit burst 2000 limit 4000");
    const host = new RecordingHost();
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    ring.addPort(y1, 7, host);
    const slow = sender.addPort(x0, 1, host);
    const fast = sender.addPort(y0, 2, host);
    const packet = packetOf(host, ipv4Frame({ payloadSize: 1000 }));
    for (let round = 0; round < 50; round++) {
      sender.send(slow, packet);
      sender.send(fast, packet);
      sender.flush();
    }
    await until(() => {
      ring.receive(32);
      ring.release();
      return host.seen.length >= 50;
    });
    assert.equal(host.drops.size, 1);
    assert.ok((host.drops.get(`tx 1 ${dropReason("tx-queue-full")}`) ?? 0) > 30);
  },
);

rootTest(
  "PacketSender: a partial checksum inside a tunnel goes out, an encapsulated train does not",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const { x0, x1 } = pairs(net);
    const host = new RecordingHost(16);
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    ring.addPort(x1, 7, host);
    const slot = sender.addPort(x0, 1, host);
    const tunnelled = (payloadSize: number): Packet => {
      const inner = ipv4Frame({ payloadSize, proto: 6 });
      const outer = ipv4Frame({ payloadSize: 8 + inner.length });
      outer.set([8, 0, 0, 0, 0, 0, 42, 0], 42);
      outer.set(inner, 50);
      new DataView(outer.buffer).setUint16(36, 4789);
      new DataView(outer.buffer).setUint16(40, 0);
      const packet = packetOf(host, outer);
      packet.needsCsum = true;
      packet.csumStart = 50 + 34;
      packet.csumOffset = 16;
      return packet;
    };
    sender.send(slot, tunnelled(500));
    const encapsulated = tunnelled(20000);
    encapsulated.gsoType = GSO_TCPV4;
    encapsulated.gsoSize = 1400;
    sender.send(slot, encapsulated);
    sender.flush();
    await until(() => ring.receive(32) > 0);
    assert.equal(host.seen.length, 1);
    assert.equal(host.seen[0]?.csumStart, 84);
    assert.deepEqual([...host.drops], [[`tx 1 ${dropReason("tx-error")}`, 1]]);
  },
);

rootTest("PacketRing, PacketSender: no allocation per packet", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  const { x0, x1, y0 } = pairs(net);
  const host = new RecordingHost();
  const forwarder = new ForwardingHost();
  using ring = PacketRing.open({ host });
  using generator = PacketSender.open();
  const from = generator.addPort(x0, 1, host);
  forwarder.slot = forwarder.sender.addPort(y0, 2, forwarder);
  ring.addPort(x1, 7, forwarder);
  const packet = packetOf(host, ipv4Frame({ payloadSize: 40 }));
  const forward = (count: number): void => {
    forwarder.count = 0;
    for (let sent = 0; sent < count; sent += 32) {
      for (let each = 0; each < 32; each++) generator.send(from, packet);
      generator.flush();
      while (ring.receive(32) > 0) {
        forwarder.sender.flush();
        ring.release();
      }
    }
  };
  forward(50_000);
  let growth = Infinity;
  for (let attempt = 0; attempt < 5 && growth > 50_000; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const before = Deno.memoryUsage().heapUsed;
    forward(20_000);
    growth = Deno.memoryUsage().heapUsed - before;
  }
  forwarder.sender.close();
  assert.ok(forwarder.count >= 19_000, `${forwarder.count} packets`);
  assert.ok(growth < 50_000, `${growth} bytes for 20,000 packets`);
});

/** Sends on what it receives. */
class ForwardingHost extends RecordingHost {
  readonly sender: PacketSender = PacketSender.open();
  slot = 0;
  count = 0;

  override receive(_portNo: number, packet: Packet): void {
    this.count++;
    this.sender.send(this.slot, packet);
  }
}
