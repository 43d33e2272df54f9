/** Traffic for the end-to-end tests: TCP by iperf3, UDP echoes, raw frames. */
import assert from "node:assert/strict";
import type { Denovs } from "./denovs.ts";
import type { Lab, Namespace, Peer } from "./lab.ts";
import { eventually } from "./process.ts";

/** Starts an iperf3 server and waits until it listens. */
export async function serveTcp(host: Namespace, port = 5201): Promise<void> {
  host.start(["iperf3", "-s", "-p", String(port)]);
  await listens(host, port);
}

/** Waits until something listens on a TCP port. */
export async function listens(host: Namespace, port: number): Promise<void> {
  await eventually(`port ${port} listens`, async () => {
    const { stdout } = await host.run(["ss", "-Hltn", `sport = :${port}`]);
    return stdout.trim() !== "";
  });
}

export interface TcpRun {
  readonly gigabits: number;
  readonly bytes: number;
}

/** Sends `megabytes` by one TCP stream; all of them must arrive. */
export async function sendTcp(
  from: Namespace,
  to: string,
  options: { megabytes?: number; port?: number } = {},
): Promise<TcpRun> {
  const { megabytes = 200, port = 5201 } = options;
  const { end } = await iperf(from, to, ["-p", String(port), "-n", `${megabytes}M`]);
  const { bytes, bits_per_second } = end.sum_received!;
  // What is under way when the sender is done is not counted.
  assert.ok(bytes >= megabytes * 0.5 * 1_000_000, `only ${bytes} bytes arrived`);
  return { gigabits: bits_per_second / 1e9, bytes };
}

/** What iperf3 says of a test. */
export interface IperfResult {
  readonly end: {
    /** Of UDP. */
    readonly sum?: { readonly lost_percent: number };
    /** Of TCP. */
    readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number };
  };
  readonly error?: string;
}

/** Runs an iperf3 client. */
export async function iperf(
  from: Namespace,
  to: string,
  words: readonly string[],
): Promise<IperfResult> {
  const command = ["iperf3", "-c", to, ...words, "--connect-timeout", "3000", "-J"];
  const run = async (): Promise<IperfResult | undefined> => {
    const { stdout, stderr } = await from.run(command, { fails: true, timeoutMs: 60_000 });
    const result: IperfResult = stdout === "" ? { end: {}, error: stderr } : JSON.parse(stdout);
    // Between two tests the server closes its listening socket and opens another.
    if (/unable to connect|busy/.test(result.error ?? "")) return undefined;
    assert.equal(result.error, undefined, command.join(" "));
    return result;
  };
  return await eventually(`${command.join(" ")} finds the server ready`, run);
}

const UDP_ECHO = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, who = s.recvfrom(65536)
    s.sendto(data, who)
`;

const UDP_ASK = `
import socket, sys, os
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.connect((sys.argv[1], int(sys.argv[2])))
good = 0
for i in range(int(sys.argv[3])):
    data = os.urandom(int(sys.argv[4]))
    s.send(data)
    try:
        good += s.recv(65536) == data
    except TimeoutError:
        break
print(good)
`;

/** Starts a UDP echo server. */
export async function serveUdp(host: Namespace, address: string, port: number): Promise<void> {
  host.start(["/usr/bin/python3", "-c", UDP_ECHO, address, String(port)]);
  await eventually(`UDP port ${port} is bound`, async () => {
    const { stdout } = await host.run(["ss", "-Hlun", `sport = :${port}`]);
    return stdout.trim() !== "";
  });
}

/** Sends datagrams of random bytes one by one; how many came back unchanged. */
export async function askUdp(
  from: Namespace,
  address: string,
  port: number,
  options: { count?: number; size?: number } = {},
): Promise<number> {
  const { count = 5, size = 100 } = options;
  const words = [address, String(port), String(count), String(size)];
  const { stdout } = await from.run(["/usr/bin/python3", "-c", UDP_ASK, ...words]);
  return Number(stdout);
}

const SEND_RAW = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
sent = 0
for line in sys.stdin:
    try:
        s.send(bytes.fromhex(line))
        sent += 1
    except OSError:
        pass
print(sent)
`;

/** Sends frames (hex) from a namespace's device; how many its kernel took. */
export async function sendFrames(
  from: Namespace,
  frames: readonly string[],
  device = "eth0",
): Promise<number> {
  const { stdout } = await from.run(["/usr/bin/python3", "-c", SEND_RAW, device], {
    input: frames.join("\n") + "\n",
  });
  return Number(stdout);
}

/** Static neighbours, so that a test needs no ARP or ND through the switch. */
export async function introduce(a: Namespace, address: string, mac: string): Promise<void> {
  await a.ip("neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent");
}

/** A lab with hosts a (10.0.0.1) and b (10.0.0.2) on ports 1 and 2 of br0, the daemon running. */
export async function twoHosts(
  lab: Lab,
  options: { flows?: boolean; v6?: boolean } = {},
): Promise<{ a: Peer; b: Peer }> {
  const six = (text: string): { address6?: string } => options.v6 ? { address6: text } : {};
  const a = await lab.peer("a", { address: "10.0.0.1/24", ...six("fd00::1/64") });
  const b = await lab.peer("b", { address: "10.0.0.2/24", ...six("fd00::2/64") });
  const { denovs } = lab;
  await denovs.start();
  await denovs.cli("dp-add", "br0");
  await denovs.cli("port-add", "br0", a.port);
  await denovs.cli("port-add", "br0", b.port);
  if (options.flows !== false) {
    await denovs.cli("flow-add", "br0", "in_port(1)", "2");
    await denovs.cli("flow-add", "br0", "in_port(2)", "1");
  }
  return { a, b };
}

/** The datapath's accounts balance once traffic has stopped. */
export async function assertAccounts(lab: Pick<Lab, "denovs">, dp = "br0"): Promise<void> {
  await eventually("received + generated + copied = sent + dropped + consumed + held", async () => {
    const { counters: c } = await lab.denovs.show(dp);
    const number = (name: string): number => Number(c[name] ?? NaN);
    const came = number("received") + number("generated") + number("copied");
    return came === number("sent") + number("dropped") + number("consumed") + number("held");
  }, { timeoutMs: 5000, everyMs: 200 });
}

/** Whatever a datapath dropped, it dropped for one of these reasons. */
export async function assertDropsOnly(
  denovs: Denovs,
  dp: string,
  reasons: readonly string[],
): Promise<void> {
  const { drops } = (await denovs.show(dp)).counters;
  const others = Object.entries(drops).filter(([name]) => !reasons.includes(name));
  assert.deepEqual(others, [], `drops of ${dp}`);
}

/** Average size of the packets that a flow carried, bytes. */
export async function averageSize(lab: Lab, part: string): Promise<number> {
  const flow = await lab.denovs.flow(part);
  return flow.bytes / flow.packets;
}
