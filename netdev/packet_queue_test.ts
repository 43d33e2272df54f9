import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { PORT_NONE } from "../datapath/key.ts";
import { GSO_TCPV4, GSO_UDP, GSO_UDP_L4, type Packet } from "../datapath/packet/packet.ts";
import { type Libc, libc, replaceLibc } from "./libc.ts";
import { PacketSender } from "./packet_sender.ts";
import { PacketRing } from "./packet_socket.ts";
import { Rtnetlink } from "./rtnetlink.ts";
import { TapQueue } from "./tap.ts";
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

function upTap(net: Rtnetlink, name: string): number {
  const ifindex = net.linkByName(name)?.ifindex ?? 0;
  net.setUp(ifindex);
  return ifindex;
}

function udpTrain(host: RecordingHost, gsoType: number): Packet {
  const packet = packetOf(host, ipv4Frame({ payloadSize: 20_000 }));
  packet.needsCsum = true;
  packet.csumStart = 34;
  packet.csumOffset = 6;
  packet.gsoType = gsoType;
  packet.gsoSize = 1400;
  return packet;
}

function receiveAll(ring: PacketRing): void {
  ring.receive(32);
  ring.queue?.receive(32);
  ring.release();
}

rootTest(
  "PacketRing: a train that a virtio-net header can't express is counted and stops nothing",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    using tap = TapQueue.open("t0");
    const host = new RecordingHost();
    using ring = PacketRing.open({ host });
    ring.addPort(upTap(net, "t0"), 4, host);
    const small = packetOf(host, ipv4Frame({ payloadSize: 40 }));
    for (let round = 1; round <= 3; round++) {
      const train = udpTrain(host, GSO_UDP);
      assert.equal(tap.send(train), 0);
      host.recycle(train);
      assert.equal(tap.send(small), 0);
      await until(() => {
        receiveAll(ring);
        return host.seen.length >= round;
      });
    }
    assert.equal(ring.statistics().drops, 0);
    assert.deepEqual([...host.drops], [[`rx 65535 ${dropReason("rx-invalid-offload")}`, 3]]);
  },
);

rootTest(
  "PacketQueue: trains from a TAP's user arrive whole, tagged ones too, in order",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    using tap = TapQueue.open("t0");
    const host = new RecordingHost();
    using ring = PacketRing.open({ host });
    ring.addPort(upTap(net, "t0"), 4, host);
    const plain = ipv4Frame({ payloadSize: 50_000, proto: 6 });
    const tagged = new Uint8Array(plain.length + 4);
    tagged.set(plain.subarray(0, 12));
    tagged.set([0x81, 0, 0, 5], 12);
    tagged.set(plain.subarray(12), 16);
    for (const [frame, csumStart] of [[plain, 34], [tagged, 38]] as const) {
      const packet = packetOf(host, frame);
      packet.needsCsum = true;
      packet.csumStart = csumStart;
      packet.csumOffset = 16;
      packet.gsoType = GSO_TCPV4;
      packet.gsoSize = 1448;
      assert.equal(tap.send(packet), 0);
      host.recycle(packet);
    }
    const udp = udpTrain(host, GSO_UDP_L4);
    assert.equal(tap.send(udp), 0);
    host.recycle(udp);
    await until(() => {
      receiveAll(ring);
      return host.seen.length >= 3;
    });
    assert.deepEqual([...host.drops], []);
    assertSameFrame(host.seen[0]?.frame, plain);
    assertSameFrame(host.seen[1]?.frame, tagged);
    assert.deepEqual(host.seen.map((seen) => seen.csumStart), [34, 38, 34]);
    assert.deepEqual(host.seen.map((seen) => seen.gsoType), [GSO_TCPV4, GSO_TCPV4, GSO_UDP_L4]);
    assert.deepEqual(host.seen.map((seen) => seen.gsoSize), [1448, 1448, 1400]);
    assert.equal(host.freeCount, 8);
    assert.equal(ring.queue?.receive(32), 0);
  },
);

rootTest("PacketQueue: a full queue loses trains, says how many, and goes on", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  using tap = TapQueue.open("t0");
  const host = new RecordingHost();
  using ring = PacketRing.open({ host });
  ring.addPort(upTap(net, "t0"), 4, host);
  const full = `rx ${PORT_NONE} ${dropReason("rx-queue-full")}`;
  const train = udpTrain(host, GSO_UDP_L4);
  let sent = 0;
  for (let round = 1; round <= 2; round++) {
    // 32 MB is what fits: 1600 trains.
    for (let time = 0; time < 3000; time++, sent++) assert.equal(tap.send(train), 0);
    await until(() => {
      receiveAll(ring);
      return host.seen.length + (host.drops.get(full) ?? 0) === sent;
    });
    assert(host.drops.get(full)! >= 200 * round, `${host.drops.get(full)} of ${sent} were lost`);
  }
  assert.deepEqual([...host.drops.keys()], [full]);
  assert.equal(tap.send(train), 0);
  const seen = host.seen.length;
  await until(() => {
    receiveAll(ring);
    return host.seen.length === seen + 1;
  });
  assert.equal(host.seen.at(-1)?.frame.length, train.end - train.start);
});

/** The C library of a process that may not use bpf(2). */
function withoutBpf(): Libc {
  const real = libc();
  const { file, memory, poll, socket, clock, process } = real;
  const EPERM = 1;
  let refused = false;
  const bpf = (): number => {
    refused = true;
    return -1;
  };
  const errno = (): number => {
    const was = refused;
    refused = false;
    return was ? EPERM : real.errno();
  };
  const kernel = { bpf, setns: real.kernel.setns, prctl: real.kernel.prctl };
  return { file, memory, poll, socket, clock, kernel, process, errno };
}

rootTest(
  "PacketRing: without leave for bpf(2) a classic filter does, and there is no queue",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    run("ip link add v0 type veth peer name v1");
    const from = upTap(net, "v0");
    const to = upTap(net, "v1");
    const host = new RecordingHost();
    replaceLibc(withoutBpf());
    try {
      using ring = PacketRing.open({ host });
      assert.equal(ring.queue, undefined);
      using sender = PacketSender.open();
      const slot = sender.addPort(from, 1, host);
      const packet = packetOf(host, ipv4Frame({ payloadSize: 40 }));
      sender.send(slot, packet);
      sender.flush();
      ring.addPort(to, 7, host);
      sender.send(slot, packet);
      sender.flush();
      await until(() => ring.receive(32) > 0);
      ring.release();
      assert.deepEqual(host.seen.map((seen) => seen.portNo), [7]);
    } finally {
      replaceLibc(undefined);
    }
  },
);
