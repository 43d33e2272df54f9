import assert from "node:assert/strict";
import { TestHost } from "../tests/vport_host.ts";
import { libc } from "./libc.ts";
import { SystemError } from "./system_error.ts";
import { isAddress, UdpSocket } from "./udp_socket.ts";

// Libraries stay open for the process: opened here, no test is blamed for them.
const { file, memory, socket } = libc();
assert(file && memory && socket);

const refused: string[] = [];

function open(address: string, local: number, remote: number, shared = false): UdpSocket {
  return new UdpSocket({
    local: { address, port: local },
    remote: { address, port: remote },
    shared,
    refused: (reason, size) => void refused.push(`${reason} ${size}`),
  });
}

function send(host: TestHost, from: UdpSocket, ...texts: string[]): void {
  for (const text of texts) {
    const packet = host.allocate()!;
    const { written } = new TextEncoder().encodeInto(text, packet.bytes.subarray(packet.start));
    packet.end = packet.start + written;
    assert.equal(from.send(packet), 0);
  }
  from.flush();
}

function received(host: TestHost, at: UdpSocket): string[] {
  const texts: string[] = [];
  const packet = host.allocate()!;
  while (at.receive(packet) >= 0) {
    texts.push(new TextDecoder().decode(packet.bytes.slice(packet.start, packet.end)));
  }
  host.recycle(packet);
  return texts;
}

for (const address of ["127.0.0.1", "::1"]) {
  Deno.test(`UdpSocket: datagrams of the peer pass both ways, others are left out (${address})`, () => {
    const host = new TestHost();
    using a = open(address, 16001, 16002);
    using b = open(address, 16002, 16001);
    using stranger = open(address, 16003, 16002);
    send(host, a, "one", "two");
    send(host, stranger, "from nobody");
    send(host, a, "three", "");
    assert.deepEqual(received(host, b), ["one", "two", "three", ""]);
    send(host, b, "back");
    assert.deepEqual(received(host, a), ["back"]);
    assert.deepEqual(received(host, a), []);
  });
}

Deno.test("UdpSocket.send: more than a batch goes out, in order", () => {
  const host = new TestHost();
  using a = open("127.0.0.1", 16001, 16002);
  using b = open("127.0.0.1", 16002, 16001);
  const texts = Array.from({ length: 100 }, (_, at) => `${at}`);
  send(host, a, ...texts);
  assert.deepEqual(received(host, b), texts);
});

Deno.test("UdpSocket.flush: what the kernel refuses is told, the rest goes on", () => {
  const host = new TestHost();
  refused.length = 0;
  using a = open("127.0.0.1", 16001, 16002);
  using b = open("127.0.0.1", 16002, 16001);
  const long = host.allocate()!;
  long.end = long.start + 65_530; // 65,507 is the most
  a.send(long);
  send(host, a, "after it");
  assert.deepEqual(received(host, b), ["after it"]);
  assert.equal(refused.length, 1);
  assert.match(refused[0]!, / 65530$/);
});

Deno.test("UdpSocket: a taken port is an error, but not when shared", () => {
  using _first = open("127.0.0.1", 16001, 16002, true);
  using _second = open("127.0.0.1", 16001, 16002, true);
  assert.throws(() => open("127.0.0.1", 16001, 16002), (error: Error) => {
    assert(error instanceof SystemError && error.code === "EADDRINUSE");
    assert.match(error.message, /Cannot open a UDP port: bind\(127\.0\.0\.1 port 16001\)/);
    return true;
  });
});

Deno.test("isAddress: IPv4 in four parts and IPv6, nothing else", () => {
  for (const text of ["1.2.3.4", "::", "2001:db8::1"]) assert(isAddress(text), text);
  for (const text of ["", "1.2.3", "host", "1.2.3.4.5", "[::1]", "0x7f.1"]) {
    assert(!isAddress(text), text);
  }
});
