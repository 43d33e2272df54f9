/** Outer headers: what they say of the inner packet, and which port they are for. */
import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { finish, sum } from "../datapath/packet/checksum.ts";
import * as header from "../datapath/headers/vxlan.ts";
import { GSO_TCPV4 } from "../datapath/packet/packet.ts";
import {
  load,
  receiveAll,
  tcpFrame,
  type TunnelHost,
  tunnelTo,
  withPort,
  withPorts,
} from "../tests/tunnel_port.ts";
import { Envelope, TunnelOutput } from "../netdev/tunnel_output.ts";
import geneve from "./geneve.ts";
import type { Vport } from "./vport.ts";
import vxlan from "./vxlan.ts";

const LOOPBACK = 0x7f000001;

function test(fact: string, fn: () => void): void {
  // Libraries opened on first use stay open for the process.
  Deno.test({ name: `outer headers: ${fact}`, sanitizeResources: false, fn });
}

function frame4(tos: number, ttl: number): Uint8Array {
  const frame = tcpFrame(8, { tos });
  frame[22] = ttl;
  const view = new DataView(frame.buffer);
  view.setUint16(24, 0);
  view.setUint16(24, finish(sum(view, 14, 34)), true);
  return frame;
}

function frame6(trafficClass: number, hopLimit: number): Uint8Array {
  const frame = new Uint8Array(14 + 40 + 8);
  frame.set(Uint8Array.fromHex("02000000000202000000000186dd60000000"));
  new DataView(frame.buffer).setUint16(14, 0x6000 | trafficClass << 4);
  frame[19] = 8;
  frame[20] = 59; // no next header
  frame[21] = hopLimit;
  return frame;
}

function otherFrame(): Uint8Array {
  const frame = tcpFrame(8);
  frame.set([0x88, 0xb5], 12);
  return frame;
}

interface Said {
  readonly tos?: number;
  readonly ttl?: number;
}

/** The outer header's type of service and time to live of each frame sent. */
function sent(
  options: Readonly<Record<string, string>>,
  frames: readonly Uint8Array[],
  said?: Said,
): number[][] {
  const words = { remote_ip: "127.0.0.1", dst_port: "16071", ...options };
  let seen: number[][] = [];
  withPort(geneve, words, (vport, host) => {
    for (const frame of frames) {
      const tunnel = said && tunnelTo(LOOPBACK);
      if (tunnel !== undefined) {
        tunnel.tos = said?.tos ?? 0;
        tunnel.ttl = said?.ttl ?? 0;
      }
      assert.equal(vport.send(load(host, frame), tunnel), 0);
      vport.sender!.flush();
      receiveAll(vport, host, host.received.length + 1);
    }
    seen = host.tunnels.map(({ tos, ttl }) => [tos, ttl]);
  });
  return seen;
}

test("tos and ttl are the options', inherited where they say so; ECN is always the inner packet's", () => {
  const frames = [frame4(0xb8 | 2, 9), frame6(0x48 | 1, 10), otherFrame()];
  assert.deepEqual(sent({}, frames), [[2, 64], [1, 64], [0, 64]]);
  const fixed = { tos: "0x28", ttl: "33" };
  assert.deepEqual(sent(fixed, frames), [[0x2a, 33], [0x29, 33], [0x28, 33]]);
  const inherit = { tos: "inherit", ttl: "inherit" };
  assert.deepEqual(sent(inherit, frames), [[0xba, 9], [0x49, 10], [0, 64]]);
});

test("set(tunnel(tos, ttl)) counts more than the options; 0 says nothing", () => {
  const frames = [frame4(0xb8 | 1, 9)];
  const options = { tos: "inherit", ttl: "inherit" };
  assert.deepEqual(sent(options, frames, { tos: 0x50, ttl: 7 }), [[0x51, 7]]);
  assert.deepEqual(sent(options, frames, { tos: 0, ttl: 0 }), [[0xb9, 9]]);
  assert.deepEqual(sent(options, frames, { tos: 0x53, ttl: 0 }), [[0x51, 9]], "not ECN");
});

test("congestion that the inner packet has met does not look like the underlay's (RFC 6040)", () => {
  assert.deepEqual(sent({}, [frame4(3, 9), frame6(3, 9), frame4(0, 9)]), [[2, 64], [2, 64], [
    0,
    64,
  ]]);
});

/** A frame in a VXLAN packet of VNI 1 that a router on the way has marked. */
function sendMarked(frame: Uint8Array, port: number): void {
  const kind = { carrier: "udp", family: 4, dontFragment: true, checksum: true } as const;
  const output = new TunnelOutput(kind);
  const envelope = new Envelope();
  envelope.remote.setUint32(0, LOOPBACK);
  envelope.remotePort = port;
  envelope.tos = 3;
  const size = header.SIZE + frame.length;
  output.beginPacket();
  output.beginMessage(1, size);
  const at = output.reserve(size);
  header.write(output.view, at, 1);
  frame.forEach((byte, index) => output.view.setUint8(at + header.SIZE + index, byte));
  output.endMessage(envelope, { refused: (reason) => assert.fail(`${reason}`) }, size, 0);
  output.flush();
  output.close();
}

