/** A tunnel port on the loopback address whose far end is itself: what it sends, it receives. */
import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { TUN_FLAG_CSUM, TUN_FLAG_DF, TUN_FLAG_KEY, TUN_OPTIONS_GENEVE } from "../datapath/key.ts";
import * as tcp from "../datapath/headers/tcp.ts";
import { GSO_TCPV4, GSO_TCPV6 } from "../datapath/packet/packet.ts";
import { finish, pseudoIpv4, sum } from "../datapath/packet/checksum.ts";
import { load, receiveAll, tcpFrame, tunnelTo, withPort } from "../tests/tunnel_port.ts";
import { libc, replaceLibc } from "../netdev/libc.ts";
import { UdpSocket } from "../netdev/udp_socket.ts";
import geneve from "./geneve.ts";
import vxlan from "./vxlan.ts";

const LOOPBACK = 0x7f000001;
const URG = 0x20;

function test(fact: string, fn: () => void): void {
  // Libraries opened on first use stay open for the process.
  Deno.test({ name: `TunnelPort: ${fact}`, sanitizeResources: false, fn });
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
    assert.equal(got.flags & ~TUN_FLAG_CSUM, TUN_FLAG_KEY);
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
    const whole = tcpFrame(3000, { partial: true });
    whole[47] = tcp.ACK | tcp.PSH | URG; // so that nobody joins them again
    const packet = load(host, whole);
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

/** A train of 64 segments of 100 bytes, behind `count` destination options headers of `size` bytes each. */
function longHeaded(count: number, size: number): Uint8Array {
  const l4 = 54 + count * size;
  const frame = new Uint8Array(l4 + 20 + 6400);
  frame.set(Uint8Array.fromHex("02000000000202000000000186dd60000000"));
  const view = new DataView(frame.buffer);
  view.setUint16(18, frame.length - 54);
  view.setUint16(20, 60 << 8 | 64);
  frame[37] = 1;
  frame[53] = 2;
  for (let at = 54; at < l4; at += size) {
    view.setUint16(at, (at + size < l4 ? 60 : 6) << 8 | size / 8 - 1);
  }
  view.setUint16(l4 + 12, 0x5010);
  return frame;
}

test("headers of a train may be longer than a message has room for", () => {
  const options = { remote_ip: "127.0.0.1", dst_port: "16086", df_default: "false" };
  withPort(vxlan, options, (vport, host) => {
    const send = (frame: Uint8Array): number => {
      const packet = load(host, frame);
      packet.needsCsum = true;
      packet.csumStart = frame.length - 6420;
      packet.csumOffset = 16;
      packet.gsoType = GSO_TCPV6;
      packet.gsoSize = 100;
      const reason = vport.send(packet, undefined);
      vport.sender!.flush();
      host.recycle(packet);
      return reason;
    };
    assert.equal(send(longHeaded(1, 1000)), 0);
    receiveAll(vport, host, 64);
    assert.deepEqual(new Set(host.received.map(({ frame }) => frame.length)), new Set([1174]));
    assert.equal(host.received.length, 64);
    assert.deepEqual(host.txDrops, []);
    assert.equal(send(longHeaded(24, 2048)), dropReason("tx-gso-invalid"));
  });
});

test("an empty datagram behind a segment is counted, whether it came alone or not", () => {
  withPort(vxlan, { remote_ip: "127.0.0.1", dst_port: "16087" }, (vport, host) => {
    const socket = new UdpSocket({
      local: { address: "127.0.0.1", port: 16088 },
      remote: { address: "127.0.0.1", port: 16087 },
      shared: false,
      refused: () => {},
    });
    try {
      const segment = tcpFrame(1400);
      segment[47] = tcp.ACK;
      for (const frame of [segment, new Uint8Array(0), new Uint8Array(0)]) {
        const packet = host.allocate()!;
        const header = frame.length > 0 ? [8, 0, 0, 0, 0, 0, 0, 0] : [];
        packet.bytes.set([...header, ...frame], packet.start);
        packet.end = packet.start + header.length + frame.length;
        socket.send(packet);
        socket.flush();
        host.recycle(packet);
      }
      const free = host.pool.freeCount;
      let count = 0;
      for (let time = 0; time < 100 && count < 3; time++) count += vport.receiver!.receive(32);
      assert.deepEqual(host.received.map(({ frame }) => frame), [segment]);
      const { length } = host.rxDrops.filter(({ reason }) =>
        reason === dropReason("tunnel-malformed")
      );
      assert.equal(length, 2);
      assert.equal(host.pool.freeCount, free);
    } finally {
      socket.close();
    }
  });
});

test("without a descriptor for another socket packets are dropped, until there is one", () => {
  const EMFILE = 24;
  withPort(vxlan, { remote_ip: "127.0.0.1", dst_port: "16089" }, (vport, host) => {
    const real = libc();
    const { file, memory, poll, clock, kernel, process } = real;
    const socket = { ...real.socket, socket: () => -1 };
    const full = { file, memory, poll, clock, kernel, process, socket, errno: () => EMFILE };
    const packet = load(host, tcpFrame(100));
    try {
      replaceLibc(full);
      assert.equal(vport.send(packet, undefined), dropReason("tx-error"));
      vport.sender!.flush();
    } finally {
      replaceLibc(undefined);
    }
    assert.equal(vport.send(packet, undefined), 0);
    vport.sender!.flush();
    receiveAll(vport, host, 1);
    assert.deepEqual(host.received.map(({ frame }) => frame), [tcpFrame(100)]);
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
    // On a busy machine it takes a while until the code is compiled; until then numbers are allocated.
    let growth = Infinity;
    let rounds = 0;
    for (; rounds < 40 && growth >= count * 8; rounds++) {
      const before = Deno.memoryUsage().heapUsed;
      for (let time = 0; time < count / 32; time++) round();
      growth = Math.abs(Deno.memoryUsage().heapUsed - before);
    }
    assert.ok(got > 0.9 * rounds * count, `${got} received`);
    assert.ok(growth < count * 8, `${growth} bytes for ${count} packets`);
  });
});
