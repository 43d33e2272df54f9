/** A tunnel port on the loopback address whose far end is itself: what it sends, it receives. */
import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { TUN_FLAG_CSUM, TUN_FLAG_DF, TUN_FLAG_KEY, TUN_OPTIONS_GENEVE } from "../datapath/key.ts";
import * as tcp from "../datapath/headers/tcp.ts";
import { GSO_TCPV4 } from "../datapath/packet/packet.ts";
import { finish, pseudoIpv4, sum } from "../datapath/packet/checksum.ts";
import { load, receiveAll, tcpFrame, tunnelTo, withPort } from "../tests/tunnel_port.ts";
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
