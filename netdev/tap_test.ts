import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { GSO_TCPV4 } from "../datapath/packet/packet.ts";
import { PacketSender } from "./packet_sender.ts";
import { PacketRing } from "./packet_socket.ts";
import { Poller } from "./poller.ts";
import { Rtnetlink } from "./rtnetlink.ts";
import { createPersistentTap, deletePersistentTap, TapQueue } from "./tap.ts";
import {
  assertSameFrame,
  ipv4Frame,
  openDescriptors,
  packetOf,
  RecordingHost,
  rootTest,
  run,
  TestNamespace,
  until,
} from "./testing.ts";

function up(net: Rtnetlink, name: string): number {
  const ifindex = net.linkByName(name)?.ifindex ?? 0;
  net.setUp(ifindex);
  return ifindex;
}

rootTest("TapQueue: agrees on a 10-byte header and all offloads of this kernel", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  using tap = TapQueue.open("t0");
  assert.equal(tap.vnetHeaderSize, 10);
  assert.ok(tap.offloads === 0x6f || tap.offloads === 0x0f, `offloads ${tap.offloads}`);
  assert.equal(tap.takesSegmentTrains, true);
  assert.equal(net.linkByName("t0")?.kind, "tun");
  tap.close();
  assert.equal(net.linkByName("t0"), undefined);
});

rootTest(
  "TapQueue.receive: frames that the host sends, small and 64 KiB trains, then nothing",
  () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    using tap = TapQueue.open("t0");
    const ifindex = up(net, "t0");
    using poller = new Poller();
    poller.add(tap.fd, 1);
    const host = new RecordingHost();
    using sender = PacketSender.open();
    const slot = sender.addPort(ifindex, 1, host);
    for (const payloadSize of [18, 65000]) {
      const frame = ipv4Frame({ payloadSize, proto: 6 });
      const packet = packetOf(host, frame);
      packet.needsCsum = true;
      packet.csumStart = 34;
      packet.csumOffset = 16;
      packet.gsoType = payloadSize > 1400 ? GSO_TCPV4 : 0;
      packet.gsoSize = 1448;
      sender.send(slot, packet);
      sender.flush();
      assert.equal(poller.wait(1000), 1);
      const got = host.allocate();
      assert.ok(got !== undefined);
      const { start } = got;
      assert.equal(tap.receive(got), frame.length);
      assert.equal(got.start, start);
      assertSameFrame(got.bytes.subarray(got.start, got.end), frame);
      assert.equal(got.needsCsum, true);
      assert.equal(got.csumStart, 34);
      assert.equal(got.gsoType, payloadSize > 1400 ? GSO_TCPV4 : 0);
      if (payloadSize > 1400) assert.equal(got.gsoSize, 1448);
      assert.equal(tap.receive(got), 0);
      assert.equal(poller.wait(0), 0);
    }
    assert.equal(host.drops.size, 0);
  },
);

rootTest(
  "TapQueue.send: reaches the host whole, with and without headroom, and says when the device is down",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    using tap = TapQueue.open("t0");
    const host = new RecordingHost();
    const packet = packetOf(host, ipv4Frame({ payloadSize: 64000, proto: 6 }));
    packet.needsCsum = true;
    packet.csumStart = 34;
    packet.csumOffset = 16;
    packet.gsoType = GSO_TCPV4;
    packet.gsoSize = 1448;
    assert.equal(tap.send(packet), dropReason("port-down"));
    const ifindex = up(net, "t0");
    using ring = PacketRing.open({ host });
    ring.addPort(ifindex, 4, host);
    assert.equal(tap.send(packet), 0);
    packet.headLimit = packet.start;
    assert.equal(tap.send(packet), 0);
    await until(() => {
      ring.receive(32);
      ring.queue?.receive(32);
      ring.release();
      return host.seen.length >= 2;
    });
    for (const seen of host.seen) {
      assertSameFrame(seen.frame, ipv4Frame({ payloadSize: 64000, proto: 6 }));
      assert.equal(seen.gsoType, GSO_TCPV4);
      assert.equal(seen.gsoSize, 1448);
    }
  },
);

rootTest("TapQueue: without a header frames are plain and the kernel finishes them", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  using tap = TapQueue.open("t0", { vnetHeader: false });
  const ifindex = up(net, "t0");
  const host = new RecordingHost();
  using sender = PacketSender.open();
  const slot = sender.addPort(ifindex, 1, host);
  const packet = packetOf(host, ipv4Frame({ payloadSize: 100 }));
  packet.needsCsum = true;
  packet.csumStart = 34;
  packet.csumOffset = 6;
  sender.send(slot, packet);
  sender.flush();
  const got = packetOf(host, new Uint8Array());
  assert.equal(tap.receive(got), 142);
  assert.equal(got.needsCsum, false);
  const checksum = (at: number): number => got.view.getUint16(got.start + at);
  assert.notEqual(checksum(40), new DataView(ipv4Frame({ payloadSize: 100 }).buffer).getUint16(40));
});

rootTest(
  "createPersistentTap: stays without a queue, keeps its MAC, is refused twice; deletePersistentTap ends it",
  () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const before = openDescriptors();
    createPersistentTap("t0", { mac: "02:00:00:00:0b:01" });
    const made = net.linkByName("t0");
    assert.equal(made?.mac, "02:00:00:00:0b:01");
    assert.throws(() => createPersistentTap("t0"), { code: "EBUSY" });
    {
      using first = TapQueue.open("t0");
      using second = TapQueue.open("t0");
      assert.notEqual(first.fd, second.fd);
    }
    assert.deepEqual(net.linkByName("t0")?.ifindex, made?.ifindex);
    deletePersistentTap("t0");
    assert.equal(net.linkByName("t0"), undefined);
    assert.equal(openDescriptors(), before);
  },
);

rootTest("TapQueue.open: a device that is no TAP is refused with the reason", () => {
  using _namespace = new TestNamespace();
  run("ip link add v0 type veth peer name v1");
  const before = openDescriptors();
  assert.throws(() => TapQueue.open("v0"), {
    code: "EINVAL",
    message:
      'Cannot open tap "v0": ioctl(TUNSETIFF) returned EINVAL (a device of that name is no multi-queue TAP device)',
  });
  assert.equal(openDescriptors(), before);
});

rootTest("TapQueue: a device deleted under us is told by receive and send", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  using tap = TapQueue.open("t0");
  net.deleteLink(up(net, "t0"));
  const host = new RecordingHost();
  const packet = packetOf(host, ipv4Frame({ payloadSize: 10 }));
  assert.ok(tap.receive(packet) < 0);
  assert.equal(tap.send(packet), dropReason("port-down"));
});
