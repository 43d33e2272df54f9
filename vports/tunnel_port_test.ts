/** A tunnel port on the loopback address whose far end is itself: what it sends, it receives. */
import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { extractKey } from "../datapath/extract/extract.ts";
import {
  KEY_SIZE,
  KEY_WORDS,
  TUN_FLAG_DF,
  TUN_FLAG_KEY,
  TUN_OPTIONS_GENEVE,
} from "../datapath/key.ts";
import { GSO_TCPV4, type Packet } from "../datapath/packet/packet.ts";
import { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import { finish, pseudoIpv4, sum } from "../datapath/packet/checksum.ts";
import { TestHost } from "../tests/vport_host.ts";
import geneve from "./geneve.ts";
import type { TunnelOptions } from "./tunnel_options.ts";
import type { Vport, VportOps } from "./vport.ts";
import vxlan from "./vxlan.ts";

const LOOPBACK = 0x7f000001;
const ETHERNET = "020000000002020000000001" + "0800";

/** Keeps what came with the packets. */
class Host extends TestHost {
  readonly tunnels: TunnelKey[] = [];
  readonly offloads: { gsoType: number; gsoSize: number; needsCsum: boolean }[] = [];

  override receive(portNo: number, packet: Packet): void {
    const tunnel = new TunnelKey(new DataView(new ArrayBuffer(KEY_SIZE)));
    tunnel.copyFrom(packet.tunnel!);
    this.tunnels.push(tunnel);
    const { gsoType, gsoSize, needsCsum } = packet;
    this.offloads.push({ gsoType, gsoSize, needsCsum });
    super.receive(portNo, packet);
  }
}

function withPort(
  ops: VportOps<TunnelOptions>,
  options: Readonly<Record<string, string>>,
  use: (vport: Vport, host: Host) => void,
): void {
  const host = new Host();
  const params = {
    datapath: "test",
    datapathId: "00112233445566778899aabbccddeeff",
    name: "t1",
    portNo: 1,
    options: ops.parseOptions(new Map(Object.entries(options))),
    mac: undefined,
    threads: 1,
  };
  const attachment = ops.attach!(params);
  const vport = ops.create({ ...params, thread: 0, data: attachment.data, host });
  try {
    use(vport, host);
  } finally {
    vport.close();
    attachment.detach("delete");
  }
}

/** Loads a frame and says what extraction would. */
function load(host: Host, frame: Uint8Array): Packet {
  const packet = host.allocate()!;
  packet.bytes.set(frame, packet.start);
  packet.end = packet.start + frame.length;
  extractKey(packet, new Int32Array(KEY_WORDS), 0);
  return packet;
}

/** TCP over IPv4 with a right checksum, or one that is the pseudo-header's sum. */
function tcpFrame(
  payloadSize: number,
  options: { partial?: boolean; tos?: number } = {},
): Uint8Array {
  const { partial = false, tos = 0 } = options;
  const frame = new Uint8Array(54 + payloadSize);
  frame.set(Uint8Array.fromHex(ETHERNET));
  const view = new DataView(frame.buffer);
  view.setUint16(14, 0x4500 | tos);
  view.setUint16(16, 40 + payloadSize);
  view.setUint32(18, 0x12344000);
  view.setUint16(22, 0x4006);
  view.setUint32(26, 0x0a000001);
  view.setUint32(30, 0x0a000002);
  view.setUint16(24, finish(sum(view, 14, 34)), true);
  view.setUint16(34, 40000);
  view.setUint16(36, 80);
  view.setUint32(38, 1000);
  view.setUint32(42, 2000);
  view.setUint16(46, 0x5018);
  view.setUint16(48, 512);
  for (let at = 54; at < frame.length; at++) frame[at] = Math.imul(at, 31) >> 3;
  const pseudo = pseudoIpv4(view, 14, 6, 20 + payloadSize);
  const checksum = partial ? pseudo : finish(pseudo + sum(view, 34, frame.length));
  view.setUint16(50, checksum, true);
  return frame;
}

function test(fact: string, fn: () => void): void {
  // Libraries opened on first use stay open for the process.
  Deno.test({ name: `TunnelPort: ${fact}`, sanitizeResources: false, fn });
}

function receiveAll(vport: Vport, host: Host, count: number): void {
  for (let time = 0; time < 100 && host.received.length < count; time++) {
    vport.receiver!.receive(32);
    vport.sideReceiver?.receive(32);
  }
}

function tunnelTo(destination: number): TunnelKey {
  const tunnel = new TunnelKey(new DataView(new ArrayBuffer(KEY_SIZE)));
  tunnel.begin(4);
  tunnel.destination = destination;
  return tunnel;
}

test("what set(tunnel) says is sent, and received as it was", () => {
  withPort(geneve, { remote_ip: "flow", key: "flow", dst_port: "16081" }, (vport, host) => {
    const tunnel = tunnelTo(LOOPBACK);
    tunnel.source = 0x7f000009;
    tunnel.idLow = 0xabcdef;
    tunnel.tos = 0xb8;
    tunnel.ttl = 7;
    tunnel.flags = TUN_FLAG_KEY | TUN_FLAG_DF;
    const options = Uint8Array.fromHex("0102800111223344");
    tunnel.setOptions(TUN_OPTIONS_GENEVE, new DataView(options.buffer), 0, 8);
    const frame = tcpFrame(100, { tos: 2 });
    const packet = load(host, frame);
    assert.equal(vport.send(packet, tunnel), 0);
    vport.sender!.flush();
    receiveAll(vport, host, 1);
    assert.deepEqual(host.received.map((each) => each.frame), [frame]);
    const [got] = host.tunnels;
    assert.ok(got !== undefined);
    assert.equal(got.source, 0x7f000009);
    assert.equal(got.destination, LOOPBACK);
    assert.equal(got.destinationPort, 16081);
    assert.equal(got.idLow, 0xabcdef);
    assert.equal(got.tos, 0xba, "DSCP of the action, ECN of the packet");
    assert.equal(got.ttl, 7);
    assert.equal(got.flags, TUN_FLAG_KEY);
    assert.equal(got.optionsKind, TUN_OPTIONS_GENEVE);
    const bytes = new Uint8Array(8);
    got.copyOptions(new DataView(bytes.buffer), 0);
    assert.deepEqual(bytes, options);
  });
});

test("without an action the options say it; without either the packet is dropped", () => {
  const options = { remote_ip: "127.0.0.1", key: "5", dst_port: "16082", tos: "inherit", ttl: "9" };
  withPort(vxlan, options, (vport, host) => {
    assert.equal(vport.send(load(host, tcpFrame(1, { tos: 0x28 })), undefined), 0);
    vport.sender!.flush();
    receiveAll(vport, host, 1);
    assert.deepEqual(host.tunnels.map((each) => [each.idLow, each.tos, each.ttl]), [[5, 0x28, 9]]);
  });
  withPort(vxlan, { remote_ip: "flow", dst_port: "16082" }, (vport, host) => {
    const reason = vport.send(load(host, tcpFrame(1)), undefined);
    assert.equal(reason, dropReason("tunnel-no-destination"));
  });
});

test("a train goes out in segments and comes back as a train of the same bytes", () => {
  withPort(vxlan, { remote_ip: "127.0.0.1", dst_port: "16083" }, (vport, host) => {
    const packet = load(host, tcpFrame(30_100, { partial: true }));
    packet.needsCsum = true;
    packet.csumStart = 34;
    packet.csumOffset = 16;
    packet.gsoType = GSO_TCPV4;
    packet.gsoSize = 1400;
    assert.equal(vport.send(packet, undefined), 0);
    vport.sender!.flush();
    receiveAll(vport, host, 1);
    assert.deepEqual(host.txDrops, []);
    assert.deepEqual(host.offloads, [{ gsoType: GSO_TCPV4, gsoSize: 1400, needsCsum: true }]);
    assert.deepEqual(host.received[0]?.frame, tcpFrame(30_100, { partial: true }));
  });
});

test("without UDP checksums a train's segments go one by one, each complete", () => {
  const options = { remote_ip: "127.0.0.1", dst_port: "16083", csum: "false" };
  withPort(vxlan, options, (vport, host) => {
    const packet = load(host, tcpFrame(3000, { partial: true }));
    packet.needsCsum = true;
    packet.csumStart = 34;
    packet.csumOffset = 16;
    packet.gsoType = GSO_TCPV4;
    packet.gsoSize = 1400;
    assert.equal(vport.send(packet, undefined), 0);
    vport.sender!.flush();
    receiveAll(vport, host, 3);
    assert.deepEqual(host.received.map(({ frame }) => frame.length), [1454, 1454, 254]);
    for (const { frame } of host.received) {
      const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
      const l4 = pseudoIpv4(view, 14, 6, frame.length - 34) + sum(view, 34, frame.length);
      assert.equal(finish(l4), 0);
      assert.equal(sum(view, 14, 34), 0xffff);
    }
    const last = host.received.map(({ frame }) => frame[47]! & 0x08);
    assert.deepEqual(last, [0, 0, 8], "PSH stays with the last");
  });
});

test("a checksum that is only begun is seen, a right one left alone", () => {
  withPort(vxlan, { remote_ip: "127.0.0.1", dst_port: "16084" }, (vport, host) => {
    for (const partial of [true, false]) {
      vport.send(load(host, tcpFrame(200, { partial })), undefined);
    }
    vport.sender!.flush();
    receiveAll(vport, host, 2);
    assert.deepEqual(host.offloads.map(({ needsCsum }) => needsCsum), [true, false]);
  });
});

test("sending and receiving allocate nothing per packet", () => {
  const count = 10_000;
  withPort(vxlan, { remote_ip: "127.0.0.1", key: "5", dst_port: "16085" }, (vport, host) => {
    const packet = load(host, tcpFrame(100));
    let got = 0;
    host.receive = (_portNo, received) => {
      got++;
      host.pool.free(received);
    };
    const round = (): void => {
      for (let at = 0; at < 32; at++) vport.send(packet, undefined);
      vport.sender!.flush();
      vport.receiver!.receive(32);
    };
    for (let time = 0; time < 300; time++) round();
    got = 0;
    const growths = [0, 0, 0].map(() => {
      const before = Deno.memoryUsage().heapUsed;
      for (let time = 0; time < count / 32; time++) round();
      return Deno.memoryUsage().heapUsed - before;
    });
    assert.ok(got > 0.9 * 3 * count, `${got} received`);
    const growth = Math.min(...growths.map(Math.abs));
    assert.ok(growth < count * 8, `${growth} bytes for ${count} packets`);
  });
});