test("congestion on the way is passed on to packets that know of it; others are dropped", () => {
  const options = { remote_ip: "127.0.0.1", dst_port: "16072", key: "1" };
  withPort(vxlan, options, (vport, host) => {
    const arrive = (frame: Uint8Array): DataView | undefined => {
      host.received.length = 0;
      sendMarked(frame, 16072);
      receiveAll(vport, host, 1);
      const got = host.received[0]?.frame;
      return got && new DataView(got.buffer, got.byteOffset, got.length);
    };
    const four = arrive(frame4(2, 9));
    assert.equal(four?.getUint8(15), 3);
    assert.equal(sum(four!, 14, 34), 0xffff, "its checksum is right");
    assert.equal((arrive(frame6(1, 9))!.getUint16(14) >>> 4) & 3, 3);
    assert.equal(arrive(frame4(0, 9)), undefined);
    assert.deepEqual(host.rxDrops, [{ portNo: 1, reason: dropReason("tunnel-ecn") }]);
    assert.ok(arrive(otherFrame()) !== undefined, "it is no IP packet");
  });
});

function sendFlow(vport: Vport, host: TunnelHost, flow: number): void {
  const frame = tcpFrame(20);
  new DataView(frame.buffer).setUint16(34, 40_000 + flow);
  const packet = load(host, frame);
  assert.equal(vport.send(packet, undefined), 0);
  vport.sender!.flush();
  host.recycle(packet);
}

test("flows are spread over UDP source ports, a flow stays with one, alone or in trains", () => {
  withPort(vxlan, { remote_ip: "127.0.0.1", dst_port: "16073" }, (vport, host) => {
    for (let flow = 0; flow < 64; flow++) {
      for (let time = 0; time < 2; time++) sendFlow(vport, host, flow);
    }
    receiveAll(vport, host, 128);
    const ports = host.tunnels.map(({ sourcePort }) => sourcePort);
    assert.equal(ports.length, 128);
    for (let at = 0; at < 128; at += 2) assert.equal(ports[at], ports[at + 1]);
    assert.ok(new Set(ports).size >= 12, `${new Set(ports).size} of 16 ports`);
    host.tunnels.length = 0;
    const packet = load(host, tcpFrame(3000, { partial: true }));
    new DataView(packet.buffer.bytes.buffer).setUint16(packet.start + 34, 40_000);
    packet.needsCsum = true;
    packet.csumStart = 34;
    packet.csumOffset = 16;
    packet.gsoType = GSO_TCPV4;
    packet.gsoSize = 1400;
    assert.equal(vport.send(packet, undefined), 0);
    vport.sender!.flush();
    receiveAll(vport, host, 129);
    assert.equal(host.tunnels[0]?.sourcePort, ports[0]);
  });
});

test("ports that share a UDP port get what is theirs; the rest is nobody's", () => {
  const shared = { remote_ip: "127.0.0.1", dst_port: "16074" };
  const options = [
    { ...shared, in_key: "1", out_key: "2" },
    { ...shared, in_key: "2", out_key: "1" },
    { remote_ip: "flow", dst_port: "16074", in_key: "3", out_key: "4" },
    { ...shared, in_key: "9", out_key: "3" },
  ];
  withPorts(vxlan, options, (vports, host) => {
    const [one, two, three, four] = vports;
    const sendBy = (vport: Vport | undefined, size: number): void => {
      const toFlow = vport === three ? tunnelTo(LOOPBACK) : undefined;
      assert.equal(vport!.send(load(host, tcpFrame(size)), toFlow), 0);
      vport!.sender!.flush();
    };
    const got = (): number[][] =>
      host.received.map(({ portNo, frame }) => [portNo, frame.length - 54]);
    sendBy(one, 11); // key 2: for two
    sendBy(two, 12); // key 1: for one
    sendBy(four, 13); // key 3: for three
    sendBy(three, 14); // key 4: for nobody
    receiveAll(one!, host, 3);
    assert.deepEqual(got(), [[2, 11], [1, 12], [3, 13]]);
    while (one!.receiver!.receive(32) > 0);
    const reason = dropReason("tunnel-not-a-port");
    assert.deepEqual(host.rxDrops.map((drop) => drop.reason), [reason]);
    one!.close();
    sendBy(two, 15); // key 1: its port is gone
    sendBy(four, 16);
    receiveAll(two!, host, 4);
    assert.deepEqual(got().slice(3), [[3, 16]]);
    while (two!.receiver!.receive(32) > 0);
    assert.deepEqual(host.rxDrops.map((drop) => drop.reason), [reason, reason]);
  });
});
