/** Damaged tunnel packets: every one is received or dropped with a reason, none throws or is lost. */
import assert from "node:assert/strict";
import { Packet } from "../../datapath/packet/packet.ts";
import { TunnelKey } from "../../datapath/packet/tunnel_key.ts";
import { UdpSocket } from "../../netdev/udp_socket.ts";
import geneve from "../../vports/geneve.ts";
import type { TunnelOptions } from "../../vports/tunnel_options.ts";
import type { VportOps } from "../../vports/vport.ts";
import vxlan from "../../vports/vxlan.ts";
import { TestHost } from "../vport_host.ts";

const ROUNDS = 300;
const BURST = 32;
const FAR = "127.0.0.1";

/** xorshift32: one seed repeats a run. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** An Ethernet frame with IPv4 or IPv6 and TCP or UDP, roughly. */
function frame(random: (below: number) => number): number[] {
  const bytes = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
  for (let tags = random(3); tags > 0; tags--) bytes.push(0x81, 0, 0, 1);
  const payload = Array.from({ length: random(300) }, () => random(256));
  const protocol = random(2) === 0 ? 6 : 17;
  const l4 = Array.from({ length: 20 }, () => random(256));
  l4[12] = 0x50;
  const size = l4.length + payload.length;
  if (random(2) === 0) {
    const header = [0x45, random(4), (size + 20) >> 8, (size + 20) & 255, 0, 0, 0, 0, 64, protocol];
    bytes.push(8, 0, ...header, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2);
  } else {
    bytes.push(0x86, 0xdd, 0x60, random(256), 0, 0, size >> 8, size & 255, protocol, 64);
    for (let at = 0; at < 32; at++) bytes.push(random(256));
  }
  return [...bytes, ...l4, ...payload];
}

function damage(bytes: number[], random: (below: number) => number): Uint8Array {
  for (let count = random(4); count > 0; count--) bytes[random(bytes.length)] = random(256);
  // Often in the tunnel's header.
  if (random(3) === 0) bytes[random(8)] = random(256);
  return Uint8Array.from(bytes.slice(0, random(4) === 0 ? random(bytes.length) : bytes.length));
}

function fuzz(
  ops: VportOps<TunnelOptions>,
  options: Readonly<Record<string, string>>,
  header: (random: (below: number) => number) => number[],
): void {
  const random = randomNumbers(0x5eed);
  const host = new TestHost();
  let received = 0;
  host.receive = (_portNo, packet) => {
    assert.ok(packet.start >= packet.headLimit && packet.start <= packet.end);
    assert.ok(packet.end <= packet.tailLimit);
    assert.ok(packet.tunnel instanceof TunnelKey);
    received++;
    host.pool.free(packet);
  };
  const port = Number(options["dst_port"]);
  const params = {
    datapath: "fuzz",
    datapathId: "00112233445566778899aabbccddeeff",
    name: "t1",
    portNo: 1,
    options: ops.parseOptions(new Map(Object.entries(options))),
    mac: undefined,
    threads: 1,
  };
  const attachment = ops.attach!(params);
  const vport = ops.create({ ...params, thread: 0, data: attachment.data, host });
  const socket = new UdpSocket({
    local: { address: FAR, port: port + 1000 },
    remote: { address: FAR, port },
    shared: false,
    refused: () => {},
  });
  const buffer = host.allocate()!;
  const packet = new Packet(buffer.buffer);
  let sent = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let at = buffer.start;
    for (let count = 0; count < BURST; count++) {
      const bytes = damage([...header(random), ...frame(random)], random);
      packet.start = at;
      packet.end = at + bytes.length;
      packet.bytes.set(bytes, at);
      socket.send(packet);
      at = packet.end;
      sent++;
    }
    socket.flush();
    vport.receiver!.receive(2 * BURST);
    vport.receiver!.release?.();
  }
  assert.equal(received + host.rxDrops.length, sent);
  assert.ok(received > sent / 4, `${received} of ${sent}`);
  assert.ok(host.rxDrops.length > sent / 50, `${host.rxDrops.length} of ${sent}`);
  socket.close();
  vport.close();
  attachment.detach("delete");
  assert.equal(host.pool.freeCount, 127);
}

function test(fact: string, fn: () => void): void {
  // Libraries opened on first use stay open for the process.
  Deno.test({ name: `fuzz: ${fact}`, sanitizeResources: false, fn });
}

const ANY = { remote_ip: "flow", local_ip: FAR, key: "flow" };

test("damaged vxlan packets are received or counted", () => {
  fuzz(vxlan, { ...ANY, dst_port: "17001" }, () => [8, 0, 0, 0, 0, 0, 7, 0]);
});

test("damaged vxlan packets with group policies are received or counted", () => {
  const options = { ...ANY, dst_port: "17002", exts: "gbp" };
  fuzz(vxlan, options, () => [0x88, 0, 0, 9, 0, 0, 7, 0]);
});

test("damaged vxlan-gpe packets are received or counted", () => {
  const options = { ...ANY, dst_port: "17003", exts: "gpe", packet_type: "ptap" };
  fuzz(vxlan, options, (random) => [0x0c, 0, 0, 1 + random(4), 0, 0, 7, 0]);
});

test("damaged geneve packets with options are received or counted", () => {
  fuzz(geneve, { ...ANY, dst_port: "17004" }, (random) => {
    const options: number[] = [];
    for (let count = random(4); count > 0; count--) {
      const words = random(4);
      options.push(1, 2, random(256), words);
      for (let at = 0; at < 4 * words; at++) options.push(random(256));
    }
    return [options.length / 4, 0, 0x65, 0x58, 0, 0, 7, 0, ...options];
  });
});
