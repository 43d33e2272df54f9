/** What two hosts can send each other: ping, TCP and UDP, both ways, over IPv4 and IPv6. */
import assert from "node:assert/strict";
import type { Namespace } from "./lab.ts";
import { eventually } from "./process.ts";
import { iperf, listens } from "./traffic.ts";

/** A host with an iperf3 server (`serveTcp`), and its addresses. */
export interface Host {
  readonly host: Namespace;
  readonly address: string;
  readonly address6: string;
}

const IPV4_ICMP_SIZE = 28;
const IPV6_ICMP_SIZE = 48; // UDP's header is as long as ICMP's

/**
 * Both hosts ping each other over IPv4 and IPv6, with packets up to `mtu`; then TCP goes from `a` to `b`
 * over IPv4 and back over IPv6, and UDP the other way round. Asserts that all arrives, with right
 * checksums. With the hosts exchanged, the rest is covered.
 */
export async function exchange(
  a: Host,
  b: Host,
  options: { mtu: number; megabytes?: number },
): Promise<void> {
  const { mtu, megabytes = 10 } = options;
  await Promise.all([
    pings(a, b.address, mtu - IPV4_ICMP_SIZE),
    pings(a, b.address6, mtu - IPV6_ICMP_SIZE),
    pings(b, a.address, mtu - IPV4_ICMP_SIZE),
    pings(b, a.address6, mtu - IPV6_ICMP_SIZE),
  ]);
  await Promise.all([
    iperf(a.host, b.address, ["-n", `${megabytes}M`]),
    iperf(b.host, a.address6, ["-n", `${megabytes}M`]),
  ]);
  await Promise.all([
    sendDatagrams(a.host, b.address6, mtu - IPV6_ICMP_SIZE),
    sendDatagrams(b.host, a.address, mtu - IPV4_ICMP_SIZE),
  ]);
  assert.equal(await a.host.checksumErrors(), 0);
  assert.equal(await b.host.checksumErrors(), 0);
}

/** Short ones and some of `size` bytes. */
async function pings(from: Host, to: string, size: number): Promise<void> {
  for (const each of [56, size]) {
    // Once it has an answer, ping waits for the others a second or two round trips only.
    await eventually(`pings of ${each} bytes to ${to} are answered`, async () => {
      return await from.host.ping(to, { waitMs: 3000, size: each }) === 3;
    });
  }
}

/** UDP, datagrams of `size` bytes; no more than a receiver's socket holds that is kept from running. */
async function sendDatagrams(from: Namespace, to: string, size: number): Promise<void> {
  const { end } = await iperf(from, to, ["-u", "-b", "8M", "-n", "100K", "-l", `${size}`]);
  assert.equal(end.sum?.lost_percent, 0, `percent of UDP to ${to} lost`);
}

const DIGEST_PORT = 5400;

const DIGEST_SERVER = `
import hashlib, socket, sys
listener = socket.create_server(("::", ${DIGEST_PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, who = listener.accept()
    digest = hashlib.sha256()
    while data := connection.recv(65536):
        digest.update(data)
    connection.sendall(digest.digest())
    connection.close()
`;

const DIGEST_CLIENT = `
import hashlib, os, socket, sys
connection = socket.create_connection((sys.argv[1], ${DIGEST_PORT}), timeout=10)
data = os.urandom(int(sys.argv[2]))
connection.sendall(data)
connection.shutdown(socket.SHUT_WR)
answer = b""
while part := connection.recv(64):
    answer += part
print("same" if answer == hashlib.sha256(data).digest() else "different")
`;

/** Starts what {@link sendExactly} sends to. */
export async function serveDigests(host: Namespace): Promise<void> {
  host.start(["/usr/bin/python3", "-c", DIGEST_SERVER]);
  await listens(host, DIGEST_PORT);
}

/** So many random bytes by TCP, all of which arrive as they were: the far end answers with their digest. */
export async function sendExactly(from: Namespace, to: string, size: number): Promise<void> {
  const command = ["/usr/bin/python3", "-c", DIGEST_CLIENT, to, `${size}`];
  assert.equal((await from.run(command)).stdout.trim(), "same", `TCP to ${to}`);
}
